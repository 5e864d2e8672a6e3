"""The events of OpenAI's Responses: which of them tell texts, where in them, and how they are written.

Source: the OpenAI API reference, "Responses": streaming events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from .base import Place, Slot
from .openai_responses_texts import FIELD, ITEM, Written, item_texts, part_texts, response_texts
from .walking import dicts

Step: TypeAlias = tuple[str, dict[str, Any]]
"""Name and members of an event that is to be written."""


class Form(msgspec.Struct, frozen=True):
    """How texts of one sort are told: piece by piece in events `<stem>.delta`, whole in `<stem>.done`."""

    stem: str
    item: str
    """The type of the items that have such texts."""
    kind: str
    field: int
    """The number of the field of the item, as the parts of texts have it."""
    member: str
    """Where the whole text stands in `.done`, and in the content part or the item."""
    position: str = ""
    """The member of the events that says the place in the field."""
    frame: str = ""
    """Content parts are told by events `<frame>.added` and `<frame>.done` around those of their text."""
    part: str = ""
    """The type of the content part."""


_CONTENT: Final = ("content_index", "response.content_part")
_SUMMARY: Final = ("summary_index", "response.reasoning_summary_part")
TEXT: Final = Form("response.output_text", "message", "content", 0, "text", *_CONTENT, "output_text")
_FORMS: Final = (
    TEXT,
    Form("response.refusal", "message", "refusal", 0, "refusal", *_CONTENT, "refusal"),
    Form("response.reasoning_text", "reasoning", "reasoning", 0, "text", *_CONTENT, "reasoning_text"),
    Form("response.reasoning_summary_text", "reasoning", "reasoning", 1, "text", *_SUMMARY, "summary_text"),
    Form("response.function_call_arguments", "function_call", "tool_arguments", 0, "arguments"),
    Form("response.custom_tool_call_input", "custom_tool_call", "tool_arguments", 0, "input"),
    Form("response.mcp_call_arguments", "mcp_call", "tool_arguments", 0, "arguments"),
    Form("response.code_interpreter_call_code", "code_interpreter_call", "tool_arguments", 0, "code"),
    Form("response.shell_call_command", "shell_call", "tool_arguments", 0, "command", "command_index"),
    Form("response.apply_patch_call_operation_diff", "apply_patch_call", "tool_arguments", 0, "diff"),
    Form("response.audio.transcript", "", "transcript", 9, "transcript"),  # of no item: a field that none has
)
DELTAS: Final[Mapping[str, Form]] = {f"{form.stem}.delta": form for form in _FORMS}
WHOLES: Final[Mapping[str, Form]] = {f"{form.stem}.done": form for form in _FORMS} | {
    f"{form.stem}.added": form for form in _FORMS if form.item == "shell_call"
}
FORM_OF_TEXT: Final[Mapping[tuple[str, str, int], Form]] = {(form.item, form.kind, form.field): form for form in _FORMS}
FORM_OF_PART: Final[Mapping[str, Form]] = {form.part: form for form in _FORMS if form.part}
FRAMES: Final[Mapping[str, tuple[str, int]]] = {
    f"{frame}.{end}": (position, field)
    for frame, position, field in (
        ("response.content_part", "content_index", 0),
        ("response.reasoning_part", "content_index", 0),  # as vLLM calls it
        ("response.reasoning_summary_part", "summary_index", 1),
    )
    for end in ("added", "done")
}
OUTPUT: Final = "response.shell_call_output_content.delta"
OUTPUTS: Final = "response.shell_call_output_content.done"
_STREAMS: Final = ("stdout", "stderr")
"""What a command wrote, in the order of the fields of its item; an event adds to them, another tells them whole."""
ITEMS: Final = frozenset({"response.output_item.added", "response.output_item.done"})
ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
LIFECYCLE: Final = ENDS | {"response.created", "response.queued", "response.in_progress"}
SILENT: Final = frozenset(
    {
        "response.audio.delta",
        "response.audio.done",
        "response.image_generation_call.partial_image",
        "response.output_text.annotation.added",
    }
)
"""Events that carry something, but no text of the answer."""
_NAMES: Final = frozenset({"type", "item_id", "id", "response_id", "object", "status", "obfuscation"})


def number(value: object) -> int:
    """Return an index; 0 for what is none, so that its text is seen all the same."""
    return value if type(value) is int and 0 <= value < FIELD else 0


def part_of(body: dict[str, Any], field: int, position: str) -> int:
    """Return the part of the text that an event speaks of."""
    return number(body.get("output_index")) * ITEM + field * FIELD + (number(body.get(position)) if position else 0)


def place_of(body: dict[str, Any], form: Form) -> Place:
    """Return the place of the text that an event of this form tells."""
    return 0, form.kind, part_of(body, form.field, form.position)


def event_texts(body: dict[str, Any], name: str, indexes: Sequence[int] | None = None) -> Iterator[Slot]:
    """Yield the texts of an event; `indexes` are those of the output items where it tells a whole response."""
    form, key = DELTAS.get(name), "delta"
    if form is None:
        form = WHOLES.get(name)
        key = form.member if form is not None else ""
    if form is not None:
        if isinstance(body.get(key), str):
            yield Slot(Written(body), key, form.kind, 0, "assistant", place_of(body, form)[2])
    elif name in FRAMES:
        if isinstance(body.get("part"), dict):
            position, field = FRAMES[name]
            kind = "reasoning" if field else "content"
            yield from part_texts(body["part"], kind, 0, "assistant", part_of(body, field, position))
    elif name in ITEMS:
        if isinstance(body.get("item"), dict):
            yield from item_texts(body["item"], 0, part_of(body, 0, ""))
    elif name in (OUTPUT, OUTPUTS):
        told = body.get("delta") if name == OUTPUT else body.get("output")
        for entry, written in enumerate([told] if name == OUTPUT else dicts(told)):
            for field, key in enumerate(_STREAMS):
                if isinstance(written, dict) and isinstance(written.get(key), str):
                    place = part_of(body, field, "command_index") + entry
                    yield Slot(written, key, "tool_result", 0, "tool", place)
    elif name in LIFECYCLE:
        yield from response_texts(body.get("response"), indexes)


def tells_nothing(body: dict[str, Any], name: str) -> bool:
    """Whether an event of a name that is not known here holds no text: names, numbers and flags at most."""
    return name in SILENT or all(
        key in _NAMES if isinstance(value, str) else not isinstance(value, (dict, list)) or not value
        for key, value in body.items()
    )


def part(form: Form, text: str) -> dict[str, Any]:
    """Return a content part with this text."""
    return {"type": form.part, **({"annotations": [], "logprobs": []} if form is TEXT else {}), form.member: text}


def message(identifier: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an output item that is a message."""
    return {"id": identifier, "type": "message", "status": status, "role": "assistant", "content": content}


