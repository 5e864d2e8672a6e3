"""`ai-data-masking`: denied words in questions and answers, of every kind of text, however a stream is cut."""

import asyncio
import json
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigw_middleware import INBOUND, OUTBOUND, Channel, Exchange, Finish
from aigw_middleware.llm.dialects.base import Dialect
from aigw_middleware.llm.dialects.openai_chat import OpenAIChat
from aigw_middleware.plugins.ai.data_masking import BLOCKED, AiDataMasking
from aigw_middleware.testing.asgi import asgi_exchange
from aigw_middleware.testing.clients import client
from aigw_middleware.testing.script import Answer, CutMidEvent, ToolCall
from tests.plugins.chat import CUTS, PATH, Chat, events, example, finishes, problems, question, said, spoken

NAME = "ai-data-masking"
DENIED = "I cannot talk about that."
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def masking(*words: str, **config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return {"name": NAME, "config": {"deny_words": list(words), "deny_message": DENIED, **config}}


# ---------------------------------------------------------------------- questions


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([{"role": "user", "content": "a BLUE bird"}], "content 0 at 2-11"),
        ([{"role": "system", "content": "blue\u200b bird"}, {"role": "user", "content": "x"}], "system 0 at 0-10"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "blue bird"}]}],
            "content 0 at 0-9",
        ),
        (
            [
                {"role": "user", "content": "x"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"arguments": '{"q":"blue bird"}'}}],
                },
            ],
            "tool_arguments 1 at 6-15",
        ),
        ([{"role": "tool", "content": "blue bird", "tool_call_id": "1"}], "tool_result 0 at 0-9"),
        ([{"role": "assistant", "reasoning_content": "blue bird", "content": "x"}], "reasoning 0 at 0-9"),
    ],
)
def test_every_text_of_a_question(messages: Any, place: str) -> None:
    chat = Chat(masking("green", "blue bird"))
    answered = chat.ask({"model": "m", "messages": messages})
    assert answered.status == 200
    assert answered.header("content-type") == "application/json"
    assert answered.json() == {
        "id": f"chatcmpl-{chat.exchange.id}",
        "object": "chat.completion",
        "created": int(chat.clock.now()),
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": DENIED, "refusal": None},
                "logprobs": None,
                "finish_reason": "content_filter",
            }
        ],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    assert chat.provider.requests == []
    assert chat.records == [(NAME, "refused", f"deny_words[1] in {place}"), (NAME, "answered", "200")]
    assert chat.exchange.answered_by == NAME


def test_a_refused_question_for_a_stream() -> None:
    chat = Chat(masking("bird"))
    answered = chat.ask(question("a bird", stream=True))
    assert answered.header("content-type") == "text/event-stream; charset=utf-8"
    assert (said(answered.body), finishes(answered.body)) == (DENIED, ["content_filter"])
    assert events(answered.body)[-1] == b"[DONE]"


@pytest.mark.anyio
@pytest.mark.parametrize("code", [200, 403])
async def test_official_clients_understand_it(code: int) -> None:
    chat = Chat(masking("bird", deny_code=code))
    sdk = openai.AsyncOpenAI(
        api_key="k",
        base_url="http://testserver/v1",
        max_retries=0,
        http_client=client(chat.gateway, library="httpx2"),
        _strict_response_validation=True,
    )
    asking: Any = {"model": "m", "messages": [{"role": "user", "content": "a bird"}]}
    if code == 403:
        with pytest.raises(openai.PermissionDeniedError, match=DENIED):
            await sdk.chat.completions.create(**asking)
        return
    completion = await sdk.chat.completions.create(**asking)
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == (DENIED, "content_filter")
    stream = await sdk.chat.completions.create(**asking, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == DENIED


def test_an_error_status_is_an_error() -> None:
    chat = Chat(masking("bird", deny_code=451))
    answered = chat.ask(question("a bird"))
    assert answered.status == 451
    assert answered.json()["error"]["message"] == DENIED
    assert answered.json()["error"]["code"] == "content_filter"
    assert chat.exchange.outcome == "refused"


def test_an_api_without_a_shape_for_answers_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dialect, "answer", lambda self, text, **options: b"")
    monkeypatch.delattr(OpenAIChat, "answer")
    chat = Chat(masking("bird", deny_code=299, deny_raw_message="no", deny_content_type="text/plain"))
    answered = chat.ask(question("a bird"))
    assert (answered.status, answered.body, answered.header("content-type")) == (299, b"no", "text/plain")


