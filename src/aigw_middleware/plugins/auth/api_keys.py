"""API keys as they are kept, and where in a request they are looked for.

A key is kept as a digest and found by that digest, so finding one takes the same time whatever the keys are, and
nothing that is kept lets anybody in.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Annotated, TypeAlias
from urllib.parse import unquote_to_bytes

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo

from ...config.secrets import Keyring, Secret, read_secret
from ...consumers import Consumer
from ...errors import Problem
from ...exchange import Request
from ...headers import header_name

MIN_KEY_LENGTH = 16
"""Characters; a shorter key can be guessed, and is warned about."""
KEYRING_LABEL = "key-auth"
"""What the key of `hmac-sha256:` digests is derived for."""
ORIGINAL_AUTHORIZATION = b"x-hi-original-auth"
"""Where a gateway in front keeps an `Authorization` that it replaced by its own."""
HEADER, QUERY, COOKIE = range(3)

Place: TypeAlias = tuple[int, bytes]
"""HEADER, QUERY or COOKIE, and a name."""
Table: TypeAlias = dict[bytes, "Consumer | str"]
"""Whose keys have these digests: consumers, or only their names when nothing else is known of them."""


class ApiKey:
    """What is kept of an API key: a digest of it, never the key itself."""

    __slots__ = ("digest", "keyed", "reference", "short")

    def __init__(self, digest: bytes, *, keyed: bool = False, short: bool = False, reference: str = "") -> None:
        self.digest = digest
        self.keyed = keyed
        """Whether it is an HMAC with the keyring's key, not a plain SHA-256."""
        self.short = short
        """Whether the key has less than `MIN_KEY_LENGTH` characters."""
        self.reference = reference
        """`env:NAME` or `file:path` when it was read from there, else empty."""

    @classmethod
    def of(cls, value: object, *, local: bool = True) -> ApiKey:
        """Read a key, `env:NAME`, `file:path`, `sha256:<hex>` or `hmac-sha256:<hex>`. Raises ValueError."""
        secret = read_secret(value, local=local) if isinstance(value, str) else value
        if not isinstance(secret, Secret):
            raise ValueError("should be a key, `env:NAME`, `file:path`, `sha256:<hex>` or `hmac-sha256:<hex>`")
        text = secret.reveal()
        if not text.startswith(("sha256:", "hmac-sha256:")):
            short = len(text) < MIN_KEY_LENGTH
            return cls(sha256(text.encode()).digest(), short=short, reference=secret.reference)
        kind, _, digits = text.partition(":")
        return cls(_digest(digits), keyed=kind == "hmac-sha256", reference=secret.reference)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and (self.digest, self.keyed) == (other.digest, other.keyed)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"ApiKey({self.reference or '***'})"


def digest_of(text: str) -> bytes | None:
    """Return the SHA-256 that is all there is to keep of a key; None: only `ApiKey.of` can tell. Raises ValueError."""
    if text.startswith("sha256:"):
        return _digest(text[7:])
    if len(text) < MIN_KEY_LENGTH or text.startswith(("hmac-sha256:", "env:", "file:")):
        return None
    return sha256(text.encode()).digest()


def _digest(digits: str) -> bytes:
    try:
        digest = bytes.fromhex(digits) if len(digits) == 64 else b""
    except ValueError:
        digest = b""
    if len(digest) != 32:  # blanks between the digits
        raise ValueError("should have 64 hexadecimal digits after `sha256:` or `hmac-sha256:`")
    return digest


def keyed_digest(key: str, keyring: Keyring) -> str:
    """Return how `key` is written into a configuration with this keyring's secret: `hmac-sha256:<hex>`."""
    return "hmac-sha256:" + hmac.digest(keyring.key(KEYRING_LABEL), key.encode(), "sha256").hex()


def listed(value: object) -> object:
    """Return a lone key as a list of one."""
    return [value] if isinstance(value, (str, Secret)) else value


def _validated(value: object, info: ValidationInfo) -> ApiKey:
    return ApiKey.of(value, local=bool((info.context or {}).get("local", True)))


KeyField: TypeAlias = Annotated[
    ApiKey,
    PlainValidator(_validated, json_schema_input_type=str),
    PlainSerializer(lambda key: key.reference or "***", return_type=str),
]
KeyFields: TypeAlias = Annotated[tuple[KeyField, ...], BeforeValidator(listed)]


