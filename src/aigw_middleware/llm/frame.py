"""What surrounds the text in the events of a stream: most differ from the one before by their text alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import json as strict_json

if TYPE_CHECKING:
    from .dialects.base import Piece, Place


MAX_FRAMED = 16_384  # bytes of an event that is not parsed; far below any bound on events


class Frame:
    """The bytes before and after the text of an event that carries one piece of content and nothing else.

    An event that begins and ends with the same bytes, and has between them what JSON writes as it is, carries that
    text and nothing else, too: it need not be parsed.
    """

    __slots__ = ("_after", "_before", "_begin", "_end", "_least", "place")

    def __init__(self, place: Place, before: bytes, after: bytes) -> None:
        self.place = place
        """Choice, kind and part that the text belongs to."""
        self._before = before
        self._after = after
        self._begin = len(before)
        self._end = -len(after)
        self._least = len(before) + len(after)

    @classmethod
    def of(cls, event: bytes, member: bytes, piece: Piece) -> Frame | None:
        """Return the frame of an event whose JSON member `member` is the text of `piece`; None where not certain."""
        if b"\\" in event or event.count(member) != 1:
            return None  # a name could be spelled in two ways
        name = event.find(member) + len(member)
        start = event.find(b'"', name) + 1
        if event[name : start - 1].replace(b" ", b"") != b":":
            return None
        end = event.find(b'"', start)
        if event[start:end] != piece.text.encode():
            return None
        return cls(piece.place, event[:start], event[end:])

    def text(self, event: bytes) -> str | None:
        """Return the text of an event that has this frame; None for every other."""
        if (
            not self._least < len(event) < MAX_FRAMED
            or not event.startswith(self._before)
            or not event.endswith(self._after)
        ):
            return None
        written = event[self._begin : self._end]
        if b'"' in written or b"\\" in written:
            return None
        try:
            text = written.decode()
        except UnicodeDecodeError:
            return None
        return text if text.isprintable() else None

    def event(self, text: str) -> bytes:
        """Return an event of this frame with another text."""
        return self._before + strict_json.encode(text)[1:-1] + self._after
