"""Work beside the hook: in a thread, or several coroutines at once."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from .faces import OffloadFull

P = ParamSpec("P")
T = TypeVar("T")

WORKERS = 4
WAITING = 64
"""Calls that may wait for a worker; a longer queue would only make later answers later."""


class AsyncOffload:
    """Runs functions in a few threads of its own, made when first needed."""

    def __init__(self, workers: int = WORKERS, waiting: int = WAITING) -> None:
        self._workers = workers
        self._most = workers + waiting
        self._executor: ThreadPoolExecutor | None = None
        self._under_way = 0
        self._lock = threading.Lock()

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Offload`."""
        with self._lock:
            if self._under_way >= self._most:
                raise OffloadFull(f"{self._under_way} calls wait for a thread or run in one")
            self._under_way += 1
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._workers, "aigw-offload")
        work = functools.partial(contextvars.copy_context().run, _call, function, *args, **kwargs)
        try:
            future = self._executor.submit(work)
        except BaseException:
            self._done(None)
            raise
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def _done(self, future: Future[Any] | None) -> None:
        with self._lock:  # a thread calls this, also when the one who waited has given up
            self._under_way -= 1

    async def close(self) -> None:
        """See `Offload`."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


def _call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # A future cannot carry it: who waits would wait for ever. A coroutine turns it into this as well.
        raise RuntimeError("an offloaded function raised StopIteration") from error


class BlockingOffload:
    """Runs functions right here: the thread of a synchronous host may block."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Offload`."""
        return contextvars.copy_context().run(_call, function, *args, **kwargs)

    async def close(self) -> None:
        """See `Offload`."""


async def gather_concurrently(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """See `Gather`."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return [task.result() for task in tasks]
    finally:
        unfinished = [task for task in tasks if not task.done()]
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen, so that asyncio does not report it as lost


async def gather_in_turn(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """See `Gather`."""
    try:
        return [await coroutine for coroutine in coroutines]
    finally:
        for coroutine in coroutines:
            coroutine.close()  # those behind the one that failed; the others have ended