def places_of(keys: Sequence[str], in_header: bool, in_query: bool, in_cookie: bool) -> tuple[Place, ...]:
    """Return where keys of these names may stand, in the order in which it is looked. Raises InvalidHeader."""
    places: dict[Place, None] = {}
    for key in keys:
        if in_header:
            places[HEADER, header_name(key)] = None
        if in_query:
            places[QUERY, key.encode()] = None
        if in_cookie:
            places[COOKIE, key.encode()] = None
    if in_header:
        places.setdefault((HEADER, ORIGINAL_AUTHORIZATION))
    return tuple(places)


class KeyIndex:
    """All keys of a plug-in by the places where they may stand.

    `problems` lists what is wrong, naming consumers and no key; `weak` the names of consumers with short keys.
    """

    def __init__(self, entries: Iterable[tuple[Consumer | str, ApiKey, tuple[Place, ...]]], keyring: Keyring) -> None:
        self.problems: list[Problem] = []
        self.weak: dict[str, None] = {}
        tables: dict[tuple[Place, ...], Table] = {}  # one for all consumers whose keys stand in the same places
        keyed = False
        for consumer, key, places in entries:
            self._claim(tables.setdefault(places, {}), key.digest, consumer)
            keyed = keyed or key.keyed
            if key.short:
                self.weak[_name(consumer)] = None
        if len(tables) > 1:
            owners: Table = {}
            for table in tables.values():
                for digest, consumer in table.items():
                    self._claim(owners, digest, consumer)
        if keyed and keyring.random:
            self._problem("`hmac-sha256:` credentials need the secret they were made with", "secret: env:AIGW_SECRET")
        self._hmac_keys = tuple(keyring.keys(KEYRING_LABEL)) if keyed else ()
        found: dict[Place, list[Table]] = {}
        for places, table in tables.items():
            for place in places:
                found.setdefault(place, []).append(table)
        last = (HEADER, ORIGINAL_AUTHORIZATION)
        ordered = [*(place for place in found if place != last), *(place for place in found if place == last)]
        self.places = tuple((kind, name, tuple(found[kind, name])) for kind, name in ordered)
        """`(kind, name, tables)` of each place, in the order in which it is looked."""

    def _claim(self, table: Table, digest: bytes, consumer: Consumer | str) -> None:
        owner = table.setdefault(digest, consumer)
        if owner is not consumer and _name(owner) != _name(consumer):
            self._problem(f"consumers {_name(owner)!r} and {_name(consumer)!r} have the same credential")

    def _problem(self, message: str, hint: str = "") -> None:
        self.problems.append(Problem("", message, hint))

    def find(self, value: bytes, kind: int, tables: Sequence[Table]) -> Consumer | None:
        """Return whose key `value` is, in a header also without a `Bearer ` before it (RFC 6750, 2.1)."""
        if value[6:7] == b" " and kind == HEADER and value[:6].lower() == b"bearer":
            consumer = self.find(value[7:].strip(), QUERY, tables)
            if consumer is not None:
                return consumer
        digest = sha256(value).digest()
        for table in tables:
            found = table.get(digest)
            if found is not None:
                return found if isinstance(found, Consumer) else Consumer(found)
        for key in self._hmac_keys:
            digest = hmac.digest(key, value, "sha256")
            for table in tables:
                found = table.get(digest)
                if found is not None:
                    return found if isinstance(found, Consumer) else Consumer(found)
        return None


def _name(consumer: Consumer | str) -> str:
    return consumer if isinstance(consumer, str) else consumer.name


def outside_headers(request: Request, kind: int, name: bytes) -> bytes | None:
    """Return what stands in the query or the cookie of that name."""
    if kind == QUERY:
        return query_value(request.query, name) if request.query else None
    value = request.cookies.get(name.decode())
    return value.encode("latin-1") if value else None


def query_value(query: bytes, name: bytes) -> bytes | None:
    """Return the first value of a parameter, percent-decoded; `+` stands for itself, for keys are often base64."""
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if key == name or (b"%" in key and unquote_to_bytes(key) == name):
            return unquote_to_bytes(value) if b"%" in value else value
    return None
