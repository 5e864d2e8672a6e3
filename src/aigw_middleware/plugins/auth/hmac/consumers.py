"""Whose HMAC keys there are, and their secrets."""

from __future__ import annotations

from typing import Any, Final

from pydantic import AliasChoices, ValidationError, model_validator

from ....config.problems import problems_of
from ....config.secrets import Secret
from ....consumers import ANONYMOUS, Consumer, ConsumerTable
from ....errors import Problem
from ....headers import header_value
from ....plugin import Field, PluginConfig

MIN_SECRET_LENGTH: Final = 16
"""Characters; a shorter secret can be found out from one signed request, and is warned about."""


class HmacCredential(PluginConfig):
    """A key id and the secret that goes with it."""

    key: str = Field(
        min_length=1,
        max_length=256,
        validation_alias=AliasChoices("key", "access_key", "accessKey"),
        description="Key id, by which the secret is found; it is no secret.",
    )
    secret: Secret = Field(
        validation_alias=AliasChoices("secret", "secret_key", "secretKey"),
        description="Secret, `env:NAME` or `file:path`.",
    )

    @model_validator(mode="after")
    def _writable(self) -> HmacCredential:
        header_value(self.key.encode())
        return self


class HmacConsumer(HmacCredential):
    """A caller and its key; a declared consumer of the same name gets it in addition to its own."""

    name: str = Field("", max_length=256, description="Name of the consumer; what the service is told. Unset: the key.")

    @model_validator(mode="after")
    def _nameable(self) -> HmacConsumer:
        header_value(self.name.encode())
        return self


class SigningKey:
    """A secret and its owner; prints neither."""

    __slots__ = ("consumer", "secret")

    def __init__(self, consumer: Consumer, secret: bytes) -> None:
        self.consumer = consumer
        self.secret = secret

    def __repr__(self) -> str:
        return f"SigningKey({self.consumer!r})"


class SigningKeys:
    """All keys of a plug-in by key id. `problems` lists what is wrong, `weak` the names of owners of short secrets."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, SigningKey] = {}
        self.problems: list[Problem] = []
        self.weak: dict[str, None] = {}

    def add(self, consumer: Consumer, credential: HmacCredential) -> None:
        """Add a key. One key id has one owner and one secret, else that is a problem."""
        secret = credential.secret.reveal()
        mine = SigningKey(consumer, secret.encode())
        known = self.by_id.setdefault(credential.key.encode(), mine)
        if known.consumer.name != consumer.name:
            names = f"{known.consumer.name!r} and {consumer.name!r}"
            self.problems.append(Problem("", f"consumers {names} have the same key {credential.key!r}"))
        elif known is not mine and (known.secret != mine.secret or consumer is ANONYMOUS):
            self.problems.append(Problem("", f"key {credential.key!r} is there twice"))
        if len(secret) < MIN_SECRET_LENGTH:
            self.weak[consumer.name] = None

    def add_declared(self, consumer: Consumer, plugin: str) -> None:
        """Add the keys of a consumer that is declared at the top of the configuration."""
        given: Any = consumer.credentials.get(plugin, ())
        for number, item in enumerate(given if isinstance(given, (list, tuple)) else [given]):
            try:
                self.add(consumer, HmacCredential.model_validate(item))
            except ValidationError as error:
                for problem in problems_of(error, "", HmacCredential):
                    where = f"{consumer.name!r}, credentials.{plugin}[{number}]"
                    where += f".{problem.path}" if problem.path else ""
                    self.problems.append(Problem("consumers", f"{where}: {problem.message}", problem.hint))


def signing_keys(
    consumers: tuple[HmacConsumer, ...], credentials: tuple[HmacCredential, ...], declared: ConsumerTable, plugin: str
) -> SigningKeys:
    """Return the keys of a configuration: its own, with what its consumers have declared, or, without, the declared."""
    keys = SigningKeys()
    for credential in credentials:
        keys.add(ANONYMOUS, credential)
    for model in consumers:
        name = model.name or model.key
        known = declared.get(name)
        keys.add(known or Consumer(name), model)
        if known is not None:
            keys.add_declared(known, plugin)
    if not consumers and not credentials:
        for consumer in declared.having(plugin):
            keys.add_declared(consumer, plugin)
    return keys
