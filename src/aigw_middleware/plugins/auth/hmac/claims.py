"""What a signed request says of itself: whose key signed what, when, with which algorithm. Nothing of it is verified here.

Sources: draft-cavage-http-signatures-12, section 2.1 (parameters of `Authorization: Signature`); RFC 9110, section 5.6.7
(dates); RFC 3230, section 4.3.2 (`Digest`) and RFC 1864 (`Content-MD5`).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hmac import compare_digest
from typing import Any, Final, TypeAlias

from ....headers import Headers
from .signing import HASHES, REQUEST_TARGET, X_CA_METHODS, Dialect, Fields, joined

MAX_AUTHORIZATION: Final = 8_192  # bytes of an `Authorization` that is read
MAX_LISTED: Final = 64  # names of headers that a signature may list
MAX_LIST: Final = 2_048  # bytes of that list
MAX_DATE: Final = 40  # bytes

_SINGLE: Final = frozenset(
    {
        *(b"authorization", b"content-length", b"content-md5", b"content-type", b"date", b"digest"),
        *(b"x-ca-key", b"x-ca-nonce", b"x-ca-signature", b"x-ca-signature-headers", b"x-ca-signature-method"),
        b"x-ca-timestamp",
    }
)
"""Headers that mean one thing: a request that repeats one means what the reader chooses, so it is refused."""
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_PARAMETER: Final = re.compile(rb' *([A-Za-z]+)="([^"]*)" *(?:,|\Z)')
_MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH: Final[Mapping[bytes, int]] = {name: number for number, name in enumerate(_MONTHS, 1)}
_TIME: Final = rb"(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
_IMF_FIXDATE: Final = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<d>\d\d) (?P<m>[A-Z][a-z]{2}) (?P<y>\d{4}) " + _TIME + rb" GMT(?:\+00:00)?\Z"
)
_RFC_850: Final = re.compile(
    rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<d>\d\d)-(?P<m>[A-Z][a-z]{2})-(?P<y>\d\d) " + _TIME + rb" GMT\Z"
)
_ASCTIME: Final = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?P<m>[A-Z][a-z]{2}) (?P<d>[ \d]\d) " + _TIME + rb" (?P<y>\d{4})\Z"
)
_DIGESTS: Final[Mapping[bytes, Callable[[bytes], Any]]] = {b"sha-256": hashlib.sha256, b"sha-512": hashlib.sha512}


Listed: TypeAlias = tuple[tuple[bytes, ...], frozenset[bytes]]


@lru_cache(256)  # a caller lists the same headers in each of its requests
def _listed(names: bytes, separator: bytes) -> Listed | None:
    """Return the names of a list; None when one of them is none, or there are too many."""
    listed = tuple(names.split(separator, MAX_LISTED)) if names else ()
    if len(listed) > MAX_LISTED or not all(name == REQUEST_TARGET or _TOKEN.match(name) for name in listed):
        return None
    return listed, frozenset([name.lower() for name in listed])


class Claim:
    """A credential as it stands in one request, until it is verified, and after that until the body is."""

    __slots__ = ("admitted", "algorithm", "covered", "dialect", "fields", "key_id", "listed", "signature", "unverified")

    def __init__(
        self,
        dialect: Dialect,
        key_id: bytes,
        algorithm: str,
        listed: Listed,
        signature: bytes,
        fields: Fields,
    ) -> None:
        self.dialect = dialect
        self.key_id = key_id
        self.algorithm = algorithm
        self.listed, self.covered = listed
        """Names of the signed headers: as the caller spells them, and in lower case."""
        self.signature = signature
        """In base64, as sent."""
        self.fields = fields
        self.unverified = False
        """Whether the signature covers a form, so that it waits for the body."""
        self.admitted = True
        """Whether its consumer may enter, if it is right."""


def fields_of(headers: Headers) -> Fields | None:
    """Return the request's headers for signing; None when one that means one thing is there twice."""
    raw, index = headers.raw, headers.index
    if len(raw) == len(index):
        return index
    seen: set[bytes] = set()
    for name, _ in raw:
        if name in seen and name in _SINGLE:
            return None
        seen.add(name)
    return joined(raw)


