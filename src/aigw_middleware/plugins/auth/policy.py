"""Who must be identified, and who may enter: the one truth table of all authentication plug-ins.

| `global_auth` | the entry has rules | this configuration | outcome |
|---|---|---|---|
| any | any | has `allow`, or stands in a rule and brings its own consumers | authenticate; `allow` decides who enters |
| true | any | anything else | authenticate, any consumer enters |
| false | any | anything else | pass, nobody is asked |
| unset | no | anything else | authenticate, any consumer enters |
| unset | yes | that of a rule that matched | authenticate, any consumer enters |
| unset | yes | the one for what no rule matched | pass, nobody is asked |

`allow: []` lets nobody in. Anonymous credentials authenticate and are no consumer, so `allow` does not concern them.
"""

from __future__ import annotations

from pydantic import field_validator

from ...config.models import Names
from ...consumers import Allowed, Consumer
from ...exchange import Exchange, Refusal
from ...headers import header_value
from ...plugin import Build, Field, PluginConfig


class AuthConfig(PluginConfig):
    """The keys that every authentication plug-in has."""

    global_auth: bool | None = Field(
        None,
        description="true: every request must identify itself; false: only where `allow` or a rule's own consumers say "
        "so; unset: every request if there are no rules, else those that a rule matches.",
    )
    allow: Names | None = Field(
        None,
        description="Names of consumers and `group:x` that may enter; an empty list: nobody; unset: every consumer.",
    )
    realm: str = Field("MSE Gateway", description="Realm named in the `WWW-Authenticate` header of refusals.")

    @field_validator("realm")
    @classmethod
    def _writable(cls, realm: str) -> str:
        header_value(realm)
        return realm


class AuthPolicy:
    """The outcome of the table for one configuration: whether to authenticate, and whom to let in then.

    `local` says that consumers or credentials stand in the plug-in's own configuration.
    """

    __slots__ = ("_allowed", "_identity", "_name", "enforced", "warning")

    def __init__(self, config: AuthConfig, build: Build, name: str, *, local: bool) -> None:
        self._name = name
        self._identity = build.identity_header
        own = build.in_rule and local
        wanted = config.allow is not None or own
        by_default = build.in_rule or not build.has_rules
        self.enforced = wanted or (by_default if config.global_auth is None else config.global_auth)
        """Whether a request must identify itself."""
        self._allowed = None if config.allow is None else Allowed(config.allow)
        self.warning = ""
        """What an operator may not have meant, for the log when the configuration is loaded."""
        if own and config.global_auth is False and config.allow is None:
            self.warning = "a rule has consumers, so its requests are authenticated in spite of global_auth: false"
        elif config.global_auth is None and not self.enforced:
            self.warning = "requests that no rule matches are not authenticated: set global_auth to true or to false"

    def admit(self, exchange: Exchange, consumer: Consumer) -> bool:
        """Let in whose credential was verified, and tell the service who calls; False when this caller may not enter."""
        if not self._allows(consumer):
            return False
        exchange.identified_by = self._name
        if consumer:
            exchange.request.headers.set_trusted(self._identity, consumer.name.encode())
            exchange.consumer = consumer
        return True

    def without_credential(self, exchange: Exchange, refusal: Refusal, not_allowed: Refusal) -> Refusal | None:
        """Judge a caller who did not identify itself here: another plug-in, or a trusted gateway in front, may know it."""
        if not exchange.consumer:
            return refusal
        return None if self._allows(exchange.consumer) else not_allowed

    def _allows(self, consumer: Consumer) -> bool:
        return self._allowed is None or not consumer or consumer in self._allowed


def challenge(scheme: str, realm: str) -> str:
    """Return the value of `WWW-Authenticate` with the realm as a quoted string (RFC 9110, 11.6.1 and 5.6.4)."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'{scheme} realm="{quoted}"'
