"""The forms of a request target in which a guard looks for what is blocked, however the caller spelled it.

`/%61dmin`, `/x/..%2fadmin`, `/admin;v=1`, `//admin` and `/%c0%aex/../admin` may all be `/admin` to some service. So there
are three forms: the target as it came; decoded, as often as it was encoded; and canonical, which is decoded and without
dot segments, empty segments and path parameters. A canonical target is its own canonical form.

Source: RFC 3986, sections 2.1 (percent-encoding), 3.3 (`;` in paths is for the service to understand, and servlet
containers cut it off), 5.2.4 (dot segments); RFC 3629, section 10 (overlong UTF-8).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

MAX_ROUNDS: Final = (
    12  # of decoding; clients and proxies encode once or twice, whoever does it more often hides something
)

_NESTED: Final = re.compile(rb"%(?:25)+")
_UNICODE_ESCAPE: Final = re.compile(rb"%[uU]([0-9A-Fa-f]{4})")  # ECMA-262, annex B.2.1.1; Microsoft's servers read it
_CONTROLS: Final = bytes(range(0x20)) + b"\x7f"
_OVERLONG: Final = re.compile(
    rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]|\xf0[\x80-\x8f][\x80-\xbf]{2}"
    rb"|\xf8[\x80-\x87][\x80-\xbf]{3}|\xfc[\x80-\x83][\x80-\xbf]{4}"
)
_FULL_WIDTH: Final = re.compile(rb"\xef\xbc[\x81-\xbf]|\xef\xbd[\x80-\x9e]")  # U+FF01 to U+FF5E, ASCII in wide columns


def forms_of(target: bytes) -> tuple[bytes, ...] | None:
    """Return the distinct forms of a target (path and query) in which to look; None if it is encoded too often."""
    text = target.decode("latin-1")
    if (  # nearly always; `in` on text costs a fifth of what it costs on bytes
        "%" not in text
        and "/." not in text
        and "//" not in text
        and "+" not in text
        and ";" not in text
        and "\\" not in text
        and text.isascii()
        and text.isprintable()
    ):
        return (target,)
    plain, canonical = decoded(target), canonical_target(target)
    if plain is None or canonical is None:
        return None
    return tuple(dict.fromkeys((target, plain, canonical)))


def decoded(target: bytes) -> bytes | None:
    """Return a target without any encoding; None if that takes more than MAX_ROUNDS."""
    for _ in range(MAX_ROUNDS):
        before = target
        path, mark, query = target.partition(b"?")
        target = _decode(path) + mark + _decode(query.replace(b"+", b" "))
        if target == before:
            return target
    return None


def canonical_target(target: bytes) -> bytes | None:
    """Return the canonical form of a target; None if that takes more than MAX_ROUNDS."""
    for _ in range(MAX_ROUNDS):
        before = target
        path, mark, query = target.partition(b"?")  # before decoding: an encoded `?` is part of the path
        target = _resolve(_decode(path)) + mark + _decode(query.replace(b"+", b" "))
        if target == before:
            return target
    return None


def _decode(text: bytes) -> bytes:
    """Undo one encoding, of each kind that servers are known to undo; drop control characters as WHATWG's parser does."""
    text = text.translate(None, _CONTROLS)
    if b"%" in text:
        text = unquote_to_bytes(_UNICODE_ESCAPE.sub(_character, _NESTED.sub(b"%", text)))
    if not text.isascii():
        text = _FULL_WIDTH.sub(_narrow, _OVERLONG.sub(_shortest, text))
    return text


def _resolve(path: bytes) -> bytes:
    """Take away path parameters, empty segments and dot segments; a backslash is a slash."""
    kept: list[bytes] = []
    last = b""
    for segment in path.replace(b"\\", b"/").split(b"/"):
        last = segment.partition(b";")[0]
        if last == b"..":
            del kept[-1:]
        elif last not in (b"", b"."):
            kept.append(last)
    ends = b"/" if kept and last in (b"", b".", b"..") else b""
    return b"/" + b"/".join(kept) + ends


def _character(match: re.Match[bytes]) -> bytes:
    return chr(int(match[1], 16)).encode("utf-8", "surrogatepass")


def _narrow(match: re.Match[bytes]) -> bytes:
    return bytes([ord(match[0].decode()) - 0xFEE0])


def _shortest(match: re.Match[bytes]) -> bytes:
    """Return the character of an overlong sequence as it should have been written."""
    first, *rest = match[0]
    code = first & (0x7F >> len(match[0]))
    for byte in rest:
        code = code << 6 | byte & 0x3F
    return chr(code).encode("utf-8", "surrogatepass")