@pytest.mark.parametrize("code", [200, 403])
def test_the_bytes_of_compatible_gateways(code: int) -> None:
    chat = Chat(masking("bird", deny_code=code), error_format="upstream")
    message = f'{{"role":"assistant","content":"{DENIED}"}}'
    whole = chat.ask(question("a bird"))
    assert (whole.status, whole.body.decode()) == (
        code,
        f'{{"choices":[{{"index":0,"message":{message}}}],"usage":{{}}}}',
    )
    stream = chat.ask(question("a bird", stream=True))
    assert stream.body.decode() == f'data:{{"choices":[{{"index":0,"delta":{message}}}],"usage":{{}}}}\n\n'
    assert stream.header("content-type") == "text/event-stream;charset=UTF-8"


def test_a_clean_call_passes_with_its_bytes() -> None:
    chat = Chat(masking("bird"), answers=[Answer("fine")])
    body = b'{ "model": "m", "messages": [{"role": "user", "content": "birds"}] }'
    assert chat.ask(body).json()["choices"][0]["message"]["content"] == "fine"
    assert chat.provider.requests[0].body == body
    assert chat.records == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "m", "input": [[1, 2]]}),
        ("/v1/messages", {"model": "m", "messages": "x"}),
        ("/v1/audio/translations", {"model": "m"}),
        (PATH, {"model": "m", "messages": "x"}),
        (PATH, {"model": "m", "messages": [{"role": "user", "content": {"no": "text"}}]}),
    ],
)
def test_what_cannot_be_read_is_denied_unless_the_operator_says_otherwise(path: str, body: Any) -> None:
    chat = Chat(masking("bird"))
    answered = chat.ask(body, path=path)
    assert answered.status == 400
    assert "cannot read this kind of call" in answered.json()["error"]["message"]
    assert chat.provider.requests == []
    assert chat.records[0][:2] == (NAME, "uncovered")
    lenient = Chat({**masking("bird"), "on_uncovered": "allow"})
    lenient.ask(body, path=path)
    assert lenient.provider.requests[0].json == body


def test_what_is_no_call_of_a_model_passes() -> None:
    chat = Chat(masking("bird"))
    chat.ask({"text": "a bird"}, path="/birds")
    assert chat.provider.requests[0].json == {"text": "a bird"}


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("answer", "content", "finish"),
    [
        (Answer("a blue bird sings"), f"a {DENIED}", "content_filter"),
        (Answer("Bird"), DENIED, "content_filter"),
        (Answer("clean birds"), "clean birds", "stop"),
        (Answer("a bird", finish_reason="length"), f"a {DENIED}", "content_filter"),
        (Answer(reasoning="a bird", text="x"), "", "content_filter"),
        (Answer(reasoning="x", text="a bird"), f"a {DENIED}", "content_filter"),
    ],
)
def test_a_whole_answer(answer: Answer, content: str, finish: str) -> None:
    chat = Chat(masking("bird", "blue bird"), answers=[answer])
    answered = chat.ask(question())
    choice = answered.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, finish)
    assert answered.header("content-length") == str(len(answered.body))
    assert b"bird " not in answered.body
    assert bool(chat.records) == (finish == "content_filter")


@CUTS
@pytest.mark.parametrize(
    ("pieces", "content"),
    [
        (["a ", "blue", " ", "bi", "rd", " sings"], f"a {DENIED}"),
        (["a blue bird sings"], f"a {DENIED}"),
        (list("a blue bird."), f"a {DENIED}"),
        (["a blue bi", "rd"], f"a {DENIED}"),
        (["so BLU", "E\u200b \n", "BIRD!"], f"so {DENIED}"),
        (["a blue", " birdcage"], "a blue birdcage"),
        (["a blue ", "sky"], "a blue sky"),
        (["a blue"], "a blue"),
        (["café: ", "cre", "me bru", "le", "\u0301", "e?"], f"café: {DENIED}"),
        (["今天的", "秘", "密计", "划。"], f"今天的{DENIED}"),
    ],
)
def test_a_streamed_answer(size: int, pieces: list[str], content: str) -> None:
    chat = Chat(masking("blue bird", "creme brulée", "秘密"), answers=[Answer(chunks=pieces)], size=size)
    answered = chat.ask(question(stream=True))
    clean = DENIED not in content
    assert said(answered.body) == content
    assert finishes(answered.body) == ["stop" if clean else "content_filter"]
    assert events(answered.body)[-1] == b"[DONE]"
    assert answered.complete
    assert [line[:2] for line in chat.records] == ([] if clean else [(NAME, "refused")])
    if not clean:
        assert chat.exchange.outcome == "completed"
        assert chat.provider.requests[0].pieces_sent < len(pieces) + 4


