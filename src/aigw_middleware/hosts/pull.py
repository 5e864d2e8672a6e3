"""The exchange as hosts see it that ask for a response and then read it: WSGI, Django, client transports.

One coroutine drives all of them. On synchronous hosts nothing in it ever suspends, so one `send(None)` finishes it. An
`on_upstream` hook is suspended when the response is handed over and resumed when its body was finished, failed or
closed, with the same outcome as on hosts that push.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..around import Call, CallOutcome, DeadlineExceeded, Timers, held_by
from ..exchange import Exchange, Refusal, Reply, Response
from ..flow import Flow, Mode
from ..headers import Headers, end_to_end
from ..hooks import INTERNAL_ERROR, NO_ANSWER, TOO_LARGE, run
from ..llm.view import body_loaded
from ..pipeline import (
    Walk,
    ask_on_error,
    prepare_request,
    refuse,
    settle_and_complete,
    unrecognised,
    walk_for_answer,
    wants_body,
)
from .handover import Drive, HandOver, Iterated, Restarted, Source

if TYPE_CHECKING:
    from ..exchange import Outcome
    from ..hooks import Answer
    from ..pipeline import Stack


class Pulling:
    """One exchange on a pull host. `open` brings it to the hand-over, `read` gives the body, `close` ends it early."""

    __slots__ = (
        "_chain",
        "_load",
        "_over",
        "_ready",
        "_source",
        "_sources",
        "_verdict",
        "exchange",
        "flow",
        "frames",
        "native",
        "reraise",
        "restarted",
        "stack",
    )

    def __init__(
        self,
        exchange: Exchange,
        stack: Stack,
        sources: Callable[[], Source],
        load: Callable[[int], Any],
        *,
        reraise: bool,
    ) -> None:
        self.exchange = exchange
        self.stack = stack
        self.frames: list[CallOutcome] = []
        self.flow: Flow | None = None
        self.native: Source | None = None
        """The service's own answer, when it is that which is handed over."""
        self.reraise = reraise
        self._sources = sources
        self._load = load
        self._source: Source | None = None
        self._chain: CoroutineType[Any, Any, Any] | None = None
        self._ready: list[bytes] = []
        self._over = False
        self._verdict: Outcome = "completed"
        self.restarted: Any = None
        """`exc_info` of the service's last restart, for a server that has the first head already."""

    # ------------------------------------------------------------------ up to the hand-over

    async def open(self, answer: Answer | Any) -> None:
        """Bring the exchange to the point where status and headers are final."""
        try:
            await self._open(answer)
        except asyncio.CancelledError:
            await self._give_up("aborted", cancelled=True)
            raise
        except BaseException:
            await self._give_up("failed")
            raise

    async def _give_up(self, outcome: Outcome, *, cancelled: bool = False) -> None:
        try:
            await self._let_go()
        finally:
            await self._end(outcome, cancelled=cancelled)

    async def _open(self, answer: Any) -> None:
        if type(answer) is CoroutineType:
            answer = await answer
        if answer is None:
            answer = await self._body_hooks()
        if answer is not None:
            await self._answer(answer)
            return
        exchange = self.exchange
        prepare_request(self.stack, exchange)
        if self.stack.around:
            self._chain = Call(self, 0)()  # type: ignore[assignment]
            await self._advance()
        else:
            await self._attempt()
        if self.flow is not None:
            return
        error = exchange.error
        if error is None:
            await self._answer(NO_ANSWER)
            return
        await self._failed(error)

    async def _failed(self, error: BaseException) -> None:
        reply = ask_on_error(self.stack, self.exchange, error) if isinstance(error, Exception) else None
        if reply is not None:
            await self._answer(reply)
            return
        if self.reraise or not isinstance(error, Exception):
            raise error
        self.exchange.decide("gateway", "failed", type(error).__name__)
        await self._answer(INTERNAL_ERROR)

    async def _body_hooks(self) -> Answer:
        stack, exchange = self.stack, self.exchange
        if wants_body(stack, exchange):
            declared = exchange.request.headers.get_bytes(b"content-length")
            limit = exchange.snapshot.max_body_bytes
            if declared is not None and declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
                return TOO_LARGE
            body = await self._load(limit)
            if body is None:
                exchange.decide("gateway", "refused", TOO_LARGE.code)
                return TOO_LARGE
            body_loaded(exchange, body)
            refusal = unrecognised(stack, exchange)
            if refusal is not None:
                return refusal
        if not stack.late:
            return None
        result = run(stack.late if exchange.llm is not None else stack.late_plain, exchange)
        return await result if type(result) is CoroutineType else result  # type: ignore[return-value]

    async def _advance(self) -> None:
        """Run the chain of hooks up to its next hand-over, or to its end."""
        chain = self._chain
        if chain is not None and await Drive(chain, self.exchange.ports.color == "sync"):
            self._chain = None

    # ------------------------------------------------------------------ what the chain calls

    async def attempt(self, outcome: CallOutcome) -> None:
        """One call of the service; returns, on the chain, when the body has ended."""
        if await self._attempt():
            await HandOver()

    async def deliver(self, answer: Reply | Refusal) -> None:
        """Hand over a hook's answer."""
        if await self._answer(answer):
            await HandOver()

    async def _attempt(self) -> bool:
        exchange = self.exchange
        exchange.error = None
        source = self._source = self._sources()
        try:
            status, fields = await self._guarded(source.open)
            response = Response(status, Headers(fields, owned=True))
            if self.frames and held_by(self.frames, status, response.headers) is not None:
                await self._let_go()
                return False
            self.native = source
            await self._begin(response, source)
        except Exception as error:  # of the service: hooks are contained; nothing has left, not even of a held answer
            exchange.error = error
            exchange.response = self.flow = self.native = None
            for frame in self.frames:
                frame.error = error
                frame.started = False
            await self._let_go()
            return False
        return True

    async def _begin(self, response: Response, source: Source) -> None:
        """Start the service's response, and start again as often as it says so before a byte left."""
        while True:
            try:
                await self._start(response, source)
                return
            except Restarted as again:
                response = self._restart(again)

    def _restart(self, again: Restarted) -> Response:
        response = Response(again.status, Headers(again.fields, owned=True))
        self.restarted = again.exc_info
        for frame in self.frames:
            frame.status, frame.headers = response.status, response.headers
        return response

    async def _let_go(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            await source.close()

    async def _answer(self, answer: Reply | Refusal) -> bool:
        """Make an answer of our own the response; False when a frame holds it."""
        exchange = self.exchange
        self.native = None
        if isinstance(answer, Refusal):
            response = refuse(self.stack, exchange, answer)
            if self.frames and held_by(self.frames, response.status, response.headers) is not None:
                return False
            self.flow = Flow(exchange, self.stack, NOTHING_TO_DO)
            self._ready = [response.wire] if exchange.request.method != "HEAD" and response.wire else []
            self._source = None
            self._over = True
            self._verdict = "refused" if exchange.error is None else "failed"
            return True
        response = Response(answer.status, Headers(end_to_end(answer.headers), owned=True))
        if self.frames and held_by(self.frames, response.status, response.headers) is not None:
            return False
        await self._start(response, Iterated(answer.body), answer)
        return True

    async def _start(self, response: Response, source: Source, reply: Reply | None = None) -> None:
        """Run the response hooks that can run now; a held body is read to its end first."""
        exchange, stack = self.exchange, self.stack
        walk = walk_for_answer(stack, exchange) if reply is not None else stack.walk_of(exchange)
        flow = self.flow = Flow(exchange, stack, walk)
        self._source = source
        self._over = False
        result = flow.start(response)
        answer = await result if type(result) is CoroutineType else result
        if answer is None and flow.mode is Mode.HOLD:
            answer = await self._hold(flow, source)
        elif answer is None and reply is not None and isinstance(reply.body, bytes):
            self._whole(flow, response, reply.body)
        if answer is not None:
            await source.close()
            await self._answer(answer)  # type: ignore[arg-type]

    def _whole(self, flow: Flow, response: Response, body: bytes) -> None:
        """A Reply of bytes leaves with its length."""
        out = flow.chunk(body)
        if not flow.finished:
            flow.end()
            out += flow.tail()
        if response.status >= 200 and response.status not in (204, 304):
            response.headers.set_length(len(out))
        self._ready = [out] if out and self.exchange.request.method != "HEAD" else []
        self._source = Iterated(b"")

    async def _hold(self, flow: Flow, source: Source) -> Answer:
        while True:
            data = await self._guarded(source.read)
            if data is None:
                break
            self._arrived(data)
            flow.chunk(data)
            if flow.overfull:
                result = flow.give_up()
                answer = await result if type(result) is CoroutineType else result
                self._ready = [flow.held()]
                return answer  # type: ignore[return-value]
        result = flow.end()
        answer = await result if type(result) is CoroutineType else result
        if answer is not None:
            return answer  # type: ignore[return-value]
        body = flow.tail()
        self._ready = [body] if body and self.exchange.request.method != "HEAD" else []
        await source.close()
        self._source = None
        self._over = True
        return None

    # ------------------------------------------------------------------ after the hand-over

    @property
    def whole(self) -> bytes | None:
        """The complete body, when it is known already; None when it is still to be read."""
        source = self._source
        if self._over or source is None or (type(source) is Iterated and source.empty):
            return b"".join(self._ready)
        return None

    async def read(self) -> bytes | None:
        """Return the next piece of the body, None at its end."""
        if self._ready:
            return self._send(self._ready.pop(0))
        source, flow = self._source, self.flow
        if self._over or source is None or flow is None:
            await self._resume_and_end(self._verdict)
            return None
        try:
            while True:
                try:
                    data = await self._guarded(source.read)
                except Restarted as again:
                    await self._begin(self._restart(again), source)
                    return await self.read()
                if data is None:
                    flow.end()
                    tail = flow.tail()
                    self._over = True
                    await source.close()
                    if tail:
                        return self._send(tail)
                    await self._resume_and_end("completed")
                    return None
                self._arrived(data)
                out = flow.chunk(data)
                if flow.finished:
                    self._over = True
                    self._verdict = "failed" if self.exchange.refusal or self.exchange.error else "completed"
                    await source.close()
                    return self._send(out)
                if out or flow.mode is Mode.PASS:
                    return self._send(out)
        except asyncio.CancelledError:
            await self._break(source, None, "aborted", cancelled=True)
            raise
        except DeadlineExceeded as error:
            await self._break(source, error, "failed")
            text = flow.break_off(504, "deadline_exceeded", f"The answer was cut off: {error}.")
            if text is not None:
                return text
            raise
        except Exception as error:
            await self._break(source, error, "failed")
            raise

    def _send(self, data: bytes) -> bytes:
        self.exchange.bytes_sent += len(data)
        return data

    def _arrived(self, data: bytes) -> None:
        exchange = self.exchange
        if data and not exchange.first_byte:
            exchange.first_byte = exchange.ports.clock.monotonic()
        for frame in self.frames:
            if frame.guard is not None:
                frame.guard.progress()
            if frame.capture:
                frame.keep(data)

    async def _break(
        self, source: Source, error: Exception | None, outcome: Outcome, *, cancelled: bool = False
    ) -> None:
        self._over = True
        self.exchange.error = error
        for frame in self.frames:
            frame.error = error
            frame.aborted = error is None
        try:
            await source.close()
        finally:
            await self._resume_and_end(outcome, cancelled=cancelled)

    async def close(self) -> None:
        """The reader stops, at the end or before: let go of everything, complete the exchange."""
        if self.exchange.ended:
            return
        source, self._source = self._source, None
        delivered = self._over and not self._ready
        if not delivered and self.flow is not None and self.flow.delivered:
            delivered = True
        if not delivered:
            for frame in self.frames:
                frame.aborted = True
        self._over = True
        self._ready.clear()
        try:
            if source is not None:
                await source.close()
        finally:
            await self._resume_and_end("aborted" if not delivered and self._verdict == "completed" else self._verdict)

    async def _resume_and_end(self, outcome: Outcome, *, cancelled: bool = False) -> None:
        """Give the body's end back to the hooks around the call, then settle and complete."""
        if self._chain is not None and self.flow is not None and not _running(self._chain):
            try:
                await self._advance()
            finally:
                self._chain = None
        await self._end(outcome, cancelled=cancelled)

    async def _end(self, outcome: Outcome, *, cancelled: bool = False) -> None:
        if not self.exchange.ended and not (self._chain is not None and _running(self._chain)):
            waiting = settle_and_complete(self.stack, self.exchange, outcome, cancelled=cancelled)
            if waiting is not None:
                await waiting

    # ------------------------------------------------------------------ deadlines

    async def _guarded(self, step: Callable[[], Any]) -> Any:
        """Run one step of the inner side under the deadlines of the calls around it."""
        guards = [frame.guard for frame in self.frames if frame.guard is not None]
        if not guards:
            return await step()
        exchange = self.exchange
        if exchange.ports.color == "sync":
            for guard in guards:
                guard.check()
            result = await step()
            for guard in guards:
                guard.check()
            return result
        timers = exchange.runtime.state_of_host(
            "timers", lambda: Timers(asyncio.get_running_loop(), exchange.ports.clock.monotonic)
        )
        armed = [timers.arm(guard) for guard in guards]
        try:
            return await step()
        except asyncio.CancelledError:
            fired = [entry.disarm() for entry in armed]
            armed = []
            if not any(fired):
                raise
            raise next(guard.fired for guard in guards if guard.fired is not None) from None
        finally:
            for entry in armed:
                entry.disarm()


NOTHING_TO_DO = Walk((), False)


def _running(chain: CoroutineType[Any, Any, Any]) -> bool:
    return chain.cr_running
