"""The texts of a chat completion's message that stand in lists: content parts, details of reasoning, tools that ran.

A whole message and what a stream event adds to one have them in the same members, so that one walk serves both.

Source: the OpenAI API reference, "Chat completions"; parts of type `thinking`, `reference` and `document_url` as Mistral
has them, `reasoning_details` as OpenRouter, `executed_tools` as Groq, `input_text` and its like as vLLM takes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .base import Attachment, Slot
from .walking import dicts, strings

PARTS: Final = {
    "text": "",
    "refusal": "",
    "input_text": "",
    "output_text": "",
    "thinking": "",
    "reference": "",
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio_url": "audio",
    "audio": "audio",
    "video_url": "video",
    "video": "video",
    "file": "file",
    "file_url": "file",
    "input_file": "file",
    "document_url": "file",
}
"""What a type of content part is: text, or something that holds none that could be read here."""

THOUGHT: Final = 2  # parts of reasoning are numbered from here where content parts tell it
DETAIL: Final = 500  # and from here where `reasoning_details` do
LEGACY: Final = 999  # the part of a `function_call`, which came before tool calls
TOOL: Final = 1_000  # parts of tool arguments are numbered from here; 1 tells `reasoning` from its namesake, 0
EXECUTED: Final = 1 << 20  # parts of what tools of the provider were asked and said are numbered from here

_SOURCES: Final = ("url", "data", "file_data", "file_id", "file_url")
_ELSEWHERE: Final = ("image_url", "file_url")
_NAMES: Final = frozenset({"type", "name", "id", "url"})


def part_texts(parts: Any, kind: str, index: int, role: str) -> Iterator[Slot]:
    """Yield the texts of a list of content parts, numbered without the parts that have none: events have them so."""
    said = thoughts = 0
    for part in dicts(parts):
        for key in ("text", "refusal"):
            if isinstance(part.get(key), str):
                yield Slot(part, key, kind, index, role, said)
                said += 1
        thinking = part.get("thinking")
        if isinstance(thinking, str):
            yield Slot(part, "thinking", "reasoning", index, role, THOUGHT + thoughts)
            thoughts += 1
        for inner in dicts(thinking):
            if isinstance(inner.get("text"), str):
                yield Slot(inner, "text", "reasoning", index, role, THOUGHT + thoughts)
                thoughts += 1


def part_attachments(part: dict[str, Any], index: int) -> Iterator[Attachment]:
    """Yield what a content part carries or points to that is no text."""
    name = str(part.get("type"))
    kind = PARTS.get(name, "")
    if not kind:
        return
    held = next((part[key] for key in (name, *_ELSEWHERE) if part.get(key)), None)
    detail = part.get("detail")
    for one in held if isinstance(held, list) else [held]:  # a video may be a list of its pictures
        source = one
        if isinstance(one, dict):
            source = next((one[key] for key in _SOURCES if one.get(key)), "")
            detail = one.get("detail") or detail
        yield Attachment(kind, str(source or part.get("file_id") or ""), index, str(detail or ""))


class Repeated:
    """What holds reasoning that `reasoning_details` say once more: they follow a change of it."""

    __slots__ = ("_details", "_holder")

    def __init__(self, holder: dict[str, Any], details: list[Slot]) -> None:
        self._holder = holder
        self._details = details

    def __getitem__(self, key: str) -> Any:
        return self._holder[key]

    def __setitem__(self, key: str, text: str) -> None:
        if text == self._holder[key]:
            return
        self._holder[key] = text
        for slot in self._details:
            slot.container[slot.key], text = text, ""


def detail_texts(details: Any, index: int, role: str) -> list[Slot]:
    """Return the texts of `reasoning_details`; what is encrypted, only the provider can read."""
    found: dict[int, Slot] = {}
    for position, detail in enumerate(dicts(details)):
        told = detail.get("index")
        number = told if type(told) is int and 0 <= told < LEGACY - DETAIL else position
        for key in ("text", "summary"):
            if isinstance(detail.get(key), str):
                while number in found:
                    number += LEGACY
                found[number] = Slot(detail, key, "reasoning", index, role, DETAIL + number)
    return list(found.values())


def repeats(message: Mapping[str, Any], field: str, details: list[Slot]) -> bool:
    """Whether `reasoning_details` say what one of the members with the reasoning does, and no more."""
    text = message.get(field)
    return bool(details) and isinstance(text, str) and text == "".join(slot.text for slot in details)


def executed_texts(tools: Any, index: int) -> Iterator[Slot]:
    """Yield what tools of the provider were asked, and what they said."""
    for number, (holder, key) in enumerate(strings(tools)):
        if key not in _NAMES:
            kind = "tool_arguments" if key == "arguments" else "tool_result"
            yield Slot(holder, key, kind, index, "assistant", EXECUTED + number)


def listed_texts(message: Mapping[str, Any], index: int) -> Iterator[Slot]:
    """Yield the texts of an answer's message, or of what an event adds to it, that stand in its lists."""
    yield from part_texts(message.get("content"), "content", index, "assistant")
    details = detail_texts(message.get("reasoning_details"), index, "assistant")
    if not any(repeats(message, field, details) for field in ("reasoning", "reasoning_content")):
        yield from details
    yield from executed_texts(message.get("executed_tools"), index)
