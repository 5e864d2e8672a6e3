"""Refuse a request that came before: each carries a value that is used once.

    plugins:
      - name: replay-protection
        config: {nonce_ttl: 600, nonce_min_length: 16}

The nonce belongs to the consumer, method and path that it came with: those of others never collide with it, and a
redirect to another path may repeat it. It is looked up when the caller is known and what was signed is checked, so that
nobody fills the store without a credential. Whoever can change a nonce can repeat a request, so it should be signed:
`hmac-auth` does that, and keeps its own account of what it signed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Coroutine
from typing import Any, Final, TypeAlias

from pydantic import field_validator, model_validator

from ...config.models import HeaderName
from ...config.secrets import Secret
from ...exchange import Exchange, Refusal
from ...headers import header_name
from ...plugin import INBOUND, Field, Plugin, PluginConfig, Stage
from ..nonces import Nonces, StoreFailure

logger = logging.getLogger("aigw_middleware")

Waiting: TypeAlias = Refusal | Coroutine[Any, Any, Refusal | None] | None

DEFAULT_TTL: Final = 900
_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]+|[A-Za-z0-9_-]+)={0,2}\Z")  # RFC 4648, sections 4 and 5
_VISIBLE: Final = re.compile(rb"[!-~]+\Z")


class RedisSettings(PluginConfig):
    """Where upstream keeps nonces."""

    service_name: str = Field("", description="Not used here.")
    service_port: int | None = Field(None, description="Not used here.")
    username: str = Field("", description="Not used here.")
    password: Secret | None = Field(None, description="Not used here.")
    timeout: int = Field(1_000, description="Not used here. Milliseconds.")
    database: int = Field(0, description="Not used here.")
    key_prefix: str = Field("replay-protection", description="Not used here.")

    @field_validator("password", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return value or None


class ReplayProtectionConfig(PluginConfig):
    """Where the nonce stands, what it looks like, and for how long it is remembered."""

    force_nonce: bool = Field(True, description="Refuse requests without a nonce.")
    nonce_header: HeaderName = Field("X-Higress-Nonce", description="Header that carries the nonce.")
    nonce_ttl: int = Field(
        DEFAULT_TTL, ge=0, description="Seconds for which a nonce is remembered; 0: as if it were unset."
    )
    nonce_min_length: int = Field(8, ge=1, description="Characters that a nonce has at least.")
    nonce_max_length: int = Field(128, ge=1, description="Characters that a nonce has at most.")
    validate_base64: bool = Field(False, description="Refuse nonces that are not base64, of either alphabet.")
    reject_code: int = Field(429, ge=400, le=599, description="Status of the refusal of a nonce that was used.")
    reject_msg: str | None = Field(
        None,
        description="Body of that refusal, sent as it is; unset: `Replay Attack Detected` in the caller's error format.",
    )
    on_store_failure: StoreFailure = Field(
        "deny",
        description="The store cannot say whether a nonce was used: `deny` (503), or `allow`, as the compatible gateways "
        "do. A full one always denies.",
    )
    redis: RedisSettings | None = Field(
        None, description="Accepted and not used: nonces are kept in the store `default` of the configuration."
    )

    @model_validator(mode="after")
    def _possible(self) -> ReplayProtectionConfig:
        if self.nonce_min_length > self.nonce_max_length:
            raise ValueError("`nonce_min_length` should not exceed `nonce_max_length`")
        return self


class ReplayProtection(Plugin[ReplayProtectionConfig]):
    """Refuse requests whose nonce was used before, by the same consumer for the same method and path."""

    name, stage, priority = "replay-protection", Stage.AUTHENTICATION, 800
    directions = frozenset({INBOUND})
    on_failure = "deny"

    def compile(self) -> None:
        config = self.config
        self._header = header_name(config.nonce_header)
        self._is_nonce = _is_base64 if config.validate_base64 else _VISIBLE.match
        self._shortest, self._longest = config.nonce_min_length, config.nonce_max_length
        self._forced = config.force_nonce
        self._hashed = self.context.keyring.hasher("replay-protection")
        self._missing = _refusal(400, "missing_required_header", "Missing Required Header")
        self._invalid = _refusal(400, "invalid_nonce", "Invalid Nonce")
        text = "Replay Attack Detected" if config.reject_msg is None else config.reject_msg
        used = _refusal(config.reject_code, "replay_attack_detected", text, exact=config.reject_msg is not None)
        unavailable = Refusal(503, "nonce_unavailable", "The nonce cannot be checked. Try again later.")
        ttl = config.nonce_ttl or DEFAULT_TTL
        self._nonces = Nonces(self, ttl, used, unavailable, config.on_store_failure)
        if config.redis is not None:
            logger.warning("replay-protection: `redis` is not used: name the store in `stores`, as `default`")

    def on_request(self, exchange: Exchange) -> Refusal | None:
        headers = exchange.request.headers
        nonce = headers.get_bytes(self._header)
        if nonce is None:
            return self._missing if self._forced else None
        if not self._shortest <= len(nonce) <= self._longest or not self._is_nonce(nonce):
            return self._invalid
        if len(headers.index) != len(headers.raw) and sum(name == self._header for name, _ in headers.raw) > 1:
            return self._invalid  # the one that the service reads could be the other one
        return None

    def on_identified(self, exchange: Exchange) -> Waiting:
        nonce = exchange.request.headers.get_bytes(self._header)
        if nonce is None:
            return None
        request = exchange.request
        owner = f"{exchange.consumer.name}\0{request.method}\0{request.path}\0"
        return self._nonces.use(exchange, self._hashed(owner + nonce.decode("latin-1")))


def _is_base64(nonce: bytes) -> bool:
    digits = nonce.rstrip(b"=")
    padded = len(digits) != len(nonce)
    return _BASE64.match(nonce) is not None and len(digits) % 4 != 1 and not (padded and len(nonce) % 4)


def _refusal(status: int, code: str, text: str, *, exact: bool = False) -> Refusal:
    return Refusal(status, code, text, upstream=("text/plain; charset=utf-8", text.encode()), exact=exact)
