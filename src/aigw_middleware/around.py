"""Around the call: the one hook that nests, and the deadlines that its `call` takes as arguments."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .hooks import contain, owner

if TYPE_CHECKING:
    from .exchange import Exchange, Refusal, Reply
    from .headers import Headers
    from .pipeline import Stack
    from .ports import Clock

DeadlineKind = Literal["total", "first_byte", "idle"]


class DeadlineExceeded(Exception):
    """A deadline given to `call` passed; `kind` says which."""

    def __init__(self, kind: DeadlineKind, seconds: float) -> None:
        super().__init__(f"no {_WAITED_FOR[kind]} within {seconds:g} s")
        self.kind = kind
        self.seconds = seconds


_WAITED_FOR = {"total": "complete answer", "first_byte": "answer", "idle": "next piece of the answer"}


class CallOutcome:
    """What became of one `call`: final once the call returned."""

    __slots__ = ("aborted", "body", "capture", "error", "guard", "headers", "held", "hold", "started", "status")

    def __init__(self, hold: Callable[[int, Headers], bool] | None, capture: int) -> None:
        self.hold = hold
        self.capture = capture
        self.status = 0
        """Status of the answer; 0: none came."""
        self.headers: Headers | None = None
        self.error: Exception | None = None
        """What the service or the connection raised."""
        self.held = False
        """The answer was thrown away because `hold` said so: call again, or return a Reply."""
        self.started = False
        """The answer was handed over: nothing else can be sent in its place."""
        self.aborted = False
        """The client left."""
        self.body: bytearray | None = bytearray() if capture else None
        """With `capture`, the body as the service sent it; None when it was larger than that."""
        self.guard: Guard | None = None

    def keep(self, data: bytes) -> None:
        """Capture a piece of the body, up to the bound."""
        body = self.body
        if body is not None:
            if len(body) + len(data) > self.capture:
                self.body = None
            else:
                body += data


class Guard:
    """The deadlines of one call. It knows when the next one is due; hosts decide how to enforce it."""

    __slots__ = ("_clock", "_first_byte", "_idle", "_last", "_started", "_total", "fired")

    def __init__(self, clock: Clock, first_byte: float, idle: float, total: float) -> None:
        self._clock = clock
        self._first_byte = first_byte
        self._idle = idle
        self._total = total
        self._started = clock.monotonic()
        self._last: float | None = None
        self.fired: DeadlineExceeded | None = None

    def progress(self) -> None:
        """A byte of the answer came."""
        self._last = self._clock.monotonic()

    def due(self) -> tuple[float, DeadlineKind, float]:
        """Return when the next deadline passes (monotonic seconds), which one it is, and its length."""
        found: list[tuple[float, DeadlineKind, float]] = []
        if self._total:
            found.append((self._started + self._total, "total", self._total))
        if self._last is not None:
            if self._idle:
                found.append((self._last + self._idle, "idle", self._idle))
        elif self._first_byte:
            found.append((self._started + self._first_byte, "first_byte", self._first_byte))
        return min(found, default=(float("inf"), "total", 0.0))

    def look_at(self) -> float:
        """Return when to look next: at the next deadline, or after an idle time that has not begun to run."""
        when = self.due()[0]
        if when == float("inf") and self._idle:
            return self._clock.monotonic() + self._idle
        return when

    def check(self) -> None:
        """Raise DeadlineExceeded when a deadline has passed: how synchronous hosts enforce it, between reads."""
        when, kind, seconds = self.due()
        if self._clock.monotonic() >= when:
            self.fired = DeadlineExceeded(kind, seconds)
            raise self.fired


class Timers:
    """One heap of deadlines per event loop with one timer behind it: arming costs a push, not a loop timer each."""

    __slots__ = ("_armed", "_count", "_handle", "_heap", "_loop", "_monotonic")

    CROWDED = 64  # entries beyond twice the armed ones that are kept before the disarmed are swept out

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic: Callable[[], float]) -> None:
        self._loop = loop
        self._monotonic = monotonic
        self._heap: list[tuple[float, int, _Armed]] = []
        self._count = itertools.count()
        self._handle: asyncio.TimerHandle | None = None
        self._armed = 0

    def arm(self, guard: Guard) -> _Armed:
        """Cancel the current task when a deadline of `guard` passes, until `disarm`."""
        task = asyncio.current_task()
        assert task is not None
        armed = _Armed(guard, task, self)
        self._armed += 1
        self._push(armed)
        return armed

    def disarmed(self) -> None:
        """One deadline less: sweep when most entries are of calls that ended in time."""
        self._armed -= 1
        if len(self._heap) > 2 * self._armed + self.CROWDED:
            self._heap = [entry for entry in self._heap if entry[2].task is not None]
            heapq.heapify(self._heap)

    def _push(self, armed: _Armed) -> None:
        when = armed.guard.look_at()
        if when == float("inf"):
            return
        heapq.heappush(self._heap, (when, next(self._count), armed))
        if self._heap[0][2] is armed:
            self._schedule()

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        while self._heap and self._heap[0][2].task is None:
            heapq.heappop(self._heap)
        if self._heap:
            delay = max(0.0, self._heap[0][0] - self._monotonic())
            self._handle = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._monotonic()
        while self._heap and self._heap[0][0] <= now:
            armed = heapq.heappop(self._heap)[2]
            if armed.task is None:
                continue
            when, kind, seconds = armed.guard.due()
            if when > now:
                self._push(armed)  # something came meanwhile: the deadline moved
                continue
            armed.guard.fired = DeadlineExceeded(kind, seconds)
            armed.cancelled = True
            armed.task.cancel()
        self._schedule()


class _Armed:
    __slots__ = ("_timers", "cancelled", "guard", "task")

    def __init__(self, guard: Guard, task: asyncio.Task[Any], timers: Timers) -> None:
        self.guard = guard
        self._timers = timers
        self.task: asyncio.Task[Any] | None = task
        self.cancelled = False

    def disarm(self) -> bool:
        """Stop watching; returns whether the task was cancelled by this deadline, and takes that cancellation back."""
        task, self.task = self.task, None
        if task is not None:
            self._timers.disarmed()
        if self.cancelled and task is not None:
            task.uncancel()
            return True
        return False


class Driver(Protocol):
    """What a host gives to the chain of `on_upstream` hooks."""

    exchange: Exchange
    stack: Stack
    frames: list[CallOutcome]

    async def attempt(self, outcome: CallOutcome) -> None:
        """Run the service, or send the request, once; returns when the answer has ended."""

    async def deliver(self, answer: Reply | Refusal) -> None:
        """Send a plug-in's answer in place of the service's; returns when it has ended."""


class Call:
    """The `call` of `on_upstream`: what lies inside of the hook, the next hook or the service itself."""

    __slots__ = ("_driver", "_position", "called")

    def __init__(self, driver: Driver, position: int) -> None:
        self._driver = driver
        self._position = position
        self.called = 0

    async def __call__(
        self,
        *,
        hold: Callable[[int, Headers], bool] | None = None,
        first_byte: float = 0.0,
        idle: float = 0.0,
        total: float = 0.0,
        capture: int = 0,
    ) -> CallOutcome:
        """Make the call once and return when its answer has ended.

        `hold(status, headers)` true throws the answer away. `first_byte`, `idle`, `total` are deadlines in seconds, 0: none.
        `capture` keeps up to so many bytes of the body. Never raises Exception: see the outcome's `error`.
        """
        driver = self._driver
        self.called += 1
        outcome = CallOutcome(hold, capture)
        if first_byte or idle or total:
            outcome.guard = Guard(driver.exchange.ports.clock, first_byte, idle, total)
        driver.frames.append(outcome)
        try:
            if self._position == len(driver.stack.around):
                await driver.attempt(outcome)
            else:
                await self._next(driver)
        finally:
            driver.frames.pop()
        return outcome

    async def _next(self, driver: Driver) -> None:
        hook = driver.stack.around[self._position]
        inner = Call(driver, self._position + 1)
        exchange = driver.exchange
        answer: Reply | Refusal | None
        try:
            answer = await hook(exchange, inner)
        except Exception as error:
            answer = contain(exchange, hook, error)
            if answer is None and not inner.called:
                await inner()
        if answer is None:
            return
        exchange.answering = owner(hook)
        exchange.answered_by = exchange.answering.name
        if any(frame.started for frame in driver.frames):
            return  # too late: bytes have left
        exchange.error = None  # whatever it was, the hook has answered for it
        await driver.deliver(answer)


def held_by(frames: list[CallOutcome], status: int, headers: Headers) -> CallOutcome | None:
    """Show an answer's head to every frame, innermost first; returns the one that throws it away, if any."""
    for frame in reversed(frames):
        frame.status = status
        frame.headers = headers
        if frame.hold is not None and frame.hold(status, headers):
            frame.held = True
            return frame
    for frame in frames:
        frame.started = True
        frame.held = False
    return None
