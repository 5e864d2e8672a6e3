"""What the events of a stream are wrapped in: Server-Sent Events, or the elements of one JSON array."""

import json
from dataclasses import dataclass
from typing import Any, Protocol

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream in its dialect."""

    data: Any
    """A JSON value; a text is sent as it is."""
    name: str = ""
    """Its type, where the dialect writes it beside the data."""
    piece: int | None = None
    """The number of the answer's piece that it brings to an end; None: it carries nothing of the answer."""
    final: bool = False
    """Whether the client has everything after it."""


class Framing(Protocol):
    """The frame of one stream, which may remember what came before."""

    @property
    def content_type(self) -> str:
        """The media type of the stream."""

    def write(self, event: Event) -> bytes:
        """One event."""

    def keep_alive(self) -> bytes:
        """Bytes that mean nothing."""


class EventStream:
    """Server-Sent Events (HTML Living Standard, section 9.2)."""

    content_type = EVENT_STREAM

    def __init__(self, newline: str, *, bom: bool = False) -> None:
        self._newline = newline.encode()
        self._before = BYTE_ORDER_MARK if bom else b""

    def write(self, event: Event) -> bytes:
        """An event with the lines that it needs."""
        data = event.data.encode() if isinstance(event.data, str) else encode(event.data)
        lines = [b"event: " + event.name.encode()] if event.name else []
        return self._begin() + self._newline.join([*lines, b"data: " + data, b"", b""])

    def keep_alive(self) -> bytes:
        """A comment."""
        return self._begin() + b": keep-alive" + self._newline * 2

    def _begin(self) -> bytes:
        before, self._before = self._before, b""
        return before


class JsonArray:
    """One JSON array whose elements come one by one, as Gemini streams unless asked for Server-Sent Events."""

    content_type = JSON

    def __init__(self, newline: str) -> None:
        self._newline = newline.encode()
        self._before = b"["

    def write(self, event: Event) -> bytes:
        """An element with what separates it from the one before; the final one closes the array."""
        before, self._before = self._before, b"," + self._newline
        return before + encode(event.data) + (b"]" if event.final else b"")

    def keep_alive(self) -> bytes:
        """White space."""
        return self._newline


def encode(body: object) -> bytes:
    """Compact JSON in UTF-8, characters as they are; a lone surrogate becomes `?`."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
