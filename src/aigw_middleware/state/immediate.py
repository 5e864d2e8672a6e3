"""Stores that answer without waiting: plain functions, and the awaitable face made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from .store import Claim, Limit, Reserved, Taken


class ImmediateStore(ABC):
    """A `Store` whose operations are plain functions, named with `_now`; what each does stands at `Store`.

    A hook that tests for it stays a plain function on its fast path:

        if isinstance(store, ImmediateStore):
            return self._judge(store.take_now(key, limit))
        return self._wait(store, key)
    """

    immediate: Final = True

    @abstractmethod
    def take_now(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        """See `Store.take`."""

    @abstractmethod
    def take_all_now(self, requests: Sequence[tuple[str, Limit, int]]) -> list[Taken]:
        """See `Store.take_all`."""

    @abstractmethod
    def peek_now(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        """See `Store.peek`."""

    @abstractmethod
    def reserve_now(self, claims: Sequence[Claim], lease: float) -> Reserved:
        """See `Store.reserve`."""

    @abstractmethod
    def settle_now(self, id: str, actual: Sequence[int]) -> bool:
        """See `Store.settle`."""

    @abstractmethod
    def release_now(self, id: str) -> bool:
        """See `Store.release`."""

    @abstractmethod
    def get_now(self, key: str) -> bytes | None:
        """See `Store.get`."""

    @abstractmethod
    def set_now(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """See `Store.set`."""

    @abstractmethod
    def set_if_absent_now(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """See `Store.set_if_absent`."""

    @abstractmethod
    def compare_and_set_now(self, key: str, expected: bytes | None, value: bytes, ttl: float | None = None) -> bool:
        """See `Store.compare_and_set`."""

    @abstractmethod
    def delete_now(self, key: str) -> bool:
        """See `Store.delete`."""

    @abstractmethod
    def append_now(self, key: str, value: bytes, keep: int, ttl: float | None = None) -> None:
        """See `Store.append`."""

    @abstractmethod
    def items_now(self, key: str) -> list[bytes]:
        """See `Store.items`."""

    @abstractmethod
    def close_now(self) -> None:
        """See `Store.close`."""

    async def take(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        """See `Store.take`."""
        return self.take_now(key, limit, cost)

    async def take_all(self, requests: Sequence[tuple[str, Limit, int]]) -> list[Taken]:
        """See `Store.take_all`."""
        return self.take_all_now(requests)

    async def peek(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        """See `Store.peek`."""
        return self.peek_now(key, limit, cost)

    async def reserve(self, claims: Sequence[Claim], lease: float) -> Reserved:
        """See `Store.reserve`."""
        return self.reserve_now(claims, lease)

    async def settle(self, id: str, actual: Sequence[int]) -> bool:
        """See `Store.settle`."""
        return self.settle_now(id, actual)

    async def release(self, id: str) -> bool:
        """See `Store.release`."""
        return self.release_now(id)

    async def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        return self.get_now(key)

    async def set(self, key: str, value: bytes, ttl: float | None = None) -> None:
        """See `Store.set`."""
        self.set_now(key, value, ttl)

    async def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        """See `Store.set_if_absent`."""
        return self.set_if_absent_now(key, value, ttl)

    async def compare_and_set(self, key: str, expected: bytes | None, value: bytes, ttl: float | None = None) -> bool:
        """See `Store.compare_and_set`."""
        return self.compare_and_set_now(key, expected, value, ttl)

    async def delete(self, key: str) -> bool:
        """See `Store.delete`."""
        return self.delete_now(key)

    async def append(self, key: str, value: bytes, keep: int, ttl: float | None = None) -> None:
        """See `Store.append`."""
        self.append_now(key, value, keep, ttl)

    async def items(self, key: str) -> list[bytes]:
        """See `Store.items`."""
        return self.items_now(key)

    async def close(self) -> None:
        """See `Store.close`."""
        self.close_now()
