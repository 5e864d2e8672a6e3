"""Reading published keys (RFC 7517): what each is for, and whether it is one at all."""

from __future__ import annotations

from typing import Any

from .encoding import base64url, json_object
from .keys import ALGORITHMS, CURVES, EDWARDS, HMAC, RSA, KeySet, Library, VerificationKey, library

MAX_KEYS = 100
MIN_RSA_BITS, MAX_RSA_BITS = 2_048, 8_192
"""RFC 7518, section 3.3; a larger one would only make each forged token cost more."""
SHORT_SECRET = 32
"""Bytes; a shared secret below the size of SHA-256's output can be guessed (RFC 7518, section 3.2), and is warned about."""
_ASYMMETRIC = (b"-----BEGIN ", b"---- BEGIN ", b"ssh-", b"ecdsa-sha2-")


def read_key_set(document: bytes, *, lenient: bool = False) -> KeySet:
    """Read a JWK Set (RFC 7517, section 5).

    Keys for other purposes (encryption, other types and curves) are left out. With `lenient` malformed ones are as well:
    what somebody else publishes must not fail as a whole. Raises ValueError, without any key's material, when there is
    no key to verify with; ConfigError without the library.
    """
    try:
        members = json_object(document).get("keys")
    except ValueError as error:
        raise ValueError(f"is not a JWK Set: {error}") from None
    if not isinstance(members, list) or len(members) > MAX_KEYS:
        raise ValueError(f"should have a list `keys` of at most {MAX_KEYS} keys")
    tools = library()
    keys: list[VerificationKey] = []
    notes: list[str] = []
    for number, member in enumerate(members):
        try:
            key = _key(member, tools)
        except ValueError as error:
            reason = f"keys[{number}] {error}"
            if not lenient:
                raise ValueError(reason) from None
            notes.append(reason)
            continue
        if isinstance(key, str):
            notes.append(f"keys[{number}] {key}")
        else:
            keys.append(key)
    if not keys:
        raise ValueError("has no key that verifies signatures" + (f": {'; '.join(notes)}" if notes else ""))
    return KeySet(keys, notes)


def _key(member: object, tools: Library) -> VerificationKey | str:
    """Return the key, or why it is not for us. Raises ValueError when it is malformed."""
    if not isinstance(member, dict):
        raise ValueError("should be an object")
    kind = _text(member, "kty")
    purpose = member.get("use")
    if purpose is not None and purpose != "sig":
        return "is for another use than signatures"
    operations = member.get("key_ops")
    if operations is not None:
        if not isinstance(operations, list) or not all(isinstance(name, str) for name in operations):
            raise ValueError("has `key_ops` that is no list of texts")
        if len(set(operations)) != len(operations):
            raise ValueError("has an operation twice in `key_ops`")  # RFC 7517, section 4.3
        if "verify" not in operations:
            return "is not for verifying"
    kid = _text(member, "kid") if "kid" in member else None
    made = _READERS[kind](member, tools) if kind in _READERS else None
    if made is None:
        return "has a type or curve that no supported algorithm uses"
    key, names, size = made
    if "alg" in member:
        declared = _text(member, "alg")
        if declared not in names:
            return (
                "has a type that its `alg` does not go with" if declared in ALGORITHMS else "is for another algorithm"
            )
        names = (declared,)
    models = {name: tools.models["EdDSA" if name in EDWARDS else name] for name in names}
    return VerificationKey(key, models, kid, short=kind == "oct" and size < SHORT_SECRET)


def _text(member: dict[str, Any], name: str) -> str:
    value = member.get(name)
    if not isinstance(value, str):
        raise ValueError(f"should have `{name}` as a text")
    return value


def _octets(member: dict[str, Any], name: str, length: int = 0) -> bytes:
    text = _text(member, name).encode("utf-8", "replace")
    try:
        octets = base64url(text)
    except ValueError as error:
        raise ValueError(f"`{name}`: {error}") from None
    if not octets or (length and len(octets) != length):
        raise ValueError(f"`{name}` has not the length it should have")
    return octets


Made = tuple[Any, tuple[str, ...], int]
"""A key of the library, the algorithms of its type, its size in bytes."""


def _oct(member: dict[str, Any], tools: Library) -> Made:
    secret = _octets(member, "k")
    if secret.lstrip().startswith(_ASYMMETRIC):  # a public key is public: whoever has it could sign
        raise ValueError("has a public or private key as its shared secret")
    return tools.oct(secret, secret), HMAC, len(secret)


def _rsa(member: dict[str, Any], tools: Library) -> Made:
    modulus = int.from_bytes(_octets(member, "n"), "big")
    exponent = int.from_bytes(_octets(member, "e"), "big")
    bits = modulus.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise ValueError(f"should have a modulus of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits (RFC 7518, section 3.3)")
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > 64 or modulus % 2 == 0:
        raise ValueError("has a modulus or an exponent that no RSA key has")
    key = tools.rsa.binding.import_public_key({"n": member["n"], "e": member["e"]})
    return tools.rsa(key, key), RSA, bits // 8


def _ec(member: dict[str, Any], tools: Library) -> Made | None:
    curve = _text(member, "crv")
    if curve not in CURVES:
        return None
    name, length = CURVES[curve]
    _octets(member, "x", length)
    _octets(member, "y", length)
    try:
        key = tools.ec.binding.import_public_key({"crv": curve, "x": member["x"], "y": member["y"]})
    except ValueError:
        raise ValueError("is not a point of its curve") from None
    return tools.ec(key, key), (name,), length


def _okp(member: dict[str, Any], tools: Library) -> Made | None:
    curve = _text(member, "crv")
    if curve not in EDWARDS:
        return None
    _octets(member, "x", EDWARDS[curve])
    key = tools.okp.binding.import_public_key({"crv": curve, "x": member["x"]})
    return tools.okp(key, key), ("EdDSA", curve), EDWARDS[curve]


_READERS = {"oct": _oct, "RSA": _rsa, "EC": _ec, "OKP": _okp}
