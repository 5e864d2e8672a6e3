"""What the pull driver is made of: sources to read from, and the suspension of hooks while a response is read."""

from __future__ import annotations

from collections.abc import Generator
from types import CoroutineType
from typing import Any, Protocol

from ..errors import Suspended
from ..headers import RawHeaders


class Source(Protocol):
    """The inner side: an application, a view, a transport. Made anew for each attempt."""

    async def open(self) -> tuple[int, RawHeaders]:
        """Make the call; return status and header fields, lower-case names."""

    async def read(self) -> bytes | None:
        """Return the next piece of the body; None at its end."""

    async def close(self) -> None:
        """Let go of it, read to its end or not."""


class Restarted(Exception):
    """The service replaced status and headers before a byte of its body left (PEP 3333, `start_response`)."""

    def __init__(self, status: int, fields: RawHeaders, exc_info: Any) -> None:
        super().__init__(status)
        self.status = status
        self.fields = fields
        self.exc_info = exc_info


class HandOver:
    """Awaited by the innermost call: the response leaves the chain here, the body's end comes back."""

    def __await__(self) -> Generator[HandOver, None, None]:
        yield self


class Drive:
    """Awaits a chain of hooks up to its next hand-over; everything else it waits for goes to the event loop, if any."""

    def __init__(self, chain: CoroutineType[Any, Any, Any], blocking: bool) -> None:
        self._chain = chain
        self._blocking = blocking

    def __await__(self) -> Generator[Any, Any, bool]:
        """Return whether the chain is done."""
        chain = self._chain
        value: Any = None
        thrown: BaseException | None = None
        told = False
        while True:
            try:
                yielded = chain.send(value) if thrown is None else chain.throw(thrown)
            except StopIteration:
                return True
            if type(yielded) is HandOver:
                return False
            value = thrown = None
            if self._blocking:  # told to the hook that waits, so that it is this plug-in's failure and no other's
                thrown = Suspended("a hook waited for something that a synchronous host cannot wait for")
                if told:
                    raise thrown
                told = True
                continue
            try:
                value = yield yielded
            except BaseException as error:
                thrown = error


class Iterated:
    """A Reply's body as a source: bytes, or an async iterable."""

    def __init__(self, body: Any) -> None:
        self._iterator = None if isinstance(body, bytes) else body.__aiter__()
        self._whole: bytes | None = body if isinstance(body, bytes) else None

    @property
    def empty(self) -> bool:
        """Whether nothing is left to read, told without waiting."""
        return self._iterator is None and not self._whole

    async def open(self) -> tuple[int, RawHeaders]:
        return 0, []

    async def read(self) -> bytes | None:
        if self._iterator is None:
            whole, self._whole = self._whole, None
            return whole or None
        try:
            return await self._iterator.__anext__()  # type: ignore[no-any-return]
        except StopAsyncIteration:
            return None

    async def close(self) -> None:
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
