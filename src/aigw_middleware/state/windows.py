"""Fixed windows with reservations: what the memory store does under its lock.

An amount is held when it is claimed, and turned into what was really used when that is known; what is held and what is
used never exceed the window together, however many ask at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from .expiry import Expiries
from .store import Claim, Reserved, StoreFull, Window


class Counter:
    """One window that runs."""

    __slots__ = ("ends", "queue", "reserved", "used")

    def __init__(self, ends: float, queue: float) -> None:
        self.ends = ends
        self.queue = queue
        self.used = 0
        self.reserved = 0


class Reservation:
    """Amounts held. It keeps its counters, so a settlement is charged to the windows it was made in."""

    __slots__ = ("held", "lapsed", "lapses", "lease", "queue")

    def __init__(self, held: list[tuple[Counter, int]], lease: float, now: float, queue: float) -> None:
        self.held = held
        self.lease = lease
        self.lapses = now + lease
        self.queue = queue
        self.lapsed = False

    def give_back(self) -> None:
        """Let go of what is held, once."""
        if not self.lapsed:
            self.lapsed = True
            for counter, amount in self.held:
                counter.reserved -= amount


class Windows:
    """All windows and open reservations of a store. Not thread-safe; `now` never goes back."""

    __slots__ = ("_counters", "_ends", "_ids", "_late", "_leases", "_max_open", "_open", "overflowed")

    def __init__(self, max_open: int) -> None:
        self._counters: dict[str, Counter] = {}
        self._ends = Expiries()
        self._open: dict[str, Reservation] = {}
        self._leases = Expiries()
        self._late = Expiries()  # reservations whose lease ran out; a settlement may still come
        self._max_open = max_open
        self._ids = itertools.count(1)
        self.overflowed = 0

    def __len__(self) -> int:
        return len(self._counters)

    def reserve(self, claims: Sequence[Claim], lease: float, now: float, full: Callable[[], bool]) -> Reserved:
        """See `Store.reserve`; `full` says whether there is no room for one more entry."""
        if not claims or not 0 < lease < math.inf:
            raise ValueError(f"a reservation needs claims, and a lease above 0 seconds, not {lease}")
        for claim in claims:
            if claim.amount < 0:
                raise ValueError(f"an amount is at least 0, not {claim.amount}")
        if len(self._open) >= self._max_open:
            self.give_back_lapsed(now, math.inf)
            if len(self._open) >= self._max_open and not self._forget(math.inf, 1):
                raise StoreFull("too many reservations are open")
        answer = self._reserve(claims, lease, now, full)
        if not answer.allowed and self.give_back_lapsed(now, math.inf):
            answer = self._reserve(claims, lease, now, full)
        return answer

    def _reserve(self, claims: Sequence[Claim], lease: float, now: float, full: Callable[[], bool]) -> Reserved:
        held: list[tuple[Counter, int]] = []
        left: list[int] = []
        resets: list[float] = []
        started: list[str] = []
        refused = False
        for key, limit, amount in claims:
            counter = self._counters.get(key)
            if counter is None or counter.ends <= now:
                key, counter = self._start(key, limit, now, full, started)
            counter.reserved += amount
            units = limit.capacity - counter.used - counter.reserved
            if units < 0:
                refused = True
            held.append((counter, amount))
            left.append(units)
            resets.append(counter.ends - now)
        if refused:
            for counter, amount in held:
                counter.reserved -= amount
            for key in started:
                self._ends.discard(key, self._counters.pop(key).queue)
            waits = [
                0.0 if units >= 0 else reset if claim.amount <= claim.limit.capacity else math.inf
                for claim, units, reset in zip(claims, left, resets, strict=True)
            ]
            longest = max(range(len(waits)), key=waits.__getitem__)
            remaining = [max(0, units + claim.amount) for claim, units in zip(claims, left, strict=True)]
            return Reserved(None, False, longest, tuple(remaining), waits[longest], tuple(resets))
        id = str(next(self._ids))
        self._open[id] = Reservation(held, lease, now, self._leases.add(id, lease, now))
        return Reserved(id, True, None, tuple(left), 0.0, tuple(resets))

    def _start(
        self, key: str, limit: Window, now: float, full: Callable[[], bool], started: list[str]
    ) -> tuple[str, Counter]:
        """Return the window to count in, started if need be: the key's own, or where there is no room a shared one."""
        counter = self._counters.get(key)
        if counter is None and full():
            self.overflowed += 1
            key = f"\0overflow {limit}"
            counter = self._counters.get(key)
            if counter is not None and counter.ends > now:
                return key, counter
        if counter is not None:
            self._ends.discard(key, counter.queue)  # it ended, but was not swept yet
        counter = self._counters[key] = Counter(now + limit.period, self._ends.add(key, limit.period, now))
        started.append(key)
        return key, counter

    def settle(self, id: str, actual: Sequence[int]) -> bool:
        """See `Store.settle`."""
        reservation = self._open.get(id)
        if reservation is None:
            return False
        if len(actual) != len(reservation.held):
            raise ValueError(f"{len(reservation.held)} amounts were reserved, {len(actual)} are settled")
        self._close(id, reservation)
        for (counter, _), amount in zip(reservation.held, actual, strict=True):
            counter.used += max(0, amount)
        return True

    def release(self, id: str) -> bool:
        """See `Store.release`."""
        reservation = self._open.get(id)
        if reservation is None:
            return False
        self._close(id, reservation)
        return True

    def _close(self, id: str, reservation: Reservation) -> None:
        del self._open[id]
        (self._late if reservation.lapsed else self._leases).discard(id, reservation.queue)
        reservation.give_back()

    def give_back_lapsed(self, now: float, most: float) -> bool:
        """Give back what was held under at most `most` leases that ran out; False if there was none."""
        lapsed = self._leases.pop_due(now, most)
        for id in lapsed:
            reservation = self._open[id]
            reservation.give_back()
            reservation.queue = self._late.add(id, reservation.lease, reservation.lapses)
        return bool(lapsed)

    def _forget(self, now: float, most: int) -> bool:
        """Forget at most `most` reservations that nobody settled within twice their lease; False if there was none."""
        late = self._late.pop_due(now, most)
        for id in late:
            del self._open[id]
        return bool(late)

    def purge(self, now: float, most: int) -> None:
        """Forget at most `most` windows that ended, and as many lapsed reservations; give back as many leases."""
        for key in self._ends.pop_due(now, most):
            del self._counters[key]
        self._forget(now, most)
        self.give_back_lapsed(now, most)

    def clear(self) -> None:
        """Forget everything."""
        self._counters.clear()
        self._ends = Expiries()
        self._open.clear()
        self._leases = Expiries()
        self._late = Expiries()
