"""The usual chunk of a Gemini stream, as types: texts and thoughts, why they end, what they cost, and nothing else.

Source: the Gemini API reference, "GenerateContentResponse", "Candidate" and "Part". A chunk that has any other member,
or one of another type, is refused by the decoder, because a text could stand in it: it is then read member by member.
Members that no text stands in are named here so that they are let through. They are decoded nevertheless: what is
skipped would not be checked, and one reader would take for JSON what the other does not.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

_Count: TypeAlias = int | str | None
Metadata: TypeAlias = dict[str, int | str | list[dict[str, _Count]] | None]
"""`usageMetadata`: counts, counts by modality, and words for the kind of traffic."""


class Part(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A text or a thought."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: Any = None


class Content(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """What a chunk adds to a candidate."""

    parts: list[Part] | None = None
    role: Any = None


class Answered(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """One candidate. Some leave its index out where it is zero."""

    content: Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    safety_ratings: Any = None
    token_count: Any = None
    avg_logprobs: Any = None


class Chunk(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """A chunk with at least one candidate."""

    candidates: list[Answered]
    usage_metadata: Metadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    create_time: Any = None


_decode = msgspec.json.Decoder(Chunk).decode


def usual_chunk(data: bytes | None) -> Chunk | None:
    """Return a chunk that has candidates, each of nothing but texts; None for all others, and for what is no JSON."""
    if not data:
        return None
    try:
        chunk = _decode(data)
    except (ValueError, RecursionError):
        return None
    return chunk if chunk.candidates else None
