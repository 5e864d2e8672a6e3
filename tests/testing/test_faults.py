"""Every fault of the fake provider as the official SDK meets it, and every way in which a client leaves it."""

import asyncio
import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from aigw_middleware.testing.asgi import AsgiExchange, asgi_exchange
from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import (
    Answer,
    CutConnectionError,
    CutMidEvent,
    ErrorEvent,
    Fault,
    Garbage,
    ProviderError,
    RateLimited,
    RefuseConnection,
    RefusedConnectionError,
)
from aigw_middleware.testing.wsgi import wsgi_exchange

from .sdk import ECHO, MESSAGES, async_sdk, sync_sdk

SUBJECT: dict[str, Any] = {"model": "m", "messages": MESSAGES}


async def post(provider: FakeProvider, **options: Any) -> AsgiExchange:
    body = json.dumps(SUBJECT | {"stream": True}).encode()
    return await asgi_exchange(provider, "POST", "/v1/chat/completions", body=[body], **options)


async def read(stream: openai.AsyncStream[ChatCompletionChunk], said: list[str | None]) -> None:
    async for chunk in stream:
        said.append(chunk.choices[0].delta.content)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (ProviderError(), openai.InternalServerError),
        (ProviderError(503), openai.InternalServerError),
        (ProviderError(401, code="invalid_api_key"), openai.AuthenticationError),
        (ProviderError(400, code="context_length_exceeded", param="messages"), openai.BadRequestError),
        (RateLimited(), openai.RateLimitError),
        (RefuseConnection(), openai.APIConnectionError),
    ],
)
async def test_faults_before_the_answer(fault: Fault, expected: type[openai.APIError], stream: bool) -> None:
    provider = FakeProvider([fault])
    async with async_sdk(provider) as sdk:
        with pytest.raises(expected) as caught:
            await sdk.chat.completions.create(**SUBJECT, stream=stream)
    if isinstance(fault, ProviderError):
        assert (caught.value.code, caught.value.param, caught.value.type) == (fault.code, fault.param, "server_error")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        (RateLimited(), {"retry-after": "1"}),
        (RateLimited(retry_after=0.5, retry_after_ms=20), {"retry-after": "0.5", "retry-after-ms": "20"}),
        (RateLimited(retry_after=None), {}),
        (RateLimited("Wed, 21 Oct 2026 07:28:00 GMT"), {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}),
    ],
)
async def test_rate_limits_say_when_to_come_back(fault: RateLimited, headers: dict[str, str]) -> None:
    async with async_sdk(FakeProvider([fault])) as sdk:
        with pytest.raises(openai.RateLimitError) as caught:
            await sdk.chat.completions.create(**SUBJECT)
    assert {name: value for name, value in caught.value.response.headers.items() if name.startswith("retry")} == headers
    assert caught.value.code == "rate_limit_exceeded"


@pytest.mark.anyio
async def test_the_sdk_retries_what_is_worth_it() -> None:
    provider = FakeProvider(
        [RateLimited(retry_after=None, retry_after_ms=1), ProviderError(headers=[("retry-after-ms", "1")])]
    )
    async with async_sdk(provider, max_retries=2) as sdk:
        answer = await sdk.chat.completions.create(**SUBJECT)
    assert answer.choices[0].message.content == ECHO
    assert [request.header("x-stainless-retry-count") for request in provider.requests] == ["0", "1", "2"]


@pytest.mark.anyio
async def test_garbage_is_no_json() -> None:
    provider = FakeProvider([Garbage(), Garbage(b"<html>", "text/html")])
    async with async_sdk(provider) as sdk:
        with pytest.raises(ValueError, match=r"codec|JSON"):
            await sdk.chat.completions.create(**SUBJECT)
        with pytest.raises(openai.APIResponseValidationError):
            await sdk.chat.completions.create(**SUBJECT)


