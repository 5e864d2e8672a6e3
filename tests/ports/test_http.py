"""The http port over both of httpx's clients: bounds, errors without secrets, and streams that end when told to."""

import asyncio
import gc
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest

from aigw_middleware.headers import InvalidHeader
from aigw_middleware.ports import HttpAnswer, HttpError, Ports, async_ports, blocking_ports, finish
from aigw_middleware.state import MemoryStore, Store
from aigw_middleware.testing.clock import VirtualClock

T = TypeVar("T")
Handler = Callable[[httpx.Request], httpx.Response]
URL = "https://api.example.com/v1"


class Host:
    """Makes ports of one colour over a handler in the network's place, and runs coroutines as such a host does."""

    def __init__(self, color: str) -> None:
        self.color = color

    def ports(self, handler: Handler | None = None, clock: VirtualClock | None = None) -> Ports:
        stores: dict[str, Store] = {"default": MemoryStore()}
        transport = httpx.MockTransport(handler) if handler is not None else None
        if self.color == "async":
            return async_ports(stores, clock, transport=transport)
        return blocking_ports(stores, clock, transport=transport)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self.color == "sync":
            return finish(coroutine, "the test")
        return asyncio.run(asyncio.wait_for(coroutine, 60.0))  # a broken port fails rather than hangs

    def request(self, handler: Handler, method: str = "GET", url: str = URL, **options: Any) -> HttpAnswer:
        ports = self.ports(handler)

        async def use() -> HttpAnswer:
            try:
                return await ports.http.request(method, url, **{"timeout": 60.0, **options})
            finally:
                await ports.close()

        return self.run(use())


