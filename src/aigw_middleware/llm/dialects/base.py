"""What a dialect must know of its API, so that plug-ins never look at `messages[...]` themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import msgspec

from ... import json as strict_json
from ..frame import Frame
from ..framing import SSE, Framing
from ..sse import Event
from ..usage import Usage
from .walking import dicts, read_path, write_path

if TYPE_CHECKING:
    from ...exchange import Request

Place: TypeAlias = tuple[int, str, int]
"""Choice, kind and part of a text of an answer."""
Paths: TypeAlias = tuple[tuple[str, ...], ...]
"""Where a parameter may stand in a request, each a path of member names; the first is the one that is written."""


class Slot(msgspec.Struct, eq=False, gc=False):
    """One text inside a request or a whole answer, and the place it stands in.

    `kind`: `system`, `content`, `reasoning`, `refusal`, `name`, `tool_arguments`, `tool_result`, `tool_definition`,
    `transcript` (of a spoken answer), `prediction`, `document`, `variable` (of a stored prompt);
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


_REMOTE = ("http://", "https://", "gs://", "s3://", "file-", "file_", "files/")


class Attachment(msgspec.Struct, eq=False):
    """What a request carries or points to and what is no text: an image, a sound, a file, something stored before."""

    kind: str
    """`image`, `audio`, `video`, `file` or `stored`: input that the provider keeps (an earlier answer, a prompt)."""
    source: str = ""
    """A data URL, a URL, or an identifier; Base64 without its data URL where the API has it so."""
    index: int = 0
    """The message it stands in."""
    detail: str = ""
    """How closely an image is to be looked at, where the API lets the caller say so."""

    @property
    def remote(self) -> bool:
        """Whether the request only points to it, so that its size is not known here."""
        return self.kind == "stored" or self.source.startswith(_REMOTE)

    def __repr__(self) -> str:
        return f"<Attachment {self.index} {self.kind}>"


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


class Call(msgspec.Struct, eq=False, gc=False):
    """A tool call that an answer makes, or the beginning of one in a stream; `part` as in its pieces of arguments."""

    index: int
    part: int
    id: str
    name: str
    arguments: str = ""
    """The arguments as JSON, where they come in no pieces of text."""

    def __repr__(self) -> str:
        return f"<Call {self.index} {self.part} {self.name}>"


class Delta(msgspec.Struct, eq=False):
    """What a stream event or a whole answer carries, read without building the whole object."""

    pieces: Sequence[Piece] = ()
    finished: Sequence[int] = ()
    """Indexes of the choices that this event ends."""
    usage: Usage | None = None
    model: str | None = None
    error: bool = False
    usage_only: bool = False
    """Carries usage and nothing else: the event that a stream has only because usage was asked for."""
    identifier: str | None = None
    calls: Sequence[Call] = ()
    """Tool calls that begin."""
    reasons: Sequence[str] = ()
    """Why choices end, in the provider's words."""
    closed: Sequence[tuple[int, int]] = ()
    """`(choice, part)` whose texts end with this event, though their choice may go on."""
    restated: Sequence[Piece] = ()
    """Whole texts that the event tells again, after a stream told them piece by piece."""

    def __repr__(self) -> str:
        return f"<Delta {list(self.pieces)}>"


class DialectStream:
    """Reads and writes the events of one stream; an instance per stream where there is something to remember.

    Methods take events whose data may be anything: what does not fit is answered with nothing.
    """

    said: dict[Place, list[str]] | None = None
    """What left of each text, kept by the pipeline for dialects that tell whole texts again; None: it is not needed."""

    def __init__(self, framing: Framing = SSE) -> None:
        self.framing = framing

    def read(self, event: Event) -> Delta | None:
        """Return what an event carries; None when it is not one of this dialect's, or says nothing."""
        return None

    def opaque(self, event: Event) -> bool:
        """Whether an event that `read` makes nothing of may hold text that nobody here can see."""
        return bool(event.data)

    def sent(self, event: Event, delta: Delta) -> None:
        """Take note that an event left, so that the end can be written when a plug-in finishes the answer."""

    def text_of(self, data: bytes) -> tuple[int, str] | None:
        """Return choice and text of an event that carries a piece of content and nothing else; None for all others."""
        return None

    def frame(self, event: bytes, piece: Piece) -> Frame | None:
        """Return what surrounds the text of an event that carries one piece and nothing else; None if not certain."""
        return None

    def ends(self, event: Event) -> bool:
        """Whether the event is the dialect's end marker."""
        return False

    def with_texts(self, event: Event, pieces: Sequence[Piece]) -> bytes:
        """Return the event with its texts, told in pieces or told again, replaced; everything else as it was."""
        return event.raw

    def without_usage(self, event: Event) -> Event:
        """Return an event that says more than its usage without it: the caller did not ask for any."""
        return event

    def text_event(self, template: Event, piece: Piece) -> bytes:
        """Return an event that carries one text, with ids and model of `template`."""
        return b""

    def finish_events(self, template: Event | None, indexes: Sequence[int], reason: str) -> bytes:
        """Return the events that end a stream: finish reason of each choice, end marker. `reason`: OpenAI's word."""
        return b""

    def error_event(self, status: int, code: str, text: str) -> bytes:
        """Return the event that tells a client of an error in the middle of a stream."""
        return b""

    def encode(self, body: Any, like: Event | None = None, event: str = "") -> bytes:
        """Return an event with this JSON, framed as the stream is; type and id are those of `like` where it is given."""
        data = strict_json.encode(body)
        if like is None:
            return self.framing.encode(data, event=event)
        return self.framing.encode(data, like=like, event=event or like.event, id=like.id)


