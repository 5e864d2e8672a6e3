"""The in-process client for ASGI apps: it streams, it holds back, and it leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import httpx
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from aigw_middleware.testing import asgi_call
from aigw_middleware.testing.asgi_transport import AsgiTransport, asgi_transport_class
from aigw_middleware.testing.clients import client

from .apps import START, body


class Counting:
    """Sends numbered chunks and keeps a diary; ends after `count` or when it is told that the client left."""

    def __init__(self, count: int = 3) -> None:
        self.count = count
        self.diary: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        try:
            for number in range(self.count):
                self.diary.append(f"make {number}")
                await send(body(b"%d" % number))
                self.diary.append(f"sent {number}")
            await send(body(b"", more=False))
            self.diary.append("ended")
        except OSError:
            self.diary.append("lost")
            with contextlib.suppress(OSError):
                await send(body(b"", more=False))
                self.diary.append("found again")
        self.diary.append((await receive())["type"])


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    await send(body(b"hello", more=False))


@pytest.mark.anyio
@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_a_chunk_is_made_when_the_one_before_was_taken(library: Any) -> None:
    app = Counting()
    async with client(app, library=library) as http, http.stream("GET", "/") as response:
        await settle()
        assert app.diary == ["make 0"]
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"0"
        await settle()
        assert app.diary == ["make 0", "sent 0", "make 1"]
        assert [chunk async for chunk in chunks] == [b"1", b"2"]
        assert app.diary[-2:] == ["ended", "http.disconnect"]


@pytest.mark.anyio
@pytest.mark.parametrize(("spec_version", "last"), [("2.3", ["sent 1", "ended"]), ("2.4", ["lost"])])
async def test_an_early_close_is_a_lost_client(spec_version: str, last: list[str]) -> None:
    app = Counting(2)
    async with client(app, spec_version=spec_version) as http:
        async with http.stream("GET", "/") as response:
            assert await anext(response.aiter_raw()) == b"0"
            await settle()
        assert app.diary == ["make 0", "sent 0", "make 1", *last, "http.disconnect"]


@pytest.mark.anyio
async def test_head_comes_with_the_first_body_or_alone_on_request() -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await go.wait()
        await send(body(b"late", more=False))

    async with client(app) as http:
        waiting = asyncio.create_task(http.get("/"))
        await settle()
        assert not waiting.done()
        go.set()
        assert (await waiting).text == "late"
    go.clear()
    async with client(app, headers_first=True) as http, http.stream("GET", "/") as response:
        go.set()
        assert (response.status_code, await response.aread()) == (200, b"late")


@pytest.mark.anyio
async def test_scope_and_response_are_what_was_sent() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)
        headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-name", b"\xe9")]
        await send({"type": "http.response.start", "status": 299, "headers": headers})
        await send(body(b"", more=True))
        await send({"type": "http.response.body"})

    options: dict[str, Any] = {
        "root_path": "/sub",
        "client": ("10.0.0.1", 7),
        "http_version": "2",
        "spec_version": "2.4",
    }
    async with client(app, "https://host:444/sub", headers={"X-Tag": "1"}, **options) as http:
        response = await http.get("/caf%C3%A9%2F?q=%20")
    assert (response.status_code, response.content, response.http_version) == (299, b"", "HTTP/2")
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers.raw[2] == (b"x-name", b"\xe9")
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == ("/sub/café/", b"/sub/caf%C3%A9%2F", b"q=%20")
    assert (seen["root_path"], seen["client"], seen["server"]) == ("/sub", ("10.0.0.1", 7), ("host", 444))
    assert (seen["scheme"], seen["http_version"], seen["asgi"]["spec_version"]) == ("https", "2", "2.4")
    assert (b"x-tag", b"1") in seen["headers"]


@pytest.mark.anyio
async def test_the_request_body_is_made_as_it_is_received() -> None:
    diary: list[Any] = []

    async def upload() -> AsyncIterator[bytes]:
        for chunk in (b"a", b"b"):
            diary.append(chunk)
            yield chunk

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        diary.append(dict(scope["headers"]).get(b"transfer-encoding"))
        while (message := await receive())["more_body"]:
            diary.append(message["body"].upper())
        await hello(scope, receive, send)

    async with client(app) as http:
        await http.post("/", content=upload())
        assert diary == [b"chunked", b"a", b"A", b"b", b"B"]
        seen: list[Message] = []

        async def reader(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(await receive())
            await hello(scope, receive, send)

        async with client(reader) as other:
            await other.post("/", content=b"whole")
            await other.get("/")
    assert [(message["body"], message["more_body"]) for message in seen] == [(b"whole", False), (b"", False)]


@pytest.mark.anyio
async def test_cancelling_the_request_is_leaving() -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            received.append((await receive())["type"])

    async with client(app) as http:
        task = asyncio.create_task(http.get("/"))
        await settle()
        assert received == ["http.request"]
        task.cancel()
        await asyncio.wait([task])
        assert (task.cancelled(), received[1:]) == (True, ["http.disconnect"])


@pytest.mark.anyio
@pytest.mark.parametrize("late", [body(b"1"), body(b"", more=False)])
@pytest.mark.parametrize(("spec_version", "fate"), [("2.3", "silence"), ("2.4", "lost")])
async def test_what_is_sent_after_the_client_left_is_lost(spec_version: str, fate: str, late: Message) -> None:
    fates: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        await send(body(b"0"))
        assert (await receive())["type"] == "http.disconnect"
        try:
            await send(late)
            fates.append("silence")
        except OSError:
            fates.append("lost")

    async with client(app, spec_version=spec_version) as http:
        async with http.stream("GET", "/") as response:
            assert await anext(response.aiter_raw()) == b"0"
        assert fates == [fate]


@pytest.mark.anyio
async def test_a_body_read_to_its_end_means_that_the_app_has_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"x", more=False))
        await settle()
        ends.append("background")

    monkeypatch.setattr(asgi_call, "PATIENCE", 0)
    async with client(app) as http:
        await http.get("/")
        assert ends == ["background"]


@pytest.mark.anyio
async def test_a_closed_response_has_nothing_left_and_may_be_closed_again() -> None:
    async with client(Counting()) as http:
        async with http.stream("GET", "/") as response:
            assert await anext(response.aiter_raw()) == b"0"
        assert isinstance(response.stream, httpx.AsyncByteStream)
        assert [chunk async for chunk in response.stream] == []
        await response.stream.aclose()


@pytest.mark.anyio
async def test_an_app_that_takes_no_notice_is_cancelled_with_the_client() -> None:
    ends: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send(body(b"x"))
        finally:
            ends.append("cancelled")

    async with client(app) as http:
        async with http.stream("GET", "/") as response:
            await anext(response.aiter_raw())
        assert ends == []
    assert ends == ["cancelled"]


@pytest.mark.anyio
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_starlette_streams_stop_and_finish(spec_version: str) -> None:
    made: list[int] = []
    diary: list[str] = []
    inside: ContextVar[str] = ContextVar("inside", default="")

    async def numbers() -> AsyncIterator[str]:
        for number in range(1000):
            made.append(number)
            yield str(number)

    async def stream(request: Request) -> Response:
        return StreamingResponse(numbers())

    async def echo(request: Request) -> Response:
        inside.set("app")
        return PlainTextResponse(await request.body(), background=BackgroundTask(diary.append, "background"))

    app = Starlette(routes=[Route("/stream", stream), Route("/echo", echo, methods=["POST"])])
    async with httpx.AsyncClient(transport=AsgiTransport(app, spec_version=spec_version), base_url="http://t") as http:
        async with http.stream("GET", "/stream") as response:
            assert await anext(response.aiter_text()) == "0"
        assert made == [0, 1]
        assert (await http.post("/echo", content=b"hi")).text == "hi"
        assert (diary, inside.get()) == (["background"], "")


def test_each_library_has_its_own_class_made_once() -> None:
    assert asgi_transport_class("httpx") is AsgiTransport
    assert asgi_transport_class("httpx2") is asgi_transport_class("httpx2")
    assert isinstance(asgi_transport_class("httpx2")(hello), httpx2.AsyncBaseTransport)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
