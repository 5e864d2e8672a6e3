"""What the framings other than server-sent events share: bytes are kept until one event of them is whole, within a bound.

A framing says where an event ends. Everything else is here: chunks are collected, events handed over, the bound held,
and a stream that cannot be read any further is refused without losing a byte.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from .sse import DEFAULT_MAX_EVENT, Event, EventTooLong


class FramingError(ValueError):
    """The bytes are not of the framing: a checksum or a length is wrong, or something stands where nothing may.

    Where the next event begins is unknown from here on, so the rest of the stream can only be forwarded unread or
    cut off. `events` are those that ended before the damage in the same chunk, `pending` the bytes after them, as
    with `EventTooLong`. The text says why and never quotes the stream.
    """

    def __init__(self, reason: str, events: Sequence[Event], pending: bytes) -> None:
        super().__init__(reason)
        self.events = list(events)
        self.pending = pending


class BufferedSplitter(ABC):
    """Cut one stream into events, whatever the chunks are; the face of `sse.Splitter`.

    Work is linear in the bytes fed, also for chunks of one byte. `max_event` is in bytes. One splitter serves one
    stream; after `finish` it is as new.
    """

    __slots__ = ("_buffer", "_reason", "_refuses", "_scanned", "max_event")

    event_type: ClassVar[type[Event]] = Event
    plain: ClassVar[bool] = False
    """There is no quick way past `feed`."""

    _scanned: int
    _reason: str  # why the stream cannot be read; empty when it can, or when an event is too long
    _refuses: bool

    def __init__(self, max_event: int = DEFAULT_MAX_EVENT) -> None:
        self.max_event = max_event
        self._buffer = bytearray()  # begins where an event begins
        self._reset()

    @property
    def pending(self) -> bytes:
        """The bytes fed and not yet returned: the beginning of an event."""
        return bytes(self._buffer)

    def is_one_line(self, chunk: bytes) -> bool:
        """Whether `chunk` is one whole event that needs no cutting: never certain here."""
        return False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that end in this chunk.

        Raises `EventTooLong` or `FramingError`, and from then on for every chunk: what follows must not be taken for
        events. Which of them, and the events before, do not depend on the chunks.
        """
        events: list[Event] = []
        if self._refuses:
            raise self._error(events, chunk)
        buffer = self._buffer
        text: bytes | bytearray = chunk
        if buffer:
            buffer += chunk
            text = buffer
        begin, size = 0, len(text)
        while begin < size:
            end = self._end(text, begin)
            too_long = (size if end < 0 else end) - begin > self.max_event
            if too_long or self._reason:
                raise self._refuse("" if too_long else self._reason, events, bytes(text[begin:]))
            if not begin < end <= size:
                break
            events.append(self.event_type(bytes(text[begin:end])))
            begin = end
            self._scanned = 0
        if text is buffer:
            del buffer[:begin]
        else:
            buffer += text[begin:]
        return events

    def finish(self) -> Event | None:
        """Return what the stream left after its last event, None when nothing; `complete` says whether it is whole."""
        event = None
        if self._buffer:
            raw = bytes(self._buffer)
            event = self.event_type(raw, self._is_whole(raw))
        self._reset()
        return event

    @abstractmethod
    def _end(self, text: bytes | bytearray, begin: int) -> int:
        """Return where the event that begins here ends, -1 when that is not known yet; it may be beyond the text.

        `_scanned` bytes behind `begin` have been looked at before. With `_reason` set, the place returned is behind
        the first byte that shows the damage.
        """

    def _is_whole(self, rest: bytes) -> bool:
        """Whether what the stream ended with is an event although nothing marks its end."""
        return False

    def _reset(self) -> None:
        self._buffer.clear()
        self._scanned = 0
        self._reason = ""
        self._refuses = False

    def _refuse(self, reason: str, events: list[Event], pending: bytes) -> ValueError:
        self._reset()
        self._refuses = True
        self._reason = reason
        return self._error(events, pending)

    def _error(self, events: list[Event], pending: bytes) -> ValueError:
        if self._reason:
            return FramingError(self._reason, events, pending)
        return EventTooLong(self.max_event, events, pending)
