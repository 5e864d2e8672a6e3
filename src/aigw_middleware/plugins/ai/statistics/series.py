"""What is counted under one set of labels: requests, tokens, costs, and histograms of times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .measured import Measured

MAX_ERRORS: Final = 50  # classes of errors of one label set
OTHER_VALUE: Final = "other"

DURATIONS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84)
INTERVALS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
TOKEN_TYPES: Final = ("input", "output", "cached", "cache_write", "reasoning")


class Histogram:
    """How many values were at most each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """For each bound those above the one before it; the last: above all."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def merge(self, other: Histogram) -> None:
        """Add what another one of the same bounds counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class Series:
    """What is counted under one set of labels. Durations with `_ms` are sums in milliseconds."""

    __slots__ = (
        "costs",
        "failures",
        "first_byte",
        "first_count",
        "first_ms",
        "first_token",
        "input",
        "interval",
        "output",
        "requests",
        "service_count",
        "service_ms",
        "tokens",
        "total",
        "total_tokens",
        "unpriced",
    )

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str], int] = {}
        """By outcome and class of error."""
        self.tokens: dict[str, list[int]] = {}
        """By where the numbers come from; each in the order of TOKEN_TYPES."""
        self.costs: dict[str, int] = {}
        """By currency, in 10**-12 of it."""
        self.unpriced = 0
        self.input = self.output = self.total_tokens = 0
        """As the provider counts them."""
        self.service_ms = self.service_count = self.first_ms = self.first_count = self.failures = 0
        self.first_byte = Histogram(DURATIONS)
        self.first_token = Histogram(DURATIONS)
        self.interval = Histogram(INTERVALS)
        self.total = Histogram(DURATIONS)

    def add(self, measured: Measured) -> None:
        """Count one exchange."""
        end = measured.outcome, measured.error
        try:
            self.requests[end] += 1
        except KeyError:
            self._end(end)
        if not measured.served:
            return
        self.service_ms += round(measured.total * 1_000)
        self.service_count += 1
        self.total.observe(measured.total)
        if measured.first_byte is not None:
            self.first_byte.observe(measured.first_byte)
        if measured.first_token is not None:
            self.first_ms += round(measured.first_token * 1_000)
            self.first_count += 1
            self.first_token.observe(measured.first_token)
            if measured.interval is not None:
                self.interval.observe(measured.interval)
        if measured.failed:
            self.failures += 1
        usage = measured.usage
        if usage is None:
            return
        sums = self.tokens.get(usage.source)
        if sums is None:
            sums = self.tokens[usage.source] = [0] * len(TOKEN_TYPES)
        sums[0] += usage.input_tokens
        sums[1] += usage.output_tokens
        sums[2] += usage.cached_tokens
        sums[3] += usage.cache_write_tokens
        sums[4] += usage.reasoning_tokens
        stated_input, stated_output = usage.stated_input, usage.stated_output
        self.input += usage.input_tokens if stated_input is None else stated_input
        self.output += usage.output_tokens if stated_output is None else stated_output
        self.total_tokens += usage.total_tokens
        cost = measured.cost
        if cost is not None:
            self.costs[cost.currency] = self.costs.get(cost.currency, 0) + sum(cost.amounts.values())
        elif measured.unpriced:
            self.unpriced += 1

    def _end(self, end: tuple[str, str]) -> None:
        if len(self.requests) >= MAX_ERRORS:
            end = end[0], OTHER_VALUE
        self.requests[end] = self.requests.get(end, 0) + 1

    def merge(self, other: Series) -> None:
        """Add what another one counted."""
        for name in ("unpriced", *COMPATIBLE.values()):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for end, count in other.requests.items():
            self.requests[end] = self.requests.get(end, 0) + count
        for currency, amount in other.costs.items():
            self.costs[currency] = self.costs.get(currency, 0) + amount
        for source, sums in other.tokens.items():
            mine = self.tokens.get(source, [0] * len(TOKEN_TYPES))
            self.tokens[source] = [one + two for one, two in zip(mine, sums, strict=True)]
        for name in HISTOGRAMS:
            getattr(self, name).merge(getattr(other, name))

    def compatible(self) -> dict[str, int]:
        """Return the counters of the compatible gateways by name; zeros are left out."""
        return {name: value for name, attribute in COMPATIBLE.items() if (value := getattr(self, attribute))}


COMPATIBLE: Final = {
    "input_token": "input",
    "output_token": "output",
    "total_token": "total_tokens",
    "llm_service_duration": "service_ms",
    "llm_duration_count": "service_count",
    "llm_first_token_duration": "first_ms",
    "llm_stream_duration_count": "first_count",
    "llm_failure_count": "failures",
}
"""Names of the compatible gateways, and the attributes that hold the sums."""
HISTOGRAMS: Final = ("first_byte", "first_token", "interval", "total")
