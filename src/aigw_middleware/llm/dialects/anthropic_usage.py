"""Anthropic's `usage` objects: input that was read from a cache or written to one is counted apart from the rest.

Source: the Anthropic API reference, "Messages" (Usage, CacheCreation, OutputTokensDetails) and "Streaming messages".
"""

from __future__ import annotations

from typing import Any

from ..usage import Usage, part


def anthropic_usage(value: Any, *, partial: bool = False) -> Usage | None:
    """Return the usage that an object reports; None for what is no object. `partial`: told before the output was."""
    if not isinstance(value, dict):
        return None
    kept = value.get("cache_creation")
    written = part(value, "cache_creation_input_tokens") or (
        part(kept, "ephemeral_5m_input_tokens") + part(kept, "ephemeral_1h_input_tokens")
    )
    cached = part(value, "cache_read_input_tokens")
    stated = part(value, "input_tokens")
    details = {
        name: value[name]
        for name in ("cache_creation_input_tokens", "cache_read_input_tokens")
        if value.get(name) is not None
    }
    produced = value.get("output_tokens_details")
    return Usage(
        stated + written + cached,
        part(value, "output_tokens"),
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=part(kept, "ephemeral_1h_input_tokens"),
        reasoning_tokens=part(produced, "thinking_tokens"),
        stated_input=stated if value.get("input_tokens") is not None else None,
        input_details=details or None,
        output_details=produced if isinstance(produced, dict) else None,
        partial=partial,
    )
