"""Bodies with a content coding (gzip, deflate, br, zstd): what Content-Encoding says, and its decoding within bounds.

    coding = coding_of(b"gzip")
    if coding is not None and coding.decodable:
        decoder = Decoder(coding, max_output=1 << 20)
        for chunk in body:
            read(decoder.feed(chunk))
        decoder.finish()

A few coded bytes can stand for gigabytes. Both bounds therefore hold inside one chunk as well: a decompressor is never
asked for more than what is still allowed, and it gets its input in slices, so that memory is bounded by what comes out.

Sources: RFC 9110, section 8.4 (Content-Encoding); RFC 1950, 1951 and 1952 (zlib, deflate, gzip); RFC 7932 (brotli);
RFC 8878 and 9659 (zstd, and its window in HTTP).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Final, Literal

from aigw_middleware.codings.formats import CODINGS, PACKAGES, Member, format_of

CodingProblem = Literal["broken", "truncated", "too_large", "ratio", "unknown", "missing_package"]

DEFAULT_MAX_RATIO: Final = 100.0
"""Decoded bytes for one coded byte. Deflate can reach 1032, brotli and zstd much more."""
RATIO_FLOOR: Final = 1 << 20
"""Decoded bytes that are never too many for the ratio."""
MAX_CODINGS: Final = 3
"""Codings of one body, one applied on the other."""

SLICE: Final = 1 << 14  # coded bytes given to a decompressor at once, and the step in which the ratio is judged
MAX_VALUE: Final = 128  # bytes of a Content-Encoding value
MAX_KNOWN_CODINGS: Final = 64  # values whose coding is kept: peers send few, the bound is for made-up ones

_TOKEN: Final = re.compile(rb"[a-z0-9_.-]{1,32}")
_ALIASES: Final = {b"x-gzip": b"gzip"}


class CodingError(ValueError):
    """A coded body that cannot be decoded, or not within its bounds.

    `reason` is a code; `text` says the same in words, never with a byte of the body.
    """

    def __init__(self, reason: CodingProblem, text: str) -> None:
        super().__init__(text)
        self.reason: CodingProblem = reason
        self.text = text


@dataclass(frozen=True, slots=True)
class Coding:
    """The codings of one body. `names` stand in the order in which they were applied; those of no effect are left out."""

    names: tuple[str, ...]
    reason: Literal["unknown", "missing_package"] | None = None
    """Why it cannot be decoded; None when it can."""
    text: str = ""
    """The reason in words, with the command that installs a missing package."""

    @property
    def decodable(self) -> bool:
        """Whether a `Decoder` takes it."""
        return self.reason is None


_codings: dict[bytes, Coding | None] = {}


def coding_of(content_encoding: bytes | None) -> Coding | None:
    """Return the coding that a Content-Encoding value says; None when the body is not coded.

    A header that comes more than once is one value, joined with commas. The package that br or zstd needs is imported
    when the first such value is met.
    """
    if content_encoding is None:
        return None
    try:
        return _codings[content_encoding]
    except KeyError:
        coding = _read(content_encoding)
    if (coding is None or coding.decodable) and len(_codings) < MAX_KNOWN_CODINGS:
        _codings[content_encoding] = coding
    return coding


def _read(value: bytes) -> Coding | None:
    if len(value) > MAX_VALUE:
        return Coding((), "unknown", "the Content-Encoding is too long")
    tokens = [token.strip(b" \t") for token in value.lower().split(b",")]
    tokens = [_ALIASES.get(token, token) for token in tokens if token not in (b"", b"identity")]
    if not tokens:
        return None
    if len(tokens) > MAX_CODINGS:
        return Coding((), "unknown", f"more than {MAX_CODINGS} content codings")
    names = tuple(token.decode() if _TOKEN.fullmatch(token) else "" for token in tokens)
    for name in names:
        if name not in CODINGS:
            return Coding(names, "unknown", f"unknown content coding {name!r}" if name else "unknown content coding")
    for name in names:
        if format_of(name) is None:
            text = f"content coding {name} needs {PACKAGES[name]}: pip install 'aigw-middleware[codings]'"
            return Coding(names, "missing_package", text)
    return Coding(names)


def decode(data: bytes, content_encoding: bytes | None, max_output: int, max_ratio: float = DEFAULT_MAX_RATIO) -> bytes:
    """Return a whole body without its coding; the bounds are those of `Decoder`, for a body without one as well.

    Raises CodingError.
    """
    coding = coding_of(content_encoding)
    if coding is None:
        if len(data) > max_output:
            raise _too_large(max_output)
        return data
    decoder = Decoder(coding, max_output, max_ratio)
    return decoder.feed(data) + decoder.finish()


class Decoder:
    """Decode one body as its bytes come.

    `max_output` is in decoded bytes. `max_ratio` is in decoded bytes for one coded byte; it says nothing about the
    first `RATIO_FLOOR` decoded bytes, and counts every `SLICE` of coded bytes as whole from its first byte on, so that
    the way a body is cut never decides. A body of no bytes is empty in every coding.

    Work is linear in the bytes fed and returned, also for chunks of one byte. Besides what `feed` returns, it holds the
    window of each coding: 32 KiB (gzip, deflate), up to 8 MiB (zstd) or 16 MiB (br).

    Raises CodingError for a coding that cannot be decoded.
    """

    __slots__ = ("_error", "_layers", "_taken", "max_output", "max_ratio")

    def __init__(self, coding: Coding, max_output: int, max_ratio: float = DEFAULT_MAX_RATIO) -> None:
        if max_output < 0 or not max_ratio >= 1:
            raise ValueError("max_output must not be negative, nor max_ratio below 1")
        if coding.reason is not None:
            raise CodingError(coding.reason, coding.text)
        self.max_output = max_output
        self.max_ratio = max_ratio
        self._layers = [_Layer(name) for name in reversed(coding.names)]
        self._taken = 0
        self._error: CodingError | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return all text that the bytes so far say and that was not returned yet.

        Raises CodingError, and from then on for every chunk; what was decoded of the chunk before is lost.
        """
        self._raise_again()
        try:
            room = SLICE - self._taken % SLICE
            if len(chunk) <= room:
                return self._decode(chunk)
            pieces = [self._decode(chunk[:room])]
            pieces += [self._decode(chunk[at : at + SLICE]) for at in range(room, len(chunk), SLICE)]
            return b"".join(pieces)
        except CodingError as error:
            self._error = CodingError(error.reason, error.text)  # without the frames of this one, which hold the chunk
            self._layers = []
            raise

    def finish(self) -> bytes:
        """Say that the body has ended. Returns what is left of its text: nothing, since `feed` holds nothing back.

        Raises CodingError: `truncated`, or the error that `feed` raised.
        """
        self._raise_again()
        for layer in self._layers:
            if not layer.complete:
                raise CodingError("truncated", f"the body ends in the middle of its {layer.name} coding")
        return b""

    def _raise_again(self) -> None:
        if self._error is not None:
            raise CodingError(self._error.reason, self._error.text)

    def _decode(self, data: bytes) -> bytes:
        self._taken += len(data)
        slices = -(-self._taken // SLICE)
        allowed = max(RATIO_FLOOR, self.max_ratio * slices * SLICE)
        for layer in self._layers:
            # Between two codings stands what the outer one shrank, and it may have grown by a little instead.
            most = self.max_output if layer is self._layers[-1] else 2 * self.max_output + SLICE
            limit = int(min(most, allowed, sys.maxsize - 1))
            data = layer.feed(data, limit - layer.given)
            layer.given += len(data)
            if layer.given > most:
                raise _too_large(self.max_output)
            if layer.given > limit:
                text = f"the decoded body is over {self.max_ratio:g} times as long as the coded one"
                raise CodingError("ratio", text)
        return data


def _too_large(max_output: int) -> CodingError:
    return CodingError("too_large", f"the decoded body is longer than {max_output} bytes")


class _Layer:
    """One coding of a body."""

    __slots__ = ("_format", "_member", "_members", "given", "name")

    def __init__(self, name: str) -> None:
        format = format_of(name)
        assert format is not None
        self.name = name
        self.given = 0  # decoded bytes
        self._format = format
        self._member: Member | None = None
        self._members = 0

    @property
    def complete(self) -> bool:
        """Whether a body may end here."""
        return self._member is None

    def feed(self, data: bytes, room: int) -> bytes:
        """Return the text of `data`; when that is more than `room` bytes, more than `room` of them."""
        pieces: list[bytes] = []
        while data and room >= 0:
            member = self._member
            if member is None:
                member = self._member = self._start(data[0])
            try:
                text = member.decompress(data, room + 1)
            except self._format.error:
                raise CodingError("broken", f"the body is not valid {self.name}") from None
            if not member.eof:
                if not pieces:
                    return text
                data = b""
            else:
                self._member, data = None, member.unused_data
            pieces.append(text)
            room -= len(text)
        return b"".join(pieces)

    def _start(self, first: int) -> Member:
        self._members += 1
        most = self._format.max_members
        if self._members > most:
            if most == 1:
                raise CodingError("broken", f"the body goes on after the end of its {self.name} coding")
            raise CodingError("too_large", f"the body has more than {most} parts of {self.name} coding")
        return self._format.start(first)
