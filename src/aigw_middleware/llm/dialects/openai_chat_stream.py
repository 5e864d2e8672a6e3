"""The event streams of OpenAI chat completions.

Source: the OpenAI API reference, "Streaming" of chat completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ... import json as strict_json
from ..errors import error_object
from ..frame import Frame
from ..framing import SSE
from ..sse import Event
from ..usage import Usage
from .base import Call, Delta, DialectStream, Piece
from .openai_chat_texts import (
    DETAIL,
    EXECUTED,
    LEGACY,
    THOUGHT,
    TOOL,
    Repeated,
    detail_texts,
    listed_texts,
    repeats,
)
from .openai_shapes import ABSENT, Chunk, DeltaMessage, read_chunk, read_text
from .openai_usage import openai_usage
from .walking import dicts

DONE: Final = b"data: [DONE]\n\n"
_FIELD_OF_KIND = {"content": "content", "reasoning": "reasoning_content", "refusal": "refusal"}
_HEAD: Final = frozenset(
    {"id", "object", "model", "type", "event", "provider", "service_tier", "system_fingerprint", "request_id"}
)
"""Texts of an event that no model wrote."""


class OpenAIChatStream(DialectStream):
    """One stream of chat completion chunks. There is nothing to remember from one to the next."""

    def read(self, event: Event) -> Delta | None:
        data = event.data
        if data is None or data == b"[DONE]":
            return None
        try:
            chunk = read_chunk(data)
        except (ValueError, RecursionError):
            return None
        pieces: list[Piece] = []
        finished: list[int] = []
        reasons: list[str] = []
        calls: list[Call] = []
        for choice in chunk.choices or ():
            if choice.delta is not None:
                read_said(choice.index, choice.delta, pieces, calls)
            if choice.finish_reason:
                finished.append(choice.index)
                reasons.append(choice.finish_reason)
        usage = _usage_of(chunk)
        error = chunk.error is not ABSENT and bytes(chunk.error) != b"null"
        if chunk.choices is None and usage is None and not error and not tells_nothing(data):
            return None
        return Delta(
            pieces,
            finished,
            usage,
            chunk.model,
            error=error,
            usage_only=usage is not None and not chunk.choices,
            identifier=chunk.id,
            calls=calls,
            reasons=reasons,
            closed=[(piece.index, piece.part) for piece in pieces if piece.part >= EXECUTED],  # they come whole
        )

    def text_of(self, data: bytes) -> tuple[int, str] | None:
        try:
            chunk = read_text(data)
        except (ValueError, RecursionError):
            return None
        if len(chunk.choices) != 1 or chunk.usage is not None or chunk.error is not None:
            return None
        choice = chunk.choices[0]
        delta = choice.delta
        if (
            not delta.content
            or choice.finish_reason is not None
            or delta.reasoning_content is not None
            or delta.tool_calls is not None
            or delta.function_call is not None
            or delta.audio is not None
            or delta.reasoning is not None
            or delta.refusal is not None
            or delta.reasoning_details
            or delta.executed_tools
        ):
            return None
        return choice.index, delta.content

    def frame(self, event: bytes, piece: Piece) -> Frame | None:
        return Frame.of(event, b'"content"', piece) if piece.kind == "content" else None

    def ends(self, event: Event) -> bool:
        return event.data == b"[DONE]"

    def with_texts(self, event: Event, pieces: Sequence[Piece]) -> bytes:
        if len(pieces) == 1 and pieces[0].kind == "content" and b'"logprobs"' not in event.raw and self.framing is SSE:
            spliced = splice(event.raw, b'"content":', pieces[0].text)
            if spliced is not None:
                return spliced
        body = strict_json.decode(event.data or b"")
        for piece in pieces:
            for position, choice in enumerate(dicts(body.get("choices"))):
                if choice.get("index", position) != piece.index or not isinstance(choice.get("delta"), dict):
                    continue
                _set_text(choice["delta"], piece)
                if choice.get("logprobs") is not None:
                    choice["logprobs"] = None  # they describe the tokens that were replaced
        return self.encode(body, event)

    def without_usage(self, event: Event) -> Event:
        body = strict_json.decode(event.data or b"")
        if body.pop("usage", None) is None:
            return event  # where else it stands, it does whether or not it is asked for
        return self.framing.event(self.encode(body, event))

    def text_event(self, template: Event, piece: Piece) -> bytes:
        body = template_of(template)
        delta: dict[str, Any] = {}
        if piece.kind == "transcript":
            delta["audio"] = {"transcript": piece.text}
        elif piece.part == LEGACY:
            delta["function_call"] = {"arguments": piece.text}
        elif piece.part >= EXECUTED:
            member = "arguments" if piece.kind == "tool_arguments" else "output"
            delta["executed_tools"] = [{"index": 0, member: piece.text}]
        elif piece.kind == "reasoning" and piece.part >= DETAIL:
            delta["reasoning_details"] = [_detail(piece.text, piece.part - DETAIL)]
        elif piece.kind == "reasoning" and piece.part >= THOUGHT:
            delta["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": piece.text}]}]
        elif piece.kind == "tool_arguments":
            name, key = ("custom", "input") if b'"custom"' in (template.data or b"") else ("function", "arguments")
            delta["tool_calls"] = [{"index": piece.part - TOOL, name: {key: piece.text}}]
        else:
            delta[_field(piece)] = piece.text
            if piece.kind == "reasoning" and b'"reasoning_details"' in (template.data or b""):
                delta["reasoning_details"] = [_detail(piece.text, 0)]
        body["choices"] = [{"index": piece.index, "delta": delta, "finish_reason": None}]
        return self.encode(body, template)

    def finish_events(self, template: Event | None, indexes: Sequence[int], reason: str) -> bytes:
        body = template_of(template)
        out = []
        for index in indexes or (0,):
            body["choices"] = [self.ending(index, reason)]
            out.append(self.encode(body))
        return b"".join([*out, DONE if self.framing is SSE else b""])

    def ending(self, index: int, reason: str) -> dict[str, Any]:
        """Return the choice of an event that ends it."""
        return {"index": index, "delta": {}, "finish_reason": reason}

    def error_event(self, status: int, code: str, text: str) -> bytes:
        return self.encode(error_object("openai", status, code, text))


def template_of(event: Event | None) -> dict[str, Any]:
    """Return what an event made like another has in common with it: without its usage, and empty where it has no JSON."""
    try:
        body = strict_json.decode(event.data or b"") if event is not None else None
    except strict_json.InvalidJSON:
        body = None
    if not isinstance(body, dict):
        return {}
    if body.get("usage") is not None:
        body["usage"] = None
    return body


def read_said(
    index: int,
    said: DeltaMessage,
    pieces: list[Piece],
    calls: list[Call],
    *,
    whole: bool = False,
) -> None:
    """Collect the texts of one choice's delta or message; tool calls of a whole message are numbered by their place."""
    if said.reasoning_content:
        pieces.append(Piece(index, "reasoning", 0, said.reasoning_content))
    if said.reasoning:
        pieces.append(Piece(index, "reasoning", 1, said.reasoning))
    content = said.content
    if content and isinstance(content, str):
        pieces.append(Piece(index, "content", 0, content))
    if said.refusal:
        pieces.append(Piece(index, "refusal", 0, said.refusal))
    if isinstance(content, list) or said.reasoning_details or said.executed_tools:
        listed = {
            "content": content,
            "reasoning": said.reasoning,
            "reasoning_content": said.reasoning_content,
            "reasoning_details": said.reasoning_details,
            "executed_tools": said.executed_tools,
        }
        pieces += [Piece(*slot.place, slot.text) for slot in listed_texts(listed, index) if slot.text]
    if said.audio is not None and said.audio.transcript:
        pieces.append(Piece(index, "transcript", 0, said.audio.transcript))
    if said.function_call is not None and said.function_call.arguments:
        pieces.append(Piece(index, "tool_arguments", LEGACY, said.function_call.arguments))
    for number, call in enumerate(said.tool_calls or ()):
        part = TOOL + (number if whole else call.index)
        for called, text in (
            (call.function, call.function and call.function.arguments),
            (call.custom, call.custom and call.custom.input),
        ):
            if called is None:
                continue
            if called.name:
                calls.append(Call(index, part, call.id or "", called.name))
            if text:
                pieces.append(Piece(index, "tool_arguments", part, text))


