"""What Gemini's answers say, chunk by chunk: whole answers are one chunk, streams are many, and both are read here.

Source: the Gemini API reference, "GenerateContentResponse", "Candidate" and "UsageMetadata"; Vertex AI's "Streaming
function call arguments" for arguments that come in pieces.

How texts are numbered. The texts of one candidate, until something stands between them that is no text (a function
call, code, an image), are one run: parts of it next to each other, and those of further chunks, continue one text, and
so do its thoughts. `part` of a run is how many such breaks there were before it: 0 for an answer of nothing but text.
Everything else comes whole, in one part of one chunk: each of its texts has a `part` of its own, from `LEAVES` on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ... import json as strict_json
from ..usage import Usage
from .base import Call, Place, Slot
from .gemini_parts import LEAVES, SPELLINGS, breaks, get, grounding, one_or_more, texts_of
from .gemini_usage import gemini_usage
from .walking import dicts

UNTOLD: Final = ("", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED")
_REASONS: Final = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
_BLOCKS: Final = ("", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT")
"""Reasons by their numbers, as far as they are the same in both APIs; clients may ask for `enum-encoding=int`."""
_MAX_REOPENED: Final = 16  # runs before the last that a break closes again, where the event that did was not sent
_KNOWN: Final = frozenset(
    spelled
    for name in (
        *("candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "createTime", "error"),
        *("totalTokens", "totalBillableCharacters", "embedding", "embeddings"),
    )
    for spelled in SPELLINGS[name]
)


class Candidate:
    """What must be remembered of a candidate from one chunk to the next."""

    __slots__ = ("begun", "finished", "named", "paths", "run", "sent", "told")

    def __init__(self, run: int = 0) -> None:
        self.run = run
        self.told = 0
        """Calls and texts that were numbered from LEAVES on."""
        self.sent = 0
        """The first run of which no event left that closes it."""
        self.finished = False
        self.begun = False
        """A function call whose arguments come in pieces is going on."""
        self.paths: dict[str, int] = {}
        """Parts of those of its arguments that go on, by their JSON path."""
        self.named: dict[int, str] = {}
        """JSON paths of all arguments that came in pieces, by part."""


class Joined:
    """Several strings that are one text, as the container of its Slot. Written, it stands in the first of them."""

    __slots__ = ("logged", "places")

    def __init__(self, places: list[tuple[Any, Any]]) -> None:
        self.places = places
        self.logged: list[dict[str, Any]] = []
        """Candidates that tell the tokens of the text again, which they do no more when it is another one."""

    def __getitem__(self, key: str) -> str:
        return "".join(container[inner] for container, inner in self.places)

    def __setitem__(self, key: str, text: str) -> None:
        for number, (container, inner) in enumerate(self.places):
            container[inner] = "" if number else text
        for candidate in self.logged:
            drop_logprobs(candidate)


class Reading:
    """What one chunk or several say. Candidates are those of the stream, or new ones for a whole answer."""

    def __init__(self, candidates: dict[int, Candidate]) -> None:
        self.candidates = candidates
        self.slots: dict[Place, Slot] = {}
        self.calls: list[Call] = []
        self.closed: list[tuple[int, int]] = []
        self.finished: list[int] = []
        self.reasons: list[str] = []
        self.usage: Usage | None = None
        self.model = ""
        self.identifier = ""
        self.error = False
        self._logged: dict[str, Any] | None = None

    def read(self, body: Any) -> Reading:
        """Add what a chunk says, or each of a list of them."""
        for chunk in one_or_more(body):
            self._chunk(chunk)
        return self

    def _chunk(self, chunk: dict[str, Any]) -> None:
        given = list(candidates_of(chunk))
        for index, candidate in given:
            self._candidate(index, candidate)
        blocked = _word(get(get(chunk, "promptFeedback"), "blockReason"), _BLOCKS)
        if blocked not in UNTOLD:
            self.reasons.append(blocked)
            if not given:
                self.finished.append(0)
                self.candidates.setdefault(0, Candidate()).finished = True
        self.error = self.error or chunk.get("error") not in (None, "", {})
        model, identifier = get(chunk, "modelVersion"), get(chunk, "responseId")
        self.model = model if isinstance(model, str) and model else self.model
        self.identifier = identifier if isinstance(identifier, str) and identifier else self.identifier
        usage = gemini_usage(get(chunk, "usageMetadata"), finished=bool(self.finished))
        if usage is not None:
            self.usage = usage.after(self.usage)

    def _candidate(self, index: int, candidate: dict[str, Any]) -> None:
        state = self.candidates.get(index)
        if state is None:
            state = self.candidates[index] = Candidate()
        self._logged = candidate if get(candidate, "logprobsResult") is not None else None
        for item in parts_of(candidate):
            self.part(index, state, item)
        for container, key in grounding(candidate):
            self.leaf(index, state, container, key, "document")
        reason = _word(get(candidate, "finishReason"), _REASONS)
        if reason not in UNTOLD:
            self.finished.append(index)
            self.reasons.append(reason)
            state.finished = True

    def part(self, index: int, state: Candidate, item: dict[str, Any]) -> None:
        """Add what a part says."""
        apart = breaks(item)
        if apart:
            first = max(state.sent, state.run - _MAX_REOPENED)
            self.closed += [(index, run) for run in range(first, state.run + 1)]
            for name in SPELLINGS["functionCall"]:
                if isinstance(item.get(name), dict):
                    self._call(index, state, item[name])
        for container, key, kind in texts_of(item):
            if container is item and key == "text":
                self._add((index, kind, state.run), container, key)
            else:
                self.leaf(index, state, container, key, kind)
        if apart:
            state.run += 1

    def _call(self, index: int, state: Candidate, call: dict[str, Any]) -> None:
        name, args, identifier = call.get("name"), call.get("args"), call.get("id")
        if name or not state.begun:
            arguments = "" if args is None else strict_json.encode(args).decode()
            named = name if isinstance(name, str) else ""
            number = LEAVES + state.told
            self.calls.append(Call(index, number, identifier if isinstance(identifier, str) else "", named, arguments))
            state.told += 1
            state.paths = {}
        for piece in dicts(get(call, "partialArgs")):
            path = str(get(piece, "jsonPath") or "")
            number = state.paths.get(path, -1)
            if number < 0:
                number = state.paths[path] = LEAVES + state.told
                state.named[number] = path
                state.told += 1
            for key in SPELLINGS["stringValue"]:
                if isinstance(piece.get(key), str):
                    self._add((index, "tool_arguments", number), piece, key)
            if get(piece, "willContinue") is not True:
                self.closed.append((index, state.paths.pop(path)))
        state.begun = get(call, "willContinue") is True
        if not state.begun:
            self.closed += [(index, number) for number in state.paths.values()]
            state.paths = {}

    def leaf(self, index: int, state: Candidate, container: Any, key: Any, kind: str) -> None:
        """Add a text that came whole."""
        number = LEAVES + state.told
        state.told += 1
        self.closed.append((index, number))
        self._add((index, kind, number), container, key)

    def _add(self, place: Place, container: Any, key: Any) -> None:
        slot = self.slots.get(place)
        if slot is None:
            index, kind, number = place
            role = "tool" if kind == "tool_result" else "assistant"
            self.slots[place] = Slot(container, key, kind, index, role, number)
        elif isinstance(slot.container, Joined):
            slot.container.places.append((container, key))
        else:
            slot.container, slot.key = Joined([(slot.container, slot.key), (container, key)]), "text"
        if self._logged is not None and place[2] < LEAVES:
            slot = self.slots[place]
            if not isinstance(slot.container, Joined):
                slot.container, slot.key = Joined([(container, key)]), "text"
            slot.container.logged.append(self._logged)


def _word(value: Any, words: Sequence[str]) -> str:
    """Return an enumeration's word, told as such or as its number, which stands for itself where it has no word here."""
    if type(value) is int:
        return words[value] if 0 <= value < len(words) else str(value)
    return value if isinstance(value, str) else ""


