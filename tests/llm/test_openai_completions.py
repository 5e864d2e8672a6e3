"""Legacy completions: every prompt and every text of an answer is seen, whole and streamed, and only what changes changes."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Channel, Exchange, Finish, Needs, Plugin, PluginConfig, Stage
from aigw_middleware.llm.dialects import DIALECTS, DialectTable
from aigw_middleware.llm.dialects.base import Delta, Dialect, Piece
from aigw_middleware.llm.sse import Event
from aigw_middleware.testing.matrix import Script, Scripted, Transcript, assert_same, run_everywhere

COMPLETIONS = DIALECTS["openai-completions"]
PATH = "/v1/completions"
JSON = [("content-type", "application/json")]
SSE = [("content-type", "text/event-stream")]
DONE = b"data: [DONE]\n\n"
LOGPROBS = {"tokens": [" cat"], "token_logprobs": [-0.5], "top_logprobs": [{" cat": -0.5}], "text_offset": [0]}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def event(text: str | None, finish: str | None = None, index: int = 0, logprobs: Any = None, **more: Any) -> bytes:
    choice = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-3.5-turbo-instruct"}
    return b"data: " + json.dumps({**head, "choices": [] if text is None else [choice], **more}).encode() + b"\n\n"


def stream(*pieces: str) -> bytes:
    return b"".join([*map(event, pieces), event("", "stop"), event(None, usage=USAGE), DONE])


# ------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, []),
        ({"prompt": None}, []),
        ({"prompt": "a"}, [("prompt", 0, 0, "a")]),
        ({"prompt": ["a", "b"]}, [(0, 0, 0, "a"), (1, 1, 0, "b")]),
        ({"prompt": "a", "suffix": "z"}, [("suffix", 0, 1, "z"), ("prompt", 0, 0, "a")]),
        ({"prompt": "a", "suffix": None, "echo": True, "user": "u"}, [("prompt", 0, 0, "a")]),
    ],
)
def test_texts_of_a_request(body: dict[str, Any], expected: list[Any]) -> None:
    assert COMPLETIONS.readable(body) == ""
    found = list(COMPLETIONS.texts(body))
    assert [(slot.key, slot.index, slot.part, slot.text) for slot in found] == expected
    assert {(slot.kind, slot.role) for slot in found} <= {("content", "user")}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "the body is no JSON object"),
        ({"prompt": [1, 2]}, "prompt is a list of tokens"),
        ({"prompt": [[1, 2], [3]]}, "prompt is a list of tokens"),
        ({"prompt": ["a", 1]}, "prompt is a list of tokens"),
        ({"prompt": [{"prompt_token_ids": [1]}]}, "prompt has an item of unknown type"),
        ({"prompt": 5}, "prompt is neither text nor a list of texts"),
        ({"prompt": "a", "suffix": ["z"]}, "suffix is no text"),
        ({"prompt": "a", "prompt_embeds": "AAAA"}, "prompt_embeds is no text"),
        ({"prompt": "a", "messages": []}, "a completion with messages is neither a completion nor a chat completion"),
    ],
)
def test_what_cannot_be_read_says_why(body: Any, reason: str) -> None:
    assert COMPLETIONS.readable(body) == reason


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/completions", None, "openai-completions"),
        ("/chat/completions", None, "openai-chat"),
        ("/openai/deployments/d/completions", {"prompt": "a"}, "openai-completions"),
        ("/openai/deployments/d/completions", {"prompt": [1]}, "openai-completions"),
        ("/openai/deployments/d/completions", {"prompt": "a", "messages": [], "model": "m"}, "openai-chat"),
        ("/openai/deployments/d/completions", {"prompt": {}}, ""),
        ("/generate", {"prompt": "a", "model": "m"}, ""),
    ],
)
def test_how_a_call_is_recognised(path: str, body: Any, name: str) -> None:
    table = DialectTable()
    found = table.of_path(path) or table.of_body(path, body)
    assert (found.name if found is not None else "") == name


def test_parameters_and_usage_of_streams() -> None:
    body: dict[str, Any] = {"max_tokens": 5, "n": 2, "temperature": 0.5, "stop": ["x"], "seed": 7}
    names = ("max_output_tokens", "choices", "temperature", "stop", "seed", "top_p", "reasoning_effort")
    assert [COMPLETIONS.parameter(body, name) for name in names] == [5, 2, 0.5, ["x"], 7, None, None]
    assert COMPLETIONS.set_parameter(body, "max_output_tokens", 3)
    assert body["max_tokens"] == 3
    assert not COMPLETIONS.set_parameter(body, "reasoning_effort", "low")
    assert not COMPLETIONS.insert(body, [("system", "a")], at_end=False)
    for given_options, changed in ((None, True), ({}, True), ({"include_usage": True}, False), ("odd", False)):
        asked = {"stream_options": copy.copy(given_options)}
        assert COMPLETIONS.ask_for_usage(asked) is changed
        assert changed is False or asked["stream_options"] == {"include_usage": True}


# ------------------------------------------------------------------ whole answers


def answer(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "cmpl-1", "object": "text_completion", "model": "m", "choices": list(choices), **more}


def test_a_whole_answer_is_read() -> None:
    choices: list[dict[str, Any]] = [
        {"text": "a", "index": 1, "finish_reason": "length", "logprobs": None},
        {"text": "b", "index": 0, "finish_reason": "stop", "logprobs": LOGPROBS},
        {"text": None, "index": 2, "finish_reason": None},
    ]
    delta = COMPLETIONS.read_answer(json.dumps(answer(*choices, usage=USAGE)).encode())
    assert [(*piece.place, piece.text) for piece in delta.pieces] == [(1, "content", 0, "a"), (0, "content", 0, "b")]
    assert (list(delta.reasons), delta.model, delta.identifier) == (["length", "stop"], "m", "cmpl-1")
    assert delta.usage is not None
    assert (delta.usage.input_tokens, delta.usage.output_tokens, delta.usage.total_tokens) == (3, 2, 5)


def test_log_probabilities_go_with_the_text_they_repeat() -> None:
    body = answer(
        {"text": " cat", "index": 0, "logprobs": LOGPROBS, "finish_reason": "stop"},
        {"text": " cat", "index": 1, "logprobs": LOGPROBS, "finish_reason": "stop"},
    )
    first, second = COMPLETIONS.answer_texts(body)
    first.container[first.key] = " dog"
    second.container[second.key] = second.text
    assert body["choices"][0] == {"text": " dog", "index": 0, "logprobs": None, "finish_reason": "stop"}
    assert body["choices"][1]["logprobs"] == LOGPROBS
    COMPLETIONS.finish_answer(body, 1, "content_filter")
    assert body["choices"][1] == {"text": " cat", "index": 1, "logprobs": None, "finish_reason": "content_filter"}


def test_so_they_do_in_whole_chat_completions() -> None:
    chat = DIALECTS["openai-chat"]
    said = {"content": [{"token": "cat", "logprob": -0.5}]}
    parts = [{"type": "text", "text": "cat"}]
    body = answer(
        {"message": {"content": "cat"}, "logprobs": said},
        {"message": {"content": parts}, "logprobs": said},
        {"message": {"content": "cow"}, "logprobs": said},
    )
    for slot in chat.answer_texts(body):
        slot.container[slot.key] = slot.text.replace("cat", "dog")
    assert [choice["logprobs"] for choice in body["choices"]] == [None, None, said]
    assert body["choices"][0]["message"] == {"content": "dog"}
    assert parts == [{"type": "text", "text": "dog"}]


# ------------------------------------------------------------------ streams


def told(*raws: bytes) -> list[Any]:
    """Return what each event says."""
    reader = COMPLETIONS.open()
    read = [reader.read(Event(raw)) for raw in raws]
    return [None if delta is None else [(*piece.place, piece.text) for piece in delta.pieces] for delta in read]


def test_events_are_read() -> None:
    reader = COMPLETIONS.open()
    ended = reader.read(Event(event("!", "length", index=2)))
    assert ended is not None
    assert (list(ended.finished), list(ended.reasons), ended.identifier) == ([2], ["length"], "cmpl-1")
    assert ended.pieces[0].place == (2, "content", 0)
    counted = reader.read(Event(event(None, usage=USAGE)))
    assert counted is not None
    assert counted.usage_only
    assert counted.usage is not None
    assert counted.usage.total_tokens == 5
    failed = reader.read(Event(b'data: {"error": {"message": "no", "code": 500}}\n\n'))
    assert failed is not None
    assert failed.error
    assert told(DONE, event("", None), event("a", usage=None)) == [None, [], [(0, "content", 0, "a")]]
    assert reader.ends(Event(DONE))


def test_a_chunk_of_another_api_does_not_pass_unseen() -> None:
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "secret"}}]}\n\n'
    assert told(chunk) == [None]
    assert COMPLETIONS.open().opaque(Event(chunk))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (event("a")[6:-2], (0, "a")),
        (event("a", index=3)[6:-2], (3, "a")),
        (event("")[6:-2], None),
        (event("a", "stop")[6:-2], None),
        (event("a", logprobs=LOGPROBS)[6:-2], None),
        (event("a", usage=USAGE)[6:-2], None),
        (event("a", error={})[6:-2], None),
        (b'{"choices":[{"text":"a","delta":{}}]}', None),
        (b'{"choices":[{"text":"a"},{"text":"b"}]}', None),
        (b"[DONE]", None),
    ],
)
def test_the_quick_way_is_for_bare_texts(data: bytes, expected: Any) -> None:
    assert COMPLETIONS.open().text_of(data) == expected


def test_frames_are_learnt_from_bare_texts_only() -> None:
    reader = COMPLETIONS.open()
    frame = reader.frame(event("cat"), Piece(0, "content", 0, "cat"))
    assert frame is not None
    assert frame.text(event(" wörld")) is None  # written with escapes
    assert frame.text(event(" world")) == " world"
    assert frame.event('"dog"\n') == event('"dog"\n')
    assert reader.frame(event(" cat", logprobs=LOGPROBS), Piece(0, "content", 0, " cat")) is None
    assert reader.frame(event("cat", "stop"), Piece(0, "content", 0, "cat")) is None


class Filter(Plugin[PluginConfig]):
    """Replaces one word by another, holding back what may be its beginning."""

    name, stage = "filter", Stage.DEFAULT

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> tuple[str, str] | str:
        text = text.replace("cat", "dog")
        if channel.final:
            return text
        keep = next((size for size in (2, 1) if text and "cat".startswith(text[-size:])), 0)
        return (text[: len(text) - keep], text[len(text) - keep :])


class Stopper(Plugin[PluginConfig]):
    """Ends the answer at a word."""

    name, stage = "stopper", Stage.DEFAULT

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> Finish | None:
        place = text.find("STOP")
        return Finish("content_filter", text[:place] + "(end)") if place >= 0 else None


class Quiet(Plugin[PluginConfig]):
    """Looks on."""

    name = "quiet"

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        return None


def script(data: bytes, cut: int = 0, **request: Any) -> Script:
    asked = {"model": "m", "prompt": "Say", "stream": True, "stream_options": {"include_usage": True}, **request}
    chunks = [data[start : start + cut] for start in range(0, len(data), cut)] if cut else [data]
    answer = Scripted(headers=SSE if asked["stream"] else JSON, chunks=chunks)
    return Script(method="POST", path=PATH, headers=JSON, body=[json.dumps(asked).encode()], answer=answer)


def one_host(given_script: Script, *plugins: Plugin[Any]) -> Transcript:
    return run_everywhere(given_script, lambda: list(plugins), hosts=["asgi"])["asgi"]


def sdk_reads(data: bytes) -> tuple[dict[int, str], dict[int, str | None], Any]:
    """Return text and finish reason of each choice, and the usage, as the official client has them."""
    texts: dict[int, str] = {}
    reasons: dict[int, str | None] = {}
    usage = None
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=dict(SSE), content=data))
    with openai.OpenAI(api_key="k", base_url="http://a/v1", http_client=httpx2.Client(transport=transport)) as client:
        for chunk in client.completions.create(model="m", prompt="x", stream=True):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text
                reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    return texts, reasons, usage and usage.total_tokens


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_unchanged_streams_are_byte_identical(cut: int) -> None:
    data = b": hello\n\n" + event(" cow", logprobs=LOGPROBS) + stream("Hel", "lo \u00e4\u20ac")
    transcript = assert_same(run_everywhere(script(data, cut), lambda: [Quiet()]), chunks=True)
    assert transcript.body == data
    assert sdk_reads(data) == ({0: " cowHello \u00e4\u20ac"}, {0: "stop"}, 5)


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_filtered_streams_read_as_the_filtered_whole(cut: int) -> None:
    data = stream("a ca", "t sat on th", "e ca", "t", "ca")
    transcript = assert_same(run_everywhere(script(data, cut), lambda: [Filter()]))
    assert sdk_reads(transcript.body) == ({0: "a dog sat on the dogca"}, {0: "stop"}, 5)


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_an_answer_that_is_ended_ends_for_the_official_client(cut: int) -> None:
    data = event("one ") + event("eins ", index=1) + stream("two STOP", " three")
    transcript = assert_same(run_everywhere(script(data, cut), lambda: [Stopper()]))
    texts, reasons, _ = sdk_reads(transcript.body)
    assert texts == {0: "one two (end)", 1: "eins "}
    assert reasons == {0: "content_filter", 1: "content_filter"}
    assert transcript.body.endswith(DONE)


@pytest.mark.parametrize("cut", [0, 7])
def test_changed_texts_leave_without_their_log_probabilities(cut: int) -> None:
    logged = event(" cat", logprobs=LOGPROBS)
    body = one_host(script(logged + logged + stream("x"), cut), Filter()).body
    assert sdk_reads(body)[0] == {0: " dog dogx"}
    assert b"cat" not in body
    assert one_host(script(logged.replace(b"cat", b"cow") + stream("x"), cut), Filter()).body.count(b"cow") == 3


def test_an_echoed_prompt_is_filtered_like_the_rest() -> None:
    body = answer({"text": "The cat sat", "index": 0, "logprobs": None, "finish_reason": "stop"}, usage=USAGE)
    whole = script(json.dumps(body).encode(), prompt="The cat", echo=True, stream=False)
    transcript = assert_same(run_everywhere(whole, lambda: [Filter()]))
    assert json.loads(transcript.body)["choices"][0]["text"] == "The dog sat"
    assert json.loads(transcript.seen[0].body)["prompt"] == "The cat"
    stopped = json.loads(
        one_host(script(json.dumps(body).replace("sat", "STOP").encode(), stream=False), Stopper()).body
    )
    assert stopped["choices"][0] == {
        "text": "The cat (end)",
        "index": 0,
        "logprobs": None,
        "finish_reason": "content_filter",
    }


def test_usage_is_asked_for_and_taken_out_again() -> None:
    seen: list[tuple[int, int, str]] = []

    class Counting(Plugin[PluginConfig]):
        name, needs = "counting", Needs.USAGE

        def on_complete(self, exchange: Exchange) -> None:
            usage = exchange.meter.usage
            seen.append((usage.input_tokens, usage.output_tokens, usage.source))

    transcript = assert_same(run_everywhere(script(stream("hi"), stream_options=None), lambda: [Counting()]))
    assert json.loads(transcript.seen[0].body)["stream_options"] == {"include_usage": True}
    assert b"prompt_tokens" not in transcript.body
    assert set(seen) == {(3, 2, "provider")}


@pytest.mark.parametrize("template", [DONE, b"data: [1]\n\n", b"data: x\n\n", b": only a comment\n\n"])
@pytest.mark.parametrize("name", ["openai-chat", "openai-completions"])
def test_an_end_can_be_written_after_any_event(name: str, template: bytes) -> None:
    writer = DIALECTS[name].open()
    ending = writer.finish_events(Event(template), [0], "stop")
    assert ending.endswith(DONE)
    assert json.loads(ending[6 : -len(DONE)])["choices"][0]["finish_reason"] == "stop"
    assert b"text" in writer.text_event(Event(template), Piece(0, "content", 0, "text"))


def test_answers_of_ours_are_read_by_the_official_client() -> None:
    given_answer: dict[str, Any] = {"reason": "content_filter", "model": "m", "identifier": "1", "created": 1}
    assert sdk_reads(COMPLETIONS.answer("No.", stream=True, **given_answer)) == (
        {0: "No."},
        {0: "content_filter"},
        None,
    )
    whole = json.loads(COMPLETIONS.answer("No.", stream=False, **given_answer))
    read = openai.types.Completion.model_validate(whole, strict=True)
    assert (read.choices[0].text, read.choices[0].finish_reason) == ("No.", "content_filter")


def test_an_error_in_a_stream_is_raised_by_the_official_client() -> None:
    data = event("a") + COMPLETIONS.open().error_event(502, "broken", "No more.")
    with pytest.raises(openai.APIError, match="No more"):
        sdk_reads(data)


# ------------------------------------------------------------------ properties

counts = st.integers(0, 3)
choices = st.lists(
    st.fixed_dictionaries(
        {"text": st.text("cat ", max_size=6), "index": counts},
        optional={"logprobs": st.none() | st.just(LOGPROBS), "finish_reason": st.none() | st.just("stop")},
    ),
    max_size=3,
    unique_by=lambda choice: choice["index"],
)
NAMES = ["choices", "text", "index", "logprobs", "finish_reason", "usage", "error", "model", "id", "prompt", "suffix"]
NAMES += ["delta", "prompt_tokens", "stream_options", "message"]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 4)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(anything, st.integers(0, 3))
def test_nothing_raises(body: Any, index: int) -> None:
    data = json.dumps(body).encode()
    raw = b"data: " + data + b"\n\n"
    COMPLETIONS.hinted(body)
    list(COMPLETIONS.texts(body))
    list(COMPLETIONS.attachments(body))
    for name in COMPLETIONS.parameters:
        COMPLETIONS.parameter(body, name)
    if COMPLETIONS.readable(body) == "":
        COMPLETIONS.ask_for_usage(copy.deepcopy(body))
    COMPLETIONS.read_answer(data)
    for slot in COMPLETIONS.answer_texts(body):
        assert isinstance(slot.text, str)
    COMPLETIONS.finish_answer(body, index, "stop")
    reader = COMPLETIONS.open()
    told_by = reader.read(Event(raw))
    reader.text_of(data)
    reader.opaque(Event(raw))
    reader.finish_events(Event(raw), [index], "stop")
    reader.text_event(Event(raw), Piece(index, "content", 0, "x"))
    for piece in told_by.pieces if told_by is not None else ():
        reader.frame(raw, piece)
        reader.with_texts(Event(raw), [piece])


@given(choices)
def test_edits_change_nothing_else(given_choices: list[dict[str, Any]]) -> None:
    body = answer(*copy.deepcopy(given_choices), usage=USAGE)
    delta: Delta = Dialect.answered(COMPLETIONS, body)
    raw = b"data: " + json.dumps(body).encode() + b"\n\n"
    read = COMPLETIONS.open().read(Event(raw))
    assert read is not None
    assert told(raw)[0] == [(*piece.place, piece.text) for piece in delta.pieces]  # whole and streamed alike
    changed = [Piece(*piece.place, piece.text.upper()) for piece in read.pieces]
    from_stream = json.loads(COMPLETIONS.open().with_texts(Event(raw), changed)[6:])
    for slot in COMPLETIONS.answer_texts(body):
        slot.container[slot.key] = slot.text.upper()
    for choice in given_choices:
        if choice["text"].upper() != choice["text"] and choice.get("logprobs") is not None:
            choice["logprobs"] = None
        choice["text"] = choice["text"].upper()
    assert body == answer(*given_choices, usage=USAGE)
    if len(read.pieces) == len(given_choices) and all(choice["text"].strip() for choice in given_choices):
        assert from_stream == body


@pytest.mark.parametrize("delta", [{}, None])
def test_an_empty_delta_beside_the_text_hides_nothing(delta: Any) -> None:
    data = {"id": "c", "choices": [{"index": 0, "text": "a", "delta": delta, "finish_reason": "stop"}]}
    found = DIALECTS["openai-completions"].open().read(Event(b"data: " + json.dumps(data).encode() + b"\n\n"))
    assert found is not None
    assert ([piece.text for piece in found.pieces], found.finished) == (["a"], [0])
