"""What OpenAI's response objects, items and events say beside texts, and which item of a stream is which.

Source: the OpenAI API reference, "Responses": the response object, streaming events.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from ... import json as strict_json
from ..sse import Event
from ..usage import Usage
from .base import Call
from .openai_responses_items import type_of
from .openai_responses_texts import FIELD, ITEM
from .openai_usage import openai_usage

_CALLS: Final = ("function_call", "custom_tool_call", "mcp_call")
_DELTA: Final = re.compile(rb'"delta"\s*:\s*("(?:[^"\\]|\\.)*+")')
_OVER: Final = ("completed", "incomplete", "failed", "cancelled")


def text(value: Any) -> str:
    """Return a text; the empty one for what is none."""
    return value if isinstance(value, str) else ""


def item_calls(item: dict[str, Any], index: int) -> list[Call]:
    """Return the tool call that an output item is; `index` is its place."""
    name = item.get("name")
    if type_of(item) not in _CALLS or not isinstance(name, str) or not name:
        return []
    return [Call(0, index * ITEM, text(item.get("call_id")) or text(item.get("id")), name)]


def reasons(body: dict[str, Any]) -> list[str]:
    """Return why a response ended, in the provider's words: what was incomplete, else its status; nothing before."""
    status, details = body.get("status"), body.get("incomplete_details")
    why = details.get("reason") if isinstance(details, dict) else None
    if isinstance(why, str) and why:
        return [why]
    return [status] if isinstance(status, str) and status in _OVER else []


def usage(value: Any, *, partial: bool = False) -> Usage | None:
    """Return the usage that a response reports; `partial`: before it ended."""
    found = openai_usage(value)
    if found is not None:
        found.partial = partial
    return found


Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=FIELD)]


class Small(msgspec.Struct, gc=False):
    """What is read of an event that adds a piece of text, as most do."""

    type: str
    delta: str
    sequence_number: int | None = None
    output_index: Index = 0
    content_index: Index = 0
    summary_index: Index = 0
    command_index: Index = 0
    logprobs: Any = None


read_small = msgspec.json.Decoder(Small).decode


class Numbering:
    """Which output item of a stream is which: the indexes of a stream may have gaps that the whole response has not."""

    def __init__(self) -> None:
        self._types: dict[int, str] = {}
        self._indexes: dict[str, int] = {}

    def begin(self, index: int, item: Any) -> list[Call]:
        """Take note of an output item; returns the call it is, where it is one that was not heard of before."""
        if not isinstance(item, dict):
            return []
        new = index not in self._types
        self._types[index] = type_of(item)
        for key in _identifiers(item):
            self._indexes[key] = index
        return item_calls(item, index) if new else []

    def places(self, output: Any) -> list[int]:
        """Return the indexes that the items of a whole response had, by their identifiers, else by their place."""
        items = output if isinstance(output, list) else []
        fresh = max([len(items), *(index + 1 for index in self._types)])
        used: set[int] = set()
        found: list[int] = []
        for position, item in enumerate(items):
            item = item if isinstance(item, dict) else {}
            index = next((self._indexes[key] for key in _identifiers(item) if key in self._indexes), position)
            if index in used or self._types.get(index, type_of(item)) != type_of(item):
                index, fresh = fresh, fresh + 1
            used.add(index)
            found.append(index)
        return found


def _identifiers(item: dict[str, Any]) -> list[str]:
    return [item[key] for key in ("id", "call_id") if isinstance(item.get(key), str) and item[key]]


def splice(raw: bytes, text: str) -> bytes | None:
    """Replace the one `delta` of an event, or return None where that is not certain."""
    if raw.count(b'"delta"') != 1 or b"\\u" in raw:  # a name could be spelled in two ways
        return None
    found = _DELTA.search(raw)
    return raw[: found.start(1)] + strict_json.encode(text) + raw[found.end() :] if found is not None else None


def decoded(event: Event) -> dict[str, Any]:
    """Return the object that an event carries; an empty one where it carries none."""
    try:
        body = strict_json.decode(event.data or b"")
    except strict_json.InvalidJSON:
        return {}
    return body if isinstance(body, dict) else {}
