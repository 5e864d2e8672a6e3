"""What lives per gateway and event loop (or, for synchronous hosts, per process): ports, kept state, counts, the settler.

Made at first use or lifespan start, never at import, so that pre-fork servers work: a child that inherited a runtime
makes its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ConfigError
from .plugin import Plugin, overridden
from .ports import Ports, async_ports, blocking_ports
from .ports.drive import finish
from .state.memory import MemoryStore

if TYPE_CHECKING:
    from .meter import Meter
    from .ports import Clock
    from .snapshot import Snapshot
    from .state.store import Store

T = TypeVar("T")
logger = logging.getLogger("aigw_middleware")

MAX_SETTLEMENTS = 10_000  # settlements of cancelled exchanges under way; beyond it, leases give the reservations back


def _forked() -> None:
    """In a forked child: what the parent made is the parent's."""
    for runtime in list(_alive):
        runtime.usable = False
    _shared.clear()


_alive: weakref.WeakSet[Runtime] = weakref.WeakSet()
_shared: dict[str, Store] = {}
_shared_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def open_store(url: str, now: Callable[[], float]) -> Store:
    """Return the store of a URL; all gateways of a process that name one URL share it. Raises ConfigError."""
    if not url.startswith("memory://"):
        scheme = url.partition(":")[0]
        raise ConfigError.of("stores", f"no store speaks {scheme!r}", "use memory://")
    with _shared_lock:
        store = _shared.get(url)
        if store is None:
            store = _shared[url] = MemoryStore(now=now)
        return store


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop. Raises RuntimeError, with what to do, under anything but asyncio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "aigw_middleware runs on asyncio (uvloop included), and no asyncio loop is running here: "
            "under trio, serve the application with asyncio instead"
        ) from None


