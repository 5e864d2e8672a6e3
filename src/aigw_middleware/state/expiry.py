"""Which keys have run out, found without looking at the others.

With a clock that never goes back, keys of one lifetime run out in the order in which they came: a queue per lifetime
needs to be looked at in front only, and removing a key early is exact. A heap would keep removed keys until their time.
"""

from __future__ import annotations

import math
from collections import OrderedDict

MAX_QUEUES = 64
"""Different lifetimes told apart; there are few, they come from configurations. More are rounded up to powers of two
seconds, so a key may then be found late, by at most its lifetime."""


class Expiries:
    """Keys by the time at which they run out. Not thread-safe; `now` never goes back."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[float, OrderedDict[str, float]] = {}

    def add(self, key: str, lifetime: float, now: float) -> float:
        """Note that `key`, not here yet, runs out `lifetime` seconds from now; return the queue, for `discard`."""
        queue = self._queues.get(lifetime)
        expires = now + lifetime
        if queue is None:
            if len(self._queues) >= MAX_QUEUES:
                lifetime = 2.0 ** math.frexp(lifetime)[1]
            queue = self._queues.setdefault(lifetime, OrderedDict())
        queue[key] = expires
        return lifetime

    def discard(self, key: str, queue: float) -> None:
        """Forget a key before its time; `queue` is what `add` returned."""
        keys = self._queues.get(queue)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del self._queues[queue]

    def pop_due(self, now: float, most: float) -> list[str]:
        """Remove and return keys that have run out, at most `most` of them."""
        due: list[str] = []
        emptied: list[float] = []
        for lifetime, keys in self._queues.items():
            while keys and len(due) < most:
                key = next(iter(keys))
                if keys[key] > now:
                    break
                del keys[key]
                due.append(key)
            if not keys:
                emptied.append(lifetime)
        for lifetime in emptied:
            del self._queues[lifetime]
        return due
