"""The event streams of Anthropic messages, as server-sent events and in Bedrock's messages.

A block's number in the message is the `part` of its text. What a block tells in one piece (a search's results, a tool
call's arguments given at once, a citation) has parts from `LEAF` on, and ends with the event it stands in.

Source: the Anthropic API reference, "Streaming messages"; the Bedrock API reference, InvokeModelWithResponseStream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ... import json as strict_json
from ..aws_eventstream import Message, encode_exception
from ..errors import error_object
from ..frame import Frame
from ..framing import AWS_EVENT_STREAM, SSE, Framing
from ..sse import Event
from .anthropic_blocks import CALLS, LEAF, call_of, leaves, type_of
from .anthropic_events import DELTAS, TOLD_AT_ONCE, body_of, event_slots, message, number_of
from .anthropic_usage import anthropic_usage
from .base import Delta, DialectStream, Piece, Place
from .openai_chat_stream import splice

STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_WRITTEN = {kind: (name, member) for name, (kind, member) in DELTAS.items()}
_OPENING: dict[str, dict[str, str]] = {
    "content": {"type": "text", "text": ""},
    "reasoning": {"type": "thinking", "thinking": "", "signature": ""},
}
_KIND_OF_BLOCK = {"text": "content", "thinking": "reasoning", **dict.fromkeys(CALLS, "tool_arguments")}
_EXCEPTIONS = {429: "throttlingException", 503: "serviceUnavailableException", 504: "modelTimeoutException"}


class AnthropicStream(DialectStream):
    """One stream of a message: its beginning, its blocks with their deltas, its end."""

    def __init__(self, framing: Framing = SSE) -> None:
        super().__init__(framing)
        self._started = False
        self._over = False
        self._open: dict[int, str] = {}  # kind of text of each block whose end did not leave yet
        self._next = 0  # the number of the block after those that left
        self._placed: dict[int, int] = {}  # how many texts inside of each block were read
        self._moved: dict[Place, int] = {}  # texts that left in a block of their own
        self._at_once: dict[Place, str] = {}  # what is left of a block told in one piece, where the answer ends in it
        self._at_once_of: Event | None = None
        self._output = 0

    # ------------------------------------------------------------------ reading

    def read(self, event: Event) -> Delta | None:
        if isinstance(event, Message) and event.message_type in ("exception", "error"):
            return self._failure()
        body = body_of(event)
        match type_of(body):
            case "content_block_start" | "content_block_delta":
                return self._told(body)
            case "content_block_stop":
                self._placed.pop(number_of(body), None)
                return Delta(closed=[(0, number_of(body))])
            case "message_start":
                message = body.get("message")
                message = message if isinstance(message, dict) else {}
                model, identifier = message.get("model"), message.get("id")
                slots = list(event_slots(body))
                return self._counted(
                    Delta(
                        [Piece(*slot.place, slot.text) for slot in slots if slot.text],
                        closed=[(0, slot.part) for slot in slots],
                        usage=anthropic_usage(message.get("usage"), partial=True),
                        model=model if isinstance(model, str) else None,
                        identifier=identifier if isinstance(identifier, str) else None,
                    )
                )
            case "message_delta":
                delta = body.get("delta")
                reason = delta.get("stop_reason") if isinstance(delta, dict) else None
                reasons = [reason] if isinstance(reason, str) and reason else []
                return self._counted(
                    Delta(finished=[0] * len(reasons), usage=anthropic_usage(body.get("usage")), reasons=reasons)
                )
            case "ping":
                return Delta()
            case "error":
                return self._failure()
        return None

    def _failure(self) -> Delta:
        # What was held back must leave before it: the client reads nothing behind an error.
        return Delta(error=True, closed=[(0, number) for number in self._open])

    def _counted(self, delta: Delta) -> Delta:
        if delta.usage is not None:
            self._output = max(self._output, delta.usage.output_tokens)
        return delta

    def _told(self, body: Any) -> Delta | None:
        number, delta, block = number_of(body), body.get("delta"), body.get("content_block")
        begins = body["type"] == "content_block_start"
        form = type_of(block if begins else delta)
        if not begins:
            if form in DELTAS:  # nearly every event
                kind, member = DELTAS[form]
                text = delta.get(member)
                return Delta([Piece(0, kind, number, text)] if isinstance(text, str) and text else ())
            if form == "signature_delta":  # the thinking that it signs has been told
                return Delta(closed=[(0, number)])
            if form not in TOLD_AT_ONCE:
                return None
        elif not form:
            return None
        placed = self._placed.get(number, 0)
        slots = list(event_slots(body, placed))
        parts = [slot.part for slot in slots if slot.part >= LEAF]
        if parts:
            self._placed[number] = placed + len(parts)
        return Delta(
            [Piece(*slot.place, slot.text) for slot in slots if slot.text],
            calls=list(call_of(block, number)) if begins else (),
            closed=[(0, part) for part in parts],
        )

    def opaque(self, event: Event) -> bool:
        data = event.data
        if not data or data == b"[DONE]":
            return False
        body = body_of(event)
        return body is None or any(key not in ("type", "id") for _, key in leaves(body))

    def ends(self, event: Event) -> bool:
        return b'"message_stop"' in (event.data or b"") and type_of(body_of(event)) == "message_stop"

    def frame(self, event: bytes, piece: Piece) -> Frame | None:
        written = _WRITTEN.get(piece.kind)
        return Frame.of(event, b'"%b"' % written[1].encode(), piece) if written and self.framing is SSE else None

    def sent(self, event: Event, delta: Delta) -> None:
        body = body_of(event)
        match type_of(body):
            case "message_start":
                self._started = True
                message = body.get("message")
                content = message.get("content") if isinstance(message, dict) else None
                self._next = len(content) if isinstance(content, list) else 0
            case "content_block_start":
                self._begun(number_of(body), _KIND_OF_BLOCK.get(type_of(body.get("content_block")), ""))
            case "content_block_stop":
                self._open.pop(number_of(body), None)
            case "message_delta":
                self._over = self._over or bool(delta.finished)

    def _begun(self, number: int, kind: str) -> None:
        self._open[number] = kind
        self._next = max(self._next, number + 1)

    # ------------------------------------------------------------------ writing

    def with_texts(self, event: Event, pieces: Sequence[Piece]) -> bytes:
        if len(pieces) == 1 and self.framing is SSE and pieces[0].kind in _WRITTEN:
            name, member = _WRITTEN[pieces[0].kind]
            spliced = splice(event.raw, b'"%b","%b":' % (name.encode(), member.encode()), pieces[0].text)
            if spliced is not None:
                return spliced
        return self._rewritten(event, {piece.place: piece.text for piece in pieces})

    def _rewritten(self, event: Event, texts: dict[Place, str], rest: str | None = None) -> bytes:
        """Return the event with other texts; those that `texts` does not have are `rest`, or stay."""
        if body_of(event) is None:
            return event.raw
        body = strict_json.decode(event.data or b"null")  # anew: what was read once may be in others' hands
        placed = self._placed.get(number_of(body), 0) - sum(slot.part >= LEAF for slot in event_slots(body))
        for slot in event_slots(body, max(placed, 0)):
            text = texts.get(slot.place, rest)
            if text is not None:
                slot.container[slot.key] = text
        return self.encode(body, event)

    def text_event(self, template: Event, piece: Piece) -> bytes:
        if piece.part >= LEAF or piece.kind not in _WRITTEN:
            self._at_once[piece.place] = piece.text
            self._at_once_of = template
            return b""  # its block leaves in one piece, with the end
        out = [self._beginning(template)]
        number = self._moved.get(piece.place, piece.part)
        if self._open.get(number) != piece.kind:
            opening = _OPENING.get(piece.kind)
            if opening is None:
                return b""  # arguments of a call that nobody began
            number = self._moved[piece.place] = self._next
            self._begun(number, piece.kind)
            start = {"type": "content_block_start", "index": number, "content_block": opening}
            out.append(self._event(start, template))
        name, member = _WRITTEN[piece.kind]
        delta = {"type": name, member: piece.text}
        out.append(self._event({"type": "content_block_delta", "index": number, "delta": delta}, template))
        return b"".join(out)

    def _beginning(self, template: Event | None) -> bytes:
        if self._started:
            return b""
        self._started = True
        body = body_of(template)
        if template is not None and type_of(body) == "message_start" and isinstance(body.get("message"), dict):
            if not body["message"].get("content"):
                return template.raw
            return self.encode({**body, "message": {**body["message"], "content": []}}, template)
        return self._event({"type": "message_start", "message": message("", "", [], None, self._output)})

    def finish_events(self, template: Event | None, indexes: Sequence[int], reason: str) -> bytes:
        out = [self._beginning(template)]
        if self._at_once_of is not None:
            out.append(self._last_block(self._at_once_of))
        out += [self._event({"type": "content_block_stop", "index": number}) for number in self._open]
        self._open.clear()
        if not self._over:
            end = {"stop_reason": STOP_REASONS.get(reason, reason), "stop_sequence": None}
            out.append(self._event({"type": "message_delta", "delta": end, "usage": {"output_tokens": self._output}}))
        return b"".join([*out, self._event({"type": "message_stop"})])

    def _last_block(self, event: Event) -> bytes:
        """Return the event in which the answer was ended, as far as it was let out."""
        body = body_of(event)
        number = number_of(body)
        if type_of(body) == "content_block_start":
            if number < self._next:
                return b""
            self._begun(number, "")
        elif type_of(body) != "content_block_delta" or number not in self._open:
            return b""
        return self._rewritten(event, self._at_once, "")

    def error_event(self, status: int, code: str, text: str) -> bytes:
        if self.framing is AWS_EVENT_STREAM:
            name = _EXCEPTIONS.get(status) or ("internalServerException" if status >= 500 else "validationException")
            return encode_exception(name, strict_json.encode({"message": text}))
        return self._event(error_object("anthropic", status, code, text))

    def _event(self, body: dict[str, Any], like: Event | None = None) -> bytes:
        if self.framing is AWS_EVENT_STREAM:
            return self.encode(body)  # a chunk, whatever it wraps
        return self.encode(body, like, event=body["type"])
