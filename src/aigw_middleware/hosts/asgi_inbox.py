"""What comes in on ASGI: the request's body, read at most once and given to the application again, and the disconnect.

Only one reader may wait on `receive` at a time. While the watcher reads, the application waits for what it finds.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from ..errors import ClientLeft
from ..hooks import TOO_LARGE
from ..llm.view import body_loaded

if TYPE_CHECKING:
    from ..exchange import Exchange, Refusal

Message = MutableMapping[str, Any]
_SIGNALS_BY_SEND = (2, 4)  # ASGI HTTP spec version from which `send` raises once the client left


class Inbox:
    """The `receive` that the application gets."""

    body: bytes | None = None
    """The body to give to the application, when it was loaded."""
    gone = False
    """The client left."""
    drains = False
    """The answer is read to its end although the client left."""
    _body_given = False
    _finished_reading = False
    _reading = False
    _watcher: asyncio.Task[None] | None = None
    _waiters: list[asyncio.Future[None]] | None = None
    on_unheard: Callable[[], None] | None = None
    """Called when the watcher saw the client leave and the application was not listening for it."""

    def __init__(self, receive: Callable[[], Awaitable[Message]], exchange: Exchange) -> None:
        self._receive = receive
        self._exchange = exchange

    async def load(self, limit: int) -> Refusal | None:
        """Read the whole body, counting; a Refusal when it has more than `limit` bytes. Raises ClientLeft."""
        request = self._exchange.request
        declared = request.headers.get_bytes(b"content-length")
        if declared is not None and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            return TOO_LARGE
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientLeft("the client left while sending its request")
            chunk = message.get("body", b"")
            if chunk:
                size += len(chunk)
                if size > limit:
                    return TOO_LARGE
                chunks.append(chunk)
            if not message.get("more_body", False):
                break
        self.body = chunks[0] if len(chunks) == 1 and type(chunks[0]) is bytes else b"".join(chunks)
        self._finished_reading = True
        body_loaded(self._exchange, self.body)
        return None

    def rewind(self) -> None:
        """Give the loaded body once more, to another attempt."""
        self._body_given = False

    async def __call__(self) -> Message:
        if self.body is not None and not self._body_given:
            self._body_given = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        if self.gone and not self.drains:
            return {"type": "http.disconnect"}
        if self._watcher is not None or (self.gone and self.drains):
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            await waiter
            return {"type": "http.disconnect"}
        self._reading = True
        try:
            message = await self._receive()
        finally:
            self._reading = False
        if message["type"] == "http.disconnect":
            self.left()
            if self.drains:
                return await self()
        elif not message.get("more_body", False):
            self._finished_reading = True
        return message

    def watch(self, scope: Any) -> None:
        """Watch for a lost client while an LLM stream is sent, where the server does not signal it by `send`."""
        if self._watcher is not None or self._reading or not self._finished_reading:
            return
        if self._exchange.snapshot.on_disconnect == "ignore":
            return
        version = str(scope.get("asgi", {}).get("spec_version", "2.0"))
        if tuple(int(part) for part in version.split(".") if part.isdigit()) >= _SIGNALS_BY_SEND:
            return
        loop = asyncio.get_running_loop()
        self._watcher = loop.create_task(self._watch(), context=contextvars.Context())

    async def _watch(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                break
        self.left()
        if self.drains:
            return
        if self._waiters:
            self._wake()
        elif self.on_unheard is not None:
            self.on_unheard()

    def left(self) -> None:
        """The client left: the answer goes on unheard where the policy is to drain, else it stops."""
        self.gone = True
        self.drains = self._exchange.snapshot.on_disconnect == "drain"

    def _wake(self) -> None:
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """The exchange is over: stop watching, let go of who waits."""
        watcher, self._watcher = self._watcher, None  # they know each other: without this they were cyclic garbage
        if watcher is not None:
            watcher.cancel()
        if self._waiters:
            self._wake()
