"""The texts of OpenAI's Responses: of items in requests and answers, of content parts, of whole response objects.

The part of a text says its place: output item x ITEM + field of the item x FIELD + position in that field. Positions are
those of lists in JSON; a body that filled a FIELD would be larger than any bound.

Source: the OpenAI API reference, "Responses": input items, the response object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from .base import Slot
from .openai_responses_items import ANY, DEFINITIONS, FIELDS, IN_PARTS, NO_TEXTS, definitions, type_of
from .walking import dicts, read_path, strings

FIELD: Final = 1 << 32
ITEM: Final = 1 << 40
JOINED: Final = -1
"""The part of `output_text`, which some services send beside the items, where there is no item that has it."""
_KIND_OF_PART: Final = {"reasoning_text": "reasoning", "summary_text": "reasoning"}
_KIND_OF_ROLE: Final = {"system": "system", "developer": "system"}


class Written:
    """A content part whose text is told once more beside it: a change of one changes what depends on it."""

    __slots__ = ("_body", "_parts", "part")

    MAX_JOINED = 100

    def __init__(self, part: dict[str, Any], parts: Sequence[dict[str, Any]] = (), body: dict[str, Any] | None = None):
        self.part = part
        self._parts = parts
        self._body = body

    def __getitem__(self, key: str) -> Any:
        return self.part[key]

    def __setitem__(self, key: str, text: str) -> None:
        self.part[key] = text
        if self.part.get("logprobs"):
            self.part["logprobs"] = []  # they spell the tokens that were replaced
        if self._body is not None:
            if len(self._parts) <= self.MAX_JOINED:
                self._body["output_text"] = "".join(part["text"] for part in self._parts)
            else:  # joining once for each of many parts would take time with the square of them
                self._body.pop("output_text", None)


def item_texts(item: dict[str, Any], index: int, base: int, role: str = "") -> Iterator[Slot]:
    """Yield the texts of an item; `base` is what their parts begin at, `role` that of items that do not say."""
    name = type_of(item)
    own = item.get("role")
    role = own if isinstance(own, str) else role
    if not role:
        role = "tool" if name.endswith("_output") else "assistant"
    fields = FIELDS.get(name)
    if fields is None:  # what providers may add tomorrow: all that is no name of something
        for position, (holder, key) in enumerate(strings(item)):
            if holder is not item or key not in NO_TEXTS:
                yield Slot(holder, key, "content", index, role, base + position)
        return
    for number, (kind, path) in enumerate(fields):
        start = base + number * FIELD
        if name in IN_PARTS and not isinstance(item.get(path[0]), dict):
            kind = _KIND_OF_ROLE.get(role, kind) if name == "message" else kind
            yield from parts_texts(item, path[0], kind, index, role, start)
        else:
            for position, holder, key in _reach(item, path):
                yield Slot(holder, key, kind, index, role, start + position)
    if name in DEFINITIONS:
        start = base + len(fields) * FIELD
        for position, (holder, key) in enumerate(definitions(item.get("text" if "text" in item else "tools"))):
            yield Slot(holder, key, "tool_definition", index, role, start + position)


def parts_texts(holder: Any, key: Any, kind: str, index: int, role: str, start: int) -> Iterator[Slot]:
    """Yield the texts of what is a text or a list of content parts."""
    value = holder.get(key)
    if isinstance(value, str):
        yield Slot(holder, key, kind, index, role, start)
    elif isinstance(value, list):
        for position, part in enumerate(value):
            if isinstance(part, dict):
                yield from part_texts(part, kind, index, role, start + position)
            elif isinstance(part, str):
                yield Slot(value, position, kind, index, role, start + position)


def part_texts(part: dict[str, Any], kind: str, index: int, role: str, place: int) -> Iterator[Slot]:
    """Yield the texts of one content part."""
    holder = Written(part) if part.get("logprobs") else part
    for key, own in (("text", _KIND_OF_PART.get(str(part.get("type")), kind)), ("refusal", "refusal")):
        if isinstance(part.get(key), str):
            yield Slot(holder, key, own, index, role, place)
    if isinstance(part.get("transcript"), str):
        yield Slot(part, "transcript", "transcript", index, role, place)


def response_texts(body: Any, indexes: Sequence[int] | None = None) -> Iterator[Slot]:
    """Yield the texts of a response object; `indexes` are those of its output items where they are not their places."""
    if not isinstance(body, dict):
        return
    output = body.get("output")
    items = output if isinstance(output, list) else []
    joined: list[dict[str, Any]] = []
    again = isinstance(body.get("output_text"), str) and bool(body["output_text"])
    if again:
        contents = (part for item in dicts(items) for part in dicts(item.get("content")))
        joined = [p for p in contents if p.get("type") == "output_text" and isinstance(p.get("text"), str)]
    told_again = {id(part) for part in joined}
    for position, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        for slot in item_texts(item, 0, (position if indexes is None else indexes[position]) * ITEM):
            held = slot.container.part if isinstance(slot.container, Written) else slot.container
            if slot.key == "text" and id(held) in told_again:
                slot.container = Written(held, joined, body)
            yield slot
    if again and not joined:
        yield Slot(body, "output_text", "content", 0, "assistant", JOINED)


def _reach(holder: Any, path: Sequence[str]) -> Iterator[tuple[int, Any, Any]]:
    """Yield position, container and key of the texts at a path; of what should be a text and is none, all inside."""
    if ANY in path:
        outer, last = path[: path.index(ANY)], path[-1]
        found = read_path(holder, outer)
        if isinstance(found, list):
            for position, item in enumerate(found):
                if isinstance(item, str):
                    yield position, found, position
                elif isinstance(item, dict) and isinstance(item.get(last), str):
                    yield position, item, last
            return
        path = outer
    holder = read_path(holder, path[:-1])
    value = holder.get(path[-1]) if isinstance(holder, dict) else None
    if isinstance(value, str):
        yield 0, holder, path[-1]
    else:
        for position, (inner, key) in enumerate(strings(value)):
            yield position, inner, key
