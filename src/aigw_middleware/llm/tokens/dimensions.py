"""Width and height of an image from its first bytes: nothing is decoded, nothing fetched.

Sources: PNG (RFC 2083, 3.2 and 4.1.1), GIF89a (section 18), JPEG (ITU-T T.81, B.2.2), WebP container (RFC 9649, 2.5 to 2.7).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Final

MOST_BYTES: Final = 196_608
"""What is looked at of an image: a JPEG may have a preview and a colour profile before its size."""
MOST_SEGMENTS: Final = 64  # of a JPEG before its size

# Start-of-frame markers: C0 to CF without those of Huffman tables, extensions and arithmetic coding.
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def size_of_source(source: str) -> tuple[int, int] | None:
    """Return width and height of a `data:` URL or of bare base64, None where they cannot be told.

    An address on the network is never asked for: None.
    """
    head = source[:256]
    if head[:5].lower() == "data:":
        start = head.find(",") + 1
        if not start or "base64" not in head[:start].lower():
            return None
    elif ":" in head:
        return None
    else:
        start = 0
    text = source[start : start + MOST_BYTES // 3 * 4]
    try:
        return size_of_bytes(b64decode(text[: len(text) // 4 * 4]))
    except (binascii.Error, ValueError):
        return None


def size_of_bytes(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, GIF, JPEG or WebP that begins so, None where they cannot be told."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        return _sides(data[16:20], data[20:24], "big")
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _sides(data[6:8], data[8:10], "little")
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _sides(width: bytes, height: bytes, order: str) -> tuple[int, int] | None:
    if len(height) < len(width) or not width:
        return None
    found = (int.from_bytes(width, order), int.from_bytes(height, order))  # type: ignore[arg-type]
    return found if min(found) > 0 else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    place = 2
    for _ in range(MOST_SEGMENTS):
        while data[place : place + 2] == b"\xff\xff":  # a marker may have any number of these before it
            place += 1
        if place + 9 > len(data) or data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker in _FRAMES:
            return _sides(data[place + 7 : place + 9], data[place + 5 : place + 7], "big")
        if marker == 0xDA:  # the image itself begins
            return None
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if length < 2:
            return None
        place += 2 + length
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    if len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8 ":
        # 14 bits each; the two above them say how to scale, which is not done here.
        return _some(_little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF)
    if kind == b"VP8L":
        bits = _little(data[21:25])
        return _some((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        return _some(_little(data[24:27]) + 1, _little(data[27:30]) + 1)
    return None


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _some(width: int, height: int) -> tuple[int, int] | None:
    return (width, height) if width and height else None
