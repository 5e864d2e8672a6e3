"""The output items of OpenAI's Responses: reasoning, messages, function calls, and how their texts are written.

Source: OpenAI API reference, "The response object" and "Streaming events".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .composition import Block, BlockKind, Composition

ITEM_PREFIX: Mapping[BlockKind, str] = {"reasoning": "rs", "text": "msg", "refusal": "msg", "tool": "fc"}


@dataclass(frozen=True, slots=True)
class Part:
    """How the text of an item is written."""

    type: str
    member: str
    """Where in the part its text is."""
    events: str
    """The events that carry the text are called this, and `.delta` and `.done`."""
    frame: str
    """The events around them are called this, and `.added` and `.done`."""
    place: str
    """The member of an event that says which part of the item is meant."""
    constant: Mapping[str, Any]
    """What else is in the part."""
    beside: Mapping[str, Any]
    """What else is in the events that carry the text."""

    def written(self, text: str) -> dict[str, Any]:
        """The part with this text."""
        return {"type": self.type, **self.constant, self.member: text}


TEXT = Part(
    "output_text",
    "text",
    "response.output_text",
    "response.content_part",
    "content_index",
    constant={"annotations": [], "logprobs": []},
    beside={"logprobs": []},
)
REFUSAL = Part("refusal", "refusal", "response.refusal", "response.content_part", "content_index", {}, {})
REASONING = Part("reasoning_text", "text", "response.reasoning_text", "response.content_part", "content_index", {}, {})
SUMMARY = Part(
    "summary_text",
    "text",
    "response.reasoning_summary_text",
    "response.reasoning_summary_part",
    "summary_index",
    constant={},
    beside={},
)


def part_of(composed: Composition, block: Block) -> Part:
    """How the text of a block is written."""
    if block.kind == "reasoning":
        return REASONING if composed.style.reasoning_text else SUMMARY
    return REFUSAL if block.kind == "refusal" else TEXT


def item_id(composed: Composition, place: int) -> str:
    """The name of the item of a block."""
    return f"{ITEM_PREFIX[composed.blocks[place].kind]}_{composed.number}_{place}"


def begun(composed: Composition, place: int) -> dict[str, Any]:
    """The item of a block of which nothing was said yet."""
    block = composed.blocks[place]
    return _item(composed, place, {"status": "in_progress"}, "" if block.kind == "tool" else [])


def done(composed: Composition, place: int) -> dict[str, Any]:
    """The item of a block with all that it says."""
    block = composed.blocks[place]
    content = block.text if block.kind == "tool" else [part_of(composed, block).written(block.text)]
    return _item(composed, place, {"status": "incomplete" if block.cut else "completed"}, content)


def _item(composed: Composition, place: int, status: Mapping[str, str], content: object) -> dict[str, Any]:
    block, identifier = composed.blocks[place], item_id(composed, place)
    if block.kind == "tool":
        called = {"arguments": content, "call_id": block.tool.id, "name": block.tool.name}
        return {"id": identifier, "type": "function_call", **status, **called}
    if block.kind == "reasoning":
        said = {"summary": [], "content": content} if composed.style.reasoning_text else {"summary": content}
        return {"id": identifier, "type": "reasoning", **said}
    return {"id": identifier, "type": "message", **status, "content": content, "role": "assistant"}
