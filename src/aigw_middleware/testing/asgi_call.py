"""The server's half of an ASGI exchange for a client in the same event loop, chunk by chunk.

The app runs in a task. Its `send` returns when the client has taken the chunk, so the app is never ahead of its client
by more than one. Source: ASGI HTTP specification 2.4.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.types import ASGIApp, Message, Scope

from .clock import PATIENCE
from .http_messages import ClientLeftError, ResponseOrder, signals_lost_client


class AsgiCall:
    """One request inside an ASGI app; the client waits for the head, takes chunks and closes."""

    def __init__(self, app: ASGIApp, scope: Scope, upload: AsyncIterator[bytes], *, headers_first: bool) -> None:
        """Start `app` at once. `headers_first`: the head is there at `http.response.start`, not with the first body."""
        self.response = ResponseOrder()
        self.error: Exception | None = None
        """What the app raised."""
        self.upload_error: Exception | None = None
        """What the client's own body raised while it was read."""
        self._app = app
        self._scope = scope
        self._upload = upload
        self._upload_left = _content_length(scope)
        self._uploaded = False
        self._headers_first = headers_first
        self._offered: bytes | None = None
        self._head = asyncio.Event()
        self._news = asyncio.Event()  # a chunk is offered, the response has ended or the app is done
        self._room = asyncio.Event()  # nothing is offered, or nobody will take it
        self._over = asyncio.Event()  # what a `receive` waits for that has no body left to give
        self._sending = asyncio.Lock()
        self._left = False
        self._told = False
        self._task = asyncio.create_task(self._run())

    @property
    def done(self) -> bool:
        """Whether the app has returned."""
        return self._task.done()

    async def head(self) -> None:
        """Wait until the response can be handed over, or the app is done without one."""
        await self._head.wait()

    async def chunk(self) -> bytes | None:
        """Take the next chunk; None after the last one, when the app is done."""
        await self._news.wait()
        if self._offered is None:
            await asyncio.wait([self._task])
            return None
        chunk, self._offered = self._offered, None
        if not self.response.ended and not self._task.done():
            self._news.clear()
        self._room.set()
        return chunk

    def tell(self) -> Exception | None:
        """What the client has not been told yet of what the app raised; nothing that only says that it left."""
        if self._told or self.error is None or (self._left and _comes_of_leaving(self.error)):
            return None
        self._told = True
        return self.error

    async def close(self) -> None:
        """Leave, and give the app the chance to notice; one that goes on after `PATIENCE` turns is left alone."""
        self._left = True
        self._room.set()
        self._over.set()
        for _ in range(PATIENCE):
            if self._task.done():
                return
            await asyncio.sleep(0)

    async def abort(self) -> None:
        """Cancel an app that still runs, and wait for it."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception as error:
            self.error = error
        finally:
            for event in (self._over, self._head, self._news, self._room):
                event.set()

    async def _receive(self) -> Message:
        if not self._uploaded and not self._over.is_set():
            try:
                return await self._next_upload()
            except Exception as error:  # the client's own body failed: it breaks off, and is told why
                self.upload_error, self._left = error, True
                self._over.set()
                self._head.set()
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _next_upload(self) -> Message:
        chunk = None if self._upload_left == 0 else await anext(self._upload, None)
        if self._upload_left is not None:
            self._upload_left -= len(chunk or b"")
        self._uploaded = chunk is None or self._upload_left == 0
        return {"type": "http.request", "body": chunk or b"", "more_body": not self._uploaded}

    async def _send(self, message: Message) -> None:
        async with self._sending:
            await self._until_taken()  # one whose `send` was cancelled may still be on offer
            if self._left:
                await self._after_leaving()
                return
            chunk = self.response.accept(message)
            if chunk and self._scope["method"] != "HEAD":
                self._offered = chunk
                self._news.set()
            if message["type"] == "http.response.body" or (self._headers_first and self.response.status is not None):
                self._head.set()
            if self.response.ended:
                self._news.set()
            await self._until_taken()
            if self.response.ended:
                self._over.set()
            if self._offered is not None:
                await self._after_leaving()

    async def _until_taken(self) -> None:
        while self._offered is not None and not self._left:
            self._room.clear()
            await self._room.wait()

    async def _after_leaving(self) -> None:
        if signals_lost_client(self._scope):
            raise ClientLeftError("the client has left")
        await asyncio.sleep(0)  # a server's loop turns; an app that never waits otherwise would hold it for ever


def _content_length(scope: Scope) -> int | None:
    """The length of the request body, None where only its end will tell (RFC 9112, section 6.3)."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if length.isdigit():
        return int(length)
    return None if b"transfer-encoding" in headers else 0


def _comes_of_leaving(error: BaseException | None) -> bool:
    """Whether an exception is, or was raised while handling, the word that the client has left."""
    seen: set[int] = set()
    open_ends = [error]
    while open_ends:
        one = open_ends.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, ClientLeftError):
            return True
        seen.add(id(one))
        open_ends += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            open_ends += one.exceptions
    return False
