"""The face of every store: a few atomic operations, and the values that go in and out.

Keys are chosen by the caller, with identities hashed. Rates, windows and values live apart, so one text may name one
of each. Times are seconds; what is returned are durations, never dates, so that no caller compares two clocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from msgspec import Struct

GRID = 2.0**-28
"""Seconds. Intervals are whole multiples of it, so that sums of them are exact in doubles: 3.7 ns."""
SLACK = 2.0**-20
"""Seconds that an arrival may be early. A double of epoch seconds has steps of 0.24 us, so a caller that waited exactly
`retry_after` by such a clock may seem to come half a step too soon."""


class StoreError(RuntimeError):
    """The store cannot answer; what happens then is the configuration's `on_store_failure`."""


class StoreFull(StoreError):
    """There is no room for what must not be forgotten, and everything there still restricts somebody."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate: `capacity` units per `period` seconds, refilled continuously, at most `burst` of them at once.

    `burst` is `capacity` unless given. The rate is exact to 3.7 ns per unit, in the caller's favour. Raises ValueError
    when a number is out of range.
    """

    capacity: int
    period: float
    burst: int | None = None
    size: int = field(init=False, repr=False, compare=False)
    """The burst in force, in units."""
    interval: float = field(init=False, repr=False, compare=False)
    """Seconds in which one unit is refilled."""
    tolerance: float = field(init=False, repr=False, compare=False)
    """Seconds in which an empty bucket is refilled."""
    room: float = field(init=False, repr=False, compare=False)
    """The same, and the seconds that an arrival may be early: `SLACK`, at most a quarter of an interval."""

    def __post_init__(self) -> None:
        size = self.capacity if self.burst is None else self.burst
        if self.capacity < 1 or size < 1:
            raise ValueError(f"a rate needs a capacity and a burst of at least 1, not {self.capacity} and {size}")
        if not 0 < self.period < math.inf:
            raise ValueError(f"a rate needs a period above 0 seconds, not {self.period}")
        interval = max(math.floor(self.period / self.capacity / GRID), 1) * GRID
        slack = min(SLACK, math.floor(interval / 4 / GRID) * GRID)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "tolerance", size * interval)
        object.__setattr__(self, "room", size * interval + slack)


@dataclass(frozen=True, slots=True)
class Window:
    """At most `capacity` units in `period` seconds, counted from the first hit; then the count starts anew.

    Raises ValueError when a number is out of range.
    """

    capacity: int
    period: float

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise ValueError(f"a window needs a capacity of at least 0, not {self.capacity}")
        if not 0 < self.period < math.inf:
            raise ValueError(f"a window needs a period above 0 seconds, not {self.period}")


class Taken(Struct, frozen=True, gc=False):  # made for every request: a third of the cost of a NamedTuple
    """What became of a `take`; the numbers are those that redis-cell publishes."""

    allowed: bool
    limit: int
    """Units of a full bucket."""
    remaining: int
    """Units that could be taken now."""
    retry_after: float
    """Seconds until the same cost would be allowed; 0.0 when it is, infinity when the bucket is smaller than it."""
    reset_after: float
    """Seconds until the bucket is full."""


class Claim(NamedTuple):
    """An amount wanted from one window."""

    key: str
    limit: Window
    amount: int


class Reserved(Struct, frozen=True, gc=False):
    """What became of a `reserve`; tuples hold one number per claim, in their order."""

    id: str | None
    """What to settle or release; None when refused."""
    allowed: bool
    refused: int | None
    """Index of the claim that makes the caller wait longest; None when allowed."""
    remaining: tuple[int, ...]
    """Units left of each window, this reservation deducted if it was made; never negative."""
    retry_after: float
    """Seconds until every refusing window has started anew: an upper bound, for what others reserved may come back
    before. 0.0 when allowed, infinity when an amount exceeds its window."""
    reset_after: tuple[float, ...]
    """Seconds until each window starts anew."""


class Store(Protocol):
    """Atomic operations on shared state. Every method raises StoreError when the store cannot answer.

    An immediate store answers without waiting: it is also an `ImmediateStore`, whose plain functions keep hooks plain.
    """

    @property
    def immediate(self) -> bool:
        """Whether it answers without waiting."""

    async def take(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        """Take `cost` units if the limit allows it (GCRA, the generic cell rate algorithm); cost 0 only looks.

        Raises ValueError when the cost is negative.
        """

    async def take_all(self, requests: Sequence[tuple[str, Limit, int]]) -> list[Taken]:
        """Take from several limits or from none: when one refuses, nothing is charged.

        `allowed` of each answer says whether that limit, by itself, would have let it pass.
        """

    async def peek(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        """Say what `take` would answer for this cost, with the numbers as they stand, and charge nothing."""

    async def reserve(self, claims: Sequence[Claim], lease: float) -> Reserved:
        """Hold an amount of each window, or none at all, until it is settled or released, or for `lease` seconds.

        A window never has more used and reserved than its capacity by this. Raises ValueError without claims, for a
        negative amount, or for a lease that is not above 0.
        """

    async def settle(self, id: str, actual: Sequence[int]) -> bool:
        """Charge what was really used, one amount per claim, and give the reservation back; False if it was settled.

        `actual` may exceed what was reserved; less than 0 counts as 0. It is charged to the windows that were
        reserved from, whichever run now. A settlement that comes after its lease, but within twice that time, is
        charged all the same. Raises ValueError, and changes nothing, when the number of amounts is wrong.
        """

    async def release(self, id: str) -> bool:
        """Give a reservation back whole; False if it was settled or released before."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None. Raises TypeError when the key holds a list."""

    async def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """Keep a value for `ttl` seconds, or without end; it may go earlier if room is short, the oldest first.

        What restricts somebody belongs into `set_if_absent` or `compare_and_set`, whose values never go early, and
        stay so when `set` writes over them. Raises ValueError when `ttl` is not above 0.
        """

    async def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """Keep a value if the key has none; False if it has. Raises StoreFull when there is no room, ValueError."""

    async def compare_and_set(self, key: str, expected: bytes | None, value: bytes, ttl: float | None = None) -> bool:
        """Put `value` in the place of `expected` (None: of nothing); False if something else is there.

        Raises StoreFull when there is no room for a new key, ValueError.
        """

    async def delete(self, key: str) -> bool:
        """Remove a value or a list; False if there was none."""

    async def append(self, key: str, value: bytes, keep: int, ttl: float | None = None) -> None:
        """Add to the end of a list, drop all but its last `keep` items, and keep it for another `ttl` seconds.

        Lists may go early as values of `set` do. Raises ValueError, and TypeError when the key holds a value.
        """

    async def items(self, key: str) -> list[bytes]:
        """Return a list, oldest item first; empty if there is none. Raises TypeError when the key holds a value."""

    async def close(self) -> None:
        """Let go of what the store holds in this process."""
