"""Gemini's dialect of the fake provider, read by hand: its SDK is too heavy a dependency for this."""

import asyncio
import json
from typing import Any

import pytest

from aigw_middleware.testing.asgi import AsgiExchange, asgi_exchange
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import (
    Answer,
    CutMidEvent,
    ErrorEvent,
    ProviderError,
    RateLimited,
    Style,
    ToolCall,
    Usage,
)

CONTENTS = [
    {"role": "user", "parts": [{"text": "Hi."}]},
    {"role": "model", "parts": [{"text": "Hello."}]},
    {"parts": [{"text": "How are "}, {"inlineData": {"data": ""}}, {"text": "you?"}]},
]
TOOLS = [{"functionDeclarations": [{"name": "weather"}]}]
WEATHER = ToolCall("weather", {"city": "Zürich", "unit": "°C"})
MODEL = "/v1beta/models/m"


def post(provider: FakeProvider, method: str = "generateContent", **body: Any) -> AsgiExchange:
    asked = json.dumps({"contents": CONTENTS} | body).encode()
    return asyncio.run(asgi_exchange(provider, "POST", f"{MODEL}:{method}", body=[asked]))


def stream(provider: FakeProvider, **body: Any) -> list[Any]:
    exchange = post(provider, "streamGenerateContent?alt=sse", **body)
    *events, rest = exchange.body.decode().split("\r\n\r\n")
    assert (exchange.header("content-type"), rest) == ("text/event-stream; charset=utf-8", "")
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events]


def parts(answer: Any) -> Any:
    return answer["candidates"][0]["content"]["parts"]


