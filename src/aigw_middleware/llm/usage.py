"""Tokens used by one LLM call, and where the numbers come from."""

from __future__ import annotations

from typing import Literal

Source = Literal["provider", "bytes"]

BYTES_PER_TOKEN = 4  # the usual rule of thumb for English text; only the last resort of the ladder


class Usage:
    """Token counts. `input_tokens` includes `cached_tokens`, `output_tokens` includes `reasoning_tokens`.

    `source` is `provider` when the API reported them, `bytes` when they were estimated from the text that passed.
    """

    __slots__ = (
        "cached_tokens",
        "input_details",
        "input_tokens",
        "output_details",
        "output_tokens",
        "reasoning_tokens",
        "source",
        "total_tokens",
    )

    def __init__(
        self,
        input_tokens: int,
        output_tokens: int,
        total_tokens: int | None = None,
        cached_tokens: int = 0,
        reasoning_tokens: int = 0,
        source: Source = "provider",
        input_details: dict[str, object] | None = None,
        output_details: dict[str, object] | None = None,
    ) -> None:
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.total_tokens = input_tokens + output_tokens if total_tokens is None else total_tokens
        self.cached_tokens = cached_tokens
        self.reasoning_tokens = reasoning_tokens
        self.source = source
        self.input_details = input_details
        self.output_details = output_details

    def __repr__(self) -> str:
        return f"<Usage {self.input_tokens}+{self.output_tokens} {self.source}>"


def estimate(input_bytes: int, output_bytes: int) -> Usage:
    """Return usage guessed from UTF-8 bytes of text: what is left when the provider says nothing."""
    return Usage(-(-input_bytes // BYTES_PER_TOKEN), -(-output_bytes // BYTES_PER_TOKEN), source="bytes")


def count(value: object) -> int:
    """Return a token count as a non-negative int; anything else a provider may send counts as zero."""
    if type(value) is int and 0 <= value < 10**15:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value < 0:
        return 0
    return int(value) if value < 1e15 else 0
