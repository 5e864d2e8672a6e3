"""The arithmetic of one bill: tokens by kind, times whole numbers, and a Decimal only at the end.

Amounts are integers of 10**-12 of the currency. A price per million tokens has at most six decimal places, so a price
per token is such an integer exactly; nothing is rounded, and no Decimal context of the process has a say.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, NamedTuple, Protocol

import msgspec

PLACES: Final = 12  # decimal places of an amount
TOKEN_PLACES: Final = 6  # decimal places of a price per million tokens: 10**-6 / 10**6 is 10**-12
DAY: Final = 86_400

# 60 digits hold every product of a bounded token count and a bounded price; traps=[]: it never raises.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN, Emin=-999, Emax=999, capitals=1, clamp=0, flags=[], traps=[])


class TokenUsage(Protocol):
    """Normalised token counts, as `aigw_middleware.llm.usage.Usage` has them: parts are included in their sums.

    `input_tokens` includes cached, cache-write, audio and image tokens, `output_tokens` includes reasoning and audio,
    `cache_write_tokens` includes `cache_write_1h_tokens`.
    """

    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def cache_write_1h_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...
    @property
    def audio_input_tokens(self) -> int: ...
    @property
    def audio_output_tokens(self) -> int: ...
    @property
    def image_input_tokens(self) -> int: ...


class Cost(msgspec.Struct, frozen=True):
    """What one call costs. `sum(parts.values()) == total`, exactly."""

    amounts: dict[str, int]
    """By kind, in 10**-12 of `currency`: whole numbers, for budgets."""
    currency: str
    """Code of ISO 4217."""
    priced_as: str
    """The entry that gave the price: its `model`, or `genai-prices:<provider>/<model>`."""

    @property
    def total(self) -> Decimal:
        """The whole, in units of `currency`, with twelve decimal places."""
        return _EXACT.scaleb(sum(self.amounts.values()), -PLACES)

    @property
    def parts(self) -> dict[str, Decimal]:
        """By kind, named as the prices are: `input`, `cached_input`, ..., `per_request`; only kinds that occurred."""
        return {kind: _EXACT.scaleb(amount, -PLACES) for kind, amount in self.amounts.items()}


class Rates(NamedTuple):
    """Prices of one token by kind, in 10**-12; None: there is no price for this kind."""

    input: int | None
    cached_input: int | None
    cache_write: int | None
    cache_write_1h: int | None
    audio_input: int | None
    image_input: int | None
    output: int | None
    reasoning: int | None
    audio_output: int | None


class Period(NamedTuple):
    """Prices and the time they are valid."""

    start: float
    """Epoch seconds, included."""
    end: float
    """Epoch seconds, excluded."""
    hours: tuple[tuple[int, int], ...]
    """Seconds of the day (UTC), start included and end excluded; none: all day."""
    tiers: tuple[tuple[int, Rates], ...]
    """Input tokens above which the rates apply to the whole request, highest first; the last is -1."""
    per_request: int
    """In 10**-12."""
    priced_as: str

    def covers(self, at: float) -> bool:
        """Whether the prices are valid at epoch seconds `at`."""
        if not self.start <= at < self.end:
            return False
        if not self.hours:
            return True
        second = at % DAY
        return any(
            start <= second < end if start < end else second >= start or second < end for start, end in self.hours
        )

    def rates(self, prompt: int) -> Rates:
        """Return the prices of a request with so many input tokens."""
        for above, tier in self.tiers:
            if prompt > above:
                return tier
        return tier


def rates(
    *,
    input: Decimal | None = None,
    cached_input: Decimal | None = None,
    cache_write: Decimal | None = None,
    cache_write_1h: Decimal | None = None,
    audio_input: Decimal | None = None,
    image_input: Decimal | None = None,
    output: Decimal | None = None,
    reasoning: Decimal | None = None,
    audio_output: Decimal | None = None,
) -> Rates:
    """Return rates of amounts per million tokens; a kind without a price costs what the whole it is part of costs."""
    text, said = _per_token(input), _per_token(output)
    write = _per_token(cache_write, text)
    return Rates(
        input=text,
        cached_input=_per_token(cached_input, text),
        cache_write=write,
        cache_write_1h=_per_token(cache_write_1h, write),
        audio_input=_per_token(audio_input, text),
        image_input=_per_token(image_input, text),
        output=said,
        reasoning=_per_token(reasoning, said),
        audio_output=_per_token(audio_output, said),
    )


def _per_token(amount: Decimal | None, otherwise: int | None = None) -> int | None:
    return otherwise if amount is None else units(amount, TOKEN_PLACES)


def units(amount: Decimal, places: int = PLACES) -> int:
    """Return `amount * 10**places`, rounded half to even where it has more decimal places."""
    return int(_EXACT.to_integral_value(_EXACT.scaleb(amount, places)))


def bill(period: Period, usage: TokenUsage, currency: str) -> Cost | None:
    """Return the cost of `usage`, each token charged once; None when it has tokens of a kind without a price.

    Numbers that contradict each other are cut: parts never exceed the whole they belong to, and nothing is negative.
    Usage does not say of which kind cached tokens are: they are taken from text first, so that a bill is never too low.
    """
    prompt = max(usage.input_tokens, 0)
    tier = period.rates(prompt)
    amounts: dict[str, int] = {}
    try:
        # The dearest first: where the numbers contradict each other, it is the cheap kind that is cut.
        left = prompt
        if (hour := usage.cache_write_1h_tokens) > 0:
            left = _charge(amounts, "cache_write_1h", tier.cache_write_1h, hour, left)
        else:
            hour = 0
        if (written := usage.cache_write_tokens - hour) > 0:
            left = _charge(amounts, "cache_write", tier.cache_write, written, left)
        if (cached := usage.cached_tokens) > 0:
            left = _charge(amounts, "cached_input", tier.cached_input, cached, left)
        if (audio := usage.audio_input_tokens) > 0:
            left = _charge(amounts, "audio_input", tier.audio_input, audio, left)
        if (images := usage.image_input_tokens) > 0:
            left = _charge(amounts, "image_input", tier.image_input, images, left)
        _charge(amounts, "input", tier.input, left, left)
        left = max(usage.output_tokens, 0)
        if (spoken := usage.audio_output_tokens) > 0:
            left = _charge(amounts, "audio_output", tier.audio_output, spoken, left)
        if (thought := usage.reasoning_tokens) > 0:
            left = _charge(amounts, "reasoning", tier.reasoning, thought, left)
        _charge(amounts, "output", tier.output, left, left)
    except _Unpriced:
        return None
    if period.per_request:
        amounts["per_request"] = period.per_request
    return Cost(amounts, currency, period.priced_as)


class _Unpriced(Exception):
    """There are tokens of a kind that has no price."""


def _charge(amounts: dict[str, int], kind: str, rate: int | None, tokens: int, left: int) -> int:
    """Charge `tokens`, but no more than are left; return what is left then."""
    if tokens > left:
        tokens = left
    if not tokens:
        return left
    if rate is None:
        raise _Unpriced
    amounts[kind] = tokens * rate
    return left - tokens


def plain(amount: Decimal) -> str:
    """Return an amount as logs want it: no exponent, no zeros at its end (`0.002875`, `0`)."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
