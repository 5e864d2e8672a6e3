"""What an answer says, in words common to all APIs."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Told:
    """What an answer says."""

    text: str = ""
    reasoning: str = ""
    tools: tuple[Any, ...] = ()
    """Names and parsed arguments."""
    finish: str = ""
    usage: Any = None
    """Prompt, completion, read from the cache, and what else the API tells, in tokens."""


def told_tools(tools: dict[int, list[str]]) -> tuple[tuple[str, Any], ...]:
    """Names and parsed arguments of what a stream told in pieces."""
    return tuple((name, parsed(arguments)) for _, (name, arguments) in sorted(tools.items()))


def parsed(arguments: str) -> Any:
    """The arguments of a call; their text where a plug-in stopped them in the middle."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def of_chat(usage: Any) -> Any:
    """The numbers of a completion; None where it has none."""
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    cached, reasoning = prompt.cached_tokens if prompt else 0, completion.reasoning_tokens if completion else 0
    return usage.prompt_tokens, usage.completion_tokens, cached, reasoning


def of_response(usage: Any) -> Any:
    """The numbers of a response."""
    if usage is None:
        return None
    cached, reasoning = usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens
    return usage.input_tokens, usage.output_tokens, cached, reasoning


def of_message(usage: dict[str, Any]) -> Any:
    """The numbers of a message."""
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return tuple(usage.get(name) for name in names)
