"""A provider of language models that needs no network: OpenAI's chat completions, scripted, with every way to fail.

    provider = FakeProvider([Answer("Hello there."), RateLimited(retry_after=2)])
    async with client(provider) as http:
        response = await http.post("/v1/chat/completions", json={"model": "m", "messages": [...]})

It is an ASGI application, and `provider.wsgi` is the same for WSGI, so it runs in-process or under any server.
"""

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import provider_hosts
from .clock import Clock, SystemClock
from .echo import echo
from .openai_chat import ChatCall, Composition, EventKind, InvalidCallError, encode
from .provider_hosts import Head, Pause, Piece, ReceivedRequest, Step
from .script import (
    Answer,
    CutConnectionError,
    CutMidEvent,
    ErrorEvent,
    Fault,
    Garbage,
    ProviderError,
    RateLimited,
    RefuseConnection,
    RefusedConnectionError,
    Scripted,
    error_json,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from starlette.types import Receive, Scope, Send

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
ECHO = Answer()
REFUSED = "the fake provider refuses this connection"


class FakeProvider:
    """An ASGI app that speaks OpenAI chat completions as its script says.

    `POST` to any path that ends in `/chat/completions` takes the next of the script; when it is used up, the answer is
    `default`, by default an echo. `GET` of any path that ends in `/models` lists `models`. Anything else is a 404 in
    OpenAI's error format. Requests that are no chat completion request are answered 400 and use up nothing.

    Nothing is random: ids are counted, and the time comes from `clock`, on which all delays wait.
    """

    def __init__(
        self,
        answers: Iterable[Scripted] = (),
        *,
        default: Scripted | Callable[[ReceivedRequest], Scripted] = ECHO,
        models: Iterable[str] = ("fake-model",),
        clock: Clock | None = None,
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        """Every request whose body was read, in the order of arrival."""
        self.refused_connections = 0
        """How many requests met `RefuseConnection`."""
        self._script = deque(answers)
        self._script_lock = threading.Lock()
        self._default = default
        self._models = tuple(models)
        self._clock = clock or SystemClock()
        self._numbers = itertools.count(1)

    def enqueue(self, *answers: Scripted) -> None:
        """Add to the end of the script."""
        self._script.extend(answers)

    @property
    def remaining(self) -> int:
        """How much of the script was not used yet."""
        return len(self._script)

    @property
    def disconnects(self) -> list[ReceivedRequest]:
        """The requests whose client left before the end of the answer, as far as the server let us know."""
        return [request for request in self.requests if request.outcome == "disconnected"]

    @property
    def outcomes(self) -> Counter[str]:
        """How many requests are `open`, `completed`, `disconnected` and `failed`."""
        return Counter(request.outcome for request in self.requests)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Serve one exchange. Raises what the script says: `RefusedConnectionError`, `CutConnectionError`."""
        await provider_hosts.serve_asgi(self, self._clock, scope, receive, send)

    def wsgi(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve one exchange of a WSGI server; delays block the thread."""
        return provider_hosts.serve_wsgi(self, self._clock, environ, start_response)

    def connect(self, method: str, path: str) -> None:
        """What happens before a request is read. Raises RefusedConnectionError if the script says so."""
        if method != "POST" or not path.endswith("/chat/completions"):
            return
        with self._script_lock:
            refuses = isinstance(self._script[0] if self._script else self._default, RefuseConnection)
            if refuses and self._script:
                self._script.popleft()
            self.refused_connections += refuses
        if refuses:
            raise RefusedConnectionError(REFUSED)

    def respond(self, request: ReceivedRequest) -> Iterator[Step]:
        """The steps of the answer to `request`. Raises CutConnectionError in the middle if the script says so."""
        number = next(self._numbers)
        name = (b"x-request-id", b"req_%d" % number)
        for step in self._route(request, number):
            yield Head(step.status, (*step.headers, name), step.whole) if isinstance(step, Head) else step

    def _route(self, request: ReceivedRequest, number: int) -> Iterator[Step]:
        if request.path.endswith("/chat/completions"):
            return self._complete(request, number) if request.method == "POST" else _wrong_method(request)
        if request.path.endswith("/models"):
            return self._list_models() if request.method == "GET" else _wrong_method(request)
        message = f"Invalid URL ({request.method} {request.path})"
        return _error(ProviderError(404, message, "invalid_request_error"))

    def _complete(self, request: ReceivedRequest, number: int) -> Iterator[Step]:
        try:
            call = ChatCall.from_json(request.json)
        except InvalidCallError as problem:
            return _error(ProviderError(400, problem.message, "invalid_request_error", param=problem.param))
        scripted = self._next(request)
        request.scripted = scripted
        if isinstance(scripted, Answer):
            return _answer(scripted, self._compose(scripted, call, number))
        return self._fail(scripted, call, number)

    def _next(self, request: ReceivedRequest) -> Scripted:
        with self._script_lock:
            if self._script:
                return self._script.popleft()
        return self._default(request) if callable(self._default) else self._default

    def _compose(self, answer: Answer, call: ChatCall, number: int) -> Composition:
        return Composition.of(answer, echo(call), call, number=number, created=int(self._clock.now()))

    def _fail(self, fault: Fault, call: ChatCall, number: int) -> Iterator[Step]:
        match fault:
            case ProviderError():
                return _error(fault)
            case RateLimited():
                return _error(fault.as_error())
            case Garbage():
                return _whole(fault.status, fault.content_type, fault.body)
            case CutMidEvent():
                return _cut(fault, self._compose(fault.answer, call, number))
            case ErrorEvent():
                return _break_off(fault, self._compose(fault.answer, call, number))
        raise RefusedConnectionError(REFUSED)

    def _list_models(self) -> Iterator[Step]:
        created = int(self._clock.now())
        data = [{"id": name, "object": "model", "created": created, "owned_by": "fake"} for name in self._models]
        return _whole(200, JSON, encode({"object": "list", "data": data}))


@dataclass(frozen=True, slots=True)
class _Event(Piece):
    """A piece of a response that knows what it is in the dialect."""

    kind: EventKind = "delta"


def _whole(status: int, content_type: str, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Iterator[Step]:
    fixed = [("content-type", content_type), ("content-length", str(len(body)))]
    yield Head(status, tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in [*fixed, *headers]))
    yield Piece(body, final=True)


def _error(error: ProviderError) -> Iterator[Step]:
    return _whole(error.status, JSON, encode(error.as_json()), error.headers)


def _wrong_method(request: ReceivedRequest) -> Iterator[Step]:
    message = f"Not allowed to {request.method} on {request.path} (HINT: Perhaps you meant to use another method?)"
    return _error(ProviderError(405, message, "invalid_request_error", "method_not_supported"))


def _answer(answer: Answer, composed: Composition) -> Iterator[Step]:
    if composed.call.stream:
        yield from _stream(answer, composed)
    else:
        yield Pause(answer.delay_response + answer.delay_first_token)
        yield from _whole(200, JSON, encode(composed.whole()))


def _stream(answer: Answer, composed: Composition) -> Iterator[Step]:
    yield Pause(answer.delay_response)
    yield Head(200, ((b"content-type", EVENT_STREAM.encode()), (b"cache-control", b"no-cache")), whole=False)
    yield Pause(answer.delay_first_token)
    begun = False
    for kind, index, data in composed.events():
        if kind == "delta" and index == 0:
            if begun:
                yield Pause(answer.delay_between)
            begun = True
        yield _Event(data, final=kind == "done", kind=kind)


def _cut(fault: CutMidEvent, composed: Composition) -> Iterator[Step]:
    if composed.call.stream:
        lost = yield from _up_to(fault.after, _stream(fault.answer, composed))
    else:
        yield Pause(fault.answer.delay_response + fault.answer.delay_first_token)
        yield Head(200, ((b"content-type", JSON.encode()),), whole=False)
        lost = encode(composed.whole())
    yield Piece(lost[: len(lost) // 2])
    if fault.reset:
        raise CutConnectionError("the fake provider cuts this connection")


def _break_off(fault: ErrorEvent, composed: Composition) -> Iterator[Step]:
    if not composed.call.stream:
        yield from _error(fault.as_error())
        return
    yield from _up_to(fault.after, _stream(fault.answer, composed))
    yield Piece(b"data: " + encode(error_json(fault.message, fault.type, fault.code)) + b"\n\n", final=True)


def _up_to(count: int, steps: Iterator[Step]) -> Generator[Step, None, bytes]:
    """The steps before the event with content that follows `count` others; returns that event, or the end marker."""
    while True:
        step = next(steps)  # never runs dry: the end marker comes first
        if isinstance(step, _Event):
            if step.final or (step.kind == "delta" and count == 0):
                return step.data
            count -= step.kind == "delta"
        yield step
