"""How the steps of a fake provider's answer reach a server, for ASGI and for WSGI."""

import http.client
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import anyio

from .clock import Clock
from .script import Scripted

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from starlette.types import Receive, Scope, Send

RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]
Outcome: TypeAlias = Literal["open", "completed", "disconnected", "failed"]


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers; `whole`: one piece follows, and it is all."""

    status: int
    headers: RawHeaders
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the body. After a `final` one the client has everything that matters to it."""

    data: bytes
    final: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Let this many seconds pass."""

    seconds: float


Step: TypeAlias = Head | Piece | Pause


@dataclass(slots=True, eq=False)
class ReceivedRequest:
    """A request as the provider got it, and what became of its answer."""

    method: str
    path: str
    query: bytes
    headers: RawHeaders
    """Names in lower case, in the order received where the server keeps it."""
    body: bytes
    json: Any
    """The decoded body; None if it is no JSON."""
    scripted: Scripted | None = None
    """What it was answered with; None if the script was not asked."""
    outcome: Outcome = "open"
    """`completed`: all that the script says was taken; `disconnected`: the client left before; `failed`: we raised."""
    pieces_sent: int = 0
    """How many pieces of the body the server took from us; events, for a stream."""

    def header(self, name: str) -> str | None:
        """The value of a header, several joined with `, `; None if absent."""
        wanted = name.lower().encode("latin-1")
        values = [value.decode("latin-1") for key, value in self.headers if key == wanted]
        return ", ".join(values) if values else None


class Responder(Protocol):
    """The provider behind the hosts."""

    requests: list[ReceivedRequest]

    def connect(self, method: str, path: str) -> None:
        """Before the request is read."""

    def respond(self, request: ReceivedRequest) -> Iterator[Step]:
        """The steps of the answer."""


class _ClientLeftError(Exception):
    """The client does not listen any more."""


async def serve_asgi(provider: Responder, clock: Clock, scope: "Scope", receive: "Receive", send: "Send") -> None:
    """One exchange. `receive` has one reader at any time: for the body, during a pause, and between the events of a
    stream where a lost client is not signalled by `send` (ASGI before 2.4)."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    if scope["type"] != "http":
        raise ValueError(f"the fake provider speaks HTTP only, not {scope['type']!r}")
    provider.connect(scope["method"], scope["path"])
    body, whole = await _read(receive)
    headers = tuple((name.lower(), value) for name, value in scope["headers"])
    request = ReceivedRequest(
        scope["method"], scope["path"], scope.get("query_string", b""), headers, body, _decode(body)
    )
    provider.requests.append(request)
    try:
        if whole:
            await _send_steps(provider.respond(request), clock, request, scope, receive, send)
            _settle(request, "completed")
    except _ClientLeftError:
        return
    except Exception:
        _settle(request, "failed")
        raise
    finally:
        _settle(request, "disconnected")  # what is still open; some servers cancel us when the client leaves


def serve_wsgi(
    provider: Responder, clock: Clock, environ: "WSGIEnvironment", start_response: "StartResponse"
) -> "Iterable[bytes]":
    """One exchange. The response ends early when the server closes it."""
    method, path = environ["REQUEST_METHOD"], environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    path = path.encode("latin-1").decode("utf-8", "replace")
    provider.connect(method, path)
    length = environ.get("CONTENT_LENGTH")
    stream = environ["wsgi.input"]
    if length:
        body = stream.read(int(length))
    else:
        body = b"".join(iter(lambda: stream.read(65_536), b"")) if environ.get("wsgi.input_terminated") else b""
    query = environ.get("QUERY_STRING", "").encode("latin-1")
    request = ReceivedRequest(method, path, query, _headers_of(environ), body, _decode(body))
    provider.requests.append(request)
    answer = WsgiAnswer(provider.respond(request), clock, request)
    head = answer.head()
    reason = http.client.responses.get(head.status, "Unknown")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    start_response(f"{head.status} {reason}", headers)
    return answer


class WsgiAnswer:
    """The body of an answer, made piece by piece as the server asks for it."""

    def __init__(self, steps: Iterator[Step], clock: Clock, request: ReceivedRequest) -> None:
        self._steps = steps
        self._clock = clock
        self._request = request

    def head(self) -> Head:
        """Status and headers, after the pauses before them."""
        step = self._advance()
        if not isinstance(step, Head):
            raise TypeError(f"an answer begins with its head, not with {step!r}")
        return step

    def __iter__(self) -> "WsgiAnswer":
        return self

    def __next__(self) -> bytes:
        step = self._advance()
        if not isinstance(step, Piece):
            _settle(self._request, "completed")
            raise StopIteration
        self._request.pieces_sent += 1
        if step.final:
            _settle(self._request, "completed")
        return step.data

    def close(self) -> None:
        """The server is done with this answer."""
        _settle(self._request, "disconnected")

    def _advance(self) -> Head | Piece | None:
        try:
            for step in self._steps:
                if not isinstance(step, Pause):
                    return step
                if step.seconds > 0:
                    self._clock.sleep_blocking(step.seconds)
        except Exception:
            _settle(self._request, "failed")
            raise
        return None


async def _send_steps(
    steps: Iterator[Step], clock: Clock, request: ReceivedRequest, scope: "Scope", receive: "Receive", send: "Send"
) -> None:
    version = str(scope.get("asgi", {}).get("spec_version", "2.0"))
    send_is_silent = tuple(map(int, version.split("."))) < (2, 4)
    whole = True
    for step in steps:
        match step:
            case Pause(seconds):
                if seconds > 0 and await _leaves_within(seconds, clock, receive):
                    raise _ClientLeftError
            case Head():
                whole = step.whole
                start = {"type": "http.response.start", "status": step.status, "headers": list(step.headers)}
                await _deliver(send, start)
            case Piece():
                if send_is_silent and not whole and await _has_left(receive):
                    raise _ClientLeftError
                await _deliver(send, {"type": "http.response.body", "body": step.data, "more_body": not whole})
                request.pieces_sent += 1
                if step.final:
                    _settle(request, "completed")
    if not whole:
        await _deliver(send, {"type": "http.response.body", "body": b"", "more_body": False})


async def _deliver(send: "Send", message: dict[str, Any]) -> None:
    try:
        await send(message)
    except OSError as error:
        raise _ClientLeftError from error


async def _has_left(receive: "Receive") -> bool:
    """Look, without waiting: a cancelled scope lets `receive` return only what it has at hand, and makes no task."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        return bool((await receive())["type"] == "http.disconnect")
    return False


async def _leaves_within(seconds: float, clock: Clock, receive: "Receive") -> bool:
    left = False
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            nonlocal left
            left = (await receive())["type"] == "http.disconnect"
            if left:
                group.cancel_scope.cancel()

        group.start_soon(listen)
        await clock.sleep(seconds)
        group.cancel_scope.cancel()
    return left


async def _read(receive: "Receive") -> tuple[bytes, bool]:
    """The body, and whether it was all of it."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts), True
    return b"".join(parts), False


async def _live(receive: "Receive", send: "Send") -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _settle(request: ReceivedRequest, outcome: Outcome) -> None:
    if request.outcome == "open":
        request.outcome = outcome


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _headers_of(environ: "WSGIEnvironment") -> RawHeaders:
    headers = []
    for name, value in environ.items():
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value):
            spelled = name.removeprefix("HTTP_").replace("_", "-").lower()
            headers.append((spelled.encode("latin-1"), value.encode("latin-1")))
    return tuple(headers)
