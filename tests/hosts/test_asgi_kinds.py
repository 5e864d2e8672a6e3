"""Scopes that are no HTTP exchange; absorption; installing; running in several loops and processes."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from aigw_middleware import ConfigError, Exchange, Gateway, Plugin, PluginConfig, Refusal, Stage, WSGIGateway, install
from aigw_middleware.runtime import Runtime
from aigw_middleware.testing import asgi_exchange, wsgi_exchange


def plugin(name: str, priority: int = 100, stage: Stage = Stage.DEFAULT, **members: Any) -> type[Plugin[Any]]:
    return type(name, (Plugin,), {"name": name, "stage": stage, "priority": priority, **members})


def mark(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.headers.add("x-mark", self.name)


def mark_refusal(self: Any, exchange: Exchange, response: Any) -> None:
    response.headers.add("x-mark", self.name)


Outer = plugin("outer", 300, on_response=mark, on_refusal=mark_refusal)
Inner = plugin("inner", 200, on_response=mark, on_refusal=mark_refusal)
Last = plugin("last", 100, on_response=mark, on_refusal=mark_refusal)


async def hello(request: StarletteRequest) -> PlainTextResponse:
    exchange = request.state.aigw
    return PlainTextResponse(exchange.request.path)


async def broken(request: StarletteRequest) -> PlainTextResponse:
    raise LookupError("hidden")


ROUTES = [Route("/hello", hello), Route("/broken", broken)]


@pytest.mark.parametrize("kind", ["lifespan", "websocket", "x-unknown"])
def test_other_scopes_reach_the_application_once(kind: str) -> None:
    calls: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append((scope, receive, send))

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        pass

    scope = {"type": kind, "headers": [], "path": "/"}
    asyncio.run(Gateway(app, plugins=[Outer()])(scope, receive, send))
    assert len(calls) == 1
    if kind == "x-unknown":
        assert calls[0] == (scope, receive, send)


class Door(Plugin[PluginConfig]):
    """Refuses who has no key."""

    name, stage, priority = "door", Stage.AUTHENTICATION, 1

    def on_request(self, exchange: Exchange) -> Refusal | None:
        if "x-key" in exchange.request.headers:
            return None
        return Refusal(401, "no_key", "No key.", [("www-authenticate", "Key")])


def websocket(extensions: dict[str, Any], headers: list[tuple[bytes, bytes]], plugins: list[Plugin[Any]]) -> list[Any]:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "headers": headers,
        "path": "/ws",
        "extensions": extensions,
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(Gateway(app, plugins=plugins)(scope, receive, send))
    return sent


def test_websocket_handshakes_are_judged() -> None:
    assert websocket({}, [(b"x-key", b"k")], [Door()]) == [{"type": "websocket.accept"}]
    assert websocket({}, [], [Door()])[0] == {"type": "websocket.close", "code": 1008, "reason": "refused"}
    start, body = websocket({"websocket.http.response": {}}, [], [Door()])
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert dict(start["headers"])[b"www-authenticate"] == b"Key"
    assert body["type"] == "websocket.http.response.body"


def test_guards_that_read_bodies_follow_their_policy_on_websockets() -> None:
    guard = plugin("guard", on_request_body=lambda self, exchange: None, on_uncovered="deny")
    assert websocket({}, [], [guard()])[0]["type"] == "websocket.close"
    easy = plugin("easy", on_request_body=lambda self, exchange: None)
    assert websocket({}, [], [easy()]) == [{"type": "websocket.accept"}]


def lifespan(app: Any) -> list[Any]:
    sent: list[Any] = []
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"] + (": " + message["message"] if "message" in message else ""))

    asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    return sent


def test_lifespan_sets_up_before_the_application_and_tears_down_after() -> None:
    order: list[str] = []

    class Resource(Plugin[PluginConfig]):
        name = "resource"

        async def setup(self, runtime: Runtime) -> None:
            order.append("setup")

        async def teardown(self, runtime: Runtime) -> None:
            order.append("teardown")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        order.append("startup")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        order.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})

    assert lifespan(Gateway(app, plugins=[Resource()])) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert order == ["setup", "startup", "shutdown", "teardown"]


def test_a_setup_that_fails_is_named() -> None:
    class Broken(Plugin[PluginConfig]):
        name = "broken-resource"

        def setup(self, runtime: Runtime) -> None:
            raise OSError("secret-host")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    (failed,) = lifespan(Gateway(app, plugins=[Broken()]))
    assert failed.startswith("lifespan.startup.failed: plug-in broken-resource")
    assert "secret-host" not in failed


@pytest.mark.parametrize("order", [(Outer, Inner, Last), (Last, Inner, Outer), (Inner, Last, Outer)])
def test_adjacent_middlewares_of_ours_are_one_sorted_stack(order: tuple[type[Plugin[Any]], ...]) -> None:
    app = Starlette(routes=ROUTES)
    for cls in order:
        app.add_middleware(cls)
    result = asyncio.run(asgi_exchange(app, path="/hello"))
    assert [value for name, value in result.headers if name == b"x-mark"] == [b"last", b"inner", b"outer"]
    assert result.body == b"/hello"
    wrapped: Any = hello_app
    wsgi: Any = hello_wsgi
    for cls in order:
        wrapped = cls(wrapped)
        wsgi = cls.wsgi(wsgi)
    for headers in (asyncio.run(asgi_exchange(wrapped)).headers, wsgi_exchange(wsgi).headers):
        marks = [
            value for name, value in headers if (name if isinstance(name, str) else name.decode()).lower() == "x-mark"
        ]
        assert [mark if isinstance(mark, str) else mark.decode() for mark in marks] == ["last", "inner", "outer"]


async def hello_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def hello_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


def test_two_configurations_around_one_application_are_refused() -> None:
    with pytest.raises(ConfigError, match="merge the two"):
        Gateway(Gateway(hello_app, {}), {})
    merged = Gateway(Outer(hello_app), {"max_body_bytes": 5})
    assert merged.core.snapshot.max_body_bytes == 5
    assert [one.name for one in merged.core.snapshot.plugins] == ["outer"]


@pytest.mark.parametrize("factory", [Starlette, FastAPI])
def test_install_sees_unhandled_errors_and_add_middleware_does_not(factory: Any) -> None:
    def build() -> Any:
        app = factory()
        app.router.routes.extend(ROUTES)
        return app

    outside = build()
    assert install(outside, plugins=[Outer()]) is outside
    result = asyncio.run(asgi_exchange(outside, path="/broken"))
    assert result.status == 500
    assert (b"x-mark", b"outer") in result.headers
    assert isinstance(result.exception, LookupError)
    inside = build()
    inside.add_middleware(Gateway, plugins=[Outer()])
    result = asyncio.run(asgi_exchange(inside, path="/broken"))
    assert result.status == 500
    assert (b"x-mark", b"outer") not in result.headers
    with pytest.raises(RuntimeError, match="first request"):
        install(inside, plugins=[Outer()])


def test_one_gateway_in_two_loops_and_two_threads() -> None:
    gateway = Gateway(hello_app, plugins=[Outer()])
    statuses: list[int | None] = []

    def run() -> None:
        for _ in range(3):
            statuses.append(asyncio.run(asgi_exchange(gateway)).status)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 6


def test_a_forked_child_makes_its_own_runtime() -> None:
    gateway = WSGIGateway(hello_wsgi, plugins=[Outer()])
    assert wsgi_exchange(gateway).status == 200
    parent = gateway.core.process_runtime()
    read, write = os.pipe()
    threads = threading.active_count()
    child = os.fork()
    if child == 0:
        try:
            status = wsgi_exchange(gateway).status
            os.write(write, b"%d %d" % (status or 0, gateway.core.process_runtime() is not parent))
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 100) == b"200 1"
    os.close(read)
    os.waitpid(child, 0)
    assert gateway.core.process_runtime() is parent
    assert threading.active_count() == threads
