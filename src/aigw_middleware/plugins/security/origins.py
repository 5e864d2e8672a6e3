"""Web origins: how they are written, compared, and matched by patterns.

Source: RFC 6454, sections 4 to 6; WHATWG URL standard for default ports.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ...exchange import Request

_ORIGIN = re.compile(rb"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9_.~%-]+)(?::([0-9]{1,5}))?\Z")
_PORTS = re.compile(r"(.+):\[(\*|[0-9]{1,5}(?:, *[0-9]{1,5})*)\]\Z")
_DEFAULT_PORTS = {b"http": 80, b"https": 443, b"ws": 80, b"wss": 443}


class Origin(NamedTuple):
    """An origin as browsers write it: lower case, without the default port of its scheme."""

    text: bytes
    base: bytes
    """Scheme and host, without the port."""
    port: int | None
    """The port in force; None for schemes that have none unless it is written."""


_FILES = Origin(
    b"file://", b"file://", None
)  # what some embedded browsers send for their own pages, in place of `null`


def is_origin(value: bytes) -> bool:
    """Return whether `value` is written as an origin; `null` is none."""
    lower = value.lower()
    return _ORIGIN.match(lower) is not None or lower == _FILES.text


def canonical_origin(value: bytes) -> Origin | None:
    """Return what `value` is as an origin; None if it is none, as `null` is none."""
    lower = value.lower()
    match = _ORIGIN.match(lower)
    if match is None:
        return _FILES if lower == _FILES.text else None
    scheme, host, written = match.groups()
    base = scheme + b"://" + host
    default = _DEFAULT_PORTS.get(scheme)
    if written is None:
        return Origin(base, base, default)
    port = int(written)
    if port > 65_535:
        return None
    return Origin(base if port == default else b"%b:%d" % (base, port), base, port)


def is_own_origin(request: Request, host: bytes | None, origin: bytes) -> bool:
    """Return whether `origin` is that of the service itself, as the request and its Host header name it."""
    if not host or host.partition(b":")[0].lower() not in origin.lower():  # as nearly always
        return False
    own = canonical_origin(request.scheme.encode("latin-1", "replace") + b"://" + host)
    return own is not None and own == canonical_origin(origin)


def written_origin(text: str) -> bytes | None:
    """Return an origin of a configuration as browsers write it; None if it is none."""
    text = text.strip()
    origin = canonical_origin(text.encode()) or canonical_origin(text.removesuffix("/").encode())
    return origin.text if origin is not None else None


class OriginPattern:
    """A pattern that a whole origin must match. Raises ValueError.

    `*` stands for any text, `:[8080,9090]` at the end for one of these ports, `:[*]` for any port or none.
    """

    __slots__ = ("_first", "_last", "_middle", "_ports", "_whole")

    def __init__(self, pattern: str) -> None:
        text = pattern.strip().lower().removesuffix("/")
        match = _PORTS.match(text)
        self._ports: frozenset[int] | None = None
        self._whole = match is None  # the port, if there is one, is part of the text
        if match is not None:
            text = match[1]
            self._ports = None if match[2] == "*" else frozenset(int(port) for port in match[2].split(","))
        for scheme, port in _DEFAULT_PORTS.items():
            if match is None and text.startswith(scheme.decode() + "://"):
                text = text.removesuffix(f":{port}")
        complete = text if "://" in text or "*" not in text else f"a://{text}"
        samples = [complete.replace("*", filling).encode() for filling in "a1"]  # names may be letters, ports digits
        if all(canonical_origin(sample) is None for sample in samples):
            raise ValueError(f"{pattern!r} matches no origin; a pattern looks like https://*.example.com:[8080,9090]")
        first, *rest = text.encode().split(b"*")
        self._first = first
        self._last = rest.pop() if rest else None
        self._middle = rest

    def matches(self, origin: Origin) -> bool:
        """Return whether the origin matches."""
        if self._ports is not None and origin.port not in self._ports:
            return False
        text = origin.text if self._whole else origin.base
        if self._last is None:
            return text == self._first
        start, end = len(self._first), len(text) - len(self._last)
        if start > end or not text.startswith(self._first) or not text.endswith(self._last):
            return False
        for piece in self._middle:
            start = text.find(piece, start, end)
            if start < 0:
                return False
            start += len(piece)
        return True
