"""Values and short lists with a time to live: what the memory store does under its lock.

What was put with `set` or `append` can be made again, and goes, oldest first, when room is short. What was put with
`set_if_absent` or `compare_and_set` (a nonce, a revocation, an open breaker) restricts somebody, and stays.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable

from .expiry import Expiries
from .store import StoreFull


class Entry:
    """A value or a list, and how long it is kept."""

    __slots__ = ("content", "expires", "queue", "size")

    def __init__(self, content: bytes | deque[bytes]) -> None:
        self.content = content
        self.expires = math.inf
        self.queue: float | None = None
        self.size = 0


class Values:
    """All values and lists of a store. Not thread-safe; `now` never goes back."""

    __slots__ = ("_ages", "_bytes", "_entries", "_expiries", "_max_bytes", "evicted")

    def __init__(self, max_bytes: int) -> None:
        self._entries: dict[str, Entry] = {}
        self._ages: OrderedDict[str, None] = OrderedDict()  # what may go early, oldest first
        self._expiries = Expiries()
        self._bytes = 0
        self._max_bytes = max_bytes
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: float) -> bytes | None:
        """See `Store.get`."""
        entry = self._live(key, now)
        if entry is None:
            return None
        if not isinstance(entry.content, bytes):
            raise TypeError("the key holds a list, not a value")
        return entry.content

    def items(self, key: str, now: float) -> list[bytes]:
        """See `Store.items`."""
        entry = self._live(key, now)
        if entry is None:
            return []
        if isinstance(entry.content, bytes):
            raise TypeError("the key holds a value, not a list")
        return list(entry.content)

    def set(self, key: str, value: bytes, ttl: float | None, now: float, full: Callable[[], bool]) -> None:
        """See `Store.set`; `full` says whether there is no room for one more entry."""
        ttl = _checked(ttl)
        present = self._live(key, now)
        if present is None and full():
            self.evicted += 1  # the new value itself: all others still restrict somebody
            return
        self._put(key, value, ttl, now, restricts=present is not None and key not in self._ages)

    def replace(
        self, key: str, expected: bytes | None, value: bytes, ttl: float | None, now: float, full: Callable[[], bool]
    ) -> bool:
        """See `Store.compare_and_set`; `full` says whether there is no room for one more entry."""
        ttl = _checked(ttl)
        present = self._live(key, now)
        if (present.content if present is not None else None) != expected:
            return False
        if present is None and full():
            raise StoreFull("there is no room for another value that must be kept")
        self._put(key, value, ttl, now, restricts=True)
        return True

    def append(
        self, key: str, value: bytes, keep: int, ttl: float | None, now: float, full: Callable[[], bool]
    ) -> None:
        """See `Store.append`; `full` says whether there is no room for one more entry."""
        ttl = _checked(ttl)
        if keep < 1:
            raise ValueError(f"a list keeps at least 1 item, not {keep}")
        present = self._live(key, now)
        if present is None and full():
            self.evicted += 1
            return
        before = self.items(key, now)
        self._put(key, deque([*before, value], keep), ttl, now, restricts=False)

    def delete(self, key: str, now: float) -> bool:
        """See `Store.delete`."""
        if self._live(key, now) is None:
            return False
        self._remove(key)
        return True

    def evict(self) -> bool:
        """Let the oldest value go that may; False if there is none."""
        if not self._ages:
            return False
        self._remove(next(iter(self._ages)))
        self.evicted += 1
        return True

    def purge(self, now: float, most: int) -> None:
        """Forget at most `most` values whose time is over."""
        for key in self._expiries.pop_due(now, most):
            self._entries[key].queue = None
            self._remove(key)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._ages.clear()
        self._expiries = Expiries()
        self._bytes = 0

    def _live(self, key: str, now: float) -> Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= now:
            self._remove(key)
            return None
        return entry

    def _put(self, key: str, content: bytes | deque[bytes], ttl: float | None, now: float, restricts: bool) -> None:
        if key in self._entries:
            self._remove(key)
        entry = self._entries[key] = Entry(content)
        if ttl is not None:
            entry.expires = now + ttl
            entry.queue = self._expiries.add(key, ttl, now)
        if not restricts:
            entry.size = len(content) if isinstance(content, bytes) else sum(map(len, content))
            self._bytes += entry.size
            self._ages[key] = None
            if entry.size > self._max_bytes:
                self._ages.move_to_end(key, last=False)  # it goes at once, not everything else before it
            while self._bytes > self._max_bytes and self.evict():
                pass

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key)
        self._ages.pop(key, None)
        self._bytes -= entry.size
        if entry.queue is not None:
            self._expiries.discard(key, entry.queue)


def _checked(ttl: float | None) -> float | None:
    if ttl is not None and not ttl > 0:
        raise ValueError(f"a time to live is above 0 seconds, not {ttl}")
    return None if ttl == math.inf else ttl
