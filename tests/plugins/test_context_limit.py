"""`ai-context-limit`: what is too long is refused or shortened, what is not costs nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import json as strict_json
from aigw_middleware.exchange import Request
from aigw_middleware.headers import Headers
from aigw_middleware.llm.dialects import DIALECTS, Slot
from aigw_middleware.llm.tokens import TokenCounter, counter_for, image_tokens
from aigw_middleware.llm.turns import cuts
from aigw_middleware.llm.view import LlmCall
from aigw_middleware.plugins.ai import context_limit
from aigw_middleware.plugins.ai.context_limit import AiContextLimit
from aigw_middleware.ports import OffloadFull
from aigw_middleware.ports.work import BlockingOffload
from aigw_middleware.testing.asgi import AsgiExchange
from aigw_middleware.testing.script import Answer
from tests.plugins.chat import PATH, Chat, example, problems, question

WORDS = "one two three four five six seven eight nine ten "
PATHS = {
    "openai-chat": PATH,
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
    "openai-completions": "/v1/completions",
    "openai-embeddings": "/v1/embeddings",
}


def entry(**config: Any) -> dict[str, Any]:
    """The entry of a configuration; estimates are counts where it does not say otherwise."""
    return {"name": "ai-context-limit", "config": {"buffer_ratio": 1, **config}}


def call_of(body: Any, dialect: str = "openai-chat") -> LlmCall:
    """A call as the gateway reads it."""
    request = Request()
    request.headers = Headers([(b"content-type", b"application/json")])
    request.path = PATHS[dialect]
    request.load(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
    return LlmCall(request, DIALECTS[dialect])


def tokens(body: Any, dialect: str = "openai-chat") -> int:
    """What a call takes."""
    return asyncio.run(call_of(body, dialect).prompt_tokens(BlockingOffload()))


def asked(config: Mapping[str, Any], body: Any, path: str = PATH, **entry_options: Any) -> tuple[Chat, AsgiExchange]:
    """One call through the plug-in alone."""
    chat = Chat({**entry(**config), **entry_options}, answers=[Answer("x")] * 3)
    return chat, chat.ask(body, path=path, headers=[("anthropic-version", "2023-06-01")])


# ---------------------------------------------------------------------- what is refused


def test_a_call_fits_to_the_last_token() -> None:
    body = question(WORDS * 10)
    count = tokens(body)
    chat, answer = asked({"max_context_tokens": count}, body)
    assert (answer.status, chat.received, chat.records) == (200, body, [])
    chat, answer = asked({"max_context_tokens": count - 1}, body)
    assert chat.provider.requests == []
    message = (
        f"This model's maximum context length is {count - 1} tokens. Your request had approximately {count} tokens."
    )
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}
    assert (answer.status, answer.json()) == (400, {"error": error})
    assert chat.records == [
        ("ai-context-limit", "refused", f"about {count} tokens and 0 for the answer, {count - 1} are allowed"),
        ("ai-context-limit", "refused", "400 context_length_exceeded"),
    ]


def test_the_error_of_compatible_gateways() -> None:
    body = question(WORDS * 10)
    chat = Chat(entry(max_context_tokens=7), error_format="upstream")
    answer = chat.ask(body)
    message = f"This model's maximum context length is 7 tokens. Your request had approximately {tokens(body)} tokens."
    expected = f'{{"error":{{"message":"{message}","type":"invalid_request_error","code":"context_length_exceeded"}}}}'
    assert (answer.status, answer.body) == (400, expected.encode())
    assert answer.header("content-type") == "application/json"


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (
            "anthropic-messages",
            {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": WORDS}]},
            {"type": "error", "error": {"type": "invalid_request_error"}},
        ),
        (
            "gemini",
            {"contents": [{"role": "user", "parts": [{"text": WORDS}]}]},
            {"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "context_length_exceeded"}]}},
        ),
        (
            "openai-responses",
            {"model": "m", "input": WORDS},
            {"error": {"type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}},
        ),
    ],
)
def test_the_error_in_the_caller_s_words(dialect: str, body: Any, expected: Any) -> None:
    chat, answer = asked({"max_context_tokens": 9}, body, PATHS[dialect])
    text = f"This model's maximum context length is 9 tokens. Your request had approximately {tokens(body, dialect)} tokens."
    expected["error"]["message"] = text
    assert (answer.status, answer.json(), chat.provider.requests) == (400, expected, [])


@pytest.mark.parametrize("status", [400, 413, 422, 599])
def test_the_status(status: int) -> None:
    _, answer = asked({"max_context_tokens": 9, "error_status_code": status}, question(WORDS))
    assert answer.status == status


@pytest.mark.parametrize(("ratio", "percent"), [(0, 110), (1.1, 110), (1, 100), (2.5, 250), (0.5, 50)])
def test_the_margin_of_safety(ratio: float, percent: int) -> None:
    body = question(WORDS * 10)
    estimate = tokens(body) * percent // 100
    assert asked({"max_context_tokens": estimate, "buffer_ratio": ratio}, body)[1].status == 200
    _, answer = asked({"max_context_tokens": estimate - 1, "buffer_ratio": ratio}, body)
    assert f"approximately {estimate} tokens." in answer.json()["error"]["message"]


def test_everything_of_a_call_is_counted() -> None:
    function = {"name": "weather", "description": WORDS}
    bodies: list[dict[str, Any]] = [
        question("Hi"),
        question("Hi", messages=[{"role": "system", "content": WORDS}, {"role": "user", "content": "Hi"}]),
        question("Hi", tools=[{"type": "function", "function": function}]),
        question("Hi", messages=[{"role": "tool", "tool_call_id": "1", "content": WORDS}]),
        question("Hi", messages=[{"role": "user", "content": [{"type": "text", "text": WORDS}]}]),
    ]
    assert [asked({"max_context_tokens": 15}, body)[1].status for body in bodies] == [200, 400, 400, 400, 400]


# ---------------------------------------------------------------------- what holds for which model


MODELS = {"gpt-4o": 50, "gpt-4o-mini*": 60, "gpt-*": 70, "claude-*": 0}


@pytest.mark.parametrize(
    ("config", "model", "limit"),
    [
        ({"models": MODELS}, "gpt-4o", 50),
        ({"models": MODELS}, "gpt-4o-mini-2024-07-18", 60),
        ({"models": MODELS}, "gpt-4.1", 70),
        ({"models": MODELS}, "claude-3-opus", None),
        ({"models": MODELS}, "o3", None),
        ({"models": MODELS, "max_context_tokens": 80}, "o3", 80),
        ({"models": MODELS, "max_context_tokens": 80}, "claude-3-opus", None),
        ({"models": {**MODELS, "*": 90}, "max_context_tokens": 80, "known_windows": True}, "o3", 90),
        ({"known_windows": True, "max_context_tokens": 80}, "computer-use-preview", 8_192),
        ({"known_windows": True, "max_context_tokens": 80}, "openai/gpt-4", 8_192),
        ({"known_windows": True, "models": {"gpt-4": 100}}, "gpt-4", 100),
        ({"known_windows": True, "max_context_tokens": 80}, "m", 80),
        ({"known_windows": True}, "m", None),
        ({"max_context_tokens": 80}, "gpt-4", 80),
    ],
)
def test_whose_limit_holds(config: dict[str, Any], model: str, limit: int | None) -> None:
    _, answer = asked(config, question(WORDS * 1000, model=model))
    if limit is None:
        assert answer.status == 200
    else:
        text = answer.json()["error"]["message"]
        assert text.startswith(f"This model's maximum context length is {limit} tokens. ")


def test_the_model_that_others_chose_counts() -> None:
    mapper = {"name": "model-mapper", "config": {"model_mapping": {"large": "small"}}}
    chat = Chat(mapper, entry(models={"small": 20}), answers=[Answer("x")])
    assert chat.ask(question(WORDS * 2, model="large")).status == 400
    assert chat.ask(question("Hi", model="large")).status == 200


@pytest.mark.parametrize(
    ("config", "extra", "counted"),
    [
        ({"max_context_tokens": 100}, {"max_tokens": 500}, 0),
        ({"max_context_tokens": 100, "count_output": True}, {"max_tokens": 500}, 500),
        ({"models": {"*": 100}}, {"max_tokens": 500}, 500),
        ({"models": {"*": 100}}, {"max_completion_tokens": 500}, 500),
        ({"models": {"*": 100}, "count_output": False}, {"max_tokens": 500}, 0),
        ({"models": {"*": 100}}, {}, 0),
        ({"models": {"*": 100}}, {"max_tokens": -1}, 0),
        ({"models": {"*": 100}}, {"max_tokens": "many"}, 0),
        ({"models": {"*": 20_000}}, {"max_tokens": 10**9, "model": "gpt-4"}, 8_192),
        ({"known_windows": True}, {"max_tokens": 10**9, "model": "gpt-4"}, 8_192),
        ({"known_windows": True, "count_output": False}, {"max_tokens": 10**9, "model": "gpt-4"}, 0),
    ],
)
def test_the_longest_answer_counts(config: dict[str, Any], extra: dict[str, Any], counted: int) -> None:
    body = question(WORDS * 5, **extra)
    count = tokens(body)
    limit = config.get("max_context_tokens") or config.get("models", {}).get("*") or 8_192
    chat, answer = asked(config, body)
    if count + counted <= limit:
        assert chat.received == body  # whatever the provider thinks of it
        return
    assert answer.json()["error"]["message"] == (
        f"This model's maximum context length is {limit} tokens. Your request had approximately {count + counted} tokens, "
        f"{counted} of them for the answer."
    )


def test_gemini_s_answers_have_a_limit_of_their_own() -> None:
    body = {"contents": [{"parts": [{"text": WORDS * 2_600}]}], "generationConfig": {"maxOutputTokens": 8_192}}
    path = "/v1beta/models/gemini-1.0-pro:generateContent"
    assert asked({"known_windows": True}, body, path)[1].status == 200
    assert asked({"known_windows": True, "count_output": True}, body, path)[1].status == 400
    assert asked({"models": {"gemini-*": 32_760}}, body, path)[1].status == 400


# ---------------------------------------------------------------------- what is in the count


def image(detail: str, url: str = "https://a.example/i.png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


@pytest.mark.parametrize("detail", ["low", "high"])
def test_images_are_counted_by_formula(detail: str) -> None:
    def body(*parts: Any) -> dict[str, Any]:
        said = [{"type": "text", "text": "What is it?"}, *parts]
        return question("", model="gpt-4o", messages=[{"role": "user", "content": said}])

    limit = tokens(body()) + image_tokens("gpt-4o", None, detail)
    chat, answer = asked({"max_context_tokens": limit}, body(image(detail)))
    assert (answer.status, chat.records) == (200, [])
    assert asked({"max_context_tokens": limit - 1}, body(image(detail)))[1].status == 400
    assert asked({"max_context_tokens": limit}, body(image(detail), image(detail)))[1].status == 400


def test_what_cannot_be_counted_is_named_and_the_rest_counts() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA" * 100, "format": "wav"}}

    def body(text: str) -> dict[str, Any]:
        return question("", messages=[{"role": "user", "content": [{"type": "text", "text": text}, sound]}])

    chat, answer = asked({"max_context_tokens": 20}, body("Hi"))
    assert (answer.status, chat.records) == (200, [("ai-context-limit", "skipped", "not counted: audio")])
    assert asked({"max_context_tokens": 20}, body(WORDS * 3))[1].status == 400


@pytest.mark.parametrize(
    ("dialect", "fits", "too_long"),
    [
        ("openai-embeddings", {"input": [WORDS] * 50}, {"input": ["Hi", WORDS * 5]}),
        ("openai-completions", {"prompt": [WORDS] * 50}, {"prompt": WORDS * 5}),
    ],
)
def test_without_a_conversation_each_text_is_by_itself(dialect: str, fits: Any, too_long: Any) -> None:
    config = {"max_context_tokens": 30, "policy": "truncate_oldest"}
    chat, answer = asked(config, {"model": "m", **fits}, PATHS[dialect])
    assert (answer.status, chat.records) == (200, [])
    chat, answer = asked(config, {"model": "m", **too_long}, PATHS[dialect])
    assert (answer.status, chat.provider.requests) == (400, [])


@pytest.mark.parametrize(
    "path", ["/v1/messages/count_tokens", "/v1/responses/input_tokens", "/v1beta/models/m:countTokens"]
)
def test_who_asks_how_long_something_is_gets_to_know(path: str) -> None:
    said = [{"role": "user", "content": WORDS}]
    body: Any = {"model": "m", "messages": said} if "messages" in path else {"model": "m", "input": WORDS}
    body = {"contents": [{"parts": [{"text": WORDS}]}]} if path.endswith(":countTokens") else body
    chat = Chat(entry(max_context_tokens=5, policy="truncate_oldest"), answers=[Answer("x")])
    chat.ask(body, path=path)
    assert chat.exchange.llm is not None
    assert (chat.received, chat.records) == (body, [])


# ---------------------------------------------------------------------- what it costs


class Spy:
    """Notes that tokens were counted, or looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counted = 0
        for name in ("count", "count_now", "count_all", "_count_each"):
            monkeypatch.setattr(TokenCounter, name, self._noting(getattr(TokenCounter, name)))

    def _noting(self, method: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            self.counted += 1
            return method(*arguments)

        return noted


def test_nothing_is_counted_nor_looked_at_where_sizes_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    looked: list[LlmCall] = []

    def texts(call: LlmCall) -> Iterator[Slot]:
        looked.append(call)
        return call.dialect.texts(call.body)

    monkeypatch.setattr(LlmCall, "texts", texts)
    chat = Chat(entry(max_context_tokens=700), answers=[Answer("x")] * 2)
    assert chat.ask(question(WORDS * 10)).status == 200
    assert (spy.counted, looked) == (0, [])
    assert chat.ask(question(WORDS * 20)).status == 200
    assert (spy.counted, len(looked)) == (1, 1)


def test_a_body_that_others_change_is_neither_counted_nor_encoded_for_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    encoded: list[Any] = []
    encode = strict_json.encode

    def encoding(value: Any) -> bytes:
        encoded.append(value)
        return encode(value)

    monkeypatch.setattr(strict_json, "encode", encoding)
    mapper = {"name": "model-mapper", "config": {"model_mapping": {"*": "mapped"}}}
    decorator = {"name": "ai-prompt-decorator", "config": {"append": [{"role": "user", "content": "Thanks."}]}}
    chat = Chat(mapper, entry(max_context_tokens=700), decorator, answers=[Answer("x")])
    assert chat.ask(question(WORDS * 10)).status == 200
    assert (spy.counted, len(encoded), chat.received["model"]) == (0, 1, "mapped")


def test_without_a_limit_no_body_is_read() -> None:
    for config in ({}, {"max_context_tokens": 0}, {"models": {"m": 0}}):
        chat, _ = asked(config, b"no JSON")
        assert (chat.provider.requests[0].body, chat.exchange.request.loaded) == (b"no JSON", False)


text = st.text(max_size=30) | st.sampled_from(["", "a", "\0", "€", "😀", WORDS])
chat_parts = st.lists(st.builds(lambda said: {"type": "text", "text": said}, text), max_size=3)
chat_messages = st.builds(
    lambda role, content, name: {"role": role, "content": content, **({"name": name} if name is not None else {})},
    st.sampled_from(["system", "user", "assistant", "tool"]),
    text | chat_parts,
    st.none() | text,
)
chat_tools = st.lists(st.builds(lambda said: {"function": {"description": said}}, text), max_size=3)
models = st.sampled_from(["m", "gpt-4o", "gpt-4", "claude-opus-4-7", "claude-3-opus", "gemini-2.5-pro", "llama-2"])


def bodies(**members: Any) -> Any:
    return st.fixed_dictionaries({"model": models, **members})


BODIES: list[tuple[str, Any]] = [
    ("openai-chat", bodies(messages=st.lists(chat_messages, max_size=5), tools=chat_tools)),
    ("openai-responses", bodies(input=text | st.lists(chat_messages, max_size=5), instructions=text)),
    (
        "anthropic-messages",
        bodies(
            system=text,
            messages=st.lists(
                st.fixed_dictionaries({"role": st.just("user"), "content": text | chat_parts}), max_size=5
            ),
            tools=st.lists(st.fixed_dictionaries({"name": text, "description": text}), max_size=3),
        ),
    ),
    (
        "gemini",
        bodies(contents=st.lists(text | st.fixed_dictionaries({"parts": st.lists(text, max_size=3)}), max_size=5)),
    ),
    ("openai-embeddings", bodies(input=st.lists(text, max_size=9))),
    ("openai-completions", bodies(prompt=st.lists(text, max_size=9))),
]


@pytest.mark.parametrize(("dialect", "made"), BODIES, ids=[dialect for dialect, _ in BODIES])
@pytest.mark.parametrize("edited", [False, True])
@given(data=st.data())
def test_sizes_never_promise_too_much(dialect: str, made: Any, edited: bool, data: st.DataObject) -> None:
    body = data.draw(made)
    call = call_of(body, dialect)
    if dialect == "gemini":
        call.request.path = PATHS[dialect].replace("m:", f"{body['model']}:")
    if edited:
        call.request.edit()
    assert not call.uncovered
    bound = context_limit._at_most(call, call.model, list(call.attachments()))
    assert bound >= asyncio.run(context_limit._count(call, BlockingOffload()))


RARE = "".join(map(chr, range(0xE000, 0xE100)))  # for private use: each byte is a token


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("gemini", {"contents": ["a"] * 500}),
        ("openai-chat", {"model": "claude-opus-4-7", "messages": [{"role": "user", "content": RARE * 3}]}),
        ("openai-chat", {"model": "claude-3-opus", "messages": [], "tools": [{"function": {"description": "a"}}]}),
        ("openai-chat", {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": [image("high")] * 3}]}),
    ],
)
def test_sizes_of_calls_that_are_almost_nothing_but_tokens(dialect: str, body: Any) -> None:
    call = call_of(body, dialect)
    bound = context_limit._at_most(call, call.model, list(call.attachments()))
    assert bound >= tokens(body, dialect) > len(call.request.body)


def test_tokenizers_are_loaded_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[TokenCounter] = []
    monkeypatch.setattr(TokenCounter, "prepare", lambda counter: prepared.append(counter))

    def asking(**config: Any) -> set[TokenCounter]:
        prepared.clear()
        chat = Chat(entry(**config), answers=[Answer("x")])
        chat.ask(question())
        return set(prepared)

    assert asking(models={"gpt-4": 10_000, "claude-*": 10_000, "llama-2": 0}) == {
        counter_for("gpt-4"),
        counter_for("claude"),
    }
    assert asking(max_context_tokens=10_000) == asking(known_windows=True) == {counter_for("")}
    assert asking() == set()


# ---------------------------------------------------------------------- shortening


def turns(dialect: str, count: int) -> dict[str, Any]:
    """A call with a system prompt and so many turns of two messages, which call a tool in between; then a question."""
    said: list[Any] = []
    for number in range(count):
        asks, call, answer = f"{number} {WORDS}", f"call-{number}", f"answer {number}"
        if dialect == "openai-chat":
            made = {"id": call, "type": "function", "function": {"name": "f", "arguments": "{}"}}
            said += [
                {"role": "user", "content": asks},
                {"role": "assistant", "content": None, "tool_calls": [made]},
                {"role": "tool", "tool_call_id": call, "content": answer},
            ]
        elif dialect == "openai-responses":
            said += [
                {"role": "user", "content": asks},
                {"type": "function_call", "call_id": call, "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": call, "output": answer},
            ]
        elif dialect == "anthropic-messages":
            said += [
                {"role": "user", "content": asks},
                {"role": "assistant", "content": [{"type": "tool_use", "id": call, "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": answer}]},
            ]
        else:
            said += [
                {"role": "user", "parts": [{"text": asks}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"is": answer}}}]},
            ]
    if dialect == "gemini":
        last = {"role": "user", "parts": [{"text": "And now?"}]}
        return {"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [*said, last]}
    last = {"role": "user", "content": "And now?"}
    if dialect == "anthropic-messages":
        return {"model": "m", "max_tokens": 5, "system": "Be brief.", "messages": [*said, last]}
    said = [{"role": "system", "content": "Be brief."}, *said, last]
    return {"model": "m", "messages" if dialect == "openai-chat" else "input": said}


@pytest.mark.parametrize("policy", ["truncate_oldest", "keep_system"])
@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic-messages", "gemini"])
def test_the_oldest_turns_go(dialect: str, policy: str) -> None:
    body = turns(dialect, 6)
    member = DIALECTS[dialect].conversation
    messages = body[member]
    kept = messages[-7:]  # two turns and the question
    if policy == "keep_system" and dialect.startswith("openai"):
        kept = [messages[0], *kept]
    expected = {**body, member: kept}
    limit = tokens(expected, dialect)
    freed = tokens(body, dialect) - limit
    for room in (limit, limit + 5):  # not enough for another turn
        chat, answer = asked({"max_context_tokens": room, "policy": policy}, body, PATHS[dialect])
        assert (answer.status, chat.received) == (200, expected)
        dropped = len(messages) - len(kept)
        assert chat.records == [("ai-context-limit", "changed", f"dropped {dropped} messages, about {freed} tokens")]


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic-messages", "gemini"])
def test_the_last_turn_stays_or_the_call_is_refused(dialect: str) -> None:
    body = turns(dialect, 3)
    member = DIALECTS[dialect].conversation
    least = tokens({**body, member: body[member][-1:]}, dialect)
    chat, answer = asked({"max_context_tokens": least, "policy": "truncate_oldest"}, body, PATHS[dialect])
    assert (answer.status, chat.received[member]) == (200, body[member][-1:])
    chat, answer = asked({"max_context_tokens": least - 1, "policy": "truncate_oldest"}, body, PATHS[dialect])
    assert (answer.status, chat.provider.requests) == (400, [])
    assert f"approximately {tokens(body, dialect)} tokens" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai-responses", {"model": "m", "input": WORDS * 10}),
        ("gemini", {"contents": {"parts": [{"text": WORDS * 10}]}}),
        ("openai-chat", {"model": "m", "messages": [{"role": "assistant", "content": WORDS * 10}]}),
    ],
)
def test_what_has_no_turns_is_refused(dialect: str, body: Any) -> None:
    _, answer = asked({"max_context_tokens": 20, "policy": "truncate_oldest"}, body, PATHS[dialect])
    assert answer.status == 400


