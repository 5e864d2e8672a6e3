"""Locks by name: one mechanism, whose locks are those of an event loop or those of threads."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from .faces import LockTimeout


class Releasable(Protocol):
    """What both kinds of locks have in common."""

    def release(self) -> None: ...


LockT = TypeVar("LockT", bound=Releasable)


class Entry(Generic[LockT]):
    """A lock in use, and by how many: the one who has it and those who wait."""

    __slots__ = ("lock", "users")

    def __init__(self, lock: LockT) -> None:
        self.lock = lock
        self.users = 0


class KeyedLocks(ABC, Generic[LockT]):
    """Locks by name; one that nobody uses is not kept."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry[LockT]] = {}
        self._guard = threading.Lock()

    def __call__(self, name: str, timeout: float | None = None) -> KeyedHold[LockT]:
        """See `Locks`."""
        return KeyedHold(self, name, timeout)

    def __len__(self) -> int:
        return len(self._entries)

    def join(self, name: str) -> Entry[LockT]:
        """Return the entry of a name, with one more user."""
        with self._guard:
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = Entry(self.make())
            entry.users += 1
            return entry

    def leave(self, name: str, entry: Entry[LockT]) -> None:
        """Take a user from an entry, and drop it after its last."""
        with self._guard:
            entry.users -= 1
            if not entry.users:
                del self._entries[name]

    @abstractmethod
    def make(self) -> LockT:
        """Return a new lock."""

    @abstractmethod
    async def acquire(self, entry: Entry[LockT], timeout: float | None) -> bool:
        """Wait for the lock; False after `timeout` seconds."""


class KeyedHold(Generic[LockT]):
    """One use of a lock."""

    __slots__ = ("_entry", "_locks", "_name", "_timeout")

    def __init__(self, locks: KeyedLocks[LockT], name: str, timeout: float | None) -> None:
        self._locks = locks
        self._name = name
        self._timeout = timeout

    async def __aenter__(self) -> None:
        self._entry = entry = self._locks.join(self._name)
        try:
            if not await self._locks.acquire(entry, self._timeout):
                raise LockTimeout(f"the lock was not to be had within {self._timeout} seconds")
        except BaseException:
            self._locks.leave(self._name, entry)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entry.lock.release()
        self._locks.leave(self._name, self._entry)


class AsyncLocks(KeyedLocks[asyncio.Lock]):
    """Locks between the tasks of one event loop."""

    def make(self) -> asyncio.Lock:
        """Return a lock; it belongs to the loop in which somebody first waits for it."""
        return asyncio.Lock()

    async def acquire(self, entry: Entry[asyncio.Lock], timeout: float | None) -> bool:
        """See `KeyedLocks.acquire`."""
        if timeout is None or entry.users == 1:  # alone with it: no timer is needed
            return await entry.lock.acquire()
        try:
            async with asyncio.timeout(timeout):
                return await entry.lock.acquire()
        except TimeoutError:
            return False


class BlockingLocks(KeyedLocks[threading.Lock]):
    """Locks between threads."""

    def make(self) -> threading.Lock:
        """Return a lock."""
        return threading.Lock()

    async def acquire(self, entry: Entry[threading.Lock], timeout: float | None) -> bool:
        """See `KeyedLocks.acquire`."""
        return entry.lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
