"""The decompressors behind the content codings, all of one face: text in pieces, never much more than was asked for.

Those of optional packages are imported when the first body of their coding is met. What each does to bound its output
differs, and is said where it is done.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

MAX_MEMBERS: Final = 1000
"""gzip members or zstd frames of one coding of a body. A fresh zstd decompressor costs as much as decoding 4 kB."""

ZSTD_WINDOW_LOG: Final = 23  # RFC 9659: 8 MiB, which decoders must support and encoders must not exceed
BROTLI_PIECE: Final = 1 << 16  # the package `brotli` returns up to twice as much as it is told
ZSTANDARD_SLICE: Final = 32  # four coded bytes can be a block of 128 KiB: no more than 1 MiB at once


class Member(Protocol):
    """The decompressor of one member: a gzip member, a zstd frame, all of a deflate or brotli stream."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return all that `data` says, or `max_length` bytes or some more when it says more than that."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


class Format(NamedTuple):
    """How the members of one coding are decoded, and how many a body may have."""

    start: Callable[[int], Member]
    """Takes the first byte of the member."""
    error: type[Exception]
    max_members: int


class _Brotli:
    """Brotli in pieces: one coded byte can be a copy of 8 MiB, so that only the bound on its output helps."""

    __slots__ = ("_decompressor",)

    unused_data: Final = b""  # more bytes than the stream has are an error of the decompressor's

    def __init__(self, decompressor: Any) -> None:
        self._decompressor = decompressor

    @property
    def eof(self) -> bool:
        finished: bool = self._decompressor.is_finished()
        return finished

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        decompressor = self._decompressor
        text: bytes = decompressor.process(data, output_buffer_limit=BROTLI_PIECE)
        pieces, size = [text], len(text)
        # Neither the length of a piece nor can_accept_more_data tells that there is more; only the next piece does.
        while text and size < max_length and not decompressor.is_finished():
            text = decompressor.process(b"", output_buffer_limit=BROTLI_PIECE)
            pieces.append(text)
            size += len(text)
        return b"".join(pieces)


class _Zstandard:
    """A frame by the `zstandard` package, whose push decoder has no bound on its output: it gets little at once."""

    __slots__ = ("_decompressor", "eof", "unused_data")

    def __init__(self, decompressor: Any) -> None:
        self._decompressor = decompressor
        self.eof = False
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        decompressor, pieces, size = self._decompressor, [], 0
        for at in range(0, len(data), ZSTANDARD_SLICE):
            text: bytes = decompressor.decompress(data[at : at + ZSTANDARD_SLICE])
            pieces.append(text)
            size += len(text)
            if decompressor.eof:
                self.eof, self.unused_data = True, decompressor.unused_data + data[at + ZSTANDARD_SLICE :]
                break
            if size >= max_length:
                break
        return b"".join(pieces)


def _gzip() -> Format:
    return Format(_gzip_member, zlib.error, MAX_MEMBERS)


def _gzip_member(first: int) -> Member:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _deflate() -> Format:
    return Format(_deflate_stream, zlib.error, 1)


def _deflate_stream(first: int) -> Member:
    # Much software sends raw deflate under this name. A zlib header begins with the method 8 in the low bits; the same
    # bits begin raw deflate with a stored block whose padding is not zero, which no compressor writes.
    return zlib.decompressobj(zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS)


def _br() -> Format | None:
    for name in ("brotli", "brotlicffi"):
        brotli = _module(name)
        if brotli is not None and hasattr(brotli.Decompressor, "can_accept_more_data"):  # since 1.2: with a bound
            return Format(partial(_brotli_stream, brotli.Decompressor), brotli.error, 1)
    return None


def _brotli_stream(decompressor: Callable[[], Any], first: int) -> Member:
    return _Brotli(decompressor())


def _zstd() -> Format | None:
    for name in ("compression.zstd", "backports.zstd"):
        zstd = _module(name)
        if zstd is not None:
            options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
            return Format(partial(_zstd_frame, zstd.ZstdDecompressor, options), zstd.ZstdError, MAX_MEMBERS)
    zstd = _module("zstandard")
    return zstd and Format(partial(_zstandard_frame, zstd.ZstdDecompressor), zstd.ZstdError, MAX_MEMBERS)


def _zstd_frame(decompressor: Callable[..., Member], options: dict[int, int], first: int) -> Member:
    return decompressor(options=options)


def _zstandard_frame(decompressor: Callable[..., Any], first: int) -> Member:
    return _Zstandard(decompressor(max_window_size=1 << ZSTD_WINDOW_LOG).decompressobj())


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


CODINGS: Final[dict[str, Callable[[], Format | None]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "br": _br,
    "zstd": _zstd,
}
PACKAGES: Final = {"br": "brotli 1.2 or later", "zstd": "Python 3.14 or backports.zstd"}
"""What a coding needs that Python may not bring."""

_formats: dict[str, Format] = {}


def format_of(name: str) -> Format | None:
    """Return the format of a coding of `CODINGS`; None when no package for it is installed, or only one without bounds."""
    format = _formats.get(name) or CODINGS[name]()
    if format is not None:
        _formats[name] = format
    return format
