"""The gate: header hooks of all who judge a caller run before a byte of the body is read."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from aigw_middleware import Exchange, Gateway, Needs, Plugin, PluginConfig, Refusal, Stage, WSGIGateway
from aigw_middleware.exchange import Request
from aigw_middleware.testing import asgi_exchange, run_everywhere, wsgi_exchange
from aigw_middleware.testing.matrix import Script, assert_same


def plugin(name: str, stage: Stage, priority: int, **members: Any) -> Plugin[Any]:
    return type("Made", (Plugin,), {"name": name, "stage": stage, "priority": priority, **members})()


async def app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"ok"]


ORDER: list[str] = []


def note(text: str) -> Callable[..., None]:
    return lambda self, exchange: ORDER.append(f"{self.name} {text}")


def refusing(self: Any, exchange: Exchange) -> Refusal:
    return Refusal(401, "no", "No.")


@pytest.mark.parametrize("body_priority", [999, 1])
@pytest.mark.parametrize("body_stage", [Stage.RBAC, Stage.AUTHORIZATION, Stage.AUTHENTICATION])
def test_nothing_is_read_from_a_caller_refused_on_headers(body_stage: Stage, body_priority: int) -> None:
    def stack() -> list[Plugin[Any]]:
        return [
            plugin("reader", body_stage, body_priority, on_request_body=note("body")),
            plugin("judge", Stage.AUTHENTICATION, 310, on_request=refusing),
        ]

    ORDER.clear()
    result = asyncio.run(
        asgi_exchange(Gateway(app, plugins=stack()), method="POST", body=[b"secret"], forbid_receive=True)
    )
    assert (result.status, result.receive_calls) == (401, 0)
    assert (
        wsgi_exchange(WSGIGateway(wsgi_app, plugins=stack()), method="POST", body=[b"secret"], forbid_input=True).status
        == 401
    )
    assert ORDER == []


def test_two_passes_then_one_by_one() -> None:
    def stack() -> list[Plugin[Any]]:
        hooks = {"on_request": note("headers"), "on_request_body": note("body")}
        return [
            plugin("first", Stage.AUTHORIZATION, 10, **hooks),
            plugin("second", Stage.AUTHENTICATION, 10, **hooks),
            plugin("third", Stage.DEFAULT, 20, **hooks),
            plugin("fourth", Stage.DEFAULT, 10, **hooks),
        ]

    expected = [
        *("first headers", "second headers", "first body", "second body"),
        *("third headers", "third body", "fourth headers", "fourth body"),
    ]
    ORDER.clear()
    assert_same(run_everywhere(Script(method="POST", body=[b"x"]), stack))
    assert expected * 8 == ORDER


def test_digests_are_checked_on_the_bytes_received() -> None:
    seen: list[bytes | None] = []

    def edit(self: Any, exchange: Exchange) -> None:
        exchange.request.edit()["more"] = 1

    def check(self: Any, exchange: Exchange) -> None:
        seen.append(exchange.request.received_body)
        assert exchange.request.body != exchange.request.received_body

    def stack() -> list[Plugin[Any]]:
        return [
            plugin("editor", Stage.DEFAULT, 20, on_request_body=edit),
            plugin("digest", Stage.DEFAULT, 10, on_request_body=check),
        ]

    script = Script(method="POST", headers=[("content-type", "application/json")], body=[b'{"a" : 1.0 }'])
    transcript = assert_same(run_everywhere(script, stack))
    assert seen == [b'{"a" : 1.0 }'] * 8
    assert transcript.seen[0].body == b'{"a":1.0,"more":1}'


def test_the_service_reads_the_same_bytes_then_waits_for_the_disconnect() -> None:
    got: list[Any] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        got.append(await receive())
        got.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    gateway = Gateway(reading, plugins=[plugin("reader", Stage.DEFAULT, 1, on_request_body=note("body"))])
    asyncio.run(asgi_exchange(gateway, method="POST", body=[b"a", b"b", b"c"], disconnect_after=0))
    assert got[0] == {"type": "http.request", "body": b"abc", "more_body": False}
    assert got[1]["type"] == "http.disconnect"


def busy_stack() -> list[Plugin[Any]]:
    def touch(self: Any, exchange: Exchange) -> None:
        exchange.response.headers.set("x-touched", "1")

    async def around(self: Any, exchange: Exchange, call: Any) -> None:
        await call()

    async def waiting(self: Any, exchange: Exchange) -> None:
        await exchange.ports.store.get("nothing")

    return [
        plugin("headers", Stage.AUTHENTICATION, 1, on_request=note("headers"), on_response=touch),
        plugin("waits", Stage.DEFAULT, 9, on_request=waiting),
        plugin("bodies", Stage.DEFAULT, 5, on_request_body=note("body"), on_response_body=note("answer")),
        plugin("usage", Stage.DEFAULT, 4, needs=Needs.USAGE, on_complete=note("complete")),
        plugin("around", Stage.ROUTER, 1, on_upstream=around),
    ]


def test_no_task_thread_or_future_is_made_on_the_normal_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("made on the normal path")

    async def exchange() -> None:
        gateway = Gateway(app, plugins=busy_stack())
        await asgi_exchange(gateway, method="POST", body=[b"{}"])
        loop = asyncio.get_running_loop()
        for name in ("create_task", "create_future", "run_in_executor", "call_later", "call_at", "call_soon"):
            monkeypatch.setattr(loop, name, forbidden, raising=False)
        result = await asgi_exchange(gateway, method="POST", body=[b"{}"])
        monkeypatch.undo()
        assert result.status == 200

    asyncio.run(exchange())


@pytest.mark.parametrize("plugins", [list, busy_stack])
def test_no_cyclic_garbage(plugins: Callable[[], list[Plugin[Any]]]) -> None:
    async def count() -> int:
        gateway = Gateway(app, plugins=plugins())
        for _ in range(5):
            await asgi_exchange(gateway, method="POST", body=[b"{}"])
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await asgi_exchange(gateway, method="POST", body=[b"{}"])
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(count()) == 0


def test_interleaved_exchanges_share_nothing() -> None:
    class Tagging(Plugin[PluginConfig]):
        name, stage, priority = "tagging", Stage.DEFAULT, 1

        def on_request(self, exchange: Exchange) -> None:
            exchange.local[self] = exchange.request.headers.get("x-tag")

        def on_response(self, exchange: Exchange) -> None:
            assert exchange.response is not None
            exchange.response.headers.set("x-tag", exchange.local[self])

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(int(dict(scope["headers"])[b"x-turns"])):
            await asyncio.sleep(0)
        await app(scope, receive, send)

    async def exchange() -> None:
        tagging = Tagging()
        before = dict(vars(tagging))
        gateway = Gateway(slow, plugins=[tagging])

        async def one(number: int) -> None:
            headers = [(b"x-tag", b"%d" % number), (b"x-turns", b"%d" % (number % 7))]
            result = await asgi_exchange(gateway, headers=headers)
            assert dict(result.headers)[b"x-tag"] == b"%d" % number

        await asyncio.gather(*(one(number) for number in range(50)))
        assert vars(tagging) == before

    asyncio.run(exchange())


class Ordered(Plugin[Any]):
    """Notes its turns, and who calls by then."""

    def __init__(self, name: str, stage: Stage, turns: list[str], *hooks: str) -> None:
        self.turns = turns
        self.unused = frozenset({"on_request", "on_request_body", "on_identified"} - set(hooks))
        self.name, self.stage = name, stage  # type: ignore[misc]
        super().__init__()

    def _note(self, exchange: Exchange, hook: str) -> None:
        self.turns.append(f"{self.name} {hook}")

    def on_request(self, exchange: Exchange) -> None:
        self._note(exchange, "request")

    def on_request_body(self, exchange: Exchange) -> None:
        self._note(exchange, "body")

    def on_identified(self, exchange: Exchange) -> None:
        self._note(exchange, "identified")


@pytest.mark.parametrize("body", [[b"x"], []])
def test_what_depends_on_who_calls_comes_after_all_who_find_out(body: list[bytes]) -> None:
    turns: list[str] = []
    plugins = [
        Ordered("first", Stage.AUTHORIZATION, turns, "on_request", "on_identified"),
        Ordered("signature", Stage.AUTHENTICATION, turns, "on_request", "on_request_body"),
        Ordered("guard", Stage.DEFAULT, turns, "on_request", "on_identified"),
    ]

    async def service(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    asyncio.run(asgi_exchange(Gateway(service, plugins=plugins), "POST", body=body))
    assert turns == [
        "first request",
        "signature request",
        "signature body",
        "first identified",
        "guard request",
        "guard identified",
    ]


@pytest.mark.parametrize(("query", "left"), [("a=1&secret=2&b=%20", "a=1&b=%20"), ("secret=1", "")])
@pytest.mark.parametrize("early", [True, False])
def test_a_plug_in_may_give_the_service_another_query(query: str, left: str, early: bool) -> None:
    def rewrite(self: Any, exchange: Exchange) -> None:
        kept = [pair for pair in exchange.request.query.split(b"&") if not pair.startswith(b"secret=")]
        exchange.request.set_query(b"&".join(kept))
        assert exchange.request.parameter("secret") is None

    def plugins() -> list[Plugin[Any]]:
        hooks = {"on_request" if early else "on_request_body": rewrite}
        return [type("Rewrite", (Plugin,), {"name": "rewrite", "stage": Stage.DEFAULT, "priority": 1, **hooks})()]

    transcript = assert_same(run_everywhere(Script(method="POST", path="/x", query=query, body=[b"body"]), plugins))
    assert [seen.query for seen in transcript.seen] == [left]


def test_a_stack_of_one_early_hook_gives_the_query_on() -> None:
    def rewrite(self: Any, exchange: Exchange) -> None:
        exchange.request.set_query(b"b=2")

    plugin = type("Rewrite", (Plugin,), {"name": "rewrite", "on_request": rewrite})()
    seen: list[bytes] = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["query_string"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    asyncio.run(asgi_exchange(Gateway(service, plugins=[plugin]), path="/", scope={"query_string": b"a=1"}))
    assert seen == [b"b=2"]


@pytest.mark.parametrize("query", [b"a b", b"a\r\nb", b"a#b", "a=\u00e9".encode(), b"a\0"])
def test_no_query_breaks_out_of_its_place(query: bytes) -> None:
    exchange = Exchange()
    exchange.request = Request()
    with pytest.raises(ValueError, match="visible ASCII"):
        exchange.request.set_query(query)
