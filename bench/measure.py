"""CPU time of cases that take turns, so that whatever slows the machine for a moment slows all of them.

A case is a coroutine function that does something `count` times. Each round gives every case one slice of time; what is
compared are the slices of the same round, and what is reported is the median over the rounds.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Case: TypeAlias = Callable[[int], Awaitable[None]]

BARE = "bare"
"""The case that everything is added to: the application with nothing around it."""
PEER = "BaseHTTPMiddleware"
"""The case that everything is compared with: one middleware of that kind which does nothing."""
PEER_BARE = "unread"
"""What stands inside it: an application that does not read the request's body, with which it is cheapest."""

WARM_UP = 20  # operations before each slice that are not counted
_MICROSECOND = 1_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. `slice_seconds` is the CPU time of one case in one round."""

    rounds: int
    slice_seconds: float
    thorough: bool
    """Whether the largest sizes are measured too."""

    def sizes(self, sizes: Sequence[int]) -> Sequence[int]:
        """Return the sizes to measure: all of them, or all but the largest."""
        return sizes if self.thorough else sizes[:-1]


THOROUGH = Effort(rounds=15, slice_seconds=0.015, thorough=True)
SMOKE = Effort(rounds=3, slice_seconds=0.004, thorough=False)


class Readings:
    """Microseconds per operation of some cases, one value per round."""

    def __init__(self, rounds: Mapping[str, Sequence[float]]) -> None:
        self.rounds = dict(rounds)

    def median(self, case: str) -> float:
        """Return the median over the rounds."""
        return statistics.median(self.rounds[case])

    def least(self, case: str) -> float:
        """Return the smallest reading: the one that was disturbed least."""
        return min(self.rounds[case])

    def added(self, case: str, over: str = BARE) -> float:
        """Return what a case adds to another one: the median of the differences within each round."""
        return statistics.median(self._differences(case, over))

    def least_added(self, case: str, over: str = BARE) -> float:
        """Return the difference between the smallest readings."""
        return self.least(case) - self.least(over)

    def ratio(self, case: str, peer: str = PEER, over: str = BARE, peer_over: str = PEER_BARE) -> float:
        """Return what a case adds, in parts of what a peer adds: the median of the quotients within each round."""
        pairs = zip(self._differences(case, over), self._differences(peer, peer_over), strict=True)
        return statistics.median(own / other for own, other in pairs)

    def quotient(self, case: str, other: str) -> float:
        """Return the cost of a case in parts of another's, nothing taken off."""
        return statistics.median(a / b for a, b in zip(self.rounds[case], self.rounds[other], strict=True))

    def growth(self, large: str, small: str, over_large: str = BARE, over_small: str = BARE) -> float:
        """Return by which factor the added cost grows from one case to another, each with its own bare case."""
        pairs = zip(self._differences(large, over_large), self._differences(small, over_small), strict=True)
        return statistics.median(own / other for own, other in pairs)

    def slopes(self, sizes: Mapping[str, tuple[str, str, int]]) -> Readings:
        """Return the cost of one step for each `name: (large case, small case, steps between them)`."""
        return Readings(
            {
                name: [(a - b) / steps for a, b in zip(self.rounds[large], self.rounds[small], strict=True)]
                for name, (large, small, steps) in sizes.items()
            }
        )

    def each(self, operations: Mapping[str, int]) -> Readings:
        """Return the readings of cases whose one operation is several: `name: how many`."""
        return Readings({name: [value / many for value in self.rounds[name]] for name, many in operations.items()})

    def _differences(self, case: str, over: str) -> list[float]:
        return [own - bare for own, bare in zip(self.rounds[case], self.rounds[over], strict=True)]


class Lab:
    """Measures cases side by side, and says on stderr how far it is."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self._label = ""
        self._shown = 0
        self._begun = 0.0

    def begin(self, label: str) -> None:
        """Name what is measured next."""
        self._label = label
        self._begun = time.monotonic()

    def end(self) -> None:
        """Say how long it took."""
        self.clear()
        print(f"measured {self._label} in {time.monotonic() - self._begun:.1f} s", file=sys.stderr, flush=True)

    def progress(self, step: str) -> None:
        """Show a step of what is being measured, on a terminal over the last one."""
        if not sys.stderr.isatty():
            return
        line = f"measuring {self._label} {step}"[:100]
        print(f"\r{line.ljust(self._shown)}", end="", file=sys.stderr, flush=True)
        self._shown = len(line)

    def clear(self) -> None:
        """Take the progress line away."""
        if self._shown:
            print(f"\r{' ' * self._shown}\r", end="", file=sys.stderr, flush=True)
            self._shown = 0

    async def compare(self, cases: Mapping[str, Case], scale: float = 1.0) -> Readings:
        """Return the readings of cases that take turns; a case gets `scale` slices of time in each round."""
        wanted = int(self.effort.slice_seconds * scale * 1e9)
        gc.collect()
        counts = {}
        for name, case in cases.items():
            self.progress(f"warming up {name}")
            counts[name] = await _count_for(case, wanted)
        readings: dict[str, list[float]] = {name: [] for name in cases}
        gc.freeze()  # the collections below, and those that cases cause, look at what cases make only
        try:
            for number in range(self.effort.rounds):
                self.progress(f"round {number + 1} of {self.effort.rounds}")
                for name, case in cases.items():
                    await asyncio.sleep(0)  # a loop that never idles piles up what its timers left
                    await case(1 + min(counts[name] // 3, WARM_UP))  # the caches hold what the last case used
                    gc.collect()  # its garbage is not the next one's cost
                    spent = await _spend(case, counts[name])
                    readings[name].append(spent / counts[name] / _MICROSECOND)
        finally:
            gc.unfreeze()
        return Readings(readings)


async def _spend(case: Case, count: int) -> int:
    begun = time.process_time_ns()
    await case(count)
    return time.process_time_ns() - begun


async def _count_for(case: Case, wanted: int) -> int:
    """Return how many operations take about `wanted` nanoseconds; warms the case up meanwhile."""
    count = 1
    while True:
        spent = max(1, await _spend(case, count))
        if spent * 4 >= wanted:
            return max(1, round(count * wanted / spent))
        count = max(count + 1, min(count * 8, count * wanted // spent))


def resident() -> int:
    """Return the resident memory of this process in kB, after a collection."""
    gc.collect()
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * (os.sysconf("SC_PAGE_SIZE") // 1_024)
    answer = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return int(answer.stdout)
