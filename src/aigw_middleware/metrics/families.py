"""The metrics that Prometheus gets: their names, labels and texts, and how counters become them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..plugins.ai.statistics.counters import Labels
from ..plugins.ai.statistics.series import COMPATIBLE, DURATIONS, INTERVALS, TOKEN_TYPES, Histogram, Series

if TYPE_CHECKING:
    from collections.abc import Sequence

UNIT: Final = 10**12  # parts of a currency unit in which costs are counted

COMPATIBLE_PREFIX: Final = "route_upstream_model_consumer_metric_"
COMPATIBLE_LABELS: Final = ("ai_route", "ai_cluster", "ai_model", "ai_consumer")


class Definition(NamedTuple):
    """What is said of a metric."""

    name: str
    help: str
    labels: tuple[str, ...]


_ALL = Labels._fields
_TIMED = ("route", "upstream", "model")  # of whom a call was is not among them: histograms have many series each

REQUESTS: Final = Definition(
    "aigw_llm_requests", "LLM calls by how they ended and by class of error.", (*_ALL, "outcome", "error")
)
TOKENS: Final = Definition(
    "aigw_llm_tokens",
    "Tokens; input includes cached and cache_write, output includes reasoning. source: who counted them.",
    (*_ALL, "type", "source"),
)
COST: Final = Definition("aigw_llm_cost", "What calls cost, in units of the currency.", (*_ALL, "currency"))
UNPRICED: Final = Definition("aigw_llm_unpriced_requests", "Calls whose tokens have no price.", _ALL)
DECISIONS: Final = Definition(
    "aigw_plugin_decisions", "How often a plug-in failed or could not read a call.", ("plugin", "decision")
)
TIMES: Final[Mapping[str, tuple[Definition, Sequence[float]]]] = {
    "first_byte": (
        Definition("aigw_llm_time_to_first_byte_seconds", "From the request to the first byte of the answer.", _TIMED),
        DURATIONS,
    ),
    "first_token": (
        Definition("aigw_llm_time_to_first_token_seconds", "From the request to the first token of a stream.", _TIMED),
        DURATIONS,
    ),
    "interval": (
        Definition("aigw_llm_time_between_tokens_seconds", "Mean time between two tokens of a stream.", _TIMED),
        INTERVALS,
    ),
    "total": (Definition("aigw_llm_duration_seconds", "From the request to the end of the answer.", _TIMED), DURATIONS),
}


def compatible(name: str) -> Definition:
    """Return the definition of a counter of the compatible gateways."""
    return Definition(
        COMPATIBLE_PREFIX + name, f"{name} as the compatible gateways count it; durations in ms.", COMPATIBLE_LABELS
    )


def families(series: Mapping[Labels, Series], decisions: Counter[tuple[str, str]]) -> Iterator[Any]:
    """Yield the metric families of prometheus_client."""
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, UnknownMetricFamily

    requests = CounterMetricFamily(*REQUESTS[:2], labels=REQUESTS.labels)
    tokens = CounterMetricFamily(*TOKENS[:2], labels=TOKENS.labels)
    costs = CounterMetricFamily(*COST[:2], labels=COST.labels)
    unpriced = CounterMetricFamily(*UNPRICED[:2], labels=UNPRICED.labels)
    same = {name: UnknownMetricFamily(*compatible(name)[:2], labels=COMPATIBLE_LABELS) for name in COMPATIBLE}
    timed: dict[tuple[str, ...], dict[str, Histogram]] = {}
    for labels, counted in series.items():
        for end, count in counted.requests.items():
            requests.add_metric([*labels, *end], count)
        for source, sums in counted.tokens.items():
            for kind, count in zip(TOKEN_TYPES, sums, strict=True):
                if count:
                    tokens.add_metric([*labels, kind, source], count)
        for currency, amount in counted.costs.items():
            costs.add_metric([*labels, currency], amount / UNIT)
        if counted.unpriced:
            unpriced.add_metric(labels, counted.unpriced)
        for name, count in counted.compatible().items():
            same[name].add_metric(labels, count)
        times = timed.setdefault(labels[:3], {name: Histogram(bounds) for name, (_, bounds) in TIMES.items()})
        for name, histogram in times.items():
            histogram.merge(getattr(counted, name))
    yield from (requests, tokens, costs, unpriced)
    for name, (definition, _) in TIMES.items():
        family = HistogramMetricFamily(*definition[:2], labels=definition.labels)
        for values, times in timed.items():
            if any(times[name].counts):
                family.add_metric(values, _cumulated(times[name]), times[name].sum)
        yield family
    yield from same.values()
    decided = CounterMetricFamily(*DECISIONS[:2], labels=DECISIONS.labels)
    for pair, count in decisions.items():
        decided.add_metric(pair, count)
    yield decided


def _cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        found.append((bound, below))
    return found
