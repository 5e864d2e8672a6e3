"""Time for tests: a clock that stands still until a test moves it, and the real one behind the same face.

    clock = VirtualClock()
    waiting = asyncio.create_task(clock.sleep(30))
    await clock.until_sleeping()
    clock.advance(30)
    await waiting

A test never sleeps: it lets the tasks of interest come to rest, then moves the clock.
"""

import asyncio
import bisect
import itertools
import math
import threading
import time
from typing import Protocol

import anyio

NANOSECONDS = 1_000_000_000

PATIENCE = 10_000
"""How many turns of the event loop the test kit gives other tasks before it says that something never happened.
Turns, not seconds: the answer is the same on a slow machine."""


class Clock(Protocol):
    """What the test kit asks of a clock; the first three are also what the gateway's own clock offers."""

    def now(self) -> float:
        """Wall time, in seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` without blocking the event loop."""

    def sleep_blocking(self, seconds: float) -> None:
        """Wait `seconds` in the calling thread."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Wall time, in seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` without blocking the event loop."""
        await anyio.sleep(seconds)

    def sleep_blocking(self, seconds: float) -> None:
        """Wait `seconds` in the calling thread."""
        time.sleep(seconds)


class VirtualClock:
    """A clock that moves only when told to, from any thread and for sleepers of any asyncio event loop.

    Time is kept in whole nanoseconds, so that ten steps of 0.1 s are exactly one second.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        """Begin at `start`, seconds since the epoch; `monotonic()` begins at 0."""
        self._start = _nanoseconds(start)
        self._elapsed: float = 0  # an int in fact; typed wide because deadlines may be infinite
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        """Wall time, in seconds since the epoch."""
        return (self._start + self._elapsed) / NANOSECONDS

    def monotonic(self) -> float:
        """Seconds this clock was advanced since it was made."""
        return self._elapsed / NANOSECONDS

    @property
    def sleeping(self) -> int:
        """How many tasks wait for this clock."""
        return len(self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced by `seconds`; 0 or less only lets other tasks run, `math.inf` is never.

        Raises ValueError for NaN.
        """
        nanoseconds = _nanoseconds(seconds)
        if nanoseconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        with self._lock:
            sleeper = (self._elapsed + nanoseconds, next(self._order), woken)
            bisect.insort(self._sleepers, sleeper)
        try:
            await woken
        finally:
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)

    def sleep_blocking(self, seconds: float) -> None:
        """What a blocking sleep is in virtual time: the clock has advanced by `seconds` when this returns."""
        self.advance(max(seconds, 0.0))

    def advance(self, seconds: float) -> None:
        """Move on by `seconds` and wake, earliest first, whoever sleeps until then.

        Those woken run at the next turn of their event loop and see the time advanced to, not the one they asked for.
        Raises ValueError if `seconds` is negative, infinite or NaN.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"a clock advances by a finite time that is not negative, not by {seconds} seconds")
        with self._lock:
            self._elapsed += _nanoseconds(seconds)
            due = bisect.bisect_right(self._sleepers, self._elapsed, key=lambda sleeper: sleeper[0])
            woken, self._sleepers = self._sleepers[:due], self._sleepers[due:]
        for _, _, sleeper in woken:
            sleeper.get_loop().call_soon_threadsafe(_wake, sleeper)

    async def until_sleeping(self, count: int = 1) -> None:
        """Let other tasks run until at least `count` of them wait for this clock.

        Raises TimeoutError when that has not happened after `PATIENCE` turns of the event loop.
        """
        for _ in range(PATIENCE):
            if len(self._sleepers) >= count:
                return
            await asyncio.sleep(0)
        raise TimeoutError(f"{len(self._sleepers)} tasks wait for the clock, not {count}")


def _nanoseconds(seconds: float) -> float:
    if math.isnan(seconds):
        raise ValueError("NaN is no length of time")
    return seconds if math.isinf(seconds) else round(seconds * NANOSECONDS)


def _wake(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)
