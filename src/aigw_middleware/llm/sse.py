"""Server-sent events: cut a byte stream into events without changing a byte, read their fields, write new ones.

    splitter = Splitter()
    for chunk in response:
        for event in splitter.feed(chunk):
            if event.data is not None:
                look_at(event.data)
            forward(event.raw)
    tail = splitter.finish()

Source: WHATWG HTML, section 9.2 (server-sent events): 9.2.5 the grammar, 9.2.6 how the fields are read.
"""

import re
from typing import Any, Final

DEFAULT_MAX_EVENT: Final = 1 << 20
"""Bytes of one event, its blank line included, that a `Splitter` accepts unless told otherwise."""

BOM: Final = b"\xef\xbb\xbf"
LF: Final = 0x0A
CR: Final = 0x0D

# From the last byte of a line's end to the end of the empty line after it. A CR and the LF behind it are one line end,
# so an LF makes an empty line only behind an LF. The class in front lets `re` skip quickly.
_BLANK_LINE: Final = re.compile(rb"[\r\n](?:\r\n?|(?<=\n)\n)")
_LINE_END: Final = re.compile(rb"\r\n?|\n")
_BREAKS_A_FIELD: Final = re.compile(r"[\r\n\x00]")
_RETRY_DIGITS: Final = 18  # more milliseconds than that is noise, and int() of a huge text is slow

UNPARSED: Final = object()
"""Stands in `Event.parsed` until somebody decoded the data."""

_Fields = tuple[bytes | None, str, str | None, int | None]


class Event:
    """One block of the stream: field lines, comments, and the blank line that ends them.

    `raw` are its exact bytes; the `raw` of all events, joined, are the stream. The fields are read from it when first
    asked for. `complete` is False for what a stream left without a blank line: a browser drops such a block.
    `parsed` belongs to whoever decodes the data, and holds `UNPARSED` until then; `changed` says that `parsed` no
    longer says what `raw` says.
    """

    __slots__ = ("_data", "_event", "_id", "_retry", "changed", "complete", "parsed", "raw")

    _data: Any  # bytes, None or UNPARSED: until the fields are read, the next three slots are empty
    _event: str
    _id: str | None
    _retry: int | None
    parsed: Any

    def __init__(self, raw: bytes, complete: bool = True) -> None:
        self.raw = raw
        self.complete = complete
        self.changed = False
        self.parsed = UNPARSED
        self._data = UNPARSED

    def __repr__(self) -> str:
        return f"Event({self.raw!r}, complete={self.complete})"

    @property
    def data(self) -> bytes | None:
        """The values of all `data` lines joined by LF, as sent (UTF-8 is not checked); None when there is none."""
        if self._data is UNPARSED:
            self._read()
        data: bytes | None = self._data
        return data

    @property
    def event(self) -> str:
        """The event type; empty when not given, which a browser reads as `message`."""
        if self._data is UNPARSED:
            self._read()
        return self._event

    @property
    def id(self) -> str | None:
        """The event id; empty when the stream resets it, None when not given. One that contains NUL is ignored."""
        if self._data is UNPARSED:
            self._read()
        return self._id

    @property
    def retry(self) -> int | None:
        """Milliseconds to wait before reconnecting; None when not given or not a plain number."""
        if self._data is UNPARSED:
            self._read()
        return self._retry

    def _read(self) -> None:
        raw = self.raw
        end = raw.find(b"\n")
        last = len(raw) - 2
        if CR not in raw:  # the two shapes that providers send: one line of data, alone or after the event type
            if end == last and raw[:6] == b"data: ":
                self._data, self._event, self._id, self._retry = raw[6:-2], "", None, None
                return
            data = end + 7
            if raw[:7] == b"event: " and raw[end + 1 : data] == b"data: " and raw.find(b"\n", data) == last:
                self._data, self._id, self._retry = raw[data:-2], None, None
                self._event = raw[7:end].decode(errors="replace")
                return
        self._data, self._event, self._id, self._retry = _read_fields(raw)


class EventTooLong(ValueError):
    """An event exceeds the splitter's bound; the stream can no longer be read as events.

    `events` are those that ended before it in the same chunk, `pending` the bytes after them: nothing is lost, and
    the caller decides whether they may be forwarded unread.
    """

    def __init__(self, limit: int, events: list[Event], pending: bytes) -> None:
        super().__init__(f"a server-sent event is longer than {limit} bytes")
        self.events = events
        self.pending = pending


