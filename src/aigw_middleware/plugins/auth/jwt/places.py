"""Where in a request tokens stand, and how to take them out of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ....exchange import Request
from ....headers import header_name
from .config import TokenConfig

HEADER, QUERY, COOKIE = range(3)


class Place(NamedTuple):
    """A header, a query parameter or a cookie."""

    kind: int
    name: bytes
    prefix: bytes = b""
    """What stands before the token in a header, in lower case."""


DEFAULT = (Place(HEADER, b"authorization", b"bearer "), Place(QUERY, b"access_token"))
"""RFC 6750, sections 2.1 and 2.3; what counts where a configuration names no place."""


def places_of(config: TokenConfig) -> tuple[Place, ...]:
    """Return where its tokens may stand. Raises InvalidHeader."""
    places = [
        *(Place(HEADER, header_name(item.name), item.value_prefix.lower().encode()) for item in config.from_headers),
        *(Place(QUERY, name.encode()) for name in config.from_params),
        *(Place(COOKIE, name.encode()) for name in config.from_cookies),
    ]
    return tuple(dict.fromkeys(places)) or DEFAULT


class Finder:
    """Finds the tokens of a request. A place is known by its bit: the first is 1, the second 2, the third 4."""

    __slots__ = ("_others", "_places", "places")

    def __init__(self, places: Iterable[Place]) -> None:
        self.places = tuple(places)
        self._places = tuple(
            (place.name, place.prefix, 1 << n) for n, place in enumerate(self.places) if not place.kind
        )
        self._others = tuple((place, 1 << n) for n, place in enumerate(self.places) if place.kind)

    def bits(self, places: Iterable[Place]) -> int:
        """Return the bits of some of the places, together."""
        return sum(1 << self.places.index(place) for place in places)

    def find(self, request: Request) -> dict[bytes, int]:
        """Return every token and the places it stands in: of a name that occurs twice, all; nobody knows who reads which."""
        found: dict[bytes, int] = {}
        headers = request.headers
        index, once = headers.index, len(headers.index) == len(headers.raw)
        for name, prefix, bit in self._places:
            value = index.get(name)
            if value is None:
                continue
            for token in (value,) if once else [value for key, value in headers.raw if key == name]:
                if prefix:
                    if token[: len(prefix)].lower() != prefix:
                        continue
                    token = token[len(prefix) :]
                    if token[:1] == b" ":  # RFC 6750, section 2.1: one space or more
                        token = token.lstrip(b" ")
                if token:
                    found[token] = found.get(token, 0) | bit
        if self._others:
            self._elsewhere(request, found)
        return found

    def _elsewhere(self, request: Request, found: dict[bytes, int]) -> None:
        query = request.query
        for place, bit in self._others:
            if place.kind == COOKIE:
                values = _cookies(request, place.name)
            elif query:
                values = _parameters(query, place.name)
            else:
                continue
            for token in values:
                if token:
                    found[token] = found.get(token, 0) | bit

    def take_out(self, request: Request, bits: int) -> None:
        """Remove the tokens from some of the places they stood in; a header without the prefix is not one."""
        headers = request.headers
        cookies = set()
        parameters = set()
        for number, (kind, name, prefix) in enumerate(self.places):
            if not bits >> number & 1:
                continue
            if kind == HEADER:
                others = [field for field in headers.raw if field[0] == name and not _has(field[1], prefix)]
                headers.remove_all((name,))
                headers.extend_trusted(others)
            elif kind == COOKIE:
                cookies.add(name)
            else:
                parameters.add(name)
        if cookies:
            _remove_cookies(request, cookies)
        if parameters:
            kept = [
                pair
                for pair in request.query.split(b"&")
                if unquote_to_bytes(pair.partition(b"=")[0]) not in parameters
            ]
            request.set_query(b"&".join(kept))


def _has(value: bytes, prefix: bytes) -> bool:
    return value[: len(prefix)].lower() == prefix


def _parameters(query: bytes, name: bytes) -> Iterator[bytes]:
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name or (b"%" in key and unquote_to_bytes(key) == name):
            yield unquote_to_bytes(value) if b"%" in value else value


def _cookies(request: Request, name: bytes) -> Iterator[bytes]:
    for key, line in request.headers.raw:
        if key == b"cookie":
            for part in line.split(b";"):
                found, separator, value = part.strip().partition(b"=")
                if separator and found == name:
                    yield value


def _remove_cookies(request: Request, names: set[bytes]) -> None:
    """Write the cookies anew without some; the others keep their order and their bytes (RFC 6265, section 4.2.1)."""
    lines = [line for key, line in request.headers.raw if key == b"cookie"]
    parts = [part.strip() for line in lines for part in line.split(b";")]
    kept = [part for part in parts if part and part.partition(b"=")[0] not in names]
    request.headers.remove_all((b"cookie",))
    if kept:
        request.headers.extend_trusted(((b"cookie", b"; ".join(kept)),))
    request.__dict__.pop("cookies", None)
