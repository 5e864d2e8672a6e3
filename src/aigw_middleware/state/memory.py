"""State in this process: `memory://`.

Rates cost one float per key: the theoretical arrival time of GCRA, the moment at which the bucket would be full again.
Everything happens under one lock, so threads and event loops may share a store. Time that stands in entries is the
store's own, which never goes back (`_behind`) and begins at 2**24 seconds: there doubles are 3.7 ns (`GRID`) apart, so
that for 194 days sums of refill intervals are exact, and a bucket of a million lets a million through, not one less.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from .immediate import ImmediateStore
from .store import Claim, Limit, Reserved, Taken
from .values import Values
from .windows import Windows

EPOCH = 2.0**24
MAX_LAG = 1.0
"""Seconds. A clock that is behind by no more is waited for, so jitter refills nothing; one that is farther behind has
been set back, and time goes on from there a second later."""
SWEEP_EVERY = 2.0**-10
"""Seconds between two looks, on the side of other operations, for entries that are idle."""
SWEPT = 8
"""Entries looked at each time."""
SWEPT_PER_NEW_KEY = 2
"""With two looks for each new key, idle keys never outnumber the others for long."""
SWEPT_WHEN_FULL = 32


class MemoryStore(ImmediateStore):
    """A store in the memory of this process.

    `now` is the wall clock in epoch seconds. Keys of all kinds together number at most `max_keys`, so do open
    reservations, and what may go early holds at most `max_bytes`. What still restricts never goes for room: when only
    such entries are left, new rate and window keys share one bucket per limit (counted in `overflowed`), and new nonces
    raise StoreFull.
    """

    def __init__(
        self, now: Callable[[], float] = time.time, max_keys: int = 1_000_000, max_bytes: int = 256 * 2**20
    ) -> None:
        self._lock = threading.Lock()
        self._clock = now
        self._shift = EPOCH - now()
        self._latest = EPOCH
        self._sweep_at = EPOCH
        self._max_keys = max_keys
        self._arrivals: dict[str, float] = {}
        self._ring: deque[str] = deque()  # the keys of _arrivals, in the order in which they are swept
        self._overflowed = 0
        self._windows = Windows(max_keys)
        self._values = Values(max_bytes)

    def __len__(self) -> int:
        return len(self._arrivals) + len(self._windows) + len(self._values)

    @property
    def overflowed(self) -> int:
        """How often a new key had to share its limit's overflow bucket."""
        return self._overflowed + self._windows.overflowed

    @property
    def evicted(self) -> int:
        """How many values and lists went early for want of room."""
        return self._values.evicted

    # ------------------------------------------------------------------ rates

    def take_now(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        """See `Store.take`."""
        self._lock.acquire()  # half the cost of a with statement
        try:
            now = self._clock() + self._shift
            if now < self._latest:
                now = self._behind(now)
            else:
                self._latest = now
            if now >= self._sweep_at:
                self._sweep(now, SWEPT)
            try:
                ahead = self._arrivals[key] - now
            except KeyError:
                return self._take_one(key, limit, cost, now)
            if cost < 1:
                return self._take_one(key, limit, cost, now)
            # From here on it is _judge, written out: the call would cost as much as all of it.
            if ahead < 0.0:
                ahead = 0.0
            interval = limit.interval
            step = interval if cost == 1 else cost * interval
            later = ahead + step
            room = limit.room - later
            if room >= 0.0:
                self._arrivals[key] = now + later
                return Taken(True, limit.size, int(room / interval), 0.0, later)
            if ahead <= limit.tolerance and cost <= limit.size:
                return Taken(False, limit.size, int((room + step) / interval), later - limit.tolerance, ahead)
            return self._take_one(key, limit, cost, now)
        finally:
            self._lock.release()

    def take_all_now(self, requests: Sequence[tuple[str, Limit, int]]) -> list[Taken]:
        """See `Store.take_all`."""
        with self._lock:
            now = self._time()
            planned: dict[str, float] = {}
            answers = []
            keyed = [(self._bucket(key, limit, cost), limit, cost) for key, limit, cost in requests]
            for key, limit, cost in keyed:
                ahead = planned[key] if key in planned else self._ahead(key, now)
                answer, planned[key] = _judge(limit, ahead, cost)
                answers.append(answer)
            if not all(answer.allowed for answer in answers):
                return [
                    _unchanged(limit, self._ahead(key, now), answer)
                    for (key, limit, _), answer in zip(keyed, answers, strict=True)
                ]
            for key, ahead in planned.items():
                self._keep(key, ahead, now)
            return answers

    def peek_now(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        """See `Store.peek`."""
        with self._lock:
            now = self._time()
            if key not in self._arrivals and len(self) >= self._max_keys:
                key = _overflow(limit)
            ahead = self._ahead(key, now)
            return _unchanged(limit, ahead, _judge(limit, ahead, cost)[0])

    def _take_one(self, key: str, limit: Limit, cost: int, now: float) -> Taken:
        key = self._bucket(key, limit, cost)
        answer, ahead = _judge(limit, self._ahead(key, now), cost)
        self._keep(key, ahead, now)
        return answer

    def _ahead(self, key: str, now: float) -> float:
        return max(0.0, self._arrivals.get(key, now) - now)

    def _bucket(self, key: str, limit: Limit, cost: int) -> str:
        if not cost or key in self._arrivals or not self._full():
            return key
        self._overflowed += 1
        return _overflow(limit)

    def _keep(self, key: str, ahead: float, now: float) -> None:
        if key not in self._arrivals:
            if not ahead:
                return
            self._sweep_rates(now, SWEPT_PER_NEW_KEY)
            self._ring.append(key)
        self._arrivals[key] = now + ahead

    # ------------------------------------------------------------------ windows, values

    def reserve_now(self, claims: Sequence[Claim], lease: float) -> Reserved:
        """See `Store.reserve`."""
        with self._lock:
            return self._windows.reserve(claims, lease, self._time(), self._full)

    def settle_now(self, id: str, actual: Sequence[int]) -> bool:
        """See `Store.settle`."""
        with self._lock:
            self._time()
            return self._windows.settle(id, actual)

    def release_now(self, id: str) -> bool:
        """See `Store.release`."""
        with self._lock:
            self._time()
            return self._windows.release(id)

    def get_now(self, key: str) -> bytes | None:
        """See `Store.get`."""
        with self._lock:
            return self._values.get(key, self._time())

    def set_now(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """See `Store.set`."""
        with self._lock:
            self._values.set(key, value, ttl, self._time(), self._full)

    def set_if_absent_now(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """See `Store.set_if_absent`."""
        return self.compare_and_set_now(key, None, value, ttl)

    def compare_and_set_now(self, key: str, expected: bytes | None, value: bytes, ttl: float | None = None) -> bool:
        """See `Store.compare_and_set`."""
        with self._lock:
            return self._values.replace(key, expected, value, ttl, self._time(), self._full)

    def delete_now(self, key: str) -> bool:
        """See `Store.delete`."""
        with self._lock:
            return self._values.delete(key, self._time())

    def append_now(self, key: str, value: bytes, keep: int, ttl: float | None = None) -> None:
        """See `Store.append`."""
        with self._lock:
            self._values.append(key, value, keep, ttl, self._time(), self._full)

    def items_now(self, key: str) -> list[bytes]:
        """See `Store.items`."""
        with self._lock:
            return self._values.items(key, self._time())

    def close_now(self) -> None:
        """See `Store.close`: everything is forgotten."""
        with self._lock:
            self._arrivals.clear()
            self._ring.clear()
            self._windows.clear()
            self._values.clear()

    # ------------------------------------------------------------------ time, room

    def _time(self) -> float:
        now = self._clock() + self._shift
        if now < self._latest:
            now = self._behind(now)
        else:
            self._latest = now
        if now >= self._sweep_at:
            self._sweep(now, SWEPT)
        return now

    def _behind(self, now: float) -> float:
        lag = self._latest - now
        if lag > MAX_LAG:
            self._shift += lag - MAX_LAG
        return self._latest

    def _full(self) -> bool:
        if len(self) < self._max_keys:
            return False
        self._sweep(self._latest, SWEPT_WHEN_FULL)
        return len(self) >= self._max_keys and not self._values.evict()

    def _sweep(self, now: float, most: int) -> None:
        self._sweep_at = now + SWEEP_EVERY
        self._sweep_rates(now, most)
        self._windows.purge(now, most)
        self._values.purge(now, most)

    def _sweep_rates(self, now: float, most: int) -> None:
        arrivals, ring = self._arrivals, self._ring
        for _ in range(min(most, len(ring))):
            key = ring.popleft()
            if arrivals[key] <= now:
                del arrivals[key]
            else:
                ring.append(key)


def _judge(limit: Limit, ahead: float, cost: int) -> tuple[Taken, float]:
    """Return what a cost finds when the arrival time is `ahead` of now, in seconds, and how far ahead it is then."""
    if cost < 0:
        raise ValueError(f"a cost is at least 0, not {cost}")
    ahead = min(ahead, limit.tolerance)  # beyond it, what was left by a limit that the configuration has since lowered
    later = ahead + cost * limit.interval
    if later <= limit.room:
        return Taken(True, limit.size, _remaining(limit, later), 0.0, later), later
    retry_after = later - limit.tolerance if cost <= limit.size else math.inf
    return Taken(False, limit.size, _remaining(limit, ahead), retry_after, ahead), ahead


def _unchanged(limit: Limit, ahead: float, would: Taken) -> Taken:
    """Return the judgement with the numbers of a bucket from which nothing was taken."""
    ahead = min(ahead, limit.tolerance)
    return Taken(would.allowed, limit.size, _remaining(limit, ahead), would.retry_after, ahead)


def _remaining(limit: Limit, ahead: float) -> int:
    return int((limit.room - ahead) / limit.interval)


def _overflow(limit: Limit) -> str:
    return f"\0overflow {limit}"
