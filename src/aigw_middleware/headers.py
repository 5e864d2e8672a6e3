"""Header fields as plug-ins see them: case-insensitive, several values per name, no eager conversion.

The fields stay what ASGI made them, a list of `(name, value)` byte pairs; other hosts convert once, on first use. Text
goes in and out as latin-1, so every byte of a value survives (RFC 9110, section 5.5: obs-text).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeAlias

from .lazy import lazy

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

NAME_CACHE_SIZE = 2_048  # header names that plug-ins use are few constants; the bound only guards against computed ones

_names: dict[str, bytes] = {}
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")  # RFC 9110, section 5.6.2
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)  # RFC 9110, section 7.6.1
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class InvalidHeader(ValueError):
    """A header that must not be written: bad name, a line break or NUL in the value, or a hop-by-hop field."""


def header_name(name: str) -> bytes:
    """Return `name` in lower case as bytes. Raises InvalidHeader when it is no token of RFC 9110."""
    known = _names.get(name)
    if known is not None:
        return known
    raw = name.lower().encode("latin-1", "replace")
    if not _TOKEN.match(raw):
        raise InvalidHeader(f"{name!r} is not a header name")
    if len(_names) < NAME_CACHE_SIZE:
        _names[name] = raw
    return raw


def header_value(value: str | bytes) -> bytes:
    """Return `value` as latin-1 bytes. Raises InvalidHeader on CR, LF, NUL or text outside latin-1."""
    if isinstance(value, str):
        try:
            value = value.encode("latin-1")
        except UnicodeEncodeError:
            raise InvalidHeader("a header value has characters outside latin-1") from None
    if b"\r" in value or b"\n" in value or b"\0" in value:
        raise InvalidHeader("a header value has a line break or a NUL")
    return value


class Headers:
    """A mutable view of header fields; names are case-insensitive, order and duplicates are kept.

    `raw` holds lower-case names. A host whose fields are elsewhere (WSGI's environ) passes `load`, called on first use.
    `changed` tells the host that it must write the fields back.
    """

    changed = False
    _looked = False
    """Somebody asked once: the first look-up scans, the second makes the index, which by then pays for itself."""
    _owned = False
    """False: the list belongs to the server or the app, and is copied before the first change."""

    def __init__(
        self, raw: RawHeaders | None = None, load: Callable[[], RawHeaders] | None = None, *, owned: bool = False
    ) -> None:
        if raw is not None:
            self.raw = raw
        if load is not None:
            self._load = load
        if owned:
            self._owned = True

    @lazy
    def raw(self) -> RawHeaders:
        """The fields as `(lower-case name, value)` byte pairs; not to be changed in place."""
        self._owned = True
        return self._load()

    @lazy
    def index(self) -> dict[bytes, bytes]:
        """The first value of each lower-case name; not to be changed."""
        return dict(self.raw[::-1])

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of `name`, or `default`."""
        value = self.get_bytes(_names.get(name) or header_name(name))
        return default if value is None else value.decode("latin-1")

    def get_bytes(self, name: bytes) -> bytes | None:
        """Return the first value of the lower-case `name` as bytes, or None."""
        if self._looked or "index" in self.__dict__:
            return self.index.get(name)
        self._looked = True
        for key, value in self.raw:
            if key == name:
                return value
        return None

    def get_all(self, name: str) -> list[str]:
        """Return every value of `name`, in order."""
        key = header_name(name)
        return [value.decode("latin-1") for other, value in self.raw if other == key]

    def names(self) -> set[str]:
        """Return the lower-case names."""
        return {key.decode("latin-1") for key, _ in self.raw}

    def __contains__(self, name: str) -> bool:
        return self.get_bytes(header_name(name)) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for key, value in self.raw:
            yield key.decode("latin-1"), value.decode("latin-1")

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        return f"Headers({[key.decode('latin-1') for key, _ in self.raw]})"  # names only: values may be secrets

    def set(self, name: str, value: str | bytes) -> None:
        """Replace every field `name` by one. Raises InvalidHeader."""
        key, encoded = self._checked(name, value)
        self.set_trusted(key, encoded)

    def set_trusted(self, name: bytes, value: bytes) -> None:
        """Replace every field of the lower-case `name` by one that was checked when it was made."""
        index = self.index
        if name in index:
            self.raw = [field for field in self.raw if field[0] != name]
        elif not self._owned:
            self.raw = self.raw.copy()
        self.raw.append((name, value))
        index[name] = value
        self._owned = self.changed = True

    def add(self, name: str, value: str | bytes) -> None:
        """Append a field, keeping those of the same name. Raises InvalidHeader."""
        field = self._checked(name, value)
        if not self._owned:
            self._replace([*self.raw, field])
            return
        self.raw.append(field)
        self._touched()

    def setdefault(self, name: str, value: str | bytes) -> None:
        """Add a field unless one of that name exists. Raises InvalidHeader."""
        if name not in self:
            self.add(name, value)

    def remove(self, name: str) -> bool:
        """Remove every field `name`; returns whether there was one."""
        key = header_name(name)
        if self.get_bytes(key) is None:
            return False
        self._replace([field for field in self.raw if field[0] != key])
        return True

    def remove_all(self, names: Collection[bytes]) -> None:
        """Remove every field whose lower-case name is in `names`."""
        kept = [field for field in self.raw if field[0] not in names]
        if len(kept) != len(self.raw):
            self._replace(kept)

    def add_token(self, name: str, token: str) -> None:
        """Merge `token` into a comma-separated field such as Vary; `*` already covers everything (RFC 9110, 12.5.5)."""
        present = [part.strip() for line in self.get_all(name) for part in line.split(",") if part.strip()]
        if "*" in present or token.lower() in (part.lower() for part in present):
            return
        self.set(name, ", ".join([*present, token]))

    def set_length(self, length: int, *fields: tuple[bytes, bytes]) -> None:
        """Set Content-Length to `length` bytes and drop Transfer-Encoding: the one framing writer of the library.

        `fields`, checked when they were made, are set by the way.
        """
        replaced = _FRAMING.union([name for name, _ in fields]) if fields else _FRAMING
        raw = [field for field in self.raw if field[0] not in replaced]
        raw.append((b"content-length", b"%d" % length))
        raw += fields
        self._replace(raw)

    def extend_trusted(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Append fields that were checked when they were made (constants of a plug-in's constructor)."""
        if self._owned:
            self.raw.extend(fields)
            self._touched()
        else:
            self._replace([*self.raw, *fields])

    def _checked(self, name: str, value: str | bytes) -> tuple[bytes, bytes]:
        key = _names.get(name) or header_name(name)
        if key in _HOP_BY_HOP:
            raise InvalidHeader(f"{name} is hop-by-hop: it belongs to the server, not to a plug-in")
        if key == b"content-length":
            raise InvalidHeader("content-length follows from the body: change the body instead")
        return key, header_value(value)

    def _replace(self, raw: RawHeaders) -> None:
        self.raw = raw
        self._owned = True
        self._touched()

    def _touched(self) -> None:
        self.changed = True
        self.__dict__.pop("index", None)


def end_to_end(fields: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return the fields of a plug-in's answer without hop-by-hop ones: those belong to the server (RFC 9110, 7.6.1)."""
    return [field for field in fields if field[0] not in _HOP_BY_HOP]


def lower_names(fields: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return response fields as a list with lower-case names: apps send any case, iterables and odd byte types."""
    return [
        (name.lower(), value) if type(name) is bytes and type(value) is bytes else (bytes(name).lower(), bytes(value))
        for name, value in fields
    ]
