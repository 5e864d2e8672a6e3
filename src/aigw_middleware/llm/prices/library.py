"""List prices of the genai-prices package, for models that the operator's own book does not have.

Only its data is used: its calculator raises on contradictory usage and takes 30 times as long, and its lookups remember
every name they were asked for. The data is what was published with the installed version; nothing is fetched, also
when another library of the process lets genai-prices update itself. Prices of service tiers, batches, web searches,
seconds of audio and pages are not used.
"""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any, Final

from ...errors import ConfigError
from .bill import DAY, Period, Rates, rates, units
from .names import is_bedrock, spellings

EXTRA: Final = "pip install 'aigw-middleware[prices]'"

KEYS: Final = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_input": "input_audio_mtok",
    "image_input": "input_image_mtok",
    "output": "output_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_output": "output_audio_mtok",
}


class Library:
    """The prices that genai-prices carries, in US dollars.

    Raises ConfigError when the package is not installed. Importing it takes 0.2 s: make it while configuring.
    """

    def __init__(self) -> None:
        try:
            data = importlib.import_module("genai_prices.data")
        except ImportError:
            message = "list prices come from the package genai-prices, which is not installed"
            raise ConfigError.of("", message, EXTRA) from None
        self._providers: list[Any] = data.providers

    def periods(self, model: str) -> tuple[Period, ...]:
        """Return the prices of a model, the one to try first in front; none when the package does not know it."""
        provider, found = self._find(model)
        return _periods(found.prices, f"genai-prices:{provider.id}/{found.id}") if found is not None else ()

    def _find(self, model: str) -> tuple[Any, Any]:
        head, slash, tail = model.partition("/")
        if slash:
            provider = self._provider(head.lower())
            if provider is not None:  # asked for by name: another provider's price would be another price
                return provider, provider.find_model(tail, all_providers=self._providers)
        for name in spellings(model):
            if is_bedrock(name):
                provider = self._provider("aws")
                found = provider and provider.find_model(name)
                if found is not None:
                    return provider, found
            for provider in self._providers:
                if provider.model_match is not None and provider.model_match.is_match(name.lower()):
                    found = provider.find_model(name, all_providers=self._providers)
                    if found is not None:
                        return provider, found
        return self._of_openai(spellings(model)[-1])

    def _of_openai(self, name: str) -> tuple[Any, Any]:
        """Look in the list of OpenAI, which claims only some of its names: embeddings are not among them."""
        provider = self._provider("openai")
        found = provider and provider.find_model(name)
        return (provider, found) if found is not None else (None, None)

    def _provider(self, name: str) -> Any:
        for provider in self._providers:
            if provider.id == name:
                return provider
        for provider in self._providers:
            if provider.provider_match is not None and provider.provider_match.is_match(name):
                return provider
        return None


def _periods(prices: Any, priced_as: str) -> tuple[Period, ...]:
    if not isinstance(prices, list):
        return _period(prices, priced_as)
    periods: list[Period] = []
    for conditional in reversed(prices):  # the last one that applies counts
        constraint = conditional.constraint
        start = float("-inf")
        hours: tuple[tuple[int, int], ...] = ()
        if hasattr(constraint, "start_date"):
            start = datetime.combine(constraint.start_date, time(), UTC).timestamp()
        elif hasattr(constraint, "start_time"):
            hours = ((_second(constraint.start_time), _second(constraint.end_time)),)
        elif constraint is not None:
            return ()  # a condition of a later version: no price is better than a wrong one
        periods += _period(conditional.prices, priced_as, start, hours)
    return (*periods, *_period(prices[0].prices, priced_as))  # and the first one where none does


def _period(
    price: Any, priced_as: str, start: float = float("-inf"), hours: tuple[tuple[int, int], ...] = ()
) -> tuple[Period, ...]:
    amounts = {kind: getattr(price, key, None) for kind, key in KEYS.items()}
    if amounts["input"] is None and amounts["output"] is None:
        return ()  # priced by the second, the page or the character
    thresholds = {tier.start for amount in amounts.values() for tier in getattr(amount, "tiers", ())}
    tiers = tuple((above, _rates_above(amounts, above)) for above in (*sorted(thresholds, reverse=True), -1))
    requests = getattr(price, "requests_kcount", None)
    per_request = units(requests, 9) if isinstance(requests, Decimal) else 0  # 10**12 / 1000 requests
    return (Period(start, float("inf"), hours, tiers, per_request, priced_as),)


def _rates_above(amounts: dict[str, Any], above: int) -> Rates:
    return rates(**{kind: _amount_above(amount, above) for kind, amount in amounts.items()})


def _amount_above(amount: Any, above: int) -> Decimal | None:
    chosen: Decimal | None = getattr(amount, "base", amount)
    for tier in getattr(amount, "tiers", ()):  # in ascending order
        if tier.start <= above:
            chosen = tier.price
    return chosen


def _second(moment: time) -> int:
    offset = moment.utcoffset()
    shift = int(offset.total_seconds()) if offset else 0
    return (moment.hour * 3600 + moment.minute * 60 + moment.second - shift) % DAY
