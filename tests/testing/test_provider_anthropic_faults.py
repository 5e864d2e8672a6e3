"""Faults of the fake provider in Anthropic's dialect, as the official SDK meets them."""

import asyncio
from typing import Any

import anthropic
import pytest

from aigw_middleware.testing.asgi import asgi_exchange
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import (
    Answer,
    CutMidEvent,
    ErrorEvent,
    Fault,
    ProviderError,
    RateLimited,
    RefuseConnection,
)

from .anthropic_calls import ASKED, VERSION, post, sdk


async def read(http: anthropic.AsyncAnthropic, said: list[str]) -> None:
    async with http.messages.stream(**ASKED) as stream:
        async for text in stream.text_stream:
            said.append(text)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "expected", "kind"),
    [
        (ProviderError(), anthropic.InternalServerError, "api_error"),
        (ProviderError(529), anthropic.InternalServerError, "overloaded_error"),
        (ProviderError(503), anthropic.InternalServerError, "api_error"),
        (ProviderError(503, type="overloaded_error"), anthropic.InternalServerError, "overloaded_error"),
        (ProviderError(401), anthropic.AuthenticationError, "authentication_error"),
        (ProviderError(403), anthropic.PermissionDeniedError, "permission_error"),
        (ProviderError(418), anthropic.APIStatusError, "invalid_request_error"),
        (RateLimited(), anthropic.RateLimitError, "rate_limit_error"),
        (RefuseConnection(), anthropic.APIConnectionError, None),
    ],
)
async def test_faults_before_the_answer(
    fault: Fault, expected: type[anthropic.APIError], kind: str | None, stream: bool
) -> None:
    async with sdk(FakeProvider([fault])) as http:
        with pytest.raises(expected) as caught:
            await http.messages.create(**ASKED, stream=stream)
    if isinstance(caught.value, anthropic.APIStatusError):
        assert isinstance(caught.value.body, dict)
        assert (caught.value.body["type"], caught.value.body["error"]["type"]) == ("error", kind)
        assert caught.value.body["request_id"] == caught.value.request_id == "req_1"


@pytest.mark.anyio
async def test_faults_in_the_middle() -> None:
    overloaded = ErrorEvent(after=2, message="busy", type="overloaded_error")
    provider = FakeProvider([overloaded, overloaded, CutMidEvent(after=2, reset=True)])
    async with sdk(provider) as http:
        said: list[str] = []
        with pytest.raises(anthropic.APIStatusError, match="busy") as caught:
            await read(http, said)
        assert said == ["This", " is"]
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["error"] == {"type": "overloaded_error", "message": "busy"}
        with pytest.raises(anthropic.InternalServerError, match="busy"):
            await http.messages.create(**ASKED)
        with pytest.raises(Exception, match="cuts this connection"):
            await read(http, said)
    assert said == ["This", " is"] * 2
    assert provider.outcomes == {"completed": 2, "failed": 1}


@pytest.mark.parametrize(
    ("path", "headers", "body", "message"),
    [
        ("/v1/messages", [], {}, "anthropic-version: header is required"),
        ("/v1/messages/count_tokens", [], {}, "anthropic-version: header is required"),
        ("/v1/messages", [VERSION], {"max_tokens": None}, "max_tokens: Field required"),
        ("/v1/messages", [VERSION], {"messages": "Hello"}, "'messages' must be a list of at least one message."),
        ("/v1/messages", [VERSION], {"model": 7}, "you must provide a model parameter"),
    ],
)
def test_bad_requests_use_up_no_script(path: str, headers: Any, body: Any, message: str) -> None:
    provider = FakeProvider([Answer("kept")])
    exchange = post(provider, path, headers, **body)
    error = {"type": "invalid_request_error", "message": message}
    assert (exchange.status, provider.remaining) == (400, 1)
    assert exchange.json() == {"type": "error", "error": error, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/messages", 405), ("GET", "/v1/unknown", 404), ("POST", "/v1/models", 405)],
)
def test_wrong_urls_get_anthropics_errors(method: str, path: str, status: int) -> None:
    exchange = asyncio.run(asgi_exchange(FakeProvider(), method, path, headers=[VERSION]))
    assert (exchange.status, exchange.json()["type"]) == (status, "error")
