"""A provider of language models that needs no network: scripted, in every dialect, with every way to fail.

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
from .apis import Api
from .call import Call, InvalidCallError
from .clock import Clock, SystemClock
from .composition import Composition
from .dialects import api_of, call_at
from .echo import echo
from .framing import JSON, Framing, encode
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
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from starlette.types import Receive, Scope, Send

ECHO = Answer()
INVALID = "invalid_request_error"
REFUSED = "the fake provider refuses this connection"


class FakeProvider:
    """An ASGI app that says what its script says, in the dialect in which it is asked.

    `POST` to any path that ends as those of OpenAI's chat completions, completions, responses and embeddings, of
    Anthropic's messages and their `count_tokens`, and of Gemini's `generateContent`, `streamGenerateContent` (Server-
    Sent Events with `?alt=sse`, else a JSON array), `countTokens`, `embedContent` and `batchEmbedContents` takes the
    next of the script; when it is used up, the answer is `default`, by default an echo. `GET` of any path that ends in
    `/models` lists `models`. Anything else is a 404. Requests that are not as their dialect wants them, which includes
    Anthropic's without `anthropic-version`, are answered 400 and use up nothing.

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
        if method != "POST" or call_at(path) is None:
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
        name = (api_of(request).request_id.encode(), b"req_%d" % number)
        for step in self._route(request, number):
            yield Head(step.status, (*step.headers, name), step.whole) if isinstance(step, Head) else step

    def _route(self, request: ReceivedRequest, number: int) -> Iterator[Step]:
        call = call_at(request.path)
        if call is not None:
            return self._ask(call, request, number) if request.method == "POST" else _wrong_method(request, number)
        if request.path.endswith("/models"):
            return self._list_models(request) if request.method == "GET" else _wrong_method(request, number)
        message = f"Invalid URL ({request.method} {request.path})"
        return _error(api_of(request), ProviderError(404, message, INVALID), number)

    def _ask(self, kind: type[Call], request: ReceivedRequest, number: int) -> Iterator[Step]:
        try:
            call = kind.read(request)
        except InvalidCallError as problem:
            refused = ProviderError(400, problem.message, INVALID, param=problem.param)
            return _error(kind.api, refused, number)
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

    def _compose(self, answer: Answer, call: Call, number: int) -> Composition:
        return Composition.of(answer, echo(call), call, number=number, created=int(self._clock.now()))

    def _fail(self, fault: Fault, call: Call, number: int) -> Iterator[Step]:
        match fault:
            case ProviderError():
                return _error(call.api, fault, number)
            case RateLimited():
                return _error(call.api, fault.as_error(), number)
            case Garbage():
                return _whole(fault.status, fault.content_type, fault.body)
            case CutMidEvent():
                return _cut(fault, self._compose(fault.answer, call, number))
            case ErrorEvent():
                return _break_off(fault, self._compose(fault.answer, call, number))
        raise RefusedConnectionError(REFUSED)

    def _list_models(self, request: ReceivedRequest) -> Iterator[Step]:
        return _whole(200, JSON, encode(api_of(request).models(self._models, int(self._clock.now()))))


@dataclass(frozen=True, slots=True)
class _Event(Piece):
    """A piece of a response that is one event of its dialect."""

    carries: bool = False
    """Whether it has something of the answer."""


def _whole(status: int, content_type: str, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Iterator[Step]:
    fixed = [("content-type", content_type), ("content-length", str(len(body)))]
    yield Head(status, tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in [*fixed, *headers]))
    yield Piece(body, final=True)


def _error(api: Api, error: ProviderError, number: int) -> Iterator[Step]:
    return _whole(error.status, JSON, encode(api.error(error, f"req_{number}")), error.headers)


def _wrong_method(request: ReceivedRequest, number: int) -> Iterator[Step]:
    message = f"Not allowed to {request.method} on {request.path} (HINT: Perhaps you meant to use another method?)"
    return _error(api_of(request), ProviderError(405, message, INVALID, "method_not_supported"), number)


def _answer(answer: Answer, composed: Composition) -> Iterator[Step]:
    if composed.call.stream:
        yield from _stream(answer, composed, composed.call.framing(answer.style))
    else:
        yield Pause(answer.delay_response + answer.delay_first_token)
        yield from _whole(200, JSON, encode(composed.call.whole(composed)))


def _stream(answer: Answer, composed: Composition, framing: Framing) -> Iterator[Step]:
    call = composed.call
    yield Pause(answer.delay_response)
    yield Head(200, ((b"content-type", framing.content_type.encode()), (b"cache-control", b"no-cache")), whole=False)
    yield Pause(answer.delay_first_token)
    begun: int | None = None
    for count, event in enumerate(call.events(composed), 1):
        if event.piece is not None:
            if begun is not None and event.piece != begun:
                yield Pause(answer.delay_between)
            begun = event.piece
        yield _Event(framing.write(event), final=event.final, carries=event.piece is not None)
        if answer.style.keep_alive and count % answer.style.keep_alive == 0 and not event.final:
            yield Piece(framing.keep_alive() if call.keep_alive is None else framing.write(call.keep_alive))


def _cut(fault: CutMidEvent, composed: Composition) -> Iterator[Step]:
    call, answer = composed.call, fault.answer
    if call.stream:
        lost, _ = yield from _up_to(fault.after, _stream(answer, composed, call.framing(answer.style)))
    else:
        yield Pause(answer.delay_response + answer.delay_first_token)
        yield Head(200, ((b"content-type", JSON.encode()),), whole=False)
        lost = encode(call.whole(composed))
    yield Piece(lost[: len(lost) // 2])
    if fault.reset:
        raise CutConnectionError("the fake provider cuts this connection")


def _break_off(fault: ErrorEvent, composed: Composition) -> Iterator[Step]:
    call = composed.call
    if not call.stream:
        yield from _error(call.api, fault.as_error(), composed.number)
        return
    framing = call.framing(fault.answer.style)
    _, sent = yield from _up_to(fault.after, _stream(fault.answer, composed, framing))
    for event in call.failure(fault.as_error(), composed, sent):
        yield Piece(framing.write(event), final=event.final)


def _up_to(count: int, steps: Iterator[Step]) -> Generator[Step, None, tuple[bytes, int]]:
    """The steps before the event that carries something and follows `count` such events.

    Returns that event, or the last one if there are not so many, and the number of all events before it.
    """
    sent = 0
    while True:
        step = next(steps)  # never runs dry: the final event comes first
        if isinstance(step, _Event):
            if step.final or (step.carries and count == 0):
                return step.data, sent
            count -= step.carries
            sent += 1
        yield step
