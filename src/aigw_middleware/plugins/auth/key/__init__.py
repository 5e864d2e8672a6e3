"""Identify callers by their API key, and tell the service who calls.

    plugins:
      - name: key-auth
        config:
          keys: [x-api-key, authorization]
          consumers:
            - {name: alice, credential: "sha256:1ac111f493526f44cc719be37a020b6640948a3e7f363ca84cb377be0c45f3ca"}
            - name: bob
              credentials: ["env:BOB_KEY", {credential: "env:BOB_OLD_KEY", expires: "2099-01-31T00:00:00Z"}]

A key is looked for under each name in turn: in the header (a `Bearer ` before it is taken off), in the query, in the
cookie; the first that is known decides. `X-HI-ORIGINAL-AUTH`, in which a gateway in front keeps an `Authorization` that
it replaced, is looked at last. Keys are kept as digests only; the one above is of `alice-example-key-0123`. A key whose
time is over is as good as none. A `consumers_file` may have a million consumers, one `{"name": ..., "credential": ...}`
a line, with `expires` where the key ends. Without any of these, those consumers count that are declared at the top of
the configuration with credentials for `key-auth`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from pydantic import model_validator

from ....config.models import Names
from ....consumers import ANONYMOUS, Consumer
from ....errors import ConfigError, Problem
from ....exchange import Exchange, Refusal
from ....plugin import INBOUND, Field, Plugin, Stage
from ..policy import AuthConfig, AuthPolicy, challenge
from .api_keys import (
    HEADER,
    MIN_KEY_LENGTH,
    ApiKey,
    KeyFields,
    Place,
    listed,
    outside_headers,
    places_of,
)
from .consumers import KeyConsumer, KeyConsumers, PackedConsumers
from .expiry import Expiring
from .file import FiledKeys
from .index import KeyIndex

logger = logging.getLogger("aigw_middleware")

_FEW = 4_096
"""So many consumers are made at once; of more than that only names are kept, and whoever calls is made then."""
_NOT_IDENTIFIED = "Request denied by Key Auth check. Invalid API key"
_NOT_ALLOWED = "Request denied by Key Auth check. Unauthorized consumer"
_UPSTREAM = ("", b"")  # the compatible gateways send no body: they tell the reason to their own log only


class KeyAuthConfig(AuthConfig):
    """Who has which key, and where a key stands."""

    consumers: KeyConsumers = Field((), description="Callers and their keys.")
    consumers_file: str = Field(
        "",
        description='Path of a file of more callers, JSON lines: `{"name": ..., "credential": ..., "expires": ...}`; '
        "read again when it changes.",
    )
    credentials: KeyFields = Field(
        (), description="Instead of `consumers`: keys that let in whoever has one, without a name."
    )
    keys: Names = Field((), description="Names of the headers, query parameters and cookies that carry the key.")
    in_query: bool = Field(True, description="Whether the key may stand in the query.")
    in_header: bool = Field(True, description="Whether the key may stand in a header.")
    in_cookie: bool = Field(False, description="Whether the key may stand in a cookie.")
    hide_credentials: bool = Field(
        False,
        description="Take away the header that carried the key before the service sees it. A query or a cookie is left "
        "as it is: the service may depend on the rest of it, byte for byte.",
    )

    @model_validator(mode="after")
    def _findable(self) -> KeyAuthConfig:
        if self.credentials and (self.consumers or self.consumers_file):
            other = "consumers" if self.consumers else "consumers_file"
            raise ValueError(f"should have either `{other}` or `credentials`; in a rule, set the other one to []")
        consumers = PackedConsumers.of(self.consumers)
        special = list(consumers.models())  # the others have no places of their own
        own = bool(special) and len(special) == len(consumers) and all(consumer.keys for consumer in special)
        own = own and not self.consumers_file
        if not self.keys and not own:
            raise ValueError("`keys` is required, for example [x-api-key], unless every consumer has its own")
        for consumer in (None, *special):
            if not self.places(consumer) and (consumer is not None or self.keys):
                raise ValueError("one of `in_header`, `in_query` and `in_cookie` should be true")
        return self

    def places(self, consumer: KeyConsumer | None = None) -> tuple[Place, ...]:
        """Return where the keys of a consumer, or of those without places of their own, may stand."""
        if consumer is None:
            return places_of(self.keys, self.in_header, self.in_query, self.in_cookie)
        return places_of(
            consumer.keys or self.keys,
            self.in_header if consumer.in_header is None else consumer.in_header,
            self.in_query if consumer.in_query is None else consumer.in_query,
            self.in_cookie if consumer.in_cookie is None else consumer.in_cookie,
        )


class KeyAuth(Plugin[KeyAuthConfig]):
    """Refuse callers without a known API key; set `exchange.consumer` and the consumer header for the others."""

    name, stage, priority = "key-auth", Stage.AUTHENTICATION, 310
    directions = frozenset({INBOUND})
    on_failure = "deny"
    identifies = True

    def compile(self) -> None:
        config, build = self.config, self.context
        problems: list[Problem] = []
        filed = self._filed(problems)
        of_file = None if filed is None else (filed, config.places())
        keys = KeyIndex(self._entries(filed, problems), build.keyring, of_file)
        if problems or keys.problems:
            raise ConfigError([*problems, *keys.problems], self.name)
        self._find = keys.find
        self._places = keys.places or tuple((kind, name, ()) for kind, name in config.places())
        local = bool(config.consumers or config.credentials or config.consumers_file)
        self._policy = AuthPolicy(config, build, self.name, local=local)
        self._enforced = self._policy.enforced
        self._hides = config.hide_credentials
        headers = {"www-authenticate": challenge("Key", config.realm)}
        missing = "no_key_authentication_information_found"
        self._missing = Refusal(401, missing, _NOT_IDENTIFIED, headers, upstream=_UPSTREAM)
        self._invalid = Refusal(401, "invalid_api_key", _NOT_IDENTIFIED, headers, upstream=_UPSTREAM)
        self._not_allowed = Refusal(403, "unauthorized_consumer", _NOT_ALLOWED, headers, upstream=_UPSTREAM)
        for name in keys.weak:
            owner = f"consumer {name!r}" if name else "an anonymous credential"
            logger.warning("key-auth: %s has a key of less than %d characters", owner, MIN_KEY_LENGTH)
        if filed is not None and filed.short:
            logger.warning(
                "key-auth: %d keys of %s have less than %d characters",
                filed.short,
                config.consumers_file,
                MIN_KEY_LENGTH,
            )
        if self._policy.warning:
            logger.warning("key-auth: %s", self._policy.warning)

    def on_request(self, exchange: Exchange) -> Refusal | None:
        if not self._enforced:
            return None
        request = exchange.request
        headers = request.headers
        presented = False
        for kind, name, tables in self._places:
            value = headers.get_bytes(name) if kind == HEADER else outside_headers(request, kind, name)
            if not value:
                continue
            presented = True
            consumer = self._find(value, kind, tables)
            if type(consumer) is not Consumer:
                consumer = self._in_time(exchange, consumer)
            if consumer is None:
                continue
            if not self._policy.admit(exchange, consumer):
                return self._not_allowed
            if self._hides and kind == HEADER:
                headers.remove_all((name,))
            return None
        refusal = self._invalid if presented else self._missing
        return self._policy.without_credential(exchange, refusal, self._not_allowed)

    def _in_time(self, exchange: Exchange, found: Consumer | Expiring | None) -> Consumer | None:
        """Return whose a key is if it has not ended; the record, which the caller does not see, says that it has."""
        if not isinstance(found, Expiring):
            return found
        owner = found.owner if isinstance(found.owner, Consumer) else Consumer(found.owner)
        if exchange.ports.clock.now() < found.expires:
            return owner
        exchange.decide(self, "skipped", f"a key of {owner.name!r} has expired")
        return None

    # ------------------------------------------------------------------ who has which key

    def _filed(self, problems: list[Problem]) -> FiledKeys | None:
        """Return the keys of the file, if there is one."""
        name = self.config.consumers_file
        if not name:
            return None
        data = self.context.files.read(name, "consumers_file")
        filed = FiledKeys(data, name, self.context.consumers, self.name)
        problems += filed.problems
        return filed

    def _entries(
        self, filed: FiledKeys | None, problems: list[Problem]
    ) -> Iterator[tuple[Consumer | str, ApiKey, tuple[Place, ...]]]:
        """Yield every key with its owner, by name alone if there are many, and its places."""
        config, declared = self.config, self.context.consumers
        common, few = config.places(), len(config.consumers) <= _FEW
        for key in config.credentials:
            yield ANONYMOUS, key, common
        for name, kept in PackedConsumers.of(config.consumers).packed():
            known = declared.get(name)
            owner = known or (Consumer(name) if few else name)
            places = common if isinstance(kept, bytes) else config.places(kept)
            for key in (ApiKey(kept),) if isinstance(kept, bytes) else kept.all_keys:
                yield owner, key, places
            if known is not None:
                for key in self._declared(known, problems):
                    yield known, key, places
        for known in filed.declared.values() if filed is not None else ():
            for key in self._declared(known, problems):
                yield known, key, common
        if not config.credentials and not config.consumers and filed is None:
            for consumer in declared.having(self.name):
                for key in self._declared(consumer, problems):
                    yield consumer, key, common

    def _declared(self, consumer: Consumer, problems: list[Problem]) -> Iterator[ApiKey]:
        given: Any = listed(consumer.credentials.get(self.name, ()))
        for number, item in enumerate(given if isinstance(given, (list, tuple)) else [given]):
            try:
                yield ApiKey.of(item)
            except ValueError as error:
                problems.append(Problem("consumers", f"{consumer.name!r}, credentials.key-auth[{number}] {error}"))