@pytest.mark.anyio
async def test_an_error_event_ends_a_stream_that_began_well() -> None:
    provider = FakeProvider([ErrorEvent(after=2, message="overloaded", code="overloaded"), ErrorEvent()])
    said: list[str | None] = []
    async with async_sdk(provider) as sdk:
        stream = await sdk.chat.completions.create(**SUBJECT, stream=True)
        with pytest.raises(openai.APIError, match="overloaded") as caught:
            await read(stream, said)
        assert (said, caught.value.code) == (["", "This", " is"], "overloaded")
        with pytest.raises(openai.InternalServerError):
            await sdk.chat.completions.create(**SUBJECT)


@pytest.mark.anyio
async def test_a_stream_cut_by_a_reset_is_a_connection_error() -> None:
    provider = FakeProvider([CutMidEvent(after=2, reset=True)])
    said: list[str | None] = []
    async with async_sdk(provider) as sdk:
        stream = await sdk.chat.completions.create(**SUBJECT, stream=True)
        with pytest.raises(openai.APIConnectionError):
            await read(stream, said)
    assert said == ["", "This", " is"]
    assert provider.outcomes == {"failed": 1}


@pytest.mark.anyio
@pytest.mark.parametrize(("after", "whole_events"), [(0, 1), (3, 4), (8, 10), (99, 10)])
async def test_a_clean_cut_ends_in_the_middle_of_an_event(after: int, whole_events: int) -> None:
    provider = FakeProvider([CutMidEvent(after=after)])
    exchange = await post(provider)
    *whole, half = exchange.body.split(b"\n\n")
    assert (len(whole), exchange.complete, exchange.exception) == (whole_events, True, None)
    assert half.startswith(b"data: ")
    assert all(event.endswith(b"}") for event in whole)
    assert half != b"data: [DONE]"


@pytest.mark.anyio
@pytest.mark.parametrize("reset", [False, True])
async def test_a_whole_answer_is_cut_too(reset: bool) -> None:
    provider = FakeProvider([CutMidEvent(reset=reset)])
    async with async_sdk(provider) as sdk:
        with pytest.raises(openai.APIConnectionError if reset else json.JSONDecodeError):
            await sdk.chat.completions.create(**SUBJECT)


@pytest.mark.anyio
async def test_a_refused_connection_reads_nothing_and_is_not_recorded() -> None:
    provider = FakeProvider([RefuseConnection(), Answer("there")])
    refused = await post(provider, forbid_receive=True)
    assert isinstance(refused.exception, RefusedConnectionError)
    assert (refused.messages, provider.requests, provider.refused_connections) == ([], [], 1)
    assert (await post(provider)).status == 200
    down = FakeProvider(default=RefuseConnection())
    for _ in range(2):
        assert isinstance((await post(down, forbid_receive=True)).exception, RefusedConnectionError)
    late = FakeProvider(default=lambda _: RefuseConnection())
    assert isinstance((await post(late)).exception, RefusedConnectionError)
    assert (down.refused_connections, late.outcomes) == (2, {"failed": 1})


def test_faults_over_wsgi() -> None:
    provider = FakeProvider([RefuseConnection(), CutMidEvent(after=1, reset=True), RateLimited()])
    with sync_sdk(provider) as sdk:
        with pytest.raises(openai.APIConnectionError):
            sdk.chat.completions.create(**SUBJECT)
        with pytest.raises(openai.APIConnectionError):
            list(sdk.chat.completions.create(**SUBJECT, stream=True))
        with pytest.raises(openai.RateLimitError):
            sdk.chat.completions.create(**SUBJECT)
    assert provider.outcomes == {"failed": 1, "completed": 1}
    body = json.dumps(SUBJECT).encode()
    provider.enqueue(CutMidEvent(reset=True))
    cut = wsgi_exchange(provider.wsgi, "POST", "/v1/chat/completions", body=[body])
    assert isinstance(cut.exception, CutConnectionError)


