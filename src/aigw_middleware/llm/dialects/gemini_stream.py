"""The streams of Gemini's `streamGenerateContent`: server-sent events with `alt=sse`, else the elements of one array.

Source: the Gemini API reference, "models.streamGenerateContent". Every chunk is a response of its own; there is no end
marker: the answer is over when each of its candidates has a finish reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ... import json as strict_json
from ..errors import error_object
from ..frame import Frame
from ..framing import JSON_ARRAY, SSE, Framing
from ..sse import Event
from .base import Delta, DialectStream, Piece, Place, Slot
from .gemini_answer import UNTOLD, Candidate, Reading, candidates_of, drop_logprobs, is_chunk, parts_of
from .gemini_parts import LEAVES, SPELLINGS, one_or_more
from .gemini_shapes import Chunk, usual_chunk
from .gemini_usage import gemini_usage
from .openai_chat_stream import splice
from .walking import strings

_T = TypeVar("_T")

FINISH_REASONS: Final = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "tool_calls": "STOP",
    "function_call": "STOP",
}
"""Gemini's words for OpenAI's finish reasons; it has none of its own for function calls."""
_ITS_OWN: Final = frozenset(
    spelled for name in ("candidates", "promptFeedback", "usageMetadata", "error") for spelled in SPELLINGS[name]
)
_FEW: Final = 16
_CODE: Final = {
    **dict.fromkeys(SPELLINGS["executableCode"], "code"),
    **dict.fromkeys(SPELLINGS["codeExecutionResult"], "output"),
}
_REMEMBERED: Final = 8  # events that were read last: an event hook makes several of one, and none of them is many


class GeminiStream(DialectStream):
    """One stream of chunks. Texts are numbered from its beginning on, as `gemini_answer` says."""

    def __init__(self, framing: Framing = SSE) -> None:
        super().__init__(framing)
        self._candidates: dict[int, Candidate] = {}
        self._recent: deque[_Seen] = deque(maxlen=_REMEMBERED)
        self._over = False
        self._ended = False
        self._told: tuple[bytes, dict[str, Any], dict[Place, tuple[str, dict[str, Any]]]] | None = None

    def read(self, event: Event) -> Delta | None:
        chunk = usual_chunk(event.data)
        return self._read_any(event) if chunk is None else self._read_usual(event, chunk)

    def _read_usual(self, event: Event, chunk: Chunk) -> Delta:
        """Read what has nothing but texts, with the result of `_read_any`, several times as fast."""
        given = chunk.candidates
        numbered = len(given) > 1 and any(candidate.index is not None for candidate in given)
        texts: dict[Place, list[str]] = {}
        runs: dict[int, int] = {}
        finished: list[int] = []
        reasons: list[str] = []
        for position, candidate in enumerate(given):
            index = candidate.index
            if index is None:
                index = 0 if numbered else position
            state = self._candidates.get(index)
            if state is None:
                state = self._candidates[index] = Candidate()
            run = runs[index] = state.run
            for part in (candidate.content and candidate.content.parts) or ():
                if part.text is not None:
                    place = (index, "reasoning" if part.thought else "content", run)
                    texts.setdefault(place, []).append(part.text)
            reason = candidate.finish_reason
            if reason and reason not in UNTOLD:
                finished.append(index)
                reasons.append(reason)
                state.finished = True
        self._recent.append(_Seen(event.raw, runs))
        if finished:
            self._over = all(candidate.finished for candidate in self._candidates.values())
        metadata = chunk.usage_metadata
        return Delta(
            [Piece(*place, text) for place, pieces in texts.items() if (text := "".join(pieces))],
            members(finished),
            None if metadata is None else gemini_usage(metadata, finished=bool(finished)),
            chunk.model_version or "",
            identifier=chunk.response_id or "",
            reasons=reasons,
        )

    def _read_any(self, event: Event) -> Delta | None:
        body = _decoded(event.data)
        if not is_chunk(body):
            return None
        reading = Reading(self._candidates).read(body)
        self._recent.append(_Seen(event.raw, {}, body, reading.slots))
        if reading.finished:
            self._over = all(candidate.finished for candidate in self._candidates.values())
        return Delta(
            [Piece(*place, text) for place, slot in reading.slots.items() if (text := slot.text)],
            members(reading.finished),
            reading.usage,
            reading.model,
            error=reading.error,
            identifier=reading.identifier,
            calls=reading.calls,
            reasons=reading.reasons,
            closed=members(reading.closed),
        )

    def opaque(self, event: Event) -> bool:
        data = event.data
        if not data or data == b"[DONE]":  # not Gemini's, but what some put behind every stream
            return False
        body = _decoded(data)
        return isinstance(body, (str, Unreadable)) or next(strings(body), None) is not None

    def sent(self, event: Event, delta: Delta) -> None:
        for index, number in delta.closed:
            if number < LEAVES:
                self._candidates[index].sent = max(self._candidates[index].sent, number + 1)
        if delta.finished:
            self._ended = self._over

    def frame(self, event: bytes, piece: Piece) -> Frame | None:
        if piece.part >= LEAVES or piece.kind not in ("content", "reasoning") or self.framing is not SSE:
            return None
        frame = _FrameOfRun.of(event, b'"text"', piece)
        if isinstance(frame, _FrameOfRun):
            frame.candidate = self._candidates.get(piece.index)
        return frame

    def ends(self, event: Event) -> bool:
        return self._over

    def with_texts(self, event: Event, pieces: Sequence[Piece]) -> bytes:
        plain = self.framing is SSE or self.framing is JSON_ARRAY
        if plain and len(pieces) == 1 and pieces[0].part < LEAVES and b"ogprobs" not in event.raw:
            spliced = splice(event.raw, b'"text":', pieces[0].text)
            if spliced is not None:
                return spliced
        body, slots = self._read_before(event)
        for piece in pieces:
            slot = slots.get(piece.place)
            if slot is not None:
                slot.container[slot.key] = piece.text
        changed = {piece.index for piece in pieces}
        for index, candidate in candidates_of(body):
            if index in changed:
                drop_logprobs(candidate)
        return self.encode(body, event)

    def text_event(self, template: Event, piece: Piece) -> bytes:
        part = self._part(template, piece)
        if part is None:
            return b""
        return self.encode(self._chunk(template, {"content": _content(part), "index": piece.index}), template)

    def finish_events(self, template: Event | None, indexes: Sequence[int], reason: str) -> bytes:
        if not indexes and self._ended:
            return b""
        word = FINISH_REASONS.get(reason, reason)
        ends = [{"content": _content({"text": ""}), "finishReason": word, "index": index} for index in indexes or (0,)]
        return b"".join([self.encode(self._chunk(template, end)) for end in ends])

    def error_event(self, status: int, code: str, text: str) -> bytes:
        return self.encode(error_object("gemini", status, code, text))

    def _read_before(self, event: Event) -> tuple[Any, dict[Place, Slot]]:
        """Return what was read of an event: its JSON, and the texts in it."""
        for seen in reversed(self._recent):
            if seen.raw == event.raw:
                if seen.slots is None:
                    seen.body = _decoded(event.data)
                    begun = {index: Candidate(run) for index, run in seen.runs.items()}
                    seen.slots = Reading(begun).read(seen.body).slots
                return seen.body, seen.slots
        body = _decoded(event.data)
        return body, Reading({}).read(body).slots

    def _part(self, template: Event, piece: Piece) -> dict[str, Any] | None:
        """Return the part that holds a text.

        None for what comes whole and has no meaning in pieces: the arguments of a function call that a plug-in stopped
        in the middle are not called with, and what repeats a text need not be there.
        """
        if piece.part < LEAVES:
            part: dict[str, Any] = {"text": piece.text}
            return {**part, "thought": True} if piece.kind == "reasoning" else part
        candidate = self._candidates.get(piece.index)
        path = candidate.named.get(piece.part) if candidate is not None else None
        if path is not None:
            argument = {"jsonPath": path, "stringValue": piece.text, "willContinue": True}
            return {"functionCall": {"partialArgs": [argument], "willContinue": True}}
        name, held = self._like(template)[1].get(piece.place, ("", {}))
        return {name: {**held, _CODE[name]: piece.text}} if name else None

    def _chunk(self, template: Event | None, candidate: Mapping[str, Any]) -> dict[str, Any]:
        """Return a chunk of one candidate, with the ids and the model of `template`."""
        return {"candidates": [candidate], **(self._like(template)[0] if template is not None else {})}

    def _like(self, template: Event) -> tuple[dict[str, Any], dict[Place, tuple[str, dict[str, Any]]]]:
        """Return what chunks like this one have beside their candidates, and its code and the output of that."""
        if self._told is None or self._told[0] != template.raw:
            body, slots = self._read_before(template)
            first = next(iter(one_or_more(body)), {})
            rest = {name: value for name, value in first.items() if name not in _ITS_OWN}
            parts = (part for _, candidate in candidates_of(body) for part in parts_of(candidate))
            held = ((name, part.get(name)) for part in parts for name in _CODE)
            code = {id(value): (name, value) for name, value in held if isinstance(value, dict)}
            found = {place: code[id(slot.container)] for place, slot in slots.items() if id(slot.container) in code}
            self._told = template.raw, rest, found
        return self._told[1:]


class _Seen(msgspec.Struct, eq=False):
    """What is remembered of an event: its JSON and the texts in it, or until they are asked for what they are told by."""

    raw: bytes
    runs: dict[int, int]
    """The run that each of its candidates was in, where it has nothing but texts."""
    body: Any = None
    slots: dict[Place, Slot] | None = None


class _FrameOfRun(Frame):
    """What surrounds the texts of one run: behind it the same bytes would begin another one."""

    __slots__ = ("candidate",)

    candidate: Candidate | None

    def text(self, event: bytes) -> str | None:
        candidate = self.candidate
        return super().text(event) if candidate is not None and candidate.run == self.place[2] else None


class _Members(list[_T]):
    """A list that knows at once what is in it."""

    _set: frozenset[_T] | None = None

    def __contains__(self, item: object) -> bool:
        if self._set is None:
            self._set = frozenset(self)
        return item in self._set


def members(items: list[_T]) -> list[_T]:
    """Return a list that is asked for each text of an event whether it ends there, and of such there may be as many."""
    return items if len(items) < _FEW else _Members(items)


class Unreadable:
    """Stands for data that is no JSON."""


def _decoded(data: bytes | None) -> Any:
    if not data:
        return None
    try:
        return strict_json.decode(data)
    except strict_json.InvalidJSON:
        return Unreadable()


def _content(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"parts": [part], "role": "model"}
