"""A signed token in its compact form (RFC 7515, section 7.1), read strictly, and what it claims once it is verified.

`Claims` come out of `Token.verified` and of nothing else: what nobody has verified cannot be mistaken for what somebody has.
"""

from __future__ import annotations

from typing import Any, Final

from .encoding import base64url, json_object
from .keys import ALGORITHMS, KeySet

MAX_MOMENT: Final = 253_402_300_799
"""The last second of the year 9999; a larger date is one in milliseconds, or no date."""
MAX_HEADERS: Final = 256
"""Headers of verified tokens that are kept read: an issuer writes the same one before every token."""


class MalformedToken(ValueError):
    """Not a signed token that anybody here could verify; the text says why, never what was in it."""


class Claims:
    """What a verified token says."""

    __slots__ = ("audiences", "begins", "expires", "issuer", "scopes", "values")

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.issuer = _text(values, "iss")
        _text(values, "sub")
        _text(values, "jti")
        self.audiences = _audiences(values.get("aud", ()))
        self.expires = _moment(values, "exp")
        """Seconds since the epoch at which it ends (RFC 7519, section 4.1.4), or None."""
        self.begins = max(_moment(values, "nbf") or 0, _moment(values, "iat") or 0)
        """Seconds since the epoch before which it is not to be accepted."""
        self.scopes = _scopes(values.get("scope")) | _scopes(values.get("scp"))


class Token:
    """A token that nobody has verified yet."""

    __slots__ = ("_claims", "_header", "_header_segment", "_message", "_signature", "algorithm", "kid")

    def __init__(self, text: bytes, headers: HeaderCache) -> None:
        """Read `text`, whose length was bounded before. Raises MalformedToken."""
        segments = text.split(b".", 3)
        if len(segments) != 3:
            raise MalformedToken("not three segments")
        self._header_segment, payload, signature = segments
        try:
            self._header = headers.get(self._header_segment) or read_header(base64url(self._header_segment))
            self._claims = Claims(json_object(base64url(payload)))
            self._signature = base64url(signature)
        except ValueError as error:
            raise MalformedToken(str(error)) from None
        self.algorithm, self.kid = self._header
        self._message = text[: len(self._header_segment) + 1 + len(payload)]

    @property
    def issuer(self) -> str | None:
        """Who it says has issued it: good for choosing whose keys to try, and for nothing else."""
        return self._claims.issuer

    def verified(self, keys: KeySet, headers: HeaderCache) -> Claims | None:
        """Return the claims when one of the keys that may have signed it has; else None."""
        for key in keys.candidates(self.algorithm, self.kid):
            if key.verify(self.algorithm, self._message, self._signature):
                headers.keep(self._header_segment, self._header)
                return self._claims
        return None

    def __repr__(self) -> str:
        return f"<Token {self.algorithm}>"


class HeaderCache:
    """Headers of verified tokens, by their encoded form. What is not verified is never kept, so nobody can fill it."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, str | None]] = {}

    def get(self, segment: bytes) -> tuple[str, str | None] | None:
        """Return algorithm and key id."""
        return self._known.get(segment)

    def keep(self, segment: bytes, header: tuple[str, str | None]) -> None:
        """Remember a header."""
        if len(self._known) < MAX_HEADERS:
            self._known[segment] = header


def read_header(data: bytes) -> tuple[str, str | None]:
    """Return algorithm and key id of a JOSE header. Raises ValueError.

    Keys and addresses of keys in it (`jwk`, `jku`, `x5c`, `x5u`) are not looked at: they are the sender's. No extension is
    understood, so one that must be (`crit`) is refused (RFC 7515, section 4.1.11), as is an unencoded payload (RFC 7797).
    """
    header = json_object(data)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ValueError("no supported algorithm")
    if "crit" in header or header.get("b64", True) is not True:
        raise ValueError("an extension that is not supported")
    _text(header, "typ")
    return algorithm, _text(header, "kid")


def _text(values: dict[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None and name not in values:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _moment(values: dict[str, Any], name: str) -> float | None:
    value = values.get(name)
    if value is None and name not in values:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_MOMENT:
        raise ValueError(f"{name} is no date")
    return value


def _audiences(value: object) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset((value,))
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError("aud is neither a text nor a list of texts")
    return frozenset(value)


def _scopes(value: object) -> frozenset[str]:
    """Return the scopes of a text with spaces between them (RFC 8693, section 4.2), or of a list."""
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list):
        return frozenset(item for item in value if isinstance(item, str))
    return frozenset()
