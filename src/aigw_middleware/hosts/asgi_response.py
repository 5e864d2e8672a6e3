"""The response of an exchange on ASGI: the application pushes it, hooks change it, the server gets it.

To stop an application early, `send` raises an OSError as a server of ASGI 2.4 does when the client left; what then comes
out of the application is swallowed.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, MutableMapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..around import CallOutcome, held_by
from ..errors import ClientLeft
from ..exchange import Exchange, Refusal, Reply, Response
from ..flow import Flow, Mode
from ..headers import Headers, end_to_end, lower_names
from ..hooks import run
from ..lazy import lazy
from ..pipeline import complete, refuse, settle_and_complete, walk_for_answer
from .asgi_inbox import Inbox

if TYPE_CHECKING:
    from ..exchange import Outcome
    from ..hooks import Answer
    from ..pipeline import Stack, Walk

Message = MutableMapping[str, Any]
UNSAFE_EXTENSIONS = ("http.response.pathsend", "http.response.zerocopysend")
"""Extensions that send a body past every hook; taken from the scope when a hook may need the body."""


class _Stopped(ClientLeft):
    """Raised from `send` to stop an application whose answer is no longer wanted."""


class _SentResponse(Response):
    """The response that an application sends; its fields are looked at only when somebody asks."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self.status = message["status"]

    @lazy
    def headers(self) -> Headers:
        return Headers(lower_names(self._message.get("headers", ())), owned=True)


