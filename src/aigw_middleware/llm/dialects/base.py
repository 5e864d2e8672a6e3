"""What a dialect must know of its API, so that plug-ins never look at `messages[...]` themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeAlias

import msgspec

from ... import json as strict_json
from ..frame import Frame
from ..sse import Event
from ..usage import Usage

Place: TypeAlias = tuple[int, str, int]
"""Choice, kind and part of a text of an answer."""


class Slot(msgspec.Struct, eq=False, gc=False):
    """One text inside a request or a whole answer, and the place it stands in.

    `kind`: `system`, `content`, `reasoning`, `refusal`, `name`, `tool_arguments`, `tool_result`, `tool_definition`,
    `transcript` (of a spoken answer), `prediction`;
    `index` is the message or choice;
    `part` tells texts of one kind and index apart (part of a list, tool call).
    """

    container: Any
    key: Any
    kind: str
    index: int
    role: str = ""
    part: int = 0

    @property
    def text(self) -> str:
        """The text as it stands."""
        return self.container[self.key]  # type: ignore[no-any-return]

    @property
    def place(self) -> Place:
        """Which of the answer's texts it is."""
        return self.index, self.kind, self.part

    def __repr__(self) -> str:
        return f"<Slot {self.index} {self.kind} {self.part}>"


class Piece(msgspec.Struct, eq=False, gc=False):
    """A text of an answer, or a piece of one in a stream event: the same coordinates as a Slot, and the text."""

    index: int
    kind: str
    part: int
    text: str

    @property
    def place(self) -> Place:
        """Which of the answer's texts it is, or belongs to."""
        return self.index, self.kind, self.part

    def __repr__(self) -> str:
        return f"<Piece {self.index} {self.kind} {self.part}>"


class Delta(msgspec.Struct, eq=False, gc=False):
    """What a stream event or a whole answer carries, read without building the whole object."""

    pieces: Sequence[Piece]
    finished: Sequence[int]
    """Indexes of the choices that this event ends."""
    usage: Usage | None
    model: str | None
    error: bool = False
    usage_only: bool = False
    """Carries usage and nothing else: the event that a stream has only because usage was asked for."""
    identifier: str | None = None
    calls: Sequence[tuple[int, int, str, str]] = ()
    """Tool calls that begin: `(choice, part, id, name)`."""

    def __repr__(self) -> str:
        return f"<Delta {list(self.pieces)}>"


class Dialect:
    """One API shape. Methods take decoded JSON that may be of any type: what does not fit is answered with nothing."""

    name: ClassVar[str] = ""
    error_style: str = "openai"
    suffixes: Sequence[str] = ()
    """Path suffixes that mean this dialect."""
    covered: bool = True
    """Whether requests and answers can be read; guards follow `on_uncovered` when not."""

    def recognises(self, body: Any) -> bool:
        """Whether a request body has this dialect's shape, for routes whose path does not tell."""
        return False

    def readable(self, body: Any) -> str:
        """Return why a request of this dialect cannot be read, or the empty string."""
        return "" if self.covered else f"{self.name} requests are not read"

    def model(self, body: Any) -> str:
        """Return the model that a request or an answer names, or the empty string."""
        model = body.get("model") if isinstance(body, dict) else None
        return model if isinstance(model, str) else ""

    def streams(self, body: Any) -> bool:
        """Whether the request asks for a stream."""
        return isinstance(body, dict) and body.get("stream") is True

    def texts(self, body: Any) -> Iterator[Slot]:
        """Yield every text of a request."""
        yield from ()

    def insert(self, body: Any, messages: Sequence[tuple[str, str]], *, at_end: bool) -> bool:
        """Put `(role, text)` messages before or after the conversation; False when there is none."""
        return False

    def ask_for_usage(self, body: Any) -> bool:
        """Make a stream report its usage; returns whether the body was changed."""
        return False

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        """Yield every text of a whole answer."""
        yield from ()

    def answer_calls(self, body: Any) -> Iterator[tuple[int, int, str, str]]:
        """Yield the tool calls of a whole answer: `(choice, part, id, name)`."""
        yield from ()

    def read_answer(self, data: bytes) -> Delta:
        """Return what a whole answer carries. Raises InvalidJSON."""
        return self.answered(strict_json.decode(data))

    def answered(self, body: Any) -> Delta:
        """Return what a whole answer carries that was decoded before."""
        known = body if isinstance(body, dict) else {}
        identifier = known.get("id")
        return Delta(
            [Piece(*slot.place, text) for slot in self.answer_texts(body) if (text := slot.text)],
            (),
            self.usage(body),
            self.model(body),
            error=known.get("error") not in (None, ""),
            identifier=identifier if isinstance(identifier, str) else "",
            calls=list(self.answer_calls(body)),
        )

    def usage(self, body: Any) -> Usage | None:
        """Return the usage that a whole answer reports."""
        return None

    def finish_answer(self, body: Any, index: int, reason: str) -> None:
        """Set the finish reason of one choice of a whole answer."""

    def read(self, event: Event) -> Delta | None:
        """Return what a stream event carries; None when it is not one of this dialect's."""
        return None

    def text_of(self, data: bytes) -> tuple[int, str] | None:
        """Return choice and text of an event that carries a piece of content and nothing else; None for all others."""
        return None

    def frame(self, event: bytes, index: int, text: str) -> Frame | None:
        """Return what surrounds the text of an event that `text_of` understood; None where that is not certain."""
        return None

    def ends(self, event: Event) -> bool:
        """Whether the event is the dialect's end marker."""
        return False

    def with_texts(self, event: Event, pieces: Sequence[Piece]) -> bytes:
        """Return the event with its texts replaced, everything else as it was."""
        return event.raw

    def text_event(self, template: Event, piece: Piece) -> bytes:
        """Return an event that carries one text, with ids and model of `template`."""
        return b""

    def finish_events(self, template: Event | None, indexes: Sequence[int], reason: str) -> bytes:
        """Return the events that end a stream: finish reason of each choice, end marker."""
        return b""

    def error_event(self, status: int, code: str, text: str) -> bytes:
        """Return the event that tells a client of an error in the middle of a stream."""
        return b""

    def answer(self, text: str, *, stream: bool, reason: str, model: str, identifier: str, created: int) -> bytes:
        """Return a complete answer made by a plug-in."""
        return b""