@pytest.fixture(params=["async", "sync"])
def host(request: pytest.FixtureRequest) -> Host:
    return Host(request.param)


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body of both colours that counts how far it was read and whether it was closed."""

    def __init__(self, *pieces: bytes | Exception, each: Callable[[], None] = lambda: None) -> None:
        self.pieces = pieces
        self.each = each
        self.read = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.each()
            if isinstance(piece, Exception):
                raise piece
            self.read += 1
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


def answering(body: Body, status: int = 200, **headers: str) -> Handler:
    return lambda request: httpx.Response(
        status, stream=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


# ---------------------------------------------------------------------- requests


def test_a_request_and_its_answer(host: Host) -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(418, headers=[("X-Tea", "green"), ("X-Tea", "black")], content=b"short and stout")

    answer = host.request(handle, "POST", headers={"X-Name": "J\xf6rg"}, content=b"{}")
    assert (answer.status, answer.body) == (418, b"short and stout")
    assert [value for name, value in answer.headers if name == b"x-tea"] == [b"green", b"black"]
    assert (seen[0].method, seen[0].content) == ("POST", b"{}")
    assert (b"x-name", b"J\xf6rg") in seen[0].headers.raw
    assert seen[0].headers["accept-encoding"] == "identity"
    host.request(handle, headers=[(b"Accept-Encoding", b"gzip")])
    assert seen[1].headers.get_list("accept-encoding") == ["gzip"]


def test_no_redirect_is_followed_and_no_cookie_kept(host: Host) -> None:
    cookies: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        cookies.append(request.headers.get("cookie"))
        return httpx.Response(302, headers={"location": "https://elsewhere.example", "set-cookie": "id=alice; Path=/"})

    ports = host.ports(handle)

    async def use() -> list[int]:
        found = [(await ports.http.request("GET", URL, timeout=60.0)).status for _ in range(2)]
        await ports.close()
        return found

    assert host.run(use()) == [302, 302]
    assert cookies == [None, None]


@pytest.mark.parametrize("headers", [{"x-a": "1\r\nx-b: 2"}, {"x a": "1"}, {"x-a": "\u20ac"}, [(b"x-a", b"1\n2")]])
def test_headers_are_checked_before_anything_is_sent(host: Host, headers: Any) -> None:
    with pytest.raises(InvalidHeader):
        host.request(lambda request: httpx.Response(200), headers=headers)


def test_the_size_of_an_answer_is_bounded(host: Host) -> None:
    exact = Body(b"12345", b"67890")
    assert host.request(answering(exact), max_response_bytes=10).body == b"1234567890"
    streamed = Body(*[b"123456"] * 5)
    with pytest.raises(HttpError) as caught:
        host.request(answering(streamed), max_response_bytes=10)
    assert caught.value.kind == "too_large"
    assert streamed.closed
    announced = Body(b"123")
    with pytest.raises(HttpError) as caught:
        host.request(answering(announced, content_length="11"), max_response_bytes=10)
    assert (caught.value.kind, announced.closed > 0) == ("too_large", True)
    answer = host.request(answering(Body(), content_length="11"), "HEAD", max_response_bytes=10)
    assert (answer.status, answer.body) == (200, b"")


def test_a_coded_answer_must_have_been_asked_for(host: Host) -> None:
    coded = answering(Body(b"\x1f\x8b"), content_encoding="gzip")
    with pytest.raises(HttpError, match="content coding") as caught:
        host.request(coded)
    assert caught.value.kind == "protocol"
    assert host.request(coded, headers={"accept-encoding": "gzip"}).body == b"\x1f\x8b"
    assert host.request(answering(Body(), 304, content_encoding="gzip")).status == 304
    assert host.request(answering(Body(b"a"), content_encoding="identity")).body == b"a"


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectTimeout(SECRET), "timeout"),
        (httpx.ReadTimeout(SECRET), "timeout"),
        (httpx.PoolTimeout(SECRET), "timeout"),
        (httpx.ConnectError("Connection refused"), "connect"),
        (httpx.ProxyError(SECRET), "connect"),
        (httpx.ReadError(SECRET), "protocol"),
        (httpx.RemoteProtocolError(SECRET), "protocol"),
        (httpx.LocalProtocolError(f"Illegal header value b'{SECRET}'"), "protocol"),
    ],
)
def test_errors_have_a_kind_and_no_secret(host: Host, error: Exception, kind: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise error

    url = f"https://user:{SECRET}@api.example.com:8443/{SECRET}?key={SECRET}"
    for handler in (handle, answering(Body(b"1", error))):
        with pytest.raises(HttpError) as caught:
            host.request(handler, url=url, headers={"authorization": SECRET})
        assert caught.value.kind == kind
        text = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value)
        assert "GET https://api.example.com:8443" in text
        assert SECRET not in text
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url", [f"https://host:port/{SECRET}", f"ftp://host/{SECRET}", f"/{SECRET}", "https://a\nb", ""]
)
def test_urls_that_cannot_be_called(host: Host, url: str) -> None:
    ports = host.ports()
    with pytest.raises(HttpError) as caught:
        host.run(ports.http.request("GET", url, timeout=60.0))
    assert caught.value.kind == "protocol"
    assert SECRET not in str(caught.value)


def test_nobody_listens(host: Host) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        ports = host.ports()
        with pytest.raises(HttpError) as caught:
            host.run(ports.http.request("GET", f"http://127.0.0.1:{port}/", timeout=60.0))
        assert caught.value.kind == "connect"


def test_an_answer_that_trickles_is_cut_at_the_deadline(host: Host) -> None:
    clock = VirtualClock()
    body = Body(*[b"x"] * 100, each=lambda: clock.advance(1.0))
    ports = host.ports(answering(body), clock)
    with pytest.raises(HttpError, match="within 3 seconds") as caught:
        host.run(ports.http.request("GET", URL, timeout=3.0))
    assert (caught.value.kind, body.read) == ("timeout", 3)
    assert body.closed


def test_on_a_loop_the_deadline_interrupts() -> None:
    ended: list[str] = []

    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append("cancelled")
            raise AssertionError("nobody answers")

    ports = async_ports({"default": MemoryStore()}, transport=Silent())
    with pytest.raises(HttpError) as caught:
        asyncio.run(asyncio.wait_for(ports.http.request("GET", URL, timeout=0.0), 60.0))
    assert (caught.value.kind, ended) == ("timeout", ["cancelled"])


def test_ports_of_another_loop_are_refused() -> None:
    ports = Host("async").ports(lambda request: httpx.Response(200))
    assert asyncio.run(ports.http.request("GET", URL, timeout=60.0)).status == 200
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(ports.http.request("GET", URL, timeout=60.0))


# ---------------------------------------------------------------------- streams


def test_a_stream_is_read_piece_by_piece(host: Host) -> None:
    body = Body(b"1", b"2", b"3")
    ports = host.ports(answering(body, X_Kind="stream"))

    async def use() -> list[tuple[bytes, int]]:
        async with ports.http.stream("GET", URL, timeout=60.0) as answer:
            assert (answer.status, (b"x-kind", b"stream") in answer.headers) == (200, True)
            assert body.read == 0
            return [(piece, body.read) async for piece in answer]

    assert host.run(use()) == [(b"1", 1), (b"2", 2), (b"3", 3)]
    assert body.closed


def test_leaving_a_stream_closes_it(host: Host) -> None:
    body = Body(b"1", b"2", b"3")
    ports = host.ports(answering(body))

    async def use() -> list[bytes]:
        async with ports.http.stream("GET", URL, timeout=60.0) as answer:
            async for piece in answer:
                assert piece == b"1"
                break
            await answer.aclose()
            await answer.aclose()
            return [piece async for piece in answer]

    assert host.run(use()) == []
    assert body.closed == 1


def test_a_stream_that_breaks(host: Host) -> None:
    body = Body(b"1", httpx.ReadError("broken"))
    ports = host.ports(answering(body))

    async def use() -> list[bytes]:
        got: list[bytes] = []
        async with ports.http.stream("GET", URL, timeout=60.0) as answer:
            got.append(await anext(answer))
            with pytest.raises(HttpError, match="ReadError"):
                await anext(answer)
            assert body.closed == 1
            got.extend([piece async for piece in answer])
        return got

    assert host.run(use()) == [b"1"]
    assert body.closed == 1


def test_a_stream_has_no_bound_unless_given(host: Host) -> None:
    ports = host.ports(answering(Body(*[b"x" * 2**20] * 12, b"y")))

    async def use() -> int:
        async with ports.http.stream("GET", URL, timeout=60.0) as answer:
            return sum([len(piece) async for piece in answer])

    assert host.run(use()) == 12 * 2**20 + 1


def test_a_stream_over_its_bound_is_over(host: Host) -> None:
    body = Body(b"123", b"456", b"789")
    ports = host.ports(answering(body))

    async def use() -> list[bytes]:
        async with ports.http.stream("GET", URL, timeout=60.0, max_response_bytes=5) as answer:
            got = [await anext(answer)]
            with pytest.raises(HttpError, match="larger than allowed"):
                await anext(answer)
            return got + [piece async for piece in answer]

    assert host.run(use()) == [b"123"]
    assert body.closed == 1


@pytest.fixture
def endless() -> Iterator[tuple[str, threading.Event]]:
    """A server that sends pieces until the client goes: its URL, and the event that it has noticed."""
    gone = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            try:
                while True:
                    connection.sendall(b"4\r\nping\r\n" * 100)
            except OSError:
                gone.set()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/", gone
    thread.join(60)
    listening.close()


def test_leaving_an_endless_stream_ends_it_at_once(host: Host, endless: tuple[str, threading.Event]) -> None:
    url, gone = endless
    ports = host.ports()
    made: list[Any] = []

    def record(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def use() -> bytes:
        async with ports.http.stream("GET", url, timeout=60.0) as answer:
            first = await anext(answer)
            if host.color == "async":
                asyncio.get_running_loop().set_task_factory(record)
        del answer
        gc.collect()
        assert gone.wait(60)
        if host.color == "async":
            await asyncio.sleep(0)  # a generator left behind would be closed in a task, in the next turn
            await asyncio.sleep(0)
        assert made == []
        await ports.close()
        return first

    assert host.run(use()).startswith(b"ping")
