"""Identify callers by user name and password, and tell the service who calls.

    plugins:
      - name: basic-auth
        config:
          consumers:
            - name: alice
              credential: "alice:$scrypt$ln=10,r=8,p=1$YWxpY2Utc2FsdC0x$Nq951j9ui8DqLGgaokAl69jRqRhmbjWyxxinZACt/h8"
            - {name: bob, credentials: ["bob:a-plain-password", "robert:another-password"]}

A credential is `user:password` or `user:<hash>`, or the base64 of one, or `env:NAME` or `file:path` of where it is.
Hashes are those of scrypt, argon2 and bcrypt (the last two with `pip install 'aigw-middleware[passwords]'`), those of
Unix (`$6$`, `$5$`) and, with a warning, `$apr1$`; plain passwords are hashed when the configuration is loaded. The hash
above is of `alice-example-password`; `aigw_middleware.plugins.auth.basic.passwords.password_hash` made it. An `htpasswd_file`
has a user on each line, who is the consumer of that name. Without any of these, those consumers count that are declared
at the top of the configuration with credentials for `basic-auth`.

A password is checked beside the event loop, a few at a time; who was let in is remembered for `remember` seconds. Who
does not exist is refused as late as who presents a wrong password. Of a password that bcrypt is to check only 72 bytes
would count, so a longer one is refused.

Source: RFC 7617.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Coroutine, Iterator
from typing import Annotated, Any

from pydantic import model_validator

from ....config.models import Seconds
from ....consumers import ANONYMOUS, Consumer
from ....errors import ConfigError, Problem
from ....exchange import Exchange, Refusal
from ....plugin import INBOUND, Field, Plugin, Stage
from ....ports import Clock
from ..key.api_keys import listed
from ..policy import AuthConfig, AuthPolicy, challenge
from .passwords import missing_packages
from .users import (
    MAX_CREDENTIALS,
    MAX_PROBLEMS,
    Account,
    BasicConsumer,
    Login,
    LoginFields,
    Users,
    presented,
    users_of_file,
)

logger = logging.getLogger("aigw_middleware")

MAX_REMEMBERED_SECONDS = 300
MAX_REMEMBERED = 10_000
"""Callers who are let in without another look at their password; of more than that the first are forgotten."""
MAX_WAIT = 10.0
"""Seconds that a request waits while another one with the same password has it checked."""

_MISSING = "Request denied by Basic Auth check. No Basic Authentication information found."
_INVALID = "Request denied by Basic Auth check. Invalid username and/or password"
_NOT_ALLOWED = "Request denied by Basic Auth check. Unauthorized consumer"
_UPSTREAM = ("", b"")  # the compatible gateways send no body: they tell the reason to their own log only
_SCHEME = b"basic "
_HEADER = b"authorization"


class BasicAuthConfig(AuthConfig):
    """Who has which password."""

    consumers: tuple[BasicConsumer, ...] = Field((), description="Callers, their user names and passwords.")
    credentials: LoginFields = Field(
        (), description="Instead of `consumers`: `user:password` or `user:<hash>` that let in without a name."
    )
    htpasswd_file: str = Field(
        "",
        description="Path of a file with `user:<hash>` on each line, as `htpasswd -B` writes it; read again when it "
        "changes.",
    )
    encrypted: bool = Field(
        False,
        description="Upstream's key: every credential is a hash, and `{SHA}` and `{SSHA}` are accepted, which are as "
        "good as the password itself.",
    )
    remember: Annotated[Seconds, Field(le=MAX_REMEMBERED_SECONDS)] = Field(
        MAX_REMEMBERED_SECONDS,
        description="Seconds for which a password that was right is not checked again; 0: check each time.",
    )
    hide_credentials: bool = Field(
        False, description="Take away the `Authorization` header before the service sees it."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> BasicAuthConfig:
        if self.credentials and (self.consumers or self.htpasswd_file):
            raise ValueError(
                "should have either `credentials` or `consumers` and `htpasswd_file`; in a rule, empty the other"
            )
        return self


class BasicAuth(Plugin[BasicAuthConfig]):
    """Refuse callers without a known user name and password; set `exchange.consumer` and the consumer header."""

    name, stage, priority = "basic-auth", Stage.AUTHENTICATION, 320
    directions = frozenset({INBOUND})
    on_failure = "deny"
    identifies = True

    def compile(self) -> None:
        config, build = self.config, self.context
        self._users = Users(encrypted=config.encrypted)
        problems = self._add_users()
        problems += missing_packages(self._users.hashes(), self.name)
        if problems:
            raise ConfigError(problems, self.name)
        self._users.complete()
        self._remembered = Remembered(config.remember)
        local = bool(config.consumers or config.credentials or config.htpasswd_file)
        self._policy = AuthPolicy(config, build, self.name, local=local)
        self._enforced = self._policy.enforced
        self._hides = config.hide_credentials
        headers = {"www-authenticate": challenge("Basic", config.realm) + ', charset="UTF-8"'}
        missing = "no_basic_authentication_information_found"
        self._missing = Refusal(401, missing, _MISSING, headers, upstream=_UPSTREAM)
        self._invalid = Refusal(401, "invalid_username_or_password", _INVALID, headers, upstream=_UPSTREAM)
        self._not_allowed = Refusal(403, "unauthorized_consumer", _NOT_ALLOWED, headers, upstream=_UPSTREAM)
        for weakness, users in self._users.weak.items():
            logger.warning(
                "basic-auth: %s are guessed fast; %d users have one, such as %r",
                weakness,
                len(users),
                next(iter(users)),
            )
        if self._policy.warning:
            logger.warning("basic-auth: %s", self._policy.warning)

    def on_request(self, exchange: Exchange) -> Refusal | None | Coroutine[Any, Any, Refusal | None]:
        if not self._enforced:
            return None
        value = exchange.request.headers.get_bytes(_HEADER)
        if value is None or value[:6].lower() != _SCHEME:
            return self._policy.without_credential(exchange, self._missing, self._not_allowed)
        if len(value) > MAX_CREDENTIALS + len(_SCHEME):
            return self._refused(exchange)
        digest = self._remembered.digest(value)
        consumer = self._remembered.find(digest, exchange.ports.clock)
        if consumer is not None:
            return self._entered(exchange, consumer)
        login = presented(value[6:].strip(b" "))
        account, own = self._users.account(login[0]) if login is not None else (None, False)
        if login is None or account is None:
            return self._refused(exchange)
        return self._checked(exchange, digest, account, login[1], own=own)

    async def _checked(
        self, exchange: Exchange, digest: bytes, account: Account, password: bytes, *, own: bool
    ) -> Refusal | None:
        """Check a password, once for all who present it at a time."""
        ports = exchange.ports
        async with ports.locks(f"{self.context.entry}:{digest.hex()}", MAX_WAIT):
            consumer = self._remembered.find(digest, ports.clock)
            if consumer is None and await ports.offload(account.matches, password) and own:
                consumer = account.consumer
                self._remembered.add(digest, consumer, ports.clock)
        return self._refused(exchange) if consumer is None else self._entered(exchange, consumer)

    def _entered(self, exchange: Exchange, consumer: Consumer) -> Refusal | None:
        headers = exchange.request.headers
        if [name for name, _ in headers.raw].count(_HEADER) > 1:
            return self._invalid  # the service might read another one than was checked
        if not self._policy.admit(exchange, consumer):
            return self._not_allowed
        if self._hides:
            headers.remove_all((_HEADER,))
        return None

    def _refused(self, exchange: Exchange) -> Refusal | None:
        return self._policy.without_credential(exchange, self._invalid, self._not_allowed)

    # ------------------------------------------------------------------ who has which password

    def _add_users(self) -> list[Problem]:
        config, declared = self.config, self.context.consumers
        problems: list[Problem] = []
        named: dict[str, None] = {}
        for login in config.credentials:
            self._add(ANONYMOUS, login, problems)
        for model in config.consumers:
            named[model.name] = None
            consumer = declared.get(model.name) or Consumer(model.name)
            for login in model.logins:
                self._add(consumer, login, problems)
        if config.htpasswd_file:
            named.update(self._add_file(config.htpasswd_file, problems))
        if not config.credentials and not named and not config.htpasswd_file:
            named = dict.fromkeys(consumer.name for consumer in declared.having(self.name))
        for name in named:
            known = declared.get(name)
            if known is not None:
                for login in self._declared(known, problems):
                    self._add(known, login, problems, "consumers")
        return problems

    def _add(self, consumer: Consumer, login: Login, problems: list[Problem], path: str = "", at: str = "") -> None:
        objection = self._users.add(consumer, login)
        if objection:
            problems.append(Problem(path, at + objection))

    def _add_file(self, name: str, problems: list[Problem]) -> dict[str, None]:
        """Add the users of an htpasswd file; returns their names."""
        found: dict[str, None] = {}
        wrong: list[Problem] = []
        for number, login in users_of_file(self.context.files.read(name, "htpasswd_file")):
            where = f"htpasswd_file: line {number} of {name}: "
            if isinstance(login, Login):
                found[login.user] = None
                self._add(self.context.consumers.get(login.user) or Consumer(login.user), login, wrong, "", where)
            else:
                wrong.append(Problem("", where + login))
            if len(wrong) == MAX_PROBLEMS:
                break
        problems += wrong
        return found

    def _declared(self, consumer: Consumer, problems: list[Problem]) -> Iterator[Login]:
        given: Any = listed(consumer.credentials.get(self.name, ()))
        for number, item in enumerate(given if isinstance(given, (list, tuple)) else [given]):
            try:
                yield Login.of(item)
            except ValueError as error:
                problems.append(Problem("consumers", f"{consumer.name!r}, credentials.basic-auth[{number}] {error}"))


class Remembered:
    """Who presented which header and was let in, for a time; of the header a keyed digest is kept.

    Its key is made up for each configuration, with which it goes. Threads may share one.
    """

    __slots__ = ("_entries", "_key", "_lock", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._key = os.urandom(32)
        self._entries: dict[bytes, tuple[float, Consumer]] = {}
        self._lock = threading.Lock()

    def digest(self, value: bytes) -> bytes:
        """Return the name under which a header is remembered."""
        return hashlib.blake2b(value, key=self._key, digest_size=32).digest()

    def find(self, digest: bytes, clock: Clock) -> Consumer | None:
        """Return who was let in with it not long ago."""
        entry = self._entries.get(digest)
        if entry is None or clock.monotonic() >= entry[0]:
            return None
        return entry[1]

    def add(self, digest: bytes, consumer: Consumer, clock: Clock) -> None:
        """Remember who was let in."""
        if not self._seconds:
            return
        with self._lock:
            self._entries.pop(digest, None)
            if len(self._entries) >= MAX_REMEMBERED:
                del self._entries[next(iter(self._entries))]
            self._entries[digest] = (clock.monotonic() + self._seconds, consumer)