def test_content_echoes_by_default() -> None:
    body = post(FakeProvider(), systemInstruction={"parts": [{"text": "Be brief."}]}).json()
    assert body == {
        "candidates": [
            {
                "content": {"parts": [{"text": "This is m. You said: How are you?"}], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 7,
            "candidatesTokenCount": 8,
            "totalTokenCount": 15,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
        },
        "modelVersion": "m",
        "responseId": "response-1",
    }


def test_a_stream_has_usage_in_every_chunk_and_tool_calls_whole() -> None:
    answer = Answer("It is", tool_calls=[WEATHER, ToolCall("now")], reasoning="Hm.", cached_tokens=2)
    provider = FakeProvider(
        [answer, Answer(answer.text, answer.tool_calls, answer.reasoning, style=Style(interleave=True))]
    )
    chunks = stream(provider, tools=TOOLS)
    assert [parts(chunk) for chunk in chunks] == [
        [{"text": "Hm.", "thought": True}],
        [{"text": "It"}],
        [{"text": " is"}],
        [{"functionCall": {"name": "weather", "args": WEATHER.arguments, "id": "call_1_0"}}],
        [{"functionCall": {"name": "now", "args": {}, "id": "call_1_1"}}],
        [{"text": ""}],
    ]
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None] * 5 + ["STOP"]
    usages = [chunk["usageMetadata"] for chunk in chunks]
    assert [usage["candidatesTokenCount"] for usage in usages] == sorted(
        usage["candidatesTokenCount"] for usage in usages
    )
    assert {usage["thoughtsTokenCount"] for usage in usages} == {1}
    assert {(usage["promptTokenCount"], usage["cachedContentTokenCount"]) for usage in usages} == {(5, 2)}
    last = usages[-1]
    assert last["totalTokenCount"] == 5 + 1 + last["candidatesTokenCount"]
    assert last["candidatesTokenCount"] == 2 + (1 + 4) + (1 + 1)  # words; names and pieces of arguments
    assert [_name(chunk) for chunk in stream(provider, tools=TOOLS)] == [None] * 3 + ["weather", "now", None]


def _name(chunk: Any) -> str | None:
    return next((part["functionCall"]["name"] for part in parts(chunk) if "functionCall" in part), None)


@pytest.mark.parametrize("style", [Style(), Style(keep_alive=1), Style(crlf=False)])
def test_without_sse_a_stream_is_one_json_array(style: Style) -> None:
    provider = FakeProvider([Answer("a b", style=style)])
    exchange = post(provider, "streamGenerateContent")
    assert exchange.header("content-type") == "application/json"
    assert (b"\r\n" in exchange.body) is (style.crlf is not False)
    assert [parts(chunk) for chunk in json.loads(exchange.body)] == [[{"text": "a"}], [{"text": " b"}], [{"text": ""}]]
    assert provider.requests[0].pieces_sent == (5 if style.keep_alive else 3)


@pytest.mark.parametrize(
    ("answer", "limit", "reason", "said"),
    [
        (Answer("One"), 9, "STOP", [{"text": "One"}]),
        (Answer("One two"), 1, "MAX_TOKENS", [{"text": "One"}]),
        (Answer(refusal="No."), 9, "SAFETY", [{"text": "No."}]),
        (Answer("One", finish_reason="content_filter"), 9, "SAFETY", [{"text": "One"}]),
        (Answer(tool_calls=[ToolCall("now", "{no")]), 9, "MALFORMED_FUNCTION_CALL", []),
        (Answer(tool_calls=[ToolCall("now", "[" * 9999)]), 9999, "MALFORMED_FUNCTION_CALL", []),
        (Answer(tool_calls=[ToolCall("now", "[]")]), 9, "MALFORMED_FUNCTION_CALL", []),
        (Answer(tool_calls=[WEATHER]), 2, "MAX_TOKENS", []),
    ],
)
def test_finish_reasons(answer: Answer, limit: int, reason: str, said: list[Any]) -> None:
    provider = FakeProvider([answer] * 2)
    asked: dict[str, Any] = {"generationConfig": {"maxOutputTokens": limit}, "tools": TOOLS}
    whole = post(provider, **asked).json()
    assert (whole["candidates"][0]["finishReason"], parts(whole)) == (reason, said)
    chunks = stream(provider, **asked)
    assert [part for chunk in chunks[:-1] for part in parts(chunk)] == said
    assert chunks[-1]["candidates"][0]["finishReason"] == reason


def test_several_candidates_take_turns() -> None:
    provider = FakeProvider([Answer("a b")] * 2)
    asked: dict[str, Any] = {"generation_config": {"candidateCount": 2}}
    whole = post(provider, **asked).json()
    assert [one["index"] for one in whole["candidates"]] == [0, 1]
    assert whole["usageMetadata"]["candidatesTokenCount"] == 4
    chunks = stream(provider, **asked)
    assert [[one["index"] for one in chunk["candidates"]] for chunk in chunks] == [[0], [1], [0], [1], [0, 1]]


@pytest.mark.parametrize(
    ("usage_at", "where"),
    [
        ("usual", [1, 2, 2]),
        ("every", [1, 2, 2]),
        ("start", [2, None, None]),
        ("finish", [None, None, 2]),
        ("end", [None, None, 2]),
    ],
)
def test_usage_stands_where_the_style_says(usage_at: Any, where: list[int | None]) -> None:
    chunks = stream(FakeProvider([Answer("a b", style=Style(usage_at=usage_at))]))
    assert [chunk.get("usageMetadata", {}).get("candidatesTokenCount") for chunk in chunks] == where


def test_an_answer_without_words_ends_all_the_same() -> None:
    (chunk,) = stream(FakeProvider([Answer("", style=Style(usage_at="start"))]))
    assert (parts(chunk), chunk["usageMetadata"]["candidatesTokenCount"]) == ([{"text": ""}], 0)
    silent = FakeProvider([Answer(usage="none")] * 2)
    assert all("usageMetadata" not in chunk for chunk in [post(silent).json(), *stream(silent)])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"responseSchema": {"type": "OBJECT", "required": ["a"], "properties": {"a": {"type": "STRING"}}}},
            {"a": "text"},
        ),
        ({"responseJsonSchema": {"type": "array", "minItems": 1, "items": {"type": "boolean"}}}, [True]),
        ({}, {"model": "m", "echo": "How are you?"}),
    ],
)
def test_content_keeps_its_format(config: Any, said: Any) -> None:
    config = {"responseMimeType": "application/json", **config}
    assert json.loads(parts(post(FakeProvider(), generationConfig=config).json())[0]["text"]) == said


