"""Passwords as they are kept: the hash forms that are read, how each is verified, and how one is made.

| form | written | |
|---|---|---|
| scrypt | `$scrypt$ln=15,r=8,p=1$<salt>$<hash>` | what `password_hash` makes (RFC 7914) |
| argon2 | `$argon2id$v=19$m=65536,t=3,p=4$<salt>$<hash>`, argon2i, argon2d | extra `passwords` (RFC 9106) |
| bcrypt | `$2b$12$<salt and hash>`, `$2a$`, `$2y$` | extra `passwords`; what `htpasswd -B` writes |
| SHA-crypt | `$5$`, `$6$` | what Unix systems keep |
| MD5-crypt | `$apr1$`, `$1$` | outdated: accepted with a warning |
| SHA-1 | `{SHA}`, `{SSHA}` | a single turn: only where weak hashes are asked for |

A plain password, also written `{PLAIN}...`, is hashed when it is read and never kept. Nothing that is kept lets anybody
in: a hash is compared with the hash of what somebody presents, never with what is presented.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import importlib
import os
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias
from unicodedata import normalize

from ....errors import Problem
from .unix_crypt import read_unix_hash

Check: TypeAlias = Callable[[bytes], bool]

COST, BLOCK_SIZE = 15, 8
"""Of a scrypt hash that is made to be kept in a file: 2^15 turns over 1 KiB blocks, so 32 MiB."""
PLAIN_COST = 10
"""Of plain passwords. Whoever can read this memory can read the configuration too, so a start need not take long."""
MAX_MEMORY = 1 << 30
"""Bytes that verifying a scrypt hash may take; twice as much for argon2, as RFC 9106 recommends 2 GiB."""
MAX_BCRYPT_BYTES = 72
"""All that bcrypt looks at. A longer password never matches, else every one that begins alike would."""
MIN_BCRYPT_COST = 10
MAX_KNOWN = 4_096  # plain passwords whose hash is at hand when a rule or a reload brings them again
PACKAGES = {"argon2": "argon2-cffi", "bcrypt": "bcrypt"}

_PREFIX = re.compile(r"\$([a-z0-9-]{1,16})\$|\{([A-Za-z0-9.-]{1,16})\}")
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_ARGON2 = re.compile(
    r"\$argon2(?:id|i|d)(?:\$v=(?:16|19))?\$m=([1-9][0-9]{0,9}),t=[1-9][0-9]{0,9},p=([1-9][0-9]{0,7})"
    r"\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}"
)
_SCRYPT = re.compile(r"\$scrypt\$([a-z0-9,=]+)\$([A-Za-z0-9+/]*={0,2})\$([A-Za-z0-9+/]{22,}={0,2})")


class PasswordHash:
    """What is kept of a password."""

    __slots__ = ("_check", "_text", "fast", "module", "weakness")

    def __init__(self, text: str, check: Check, *, module: str = "", weakness: str = "", fast: bool = False) -> None:
        self._text = text
        self._check = check
        self.module = module
        """The module that verifies it, if it is not in the standard library."""
        self.weakness = weakness
        """What it should not be any more, for a warning; else empty."""
        self.fast = fast
        """Whether it takes a single turn, so that whoever has the hash has the password."""

    def matches(self, password: bytes) -> bool:
        """Whether that is the password. Takes long, on purpose: not for the event loop."""
        return self._check(password)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PasswordHash) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "PasswordHash(***)"


def password_hash(password: str) -> str:
    """Return the scrypt hash of a password, for a configuration or a file of users. Takes 32 MiB for a moment."""
    salt = os.urandom(16)
    digest = _scrypt(normalize("NFC", password).encode(), salt, COST, BLOCK_SIZE, 1, 32)
    return f"$scrypt$ln={COST},r={BLOCK_SIZE},p=1${_unpadded(salt)}${_unpadded(digest)}"


def read_hash(text: str) -> PasswordHash | None:
    """Return the hash that `text` is; None: it is in no such form. Raises ValueError when it is broken."""
    found = _PREFIX.match(text)
    if found is None:
        return None
    form = found[1] or found[2]
    if form == "PLAIN" and found[2]:
        return plain_password(text[found.end() :])
    reader = _READERS.get(found[0])
    if reader is None:
        raise ValueError(f"begins like a hash, but {found[0]} is no form of hash that is known here: {KNOWN_FORMS}")
    try:
        return reader(text)
    except (ValueError, binascii.Error) as error:
        reason = "is not base64" if isinstance(error, binascii.Error) else str(error)
        raise ValueError(f"the hash after {found[0]} {reason}") from None


def plain_password(password: str) -> PasswordHash:
    """Return a hash of a plain password that is good for this process only. Raises ValueError when there is none."""
    if not password:
        raise ValueError("the password is empty")
    salt, key = _of_process()
    data = normalize("NFC", password).encode()
    name = hashlib.blake2b(data, key=key, digest_size=32).digest()
    known = _known.get(name)
    if known is None:
        known = _scrypt_hash(data, salt)
        if len(_known) < MAX_KNOWN:
            _known[name] = known
    return known


_known: dict[bytes, PasswordHash] = {}


@functools.cache
def _of_process() -> tuple[bytes, bytes]:
    return os.urandom(16), os.urandom(32)


def _scrypt_hash(data: bytes, salt: bytes) -> PasswordHash:
    digest = _scrypt(data, salt, PLAIN_COST, BLOCK_SIZE, 1, 32)
    return PasswordHash(digest.hex(), functools.partial(_scrypt_matches, digest, salt, PLAIN_COST, BLOCK_SIZE, 1))


def missing_packages(hashes: Iterable[PasswordHash], name: str) -> list[Problem]:
    """Return a problem for each package that verifying the hashes takes and that is not installed."""
    problems = []
    for module in sorted({one.module for one in hashes if one.module}):
        try:
            importlib.import_module(module)
        except ImportError:
            message = f"{name} verifies {module} hashes with {PACKAGES[module]}, which is not installed"
            problems.append(Problem("", message, "pip install 'aigw-middleware[passwords]'"))
    return problems


# ---------------------------------------------------------------------- one form after the other


def _read_scrypt(text: str) -> PasswordHash:
    found = _SCRYPT.fullmatch(text)
    if found is None:
        raise ValueError("should read ln=<log2 of N>,r=<r>,p=<p>$<salt>$<hash>, with salt and hash in base64")
    parameters = dict(part.partition("=")[::2] for part in found[1].split(","))
    if parameters.keys() != {"ln", "r", "p"} or not all(part.isdigit() for part in parameters.values()):
        raise ValueError("should have the parameters ln, r and p")
    cost, block_size, lanes = (int(parameters[name][:9]) for name in ("ln", "r", "p"))
    if not 1 <= cost < 30 or not block_size or not lanes or 128 * block_size * ((1 << cost) + lanes + 2) > MAX_MEMORY:
        raise ValueError(f"should take at most {MAX_MEMORY >> 20} MiB to verify")
    salt, digest = _decoded(found[2]), _decoded(found[3])
    return PasswordHash(text, functools.partial(_scrypt_matches, digest, salt, cost, block_size, lanes))


def _scrypt_matches(digest: bytes, salt: bytes, cost: int, block_size: int, lanes: int, password: bytes) -> bool:
    return hmac.compare_digest(_scrypt(password, salt, cost, block_size, lanes, len(digest)), digest)


def _scrypt(password: bytes, salt: bytes, cost: int, block_size: int, lanes: int, length: int) -> bytes:
    memory = 128 * block_size * ((1 << cost) + lanes + 2)
    return hashlib.scrypt(
        password, salt=salt, n=1 << cost, r=block_size, p=lanes, maxmem=memory + (1 << 20), dklen=length
    )


def _read_argon2(text: str) -> PasswordHash:
    found = _ARGON2.fullmatch(text)
    if found is None:
        raise ValueError("should read v=19$m=<KiB>,t=<turns>,p=<lanes>$<salt>$<hash>, with salt and hash in base64")
    if not 8 * int(found[2]) <= int(found[1]) <= 2 * MAX_MEMORY >> 10:
        raise ValueError("should take at least 8 KiB for each lane, and at most 2 GiB")
    return PasswordHash(text, functools.partial(_argon2_matches, text), module="argon2")


def _argon2_matches(text: str, password: bytes) -> bool:
    from argon2.exceptions import VerifyMismatchError
    from argon2.low_level import Type, verify_secret

    kind = {"i": Type.I, "d": Type.D, "id": Type.ID}[text.split("$", 2)[1].removeprefix("argon2")]
    try:
        return verify_secret(text.encode(), password, kind)
    except VerifyMismatchError:
        return False


def _read_bcrypt(text: str) -> PasswordHash:
    found = _BCRYPT.fullmatch(text)
    if found is None:
        raise ValueError("should have a cost from 04 to 31, `$`, and 53 characters")
    weakness = f"bcrypt hashes of a cost below {MIN_BCRYPT_COST}" if int(found[1]) < MIN_BCRYPT_COST else ""
    return PasswordHash(text, functools.partial(_bcrypt_matches, text), module="bcrypt", weakness=weakness)


def _bcrypt_matches(text: str, password: bytes) -> bool:
    import bcrypt

    # It is hashed all the same, so that the answer takes as long.
    matches = bcrypt.checkpw(password[:MAX_BCRYPT_BYTES], text.encode())
    return matches and len(password) <= MAX_BCRYPT_BYTES


def _read_unix(text: str) -> PasswordHash:
    made = read_unix_hash(text)
    weakness = "" if made.form in ("5", "6") else f"${made.form}$ hashes (MD5-crypt)"

    def check(password: bytes) -> bool:
        return hmac.compare_digest(made.of(password), made.digits)

    return PasswordHash(text, check, weakness=weakness)


def _read_sha1(text: str) -> PasswordHash:
    form, _, digits = text[1:].partition("}")
    data = base64.b64decode(digits, validate=True)
    digest, salt = data[:20], data[20:]
    if len(digest) != 20 or bool(salt) != (form == "SSHA"):
        raise ValueError("should be the base64 of 20 bytes, with a salt behind them for {SSHA}")

    def check(password: bytes) -> bool:
        return hmac.compare_digest(hashlib.sha1(password + salt, usedforsecurity=False).digest(), digest)

    return PasswordHash(text, check, weakness=f"{{{form}}} hashes (SHA-1)", fast=True)


def _decoded(text: str) -> bytes:
    text = text.rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


_READERS: dict[str, Callable[[str], PasswordHash]] = {
    "$scrypt$": _read_scrypt,
    **dict.fromkeys(("$argon2id$", "$argon2i$", "$argon2d$"), _read_argon2),
    **dict.fromkeys(("$2b$", "$2y$", "$2a$"), _read_bcrypt),
    **dict.fromkeys(("$6$", "$5$", "$apr1$", "$1$"), _read_unix),
    **dict.fromkeys(("{SSHA}", "{SHA}"), _read_sha1),
}
KNOWN_FORMS = ", ".join(_READERS)
"""What hashes begin with, for messages."""
