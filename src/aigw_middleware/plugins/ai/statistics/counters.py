"""Counters by route, upstream, model and consumer, in bounded memory whatever callers send."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from .series import OTHER_VALUE, Series

if TYPE_CHECKING:
    from .measured import Measured

MAX_LABEL_SETS: Final = 1_000
MAX_VALUES: Final = 200  # of one label
MAX_LENGTH: Final = 128  # characters of a label's value
NO_MODEL: Final = "-"
MODEL: Final = 2

_lock = (
    threading.Lock()
)  # one for all: counters of one entry may become one (`absorb`), and it is held for microseconds


def _forked() -> None:
    """In a forked child: another thread of the parent may have held it."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Labels(NamedTuple):
    """What a counter belongs to."""

    route: str
    upstream: str
    """The host that was called, or `service`: the application that the gateway stands around."""
    model: str
    consumer: str


OTHER: Final = Labels(OTHER_VALUE, OTHER_VALUE, OTHER_VALUE, OTHER_VALUE)
"""Where everything is counted once there are `MAX_LABEL_SETS` others."""


class Mirror(Protocol):
    """Where each exchange is counted once more, for readers outside of this process."""

    def add(self, labels: Labels, measured: Measured) -> None:
        """Count one exchange."""


class Counters:
    """All series of one entry of a configuration. Safe for threads."""

    def __init__(self, mirror: Mirror | None = None) -> None:
        self._mirror = mirror
        self._series: dict[tuple[str, str, str, str], Series] = {}
        self._values: tuple[set[str], ...] = tuple(set() for _ in Labels._fields)

    def add(self, labels: tuple[str, str, str, str], measured: Measured) -> None:
        """Count one exchange under labels, in the order of `Labels`, or what stands for them where there are too many."""
        with _lock:
            series = self._series.get(labels)
            if series is None:
                labels, series = self._first(labels, known=measured.answered)
            series.add(measured)
        if self._mirror is not None:
            self._mirror.add(Labels(*labels), measured)

    def _first(self, labels: tuple[str, str, str, str], *, known: bool) -> tuple[Labels, Series]:
        bounded = self._bounded(labels, known=known)
        series = self._series.get(bounded)
        if series is None:
            series = self._series[bounded] = Series()
        return bounded, series

    def _bounded(self, labels: tuple[str, str, str, str], *, known: bool) -> Labels:
        values = [self._value(number, value, known or number != MODEL) for number, value in enumerate(labels)]
        bounded = Labels(*values)
        if bounded in self._series or len(self._series) < MAX_LABEL_SETS:
            return bounded
        return OTHER

    def _value(self, number: int, value: str, known: bool) -> str:
        """Return the value of a label; a model that no provider has answered for is not worth a place among them."""
        values = self._values[number]
        if value in values or value == NO_MODEL:
            return value
        value = value[:MAX_LENGTH].encode("utf-8", "replace").decode()
        if value not in values:
            if not known or len(values) >= MAX_VALUES:
                return OTHER_VALUE
            values.add(value)
        return value

    def model(self, name: str) -> str:
        """Return the value of a label that stands for a model; empty for none."""
        if not name:
            return ""
        with _lock:
            return self._value(MODEL, name, known=False)

    def absorb(self, other: Counters) -> None:
        """Go on as one with counters that another loop began: both count into the same sums from now on."""
        with _lock:
            if other._series is self._series:
                return
            for labels, series in other._series.items():
                self._series.setdefault(labels, Series()).merge(series)
            for mine, theirs in zip(self._values, other._values, strict=True):
                mine |= theirs
            other._series, other._values = self._series, self._values

    def read(self) -> dict[Labels, Series]:
        """Return copies of all series as they are now."""
        return merged([self])

    def total(self, name: str) -> int:
        """Return one of the counters of the compatible gateways, over all label sets."""
        return sum(series.compatible().get(name, 0) for series in self.read().values())


def merged(several: Iterable[Counters]) -> dict[Labels, Series]:
    """Return copies of the series of several counters, equal labels added up."""
    found: dict[Labels, Series] = {}
    for table in {id(counters._series): counters._series for counters in several}.values():
        with _lock:
            items = list(table.items())
        for labels, series in items:  # the lock is taken for each: no request waits for all of them
            copy = found.setdefault(Labels(*labels), Series())
            with _lock:
                copy.merge(series)
    return found
