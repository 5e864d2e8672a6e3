"""JSON texts in a stream, one per line, as Ollama, Cohere and others send: cut into lines, and written as lines.

A line ends with LF or CRLF. An empty line is an event without data, like a comment among server-sent events, and so
leaves at once. The last line may lack its end: it is whole when it is JSON.

Source: NDJSON specification 1.0.0 (sections 3.1 and 3.2); JSON Lines (jsonlines.org); RFC 8259, section 8.1 (byte
order mark).
"""

from __future__ import annotations

from typing import Final

from .. import json as strict_json
from .splitting import BufferedSplitter
from .sse import BOM, Event

MEDIA_TYPES: Final = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/stream+json",
)

_WHITE_SPACE: Final = b" \t\r\n"
_NO_LINE_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


class Line(Event):
    """One line with its end. `data` is its JSON text, None on an empty line; there are no types and no ids."""

    __slots__ = ()

    def _read(self) -> None:
        self._data = self.raw.removeprefix(BOM).strip(_WHITE_SPACE) or None
        self._event, self._id, self._retry = "", None, None


class Splitter(BufferedSplitter):
    """Cut a stream into lines. `max_event` counts the line's end. Never raises `FramingError`: a line is a line."""

    __slots__ = ()

    event_type = Line

    def _end(self, text: bytes | bytearray, begin: int) -> int:
        end = text.find(b"\n", begin + self._scanned)
        if end < 0:
            self._scanned = len(text) - begin
            return -1
        return end + 1

    def _is_whole(self, rest: bytes) -> bool:
        data = Line(rest).data
        if data is None:
            return True
        try:
            strict_json.decode(data)
        except strict_json.InvalidJSON:
            return False
        return True


class Outlet:
    """What leaves keeps to one text per line: a last line that came without its end gets one when another follows."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open = False

    def write(self, part: bytes) -> bytes:
        """Return what to send for `part`, which is one event or several joined."""
        if not part:
            return part
        opened, self._open = self._open, not part.endswith(b"\n")
        return b"\n" + part if opened else part

    def close(self) -> bytes:
        """Return what ends a stream early: nothing."""
        return b""


def encode(data: bytes, like: Event | None = None) -> bytes:
    """Return one line with the JSON text `data`; it ends as the line of `like` does, else with LF.

    Line breaks in JSON can only stand between its tokens; they become spaces.
    """
    if b"\n" in data or b"\r" in data:
        data = data.translate(_NO_LINE_BREAKS)
    return data + (b"\r\n" if like is not None and like.raw.endswith(b"\r\n") else b"\n")
