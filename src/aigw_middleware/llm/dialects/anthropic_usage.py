"""Anthropic's `usage` objects: input that was read from a cache or written to one is counted apart from the rest.

The totals leave out what a compaction of the context and the calls of an advisor took, which are billed too; they are
only told among the `iterations`.

Source: the Anthropic API reference, "Messages" (Usage, CacheCreation, OutputTokensDetails), "Streaming messages", "Compaction"
and "Advisor tool".
"""

from __future__ import annotations

from typing import Any, Final

from ..usage import Usage, part
from .walking import dicts

_BESIDE: Final = ("compaction", "advisor_message")
"""Types of iterations that are in no total."""


def anthropic_usage(value: Any, *, partial: bool = False) -> Usage | None:
    """Return the usage that an object reports; None for what is no object. `partial`: told before the output was."""
    if not isinstance(value, dict):
        return None
    stated = part(value, "input_tokens")
    details = {
        name: value[name]
        for name in ("cache_creation_input_tokens", "cache_read_input_tokens")
        if value.get(name) is not None
    }
    produced = value.get("output_tokens_details")
    usage = Usage(
        stated_input=stated if value.get("input_tokens") is not None else None,
        input_details=details or None,
        output_details=produced if isinstance(produced, dict) else None,
        partial=partial,
    )
    told = value.get("iterations")
    beside = [one for one in dicts(told) if one.get("type") in _BESIDE] if told else []
    for counted in (value, *beside):
        _add(usage, counted)
    if beside:
        usage.stated_output = part(value, "output_tokens")
    return usage


def _add(usage: Usage, counted: dict[str, Any]) -> None:
    kept = counted.get("cache_creation")
    written = part(counted, "cache_creation_input_tokens") or (
        part(kept, "ephemeral_5m_input_tokens") + part(kept, "ephemeral_1h_input_tokens")
    )
    cached = part(counted, "cache_read_input_tokens")
    usage.input_tokens += part(counted, "input_tokens") + written + cached
    usage.output_tokens += part(counted, "output_tokens")
    usage.cached_tokens += cached
    usage.cache_write_tokens += written
    usage.cache_write_1h_tokens += part(kept, "ephemeral_1h_input_tokens")
    usage.reasoning_tokens += part(counted.get("output_tokens_details"), "thinking_tokens")
