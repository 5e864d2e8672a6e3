"""One HTTP exchange on ASGI from its header hooks to its end: the request's body, the call, the errors."""

from __future__ import annotations

import asyncio
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..around import Call, CallOutcome, DeadlineExceeded, Timers
from ..errors import ClientLeft
from ..hooks import INTERNAL_ERROR, NO_ANSWER, run
from ..pipeline import ask_on_error, prepare_request, refuse, unrecognised, wants_body
from .asgi_response import UNSAFE_EXTENSIONS, Outbox

if TYPE_CHECKING:
    from ..exchange import Outcome
    from ..hooks import Answer


class Serving(Outbox):
    """Serves one exchange; what `on_upstream` hooks call through."""

    _runner: asyncio.Task[Any] | None = None
    """The task that runs the application, while it may be cancelled because the client left."""
    _cancelling = -1
    """How often that task had been cancelled before we did; -1: we did not."""

    # ------------------------------------------------------------------ the request side

    async def settled(self, result: Any) -> Any:
        """Await a phase that waits, without losing the exchange's end when it is cancelled meanwhile."""
        try:
            return await result
        except BaseException:
            await self._finish("aborted", cancelled=True)
            raise

    async def serve(self, answer: Answer) -> None:
        """Take the exchange from its header hooks (whose answer is given) to its end."""
        exchange = self.exchange
        try:
            if answer is None and self.stack.touches_body:
                answer = await self._body_hooks()
            if answer is not None:
                await self.deliver(answer)
                return
            known = exchange.request.__dict__
            if (
                "headers" in known
                or "edited" in known
                or "requeried" in known
                or "extensions" in self._scope
                or self.stack.usage
            ):
                self._prepare()
            if self.stack.around:
                await Call(self, 0)()
            else:
                await self._run(self._scope)
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
            if stack.llm_guards and exchange.llm is None:
                refusal = unrecognised(stack, exchange)
                if refusal is not None:
                    return refusal
        if not stack.late:
            return None
        result = run(stack.late if exchange.llm is not None else stack.late_plain, exchange)
        return await result if type(result) is CoroutineType else result  # type: ignore[return-value]

    def _prepare(self) -> None:
        """Write back what plug-ins changed of the request."""
        exchange, stack = self.exchange, self.stack
        request = exchange.request
        prepare_request(stack, exchange)
        scope = self._scope
        if request.edited:
            self._inbox.body = request.wire
        if request.headers.changed:
            scope = {**scope, "headers": request.headers.raw}
        if request.requeried:
            scope = {**scope, "query_string": request.query}
        extensions = scope.get("extensions")
        if extensions and not stack.walk_of(exchange).quiet and any(name in extensions for name in UNSAFE_EXTENSIONS):
            kept = {name: value for name, value in extensions.items() if name not in UNSAFE_EXTENSIONS}
            scope = {**scope, "extensions": kept}
        self._scope = scope

    # ------------------------------------------------------------------ the call

    async def attempt(self, outcome: CallOutcome) -> None:
        """Run the application once."""
        exchange = self.exchange
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
            await self._run(scope)
            if (
                not self._over
                and not self._dropping
                and (self._flow is not None or self._passing)
                and not self._stopped
                and not self._inbox.gone
            ):
                self._truncated()
        except asyncio.CancelledError:
            fired = [guard.disarm() for guard in armed]
            armed = []
            if not any(fired):
                raise
            self._deadline_passed()
        finally:
            for guard in armed:
                if guard.disarm():
                    self._deadline_passed()
        if exchange.error is not None and self._sent_start and self.frames:
            await self._abort()

    async def _run(self, scope: Any) -> None:
        self._attempts += 1
        if self._may_watch():
            self._runner = asyncio.current_task()
            self._inbox.on_unheard = self._cancel_application
        try:
            await self._app(scope, self._inbox, self._application_send)
        except asyncio.CancelledError:
            if not self._take_back():
                raise
            self._told = True
            self._record(ClientLeft("the client left"))
        except Exception as error:
            if not self._stopped and not self._dropping:
                self._record(error)
            self._take_back()
        else:
            if self._runner is not None:
                self._take_back()

    def _may_watch(self) -> bool:
        """Whether the answer may be one during which a lost client is watched for: a stream, where the caller asks for one."""
        exchange = self.exchange
        if exchange.route.watch_disconnect:
            return True
        if not self.stack.llm_aware or exchange.llm is None:
            return False
        request = exchange.request
        if "json" in request.__dict__:  # somebody has read it
            return exchange.llm.streams or "stream" in request.path
        return request.received_body is None or b"stream" in request.received_body or "stream" in request.path

    def _cancel_application(self) -> None:
        """The client left and nobody told the application: one that waits for its provider would go on costing."""
        if self._runner is not None and not self._over and not self._stopped:
            self._cancelling = self._runner.cancelling()
            self._runner.cancel()

    def _take_back(self) -> bool:
        """Forget a cancellation of ours; False when there was none, or when somebody else cancels too."""
        self._inbox.on_unheard = None
        runner, self._runner = self._runner, None
        before, self._cancelling = self._cancelling, -1
        return runner is not None and before >= 0 and runner.uncancel() <= before

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
        flow, error = self._flow, self.exchange.error
        if not isinstance(error, DeadlineExceeded) or self._over:
            return
        text = (
            flow.break_off(504, "deadline_exceeded", f"The answer was cut off: {error}.") if flow is not None else None
        )
        if text is not None:
            self._stopped = True
            await self._out(text, False)
        await self._finish("failed")

    # ------------------------------------------------------------------ errors and the end

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
            await self._out(response.wire if self.exchange.request.method != "HEAD" else b"", False)
            await self._finish("failed")
        raise error
