"""Whose token it is: consumers found by what a verified token claims, and what the service is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from ....consumers import Consumer
from ....headers import Headers, header_name
from ....json import Spelled
from .config import ClaimToHeader, Credential
from .jwks import RemoteKeys
from .keys import KeySet
from .token import Claims

Timing = Literal["good", "expired", "early", "endless"]

MAX_CLAIM_BYTES: Final = 8_192
"""Of a header that a claim becomes: servers refuse larger ones."""


def canonical(value: object) -> bytes:
    """Return what equal JSON values have in common: numbers by value, objects whatever their order, types apart."""
    return json.dumps(_by_value(value), sort_keys=True, separators=(",", ":")).encode()


def _by_value(value: object) -> object:
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(value)
    if isinstance(value, dict):
        return {key: _by_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_by_value(item) for item in value]
    return value


class Rule:
    """By which tokens one consumer is known, compiled."""

    __slots__ = (
        "algorithms", "audiences", "claims", "consumer", "headers", "issuer", "keep_token", "order", "places",
        "require_exp", "scopes", "skew",
    )  # fmt: skip

    def __init__(self, consumer: Consumer, credential: Credential, places: int, order: int) -> None:
        self.consumer = consumer
        self.places = places
        """Bits of the places where its token may stand."""
        self.order = order
        self.issuer = credential.issuer or None
        self.audiences = frozenset(credential.audiences)
        self.algorithms = frozenset(credential.algorithms)
        self.claims = tuple(sorted((name, canonical(value)) for name, value in credential.claims.items()))
        self.skew = credential.clock_skew_seconds
        self.require_exp = credential.require_exp
        self.scopes = frozenset(scope for some in credential.scopes for scope in some.split())
        self.keep_token = credential.keep_token
        self.headers = credential.claims_to_headers

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells this credential from others that have the same keys."""
        return self.places, self.issuer, self.audiences, self.claims

    def timing(self, claims: Claims, now: float) -> Timing:
        """Judge the token's dates at `now`, seconds since the epoch (RFC 7519, sections 4.1.4 to 4.1.6)."""
        if claims.expires is None:
            if self.require_exp:
                return "endless"
        elif now >= claims.expires + self.skew:
            return "expired"
        return "early" if claims.begins > now + self.skew else "good"


class Source:
    """One set of keys and the consumers whose tokens it verifies, found by issuer and claims."""

    __slots__ = ("_tables", "inline", "remote", "rules")

    def __init__(self, keys: KeySet | RemoteKeys) -> None:
        self.inline = keys if isinstance(keys, KeySet) else None
        self.remote = keys if isinstance(keys, RemoteKeys) else None
        self.rules: list[Rule] = []
        # For each issuer and each choice of claims that consumers are told apart by, the consumers by their values.
        self._tables: dict[str | None, dict[tuple[str, ...], dict[tuple[bytes, ...], list[Rule]]]] = {}

    def add(self, rule: Rule) -> Rule | None:
        """Add a consumer's rule; returns one that stands for the same tokens, if there is one."""
        names = tuple(name for name, _ in rule.claims)
        table = self._tables.setdefault(rule.issuer, {}).setdefault(names, {})
        alike = table.setdefault(tuple(value for _, value in rule.claims), [])
        double = next((other for other in alike if other.identity == rule.identity), None)
        alike.append(rule)
        self.rules.append(rule)
        return double

    @property
    def issuers(self) -> Iterable[str | None]:
        """The issuers whose tokens are of interest; None: any."""
        return self._tables

    def matching(self, claims: Claims, algorithm: str) -> Iterator[Rule]:
        """Yield the rules whose consumer a verified token stands for."""
        for issuer in {claims.issuer, None}:
            for names, table in self._tables.get(issuer, {}).items():
                if not all(name in claims.values for name in names):
                    continue
                for rule in table.get(tuple(canonical(claims.values[name]) for name in names), ()):
                    if rule.audiences and rule.audiences.isdisjoint(claims.audiences):
                        continue
                    if not rule.algorithms or algorithm in rule.algorithms:
                        yield rule


class Fields(NamedTuple):
    """Header fields made of one token's claims, for one consumer."""

    replaced: frozenset[bytes]
    """Names whose fields they take the place of."""
    added: tuple[tuple[bytes, bytes], ...]

    def write(self, headers: Headers) -> None:
        """Set them."""
        if not self.replaced.isdisjoint(headers.index):
            headers.remove_all(self.replaced)
        headers.extend_trusted(self.added)


def fields_of(mapping: Iterable[ClaimToHeader], claims: Claims) -> Fields:
    """Return what the service is told of a token's claims."""
    fields: dict[bytes, list[bytes]] = {}
    replaced: set[bytes] = set()
    for item in mapping:
        name, value = header_name(item.header), field_value(claims.values.get(item.claim))
        if value is None:
            continue
        if item.override:
            fields[name] = [value]
            replaced.add(name)
        else:
            fields.setdefault(name, []).append(value)
    return Fields(frozenset(replaced), tuple((name, value) for name, values in fields.items() for value in values))


def field_value(value: object) -> bytes | None:
    """Return a claim as the value of a header: texts in UTF-8, arrays and objects as JSON (RFC 8259) in ASCII.

    None where there is no claim, or none that a header can carry unchanged: one with control characters, with blanks
    around it, or too long.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value
        if text != text.strip() or not text.isprintable():
            return None
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, Spelled):
        text = value.text
    else:
        try:
            text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("\x7f", "\\u007f")
        except ValueError:
            return None
    encoded = text.encode()
    return encoded if 0 < len(encoded) <= MAX_CLAIM_BYTES else None
