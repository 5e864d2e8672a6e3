"""A streamed answer of OpenAI's Responses as far as it left, so that it can be ended where a plug-in finishes it.

Source: the OpenAI API reference, "Responses": streaming events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .base import Piece, Place
from .openai_responses_events import (
    ENDS,
    FORM_OF_PART,
    FORM_OF_TEXT,
    FRAMES,
    ITEMS,
    LIFECYCLE,
    TEXT,
    WHOLES,
    Form,
    Step,
    delta_step,
    done_step,
    ended,
    frame_step,
    item_step,
    message,
    number,
    part,
    part_of,
    response,
)
from .openai_responses_items import type_of
from .openai_responses_texts import FIELD, ITEM, item_texts
from .walking import dicts

ANNOTATION = "response.output_text.annotation.added"
NOTED = LIFECYCLE | ITEMS | FRAMES.keys() | WHOLES.keys() | {ANNOTATION}
"""Events that say more of the answer than a piece of its text."""

Texts = dict[Place, list[str]]


class _Item:
    """An output item that left, or began to."""

    __slots__ = ("closed", "done", "item", "parts", "shut")

    def __init__(self, item: dict[str, Any], done: bool = False) -> None:
        self.item = item
        self.done = done
        self.parts: dict[int, dict[str, Any]] = {}  # content parts that were begun
        self.shut: set[int] = set()  # those of them that were ended
        self.closed: set[int] = set()  # texts that were ended


class Draft:
    """What the events that left said of the answer, but for the pieces of its texts, which the pipeline keeps."""

    def __init__(self) -> None:
        self.response: dict[str, Any] | None = None
        self.over = False
        self._items: dict[int, _Item] = {}

    def note(self, name: str, body: dict[str, Any]) -> None:
        """Take note of an event that left."""
        if name in LIFECYCLE:
            self.over = self.over or name in ENDS
            told = body.get("response")
            if isinstance(told, dict):
                self.response = told
                for index, item in enumerate(dicts(told.get("output"))):
                    if index not in self._items:
                        self._items[index] = _Item(item, item.get("status") != "in_progress")
            return
        index = number(body.get("output_index"))
        if name in ITEMS:
            begun = body.get("item")
            if isinstance(begun, dict):
                held = self._items.setdefault(index, _Item(begun))
                held.item, held.done = begun, name.endswith(".done")
            return
        known = self._items.get(index)
        if known is None:
            return
        if name in FRAMES:
            position, field = FRAMES[name]
            place = part_of(body, field, position)
            if isinstance(body.get("part"), dict):
                known.parts[place] = body["part"]
            if name.endswith(".done"):
                known.shut.add(place)
        elif name == ANNOTATION:
            annotations = known.parts.get(part_of(body, 0, "content_index"), {}).get("annotations")
            if isinstance(annotations, list):
                annotations.append(body.get("annotation"))
        elif name.endswith(".done"):
            form = WHOLES[name]
            known.closed.add(part_of(body, form.field, form.position))

    def say(self, piece: Piece, said: Texts) -> list[Step]:
        """Return the events that add a text, beginning a content part or a message for it where there is none."""
        place = piece.part
        held = self._items.get(place // ITEM)
        if held is not None and not held.done and place not in held.closed:
            form = _form(held.item, piece.kind, place)
            if form is not None:
                return [*_begin(held, form, place), delta_step(form, held.item, place, piece.text)]
        if piece.kind != "content":
            return []  # half a tool call that nobody heard of is of no use to anybody
        index = max(self._items, default=-1) + 1
        _, _, stem = str((self.response or {}).get("id") or "").rpartition("_")
        held = self._items[index] = _Item(message(f"msg_{stem or 'gateway'}_{index}", "in_progress", []))
        opened = dict(held.item)
        if place != index * ITEM:  # it is no longer a text of the item that it was counted to
            place = index * ITEM
            if said.get(piece.place, [""])[-1] == piece.text:
                said[piece.place].pop()
            said[0, "content", place] = [piece.text]
        return [
            item_step("added", index, opened),
            *_begin(held, TEXT, place),
            delta_step(TEXT, held.item, place, piece.text),
        ]

    def finish(self, reason: str, said: Texts, base: dict[str, Any] | None) -> list[Step]:
        """Return the events that end what is open, then the answer. `base`: the response object to end with."""
        steps: list[Step] = []
        whole = dict(base or self.response or response("resp_gateway", "", 0))
        if self.response is None:
            steps.append(("response.created", {"response": {**whole, "status": "in_progress", "output": []}}))
        status = ended(whole, reason)
        texts: dict[int, dict[Place, str]] = {}
        for place, pieces in said.items():
            texts.setdefault(place[2] // ITEM, {})[place] = "".join(pieces)
        for index, held in sorted(self._items.items()):
            steps += self._ended(index, held, texts.get(index, {}), status)
        whole["output"] = [held.item for _, held in sorted(self._items.items())]
        self.over = True
        return [*steps, (f"response.{status}", {"response": whole})]

    @staticmethod
    def _ended(index: int, held: _Item, texts: Mapping[Place, str], status: str) -> Iterator[Step]:
        """Yield the events that end an item, and put what left of its texts into it."""
        item = held.item = dict(held.item)
        for slot in list(item_texts(item, 0, index * ITEM)):
            slot.container[slot.key] = texts.get(slot.place, "")
        if held.done:
            return
        written = {place[2]: (_form(item, place[1], place[2]), text) for place, text in texts.items()}
        for place, content in held.parts.items():
            written.setdefault(place, (FORM_OF_PART.get(str(content.get("type"))), ""))
        lists: dict[str, list[Any]] = {}
        for place, (form, text) in sorted(written.items()):
            if form is None:
                if place in held.parts:
                    lists.setdefault("content", []).append(held.parts[place])
                continue
            if place not in held.closed:
                yield done_step(form, item, place, text)
            if not form.frame:
                if form.position:
                    lists.setdefault(form.item, []).append(text)
                elif form.item == "apply_patch_call":
                    operation = item.get("operation")
                    item["operation"] = {**(operation if isinstance(operation, dict) else {}), form.member: text}
                else:
                    item[form.member] = text
                continue
            content = {**held.parts.get(place, part(form, "")), form.member: text}
            if place in held.parts and place not in held.shut:
                yield frame_step(form, "done", item, place, content)
            lists.setdefault("summary" if form.field else "content", []).append(content)
        if "shell_call" in lists:
            action = item.get("action")
            item["action"] = {**(action if isinstance(action, dict) else {}), "commands": lists.pop("shell_call")}
        item.update(lists)
        if "status" in item:
            item["status"] = status
        yield item_step("done", index, item)


def _form(item: dict[str, Any], kind: str, place: int) -> Form | None:
    return FORM_OF_TEXT.get((type_of(item), kind, place % ITEM // FIELD))


def _begin(held: _Item, form: Form, place: int) -> Iterator[Step]:
    if form.frame and place not in held.parts:
        held.parts[place] = part(form, "")
        yield frame_step(form, "added", held.item, place, part(form, ""))