def splice(raw: bytes, member: bytes, text: str) -> bytes | None:
    """Replace the value of the one `member` (`"name":`) of an event, or return None when that is not unambiguous."""
    start = raw.find(member)
    name = member[1:-2]
    if start < 0 or raw.find(name, start + len(member)) >= 0 or raw.find(b"\\u") >= 0 or raw.find(name) != start + 1:
        return None
    start += len(member)
    while raw[start : start + 1] == b" ":
        start += 1
    if raw[start : start + 1] != b'"':
        return None
    end = start + 1
    while True:
        end = raw.find(b'"', end)
        if end < 0:
            return None
        slashes = end - len(raw[:end].rstrip(b"\\"))
        if slashes % 2 == 0:
            break
        end += 1
    return raw[:start] + strict_json.encode(text) + raw[end + 1 :]


def tells_nothing(data: bytes) -> bool:
    """Whether an event without choices holds no text, either: names, numbers and flags at most."""
    body = strict_json.decode(data)
    return isinstance(body, dict) and all(
        name in _HEAD or not value or not isinstance(value, (str, list, dict)) for name, value in body.items()
    )


def _usage_of(chunk: Chunk) -> Usage | None:
    """Return the usage of an event: of its own, of Groq's member, or of a choice as Moonshot has it."""
    if chunk.usage is not ABSENT and bytes(chunk.usage) != b"null":
        return openai_usage(strict_json.decode(bytes(chunk.usage)))
    if isinstance(chunk.x_groq, dict) and chunk.x_groq.get("usage"):
        return openai_usage(chunk.x_groq["usage"])
    for choice in chunk.choices or ():
        if choice.usage:
            return openai_usage(choice.usage)
    return None


def _field(piece: Piece) -> str:
    return "reasoning" if piece.kind == "reasoning" and piece.part == 1 else _FIELD_OF_KIND[piece.kind]


def _detail(text: str, index: int) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "index": index}


def _set_text(delta: dict[str, Any], piece: Piece) -> None:
    for slot in listed_texts(delta, piece.index):
        if slot.place == piece.place:
            slot.container[slot.key] = piece.text
            return
    if piece.kind == "transcript":
        delta["audio"]["transcript"] = piece.text
        return
    if piece.part == LEGACY:
        delta["function_call"]["arguments"] = piece.text
        return
    if piece.kind == "tool_arguments":
        for position, call in enumerate(dicts(delta.get("tool_calls"))):
            if call.get("index", position) == piece.part - TOOL:
                for name, key in (("function", "arguments"), ("custom", "input")):
                    if isinstance(call.get(name), dict) and call[name].get(key):
                        call[name][key] = piece.text
        return
    field = _field(piece)
    details = detail_texts(delta.get("reasoning_details"), piece.index, "assistant")
    holder: Any = Repeated(delta, details) if repeats(delta, field, details) else delta
    holder[field] = piece.text
