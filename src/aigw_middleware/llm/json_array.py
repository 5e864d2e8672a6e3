r"""One JSON array, sent element by element, as Gemini's `streamGenerateContent` does unless asked for `alt=sse`.

    [{"candidates": ...}
    ,
    {"candidates": ...}
    ]

Where a byte belongs: the separator, with the white space around it, belongs to the element behind it. So the `raw` of
the first element begins with `[`, of each other one with `,`, and each leaves with the last byte of its element. The
closing `]` is an event of its own without data (`is_close`), and so is `[ ]` where there are no elements; white space
behind it is one more, at the end of the stream.

A consumer that drops, replaces or inserts elements sends each part through one `Outlet`, which alone knows what has
left and puts the `[` or the `,` in front. Text held back has to leave before the event that `is_close`; a stream
that is ended early is closed with `Outlet.close`. Opaque bytes (`pending` of an error, and what follows it) go
through the outlet at most once, the rest of the stream past it.

Only the array is read here. Whether an element is JSON is for those to see who decode it, also whether its brackets
are of the right kind.

Source: RFC 8259, sections 2, 5 and 7.
"""

from __future__ import annotations

import re
from typing import Final

from .splitting import BufferedSplitter
from .sse import BOM, Event

_START: Final = 0  # what is expected next, or where in an element the text goes on
_FIRST: Final = 1
_VALUE: Final = 2
_AFTER: Final = 3
_CLOSED: Final = 4
_CONTAINER: Final = 5
_STRING: Final = 6
_LITERAL: Final = 7

_TOKEN: Final = re.compile(rb"[^ \t\r\n]")
# Up to the next bracket, over strings that have no escapes. It cannot fail, so it never goes back, and it remembers
# no more than its count of steps. A quote ends it where a string has an escape, or no end yet.
_MARK: Final = re.compile(rb'(?:[^"\[\]{}]+|"[^"\\]*"){0,64}(["\[\]{}]?)')
_STRING_MARK: Final = re.compile(rb'["\\]')
_LITERAL_BYTES: Final = rb"-+.0-9A-Za-z"
_LITERAL_BYTE: Final = re.compile(rb"[" + _LITERAL_BYTES + rb"]")
_LITERAL_END: Final = re.compile(rb"[^" + _LITERAL_BYTES + rb"]")
_QUOTE, _BACKSLASH, _COMMA, _OPEN, _CLOSE = b'"\\,[]'
_OPENING: Final = b"[{"

_SEPARATOR: Final = re.compile(rb"(?:\xef\xbb\xbf)?([ \t\r\n]*)([\[,\]])([ \t\r\n]*)")


class Element(Event):
    """One element with the separator in front of it, or the end of the array. There are no types and no ids."""

    __slots__ = ()

    def _read(self) -> None:
        self._data = None
        self._event, self._id, self._retry = "", None, None
        separator = _SEPARATOR.match(self.raw) if self.complete else None
        if separator is not None and separator[2] != b"]":
            data = self.raw[separator.end() :]
            self._data = None if data in (b"", b"]") else data


def is_close(event: Event) -> bool:
    """Whether the event closes the array: what is to be an element of it must leave before."""
    return isinstance(event, Element) and event.complete and event.data is None and event.raw.endswith(b"]")


