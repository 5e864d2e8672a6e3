"""API keys as they are kept, and where in a request they are looked for.

A key is kept as a digest and found by that digest, so finding one takes the same time whatever the keys are, and
nothing that is kept lets anybody in.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, TypeAlias
from urllib.parse import unquote_to_bytes

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo

from ....config.secrets import Keyring, Secret, read_secret
from ....exchange import Request
from ....headers import header_name
from .expiry import NEVER, expiry

MIN_KEY_LENGTH = 16
"""Characters; a shorter key can be guessed, and is warned about."""
KEYRING_LABEL = "key-auth"
"""What the key of `hmac-sha256:` digests is derived for."""
ORIGINAL_AUTHORIZATION = b"x-hi-original-auth"
"""Where a gateway in front keeps an `Authorization` that it replaced by its own."""
HEADER, QUERY, COOKIE = range(3)

Place: TypeAlias = tuple[int, bytes]
"""HEADER, QUERY or COOKIE, and a name."""


class ApiKey:
    """What is kept of an API key: a digest of it, never the key itself."""

    __slots__ = ("digest", "expires", "keyed", "reference", "short")

    def __init__(self, digest: bytes, *, keyed: bool = False, short: bool = False, reference: str = "") -> None:
        self.digest = digest
        self.expires = NEVER
        """When it ends, in seconds since the epoch."""
        self.keyed = keyed
        """Whether it is an HMAC with the keyring's key, not a plain SHA-256."""
        self.short = short
        """Whether the key has less than `MIN_KEY_LENGTH` characters."""
        self.reference = reference
        """`env:NAME` or `file:path` when it was read from there, else empty."""

    @classmethod
    def of(cls, value: object, *, local: bool = True) -> ApiKey:
        """Read a key, `env:NAME`, `file:path`, `sha256:<hex>` or `hmac-sha256:<hex>`. Raises ValueError.

        One that ends is a mapping: `{credential: ..., expires: 2027-01-31T00:00:00Z}`.
        """
        if isinstance(value, Mapping) and "credential" in value:
            if value.keys() != {"credential", "expires"}:
                raise ValueError("should have `credential` and `expires`, and nothing else")
            return cls.of(_no_mapping(value["credential"]), local=local).until(expiry(value["expires"]))
        secret = read_secret(value, local=local) if isinstance(value, str) else value
        if not isinstance(secret, Secret):
            raise ValueError("should be a key, `env:NAME`, `file:path`, `sha256:<hex>` or `hmac-sha256:<hex>`")
        text = secret.reveal()
        if not text.startswith(("sha256:", "hmac-sha256:")):
            short = len(text) < MIN_KEY_LENGTH
            return cls(sha256(text.encode()).digest(), short=short, reference=secret.reference)
        kind, _, digits = text.partition(":")
        return cls(_digest(digits), keyed=kind == "hmac-sha256", reference=secret.reference)

    def until(self, expires: float) -> ApiKey:
        """Return the same key with an end, in seconds since the epoch, unless its own is earlier."""
        key = ApiKey(self.digest, keyed=self.keyed, short=self.short, reference=self.reference)
        key.expires = min(self.expires, expires)
        return key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and self._facts == other._facts

    @property
    def _facts(self) -> tuple[object, ...]:
        return self.digest, self.keyed, self.expires

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"ApiKey({self.reference or '***'})"


def _no_mapping(value: object) -> object:
    return None if isinstance(value, Mapping) else value


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
    return [value] if isinstance(value, (str, Secret, Mapping)) else value


def _validated(value: object, info: ValidationInfo) -> ApiKey:
    return ApiKey.of(value, local=bool((info.context or {}).get("local", True)))


KeyField: TypeAlias = Annotated[
    ApiKey,
    PlainValidator(_validated, json_schema_input_type=str | dict[str, str]),
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
