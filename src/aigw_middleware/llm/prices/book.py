"""The price book: which entry prices a model at a moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from ...config.problems import problems_of
from ...errors import ConfigError, Problem
from .bill import Cost, Period, TokenUsage, bill
from .entries import Price, duplicates
from .library import Library
from .names import MAX_NAME, spellings, undated

MAX_KNOWN: Final = 4096  # names whose prices are remembered; callers choose names, so there is a bound


class PriceBook:
    """Prices of models in one currency.

    A model's price comes from the first of these that is valid at the moment: the entry of its exact name; of its name
    without the date that ends it, unless a `prefix*` reaches into the date; the same for its name without
    provider, region and vendor; the longest `prefix*`; the list prices of genai-prices, if they are asked for; `*`.
    Instances may be shared by threads.
    """

    def __init__(self, periods: Mapping[str, tuple[Period, ...]], currency: str, library: Library | None) -> None:
        self.currency = currency
        """Code of ISO 4217."""
        self._periods = periods
        self._lengths = sorted({len(name) - 1 for name in periods if name.endswith("*") and name != "*"}, reverse=True)
        self._library = library
        self._known: dict[str, tuple[Period, ...]] = {}

    @classmethod
    def from_config(
        cls, entries: Iterable[Price | Mapping[str, Any]], *, currency: str = "USD", list_prices: bool = False
    ) -> PriceBook:
        """Make a book of entries; `list_prices` adds those of genai-prices for what the entries do not price.

        Raises ConfigError with every problem, each under `[index]`.
        """
        problems: list[Problem] = []
        prices: list[Price] = []
        for index, entry in enumerate(entries):
            if isinstance(entry, Price):
                prices.append(entry)
                continue
            try:
                prices.append(Price.model_validate(entry))
            except ValidationError as error:
                problems += problems_of(error, f"[{index}]", Price)
        if not problems:
            problems += (
                Problem(f"[{index}]", f"is valid from the same moment for the same model as [{earlier}]")
                for index, earlier in duplicates(prices)
            )
        if list_prices and currency != "USD":
            problems.append(Problem("currency", "should be USD: list prices are in US dollars"))
        if problems:
            raise ConfigError(problems, "prices")
        periods: dict[str, list[Period]] = {}
        for price in prices:
            periods.setdefault(price.model, []).append(price.period())
        for listed in periods.values():  # what began last counts, and what has hours before what is valid all day
            listed.sort(key=lambda period: (period.start, bool(period.hours)), reverse=True)
        library = Library() if list_prices else None
        return cls({model: tuple(listed) for model, listed in periods.items()}, currency, library)

    def cost(self, model: str, usage: TokenUsage, at: datetime | float) -> Cost | None:
        """Return what a call costs that was made at a moment; None when the book has no price for it then.

        `at` is epoch seconds or a datetime; one without a time zone is UTC. None is never a price of zero: what it
        means is for the caller's policy to say.
        """
        period = self._period(model, at)
        return bill(period, usage, self.currency) if period is not None else None

    def knows(self, model: str, at: datetime | float) -> bool:
        """Whether the book has a price for the model at a moment, to decide before the call.

        `cost` may still be None where list prices have none for a kind of token that the call used.
        """
        return self._period(model, at) is not None

    def _period(self, model: str, at: datetime | float) -> Period | None:
        periods = self._known.get(model)
        if periods is None:
            periods = self._look_up(model)
        seconds = _epoch(at) if isinstance(at, datetime) else at
        for period in periods:
            if period.covers(seconds):
                return period
        return None

    def _look_up(self, model: str) -> tuple[Period, ...]:
        if len(model) > MAX_NAME:
            return ()
        found = [period for name in self._matches(model) for period in self._periods[name]]
        if self._library is not None:
            found += self._library.periods(model)
        found += self._periods.get("*", ())
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        periods = self._known[model] = tuple(found)
        return periods

    def _matches(self, model: str) -> list[str]:
        """Return the names of entries for a model but `*`, most specific first."""
        names = spellings(model)
        wanted: list[str] = []
        for name in names:
            base = undated(name)
            wanted.append(name)
            if base:
                wanted += (prefix for prefix in self._prefixes(name) if len(prefix) > len(base) + 2)
                wanted.append(base)
        for name in names:
            wanted += self._prefixes(name)
        return [name for name in dict.fromkeys(wanted) if name in self._periods]

    def _prefixes(self, name: str) -> list[str]:
        return [f"{name[:length]}*" for length in self._lengths if length <= len(name)]


def _epoch(moment: datetime) -> float:
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
