"""What a dialect must know of its API, so that plug-ins never look at `messages[...]` themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ..sse import Event
from ..usage import Usage


class Slot:
    """One text inside a request or a whole answer, and the place it stands in.

    `kind`: `system`, `content`, `reasoning`, `refusal`, `name`, `tool_arguments`, `tool_result`, `tool_definition`,
    `transcript` (of a spoken answer), `prediction`;
    `index` is the message or choice;
    `part` tells texts of one kind and index apart (part of a list, tool call).
    """

    __slots__ = ("container", "index", "key", "kind", "part", "role")

    def __init__(self, container: Any, key: Any, kind: str, index: int, role: str = "", part: int = 0) -> None:
        self.container = container
        self.key = key
        self.kind = kind
        self.index = index
        self.role = role
        self.part = part

    @property
    def text(self) -> str:
        """The text as it stands."""
        return self.container[self.key]  # type: ignore[no-any-return]


class Piece:
    """One piece of text in a stream event: the same coordinates as a Slot, and the text."""

    __slots__ = ("index", "kind", "part", "text")

    def __init__(self, index: int, kind: str, part: int, text: str) -> None:
        self.index = index
        self.kind = kind
        self.part = part
        self.text = text


class Delta:
    """What a stream event carries, read without building the whole object."""

    __slots__ = ("calls", "error", "finished", "identifier", "model", "pieces", "usage", "usage_only")

    def __init__(
        self,
        pieces: Sequence[Piece],
        finished: Sequence[int],
        usage: Usage | None,
        model: str | None,
        error: bool = False,
        usage_only: bool = False,
        identifier: str | None = None,
        calls: Sequence[tuple[int, int, str, str]] = (),
    ) -> None:
        self.pieces = pieces
        self.finished = finished
        """Indexes of the choices that this event ends."""
        self.usage = usage
        self.model = model
        self.error = error
        self.identifier = identifier
        self.calls = calls
        """Tool calls that begin: `(choice, part, id, name)`."""
        self.usage_only = usage_only
        """Carries usage and nothing else: the event that a stream has only because usage was asked for."""


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