@CUTS
def test_clean_events_keep_their_bytes(size: int) -> None:
    text = "Nothing in here is of any interest to anyone: numbers 1, 2, 3; names, places."
    plain = Chat(answers=[Answer(text)], size=size).ask(question(stream=True))
    chat = Chat(masking("secret word", "zebra"), answers=[Answer(text)], size=size)
    answered = chat.ask(question(stream=True))
    assert answered.body == plain.body


@CUTS
@pytest.mark.parametrize(
    ("answer", "field", "left"),
    [
        (Answer(reasoning="think of a bird", text="x"), "reasoning_content", f"think of a {DENIED}"),
        (Answer(refusal="no bird"), "refusal", f"no {DENIED}"),
    ],
)
def test_other_texts_of_a_stream(size: int, answer: Answer, field: str, left: str) -> None:
    chat = Chat(masking("bird"), answers=[answer], size=size)
    answered = chat.ask(question(stream=True))
    assert said(answered.body, field) == left
    assert finishes(answered.body) == ["content_filter"]
    assert b"bird" not in answered.body


@CUTS
def test_arguments_of_tools_end_before_the_word(size: int) -> None:
    answer = Answer(tool_calls=[ToolCall("f", {"query": "a rare bird", "n": 1})])
    chat = Chat(masking("bird"), answers=[answer], size=size)
    answered = chat.ask(question(stream=True, tools=TOOLS))
    calls = [
        call["function"]["arguments"]
        for event in events(answered.body)
        if isinstance(event, dict)
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert "".join(calls) == '{"query": "a rare '
    assert finishes(answered.body) == ["content_filter"]


@CUTS
def test_every_choice_is_watched_and_ends(size: int) -> None:
    chat = Chat(masking("blue bird"), answers=[spoken("a blue bird")], size=size)
    answered = chat.ask(question(stream=True, n=2))
    assert sorted(finishes(answered.body)) == ["content_filter", "content_filter"]
    assert sorted([said(answered.body), said(answered.body, index=1)]) == ["a ", f"a {DENIED}"]


@CUTS
def test_a_stream_that_breaks_off_leaks_nothing(size: int) -> None:
    fault = CutMidEvent(after=5, answer=spoken("a bird"))
    chat = Chat(masking("bird house"), answers=[fault], size=size)
    answered = chat.ask(question(stream=True))
    assert said(answered.body) == "a bir"  # what was held is no denied word: it leaves with the end


@pytest.mark.parametrize("stream", [False, True])
def test_on_wsgi(stream: bool) -> None:
    chat = Chat(masking("blue bird"), answers=[Answer("a blue bird sings")])
    answered = chat.ask_wsgi(question(stream=stream))
    if stream:
        assert (said(answered.body), finishes(answered.body)) == (f"a {DENIED}", ["content_filter"])
    else:
        assert answered.json()["choices"][0]["message"]["content"] == f"a {DENIED}"
    assert chat.ask_wsgi(question("blue bird")).json()["choices"][0]["finish_reason"] == "content_filter"


def test_an_answer_that_cannot_be_read_is_denied() -> None:
    async def coded(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-encoding", b"br")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"bird"})

    answered = Chat(masking("bird"), inner=coded).ask(question())
    assert answered.status == 502
    assert b"bird" not in answered.body


def test_records_hold_neither_words_nor_texts() -> None:
    chat = Chat(masking("blue bird"), answers=[Answer(chunks=["the ", "hidden ", "blue ", "bird"])])
    chat.ask(question(stream=True))
    assert chat.records == [(NAME, "refused", "deny_words[0] in content of answer 0 at 11-20")]


# ---------------------------------------------------------------------- every cut, every channel

CHANNELS = [(0, "content", 0), (1, "content", 0), (0, "reasoning", 0)]


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(CHANNELS), st.sampled_from(["blue", " ", "bi", "rd", "b", "x ", "BIRD", "\u200b", "ue"])
        ),
        max_size=40,
    )
)
def test_channels_do_not_mix(pieces: list[tuple[tuple[int, str, int], str]]) -> None:
    plugin = AiDataMasking(deny_words=["blue bird", "bird bird"], deny_message=DENIED)
    exchange, held = Exchange(), dict.fromkeys(CHANNELS, "")
    out = dict.fromkeys(CHANNELS, "")
    ended = None
    for channel, piece in [*pieces, *((channel, "") for channel in CHANNELS)]:
        final = piece == ""
        text = held[channel] + piece
        if not text:
            continue
        result = plugin.on_text(exchange, text, Channel(*channel, final))
        if isinstance(result, Finish):
            out[channel] += result.text
            ended = channel
            break
        emitted, held[channel] = result if result is not None else (text, "")
        out[channel] += emitted
    for channel in CHANNELS:
        whole = "".join(piece for own, piece in pieces if own == channel)
        expected = plugin.on_text(Exchange(), whole, Channel(*channel, True)) if whole else None
        if channel == ended:
            assert isinstance(expected, Finish)
            assert out[channel] == expected.text
        else:
            clean = expected.text.removesuffix(DENIED) if isinstance(expected, Finish) else whole
            assert clean.startswith(out[channel])
            assert ended is not None or out[channel] == whole


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(["blue", " ", "bi", "rd", "b", "x", ".", "é", "BLUE BIRD", "\u200b"]), min_size=1, max_size=25
    ),
    st.sampled_from([1, 2, 3, 7, 100, 0]),
)
def test_a_stream_says_what_the_whole_answer_says(pieces: list[str], size: int) -> None:
    entry = masking("blue bird", "bé")
    streamed = Chat(entry, answers=[Answer(chunks=pieces)], size=size).ask(question(stream=True))
    whole = Chat(entry, answers=[Answer(chunks=pieces)]).ask(question()).json()["choices"][0]
    assert said(streamed.body) == whole["message"]["content"]
    assert finishes(streamed.body) == [whole["finish_reason"]]


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        (
            {"deny_words": ["\u0903"]},
            "deny_words",
            "word 0 begins with a mark, which belongs to the character before it",
        ),
        ({"deny_words": "bird"}, "deny_words", "should be a valid tuple"),
        ({"deny_code": 204}, "deny_code", "204 has no body to say it with: 200 or 403, for instance"),
        ({"deny_code": 199}, "deny_code", "should be greater than or equal to 200"),
        ({"deny_message": ""}, "deny_message", "string should have at least 1 character"),
        ({"deny_openai": False}, "deny_openai", "false leaves nothing to read: LLM calls are what this plug-in reads"),
        ({"deny_content_type": "a\nb"}, "deny_content_type", "a header value has a line break or a NUL"),
        ({"replace_roles": []}, "replace_roles", "unknown key"),
        ({"deny_jsonpath": []}, "deny_jsonpath", "unknown key"),
        ({"system_deny": True}, "system_deny", "unknown key"),
        ({"deny_raw": True}, "deny_raw", "unknown key"),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    entry = {"name": NAME, "config": {"deny_words": ["bird"], **config}}
    assert problems(entry) == [(f"plugins[0].config.{path}", message)]