class Runtime:
    """The living side of a gateway in one event loop, or in one process of a synchronous host."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None, stores: Mapping[str, Store], clock: Clock | None
    ) -> None:
        self.loop = loop
        self.ports: Ports = async_ports(stores, clock) if loop is not None else blocking_ports(stores, clock)
        self.counts: Counter[tuple[str, str]] = Counter()
        """How often each plug-in did what, by `(plug-in, decision)`."""
        self.snapshot: Snapshot | None = None
        self._states: dict[tuple[str, str], Any] = {}
        self._set_up: weakref.WeakKeyDictionary[Plugin[Any], bool] = weakref.WeakKeyDictionary()
        self._retired: list[tuple[weakref.ref[Snapshot], tuple[Plugin[Any], ...]]] = []
        self._settling: set[asyncio.Task[None]] = set()
        self._lock = threading.RLock()  # a plug-in may ask for its state while it is set up
        self._adopting = asyncio.Lock()
        self.usable = True
        """False once closed, and in a forked child of the process that made it."""
        _alive.add(self)

    def state(self, plugin: Plugin[Any], kind: str, make: Callable[[], T]) -> T:
        """Return what a plug-in keeps under (its entry, `kind`) over reloads, made on first use."""
        key = (plugin.context.entry, kind)
        try:
            return self._states[key]  # type: ignore[no-any-return]
        except KeyError:
            with self._lock:
                return self._states.setdefault(key, make())  # type: ignore[no-any-return]

    def state_of_host(self, kind: str, make: Callable[[], T]) -> T:
        """Return what a host keeps in this runtime, made on first use."""
        found = self._states.get(("", kind))
        return found if found is not None else self._states.setdefault(("", kind), make())  # type: ignore[no-any-return]

    def count(self, plugin: str, decision: str) -> None:
        """Count a decision."""
        self.counts[(plugin, decision)] += 1

    def random_id(self) -> str:
        """Return 32 random hexadecimal digits."""
        return os.urandom(16).hex()

    # ------------------------------------------------------------------ plug-ins' setup and teardown

    def adopt(self, snapshot: Snapshot) -> Coroutine[Any, Any, None] | None:
        """Set up the plug-ins of a snapshot that are not yet, once; returns a coroutine when that may have to wait.

        Raises SetupFailed, also from the coroutine.
        """
        if self.snapshot is snapshot:
            return None
        fresh = [plugin for plugin in snapshot.plugins if plugin not in self._set_up]
        if self._retired or any(overridden(plugin, "setup") for plugin in fresh):
            waiting = self._adopt(snapshot)
            if self.loop is None:
                with self._lock:
                    finish(waiting, "setup")
                return None
            return waiting
        self._switch(snapshot, fresh)
        return None

    async def _adopt(self, snapshot: Snapshot) -> None:
        if self.loop is None:
            await self._set_up_all(snapshot)
            return
        async with self._adopting:
            await self._set_up_all(snapshot)

    async def _set_up_all(self, snapshot: Snapshot) -> None:
        if self.snapshot is snapshot:
            return
        fresh = [plugin for plugin in snapshot.plugins if plugin not in self._set_up]
        for plugin in fresh:
            try:
                result = plugin.setup(self)
                if result is not None:
                    await result
            except Exception as error:
                raise SetupFailed(plugin, error) from error
            self._set_up[plugin] = True
        self._switch(snapshot, fresh)
        for plugin, coroutine in self._teardown_retired():
            try:
                await coroutine
            except Exception as error:
                logger.error("plug-in %s failed in teardown: %s", plugin.name, type(error).__name__)

    def _switch(self, snapshot: Snapshot, fresh: list[Plugin[Any]]) -> None:
        for plugin in fresh:
            self._set_up[plugin] = True
        if self.snapshot is not None:
            gone = tuple(
                plugin
                for plugin in self.snapshot.plugins
                if plugin not in snapshot.plugins and overridden(plugin, "teardown")
            )
            if gone:
                self._retired.append((weakref.ref(self.snapshot), gone))
        self.snapshot = snapshot

    def _teardown_retired(self) -> list[tuple[Plugin[Any], Any]]:
        """Tear down plug-ins whose last snapshot nobody uses any more."""
        kept, waiting = [], []
        for reference, plugins in self._retired:
            if reference() is not None:
                kept.append((reference, plugins))
                continue
            for plugin in plugins:
                waiting.extend(self._teardown(plugin))
        self._retired = kept
        return waiting

    def _teardown(self, plugin: Plugin[Any]) -> list[tuple[Plugin[Any], Any]]:
        if self._set_up.pop(plugin, None) is None:
            return []
        try:
            result = plugin.teardown(self)
        except Exception as error:
            logger.error("plug-in %s failed in teardown: %s", plugin.name, type(error).__name__)
            return []
        return [(plugin, result)] if result is not None else []

    # ------------------------------------------------------------------ settling what a cancelled exchange cannot

    def settle_later(self, meter: Meter) -> None:
        """Settle reservations outside of the cancelled exchange that made them, in a task of our own."""
        if self.loop is None or len(self._settling) >= MAX_SETTLEMENTS:
            self.count("gateway", "settlement dropped")
            return
        task = self.loop.create_task(meter.settle(), context=contextvars.Context())
        self._settling.add(task)
        task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a settlement failed: %s", type(task.exception()).__name__)
            self.count("gateway", "settlement failed")

    # ------------------------------------------------------------------ end

    async def close(self) -> None:
        """Tear down every plug-in, finish settlements, close the ports. Safe to call twice."""
        if not self.usable:
            return
        self.usable = False
        if self._settling:
            await asyncio.wait(self._settling, timeout=5.0)
        waiting = [item for plugin in list(self._set_up) for item in self._teardown(plugin)]
        for plugin, coroutine in waiting:
            try:
                await coroutine
            except Exception as error:
                logger.error("plug-in %s failed in teardown: %s", plugin.name, type(error).__name__)
        await self.ports.close()


class SetupFailed(RuntimeError):
    """A plug-in could not be set up; names it."""

    def __init__(self, plugin: Plugin[Any], error: BaseException) -> None:
        super().__init__(f"plug-in {plugin.name} could not be set up: {type(error).__name__}")
        self.plugin = plugin