@pytest.mark.anyio
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_leaving_early_is_seen(spec_version: str) -> None:
    provider = FakeProvider()
    async with async_sdk(provider, spec_version=spec_version) as sdk:
        stream = await sdk.chat.completions.create(**SUBJECT, stream=True)
        assert [(await anext(stream)).choices[0].delta.content for _ in range(3)] == ["", "This", " is"]
        await stream.close()
    (left,) = provider.disconnects
    assert left.pieces_sent == 3


@pytest.mark.anyio
@pytest.mark.parametrize("taken", range(13))
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_what_was_sent_before_the_client_left_is_counted(taken: int, spec_version: str) -> None:
    provider = FakeProvider()
    exchange = await post(provider, disconnect_after=taken, spec_version=spec_version)
    (request,) = provider.requests
    assert exchange.exception is None
    assert (len(exchange.messages), request.pieces_sent) == (taken, max(taken - 1, 0))
    events_in_all = 11
    assert request.outcome == ("disconnected" if request.pieces_sent < events_in_all else "completed")


@pytest.mark.anyio
@pytest.mark.parametrize("at", range(3))
async def test_a_failing_send_is_a_client_that_left(at: int) -> None:
    provider = FakeProvider()
    exchange = await post(provider, send_fails_at=at)
    assert (exchange.exception, len(exchange.lost)) == (None, 1)
    assert provider.outcomes == {"disconnected": 1}


@pytest.mark.anyio
async def test_leaving_during_a_delay_is_seen_at_once() -> None:
    clock = VirtualClock()
    provider = FakeProvider([Answer(delay_first_token=3600)], clock=clock)
    exchange = await post(provider, disconnect_after=1)
    assert (exchange.exception, clock.monotonic(), clock.sleeping) == (None, 0, 0)
    assert provider.outcomes == {"disconnected": 1}


@pytest.mark.anyio
async def test_a_broken_upload_and_a_cancelled_task_are_clients_that_left() -> None:
    provider = FakeProvider()
    broken = await post(provider, upload_breaks=True)
    assert (broken.messages, provider.requests[0].outcome) == ([], "disconnected")
    clock = VirtualClock()
    provider = FakeProvider([Answer(delay_response=1)], clock=clock)
    task = asyncio.create_task(post(provider))
    await clock.until_sleeping()
    assert provider.outcomes == {"open": 1}
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), provider.outcomes) == (True, {"disconnected": 1})


def test_a_chunked_request_is_read_over_wsgi() -> None:
    body = json.dumps(SUBJECT).encode()
    exchange = wsgi_exchange(FakeProvider().wsgi, "POST", "/chat/completions", body=[body[:9], body[9:]], chunked=True)
    assert exchange.json()["choices"][0]["message"]["content"] == ECHO


def test_leaving_early_is_seen_over_wsgi() -> None:
    provider = FakeProvider()
    body = json.dumps(SUBJECT | {"stream": True}).encode()
    for close_after in (0, 4, 11):
        wsgi_exchange(provider.wsgi, "POST", "/v1/chat/completions", body=[body], close_after=close_after)
    assert [(one.outcome, one.pieces_sent) for one in provider.requests] == [
        ("disconnected", 0), ("disconnected", 4), ("completed", 11),
    ]  # fmt: skip


def test_a_stream_without_delays_makes_no_task() -> None:
    class Loop(asyncio.SelectorEventLoop):
        made = 0

        def create_task(self, *args: Any, **options: Any) -> Any:
            self.made += 1
            return super().create_task(*args, **options)

    loop = Loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        exchange = runner.run(post(FakeProvider()))
        assert (exchange.complete, loop.made) == (True, 1)


@pytest.mark.anyio
async def test_lifespan_and_what_is_not_http() -> None:
    provider = FakeProvider()
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await provider({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="websocket"):
        await provider({"type": "websocket"}, receive, send)
