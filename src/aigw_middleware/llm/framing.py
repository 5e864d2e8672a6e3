"""How a stream is cut into events and how events are written, whatever its framing: one face for all of them.

    framing = framing_of(content_type)
    if framing is not None:
        splitter, outlet = framing.splitter(), framing.outlet()
        for chunk in response:
            for event in splitter.feed(chunk):
                ...

For every framing: the `raw` of all events, joined, are the stream; `data` is the JSON of one event, None where there
is none; `event` its type, where the framing has types. Any cut of the stream gives the same events. A splitter raises
`EventTooLong` or `FramingError` and nothing else; both carry the `events` before and the bytes `pending`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Protocol

from . import aws_eventstream, json_array, ndjson, sse
from .splitting import FramingError as FramingError
from .sse import DEFAULT_MAX_EVENT, Event


class Splitter(Protocol):
    """Cuts one stream into events; see `sse.Splitter`."""

    @property
    def plain(self) -> bool:
        """Between two events, with nothing to remember."""

    @property
    def pending(self) -> bytes:
        """The bytes fed and not yet returned: the beginning of an event. Empty after an error, which has them."""

    def is_one_line(self, chunk: bytes) -> bool:
        """Whether `chunk` is one whole server-sent event of one `data: ` line, which needs no cutting."""

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that end in this chunk. Raises `EventTooLong` or `FramingError`, then for every chunk."""

    def finish(self) -> Event | None:
        """Return what the stream left after its last event; `complete` says whether it is whole."""


class Outlet(Protocol):
    """Puts between the parts that leave what the framing wants there. One serves one stream."""

    def write(self, part: bytes) -> bytes:
        """Return what to send for `part`: the `raw` of an event, or what `encode` made, one or several joined."""

    def close(self) -> bytes:
        """Return what to send last where the stream is ended before its own end came."""


class Framing(ABC):
    """One way to put events into a byte stream."""

    name: str = ""
    media_types: tuple[str, ...] = ()
    """The media types that mean it, in lower case and without parameters."""

    @abstractmethod
    def splitter(self, max_event: int = DEFAULT_MAX_EVENT) -> Splitter:
        """Return a splitter for one stream. `max_event` is the bound of an event in bytes."""

    @abstractmethod
    def event(self, raw: bytes) -> Event:
        """Return the event that one complete `raw` of a splitter is."""

    @abstractmethod
    def encode(self, data: bytes, *, like: Event | None = None, event: str = "", id: str | None = None) -> bytes:
        """Return an event with the JSON `data`, framed like the event `like`: its type, its id, its line ends.

        `event` and `id` replace those of `like`; a framing without types or ids leaves them out. Raises ValueError
        for an `event` or `id` that cannot be written, and for data longer than the framing allows.
        """

    def ends(self, event: Event) -> bool:
        """Whether no event can follow this one: what is held back must leave before it."""
        return False

    def outlet(self) -> Outlet | None:
        """Return what parts must pass through when events are dropped, changed or inserted; None: joining is enough."""
        return None

    def __repr__(self) -> str:
        return f"<Framing {self.name}>"


class _ServerSentEvents(Framing):
    name = "sse"
    media_types = ("text/event-stream",)

    def splitter(self, max_event: int = DEFAULT_MAX_EVENT) -> Splitter:
        return sse.Splitter(max_event)

    def event(self, raw: bytes) -> Event:
        return Event(raw)

    def encode(self, data: bytes, *, like: Event | None = None, event: str = "", id: str | None = None) -> bytes:
        if like is None:
            return sse.encode_event(data, event, id)
        written = sse.encode_event(
            data,
            event or like.event.replace("\0", "\N{REPLACEMENT CHARACTER}"),  # may be read, may not be written
            like.id if id is None else id,
            like.retry,
        )
        raw = like.raw
        return written if raw.endswith(b"\n\n") else written.replace(b"\n", _line_end(raw))


class _Lines(Framing):
    name = "ndjson"
    media_types = ndjson.MEDIA_TYPES

    def splitter(self, max_event: int = DEFAULT_MAX_EVENT) -> Splitter:
        return ndjson.Splitter(max_event)

    def event(self, raw: bytes) -> Event:
        return ndjson.Line(raw)

    def encode(self, data: bytes, *, like: Event | None = None, event: str = "", id: str | None = None) -> bytes:
        return ndjson.encode(data, like)

    def outlet(self) -> Outlet:
        return ndjson.Outlet()


class _AwsEventStream(Framing):
    name = "aws-eventstream"
    media_types = aws_eventstream.MEDIA_TYPES

    def splitter(self, max_event: int = DEFAULT_MAX_EVENT) -> Splitter:
        return aws_eventstream.Splitter(max_event)

    def event(self, raw: bytes) -> Event:
        return aws_eventstream.Message(raw)

    def encode(self, data: bytes, *, like: Event | None = None, event: str = "", id: str | None = None) -> bytes:
        return aws_eventstream.encode(data, like, event)


class _JsonArray(Framing):
    name = "json-array"

    def splitter(self, max_event: int = DEFAULT_MAX_EVENT) -> Splitter:
        return json_array.Splitter(max_event)

    def event(self, raw: bytes) -> Event:
        return json_array.Element(raw)

    def encode(self, data: bytes, *, like: Event | None = None, event: str = "", id: str | None = None) -> bytes:
        return json_array.encode(data, like)

    def ends(self, event: Event) -> bool:
        return json_array.is_close(event)

    def outlet(self) -> Outlet:
        return json_array.Outlet()


SSE: Final[Framing] = _ServerSentEvents()
"""Server-sent events."""
NDJSON: Final[Framing] = _Lines()
"""JSON texts, one per line."""
AWS_EVENT_STREAM: Final[Framing] = _AwsEventStream()
"""AWS's binary messages, as Bedrock sends them. Write an exception with `aws_eventstream.encode_exception`."""
JSON_ARRAY: Final[Framing] = _JsonArray()
"""The elements of one JSON array. No media type means it: the caller knows that an `application/json` answer is one."""

_BY_MEDIA_TYPE: Final = {
    media_type: framing for framing in (SSE, NDJSON, AWS_EVENT_STREAM) for media_type in framing.media_types
}


def framing_of(media_type: str) -> Framing | None:
    """Return the framing that a Content-Type means, None when it means none. Case and parameters do not matter."""
    return _BY_MEDIA_TYPE.get(media_type.partition(";")[0].strip().lower())


def _line_end(raw: bytes) -> bytes:
    """Return how the lines of a server-sent event end: as its last one does."""
    if raw.endswith(b"\r\n"):
        return b"\r\n"
    return b"\r" if raw.endswith(b"\r") else b"\n"