def x_ca_claim(fields: Fields) -> Claim | str:
    """Return what the `x-ca-*` headers claim, or the name of the problem with them (see `hmac_refusals`)."""
    key_id, signature = fields.get(b"x-ca-key"), fields.get(b"x-ca-signature")
    if not key_id:
        return "missing_key"
    if not signature:
        return "empty_signature"
    algorithm = X_CA_METHODS.get(fields.get(b"x-ca-signature-method", b"HmacSHA256"))
    if algorithm is None:
        return "invalid_algorithm"
    names = fields.get(b"x-ca-signature-headers", b"").lower()
    listed = _listed(names, b",") if len(names) <= MAX_LIST else None
    if listed is None or REQUEST_TARGET in listed[1]:
        return "malformed"
    return Claim("x-ca", key_id, algorithm, listed, signature, fields)


def signature_claim(authorization: bytes, fields: Fields) -> Claim | str:
    """Return what `Authorization: Signature ...` claims, or the name of the problem with it."""
    parameters = _parameters(authorization)
    if parameters is None:
        return "malformed"
    key_id, signature = parameters.get(b"keyId"), parameters.get(b"signature")
    if not key_id or not signature:
        return "missing_key"
    algorithm = parameters.get(b"algorithm")
    if not algorithm:
        return "missing_algorithm"
    name = algorithm.decode("latin-1")
    if name not in HASHES:
        return "invalid_algorithm"
    names = parameters.get(b"headers", b"")
    listed = _listed(names, b" ") if len(names) <= MAX_LIST else None
    if listed is None:
        return "malformed"
    return Claim("signature", key_id, name, listed, signature, fields)


def _parameters(authorization: bytes) -> dict[bytes, bytes] | None:
    """Return the parameters behind `Signature `; None when they cannot be read in exactly one way."""
    if len(authorization) > MAX_AUTHORIZATION:
        return None
    found: dict[bytes, bytes] = {}
    place, end = len(b"Signature "), len(authorization)
    while place < end:
        match = _PARAMETER.match(authorization, place)
        if match is None or match[1] in found:
            return None
        found[match[1]] = match[2]
        place = match.end()
    return found


def said_time(claim: Claim, *, covered: bool) -> float | None:
    """Return when the caller says it signed, in seconds since the epoch; None when it does not say so rightly.

    `covered`: a time that the signature does not cover does not count.
    """
    date = claim.fields.get(b"date")
    if date or claim.dialect == "signature":
        return _time_of(date, claim.dialect == "signature") if date and len(date) <= MAX_DATE else None
    stamp = claim.fields.get(b"x-ca-timestamp")
    if not stamp or (covered and b"x-ca-timestamp" not in claim.covered) or not stamp.isdigit() or len(stamp) > 16:
        return None
    return int(stamp) / 1_000 if len(stamp) >= 13 else float(stamp)


@lru_cache(64)  # many requests say the same second
def _time_of(date: bytes, strict: bool) -> float | None:
    """Return the time of an HTTP date, `strict`: in its one modern form, without an offset of zero behind it."""
    match = _IMF_FIXDATE.match(date)
    if match is None and not strict:
        match = _RFC_850.match(date) or _ASCTIME.match(date)
    if match is None or (strict and date.endswith(b"+00:00")):
        return None
    day, month, year, hour, minute, second = match.group("d", "m", "y", "H", "M", "S")
    years = int(year)
    if len(year) == 2:  # RFC 9110, 5.6.7, would look at the clock; in 1970 to 2069 the answer is the same
        years += 1900 if years >= 70 else 2000
    try:
        said = datetime(years, _MONTH.get(month, 0), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    return said.timestamp()


def is_md5_of(value: bytes, body: bytes) -> bool:
    """Whether a `Content-MD5` is that of the body."""
    return compare_digest(value, b64encode(hashlib.md5(body, usedforsecurity=False).digest()))


def is_digest_of(value: bytes, body: bytes) -> bool:
    """Whether a `Digest` (`SHA-256=...`, `SHA-512=...`) is that of the body: each of a known kind, and at least one."""
    known = right = 0
    for part in value.split(b",", 8):
        kind, _, text = part.strip().partition(b"=")
        hashed = _DIGESTS.get(kind.lower())
        if hashed is not None:
            known += 1
            right += compare_digest(text, b64encode(hashed(body).digest()))
    return 0 < known == right