class Splitter(BufferedSplitter):
    """Cut one array into its elements.

    Raises `FramingError` where the stream is not an array, an element or a comma is missing, or something follows
    the array. `max_event` counts the separator and the white space.
    """

    __slots__ = ("_depth", "_mode")

    event_type = Element

    def _reset(self) -> None:
        super()._reset()
        self._mode = _START
        self._depth = 0

    def _is_whole(self, rest: bytes) -> bool:
        return self._mode == _CLOSED

    def _end(self, text: bytes | bytearray, begin: int) -> int:
        size = len(text)
        if self._mode == _START and not self._scanned:
            lead = bytes(text[begin : begin + len(BOM)])
            if lead != BOM and BOM.startswith(lead):
                return -1
            self._scanned = len(BOM) if lead == BOM else 0
        at = begin + self._scanned
        while at < size:
            mode = self._mode
            if mode == _CONTAINER:
                mark = _MARK.match(text, at)
                assert mark is not None
                at = mark.end()
                bracket = mark[1]
                if bracket == b'"':
                    self._mode = _STRING
                elif bracket in (b"{", b"["):
                    self._depth += 1
                elif bracket:
                    self._depth -= 1
                    if not self._depth:
                        self._mode = _AFTER
                        return at
            elif mode == _STRING:
                mark = _STRING_MARK.search(text, at)
                if mark is None:
                    at = size
                    break
                at = mark.end()
                if text[at - 1] == _BACKSLASH:
                    if at == size:  # what it escapes comes with the next chunk
                        at -= 1
                        break
                    at += 1
                elif self._depth:
                    self._mode = _CONTAINER
                else:
                    self._mode = _AFTER
                    return at
            elif mode == _LITERAL:
                mark = _LITERAL_END.search(text, at)
                if mark is None:
                    at = size
                    break
                self._mode = _AFTER
                return mark.start()
            else:
                mark = _TOKEN.search(text, at)
                if mark is None:
                    at = size
                    break
                at = mark.end()
                self._between(mode, text[at - 1])
                if self._reason or self._mode == _CLOSED:
                    return at
        self._scanned = at - begin
        return -1

    def _between(self, mode: int, byte: int) -> None:
        """Read the token that stands between two elements or begins one."""
        if mode == _START:
            if byte == _OPEN:
                self._mode = _FIRST
            else:
                self._reason = "the stream is not a JSON array"
        elif mode == _CLOSED:
            self._reason = "something follows the JSON array"
        elif byte == _CLOSE and mode in (_FIRST, _AFTER):
            self._mode = _CLOSED
        elif mode == _AFTER:
            if byte == _COMMA:
                self._mode = _VALUE
            else:
                self._reason = "a comma is missing in the JSON array"
        elif byte == _QUOTE:
            self._mode = _STRING
        elif byte in _OPENING:
            self._mode = _CONTAINER
            self._depth = 1
        elif _LITERAL_BYTE.match(bytes((byte,))):
            self._mode = _LITERAL
        else:
            self._reason = "an element is missing in the JSON array"


class Outlet:
    """What leaves stays one valid array, whichever elements were dropped, replaced or inserted."""

    __slots__ = ("_closed", "_opened")

    def __init__(self) -> None:
        self._opened = False
        self._closed = False

    def write(self, part: bytes) -> bytes:
        """Return what to send for `part`: the `raw` of an event, or what `encode` made, one or several joined."""
        separator = _SEPARATOR.match(part)
        if separator is None:
            return part
        before, mark, after = separator.groups()
        rest = part[separator.end() :]
        opened, self._opened = self._opened, True
        if mark == b"]":
            self._closed = True
            return part if opened else b"[" + part
        if mark == b"[" and rest[:1] == b"]":
            self._closed = True
            return b"%b%b%b" % (before, after, rest) if opened else part
        if (mark == b"[") is not opened:
            return part
        return b"%b%b%b%b" % (before, b"," if opened else b"[", after, rest)

    def close(self) -> bytes:
        """Return what makes the array whole where the stream is ended early; nothing when it is."""
        if self._closed:
            return b""
        self._closed = True
        return b"]" if self._opened else b"[]"


def encode(data: bytes, like: Event | None = None) -> bytes:
    r"""Return one more element with the JSON text `data`, separated like `like`, else by `,\n`.

    It begins with `,` also where `like` is the first element: the outlet decides what becomes the first.
    """
    separator = _SEPARATOR.match(like.raw) if isinstance(like, Element) and like.data is not None else None
    if separator is None:
        return b",\n" + data
    return b"%b,%b%b" % (separator[1], separator[3], data)