class Dialect:
    """One API shape. Methods take decoded JSON that may be of any type: what does not fit is answered with nothing."""

    name: ClassVar[str] = ""
    error_style: str = "openai"
    suffixes: Sequence[str] = ()
    """Path suffixes that mean this dialect."""
    hints: Sequence[str] = ()
    """Path suffixes that mean this dialect where the body has its shape, too."""
    hint_within: str = ""
    """What the path must have, too, for `hints` to count."""
    covered: bool = True
    """Whether requests and answers can be read; guards follow `on_uncovered` when not."""
    media_answers: bool = False
    """Whether answers may be sounds or pictures, which have no text that a guard could miss."""
    conversation: ClassVar[str] = ""
    """The member of a request that lists its messages, oldest first; empty: it has no conversation."""
    parameters: ClassVar[Mapping[str, Paths]] = {}
    """Where `max_output_tokens`, `temperature`, `top_p`, `top_k`, `stop`, `seed`, `choices` and others stand."""
    finish_reasons: ClassVar[Mapping[str, str]] = {}
    """The dialect's words for OpenAI's finish reasons, where they differ."""

    # ------------------------------------------------------------------ requests

    def recognises(self, body: Any) -> bool:
        """Whether a request body has this dialect's shape and no other's, for routes whose path does not tell."""
        return False

    def hinted(self, body: Any) -> bool:
        """Whether a request body has this dialect's shape, where its path ends with one of `hints`."""
        return self.recognises(body)

    def readable(self, body: Any) -> str:
        """Return why a request of this dialect cannot be read, or the empty string."""
        return "" if self.covered else f"{self.name} requests are not read"

    def model(self, request: Request) -> str:
        """Return the model that a request names, or the empty string."""
        return self.answer_model(request.json)

    def set_model(self, request: Request, model: str) -> bool:
        """Make a request name another model; False where its body does not say which."""
        if not isinstance(request.json, dict):
            return False
        request.edit()["model"] = model
        return True

    def streams(self, request: Request) -> bool:
        """Whether the request asks for a stream."""
        body = request.json
        return isinstance(body, dict) and body.get("stream") is True

    def parameter(self, body: Any, name: str) -> Any:
        """Return a parameter by its common name, the first of its places that has one; None where there is none."""
        for path in self.parameters.get(name, ()):
            value = read_path(body, path)
            if value is not None:
                return value
        return None

    def set_parameter(self, body: dict[str, Any], name: str, value: Any) -> bool:
        """Set a parameter wherever the request has it, else in its first place; False where the API has none."""
        paths = self.parameters.get(name, ())
        there = [path for path in paths if read_path(body, path) is not None] or list(paths[:1])
        for path in there:
            write_path(body, path, value)
        return bool(there)

    def texts(self, body: Any) -> Iterator[Slot]:
        """Yield every text of a request."""
        yield from ()

    def definitions(self, body: Any) -> list[dict[str, Any]]:
        """Return the definitions of the tools that a request offers."""
        return [*dicts(body.get("tools")), *dicts(body.get("functions"))] if isinstance(body, dict) else []

    def attachments(self, body: Any) -> Iterator[Attachment]:
        """Yield what a request carries or points to that is no text."""
        yield from ()

    def insert(self, body: Any, messages: Sequence[tuple[str, str]], *, at_end: bool) -> bool:
        """Put `(role, text)` messages before or after the conversation; False when there is none."""
        return False

    def ask_for_usage(self, body: Any) -> bool:
        """Make a stream report its usage; returns whether the body was changed."""
        return False

    # ------------------------------------------------------------------ whole answers

    def answer_model(self, body: Any) -> str:
        """Return the model that an answer names, or the empty string."""
        model = body.get("model") if isinstance(body, dict) else None
        return model if isinstance(model, str) else ""

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        """Yield every text of a whole answer."""
        yield from ()

    def answer_calls(self, body: Any) -> Iterator[Call]:
        """Yield the tool calls of a whole answer."""
        yield from ()

    def answer_reasons(self, body: Any) -> Iterator[str]:
        """Yield why the choices of a whole answer ended, in the provider's words."""
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
            self.answer_model(body),
            error=known.get("error") not in (None, ""),
            identifier=identifier if isinstance(identifier, str) else "",
            calls=list(self.answer_calls(body)),
            reasons=list(self.answer_reasons(body)),
        )

    def usage(self, body: Any) -> Usage | None:
        """Return the usage that a whole answer reports."""
        return None

    def finish_answer(self, body: Any, index: int, reason: str, place: Place | None = None) -> None:
        """Set the finish reason, OpenAI's word, of one choice of a whole answer; `place`: the text where it stopped.

        Tool calls behind that place were never made, those without a text included.
        """

    def answer(self, text: str, *, stream: bool, reason: str, model: str, identifier: str, created: int) -> bytes:
        """Return a complete answer made by a plug-in."""
        return b""

    # ------------------------------------------------------------------ streams

    def framing(self, request: Request, framing: Framing | None, *, json: bool) -> Framing | None:
        """Return how a streamed answer is framed, told by its media type, `json` being JSON's; None: it is no stream."""
        return framing

    def open(self, framing: Framing = SSE) -> DialectStream:
        """Return what reads and writes the events of one stream."""
        return DialectStream(framing)

    def reason(self, reason: str) -> str:
        """Return this dialect's word for one of OpenAI's finish reasons."""
        return self.finish_reasons.get(reason, reason)
