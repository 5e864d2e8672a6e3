"""OpenAI's `usage` objects: of chat completions and their like, and of responses, which use other names.

Source: the OpenAI API reference, "CompletionUsage" and "ResponseUsage"; `prompt_cache_hit_tokens` as DeepSeek sends it.
"""

from __future__ import annotations

from typing import Any

from ..usage import Usage, count, part

_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")


def openai_usage(value: Any) -> Usage | None:
    """Return the usage that an object reports; None for what is no object."""
    if not isinstance(value, dict):
        return None
    sent = next((value[name] for name in _INPUT_DETAILS if value.get(name)), None)
    produced = value.get("completion_tokens_details") or value.get("output_tokens_details")
    total = value.get("total_tokens")
    return Usage(
        part(value, "prompt_tokens", "input_tokens"),
        part(value, "completion_tokens", "output_tokens"),
        count(total) if total is not None else None,
        part(sent, "cached_tokens") or part(value, "prompt_cache_hit_tokens", "cached_tokens"),
        part(sent, "cache_write_tokens"),
        audio_input_tokens=part(sent, "audio_tokens"),
        image_input_tokens=part(sent, "image_tokens"),
        reasoning_tokens=part(produced, "reasoning_tokens"),
        audio_output_tokens=part(produced, "audio_tokens"),
        input_details=sent if isinstance(sent, dict) else None,
        output_details=produced if isinstance(produced, dict) else None,
    )


def input_usage(value: Any, meta: Any = None) -> Usage | None:
    """Return the usage of an API whose input is all that counts, where it may tell the total alone.

    `meta` is where Cohere's rerankings have their `tokens`.
    """
    if not isinstance(value, dict) and isinstance(meta, dict):
        value = meta.get("tokens")
    usage = openai_usage(value)
    if usage is None or usage.input_tokens or usage.output_tokens:
        return usage
    if usage.stated_total is None:
        return None  # counted in something else, such as seconds or searches
    usage.input_tokens = usage.stated_total
    return usage