class Splitter:
    """Cut one event stream into events, whatever the chunks are.

    Work is linear in the bytes fed, also for chunks of one byte. `max_event` is in bytes. One splitter serves one
    stream; after `finish` it is as new.

    A CR that ends a chunk may be half of a CRLF. So that events do not depend on how the stream was cut, an event
    that ends there waits for the next byte; not so in a stream that has ended all its lines with CR alone, where the
    wait would delay every event by one: should an LF follow all the same, it opens the `raw` of the next event.
    """

    __slots__ = ("_bare_cr", "_buffer", "_cr", "_lead", "_refuses", "_scanned", "_skip", "max_event", "plain")

    def __init__(self, max_event: int = DEFAULT_MAX_EVENT) -> None:
        self.max_event = max_event
        self._buffer = bytearray()  # begins where an event begins
        self._reset()

    def _reset(self) -> None:
        self._buffer.clear()
        self._lead = BOM  # may come next and belongs to no line: BOM, the LF of a CRLF, or nothing
        self._skip = 0  # length of the lead that did come, at the front of the buffer
        self._scanned = 0  # no blank line begins before this place of the buffer
        self._cr = False  # there is a CR in the buffer
        self._bare_cr = True  # no LF was seen
        self.plain = False  # between two events, with nothing to remember; an LF was seen
        self._refuses = False

    @property
    def pending(self) -> bytes:
        """The bytes fed and not yet returned: the beginning of an event."""
        return bytes(self._buffer)

    def is_one_line(self, chunk: bytes) -> bool:
        """Whether `chunk` is one whole event of one `data: ` line, which needs no cutting and changes nothing here."""
        return (
            self.plain
            and chunk[:6] == b"data: "
            and chunk.find(b"\n") == len(chunk) - 2
            and chunk[-1] == LF
            and CR not in chunk
            and len(chunk) <= self.max_event
        )

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that end in this chunk.

        Raises `EventTooLong`, and from then on for every chunk, because the rest of an oversized event must not be
        taken for events of its own.
        """
        if self.plain and 2 < (size := len(chunk)) <= self.max_event:
            start, end = 0, chunk.find(b"\n")
            if end == size - 2 and chunk[-1] == LF:
                if CR not in chunk:
                    return [Event(chunk)]
            elif end > 0 and CR not in chunk:
                if chunk.find(b"\n\n", end) == size - 2:
                    return [Event(chunk)]
            else:
                while start < end - 1 == chunk.find(b"\r", start):  # one more line that is not empty and ends in CRLF
                    if end == size - 3 and chunk[-2:] == b"\r\n":
                        return [Event(chunk)]
                    start, end = end + 1, chunk.find(b"\n", end + 1)
        return self._split(chunk)

    def finish(self) -> Event | None:
        """Return what the stream left after its last event, None when nothing; `complete` says whether it is whole."""
        buffer = self._buffer
        event = None
        if buffer:
            event = _event(bytes(buffer), self._skip, _end_of_event(buffer, 0, self._skip, self._scanned, self._cr) > 0)
        self._reset()
        return event

    def _split(self, chunk: bytes) -> list[Event]:
        events: list[Event] = []
        if self._refuses:
            raise EventTooLong(self.max_event, events, chunk)
        buffer = self._buffer
        cr = self._cr or CR in chunk
        self._bare_cr = self._bare_cr and LF not in chunk
        text: bytes | bytearray = chunk
        if buffer:
            buffer += chunk
            text = buffer
        if lead := self._lead:
            if text != lead and lead.startswith(text):
                buffer[:] = text
                return events
            self._skip = self._scanned = len(lead) if text.startswith(lead) else 0
            self._lead = b""
        begin, skip, scan, size = 0, self._skip, self._scanned, len(text)
        while begin < size:
            end = _end_of_event(text, begin, skip, scan, cr)
            if end == size and text[-1] == CR:
                if self._bare_cr and end - begin - skip > 1:
                    self._lead = b"\n"
                else:
                    end = -1
            if (size if end < 0 else end) - begin > self.max_event:
                pending = bytes(text[begin:])
                self._reset()
                self._refuses = True
                raise EventTooLong(self.max_event, events, pending)
            if end < 0:
                break
            raw = bytes(text[begin:end])
            events.append(_event(raw, skip) if skip else Event(raw))
            begin = scan = end
            skip = 0
        if text is buffer:
            del buffer[:begin]
        else:
            buffer += text[begin:]
        self._cr = cr and len(buffer) > 0
        self._skip = skip
        self._scanned = max(skip, size - begin - 2)  # a match that a byte more completes is LF CR, then LF
        self.plain = not (buffer or self._lead)
        return events


def encode_event(data: bytes | str, event: str = "", id: str | None = None, retry: int | None = None) -> bytes:
    """Return the bytes of one event. `data` with line breaks becomes several data lines, which are read back with LF.

    An empty `event` is left out; an empty `id` is written, and resets the client's last id. `retry` is in
    milliseconds. Raises ValueError for CR, LF or NUL in `event` or `id`, and for a negative `retry`.
    """
    if isinstance(data, str):
        data = data.encode()
    head = ""
    if event or id is not None or retry is not None:
        head = _encode_head(event, id, retry)
    if LF in data or CR in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    return b"%bdata: %b\n\n" % (head.encode(), data)


def _encode_head(event: str, id: str | None, retry: int | None) -> str:
    head = ""
    for name, value in (("event", event or None), ("id", id)):
        if value is None:
            continue
        if _BREAKS_A_FIELD.search(value):
            raise ValueError(f"the {name} of a server-sent event must not contain CR, LF or NUL")
        head += f"{name}: {value}\n"
    if retry is not None:
        if retry < 0:
            raise ValueError("the retry time of a server-sent event must not be negative")
        head += f"retry: {retry}\n"
    return head


def _end_of_event(text: bytes | bytearray, begin: int, skip: int, scan: int, cr: bool) -> int:
    """Return where the event that begins here ends, or -1. Its first line begins `skip` bytes later."""
    first = begin + skip
    if scan <= first < len(text) and text[first] in (LF, CR):
        return first + (2 if text[first : first + 2] == b"\r\n" else 1)
    if cr:
        blank = _BLANK_LINE.search(text, scan)
        return blank.end() if blank else -1
    end = text.find(b"\n\n", scan)
    return end if end < 0 else end + 2


def _event(raw: bytes, skip: int, complete: bool = True) -> Event:
    event = Event(raw, complete)
    if skip:
        event._data, event._event, event._id, event._retry = _read_fields(raw[skip:])
    return event


def _read_fields(text: bytes) -> _Fields:
    data: list[bytes] = []
    event = ""
    id = retry = None
    for line in text.splitlines():  # of bytes: CRLF, CR and LF only
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode(errors="replace")
        elif name == b"id":
            if b"\0" not in value:
                id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            retry = int(value)
    return b"\n".join(data) if data else None, event, id, retry
