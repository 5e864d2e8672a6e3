"""The heart that all hosts of one gateway share: its configuration, the current snapshot, its runtimes."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .building import Builder
from .config.loading import Source
from .errors import ConfigError
from .plugin import INBOUND, Direction, Plugin
from .ports.drive import finish
from .registry import REGISTRY, Registry
from .runtime import Runtime, open_store
from .snapshot import Snapshot
from .state.memory import MemoryStore

if TYPE_CHECKING:
    from .ports import Clock
    from .state.store import Store

logger = logging.getLogger("aigw_middleware")


class Core:
    """Configuration, snapshot and runtimes of one gateway, whatever hosts it stands in.

    `config` is a path, a mapping or None; `plugins` are objects added to what it names. Raises ConfigError.
    """

    snapshot: Snapshot
    """What new exchanges begin with."""
    look_due = False
    """Whether there are files to be looked at."""

    def __init__(
        self,
        config: Mapping[str, Any] | str | Path | None = None,
        plugins: Sequence[Plugin[Any]] = (),
        *,
        direction: Direction = INBOUND,
        registry: Registry = REGISTRY,
        clock: Clock | None = None,
    ) -> None:
        self.source = Source(config if config is not None else {})
        self.configured = config is not None
        self.plugins: dict[Direction, tuple[Plugin[Any], ...]] = {direction: tuple(plugins)}
        self._directions = {direction}
        self._registry = registry
        self.clock = clock
        self._lock = threading.Lock()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = weakref.WeakKeyDictionary()
        self._process: Runtime | None = None
        self._stores: dict[str, Store] = {}
        self._reloading = False
        self.reload_error: ConfigError | None = None
        """Why the last reload was refused; None when the file and the snapshot agree."""
        self._put_in_force(self._build(None))
        self._next_look = 0.0
        live.add(self)

    def want(self, direction: Direction, plugins: Sequence[Plugin[Any]] = ()) -> None:
        """Serve another direction, or more plug-ins, with the same snapshot and stores. Raises ConfigError."""
        if direction in self._directions and not plugins and direction in self.snapshot.sides:
            return
        with self._lock:
            self._directions.add(direction)
            self.plugins[direction] = (*self.plugins.get(direction, ()), *plugins)
            self._put_in_force(self._build(self.snapshot))

    def _put_in_force(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        read = self.source.path is not None or snapshot.files
        self.look_due = bool(read) and snapshot.config.reload_interval > 0

    def _build(self, previous: Snapshot | None) -> Snapshot:
        config, problems = self.source.read_with_problems()
        builder = Builder(config, self.source.name, str(self.source.directory), self._registry, previous, problems)
        return builder.build(self.plugins, self._directions)

    # ------------------------------------------------------------------ reloading

    def reload(self) -> Snapshot:
        """Read the configuration again and swap the snapshot; exchanges under way finish on the old one.

        Raises ConfigError, and keeps the old snapshot, when the new configuration is wrong.
        """
        with self._lock:
            try:
                snapshot = self._build(self.snapshot)
            except ConfigError as error:
                self.reload_error = error
                raise
            self._put_in_force(snapshot)
            self.reload_error = None
            return snapshot

    def look(self) -> None:
        """Look whether a file changed, at most every `reload_interval`; a change is read in a thread of its own."""
        now = time.monotonic()
        if now < self._next_look:
            return
        snapshot = self.snapshot
        self._next_look = now + snapshot.config.reload_interval
        if self._reloading or not (self.source.changed() or any(files.changed() for files in snapshot.files)):
            return
        self._reloading = True
        threading.Thread(target=self._reload_aside, name="aigw-reload", daemon=True).start()

    def _reload_aside(self) -> None:
        try:
            snapshot = self.reload()
            logger.info("%s: reloaded, generation %d", self.source.name, snapshot.generation)
        except ConfigError as error:
            logger.error("reload refused, the previous configuration stays in force: %s", error)
        finally:
            self._reloading = False

    # ------------------------------------------------------------------ runtimes

    def runtime(self, loop: asyncio.AbstractEventLoop) -> Runtime:
        """Return the runtime of an event loop, made on first use."""
        runtime = self._loops.get(loop)
        if runtime is None or not runtime.usable:
            with self._lock:
                runtime = self._loops.get(loop)
                if runtime is None or not runtime.usable:
                    self._forget_after_fork(runtime)
                    runtime = self._loops[loop] = Runtime(loop, self._open_stores(), self.clock)
        return runtime

    def process_runtime(self) -> Runtime:
        """Return the runtime of synchronous hosts, made on first use."""
        runtime = self._process
        if runtime is None or not runtime.usable:
            with self._lock:
                runtime = self._process
                if runtime is None or not runtime.usable:
                    self._forget_after_fork(runtime)
                    runtime = self._process = Runtime(None, self._open_stores(), self.clock)
        return runtime

    def _forget_after_fork(self, runtime: Runtime | None) -> None:
        if runtime is not None:
            self._stores.clear()  # made by the parent process, or closed with the runtime

    def _open_stores(self) -> Mapping[str, Store]:
        now = self.clock.now if self.clock is not None else time.time
        named = self.snapshot.config.stores
        if "default" not in self._stores:
            # Nobody named a store: a private one, so that two gateways of a process do not share counters by accident.
            self._stores["default"] = (
                MemoryStore(now=now) if "default" not in named else open_store(named["default"], now)
            )
        for name, url in named.items():
            if name not in self._stores:
                self._stores[name] = open_store(url, now)
        return dict(self._stores)

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how often each plug-in failed, could not read a call, or refused to, by `(plug-in, decision)`."""
        total: Counter[tuple[str, str]] = Counter()
        for runtime in [*self._loops.values(), *([self._process] if self._process is not None else [])]:
            total.update(runtime.counts)
        return total

    async def aclose(self) -> None:
        """Tear down the running loop's runtime. Safe to call twice; a later exchange makes a new one."""
        runtime = self._loops.pop(asyncio.get_running_loop(), None)
        if runtime is not None:
            await runtime.close()

    def close(self) -> None:
        """Tear down the runtime of synchronous hosts. Safe to call twice."""
        runtime, self._process = self._process, None
        if runtime is not None and runtime.usable:
            finish(runtime.close(), "close")


live: weakref.WeakSet[Core] = weakref.WeakSet()
"""The cores of this process, for what reports on all of them."""


@atexit.register
def _close_all() -> None:
    for core in list(live):
        try:
            core.close()
        except Exception as error:
            logger.error("closing failed: %s", type(error).__name__)
