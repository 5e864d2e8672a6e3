"""The event streams of OpenAI's Responses.

Sequence numbers: an event that is inserted repeats the number of the event before it, so that no other need be
rewritten; those that end an answer count on. Numbers never decrease.

Source: the OpenAI API reference, "Responses": streaming events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ... import json as strict_json
from ..errors import error_object
from ..frame import Frame
from ..framing import SSE, Framing
from ..sse import Event
from .base import Call, Delta, DialectStream, Piece
from .openai_responses_draft import NOTED, Draft, Texts
from .openai_responses_events import (
    DELTAS,
    ENDS,
    FORM_OF_TEXT,
    FRAMES,
    ITEMS,
    LIFECYCLE,
    OUTPUT,
    OUTPUTS,
    WHOLES,
    Step,
    event_texts,
    number,
    part_of,
    tells_nothing,
)
from .openai_responses_items import PARTS, type_of
from .openai_responses_object import Numbering, Small, decoded, read_small, reasons, splice, text, usage
from .openai_responses_texts import FIELD, ITEM

_TEXT: Final = "response.output_text.delta"
_WRITTEN: Final = "shell_call_output"
_TELLING: Final = DELTAS.keys() | WHOLES.keys() | FRAMES.keys() | ITEMS | LIFECYCLE | {OUTPUT, OUTPUTS}


class OpenAIResponsesStream(DialectStream):
    """One stream of a response. Remembers which texts were told, and what an end of its own making must say."""

    def __init__(self, framing: Framing = SSE) -> None:
        super().__init__(framing)
        self.said: Texts | None = {}
        self._own: Texts = {}  # what left, where the pipeline does not keep it
        self._told: dict[int, set[int]] = {}  # parts of texts that were told, by output item
        self._items = Numbering()
        self._draft = Draft()
        self._seen: Event | None = None
        self._name = ""
        self._body: dict[str, Any] = {}  # of the event seen last, unless it was a small one
        self._places: list[int] = []  # the indexes of the output items that it told whole
        self._seen_number: int | None = None
        self._number = -1
        self._typed = True  # whether events have a type line, as those of the API have
        self._bare = False  # whether the event seen last has its text in one place and nothing that depends on it

    # ------------------------------------------------------------------ reading

    def read(self, event: Event) -> Delta | None:
        data = event.data
        if data is None or data == b"[DONE]":
            return None
        small = self._small(data)
        if small is None:
            return self._read(event) if self._look(event, data) else None
        self._seen = event
        return Delta([self._piece(small)]) if small.delta else Delta()

    def _small(self, data: bytes) -> Small | None:
        """Return and remember an event that adds a piece of text; None for others, and for one with odd members."""
        try:
            small = read_small(data)
        except (ValueError, RecursionError):
            return None
        if small.type not in DELTAS:
            return None
        self._name, self._seen_number, self._bare = small.type, small.sequence_number, not small.logprobs
        return small

    def _piece(self, small: Small) -> Piece:
        form = DELTAS[small.type]
        index, part = small.output_index, small.output_index * ITEM
        if form.position:
            part += form.field * FIELD + getattr(small, form.position)
        elif form.field:
            part += form.field * FIELD
        if index not in self._told:
            self._told[index] = set()
        self._told[index].add(part)
        return Piece(0, form.kind, part, small.delta)

    def _look(self, event: Event, data: bytes) -> bool:
        """Decode an event and remember it; False for what is no JSON object."""
        try:
            body = strict_json.decode(data)
        except strict_json.InvalidJSON:
            return False
        if not isinstance(body, dict):
            return False
        name, told = body.get("type"), body.get("sequence_number")
        self._seen, self._body = event, body
        self._name = name if isinstance(name, str) else event.event
        self._seen_number = told if type(told) is int else None
        self._typed, self._bare = bool(event.event), False
        response = body.get("response")
        self._places = self._items.places(response.get("output")) if isinstance(response, dict) else []
        return True

    def _read(self, event: Event) -> Delta | None:
        name, body = self._name, self._body
        if name == "error" or (name not in _TELLING and body.get("error")):
            return Delta(error=True, closed=[(0, part) for parts in self._told.values() for part in parts])
        if name not in _TELLING:
            return Delta() if tells_nothing(body, name) else None
        part = body.get("part")
        if name in FRAMES and not (isinstance(part, dict) and str(part.get("type")) in PARTS):
            return None
        calls: list[Call] = []
        if name in ITEMS:
            calls += self._items.begin(number(body.get("output_index")), body.get("item"))
        response = body.get("response")
        response = response if name in LIFECYCLE and isinstance(response, dict) else {}
        if self._places and response:
            for place, item in zip(self._places, response["output"], strict=True):
                calls += self._items.begin(place, item)
        adds = name in DELTAS or name == OUTPUT
        pieces: list[Piece] = []
        restated: list[Piece] = []
        for slot in event_texts(body, name, self._places):
            told = self._told.setdefault(slot.part // ITEM, set())
            if slot.part in told and not adds:
                if self.said is not None:
                    restated.append(Piece(*slot.place, slot.text))
            elif slot.text:
                told.add(slot.part)
                pieces.append(Piece(*slot.place, slot.text))
        return Delta(
            pieces,
            (0,) if name in ENDS else (),
            usage(response.get("usage"), partial=name not in ENDS),
            text(response.get("model")),
            error=response.get("error") not in (None, ""),
            identifier=text(response.get("id")),
            calls=calls,
            reasons=list(reasons(response)),
            closed=self._closed(name, body, pieces),
            restated=restated,
        )

    def _closed(self, name: str, body: dict[str, Any], pieces: Sequence[Piece]) -> list[tuple[int, int]]:
        if not name.endswith(".done"):
            return [(0, piece.part) for piece in pieces if not _grows(piece, body.get("item"))]
        if name == OUTPUTS:
            return [(0, part_of(body, field, "command_index")) for field in (0, 1)]
        if name in ITEMS:
            return [(0, part) for part in self._told.get(number(body.get("output_index")), ())]
        form = WHOLES.get(name)
        position, field = (form.position, form.field) if form is not None else FRAMES[name]
        return [(0, part_of(body, field, position))]

    def opaque(self, event: Event) -> bool:
        return bool(event.data) and event.data != b"[DONE]"

    def text_of(self, data: bytes) -> tuple[int, str] | None:
        small = self._small(data)
        self._seen = None
        if small is None or small.type != _TEXT or not small.delta or small.logprobs:
            return None
        if small.output_index or small.content_index:
            return None  # of another part than the 0 that is meant where none is said
        self._count()
        return 0, self._piece(small).text

    def frame(self, event: bytes, piece: Piece) -> Frame | None:
        if b'"sequence_number"' in event or (b'"logprobs"' in event and b'"logprobs":[]' not in event):
            return None  # no two events are alike but for their text
        return Frame.of(event, b'"delta"', piece)

    def ends(self, event: Event) -> bool:
        if event.data == b"[DONE]":
            return True
        return (self._name if event is self._seen else event.event) in ENDS

    # ------------------------------------------------------------------ writing

    def sent(self, event: Event, delta: Delta) -> None:
        if event is not self._seen and not self._look(event, event.data or b""):
            return
        self._count()
        if self._name in NOTED:
            self._draft.note(self._name, self._body)
        if self.said is None:
            for piece in delta.pieces:
                self._own.setdefault(piece.place, []).append(piece.text)

    def _count(self) -> None:
        if self._seen_number is not None:
            self._number = max(self._number, self._seen_number)

    def with_texts(self, event: Event, pieces: Sequence[Piece]) -> bytes:
        if event is self._seen and self._bare and len(pieces) == 1 and self.framing is SSE:
            spliced = splice(event.raw, pieces[0].text)
            if spliced is not None:
                return spliced
        body = decoded(event)
        texts = {piece.place: piece.text for piece in pieces}
        name = text(body.get("type")) or event.event
        for slot in list(event_texts(body, name, self._places if event is self._seen else None)):
            if slot.place in texts:
                slot.container[slot.key] = texts[slot.place]
        return self.encode(body, event)

    def text_event(self, template: Event, piece: Piece) -> bytes:
        body = decoded(template)
        name = text(body.get("type")) or template.event
        texts = self.said
        if texts is None:
            texts = self._own
            texts.setdefault(piece.place, []).append(piece.text)
        told = body.get("sequence_number")
        if type(told) is int:
            self._number = max(self._number, told)
        slots = list(event_texts(body, name)) if name in DELTAS or name == OUTPUT else []
        if not any(slot.place == piece.place for slot in slots):
            return self._written(self._draft.say(piece, texts), 0)
        for slot in slots:
            slot.container[slot.key] = piece.text if slot.place == piece.place else ""
        if type(told) is int:
            body["sequence_number"] = self._number
        return self.encode(body, template)

    def finish_events(self, template: Event | None, indexes: Sequence[int], reason: str) -> bytes:
        if self._draft.over:
            return b""
        last = self._body.get("response") if self._seen is not None and self._name in ENDS else None
        texts = self._own if self.said is None else self.said
        return self._written(self._draft.finish(reason, texts, last if isinstance(last, dict) else None), 1)

    def error_event(self, status: int, code: str, text: str) -> bytes:
        # The API's own event has no `error` member; its official clients raise for nothing else.
        told = {"code": code, "message": text, "param": None, **error_object("openai", status, code, text)}
        return self._written([("error", told)], 1)

    def _written(self, steps: Sequence[Step], increment: int) -> bytes:
        out = []
        for name, members in steps:
            self._number = max(self._number + increment, 0)
            body = {"type": name, "sequence_number": self._number, **members}
            out.append(self.encode(body, event=name if self._typed else ""))
        return b"".join(out)


def _grows(piece: Piece, item: Any) -> bool:
    """Whether events may add to a text; one of an item that has no events for it was told whole."""
    if not isinstance(item, dict):
        return True
    return (type_of(item), piece.kind, piece.part % ITEM // FIELD) in FORM_OF_TEXT or type_of(item) == _WRITTEN