def test_room_for_the_answer_is_made_too() -> None:
    body = turns("openai-chat", 6)
    fits = {**body, "messages": [body["messages"][0], *body["messages"][-4:]]}
    limit = tokens(fits) + 1_000
    chat, answer = asked({"models": {"m": limit}, "policy": "keep_system"}, {**body, "max_tokens": 1_000})
    assert (answer.status, chat.received) == (200, {**fits, "max_tokens": 1_000})
    chat, answer = asked({"models": {"m": limit}, "policy": "keep_system"}, {**body, "max_tokens": limit})
    assert (answer.status, chat.provider.requests) == (400, [])


lengths = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "system"]), st.integers(0, 30)), min_size=1, max_size=12
)


@given(said=lengths, limit=st.integers(1, 150), policy=st.sampled_from(["truncate_oldest", "keep_system"]))
def test_as_little_as_possible_goes(said: Sequence[tuple[str, int]], limit: int, policy: str) -> None:
    messages = [{"role": role, "content": f"{number}" + " word" * length} for number, (role, length) in enumerate(said)]
    body = question("", messages=messages)
    chat, answer = asked({"max_context_tokens": limit, "policy": policy}, body)
    possible = [messages]
    for cut in cuts(DIALECTS["openai-chat"], messages):
        before = [message for message in messages[:cut] if message["role"] == "system" and policy == "keep_system"]
        possible.append([*before, *messages[cut:]])
    fitting = next((kept for kept in possible if tokens({**body, "messages": kept}) <= limit), None)
    if fitting is None:
        assert (answer.status, chat.provider.requests) == (400, [])
    else:
        assert (answer.status, chat.received["messages"]) == (200, fitting)


