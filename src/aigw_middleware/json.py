"""JSON on the hot path: decoded once, strictly; encoded once, keeping key order, unknown fields and number spelling.

What is read here must be what the service behind reads, so a body that any plug-in judges is refused when two readers
could disagree on it: broken UTF-8, lone surrogates, duplicate member names, absurd nesting (RFC 8259, sections 4 and 8).
"""

from __future__ import annotations

import json as standard_json
from typing import Any

import msgspec

MAX_DEPTH = 200  # levels of nesting; far above any real API, far below the recursion limit

JSON = Any  # dict, list, str, int, float, bool or None


class InvalidJSON(ValueError):
    """A body that is not JSON, or that two readers could read differently; the text says why, never the content."""


class Spelled(float):
    """A float that remembers how it was written, so that `1.50` leaves as `1.50`."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Spelled:
        value = super().__new__(cls, text)
        value.text = text
        return value


def _read_float(text: str) -> float:
    """Return a float that is written as it was: by itself where Python and the encoder spell it so, else remembered."""
    value = float(text)
    return value if repr(value) == text and "e" not in text else Spelled(text)


def _write(value: object) -> msgspec.Raw:
    if isinstance(value, Spelled):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"{type(value).__name__} is not a JSON type")


_decode = msgspec.json.Decoder(float_hook=_read_float).decode
_encode = msgspec.json.Encoder(enc_hook=_write).encode


def decode(data: bytes) -> JSON:
    """Return the value of `data`. Raises InvalidJSON."""
    try:
        return _decode(data)
    except (ValueError, RecursionError) as error:  # msgspec: DecodeError, UnicodeDecodeError, RecursionError
        raise InvalidJSON(_reason(error)) from None


def encode(value: JSON) -> bytes:
    """Return `value` as compact UTF-8 JSON. Raises TypeError on what JSON has no type for."""
    return _encode(value)


def decode_unambiguous(data: bytes, max_depth: int = MAX_DEPTH) -> JSON:
    """Like decode, and refuse duplicate member names and deep nesting. Raises InvalidJSON."""
    value = decode(data)
    members = _count_members(value, max_depth)
    # Each member has a colon, one that a later one of its name replaced, too. When there are no more colons than the
    # members and the texts that were decoded have, no name was there twice.
    colons = data.count(b":")
    if members == colons:
        return value
    if colons == members + _count_colons(value) and b"\\u003" not in data:  # which would be a colon in the text only
        return value
    # Texts have escapes, or names colons. But what is written again in the same length was compact, and dropped nothing.
    if len(_encode(value)) != len(data):
        _refuse_duplicates(data)
    return value


def _count_colons(value: JSON) -> int:
    """Return how many colons the texts have, names left out; nesting was bounded before."""
    count = 0
    for item in value.values() if type(value) is dict else value if type(value) is list else ():
        kind = type(item)
        if kind is str:
            count += item.count(":")
        elif kind is dict or kind is list:
            count += _count_colons(item)
    return count


def _count_members(value: JSON, depth: int) -> int:
    if depth < 0:
        raise InvalidJSON("nested too deep")
    if type(value) is dict:
        count = len(value)
        for item in value.values():
            kind = type(item)
            if kind is dict or kind is list:
                count += _count_members(item, depth - 1)
        return count
    count = 0
    if type(value) is list:
        for item in value:
            kind = type(item)
            if kind is dict or kind is list:
                count += _count_members(item, depth - 1)
    return count


def _refuse_duplicates(data: bytes) -> None:
    def unique(pairs: list[tuple[str, object]]) -> None:
        if len({name for name, _ in pairs}) != len(pairs):
            raise InvalidJSON("a member name occurs twice in one object")

    try:
        standard_json.loads(data, object_pairs_hook=unique, parse_int=_skip, parse_float=_skip)
    except RecursionError:
        raise InvalidJSON("nested too deep") from None


def _skip(_: str) -> None:
    """Numbers were checked by the first reading; the second looks at names only."""


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8"
    text = str(error).removeprefix("JSON is malformed: ")
    return f"not valid JSON: {text}"