def at(form: Form, item: dict[str, Any], place: int) -> dict[str, Any]:
    """Return the members of an event that say where the text is whose part `place` is."""
    members = {"item_id": str(item.get("id") or ""), "output_index": place // ITEM}
    return {**members, form.position: place % FIELD} if form.position else members


def delta_step(form: Form, item: dict[str, Any], place: int, text: str) -> Step:
    """Return the event that adds `text`."""
    beside: dict[str, Any] = {"logprobs": []} if form is TEXT else {}
    return f"{form.stem}.delta", {**at(form, item, place), "delta": text, **beside}


def done_step(form: Form, item: dict[str, Any], place: int, text: str) -> Step:
    """Return the event that ends a text."""
    beside: dict[str, Any] = {"logprobs": []} if form is TEXT else {}
    return f"{form.stem}.done", {**at(form, item, place), form.member: text, **beside}


def frame_step(form: Form, end: str, item: dict[str, Any], place: int, content: dict[str, Any]) -> Step:
    """Return the event that begins (`added`) or ends (`done`) a content part."""
    return f"{form.frame}.{end}", {**at(form, item, place), "part": content}


def item_step(end: str, index: int, item: dict[str, Any]) -> Step:
    """Return the event that begins (`added`) or ends (`done`) an output item."""
    return f"response.output_item.{end}", {"output_index": index, "item": item}


def response(identifier: str, model: str, created: int) -> dict[str, Any]:
    """Return a response object that says nothing yet, with all members that the API promises."""
    return {
        "id": identifier,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
        "metadata": {},
    }


def ended(body: dict[str, Any], reason: str) -> str:
    """Set the status for one of OpenAI's finish reasons; returns it."""
    why = INCOMPLETE.get(reason)
    status = "incomplete" if why else "completed"
    body["status"], body["incomplete_details"] = status, {"reason": why} if why else None
    return status


INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