def test_what_does_not_change_stays_as_it_was_written() -> None:
    last = b'{"role":"user","content":"caf\\u00e9?","x":1.50}'
    long = json.dumps({"role": "user", "content": WORDS * 10}).encode()
    asks = (
        b'{"model":"m","seed":1e3,"messages":['
        + long
        + b',{"role":"assistant","content":"a"},'
        + last
        + b'],"top_p":0.10}'
    )
    chat, answer = asked({"max_context_tokens": 30, "policy": "truncate_oldest"}, asks)
    assert answer.status == 200
    assert (
        chat.provider.requests[-1].body
        == '{"model":"m","seed":1e3,"messages":[{"role":"user","content":"café?","x":1.50}],"top_p":0.10}'.encode()
    )


# ---------------------------------------------------------------------- when something is wrong


def test_a_call_that_cannot_be_counted_goes_on_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = 0
    count = LlmCall.prompt_tokens

    async def counting(self: LlmCall, offload: Any) -> int:
        nonlocal counts
        counts += 1
        if counts == 3:
            raise OffloadFull("all threads are busy")
        return await count(self, offload)

    monkeypatch.setattr(LlmCall, "prompt_tokens", counting)
    body = turns("openai-chat", 6)
    chat, answer = asked({"max_context_tokens": 60, "policy": "truncate_oldest"}, body)
    assert (answer.status, chat.received) == (200, body)
    assert chat.records == [("ai-context-limit", "failed", "OffloadFull; policy: allow")]
    counts = 0
    chat, answer = asked({"max_context_tokens": 60, "policy": "truncate_oldest"}, body, on_failure="deny")
    assert (answer.status, chat.provider.requests) == (503, [])