@pytest.mark.parametrize("config", [{}, {"deny_words": []}, {"deny_words": ["", " "]}])
def test_nothing_to_deny_is_a_problem(config: dict[str, Any]) -> None:
    assert problems({"name": NAME, "config": config}) == [
        ("plugins[0].config", "deny_words has no word: there is nothing to deny")
    ]


def test_words_that_do_not_fit_into_memory_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigw_middleware.plugins.ai.data_masking.words.MIN_MEMORY", 1)
    monkeypatch.setattr("aigw_middleware.plugins.ai.data_masking.words.MEMORY_PER_CHARACTER", 1)
    [(path, message)] = problems(masking("bird"))
    assert path == "plugins[0].config"
    assert message.startswith("deny_words: the words cannot be compiled: ")
    assert "bird" not in message


def test_the_spelling_and_the_text_of_compatible_gateways() -> None:
    entry = {
        "name": NAME,
        "config": {"denyWords": ["bird"], "denyCode": 200, "denyRawMessage": "x", "denyOpenai": True},
    }
    answered = Chat(entry).ask(question("bird"))
    assert answered.json()["choices"][0]["message"]["content"] == BLOCKED
    assert json.loads(AiDataMasking(deny_words=["x"]).config.deny_raw_message) == {"errmsg": BLOCKED}


def test_both_directions_and_what_happens_when_it_breaks() -> None:
    assert AiDataMasking.directions == {INBOUND, OUTBOUND}
    assert (AiDataMasking.on_failure, AiDataMasking.on_uncovered) == ("deny", "deny")


def test_the_example() -> None:
    chat = Chat(*example(AiDataMasking)["plugins"], answers=[Answer("Project Bluebird is late.")])
    answered = chat.ask(question("When is the project bluebird festival?"))
    assert answered.json()["choices"][0]["message"]["content"] == "This cannot be discussed here."
    assert chat.ask(question("When is project bluebird?")).json()["choices"][0]["finish_reason"] == "content_filter"
    assert len(chat.provider.requests) == 1


def test_the_class_alone_is_an_application() -> None:
    chat = Chat()
    body = [json.dumps(question("a bird")).encode()]
    alone = AiDataMasking(chat.provider, deny_words=["bird"])
    answered = asyncio.run(
        asgi_exchange(alone, "POST", PATH, headers=[("content-type", "application/json")], body=body)
    )
    assert answered.json()["choices"][0]["finish_reason"] == "content_filter"
