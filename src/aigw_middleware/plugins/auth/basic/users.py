"""The users of basic-auth: how a user and its password are written, and whose password is checked for a name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterator
from typing import Annotated, TypeAlias
from unicodedata import normalize

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo, model_validator

from ....config.secrets import Secret, read_secret
from ....consumers import Consumer
from ....headers import header_value
from ....plugin import Field, PluginConfig
from ..key.api_keys import listed
from ..key.consumers import MAX_NAME_LENGTH
from .passwords import KNOWN_FORMS, PasswordHash, plain_password, read_hash

MAX_CREDENTIALS = 2_048
"""Characters of base64 that are decoded; who sends more is refused unread."""
MAX_LOGIN_BYTES = MAX_CREDENTIALS // 4 * 3
"""Of a user name, a colon and a password."""
MAX_PROBLEMS = 20
"""Problems of one file that are told."""

_CONTROLS = re.compile("[\x00-\x1f\x7f]")  # neither a user name nor a password has any (RFC 7617, section 2)
_SHOULD = "should be `user:password`, `user:<hash>`, the base64 of one, `env:NAME` or `file:path`"


class Login:
    """A user name, and the hash of its password."""

    __slots__ = ("password", "plain", "reference", "user")

    def __init__(self, user: str, password: PasswordHash, reference: str = "", *, plain: bool = False) -> None:
        self.user = user
        self.password = password
        self.plain = plain
        """Whether the password itself was written, in no form of hash."""
        self.reference = reference
        """`env:NAME` or `file:path` when it was read from there, else empty."""

    @classmethod
    def of(cls, value: object, *, local: bool = True) -> Login:
        """Read `user:password`, `user:<hash>`, the base64 of one, `env:NAME` or `file:path`. Raises ValueError."""
        secret = read_secret(value, local=local) if isinstance(value, str) else value
        if not isinstance(secret, Secret):
            raise ValueError(_SHOULD)
        text = secret.reveal()
        if ":" not in text:
            try:
                text = base64.b64decode(text, validate=True).decode()
            except ValueError:
                raise ValueError(_SHOULD) from None
        user, colon, password = text.partition(":")
        if not user or not colon:
            raise ValueError(_SHOULD)
        return cls.read(user, password, secret.reference)

    @classmethod
    def read(cls, user: str, password: str, reference: str = "") -> Login:
        """Return the login of a name and a password or its hash. Raises ValueError."""
        if _CONTROLS.search(user) or _CONTROLS.search(password):
            raise ValueError("should have no control characters")
        if len(f"{user}:{password}".encode()) > MAX_LOGIN_BYTES:
            raise ValueError(f"should have at most {MAX_LOGIN_BYTES} bytes")
        written = read_hash(password)
        made = plain_password(password) if written is None else written
        return cls(normalize("NFC", user), made, reference, plain=written is None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Login) and self._facts == other._facts

    @property
    def _facts(self) -> tuple[object, ...]:
        return self.user, self.plain, self.password

    def __hash__(self) -> int:
        return hash((self.user, self.password))

    def __repr__(self) -> str:
        return f"Login({self.reference or '***'})"


def _validated(value: object, info: ValidationInfo) -> Login:
    return Login.of(value, local=bool((info.context or {}).get("local", True)))


LoginField: TypeAlias = Annotated[
    Login,
    PlainValidator(_validated, json_schema_input_type=str),
    PlainSerializer(lambda login: login.reference or "***", return_type=str),
]
LoginFields: TypeAlias = Annotated[tuple[LoginField, ...], BeforeValidator(listed)]


class BasicConsumer(PluginConfig):
    """A caller, and the user names and passwords it has; a declared one of that name has its own in addition."""

    name: str = Field(
        min_length=1, max_length=MAX_NAME_LENGTH, description="Name of the consumer; what the service is told."
    )
    credential: LoginField | None = Field(
        None, description="`user:password`, `user:<hash>`, the base64 of one, `env:NAME` or `file:path`."
    )
    credentials: LoginFields = Field((), description="Several of them, instead of `credential`.")

    @model_validator(mode="after")
    def _complete(self) -> BasicConsumer:
        if (self.credential is not None) == bool(self.credentials):
            raise ValueError(f"consumer {self.name!r} should have either `credential` or `credentials`")
        header_value(self.name.encode())
        return self

    @property
    def logins(self) -> tuple[Login, ...]:
        """The login, or the logins."""
        return self.credentials if self.credential is None else (self.credential,)


class Account:
    """Whose a user name is, and what its password may be."""

    __slots__ = ("consumer", "hashes")

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.hashes: tuple[PasswordHash, ...] = ()

    def matches(self, password: bytes) -> bool:
        """Whether that is a password of the user. Takes long, on purpose: not for the event loop."""
        return any(one.matches(password) for one in self.hashes)


class Users:
    """All user names of a plug-in, each of which belongs to one consumer."""

    def __init__(self, *, encrypted: bool) -> None:
        self.weak: dict[str, dict[str, None]] = {}
        """The users of each kind of weak hash."""
        self._encrypted = encrypted
        self._accounts: dict[str, Account] = {}
        self._in_a_row: tuple[Account, ...] = ()
        self._key = os.urandom(32)

    def add(self, consumer: Consumer, login: Login) -> str:
        """Let a user in as that consumer; returns what speaks against it, else an empty string."""
        password = login.password
        if password.fast and not self._encrypted:
            return (
                f"user {login.user!r} has one of the {password.weakness}, which are as good as the password: "
                "make a new one with `htpasswd -B`, or set `encrypted: true` to accept it as upstream does"
            )
        if login.plain and self._encrypted:
            # Else the text of a hash that is not known here would be what lets its user in.
            return f"user {login.user!r} should have a hash, as `encrypted` says, in one of these forms: {KNOWN_FORMS}"
        account = self._accounts.setdefault(login.user, Account(consumer))
        if account.consumer.name != consumer.name:
            return f"consumers {account.consumer.name!r} and {consumer.name!r} have the same user name {login.user!r}"
        if password.weakness:
            self.weak.setdefault(password.weakness, {})[login.user] = None
        if password not in account.hashes:
            account.hashes = (*account.hashes, password)
        return ""

    def complete(self) -> None:
        """Be ready for `account`: all users are there."""
        self._in_a_row = tuple(self._accounts.values())

    def hashes(self) -> Iterator[PasswordHash]:
        """Yield every hash."""
        for account in self._accounts.values():
            yield from account.hashes

    def account(self, user: str) -> tuple[Account | None, bool]:
        """Return whose password is to be checked for a user name, and whether it is that user's own.

        For a name that nobody has it is somebody else's, always the same one, so that how long the answer takes is no
        sign of who exists, however different the hashes are. None: there are no users.
        """
        known = self._accounts.get(user)
        if known is not None:
            return known, True
        if not self._in_a_row:
            return None, False
        place = hashlib.blake2b(user.encode("utf-8", "surrogateescape"), key=self._key, digest_size=8).digest()
        return self._in_a_row[int.from_bytes(place, "big") % len(self._in_a_row)], False


def presented(value: bytes) -> tuple[str, bytes] | None:
    """Return the user name and the password in the credentials of an `Authorization: Basic`; None: there are none.

    They are UTF-8, which the challenge asks for (RFC 7617, 2.1); what is not is taken for latin-1, as older clients
    send it.
    """
    try:
        data = binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if not text.isascii():
        text = normalize("NFC", text)
    user, colon, password = text.partition(":")
    if not colon or _CONTROLS.search(text):
        return None
    return user, password.encode()


def users_of_file(data: bytes) -> Iterator[tuple[int, Login | str]]:
    """Yield each line of an htpasswd file by its number: a login, or what is wrong with it.

    Empty lines and those that begin with `#` are no lines; what stands behind a second colon is a comment.
    """
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(b"#"):
            continue
        try:
            user, colon, rest = stripped.decode().partition(":")
            text = rest.partition(":")[0]
            if not user or not colon:
                raise ValueError("should read `user:<hash>`")
            if not text.startswith(("$", "{")):
                raise ValueError("should have a hash after the colon, as `htpasswd -B` writes it (DES is no such hash)")
            header_value(user.encode())
            yield number, Login.read(user, text)
        except UnicodeDecodeError:
            yield number, "is not UTF-8"
        except ValueError as error:
            yield number, str(error)
