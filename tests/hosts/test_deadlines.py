"""Deadlines of `call`: preemptive on asynchronous hosts, checked at every read on synchronous ones; never a real wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from aigw_middleware import DeadlineExceeded, Exchange, Gateway, Plugin, PluginConfig, Refusal, Stage, WSGIGateway
from aigw_middleware.httpx import AsyncGatewayTransport
from aigw_middleware.testing import VirtualClock, asgi_exchange, wsgi_exchange
from aigw_middleware.testing.matrix import Watcher


class Deadline(Plugin[PluginConfig]):
    """Calls with the deadlines it is told."""

    name, stage, priority = "deadline", Stage.ROUTER, 100
    options: dict[str, float] = {}  # noqa: RUF012 - set on each instance

    def compile(self) -> None:
        self.outcomes: list[Any] = []

    async def on_upstream(self, exchange: Exchange, call: Any) -> Refusal | None:
        outcome = await call(**self.options)
        self.outcomes.append((type(outcome.error).__name__, outcome.started))
        if isinstance(outcome.error, DeadlineExceeded) and not outcome.started:
            return Refusal(504, "upstream_timeout", f"{outcome.error}")
        return None


def deadline(**options: float) -> Deadline:
    made = Deadline()
    made.options = options
    return made


SSE = [(b"content-type", b"text/event-stream")]
CHAT = {
    "method": "POST",
    "path": "/v1/chat/completions",
    "headers": [(b"content-type", b"application/json")],
    "body": [b'{"messages":[]}'],
}


async def hang() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("kind", ["first_byte", "total"])
def test_a_hanging_application_is_cancelled_before_its_start(kind: str) -> None:
    cancelled: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hang()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    plugin, watcher = deadline(**{kind: 0.001}), Watcher()
    result = asyncio.run(asgi_exchange(Gateway(app, plugins=[plugin, watcher])))
    assert result.status == 504
    assert plugin.outcomes == [("DeadlineExceeded", False)]
    assert cancelled == [True]
    assert watcher.outcomes == ["refused"]


@pytest.mark.parametrize("kind", ["idle", "total"])
def test_a_stalling_stream_ends_with_the_dialects_error_event(kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        await send({"type": "http.response.body", "body": b'data: {"choices":[]}\n\n', "more_body": True})
        await hang()

    class Usage(Plugin[PluginConfig]):
        name = "usage"

        def on_text(self, exchange: Exchange, text: str, channel: Any) -> None:
            return None

    plugin, watcher = deadline(**{kind: 0.001}), Watcher()
    result = asyncio.run(asgi_exchange(Gateway(app, plugins=[plugin, watcher, Usage()]), **CHAT))
    assert result.status == 200
    assert b'"code":"deadline_exceeded"' in result.body
    assert result.exception is None
    assert plugin.outcomes == [("DeadlineExceeded", True)]
    assert watcher.outcomes == ["failed"]


def test_a_stalling_body_of_another_kind_is_broken_off() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await hang()

    watcher = Watcher()
    result = asyncio.run(asgi_exchange(Gateway(app, plugins=[deadline(idle=0.001), watcher])))
    assert isinstance(result.exception, DeadlineExceeded)
    assert watcher.outcomes == ["failed"]


def test_a_cancellation_from_outside_stays_one() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hang()

    async def run() -> None:
        task = asyncio.ensure_future(asgi_exchange(Gateway(app, plugins=[deadline(total=100)])))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_what_finishes_in_time_leaves_no_timer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def run() -> None:
        gateway = Gateway(app, plugins=[deadline(total=1_000, first_byte=900)])
        for _ in range(1_000):
            assert (await asgi_exchange(gateway)).status == 200
        loop: Any = asyncio.get_running_loop()
        assert len([handle for handle in loop._scheduled if not handle.cancelled()]) <= 1
        timers = gateway.core.runtime(loop).state_of_host("timers", list)
        assert len(timers._heap) <= 64

    asyncio.run(run())


def test_synchronous_hosts_check_between_reads() -> None:
    clock = VirtualClock()

    def slow_start(environ: Any, start_response: Any) -> list[bytes]:
        clock.advance(10)
        start_response("200 OK", [])
        return [b"late"]

    plugin = deadline(first_byte=5)
    assert wsgi_exchange(WSGIGateway(slow_start, plugins=[plugin], clock=clock)).status == 504
    assert plugin.outcomes == [("DeadlineExceeded", False)]

    def slow_body(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        clock.advance(10)
        yield b"two"

    watcher = Watcher()
    result = wsgi_exchange(WSGIGateway(slow_body, plugins=[deadline(idle=5), watcher], clock=clock))
    assert result.chunks == [b"one"]
    assert watcher.outcomes == ["failed"]


def test_an_outgoing_call_is_cut_off_while_the_caller_lives_on() -> None:
    class Stalling(httpx.AsyncByteStream):
        closed = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"one"
            await hang()

        async def aclose(self) -> None:
            Stalling.closed = True

    async def respond(request: Any) -> httpx.Response:
        if request.url.path == "/hang":
            await hang()
        return httpx.Response(200, stream=Stalling())

    async def run() -> None:
        transport = AsyncGatewayTransport(
            httpx.MockTransport(respond), {"outgoing": []}, [deadline(first_byte=0.001, idle=0.001)]
        )
        async with httpx.AsyncClient(transport=transport) as http:
            assert (await http.get("http://llm/hang")).status_code == 504
            with pytest.raises(DeadlineExceeded):
                await http.get("http://llm/")
        assert Stalling.closed
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(run())