def test_calls_that_cannot_be_read() -> None:
    body = question("", messages=[{"role": "user", "content": [{"type": "hologram"}]}])
    reason = "a message has a part of unknown type"
    chat, answer = asked({"max_context_tokens": 1}, body)
    assert (answer.status, chat.records) == (200, [("ai-context-limit", "uncovered", f"{reason}; policy: allow")])
    chat, answer = asked({"max_context_tokens": 1}, body, on_uncovered="deny")
    assert (answer.status, chat.provider.requests) == (400, [])
    assert asked({"max_context_tokens": 1}, b'{"model":')[1].json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("policy", ["reject", "truncate_oldest"])
def test_in_shadow_nothing_is_refused_and_nothing_goes(policy: str) -> None:
    body = turns("openai-chat", 6)
    chat, answer = asked({"max_context_tokens": 60, "policy": policy}, body, shadow=True)
    assert (answer.status, chat.received) == (200, body)
    would = [reason for _, decision, reason in chat.records if decision == "would"]
    assert would == (["refuse: 400 context_length_exceeded"] if policy == "reject" else ["change"])


def test_on_a_synchronous_host() -> None:
    body = turns("openai-chat", 6)
    chat = Chat(entry(max_context_tokens=60, policy="keep_system"), answers=[Answer("x")])
    assert chat.ask_wsgi(body).status == 200
    assert chat.received["messages"][1:] == body["messages"][-4:]
    assert Chat(entry(max_context_tokens=9)).ask_wsgi(body).status == 400


