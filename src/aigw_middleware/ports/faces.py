"""What hooks may wait for: one awaitable face, whether an event loop stands behind it or a blocking call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol, Self, TypeAlias, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

HttpHeaders: TypeAlias = Mapping[str, str] | Iterable[tuple[bytes, bytes]]
HttpErrorKind: TypeAlias = Literal["timeout", "connect", "protocol", "too_large"]

MAX_RESPONSE_BYTES = 10 * 2**20
"""What an answer that is read whole may have at most, unless the caller says otherwise."""


class HttpError(Exception):
    """An outgoing request failed. The message names the method and the server, never path, query, headers or body.

    `kind`: `timeout`; `connect` (no connection was made, so nothing was sent); `protocol` (it broke, or the answer or
    the request is malformed); `too_large`.
    """

    def __init__(self, kind: HttpErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: HttpErrorKind = kind


class OffloadFull(RuntimeError):
    """Too much blocking work waits for a thread already."""


class LockTimeout(TimeoutError):
    """A lock was not to be had in time."""


class HttpAnswer(NamedTuple):
    """A whole answer. Header names are in lower case, the body is as it came on the wire."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class HttpStream(Protocol):
    """An answer read piece by piece: `async with ports.http.stream(...) as answer: async for chunk in answer: ...`.

    Closing it early closes the connection. Entering and iterating raise HttpError.
    """

    status: int
    headers: list[tuple[bytes, bytes]]

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None:
        """Let go of the answer; safe to call twice."""


class Http(Protocol):
    """Outgoing requests. No redirects are followed, no cookies kept, and bodies are not decoded.

    Uncoded bodies are asked for unless `headers` has its own `accept-encoding`; a coded one that was not asked for is
    an HttpError. Headers given as text or bytes are checked: InvalidHeader.
    """

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
        """Send a request and return the whole answer, whatever its status. Raises HttpError.

        `timeout` is in seconds, for all of it. A synchronous host cannot interrupt a blocking call: there it bounds
        each of them, and the whole is checked in between.
        """

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: HttpHeaders | None = None,
        content: bytes | None = None,
        timeout: float,
        max_response_bytes: int | None = None,
    ) -> HttpStream:
        """Prepare a request whose answer is read piece by piece; it is sent when entered.

        `timeout` is in seconds, for each wait: the connection, the status line, each piece.
        """

    async def close(self) -> None:
        """Close all connections."""


class Clock(Protocol):
    """Time. A test injects its own."""

    def now(self) -> float:
        """Wall time, in seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds`."""

    def sleep_blocking(self, seconds: float) -> None:
        """Wait `seconds` in the calling thread: for the blocking ports, not for hooks."""


class Hold(Protocol):
    """A lock about to be taken: `async with` takes it."""

    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Locks(Protocol):
    """Mutual exclusion by name, so that of many who miss the same thing one goes and gets it."""

    def __call__(self, name: str, timeout: float | None = None) -> Hold:
        """Return the lock of that name; `async with` raises LockTimeout after `timeout` seconds of waiting.

        Names come and go with their users. A lock is not re-entrant.
        """


class Offload(Protocol):
    """Blocking or long work, kept away from the event loop."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns, run in a thread where there is an event loop, else right here.

        It sees the caller's context variables. Raises OffloadFull, and what the function raises.
        """

    async def close(self) -> None:
        """Drop what waits for a thread, and let threads end with what they do."""


class Gather(Protocol):
    """Several coroutines at once."""

    async def __call__(self, *coroutines: Coroutine[Any, Any, T]) -> list[T]:
        """Return their results in order; concurrently where there is an event loop, else one after the other.

        The first exception cancels the others and is raised.
        """
