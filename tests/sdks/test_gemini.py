"""Gemini's API, read by hand as its own SDK reads it, which is no dependency: refusals, streams, and their ends.

Source: the Gemini API reference, "Generating content" and "Error codes"; the error model of Google's APIs (AIP-193).
"""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from aigw_middleware import Exchange, Plugin, PluginConfig, Refusal, Stage
from aigw_middleware.testing.script import Answer, ErrorEvent, ProviderError, Scripted, Style, ToolCall, Usage

from .setting import EVERY_PLACE, EVERYTHING, INBOUND, KEY, Conversation, Setting, logged, settled
from .test_endings import SAID, Breaks, Ends

WHOLE = "/v1beta/models/m:generateContent"
SSE = "/v1beta/models/m:streamGenerateContent?alt=sse"
ARRAY = "/v1beta/models/m:streamGenerateContent"
METHODS = pytest.mark.parametrize("path", [WHOLE, SSE, ARRAY], ids=["whole", "sse", "array"])
ASKED: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "How warm is it?"}]}],
    "tools": [{"functionDeclarations": [{"name": "weather"}]}],
}
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Names of `google.rpc.Code` by status, as the API pairs them."""


class APIError(Exception):
    """An answer that is not 200, or an error in a stream."""

    def __init__(self, body: Any, headers: Any) -> None:
        error = body["error"]
        self.code, self.status, self.message = error["code"], error["status"], error["message"]
        self.reasons = [detail.get("reason") for detail in error.get("details", ())]
        self.headers = headers
        super().__init__(f"{self.code} {self.status}. {self.message}")


async def generate(http: Any, path: str, *, key: str = KEY, **members: Any) -> list[Any]:
    """The chunks of an answer; of a whole one there is one. Raises APIError."""
    request = http.build_request(
        "POST", f"http://testserver{path}", headers={"x-goog-api-key": key}, json=ASKED | members
    )
    response = await settled(http.send(request, stream=True))
    try:
        lines = (
            [line async for line in response.aiter_lines()] if hasattr(http, "aclose") else list(response.iter_lines())
        )
    finally:
        await settled(response.aclose() if hasattr(http, "aclose") else response.close())
    text = "\n".join(lines)
    if response.status_code != 200:
        raise APIError(json.loads(text), response.headers)
    if path == SSE:
        assert response.headers["content-type"].startswith("text/event-stream")
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    else:
        whole = json.loads(text)
        chunks = whole if path == ARRAY else [whole]
    for chunk in chunks:
        if "error" in chunk:
            raise APIError(chunk, response.headers)
    return chunks


def told(chunks: Iterable[Any]) -> tuple[str, str, list[Any], str, Any]:
    """Text, thoughts, calls, the reason of the end and usage."""
    text = thoughts = finish = ""
    calls: list[Any] = []
    usage = None
    for chunk in chunks:
        usage = chunk.get("usageMetadata", usage)
        for candidate in chunk.get("candidates", ()):
            finish = candidate.get("finishReason", finish)
            for part in candidate.get("content", {}).get("parts", ()):
                if "functionCall" in part:
                    calls.append((part["functionCall"]["name"], part["functionCall"]["args"]))
                elif part.get("thought"):
                    thoughts += part["text"]
                else:
                    text += part.get("text", "")
    return text, thoughts, calls, finish, usage


def failure(setting: Setting, path: str, **options: Any) -> APIError:
    """The error that a question raises."""

    async def asking(http: Any) -> APIError:
        with pytest.raises(APIError) as caught:
            await generate(http, path, **options)
        return caught.value

    error: APIError = with_http(setting, asking)
    return error


def with_http(setting: Setting, conversation: "Conversation[Any]") -> Any:
    """Have a conversation over plain HTTP."""
    return setting.talk("http", conversation)


@EVERY_PLACE
@METHODS
def test_an_answer_is_what_the_provider_sent(place: str, path: str) -> None:
    usage = Usage(40, 17, cached_tokens=8, reasoning_tokens=5)
    call = ToolCall("weather", {"city": "Zürich"})
    answer = Answer("It is warm.", [call], "Let me see.", usage=usage, style=Style(keep_alive=path == ARRAY))
    setting = Setting(place, EVERYTHING, answers=[answer])
    with logged() as lines:
        text, thoughts, calls, finish, told_usage = told(with_http(setting, lambda http: generate(http, path)))
    assert (text, thoughts, calls, finish) == ("It is warm.", "Let me see.", [("weather", call.arguments)], "STOP")
    assert (told_usage["promptTokenCount"], told_usage["totalTokenCount"]) == (40, 57)
    assert (told_usage["candidatesTokenCount"], told_usage["thoughtsTokenCount"]) == (12, 5)
    (line,) = lines
    assert (line["input_token"], line["output_token"], line["total_token"]) == (40, 12, 57)  # as the API counts
    request = setting.provider.requests[0].json
    assert request["systemInstruction"]["parts"][0]["text"] == "You are kind."


class Refuses(Plugin[PluginConfig]):
    """Refuses every request."""

    name, stage = "refuses", Stage.DEFAULT
    refusal: Refusal

    def on_request(self, exchange: Exchange) -> Refusal:
        return self.refusal


@EVERY_PLACE
@METHODS
def test_every_status_has_its_name(place: str, path: str) -> None:
    refuses = Refuses()
    setting = Setting(place, own=[refuses])
    for status, name in STATUSES.items():
        refuses.refusal = Refusal(status, "not_now", "Not now.", [("retry-after", "7")])
        error = failure(setting, path)
        assert (error.code, error.status, error.message, error.reasons) == (status, name, "Not now.", ["not_now"])
        assert error.headers["retry-after"] == "7"


@pytest.mark.parametrize("place", INBOUND)
@METHODS
def test_a_key_in_the_header_of_the_api(place: str, path: str) -> None:
    consumers = [{"name": "alice", "credential": KEY}, {"name": "bob", "credential": "bobs-example-key-4567"}]
    config = {"keys": ["x-goog-api-key"], "consumers": consumers, "allow": ["alice"]}
    setting = Setting(place, [{"name": "key-auth", "config": config}], answers=[Answer("Hello.")])
    assert told(with_http(setting, lambda http: generate(http, path)))[0] == "Hello."
    for key, code, status in [("x", 401, "UNAUTHENTICATED"), ("bobs-example-key-4567", 403, "PERMISSION_DENIED")]:
        error = failure(setting, path, key=key)
        assert (error.code, error.status) == (code, status)


@EVERY_PLACE
@METHODS
@pytest.mark.parametrize("kind", ["content", "reasoning"])
def test_a_plugin_ends_an_answer(place: str, path: str, kind: str) -> None:
    ends = Ends()
    ends.kind = kind
    answer = Answer(SAID) if kind == "content" else Answer("Not reached.", reasoning=SAID)
    setting = Setting(place, EVERYTHING, own=[ends], answers=[answer] * 3)
    for ends.reason, finish in {"content_filter": "SAFETY", "length": "MAX_TOKENS", "stop": "STOP"}.items():
        text, thoughts, _, told_finish, _ = told(with_http(setting, lambda http: generate(http, path)))
        assert (text, thoughts) == (("one two - no", "") if kind == "content" else ("", "one two - no"))
        assert told_finish == finish
    assert setting.provider.outcomes == {"completed" if path == WHOLE else "disconnected": 3}


@EVERY_PLACE
@METHODS
def test_a_plugin_breaks_in_an_answer(place: str, path: str) -> None:
    error = failure(Setting(place, EVERYTHING, own=[Breaks()], answers=[Answer(SAID)]), path)
    assert (error.code, error.status, error.reasons) == (503, "UNAVAILABLE", ["plugin_failed"])


@EVERY_PLACE
@METHODS
def test_a_failure_of_the_provider_is_told_as_it_is(place: str, path: str) -> None:
    faults: list[Scripted] = [
        ErrorEvent(after=2, message="Broken.", answer=Answer(SAID)),
        ProviderError(503, "Busy.", "UNAVAILABLE"),
    ]
    setting = Setting(place, EVERYTHING, answers=faults)
    direct = Setting(setting.direct, answers=faults)
    with logged() as lines:
        errors = [failure(setting, path) for _ in faults]
    for error in errors:
        assert str(error) == str(failure(direct, path))
    assert [bool(line["error"]) for line in lines] == [True, True]