def drop_logprobs(candidate: dict[str, Any]) -> None:
    """Take out what tells the tokens of a text again that was replaced."""
    for name in SPELLINGS["logprobsResult"]:
        candidate.pop(name, None)


def is_chunk(body: Any) -> bool:
    """Whether decoded JSON is an answer of Gemini's, or a piece of one; or several in a list."""
    return any(not _KNOWN.isdisjoint(chunk) for chunk in one_or_more(body))


def candidates_of(body: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield what the chunks of an answer have of their candidates, with the index of each."""
    for chunk in one_or_more(body):
        given = one_or_more(chunk.get("candidates"))
        numbered = any(type(candidate.get("index")) is int for candidate in given)
        for position, candidate in enumerate(given):
            index = candidate.get("index")
            if type(index) is not int:
                index = 0 if numbered else position  # an index of zero is left out where others are told
            yield index, candidate


def parts_of(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of what a candidate says."""
    content = candidate.get("content")
    return one_or_more(content.get("parts")) if isinstance(content, dict) else []


def cut_off(body: Any, place: Place) -> None:
    """Take out of an answer what a candidate says behind the text where it was stopped.

    A function call that was stopped within its arguments was not made either: what is left of them would still be a
    whole object, that somebody acts upon.
    """
    index, _, stop = place
    state, over = Candidate(), False
    reading = Reading({index: state})
    for told, candidate in candidates_of(body):
        if told != index:
            continue
        kept: list[dict[str, Any]] = []
        parts = parts_of(candidate)
        for item in parts:
            run = state.run
            reading.part(index, state, item)
            stays = not over
            if breaks(item) and not over:
                over = run >= stop if stop < LEAVES else LEAVES + state.told > stop
                stays = not over or (stop >= LEAVES and get(item, "functionCall") is None)
            if stays:
                kept.append(item)
        if len(kept) < len(parts):
            candidate["content"]["parts"] = kept
        for container, key in grounding(candidate):
            reading.leaf(index, state, container, key, "document")
        over = over or (stop >= LEAVES and LEAVES + state.told > stop)
