"""OpenAI's Responses: `POST .../v1/responses`, requests and whole answers; their streams have a file beside this.

Source: the OpenAI API reference, "Responses": create a model response, count input tokens, compact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from ... import json as strict_json
from ..framing import SSE, Framing
from ..sse import encode_event
from ..usage import Usage
from .base import Attachment, Call, Dialect, Place, Slot
from .openai_responses_events import (
    INCOMPLETE,
    TEXT,
    Step,
    delta_step,
    done_step,
    ended,
    frame_step,
    item_step,
    message,
    part,
    response,
)
from .openai_responses_items import (
    FIELDS,
    definitions,
    item_attachments,
    part_attachment,
    type_of,
    unreadable,
    unreadable_part,
)
from .openai_responses_object import item_calls, reasons, usage
from .openai_responses_stream import OpenAIResponsesStream
from .openai_responses_texts import ITEM, item_texts, part_texts, response_texts
from .walking import dicts, read_path

_PARAMETERS = {
    "max_output_tokens": (("max_output_tokens",),),
    "temperature": (("temperature",),),
    "top_p": (("top_p",),),
    "reasoning_effort": (("reasoning", "effort"),),
    "service_tier": (("service_tier",),),
}
_SYSTEM = frozenset({"system", "developer"})
_STORED = (("previous_response_id",), ("conversation",), ("prompt", "id"))
_STORED_OF_TOOLS = (("vector_store_ids",), ("container", "file_ids"), ("environment", "file_ids"))


class OpenAIResponses(Dialect):
    """Responses of OpenAI and the services that speak them."""

    name = "openai-responses"
    suffixes = ("/v1/responses",)
    hints = ("/responses", "/responses/input_tokens", "/responses/compact")
    conversation = "input"
    parameters = _PARAMETERS
    finish_reasons = INCOMPLETE | {"stop": "completed", "tool_calls": "completed"}

    # ------------------------------------------------------------------ requests

    def recognises(self, body: Any) -> bool:
        if not self.hinted(body) or not isinstance(body.get("model"), str) or not isinstance(body.get("input"), list):
            return False  # a text as `input` is what embeddings and speech have, too
        items = body["input"]
        return bool(items) and isinstance(items[0], dict) and type_of(items[0]) in FIELDS

    def hinted(self, body: Any) -> bool:
        if not isinstance(body, dict) or "messages" in body:
            return False
        return isinstance(body.get("input"), (str, list)) or isinstance(body.get("prompt"), dict)

    def readable(self, body: Any) -> str:
        if not isinstance(body, dict):
            return "the body is no JSON object"
        if "messages" in body:
            return "the body has messages, which are of another API"
        given, instructions, prompt = body.get("input"), body.get("instructions"), body.get("prompt")
        if not (given is None or isinstance(given, (str, list))):
            return "input is neither text nor a list of items"
        if given is None and prompt is None and not any(read_path(body, path) for path in _STORED):
            return "the body has neither input nor prompt"
        if not (instructions is None or isinstance(instructions, str)):
            return "instructions are no text"
        if not (prompt is None or isinstance(prompt, dict)):
            return "prompt is no object"
        variables = prompt.get("variables") if prompt else None
        if not (variables is None or isinstance(variables, dict)):
            return "the variables of the prompt are no object"
        if any(not isinstance(value, str) and unreadable_part(value) for value in (variables or {}).values()):
            return "a variable of the prompt is of unknown type"
        return next((why for item in (given if isinstance(given, list) else ()) if (why := unreadable(item))), "")

    def texts(self, body: Any) -> Iterator[Slot]:
        if not isinstance(body, dict):
            return
        if isinstance(body.get("instructions"), str):
            yield Slot(body, "instructions", "system", 0, "system")
        variables = read_path(body, ("prompt", "variables"))
        if isinstance(variables, dict):
            for number, (key, value) in enumerate(list(variables.items())):
                if isinstance(value, str):
                    yield Slot(variables, key, "variable", 0, "user", number)
                elif isinstance(value, dict):
                    yield from part_texts(value, "variable", 0, "user", number)
        given = body.get("input")
        if isinstance(given, str):
            yield Slot(body, "input", "content", 0, "user")
        for index, item in enumerate(given if isinstance(given, list) else ()):
            if isinstance(item, dict):
                yield from item_texts(item, index, 0)
        tools = body.get("tools")
        for number, tool in enumerate(tools if isinstance(tools, list) else ()):
            for holder, key in definitions([tool]):
                yield Slot(holder, key, "tool_definition", 0, "", number)
        for holder, key in definitions(body.get("text")):
            yield Slot(holder, key, "tool_definition", 0, "", -1)

    def attachments(self, body: Any) -> Iterator[Attachment]:
        if not isinstance(body, dict):
            return
        for path in _STORED:
            held = read_path(body, path)
            identifier = held.get("id") if isinstance(held, dict) else held
            if identifier:
                yield Attachment("stored", str(identifier))
        variables = read_path(body, ("prompt", "variables"))
        for value in variables.values() if isinstance(variables, dict) else ():
            if isinstance(value, dict):
                yield from part_attachment(value, 0)
        given = body.get("input")
        for index, item in enumerate(given if isinstance(given, list) else ()):
            if isinstance(item, dict):
                yield from item_attachments(item, index)
        for tool in dicts(body.get("tools")):
            for path in _STORED_OF_TOOLS:
                listed = read_path(tool, path)
                for identifier in listed if isinstance(listed, list) else ():
                    yield Attachment("stored", str(identifier))
            mask = tool.get("input_image_mask")
            if isinstance(mask, dict):
                yield from part_attachment({**mask, "type": "input_image"}, 0)

    def insert(self, body: Any, messages: Sequence[tuple[str, str]], *, at_end: bool) -> bool:
        if not isinstance(body, dict) or "messages" in body:
            return False
        given = body.get("input")
        if given is None and not any(read_path(body, path) for path in _STORED):
            return False
        if not (given is None or isinstance(given, (str, list))):
            return False
        own = body.get("instructions")
        own = own if isinstance(own, str) else ""
        texts: list[str] = []
        if not at_end and (own or not isinstance(given, list)):  # instructions stand before all input
            texts = [text for _, text in takewhile(lambda message: message[0] in _SYSTEM, messages)]
            if texts:
                body["instructions"] = "\n\n".join([*texts, *([own] if own else [])])
        items = [_message(role, text) for role, text in messages[len(texts) :]]
        if items:
            if not isinstance(given, list):
                given = body["input"] = [] if given is None else [_message("user", given)]
            place = len(given) if at_end else 0
            given[place:place] = items
        return True

    # ------------------------------------------------------------------ whole answers

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        return response_texts(body)

    def answer_calls(self, body: Any) -> Iterator[Call]:
        output = body.get("output") if isinstance(body, dict) else None
        for index, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict):
                yield from item_calls(item, index)

    def answer_reasons(self, body: Any) -> Iterator[str]:
        yield from reasons(body) if isinstance(body, dict) else ()

    def usage(self, body: Any) -> Usage | None:
        return usage(body.get("usage")) if isinstance(body, dict) else None

    def finish_answer(self, body: Any, index: int, reason: str, place: Place | None = None) -> None:
        if not isinstance(body, dict):
            return
        status = ended(body, reason)
        output = body.get("output")
        if place is None or not isinstance(output, list):
            return
        last = place[2] // ITEM
        del output[last + 1 :]  # what was not said is no item, least of all a call
        if output and isinstance(output[-1], dict) and "status" in output[-1]:
            output[-1]["status"] = status

    def open(self, framing: Framing = SSE) -> OpenAIResponsesStream:
        return OpenAIResponsesStream(framing)

    def answer(self, text: str, *, stream: bool, reason: str, model: str, identifier: str, created: int) -> bytes:
        begun = response(f"resp_{identifier}", model, created)
        whole = {**begun, "usage": _NOTHING}
        status = ended(whole, reason)
        content = part(TEXT, text)
        item = message(f"msg_{identifier}", status, [content])
        whole["output"] = [item]
        if not stream:
            return strict_json.encode(whole)
        steps: list[Step] = [
            ("response.created", {"response": begun}),
            ("response.in_progress", {"response": begun}),
            item_step("added", 0, message(f"msg_{identifier}", "in_progress", [])),
            frame_step(TEXT, "added", item, 0, part(TEXT, "")),
            delta_step(TEXT, item, 0, text),
            done_step(TEXT, item, 0, text),
            frame_step(TEXT, "done", item, 0, content),
            item_step("done", 0, item),
            (f"response.{status}", {"response": whole}),
        ]
        return b"".join(
            encode_event(strict_json.encode({"type": name, "sequence_number": number, **members}), name)
            for number, (name, members) in enumerate(steps)
        )


def _message(role: str, text: str) -> dict[str, str]:
    return {"type": "message", "role": role, "content": text}


_NOTHING = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
