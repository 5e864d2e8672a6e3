"""One HTTP exchange on ASGI: receive loads the request's body once, send drives the response's flow.

The application pushes its response through `send`. To stop it early, `send` raises an OSError as a server of ASGI 2.4
does when the client left, and `receive` answers with `http.disconnect`; what then comes out of it is swallowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, MutableMapping
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..around import Call, CallOutcome, Timers, held_by
from ..errors import ClientLeft
from ..exchange import Exchange, Refusal, Reply, Response
from ..flow import Flow, Mode
from ..headers import Headers, lower_names
from ..llm.view import recognise
from ..pipeline import NO_ANSWER, Walk, ask_for_usage, ask_on_error, complete, refuse, run, settle_and_complete, walk_for_answer, wants_body
from .asgi_inbox import Inbox

if TYPE_CHECKING:
    from ..exchange import Outcome
    from ..pipeline import Answer, Stack

Message = MutableMapping[str, Any]
_UNSAFE_EXTENSIONS = ("http.response.pathsend", "http.response.zerocopysend")
INTERNAL_ERROR = Refusal(500, "internal_error", "The service failed.")


class _Stopped(ClientLeft):
    """Raised from `send` to stop an application whose answer is no longer wanted."""


class Serving:
    """Serves one exchange; the object that `on_upstream` hooks call through, and that applications send to."""

    outermost = True
    _attempts = 0
    _flow: Flow | None = None
    _start: Message | None = None
    _sent_start = False
    _dropping = False
    """The answer under way was thrown away by a `hold`."""
    _stopped = False
    """The application was told to stop, its answer replaced or ended."""
    _told = False
    """The application was told, by an exception of ours, that the client left."""
    _over = False
    """The last byte was handed to the server."""
    _expects_trailers = False

    def __init__(self, app: Any, scope: Any, receive: Any, send: Any, exchange: Exchange, stack: Stack) -> None:
        self._app = app
        self._scope = scope
        self._send: Callable[[Any], Awaitable[None]] = send
        self._inbox = Inbox(receive, exchange)
        self.exchange = exchange
        self.stack = stack
        self.frames: list[CallOutcome] = []

    # ------------------------------------------------------------------ the request side

    async def settled(self, result: Any) -> Any:
        """Await a phase that waits, without losing the exchange's end when it is cancelled meanwhile."""
        try:
            return await result
        except BaseException:
            self._end("aborted")
            raise

    async def serve(self, answer: Answer) -> None:
        """Take the exchange from its header hooks (whose answer is given) to its end."""
        exchange = self.exchange
        try:
            if answer is None:
                answer = await self._body_hooks()
            if answer is not None:
                await self.deliver(answer)
                return
            if exchange.request.edited or "headers" in exchange.request.__dict__ or "extensions" in self._scope or self.stack.usage:
                self._prepare()
            if self.stack.around:
                await Call(self, 0)()
            else:
                await self.attempt(None)
            if exchange.error is not None and not self._stopped:
                if not self._told:  # else it is what our own stop made of the application
                    await self._failed(exchange.error)
            elif self.stack.around and not self._sent_start and not exchange.ended and not self._inbox.gone:
                await self.deliver(NO_ANSWER)
        except ClientLeft:
            self._inbox.gone = True
            if self._attempts and not self._stopped and not self._told:
                raise
        except asyncio.CancelledError:
            await self._finish("aborted", cancelled=True)
            raise
        finally:
            self._inbox.close()
            if not exchange.ended:
                await self._finish(self._outcome())

    def _outcome(self) -> Outcome:
        if self._inbox.gone:
            return "completed" if self._flow is not None and self._flow.delivered else "aborted"
        return "failed"

    async def _body_hooks(self) -> Answer:
        """Load the body where somebody needs it, then run the hooks that wait for it."""
        stack, exchange = self.stack, self.exchange
        if wants_body(stack, exchange):
            refusal = await self._inbox.load(exchange.snapshot.max_body_bytes)
            if refusal is not None:
                exchange.decide("gateway", "refused", refusal.code)
                return refusal
            exchange.llm = recognise(exchange)
        if not stack.late:
            return None
        result = run(stack.late if exchange.llm is not None else stack.late_plain, exchange)
        return await result if type(result) is CoroutineType else result  # type: ignore[return-value]

    def _prepare(self) -> None:
        """Write back what plug-ins changed of the request."""
        exchange, stack = self.exchange, self.stack
        request = exchange.request
        if stack.usage and request.loaded:
            ask_for_usage(stack, exchange)
        scope = self._scope
        if request.edited:
            self._inbox.body = request.body
            request.headers.set_length(len(request.body))
        if request.headers.changed:
            scope = {**scope, "headers": request.headers.raw}
        extensions = scope.get("extensions")
        if extensions and not self._walk().quiet and any(name in extensions for name in _UNSAFE_EXTENSIONS):
            kept = {name: value for name, value in extensions.items() if name not in _UNSAFE_EXTENSIONS}
            scope = {**scope, "extensions": kept}
        self._scope = scope

    def _walk(self) -> Walk:
        stack = self.stack
        return stack.walk(stack.llm_aware and self.exchange.llm is not None)

    # ------------------------------------------------------------------ the call

    async def attempt(self, outcome: CallOutcome | None) -> None:
        """Run the application once."""
        exchange = self.exchange
        self._attempts += 1
        self._dropping = False
        self._flow = None
        exchange.error = None
        scope = self._scope
        if self.stack.replay:
            self._inbox.rewind()
            state = scope.get("state")
            scope = {**scope, "state": dict(state) if state is not None else {}}
        armed = self._arm()
        try:
            await self._app(scope, self._inbox, self._application_send)
        except asyncio.CancelledError:
            fired = [guard.disarm() for guard in armed]
            armed = []
            if not any(fired):
                raise
            self._deadline_passed()
        except Exception as error:
            if not self._stopped and not self._dropping:
                self._record(error)
        else:
            if not self._over and not self._dropping and self._flow is not None and not self._stopped and not self._inbox.gone:
                self._truncated()
        finally:
            for guard in armed:
                if guard.disarm():
                    self._deadline_passed()
        if exchange.error is not None and self._sent_start and self.frames:
            await self._abort()

    def _arm(self) -> list[Any]:
        guarded = [frame.guard for frame in self.frames if frame.guard is not None]
        if not guarded:
            return []
        timers = self.exchange.runtime.state_of_host("timers", self._timers)
        return [timers.arm(guard) for guard in guarded]

    def _timers(self) -> Timers:
        return Timers(asyncio.get_running_loop(), self.exchange.ports.clock.monotonic)

    def _deadline_passed(self) -> None:
        for frame in self.frames:
            if frame.guard is not None and frame.guard.fired is not None:
                self._record(frame.guard.fired)
                return

    def _record(self, error: Exception) -> None:
        left = self._inbox.gone
        for frame in self.frames:
            frame.aborted = left
            if not left:
                frame.error = error
        self.exchange.error = error

    def _truncated(self) -> None:
        """The application returned in the middle of its answer; the server sees that too."""
        for frame in self.frames:
            frame.error = frame.error or RuntimeError("the answer ended before its end")

    async def _abort(self) -> None:
        """The answer broke after its start because of a deadline: end a stream in its dialect, break others off."""
        from ..around import DeadlineExceeded

        flow, error = self._flow, self.exchange.error
        if not isinstance(error, DeadlineExceeded) or self._over:
            return
        self._stopped = True
        call = self.exchange.llm
        if flow is not None and flow.mode is Mode.EVENTS and call is not None:
            text = call.dialect.error_event(504, "deadline_exceeded", f"The answer was cut off: {error}.")
            await self._out(flow.tail() + text, False)
            await self._finish("failed")
            return
        await self._finish("failed")
        raise error

    # ------------------------------------------------------------------ the response side

    def _application_send(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.body":
            return self._body(message)
        if kind == "http.response.start":
            return self._head(message)
        if self._stopped or self._dropping:
            return _swallow()
        if kind == "http.response.trailers":
            return self._trailers(message)
        if kind in _UNSAFE_EXTENSIONS:
            return self._last(message)
        return self._send(message)

    async def _head(self, message: Message) -> None:
        exchange = self.exchange
        if self._stopped:
            raise _Stopped("the answer was replaced")
        fields = message.get("headers", ())
        response = Response(message["status"], Headers(load=partial(lower_names, fields)))
        if self.frames:
            held = held_by(self.frames, response.status, response.headers)
            if held is not None:
                self._dropping = True
                return
        self._start = message
        if "trailers" in message:
            self._expects_trailers = bool(message["trailers"])
        flow = self._flow = Flow(exchange, self.stack, self._walk())
        result = flow.start(response)
        if result is not None:
            answer = await result if type(result) is CoroutineType else result
            if answer is not None:
                await self._replace(answer)  # type: ignore[arg-type]
        if flow.mode is not Mode.HOLD:
            await self._send_start()

    async def _replace(self, answer: Reply | Refusal) -> None:
        """A hook answered in place of the application: send that, and stop the application."""
        self._stopped = True
        await self.deliver(answer)
        raise _Stopped("the answer was replaced")

    async def _send_start(self) -> None:
        exchange = self.exchange
        response = exchange.response
        assert response is not None
        message = self._start
        if message is None or response.headers.changed or response.status != message["status"]:
            message = {**(message or {"type": "http.response.start"}), "status": response.status, "headers": response.headers.raw}
        self._sent_start = True
        if self._inbox.gone:
            await self._guarded(message)
        else:
            try:
                await self._send(message)
            except OSError as error:
                self._lost(error)
        if self._flow is not None and self._flow.mode is Mode.EVENTS and exchange.llm is not None:
            self._inbox.watch(self._scope)

    async def _body(self, message: Message) -> None:
        if self._dropping:
            return
        if self._stopped:
            raise _Stopped("the answer was replaced")
        exchange = self.exchange
        flow = self._flow
        if flow is None:
            await self._send(message)  # a body before its start: the server says what is wrong with it
            return
        more = message.get("more_body", False)
        data = message.get("body", b"")
        for frame in self.frames:
            if frame.guard is not None:
                frame.guard.progress()
            if frame.capture:
                frame.keep(data)
        if data and not exchange.first_byte and self.stack.watches:
            exchange.first_byte = exchange.ports.clock.monotonic()
        if flow.mode is Mode.PASS:
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
                if not exchange.ended:
                    await settle_and_complete(self.stack, exchange, "completed")
            return
        out = flow.chunk(data if type(data) is bytes else bytes(data))
        if flow.overfull:
            await self._give_up(flow, more)
            return
        if flow.finished:
            self._stopped = True
            await self._out(out, False)
            await self._finish("completed" if self.exchange.refusal is None else "failed")
            raise _Stopped("a plug-in ended the answer")
        if more:
            if flow.mode is not Mode.HOLD:
                await self._out(out, True)
            return
        result = flow.end()
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            await self._replace(answer)  # type: ignore[arg-type]
        tail = flow.tail()
        if flow.mode is Mode.HOLD:
            await self._send_start()
            out = tail if self.exchange.request.method != "HEAD" else b""
        else:
            out += tail
        if out is data:
            await self._last(message)
        else:
            await self._last({"type": "http.response.body", "body": out, "more_body": False})

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
            await self._finish("completed")

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
        self._inbox.gone = True
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
            response = Response(answer.status, Headers(list(answer.headers), owned=True))
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

    async def _failed(self, error: BaseException) -> None:
        """The application raised: `on_error`, then, when nothing outside will, a 500; the exception goes on to the server."""
        if self._sent_start or self._inbox.gone or not isinstance(error, Exception):
            raise error
        reply = ask_on_error(self.stack, self.exchange, error)
        if reply is not None:
            await self.deliver(reply)
            return
        if self.outermost:
            self.exchange.decide("gateway", "failed", type(error).__name__)
            response = refuse(self.stack, self.exchange, INTERNAL_ERROR)
            self._start = None
            self._flow = None
            await self._send_start()
            await self._out(response.body if self.exchange.request.method != "HEAD" else b"", False)
            await self._finish("failed")
        raise error

    # ------------------------------------------------------------------ the end

    async def _finish(self, outcome: Outcome, *, cancelled: bool = False) -> None:
        if not self.exchange.ended:
            await settle_and_complete(self.stack, self.exchange, outcome, cancelled=cancelled)

    def _end(self, outcome: Outcome) -> None:
        meter = self.exchange.__dict__.get("meter")
        if meter is not None and meter.reservations:
            self.exchange.runtime.settle_later(meter)
        complete(self.stack, self.exchange, outcome)


async def _swallow() -> None:
    """Take a message of an application whose answer is no longer wanted."""


