"""The two encodings that tokens and keys are written in, read so strictly that everything has one spelling only."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Any

from ....json import MAX_DEPTH, decode_unambiguous

_TO_BASE64 = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"", b"==", b"=")
_ENDS = (frozenset(b"AQgw"), frozenset(b"AEIMQUYcgkosw048"))
"""Last characters of two and of three whose unused bits are zero."""


def base64url(text: bytes) -> bytes:
    """Return what `text` encodes (RFC 7515, section 2). Raises ValueError on anything but its one canonical spelling.

    That excludes padding, white space, the characters of the other alphabet, and bits that encode nothing.
    """
    spare = len(text) & 3
    if spare and (spare == 1 or text[-1] not in _ENDS[spare - 2]):
        raise ValueError("not base64url")
    try:
        return a2b_base64(text.translate(_TO_BASE64) + _PADDING[spare], strict_mode=True)
    except Base64Error:
        raise ValueError("not base64url") from None


def json_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`. Raises ValueError, also when a member name occurs twice (RFC 7515, 4; 7519, 4)."""
    value = decode_unambiguous(data, MAX_DEPTH)
    if type(value) is not dict:
        raise ValueError("not a JSON object")
    return value
