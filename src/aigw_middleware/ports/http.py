"""Outgoing requests over httpx: one implementation, over its asynchronous and its blocking client.

Clients are made at the first request. An answer is read through a class with an explicit end (`AsyncWire.end`).
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from types import AsyncGeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from ..headers import header_name, header_value
from .faces import MAX_RESPONSE_BYTES, Clock, HttpAnswer, HttpError, HttpErrorKind, HttpHeaders

if TYPE_CHECKING:
    import httpx


class Wire(Protocol):
    """What differs between the two colours."""

    def client(self) -> Any: ...
    async def send(self, client: Any, request: httpx.Request) -> httpx.Response: ...
    def pieces(self, response: httpx.Response) -> Any: ...
    async def next(self, pieces: Any) -> bytes: ...
    async def end(self, response: httpx.Response, pieces: Any) -> None: ...
    def within(self, seconds: float) -> AbstractAsyncContextManager[Any]: ...
    async def close(self) -> None: ...


def _options(transport: Any) -> dict[str, Any]:
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    # What one caller's answer sets must never be sent with another's request.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return {"transport": transport, "cookies": no_cookies, "follow_redirects": False}


class AsyncWire:
    """httpx on an event loop."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None) -> None:
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def client(self) -> httpx.AsyncClient:
        """Return the client, made now if there is none. Raises RuntimeError in another loop than the first time."""
        loop = asyncio.get_running_loop()
        if self._client is None:
            import httpx

            self._client = httpx.AsyncClient(**_options(self._transport))
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("these ports belong to another event loop: each needs ports of its own")
        return self._client

    async def send(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        """Return the answer as soon as its headers are here."""
        return await client.send(request, stream=True)

    def pieces(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Return the iterator of the body."""
        return cast("httpx.AsyncByteStream", response.stream).__aiter__()

    async def next(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return the next piece. Raises StopAsyncIteration."""
        return await anext(pieces)

    async def end(self, response: httpx.Response, pieces: AsyncIterator[bytes]) -> None:
        """Close the answer, and the generators through which httpx reads it.

        Each of them holds the next one on its stack only. Closing the outer one would drop the inner ones, for which
        the event loop then makes a task each; so they are looked up, and closed from the inside out.
        """
        await response.aclose()
        nested: list[AsyncGenerator[bytes, None]] = []
        found: Any = pieces
        while isinstance(found, AsyncGeneratorType):
            nested.append(found)
            found = next((held for held in gc.get_referents(found) if isinstance(held, AsyncGeneratorType)), None)
        for generator in reversed(nested):
            await generator.aclose()

    def within(self, seconds: float) -> AbstractAsyncContextManager[Any]:
        """Interrupt what takes longer, with a TimeoutError."""
        return asyncio.timeout(seconds)

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


class BlockingWire:
    """httpx in the calling thread; its client is shared by all of them."""

    def __init__(self, transport: httpx.BaseTransport | None) -> None:
        self._transport = transport
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def client(self) -> httpx.Client:
        """Return the client, made now if there is none."""
        with self._lock:
            if self._client is None:
                import httpx

                self._client = httpx.Client(**_options(self._transport))
            return self._client

    async def send(self, client: httpx.Client, request: httpx.Request) -> httpx.Response:
        """Return the answer as soon as its headers are here."""
        return client.send(request, stream=True)  # noqa: ASYNC212 - blocking is what this wire is for

    def pieces(self, response: httpx.Response) -> Iterator[bytes]:
        """Return the iterator of the body."""
        return iter(cast("httpx.SyncByteStream", response.stream))

    async def next(self, pieces: Iterator[bytes]) -> bytes:
        """Return the next piece. Raises StopAsyncIteration."""
        for piece in pieces:
            return piece
        raise StopAsyncIteration

    async def end(self, response: httpx.Response, pieces: Iterator[bytes]) -> None:
        """Close the answer; generators of threads end with their last reference."""
        response.close()

    def within(self, seconds: float) -> AbstractAsyncContextManager[Any]:
        """A blocking call cannot be interrupted."""
        return nullcontext()

    async def close(self) -> None:
        """Close all connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


class WireHttp:
    """The `Http` face over a wire."""

    def __init__(self, wire: Wire, clock: Clock) -> None:
        self._wire = wire
        self._clock = clock

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: HttpHeaders | None = None,
        content: bytes | None = None,
        timeout: float,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> HttpAnswer:
        """See `Http.request`."""
        deadline = self._clock.monotonic() + timeout
        stream = self.stream(
            method, url, headers=headers, content=content, timeout=timeout, max_response_bytes=max_response_bytes
        )
        body: list[bytes] = []
        try:
            async with self._wire.within(timeout), stream:
                async for piece in stream:
                    body.append(piece)
                    if self._clock.monotonic() >= deadline:
                        raise TimeoutError
        except TimeoutError:
            raise stream.error("timeout", f"no whole answer within {timeout:g} seconds") from None
        return HttpAnswer(stream.status, stream.headers, b"".join(body))

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: HttpHeaders | None = None,
        content: bytes | None = None,
        timeout: float,
        max_response_bytes: int | None = None,
    ) -> WireStream:
        """See `Http.stream`."""
        fields = headers.items() if isinstance(headers, Mapping) else headers or ()
        raw = [
            (header_name(name) if isinstance(name, str) else name.lower(), header_value(value))
            for name, value in fields
        ]
        coded = any(name == b"accept-encoding" for name, _ in raw)
        if not coded:
            raw.append((b"accept-encoding", b"identity"))
        arguments = {"method": method, "url": url, "headers": raw, "content": content, "timeout": timeout}
        return WireStream(self._wire, arguments, max_response_bytes, coded)

    async def close(self) -> None:
        """See `Http.close`."""
        await self._wire.close()


class WireStream:
    """The `HttpStream` face over a wire."""

    __slots__ = ("_arguments", "_coded", "_left", "_pieces", "_response", "_server", "_wire", "headers", "status")

    def __init__(self, wire: Wire, arguments: dict[str, Any], most: int | None, coded: bool) -> None:
        self._wire = wire
        self._arguments = arguments
        self._left = most
        self._coded = coded
        self._server = "a server whose URL is invalid"
        self._response: httpx.Response | None = None
        self._pieces: Any = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []

    async def __aenter__(self) -> Self:
        import httpx

        try:
            client = self._wire.client()
            request = client.build_request(**self._arguments)
            self._server = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
            response = await self._wire.send(client, request)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._translated(error) from None
        self._response = response
        self._pieces = self._wire.pieces(response)
        self.status = response.status_code
        self.headers = [(name.lower(), value) for name, value in response.headers.raw]
        if self._left is not None and request.method != "HEAD":
            lengths = [value for name, value in self.headers if name == b"content-length" and value.isdigit()]
            if any(int(length[:20]) > self._left for length in lengths):
                await self.aclose()
                raise self._too_large()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        import httpx

        if self._response is None:
            raise StopAsyncIteration
        try:
            piece = await self._wire.next(self._pieces)
        except (httpx.HTTPError, httpx.StreamError) as error:
            await self.aclose()
            raise self._translated(error) from None
        if not self._coded and piece:
            self._coded = True
            coding = b",".join(value for name, value in self.headers if name == b"content-encoding").strip().lower()
            if coding not in (b"", b"identity"):
                await self.aclose()
                raise self.error("protocol", "the answer has a content coding that was not asked for")
        if self._left is not None:
            self._left -= len(piece)
            if self._left < 0:
                await self.aclose()
                raise self._too_large()
        return piece

    async def aclose(self) -> None:
        """See `HttpStream.aclose`."""
        response, self._response = self._response, None
        if response is not None:
            await self._wire.end(response, self._pieces)

    def error(self, kind: HttpErrorKind, text: str) -> HttpError:
        """Return an error that names the server and nothing that could be secret."""
        return HttpError(kind, f"{self._arguments['method']} {self._server}: {text}")

    def _too_large(self) -> HttpError:
        return self.error("too_large", "the answer is larger than allowed")

    def _translated(self, error: Exception) -> HttpError:
        import httpx

        # Texts of httpx may quote the URL or a header; a connection's are the operating system's.
        if isinstance(error, httpx.TimeoutException):
            return self.error("timeout", type(error).__name__)
        if isinstance(error, httpx.ConnectError | httpx.ProxyError):
            return self.error("connect", str(error) if isinstance(error, httpx.ConnectError) else "ProxyError")
        return self.error("protocol", type(error).__name__)
