"""Several worker processes behind one port: what each counts lies in files that all of them read.

That is the multiprocess mode of prometheus_client: it is on when the environment variable PROMETHEUS_MULTIPROC_DIR names
a directory, empty when the workers start.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ..plugins.ai.statistics.series import COMPATIBLE, TOKEN_TYPES, Series
from .families import COMPATIBLE_PREFIX, COST, REQUESTS, TIMES, TOKENS, UNIT, UNPRICED, Definition, compatible

if TYPE_CHECKING:
    from ..plugins.ai.statistics.counters import Labels
    from ..plugins.ai.statistics.measured import Measured

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def mirror() -> WorkerMirror | None:
    """Return where this process counts for the others too; None when it is on its own."""
    if VARIABLE not in os.environ:
        return None
    try:
        return _mirror()
    except ImportError:
        return None  # without prometheus_client nobody reads what would be written


@functools.cache
def _mirror() -> WorkerMirror:
    return WorkerMirror()  # one for the process: two counters of one name would overwrite each other's value


class WorkerMirror:
    """The metrics as objects of prometheus_client, which keep their values in the files of that mode."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram

        def counter(definition: Definition) -> Any:
            return Counter(*definition, registry=None)

        self._requests, self._tokens, self._cost = counter(REQUESTS), counter(TOKENS), counter(COST)
        self._unpriced = counter(UNPRICED)
        self._times = {
            name: Histogram(*definition, buckets=bounds, registry=None) for name, (definition, bounds) in TIMES.items()
        }
        self._compatible = {name: counter(compatible(name)) for name in COMPATIBLE}
        self._children: dict[tuple[Any, tuple[str, ...]], Any] = {}

    def _of(self, metric: Any, *labels: str) -> Any:
        """Return what `metric.labels` does, which takes a lock and several times as long."""
        key = metric, labels
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def add(self, labels: Labels, measured: Measured) -> None:
        """Count one exchange."""
        self._of(self._requests, *labels, measured.outcome, measured.error).inc()
        counted = Series()
        counted.add(measured)
        for source, sums in counted.tokens.items():
            for kind, count in zip(TOKEN_TYPES, sums, strict=True):
                if count:
                    self._of(self._tokens, *labels, kind, source).inc(count)
        for currency, amount in counted.costs.items():
            self._of(self._cost, *labels, currency).inc(amount / UNIT)
        if counted.unpriced:
            self._of(self._unpriced, *labels).inc()
        for name, count in counted.compatible().items():
            self._of(self._compatible[name], *labels).inc(count)
        for name, value in (
            ("first_byte", measured.first_byte),
            ("first_token", measured.first_token),
            ("interval", measured.interval),
            ("total", measured.total if measured.served else None),
        ):
            if value is not None:
                self._of(self._times[name], *labels[:3]).observe(value)


class WorkerCollector:
    """What all workers counted, from their files."""

    def collect(self) -> Iterator[Any]:
        """Yield the metric families of prometheus_client."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.core import Metric

        multiprocess: Any = importlib.import_module("prometheus_client.multiprocess")
        for metric in multiprocess.MultiProcessCollector(CollectorRegistry()).collect():
            if not metric.name.startswith(COMPATIBLE_PREFIX):
                yield metric
                continue
            same = Metric(metric.name, metric.documentation, "unknown")  # counters get `_total` behind their names
            same.samples = [
                sample._replace(name=sample.name.removesuffix("_total"))
                for sample in metric.samples
                if sample.name.endswith("_total")
            ]
            yield same
