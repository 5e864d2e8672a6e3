"""Small promises: nothing is silently without effect, no other event loop, nobody is who a refused body said."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from aigw_middleware import Gateway, Needs, Plugin, Refusal, Stage
from aigw_middleware.consumers import ANONYMOUS, Consumer
from aigw_middleware.exchange import Exchange
from aigw_middleware.testing import FakeProvider, asgi_exchange
from aigw_middleware.unseen import ENOUGH

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class Reader(Plugin[Any]):
    """Works on LLM calls only."""

    name, needs = "reader", Needs.LLM

    def on_request_body(self, exchange: Exchange) -> None:
        """Look at the call."""


async def ask(app: Any, times: int, path: str = "/hello", body: bytes = b"") -> None:
    for _ in range(times):
        await asgi_exchange(app, "POST" if body else "GET", path, body=[body] if body else [])


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]


def test_a_plug_in_that_never_meets_an_llm_call_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway(FakeProvider(), plugins=[Reader()])
    asyncio.run(ask(gateway, ENOUGH - 1))
    assert warnings(caplog) == []
    asyncio.run(ask(gateway, ENOUGH + 5))
    (warning,) = warnings(caplog)
    assert warning.startswith("reader: none of 1000 exchanges was an LLM call")
    assert "llm: openai-chat" in warning
    assert "/hello" not in warning, "a path may hold what no log should"


def test_one_call_is_enough_to_know_better(caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway(FakeProvider(), plugins=[Reader()])
    asyncio.run(ask(gateway, 1, "/v1/chat/completions", json.dumps(CHAT).encode()))
    asyncio.run(ask(gateway, ENOUGH + 5))
    assert warnings(caplog) == []


def test_the_count_outlives_a_reload(caplog: pytest.LogCaptureFixture) -> None:
    config = {"plugins": [{"name": "ai-prompt-decorator", "config": {"prepend": [{"role": "system", "content": "x"}]}}]}
    gateway = Gateway(FakeProvider(), config)
    asyncio.run(ask(gateway, ENOUGH - 1))
    gateway.reload()
    asyncio.run(ask(gateway, 1))
    assert [line.partition(":")[0] for line in warnings(caplog)] == ["ai-prompt-decorator"]


def run_without_a_loop(coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


def test_another_event_loop_is_refused_by_name() -> None:
    gateway = Gateway(FakeProvider(), plugins=[Reader()])
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    with pytest.raises(RuntimeError, match=r"runs on asyncio .* under trio"):
        run_without_a_loop(gateway(scope, None, None))  # type: ignore[arg-type]
    asyncio.run(ask(gateway, 1))


class Body(Plugin[Any]):
    """Says who calls by a header, and takes it back when the body does not fit."""

    name, stage, priority = "body-signature", Stage.AUTHENTICATION, 330
    identifies = True
    on_failure = "deny"

    def __init__(self, app: Any = None, *, raises: bool = False) -> None:
        self.raises = raises
        self.seen: list[str] = []
        super().__init__(app)

    def on_request(self, exchange: Exchange) -> None:
        exchange.consumer, exchange.identified_by = Consumer("alice"), self.name

    def on_request_body(self, exchange: Exchange) -> Refusal | None:
        self.seen.append(exchange.consumer.name)
        if exchange.request.body == b"right":
            return None
        if self.raises:
            raise ValueError("the digest cannot be made")
        return Refusal(401, "wrong_digest", "The body is not the one that was signed.")

    def on_complete(self, exchange: Exchange) -> None:
        self.seen.append(exchange.consumer.name)


@pytest.mark.parametrize(
    ("body", "raises", "status", "seen"),
    [(b"right", False, 200, "alice"), (b"wrong", False, 401, ""), (b"wrong", True, 503, "")],
)
def test_who_calls_is_provisional_until_the_body_was_checked(body: bytes, raises: bool, status: int, seen: str) -> None:
    plugin = Body(raises=raises)
    assert ANONYMOUS.name == ""

    async def service(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    result = asyncio.run(asgi_exchange(Gateway(service, plugins=[plugin]), "POST", "/", body=[body]))
    assert result.status == status
    assert plugin.seen == ["alice", seen]
