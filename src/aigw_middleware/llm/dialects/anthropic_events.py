"""What the events of a streamed Anthropic message carry.

Source: the Anthropic API reference, "Streaming messages".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ... import json as strict_json
from ..sse import UNPARSED, Event
from .anthropic_blocks import LEAF, block_slots, leaves, type_of
from .base import Slot

DELTAS: Final = {
    "text_delta": ("content", "text"),
    "thinking_delta": ("reasoning", "thinking"),
    "input_json_delta": ("tool_arguments", "partial_json"),
}
"""Kind of the text that a type of delta carries, and the member it stands in."""
TOLD_AT_ONCE: Final = frozenset({"citations_delta", "compaction_delta"})
"""Types of deltas that carry whole texts, not pieces of one."""


def event_slots(body: Any, placed: int = 0) -> Iterator[Slot]:
    """Yield the texts that an event carries; those inside of a block are numbered from `placed` on."""
    form, number = type_of(body), number_of(body)
    if form == "message_start":
        begun = body.get("message")
        content = begun.get("content") if isinstance(begun, dict) else None
        for position, block in enumerate(content if isinstance(content, list) else ()):
            yield from block_slots(block, position)
    elif form == "content_block_start":
        for slot in block_slots(body.get("content_block"), number):
            slot.part += placed if slot.part >= LEAF else 0
            yield slot
    elif form == "content_block_delta":
        delta = body.get("delta")
        if type_of(delta) in DELTAS:
            kind, member = DELTAS[delta["type"]]
            if isinstance(delta.get(member), str):
                yield Slot(delta, member, kind, 0, "assistant", number)
        elif type_of(delta) in TOLD_AT_ONCE:
            for place, (holder, key) in enumerate(leaves(delta, blocks=True), placed):
                yield Slot(holder, key, "document", 0, "assistant", (number + 1) * LEAF + place)


def number_of(body: Any) -> int:
    """Return the number of the block that an event is about."""
    number = body.get("index") if isinstance(body, dict) else None
    return number if type(number) is int and 0 <= number < LEAF else 0


def body_of(event: Event | None) -> Any:
    """Return the JSON object of an event, decoded once; None where it has none."""
    if event is None:
        return None
    if event.parsed is UNPARSED:
        try:
            event.parsed = strict_json.decode(event.data) if event.data else None
        except strict_json.InvalidJSON:
            event.parsed = None
    return event.parsed if isinstance(event.parsed, dict) else None


def message(identifier: str, model: str, content: list[Any], reason: str | None, output_tokens: int) -> dict[str, Any]:
    """Return a message object as the API has it; `reason` in its words."""
    return {
        "id": f"msg_{identifier}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": output_tokens},
    }
