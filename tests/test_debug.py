"""`debug: true` records quiet passes and how long they took; nothing else changes."""

from __future__ import annotations

import asyncio
from typing import Any

from aigw_middleware import Exchange, Gateway, Plugin, PluginConfig, Refusal
from aigw_middleware.testing import asgi_exchange

records: list[Any] = []


class Quiet(Plugin[PluginConfig]):
    """Does nothing, everywhere."""

    name = "quiet"

    def on_request(self, exchange: Exchange) -> None:
        return None

    async def on_request_body(self, exchange: Exchange) -> None:
        return None

    def on_response(self, exchange: Exchange) -> Refusal | None:
        if "x-refuse" in exchange.request.headers:
            raise ValueError("hidden")
        return None

    def on_response_body(self, exchange: Exchange) -> None:
        return None

    def on_complete(self, exchange: Exchange) -> None:
        records.append([(line.plugin, line.decision, line.reason.partition(";")[0]) for line in exchange.records])
        assert all(line.microseconds >= 0 for line in exchange.records)


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


def run(debug: bool, *headers: tuple[bytes, bytes]) -> int | None:
    records.clear()
    gateway = Gateway(app, {"debug": debug}, [Quiet()])
    return asyncio.run(asgi_exchange(gateway, method="POST", headers=list(headers), body=[b"x"])).status


def test_quiet_passes_are_recorded_with_debug_only() -> None:
    assert run(False) == 200
    assert records == [[]]
    assert run(True) == 200
    hooks = ("on_request", "on_request_body", "on_response", "on_response_body")
    assert records == [[("quiet", "ran", hook) for hook in hooks]]


def test_a_failure_is_still_contained_and_named() -> None:
    assert run(True, (b"x-refuse", b"1")) == 200
    assert ("quiet", "failed", "ValueError") in records[0]


def test_failures_are_counted_where_an_operator_can_see_them() -> None:
    gateway = Gateway(app, {}, [Quiet()])

    async def exchanges() -> None:
        for _ in range(3):
            await asgi_exchange(gateway, method="POST", headers=[(b"x-refuse", b"1")], body=[b"x"])
        assert gateway.counts() == {("quiet", "failed"): 3}

    asyncio.run(exchanges())
