"""The machine's clock, and any clock behind a face that never suspends."""

from __future__ import annotations

import asyncio
import time

from .faces import Clock


class SystemClock:
    """The machine's clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` without blocking the event loop."""
        await asyncio.sleep(seconds)

    def sleep_blocking(self, seconds: float) -> None:
        """Wait `seconds` in the calling thread."""
        time.sleep(max(0.0, seconds))


class BlockingClock:
    """A clock for synchronous hosts: to sleep is to block the calling thread."""

    __slots__ = ("monotonic", "now", "sleep_blocking")

    def __init__(self, clock: Clock) -> None:
        self.now = clock.now
        self.monotonic = clock.monotonic
        self.sleep_blocking = clock.sleep_blocking

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` in the calling thread."""
        self.sleep_blocking(seconds)
