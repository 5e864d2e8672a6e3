"""The typed headers of an AWS event stream message: read from their block, written into one.

    name length (1) | name | type (1) | value

Source: Smithy, "Amazon Event Stream Specification", section "Headers Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

MAX_HEADER_COUNT: Final = 128
"""Headers of one message that are read; Bedrock sends three."""

_SIZE: Final = struct.Struct(">H")
_SHORT: Final = 512  # bytes of a block that is worth remembering
_LONGEST_NAME: Final = 255
_LONGEST_VALUE: Final = 32_767

HeaderValue: TypeAlias = bool | int | bytes | str | UUID


class HeaderType(IntEnum):
    """How a header's value is written; the specification's numbers."""

    TRUE = 0
    FALSE = 1
    BYTE = 2
    SHORT = 3
    INTEGER = 4
    LONG = 5
    BYTE_ARRAY = 6
    STRING = 7
    TIMESTAMP = 8
    """Milliseconds since 1970."""
    UUID = 9


class Header(NamedTuple):
    """One header of a message."""

    name: str
    type: HeaderType
    value: HeaderValue


_NUMBERS: Final = {
    HeaderType.BYTE: struct.Struct(">b"),
    HeaderType.SHORT: struct.Struct(">h"),
    HeaderType.INTEGER: struct.Struct(">i"),
    HeaderType.LONG: struct.Struct(">q"),
    HeaderType.TIMESTAMP: struct.Struct(">q"),
}


def read_headers(block: bytes) -> Mapping[str, Header] | None:
    """Return the headers of a message by name, None when they are malformed, too many, or a name stands there twice."""
    return _read_short(block) if len(block) <= _SHORT else _read_block(block)


def encode_headers(headers: Iterable[Header]) -> bytes:
    """Return the header block of a message.

    Raises ValueError for a name or a value that cannot be written: an empty or long one, a number out of its type's
    range, a value of another type.
    """
    out = bytearray()
    for name, kind, value in headers:
        spelled = name.encode()
        if not 1 <= len(spelled) <= _LONGEST_NAME:
            raise ValueError("the name of an event stream header has 1 to 255 bytes")
        out += b"%c%b%c" % (len(spelled), spelled, kind)
        out += _written(kind, value)
    return bytes(out)


def _read_block(block: bytes) -> Mapping[str, Header] | None:
    headers: dict[str, Header] = {}
    at = 0
    try:
        while at < len(block):
            header, at = _read_header(block, at)
            if header.name in headers or len(headers) == MAX_HEADER_COUNT:
                return None
            headers[header.name] = header
    except (ValueError, IndexError, struct.error):  # an unknown type, text that is not UTF-8; the block ends too early
        return None
    return MappingProxyType(headers)


_read_short = lru_cache(maxsize=64)(_read_block)  # the messages of a stream have a handful of blocks between them


def _read_header(block: bytes, at: int) -> tuple[Header, int]:
    """Return the header that begins here and where it ends. Raises ValueError, IndexError or struct.error."""
    at += 1
    end = at + block[at - 1]
    name = _taken(block, at, end).decode()
    if not name:
        raise ValueError("a header has no name")
    kind = HeaderType(block[end])
    at = end + 1
    value: HeaderValue
    if kind in (HeaderType.TRUE, HeaderType.FALSE):
        return Header(name, kind, kind is HeaderType.TRUE), at
    if kind in (HeaderType.BYTE_ARRAY, HeaderType.STRING):
        at += _SIZE.size
        end = at + _SIZE.unpack_from(block, at - _SIZE.size)[0]
        data = _taken(block, at, end)
        value = data.decode() if kind is HeaderType.STRING else data
    elif kind is HeaderType.UUID:
        end = at + 16
        value = UUID(bytes=_taken(block, at, end))
    else:
        number = _NUMBERS[kind]
        end = at + number.size
        (value,) = number.unpack_from(block, at)
    return Header(name, kind, value), end


def _taken(block: bytes, at: int, end: int) -> bytes:
    if end > len(block):
        raise IndexError(end)
    return block[at:end]


def _written(kind: HeaderType, value: HeaderValue) -> bytes:
    match kind, value:
        case (HeaderType.TRUE, True) | (HeaderType.FALSE, False):
            return b""
        case (HeaderType.BYTE_ARRAY, bytes(data)) if len(data) <= _LONGEST_VALUE:
            return _SIZE.pack(len(data)) + data
        case (HeaderType.STRING, str(text)) if len(data := text.encode()) <= _LONGEST_VALUE:
            return _SIZE.pack(len(data)) + data
        case (HeaderType.UUID, UUID(bytes=data)):
            return data
        case (_, int(number)) if kind in _NUMBERS and not isinstance(value, bool):
            try:
                return _NUMBERS[kind].pack(number)
            except struct.error:
                pass
    raise ValueError(f"an event stream header of type {kind.name} cannot have this value")
