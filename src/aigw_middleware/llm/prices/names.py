"""Which names mean the same model: with a provider in front, with a date behind."""

from __future__ import annotations

import re
from typing import Final

MAX_NAME: Final = 256  # characters of a model name; longer ones are no model's name

# `gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929`, `claude-sonnet-4-5@20250929`, `...-latest`, `gemini-2.0-flash-001`.
_DATED = re.compile(r"(?:[-@](?:20\d\d-\d\d-\d\d|20\d{6}|latest)|@default|-00\d)\Z")
# Amazon Bedrock: `[region.]vendor.model`; a letter follows the vendor, unlike in `gpt-4.1` or `qwen2.5`.
_BEDROCK = re.compile(r"(?:(?P<region>[a-z-]+)\.)?[a-z0-9]+\.(?=[A-Za-z])")
_BEDROCK_VERSION = re.compile(r"-v\d+(?::\d+)?(?::\d+k)?\Z")


def is_bedrock(name: str) -> bool:
    """Whether the name, without a path, is a model or inference profile of Amazon Bedrock."""
    return _BEDROCK.match(name) is not None


def undated(name: str) -> str:
    """Return the name without the date or version that ends it; empty when it has none."""
    match = _DATED.search(name)
    return name[: match.start()] if match else ""


def spellings(model: str) -> list[str]:
    """Return the name as it is, then what is left without provider, path, region and vendor.

    `openai/gpt-4o`; `models/gemini-2.5-pro`; `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, whose shorter spellings are
    `anthropic.claude-sonnet-4-5-20250929-v1:0`, `claude-sonnet-4-5-20250929-v1:0` and `claude-sonnet-4-5-20250929`.
    """
    names = [model]
    _, slash, last = model.rpartition("/")
    if slash and last:
        names.append(last)
    name = names[-1]
    match = _BEDROCK.match(name)
    if match:
        if match["region"]:
            names.append(name[match.end("region") + 1 :])
        name = name[match.end() :]
        names.append(name)
        version = _BEDROCK_VERSION.search(name)
        if version:
            names.append(name[: version.start()])
    return names
