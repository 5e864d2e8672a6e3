"""Prices as operators write them.

    prices:
      - {model: gpt-4o, input: 2.50, cached_input: 1.25, output: 10}
      - {model: gpt-4o, from: 2027-01-01, input: 2.00, cached_input: 1.00, output: 8}
      - model: gemini-2.5-pro
        input: 1.25
        cached_input: 0.125
        output: 10
        tiers: [{above: 200000, input: 2.50, cached_input: 0.25, output: 15}]
      - {model: "text-embedding-*", input: 0.02, output: 0}

A new price is a new entry with a later `from`: what was charged before stays as it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, field_validator, model_validator

from ...config.models import Names
from ...plugin import PluginConfig
from .bill import PLACES, TOKEN_PLACES, Period, Rates, rates, units
from .names import MAX_NAME

MAX_AMOUNT: Final = 1_000_000
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)\Z")


def _is_a_date(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and value[4:5] == "-"):
        return value
    raise ValueError("should be a date or time such as 2026-01-01 or 2026-01-01T12:00:00Z")  # not a number of seconds


def _in_utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("should be in the years 1 to 9999 (UTC)") from None


Amount: TypeAlias = Annotated[Decimal, Field(ge=0, le=MAX_AMOUNT, decimal_places=TOKEN_PLACES, allow_inf_nan=False)]
Moment: TypeAlias = Annotated[datetime, BeforeValidator(_is_a_date), AfterValidator(_in_utc)]


class Amounts(PluginConfig):
    """Prices per million tokens, by kind."""

    input: Amount = Field(description="Per million input tokens.")
    output: Amount = Field(description="Per million output tokens; 0 for embeddings.")
    cached_input: Amount | None = Field(None, description="Per million tokens read from a cache; unset: as `input`.")
    cache_write: Amount | None = Field(None, description="Per million tokens written to a cache; unset: as `input`.")
    cache_write_1h: Amount | None = Field(
        None, description="Per million tokens written to a cache for an hour; unset: as `cache_write`."
    )
    audio_input: Amount | None = Field(None, description="Per million input tokens of audio; unset: as `input`.")
    image_input: Amount | None = Field(None, description="Per million input tokens of images; unset: as `input`.")
    reasoning: Amount | None = Field(None, description="Per million tokens of reasoning; unset: as `output`.")
    audio_output: Amount | None = Field(None, description="Per million output tokens of audio; unset: as `output`.")

    def rates(self) -> Rates:
        """Return the prices in the form that bills are made from."""
        return rates(**{kind: getattr(self, kind) for kind in Rates._fields})


class PriceTier(Amounts):
    """Prices of requests with many input tokens, for all their tokens."""

    above: int = Field(
        ge=1, le=10**12, description="Input tokens, cached ones included, that a request must exceed for these prices."
    )


class Price(Amounts):
    """Prices of one model, or of those whose names begin alike, for some time."""

    model: str = Field(min_length=1, max_length=MAX_NAME, description="Name of the model: exact, `prefix*` or `*`.")
    valid_from: Moment | None = Field(
        None,
        validation_alias=AliasChoices("valid_from", "validFrom", "from"),
        description="First moment (UTC) of these prices; of several entries the latest that has begun counts.",
    )
    valid_until: Moment | None = Field(
        None,
        validation_alias=AliasChoices("valid_until", "validUntil", "until"),
        description="Moment (UTC) from which they are no longer valid.",
    )
    hours: Names = Field((), description="Times of the day (UTC) they are valid, `16:30-00:30`; none: all day.")
    per_request: Annotated[Decimal, Field(ge=0, le=MAX_AMOUNT, decimal_places=PLACES, allow_inf_nan=False)] = Field(
        Decimal(0), description="For each request, whatever its tokens."
    )
    tiers: tuple[PriceTier, ...] = Field(
        (), description="Prices of requests with many input tokens. Each states every kind that the entry states."
    )

    @field_validator("model")
    @classmethod
    def _star_at_the_end(cls, value: str) -> str:
        if "*" in value[:-1]:
            raise ValueError("should have a `*` only at its end: `prefix*` or `*`")
        return value

    @field_validator("hours")
    @classmethod
    def _are_times(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            match = _HOURS.match(text)
            if match is None or text[:5] == text[6:]:
                raise ValueError("should be times of the day such as 16:30-00:30")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Price:
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("until should be later than from")
        thresholds = [tier.above for tier in self.tiers]
        if len(set(thresholds)) != len(thresholds):
            raise ValueError("tiers should differ in above")
        for tier in self.tiers:
            for kind in Rates._fields:
                if getattr(self, kind) is not None and getattr(tier, kind) is None:
                    raise ValueError(f"the tier above {tier.above} should state {kind} too")
        return self

    def period(self) -> Period:
        """Return the prices in the form that bills are made from."""
        start = self.valid_from.timestamp() if self.valid_from else float("-inf")
        end = self.valid_until.timestamp() if self.valid_until else float("inf")
        steps = sorted(((tier.above, tier.rates()) for tier in self.tiers), reverse=True)
        steps.append((-1, self.rates()))
        hours = tuple(_seconds_of_day(text) for text in self.hours)
        return Period(start, end, hours, tuple(steps), units(self.per_request), self.model)


def duplicates(entries: Sequence[Price]) -> list[tuple[int, int]]:
    """Return the indexes of entries, and of earlier ones, that would begin at one moment for one model."""
    seen: dict[tuple[str, datetime | None, tuple[str, ...]], int] = {}
    found = []
    for index, entry in enumerate(entries):
        earlier = seen.setdefault((entry.model, entry.valid_from, entry.hours), index)
        if earlier != index:
            found.append((index, earlier))
    return found


def _seconds_of_day(text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    return _second(start), _second(end)


def _second(text: str) -> int:
    return int(text[:2]) * 3600 + int(text[3:]) * 60
