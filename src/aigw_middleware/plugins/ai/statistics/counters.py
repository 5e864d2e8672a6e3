"""Counters by route, model and consumer, in bounded memory whatever callers send."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

MAX_LABEL_SETS: Final = 1_000


class Labels(NamedTuple):
    """What a counter belongs to."""

    route: str
    model: str
    consumer: str


OTHER: Final = Labels("other", "other", "other")
"""Where everything is counted once there are `MAX_LABEL_SETS` others."""


class Counters:
    """Sums by label set. Names are those of the compatible gateways; durations are sums in milliseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, str, str], dict[str, int]] = {}

    def add(self, labels: tuple[str, str, str], amounts: Mapping[str, int]) -> None:
        """Add amounts by name; zeros are left out. `labels` are those of `Labels`, in their order."""
        with self._lock:
            sums = self._sums.get(labels)
            if sums is None:
                if len(self._sums) >= MAX_LABEL_SETS:
                    labels = OTHER
                sums = self._sums.setdefault(labels, defaultdict(int))
            for name, amount in amounts.items():
                if amount:
                    sums[name] += amount

    def read(self) -> dict[Labels, dict[str, int]]:
        """Return all sums as they are now."""
        with self._lock:
            return {Labels(*labels): dict(sums) for labels, sums in self._sums.items()}

    def total(self, name: str) -> int:
        """Return one sum over all label sets."""
        with self._lock:
            return sum(sums.get(name, 0) for sums in self._sums.values())
