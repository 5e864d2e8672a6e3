"""Keys that verify signatures, each bound to the algorithms it may be used with.

What a key may verify follows from the key: its type and curve, narrowed by its `alg`, `use` and `key_ops` (RFC 7517,
sections 4.2 to 4.4). What a token says in its own header only chooses among those, so a public key is never taken for a
shared secret, and a key for one algorithm never verifies another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ....errors import ConfigError, Problem

if TYPE_CHECKING:
    from joserfc.jwa import JWSAlgModel

HMAC = ("HS256", "HS384", "HS512")
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
"""Algorithm of each curve, and the length of a coordinate in bytes (RFC 7518, sections 3.4 and 6.2.1.2)."""
EDWARDS = {"Ed25519": 32, "Ed448": 57}
"""Length of a public key in bytes (RFC 8037, section 2; RFC 8032)."""
ALGORITHMS = frozenset((*HMAC, *RSA, *(name for name, _ in CURVES.values()), "EdDSA", *EDWARDS))
"""`Ed25519` and `Ed448` are the names of RFC 9864 for what `EdDSA` does with such a key."""

MAX_TRIES = 8
"""Signatures tried for one token that names no key: with more keys than that, it has to name one."""


class Library(NamedTuple):
    """What is used of joserfc."""

    models: Mapping[str, JWSAlgModel]
    oct: Any
    rsa: Any
    ec: Any
    okp: Any


def library() -> Library:
    """Import joserfc. Raises ConfigError with the line that installs it."""
    try:
        from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
        from joserfc.jws import JWSRegistry
    except ImportError as error:
        missing = (error.name or "a module").partition(".")[0]
        problem = Problem("", f"jwt-auth needs {missing}, which is missing", "pip install 'aigw-middleware[jwt]'")
        raise ConfigError([problem]) from None
    return Library(JWSRegistry.algorithms, OctKey, RSAKey, ECKey, OKPKey)


class VerificationKey:
    """A key and, by the name of each algorithm it may be used with, how to check a signature."""

    __slots__ = ("_key", "_models", "kid", "short")

    def __init__(self, key: Any, models: Mapping[str, JWSAlgModel], kid: str | None, *, short: bool = False) -> None:
        self._key = key
        self._models = models
        self.kid = kid
        self.short = short
        """Whether it is a shared secret that can be guessed."""

    @property
    def algorithms(self) -> Iterable[str]:
        """Names of the algorithms it may be used with."""
        return self._models

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is that of `message`. Raises KeyError for an algorithm that the key is not for."""
        return self._models[algorithm].verify(message, signature, self._key)

    def __repr__(self) -> str:
        return f"VerificationKey({self.kid!r}, {', '.join(self._models)})"


class KeySet:
    """Keys, found by algorithm and key id."""

    __slots__ = ("_by_algorithm", "_by_kid", "_kids", "_without_kid", "notes", "short")

    def __init__(self, keys: Iterable[VerificationKey], notes: Iterable[str] = ()) -> None:
        self._by_algorithm: dict[str, tuple[VerificationKey, ...]] = {}
        self._by_kid: dict[tuple[str, str], tuple[VerificationKey, ...]] = {}
        self._without_kid: dict[str, tuple[VerificationKey, ...]] = {}
        self._kids: set[str] = set()
        self.notes = tuple(notes)
        """Which keys were left out, and why."""
        self.short = False
        for key in keys:
            self.short = self.short or key.short
            for name in key.algorithms:
                self._by_algorithm[name] = (*self._by_algorithm.get(name, ()), key)
                if key.kid is None:
                    self._without_kid[name] = (*self._without_kid.get(name, ()), key)
                else:
                    self._kids.add(key.kid)
                    self._by_kid[name, key.kid] = (*self._by_kid.get((name, key.kid), ()), key)

    def candidates(self, algorithm: str, kid: str | None) -> tuple[VerificationKey, ...]:
        """Return the keys that may have signed: those of that id and those without one; without an id, all that fit."""
        if kid is None:
            fitting = self._by_algorithm.get(algorithm, ())
            return fitting if len(fitting) <= MAX_TRIES else ()
        named = self._by_kid.get((algorithm, kid), ())
        return named + self._without_kid[algorithm][:MAX_TRIES] if algorithm in self._without_kid else named

    def knows(self, kid: str | None) -> bool:
        """Whether a key has that id, so that nothing newer needs to be asked for."""
        return kid in self._kids

    @property
    def shared_secrets(self) -> bool:
        """Whether a key verifies what everybody who has it can sign."""
        return any(name in self._by_algorithm for name in HMAC)
