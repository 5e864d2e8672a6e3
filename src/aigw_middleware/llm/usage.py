"""Tokens used by one LLM call, and where the numbers come from."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    from .tokens import TokenCounter

Source = Literal["provider", "tokenizer", "bytes"]

BYTES_PER_TOKEN: Final = 4  # the usual rule of thumb for English text; only where nothing was looked at
SAMPLE: Final = 8_192  # characters that are counted at most; more would keep an event loop
SHORT: Final = 512  # characters that are counted whatever they are: half a millisecond for the worst of texts
COUNTING_SECONDS: Final = 0.0005


class Usage(msgspec.Struct, eq=False):
    """Token counts in one meaning for every provider: parts are included in the sum they belong to.

    `input_tokens` includes what was read from a cache or written to one, audio and images; `output_tokens` includes
    reasoning and audio. Providers count differently (Anthropic leaves cached tokens out of its `input_tokens`, Gemini
    thoughts out of its candidates): what they said literally is in `stated_input` and `stated_output`.
    `source` is `provider` when the API reported the numbers, `tokenizer` when the texts were counted, `bytes` when
    they were estimated from the size of the texts.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    stated_total: int | None = None
    """The provider's own total, where it gave one."""
    cached_tokens: int = 0
    """Input read from the provider's cache."""
    cache_write_tokens: int = 0
    """Input written to the provider's cache, for whatever time."""
    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` that is kept for an hour, which costs more than five minutes."""
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    reasoning_tokens: int = 0
    audio_output_tokens: int = 0
    source: Source = "provider"
    stated_input: int | None = None
    """The input as the provider counts it; None: it is `input_tokens`."""
    stated_output: int | None = None
    """The output as the provider counts it; None: it is `output_tokens`."""
    input_details: dict[str, Any] | None = None
    """What the provider said of the parts of its input."""
    output_details: dict[str, Any] | None = None
    partial: bool = False
    """Told before the output was produced, so that `output_tokens` says nothing yet."""

    @property
    def total_tokens(self) -> int:
        """The provider's total, or input and output."""
        return self.input_tokens + self.output_tokens if self.stated_total is None else self.stated_total

    def after(self, earlier: Usage | None) -> Usage:
        """Return what is known after both were reported, this one later.

        Numbers in a stream are cumulative, or told once in one of its events: the larger one stands, and none is added
        to another.
        """
        if earlier is None:
            return self
        return Usage(
            max(self.input_tokens, earlier.input_tokens),
            max(self.output_tokens, earlier.output_tokens),
            _larger(self.stated_total, earlier.stated_total),
            max(self.cached_tokens, earlier.cached_tokens),
            max(self.cache_write_tokens, earlier.cache_write_tokens),
            max(self.cache_write_1h_tokens, earlier.cache_write_1h_tokens),
            max(self.audio_input_tokens, earlier.audio_input_tokens),
            max(self.image_input_tokens, earlier.image_input_tokens),
            max(self.reasoning_tokens, earlier.reasoning_tokens),
            max(self.audio_output_tokens, earlier.audio_output_tokens),
            self.source,
            _larger(self.stated_input, earlier.stated_input),
            _larger(self.stated_output, earlier.stated_output),
            self.input_details or earlier.input_details,
            self.output_details or earlier.output_details,
            self.partial and earlier.partial,
        )

    def __repr__(self) -> str:
        return f"<Usage {self.input_tokens}+{self.output_tokens} {self.source}>"


def _larger(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)


def sampled_tokens(counter: TokenCounter, texts: Sequence[str], size: int | None) -> tuple[int, bool]:
    """Return the tokens of texts and whether a tokenizer counted all that was looked at, within a moment.

    `size` is their size in UTF-8 bytes where more was said than is in `texts`; None: it is all of them. What is beyond
    the first texts that fit into `SAMPLE` characters is in proportion to them.
    """
    short = sum(map(len, texts)) <= SHORT
    deadline = math.inf if short else time.perf_counter() + COUNTING_SECONDS
    tokens = seen = 0
    room = SAMPLE
    total = 0
    certain = True
    for text in texts:
        total += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if room <= 0:
            continue
        part = text[:room]
        room -= len(part)
        seen += len(part) if part.isascii() else len(part.encode("utf-8", "surrogatepass"))
        count, counted = counter.count_now(part, deadline)
        tokens += count
        certain = certain and counted
    total = max(total, size or 0)
    if total > seen:
        tokens = -(-tokens * total // seen) if seen else -(-total // BYTES_PER_TOKEN)
    return tokens, certain


def count(value: object) -> int:
    """Return a token count as a non-negative int; anything else a provider may send counts as zero."""
    if type(value) is int and 0 <= value < 10**15:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value < 0:
        return 0
    return int(value) if value < 1e15 else 0


def part(details: object, *names: str) -> int:
    """Return the first count that `details` has under one of `names`; zero where it has none or is no object."""
    if isinstance(details, dict):
        for name in names:
            if name in details:
                return count(details[name])
    return 0