def test_tokens_are_counted() -> None:
    provider = FakeProvider([Answer(), Answer(), Answer(usage=Usage(77, 0)), Answer(usage="none")])
    wrapped = {"generateContentRequest": {"contents": CONTENTS[:1]}}
    bodies: list[dict[str, Any]] = [{}, wrapped, {}, {}]
    totals = [post(provider, "countTokens", **body).json()["totalTokens"] for body in bodies]
    assert totals == [5, 1, 77, 5]


def test_contents_are_embedded() -> None:
    provider = FakeProvider()
    one = post(provider, "embedContent", content={"parts": [{"text": "a"}]}, outputDimensionality=3).json()
    requests = [{"content": {"parts": [{"text": text}]}, "outputDimensionality": 3} for text in "ab"]
    two = post(provider, "batchEmbedContents", requests=requests).json()
    assert len(one["embedding"]["values"]) == 3
    assert two["embeddings"][0] == one["embedding"] != two["embeddings"][1]


@pytest.mark.parametrize("headers", [[], [("x-goog-api-key", "k")]])
def test_models_are_listed(headers: Any) -> None:
    path = "/any/models" if headers else "/v1beta/models"
    exchange = asyncio.run(asgi_exchange(FakeProvider(models=("a", "b")), "GET", path, headers=headers))
    assert [model["name"] for model in exchange.json()["models"]] == ["models/a", "models/b"]


@pytest.mark.parametrize(
    ("fault", "status", "name"),
    [
        (RateLimited(), 429, "RESOURCE_EXHAUSTED"),
        (ProviderError(), 500, "INTERNAL"),
        (ProviderError(502), 502, "INTERNAL"),
        (ProviderError(503), 503, "UNAVAILABLE"),
        (ProviderError(400), 400, "INVALID_ARGUMENT"),
        (ProviderError(400, type="FAILED_PRECONDITION"), 400, "FAILED_PRECONDITION"),
        (ProviderError(418), 418, "FAILED_PRECONDITION"),
        (ErrorEvent(), 500, "INTERNAL"),
    ],
)
def test_faults_before_the_answer(fault: Any, status: int, name: str) -> None:
    exchange = post(FakeProvider([fault]))
    error = exchange.json()["error"]
    assert (exchange.status, error["code"], error["status"]) == (status, status, name)


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(2, "2s"), (0.5, "0.5s"), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
)
def test_rate_limits_say_when_to_come_back(retry_after: Any, delay: str | None) -> None:
    error = post(FakeProvider([RateLimited(retry_after)])).json()["error"]
    assert [detail["retryDelay"] for detail in error.get("details", [])] == ([] if delay is None else [delay])


def test_faults_in_the_middle() -> None:
    provider = FakeProvider([ErrorEvent(after=1, message="busy"), ErrorEvent(after=1), CutMidEvent(after=1)])
    begun, error = stream(provider)
    assert (parts(begun), error["error"]["message"]) == ([{"text": "This"}], "busy")
    begun, error = json.loads(post(provider, "streamGenerateContent").body)
    assert (parts(begun), error["error"]["code"]) == ([{"text": "This"}], 500)
    cut = post(provider, "streamGenerateContent").body
    assert cut.startswith(b'[{"candidates"')
    with pytest.raises(ValueError, match=r"delimiter|Unterminated|Expecting"):
        json.loads(cut)


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("generateContent", {"contents": []}),
        ("generateContent", {"contents": [{"parts": "Hi."}]}),
        ("generateContent", {"generationConfig": {"candidateCount": 129}}),
        ("streamGenerateContent", {"contents": "Hi."}),
        ("countTokens", {"contents": None}),
        ("embedContent", {"content": {"parts": 7}}),
        ("embedContent", {"outputDimensionality": 10_000}),
        ("batchEmbedContents", {"requests": []}),
    ],
)
def test_bad_requests_use_up_no_script(method: str, body: Any) -> None:
    provider = FakeProvider([Answer("kept")])
    exchange = post(provider, method, **body)
    assert (exchange.status, exchange.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert provider.remaining == 1