class Outbox:
    """What the application sends, on its way through the flow to the server; and answers of plug-ins in its place."""

    outermost = True
    _attempts = 0
    _flow: Flow | None = None
    _start: Message | None = None
    _sent_start = False
    _dropping = False
    """The answer under way was thrown away by a `hold`."""
    _stopped = False
    """The application was told to stop, its answer replaced or ended."""
    _passing = False
    """Nothing looks at the body, so there is no flow."""
    _told = False
    """The application was told, by an exception of ours, that the client left."""
    _over = False
    """The last byte was handed to the server."""
    _expects_trailers = False
    _plain = False
    """The first piece has passed, and nothing looks at those that follow."""

    def __init__(self, app: Any, scope: Any, receive: Any, send: Any, exchange: Exchange, stack: Stack) -> None:
        self._app = app
        self._scope = scope
        self._send: Callable[[Any], Awaitable[None]] = send
        self._inbox = Inbox(receive, exchange)
        self.exchange = exchange
        self.stack = stack
        self.frames: list[CallOutcome] = []

    # ------------------------------------------------------------------ the response side

    def _application_send(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.body":
            if self._plain:
                return self._pass(message)
            flow = self._flow
            if flow is None or flow.mode is Mode.PASS or self._stopped or self._dropping:
                return self._body(message)
            return self._hold(flow, message) if flow.mode is Mode.HOLD else self._read(flow, message)
        if kind == "http.response.start":
            return self._head(message)
        if self._stopped or self._dropping:
            return _swallow()
        if kind == "http.response.trailers":
            return self._trailers(message)
        if kind in UNSAFE_EXTENSIONS:
            return self._last(message)
        return self._send(message)

    async def _head(self, message: Message) -> None:
        exchange = self.exchange
        if self._stopped:
            raise _Stopped("the answer was replaced")
        response = _SentResponse(message)
        if self.frames:
            held = held_by(self.frames, response.status, response.headers)
            if held is not None:
                self._dropping = True
                return
        self._start = message
        if "trailers" in message:
            self._expects_trailers = bool(message["trailers"])
        stack = self.stack
        walk = stack.walk_of(exchange)
        if walk.bodiless and not stack.usage and "meter" not in exchange.__dict__:
            await self._head_only(response, walk)
            return
        flow = self._flow = Flow(exchange, stack, walk)
        result = flow.start(response)
        if result is not None:
            answer = await result if type(result) is CoroutineType else result
            if answer is not None:
                await self._replace(answer)  # type: ignore[arg-type]
        if flow.mode is not Mode.HOLD:
            await self._send_start()

    async def _head_only(self, response: Response, walk: Walk) -> None:
        """The quick way of answers whose body nothing looks at."""
        exchange = self.exchange
        exchange.response = response
        if walk.head:
            result = run(walk.head, exchange)
            if result is not None:
                answer = await result if type(result) is CoroutineType else result
                if answer is not None:
                    await self._replace(answer)  # type: ignore[arg-type]
        self._passing = self._sent_start = True
        message = self._head_message()
        if self._inbox.gone:
            await self._guarded(message)
            return
        try:
            await self._send(message)
        except OSError as error:
            self._lost(error)
        if exchange.route.watch_disconnect:
            self._inbox.watch(self._scope)

    async def _replace(self, answer: Reply | Refusal) -> None:
        """A hook answered in place of the application: send that, and stop the application."""
        self._stopped = True
        await self.deliver(answer)
        raise _Stopped("the answer was replaced")

    def _head_message(self) -> Message:
        """Return the message that starts the response: the application's own where nothing was changed."""
        response, message = self.exchange.response, self._start
        assert response is not None
        headers = response.__dict__.get("headers")
        if message is None or response.status != message["status"] or (headers is not None and headers.changed):
            return {
                **(message or {"type": "http.response.start"}),
                "status": response.status,
                "headers": response.headers.raw,
            }
        if headers is not None and type(message.get("headers", ())) not in (list, tuple):
            return {**message, "headers": headers.raw}  # an iterator that we read is exhausted
        return message

    async def _send_start(self) -> None:
        exchange = self.exchange
        message = self._head_message()
        self._sent_start = True
        await self._guarded(message)
        stream = self._flow is not None and self._flow.mode is Mode.EVENTS and exchange.llm is not None
        if stream or exchange.route.watch_disconnect:
            self._inbox.watch(self._scope)

    async def _pass(self, message: Message) -> None:
        """The quick way of pieces that nothing looks at; whatever is unusual goes the other."""
        if self._stopped or self._inbox.gone or not message.get("more_body", False):
            await self._body(message)
            return
        self.exchange.bytes_sent += len(message.get("body", b""))
        try:
            await self._send(message)
        except OSError as error:
            self._lost(error)

    async def _body(self, message: Message) -> None:
        """A piece of a body that nothing looks at, or that is not wanted any more."""
        if self._dropping:
            return
        if self._stopped:
            raise _Stopped("the answer was replaced")
        exchange = self.exchange
        if self._flow is None and not self._passing:
            await self._send(message)  # a body before its start: the server says what is wrong with it
            return
        more = message.get("more_body", False)
        data = message.get("body", b"")
        if self.frames or self.stack.watches:
            self._arrived(data)
        exchange.bytes_sent += len(data)
        if self._inbox.gone:
            await self._guarded(message)
        else:
            try:
                await self._send(message)
            except OSError as error:
                self._lost(error)
        if not more and not self._expects_trailers:
            self._over = True
            if "meter" in exchange.__dict__ or self._inbox.drains:
                await self._finish("completed")
            else:
                complete(self.stack, exchange, "completed")
        elif more and not self.frames and (exchange.first_byte or not self.stack.watches):
            self._plain = True

    def _arrived(self, data: bytes) -> None:
        for frame in self.frames:
            if frame.guard is not None:
                frame.guard.progress()
            if frame.capture:
                frame.keep(data)
        if data and not self.exchange.first_byte and self.stack.watches:
            self.exchange.first_byte = self.exchange.ports.clock.monotonic()

    async def _read(self, flow: Flow, message: Message) -> None:
        """A piece of a body that is looked at while it passes: events, or an answer read beside."""
        more = message.get("more_body", False)
        data = message.get("body", b"")
        if self.frames or not self.exchange.first_byte:
            self._arrived(data)
        if type(data) is not bytes:
            data = bytes(data)
        stream = flow.stream
        out = stream.feed(data) if stream is not None else flow.chunk(data)
        if stream is not None and stream.finished:
            self._stopped = True
            await self._out(out, False)
            await self._finish("completed" if self.exchange.refusal is None else "failed")
            raise _Stopped("a plug-in ended the answer")
        if not more:
            flow.end()
            out += flow.tail()
            await self._last(message if out is data else {"type": "http.response.body", "body": out})
            return
        self.exchange.bytes_sent += len(out)
        if out is not data:
            message = {"type": "http.response.body", "body": out, "more_body": True}
        if self._inbox.gone:
            await self._guarded(message)
            return
        try:
            await self._send(message)
        except OSError as error:
            self._lost(error)

    async def _hold(self, flow: Flow, message: Message) -> None:
        """A piece of a body that is held until its end, so that hooks see it whole."""
        more = message.get("more_body", False)
        data = message.get("body", b"")
        self._arrived(data)
        flow.chunk(data if type(data) is bytes else bytes(data))
        if flow.overfull:
            await self._give_up(flow, more)
            return
        if more:
            return
        result = flow.end()
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            await self._replace(answer)  # type: ignore[arg-type]
        body = flow.tail()
        if self._expects_trailers:  # a message with a length has no room for them (RFC 9112, section 7.1.2)
            self.exchange.response.headers.remove("content-length")  # type: ignore[union-attr]
        if body is not data:
            message = {"type": "http.response.body", "body": body}
        if self.exchange.request.method == "HEAD":
            message["body"] = b""
        if self._expects_trailers or self._inbox.gone or self.exchange.route.watch_disconnect:
            await self._send_start()
            await self._last(message)
            return
        head = self._head_message()
        self._sent_start = True
        self.exchange.bytes_sent += len(body)
        try:
            await self._send(head)
            await self._send(message)
        except OSError as error:
            self._lost(error)
        self._over = True
        waiting = self._end("completed")
        if waiting is not None:
            await waiting

    async def _give_up(self, flow: Flow, more: bool) -> None:
        result = flow.give_up()
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            await self._replace(answer)  # type: ignore[arg-type]
        await self._send_start()
        held = flow.held()
        if more:
            await self._out(held, True)
        else:
            await self._last({"type": "http.response.body", "body": held, "more_body": False})

    async def _out(self, data: bytes, more: bool) -> None:
        self.exchange.bytes_sent += len(data)
        await self._guarded({"type": "http.response.body", "body": data, "more_body": more})
        if not more:
            self._over = True

    async def _last(self, message: Message) -> None:
        self.exchange.bytes_sent += len(message.get("body", b""))
        await self._guarded(message)
        if not self._expects_trailers:
            self._over = True
            waiting = self._end("completed")
            if waiting is not None:
                await waiting

    async def _trailers(self, message: Message) -> None:
        await self._guarded(message)
        if not message.get("more_trailers", False):
            self._over = True
            await self._finish("completed")

    async def _guarded(self, message: Message) -> None:
        """Hand a message to the server. Only what this raises means that the client left."""
        inbox = self._inbox
        if inbox.gone:
            if inbox.drains:
                return
            self._told = True
            raise ClientLeft("the client left")
        try:
            await self._send(message)
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        self._inbox.left()
        if not self._inbox.drains:
            raise ClientLeft(str(error)) from error

    # ------------------------------------------------------------------ answers of our own

    async def deliver(self, answer: Reply | Refusal) -> None:
        """Send an answer of a plug-in or of the gateway itself, through the hooks that it passes."""
        exchange = self.exchange
        self._start = None
        while True:
            if isinstance(answer, Refusal):
                response = refuse(self.stack, exchange, answer)
                if self._held(response):
                    return
                await self._send_start()
                await self._out(response.body if exchange.request.method != "HEAD" else b"", False)
                await self._finish("refused")
                return
            response = Response(answer.status, Headers(end_to_end(answer.headers), owned=True))
            if self._held(response):
                return
            replaced = await self._send_reply(answer, response)
            if replaced is None:
                return
            answer = replaced

    def _held(self, response: Response) -> bool:
        return bool(self.frames) and held_by(self.frames, response.status, response.headers) is not None

    async def _send_reply(self, reply: Reply, response: Response) -> Answer:
        """Send a Reply; returns the answer of a hook that replaces it."""
        flow = Flow(self.exchange, self.stack, walk_for_answer(self.stack, self.exchange))
        self._flow = flow
        result = flow.start(response)
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            return answer  # type: ignore[return-value]
        if isinstance(reply.body, bytes):
            return await self._send_whole(flow, response, reply.body)
        return await self._send_streamed(flow, reply.body)

    async def _send_whole(self, flow: Flow, response: Response, body: bytes) -> Answer:
        out = flow.chunk(body)
        result = flow.end() if not flow.finished else None
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            return answer  # type: ignore[return-value]
        out += flow.tail() if not flow.finished else b""
        if response.status >= 200 and response.status not in (204, 304):
            response.headers.set_length(len(out))
        await self._send_start()
        await self._out(out if self.exchange.request.method != "HEAD" else b"", False)
        await self._finish("completed")
        return None

    async def _send_streamed(self, flow: Flow, body: AsyncIterable[bytes]) -> Answer:
        """Stream a Reply; the iterator is closed whatever happens, for nobody else would (PEP 525)."""
        iterator = body.__aiter__()
        try:
            if flow.mode is not Mode.HOLD:
                await self._send_start()
            async for chunk in iterator:
                out = flow.chunk(chunk)
                if flow.mode is not Mode.HOLD:
                    await self._out(out, not flow.finished)
                if flow.finished:
                    await self._finish("completed")
                    return None
            result = flow.end()
            answer = await result if type(result) is CoroutineType else result
            if answer is not None:
                return answer  # type: ignore[return-value]
            tail = flow.tail()
            if flow.mode is Mode.HOLD:
                await self._send_start()
            await self._out(tail, False)
            await self._finish("completed")
            return None
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    async def _finish(self, outcome: Outcome, *, cancelled: bool = False) -> None:
        waiting = self._end(outcome, cancelled=cancelled)
        if waiting is not None:
            await waiting

    def _end(self, outcome: Outcome, *, cancelled: bool = False) -> Coroutine[Any, Any, None] | None:
        """End the exchange; returns what is still to be awaited for it, None when nothing is."""
        if outcome == "completed" and self._inbox.drains:
            outcome = "aborted"  # read to its end, but nobody was there to hear it
        return settle_and_complete(self.stack, self.exchange, outcome, cancelled=cancelled)


async def turn_down(stack: Stack, exchange: Exchange, refusal: Refusal, send: Callable[[Any], Awaitable[None]]) -> None:
    """Send a refusal of the header hooks: nothing was read, nothing runs, so it needs none of the above."""
    response = refuse(stack, exchange, refusal)
    body = response.body if exchange.request.method != "HEAD" else b""
    outcome: Outcome = "aborted"
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers.raw})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        exchange.bytes_sent = len(body)
        outcome = "refused"
    except OSError:
        return  # the client left: nobody is there to be told
    finally:
        complete(stack, exchange, outcome)


async def _swallow() -> None:
    """Take a message of an application whose answer is no longer wanted."""
