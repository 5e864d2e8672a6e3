"""Ports: what hooks may wait for, reached through `exchange.ports`.

On hosts with an event loop they are asynchronous. On synchronous hosts they are blocking calls behind the same
`async def` face that never suspend, so `drive.finish` runs a hook to its end in one step: no thread, no loop, and no
second implementation of any plug-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from .clock import BlockingClock, SystemClock
from .drive import finish
from .faces import (
    Clock,
    Gather,
    Hold,
    Http,
    HttpAnswer,
    HttpError,
    HttpStream,
    Locks,
    LockTimeout,
    Offload,
    OffloadFull,
)
from .http import AsyncWire, BlockingWire, WireHttp
from .locks import AsyncLocks, BlockingLocks
from .work import AsyncOffload, BlockingOffload, gather_concurrently, gather_in_turn

if TYPE_CHECKING:
    import httpx

    from ..state.store import Store

__all__ = [
    "Clock",
    "Gather",
    "Hold",
    "Http",
    "HttpAnswer",
    "HttpError",
    "HttpStream",
    "LockTimeout",
    "Locks",
    "Offload",
    "OffloadFull",
    "Ports",
    "SystemClock",
    "async_ports",
    "blocking_ports",
    "finish",
]


class Ports:
    """One set of ports: per event loop, or per process of a synchronous host."""

    __slots__ = ("clock", "color", "gather", "http", "locks", "offload", "store", "stores")

    def __init__(
        self,
        color: Literal["async", "sync"],
        stores: Mapping[str, Store],
        clock: Clock,
        http: Http,
        locks: Locks,
        offload: Offload,
        gather: Gather,
    ) -> None:
        self.color = color
        """`sync`: nothing here ever suspends."""
        self.stores = stores
        """The configured stores by name."""
        self.store = stores["default"]
        self.clock = clock
        self.http = http
        self.locks = locks
        self.offload = offload
        self.gather = gather

    async def close(self) -> None:
        """Close connections and threads. Stores are shared with others and stay."""
        await self.http.close()
        await self.offload.close()


def async_ports(
    stores: Mapping[str, Store], clock: Clock | None = None, *, transport: httpx.AsyncBaseTransport | None = None
) -> Ports:
    """Return ports for the event loop in which they are first used; nothing is opened before.

    `stores` has an entry `default`, else KeyError. `transport` takes the place of the network, for tests.
    """
    clock = clock or SystemClock()
    http = WireHttp(AsyncWire(transport), clock)
    return Ports("async", stores, clock, http, AsyncLocks(), AsyncOffload(), gather_concurrently)


def blocking_ports(
    stores: Mapping[str, Store], clock: Clock | None = None, *, transport: httpx.BaseTransport | None = None
) -> Ports:
    """Return ports for synchronous hosts, shared by their threads; nothing is opened before they are used.

    `stores` has an entry `default`, else KeyError. `transport` takes the place of the network, for tests.
    """
    clock = BlockingClock(clock or SystemClock())
    http = WireHttp(BlockingWire(transport), clock)
    return Ports("sync", stores, clock, http, BlockingLocks(), BlockingOffload(), gather_in_turn)
