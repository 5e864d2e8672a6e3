"""Values that may be used once: what was used is remembered in the store, and never forgotten for want of room."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, TypeAlias

from ..exchange import Exchange, Refusal
from ..plugin import Plugin
from ..state import ImmediateStore, Store, StoreError, StoreFull

StoreFailure: TypeAlias = Literal["deny", "allow"]

_USED = b"1"


class Nonces:
    """The used nonces of one plug-in, each remembered for `ttl` seconds.

    `used` refuses a nonce that is known, `unavailable` one that cannot be looked up, if `policy` says so; one for which
    there is no room is always refused, else a flood of new ones would open the door.
    """

    __slots__ = ("_plugin", "_policy", "_prefix", "_ttl", "_unavailable", "_used")

    def __init__(
        self, plugin: Plugin[Any], ttl: float, used: Refusal, unavailable: Refusal, policy: StoreFailure
    ) -> None:
        self._plugin = plugin
        self._ttl = ttl
        self._used = used
        self._unavailable = unavailable
        self._policy = policy
        # Without what names a rule: a header that chooses another rule must not make a nonce new again.
        self._prefix = plugin.context.entry.partition("/")[0] + ":"

    def use(self, exchange: Exchange, identity: str) -> Refusal | Coroutine[Any, Any, Refusal | None] | None:
        """Refuse a nonce that was used, else remember it; `identity` is a hash of it and of all it belongs to."""
        store = exchange.ports.store
        key = self._prefix + identity
        if not isinstance(store, ImmediateStore):
            return self._wait(exchange, store, key)
        try:
            return None if store.set_if_absent_now(key, _USED, self._ttl) else self._used
        except StoreError as error:
            return self._failed(exchange, error)

    async def _wait(self, exchange: Exchange, store: Store, key: str) -> Refusal | None:
        try:
            return None if await store.set_if_absent(key, _USED, self._ttl) else self._used
        except StoreError as error:
            return self._failed(exchange, error)

    def _failed(self, exchange: Exchange, error: StoreError) -> Refusal | None:
        full = isinstance(error, StoreFull)
        policy = "deny" if full else self._policy
        exchange.runtime.count(self._plugin.name, "store full" if full else "store failed")
        reason = "the store is full" if full else "the store does not answer"
        exchange.decide(self._plugin, "failed", f"{reason}; policy: {policy}")
        return self._unavailable if policy == "deny" else None
