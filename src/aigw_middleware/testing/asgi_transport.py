"""A transport into an ASGI app of the same event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, overload

import httpx
from starlette.types import ASGIApp

from .asgi_call import AsgiCall
from .http_messages import BodyLength, http_scope
from .transports import UNFINISHED, Library, Network, bound, server_of

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


class _AsgiTransport(Network):
    def __init__(
        self,
        app: ASGIApp,
        *,
        spec_version: str = "2.3",
        client: tuple[str, int] | None = ("127.0.0.1", 50000),
        root_path: str = "",
        raise_app_exceptions: bool = True,
        http_version: str = "1.1",
        headers_first: bool = False,
    ) -> None:
        self.raise_app_exceptions = raise_app_exceptions
        self._app = app
        self._spec_version = spec_version
        self._client = client
        self._root_path = root_path
        self._http_version = http_version
        self._headers_first = headers_first
        self._calls: set[AsgiCall] = set()

    async def handle_async_request(self, request: Any) -> Any:
        """Run the app until the response can be handed over."""
        scope = http_scope(
            request.method,
            request.url.raw_path,
            request.headers.raw,
            spec_version=self._spec_version,
            http_version=self._http_version,
            client=self._client,
            root_path=self._root_path,
            scheme=request.url.scheme,
            server=server_of(request),
        )
        read_timeout = request.extensions.get("timeout", {}).get("read")
        call = AsgiCall(self._app, scope, aiter(request.stream), headers_first=self._headers_first)
        self._calls.add(call)
        try:
            await self.within(read_timeout, call.head())
            self.finish(call)
        except BaseException:
            await self.leave(call)
            raise
        if call.response.status is None:
            await self.leave(call)
            if call.error is None and self.raise_app_exceptions:
                raise RuntimeError("the app returned without a response")
            return self.crashed()
        body = bound(_AsgiBody, "AsyncByteStream", self._http.__name__)(self, call, request.method, read_timeout)
        return self._http.Response(
            call.response.status,
            headers=call.response.headers,
            stream=body,
            extensions={"http_version": f"HTTP/{self._http_version}".encode()},
        )

    async def within(self, seconds: float | None, waiting: Awaitable[T]) -> T:
        """Wait for the app as a socket with this read timeout would."""
        try:
            async with asyncio.timeout(seconds):
                return await waiting
        except TimeoutError as error:  # never the app's own: what the app raises is told by `finish`
            raise self._http.ReadTimeout(f"the app sent nothing for {seconds} seconds") from error

    def finish(self, call: AsgiCall) -> None:
        """Raise what the client has to know of how this call ended, if it has and was not told before."""
        if call.upload_error is not None and not call.response.ended:
            raise call.upload_error
        error = call.tell()
        if error is not None:
            failure = self.failure_of(error)
            if failure is not error:
                raise failure from error
            if self.raise_app_exceptions:
                raise error

    async def leave(self, call: AsgiCall) -> None:
        """The client is through with this call."""
        await call.close()
        if call.done:
            self._calls.discard(call)

    async def aclose(self) -> None:
        """Leave all exchanges; an app that still runs then is cancelled."""
        for call in list(self._calls):
            await self.leave(call)
            if not call.done:
                await call.abort()
        self._calls.clear()


class _AsgiBody:
    def __init__(self, transport: _AsgiTransport, call: AsgiCall, method: str, read_timeout: float | None) -> None:
        self._transport = transport
        self._call = call
        self._read_timeout = read_timeout
        self._length = BodyLength(method, call.response.status or 0, call.response.headers)
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        chunk = await self._transport.within(self._read_timeout, self._call.chunk())
        if chunk is None:
            self._transport.finish(self._call)
            if not self._call.response.ended:
                raise self._transport.broken(UNFINISHED)
        problem = self._length.problem(chunk or b"", ended=chunk is None)
        if problem:
            raise self._transport.broken(problem)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Leave. Raises what the app raised and the client has not been told yet."""
        if not self._closed:
            self._closed = True
            await self._transport.leave(self._call)
            self._transport.finish(self._call)


class AsgiTransport(_AsgiTransport, httpx.AsyncBaseTransport):
    """An httpx transport into an ASGI app, which runs in a task of the client's event loop.

    The response is handed over when its first body message or its end has arrived, or, with `headers_first`, at
    `http.response.start`. From there on the app's `send` returns when the client has taken the chunk. When the body was
    read to its end, the app has returned, its background work done. A response closed before that is a lost client:
    `receive` tells so, and `send` is silent before ASGI 2.4 and raises an OSError since. `aclose()` cancels an app that
    takes no notice.

    `raise_app_exceptions`: the client sees what the app raises; otherwise what it would see of a server, a 500 or a
    broken response. `root_path` is a prefix of the paths requested. The client's read timeout is kept. The response
    is held to its Content-Length. A fake provider's connection faults are the library's exceptions for them.
    """

    _http: ClassVar[ModuleType] = httpx


@overload
def asgi_transport_class(library: Literal["httpx"]) -> type[AsgiTransport]: ...
@overload
def asgi_transport_class(library: Literal["httpx2"]) -> "Callable[..., httpx2.AsyncBaseTransport]": ...
def asgi_transport_class(library: Library) -> Callable[..., Any]:
    """`AsgiTransport` for this library. Raises ImportError if it is not installed."""
    return AsgiTransport if library == "httpx" else bound(_AsgiTransport, "AsyncBaseTransport", library)
