"""MD5-crypt and SHA-crypt, the hashes that older files of users are full of.

MD5-crypt is what `htpasswd` wrote for long (`$apr1$`) and Unix before it (`$1$`); SHA-crypt (`$5$`, `$6$`) is what Unix
systems write since. Both are verified here, neither is made. SHA-crypt as specified in "Unix crypt using SHA-256 and
SHA-512", U. Drepper, version 0.6.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_ROUNDS = 500_000
"""Of SHA-crypt, in a hash that is accepted; half a second of a processor, as this is not C."""
DEFAULT_ROUNDS, MIN_ROUNDS = 5_000, 1_000
MD5_ROUNDS = 1_000

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MD5 = re.compile(r"\$(1|apr1)\$([^$:\n]{0,8})\$([./0-9A-Za-z]{22})")
_SHA = re.compile(r"\$([56])\$(?:rounds=([1-9][0-9]{0,8})\$)?([^$:\n]{0,16})\$([./0-9A-Za-z]{43}|[./0-9A-Za-z]{86})")


class UnixHash(NamedTuple):
    """A hash in one of these forms, taken apart."""

    form: str
    """`1`, `apr1`, `5` or `6`."""
    rounds: int
    salt: bytes
    digits: str

    def of(self, password: bytes) -> str:
        """Return the digits that the password would have."""
        if self.form in ("1", "apr1"):
            return _md5_crypt(password, self.salt, b"$%s$" % self.form.encode())
        return _sha_crypt(password, self.salt, self.rounds, "sha256" if self.form == "5" else "sha512")


def read_unix_hash(text: str) -> UnixHash:
    """Take a hash apart. Raises ValueError when it is not a whole one."""
    found = _MD5.fullmatch(text)
    if found is not None:
        return UnixHash(found[1], MD5_ROUNDS, found[2].encode(), found[3])
    found = _SHA.fullmatch(text)
    if found is None or len(found[4]) != (43 if found[1] == "5" else 86):
        raise ValueError("is cut off, or has characters that such a hash has not")
    rounds = max(int(found[2]), MIN_ROUNDS) if found[2] else DEFAULT_ROUNDS
    if rounds > MAX_ROUNDS:
        raise ValueError(f"should have at most {MAX_ROUNDS} rounds")
    return UnixHash(found[1], rounds, found[3].encode(), found[4])


def _md5_crypt(password: bytes, salt: bytes, magic: bytes) -> str:
    start = password + magic + salt + _repeated(_md5(password + salt + password), len(password))
    for bit in _bits(len(password)):
        start += b"\0" if bit else password[:1]
    digest = _md5(start)
    for turn in range(MD5_ROUNDS):
        digest = _md5(_mixed(turn, digest, password, salt))
    return _digits(digest, _MD5_ORDER, digest[11:12], 2)


def _sha_crypt(password: bytes, salt: bytes, rounds: int, algorithm: str) -> str:
    hashed: Any = getattr(hashlib, algorithm)
    inner: bytes = hashed(password + salt + password).digest()
    start = password + salt + _repeated(inner, len(password))
    for bit in _bits(len(password)):
        start += inner if bit else password
    digest: bytes = hashed(start).digest()
    long_password = _repeated(hashed(password * len(password)).digest(), len(password))
    long_salt = _repeated(hashed(salt * (16 + digest[0])).digest(), len(salt))
    for turn in range(rounds):
        digest = hashed(_mixed(turn, digest, long_password, long_salt)).digest()
    if algorithm == "sha256":
        return _digits(digest, _SHA256_ORDER, digest[:29:-1], 3)
    return _digits(digest, _SHA512_ORDER, digest[63:], 2)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()  # the form demands it, also where policy forbids MD5


def _repeated(data: bytes, length: int) -> bytes:
    return (data * (length // len(data) + 1))[:length]


def _bits(number: int) -> list[bool]:
    """Return the bits of a number, the lowest first."""
    return [bool(number >> place & 1) for place in range(number.bit_length())]


def _mixed(turn: int, digest: bytes, password: bytes, salt: bytes) -> bytes:
    """Return what a turn hashes."""
    odd = turn & 1
    middle = (salt if turn % 3 else b"") + (password if turn % 7 else b"")
    return password + middle + digest if odd else digest + middle + password


def _digits(digest: bytes, order: Sequence[tuple[int, int, int]], rest: bytes, length: int) -> str:
    """Write a digest with six bits a character; the last `length` characters are those of `rest`."""
    found = [_written(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in order]
    return "".join([*found, _written(int.from_bytes(rest, "big"), length)])


def _written(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> 6 * place & 63] for place in range(length))


_MD5_ORDER = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)]
_SHA256_ORDER, _SHA512_ORDER = [(0, 10, 20)], [(0, 21, 42)]
for _ in range(9):
    first, second, third = _SHA256_ORDER[-1]
    _SHA256_ORDER.append((third + 1, first + 1, second + 1))
for _ in range(20):
    first, second, third = _SHA512_ORDER[-1]
    _SHA512_ORDER.append((second + 1, third + 1, first + 1))