def test_long_texts_are_counted_off_the_loop() -> None:
    body = question(WORDS * 2_000)  # 98 kB
    _, answer = asked({"max_context_tokens": 1_000}, body)
    assert f"approximately {tokens(body)} tokens" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({"max_context_tokens": -1}, ".max_context_tokens", "should be greater than or equal to 0"),
        ({"bufferRatio": -0.1}, ".buffer_ratio", "should be greater than or equal to 0"),
        ({"buffer_ratio": 10.1}, ".buffer_ratio", "should be less than or equal to 10"),
        ({"error_status_code": 399}, ".error_status_code", "should be greater than or equal to 400"),
        ({"error_status_code": 600}, ".error_status_code", "should be less than or equal to 599"),
        ({"models": {"m": -1}}, ".models", "'m' has a negative limit; 0 is none"),
        (
            {"models": {"a*b": 1}},
            ".models",
            "'a*b' has a `*` that is not its end: only `prefix*` and `*` are patterns",
        ),
        ({"policy": "summarise"}, ".policy", "should be 'reject', 'truncate_oldest' or 'keep_system'"),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    found = problems({"name": "ai-context-limit", "config": config})
    assert found == [(f"plugins[0].config{path}", message)]


def test_the_example() -> None:
    chat = Chat(*example(AiContextLimit)["plugins"], answers=[Answer("x")] * 4)
    assert chat.ask(question(WORDS * 3_500, model="gpt-4o-mini")).status == 400
    assert chat.ask(question(WORDS * 3_500, model="gpt-4o")).status == 200
    assert chat.ask(question(WORDS * 3_500, model="internal-1")).status == 200
    body = turns("openai-chat", 6)
    assert chat.ask({**body, "model": "llama-3.1-8b", "max_tokens": 31_900}).status == 200
    assert chat.received["messages"][0]["role"] == "system"
    assert 2 <= len(chat.received["messages"]) < len(body["messages"])
