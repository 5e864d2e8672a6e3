"""Identify callers by a signature of their request, made with a secret that never travels.

    plugins:
      - name: hmac-auth
        config:
          signed_headers: [x-tenant]
          consumers:
            - {name: alice, key: alice-key, secret: "env:ALICE_SECRET"}
            - {name: bob, key: bob-key, secret: "env:BOB_SECRET"}

Two dialects are read: the `x-ca-*` headers of Alibaba Cloud API Gateway, and `Authorization: Signature keyId=...` of APISIX
(after draft-cavage-http-signatures). `aigw_middleware.auth_hmac` signs requests of httpx and httpx2 clients in both.

Unless `require_coverage` is off, a signature must cover method and target, the time, and the digest of a body
(`Content-MD5`, or `Digest: SHA-256=...`; a form's parameters are themselves part of `x-ca` strings). It holds for a
few minutes around the caller's time, and once: the signed nonce, or without one the signature itself, is remembered for
so long.

The string that an `x-ca` signature covers has the parameters of query and form decoded and sorted. So it does not tell
in which order they came, in which of the two each stood, and whether a `+` was written `%2B`; whatever else could be
another request with the same string is refused, see `ambiguous_parameters`. `exact_query` covers the query as it is.

Without `consumers` and `credentials` those consumers count that are declared at the top of the configuration with
`credentials: {hmac-auth: [{key: k, secret: "env:S"}]}`.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeAlias

from ....consumers import Consumer
from ....errors import ConfigError
from ....exchange import Exchange, Refusal
from ....headers import Headers
from ....plugin import INBOUND, Plugin, Stage
from ..policy import AuthPolicy
from .claims import Claim, fields_of, signature_claim, x_ca_claim
from .config import HmacAuthConfig
from .consumers import MIN_SECRET_LENGTH, signing_keys
from .rules import Rules

logger = logging.getLogger("aigw_middleware")

Waiting: TypeAlias = Refusal | Coroutine[Any, Any, Refusal | None] | None

_CREDENTIALS: Final = {
    "x-ca": (b"x-ca-signature", b"x-ca-signature-headers", b"x-ca-signature-method"),
    "signature": (b"authorization",),
}


class HmacAuth(Plugin[HmacAuthConfig]):
    """Refuse requests that no known key has signed, that are old, changed, or came before; set `exchange.consumer`."""

    name, stage, priority = "hmac-auth", Stage.AUTHENTICATION, 330
    directions = frozenset({INBOUND})
    on_failure = "deny"
    identifies = True
    rules_inherit = True

    def compile(self) -> None:
        config, build = self.config, self.context
        keys = signing_keys(config.consumers, config.credentials, build.consumers, self.name)
        if keys.problems:
            raise ConfigError(keys.problems, self.name)
        self._keys = keys.by_id
        self._policy = AuthPolicy(config, build, self.name, local=bool(config.consumers or config.credentials))
        self._enforced = self._policy.enforced
        self._rules = {dialect: Rules(self, dialect) for dialect in config.dialects}
        self._x_ca, self._signature = "x-ca" in config.dialects, "signature" in config.dialects
        self._first = self._rules[config.dialects[0]].refusals
        self._missing = self._first["missing_key" if config.dialects[0] == "x-ca" else "missing_authorization"]
        self._anonymous: Consumer | None = None
        if config.anonymous_consumer:
            name = config.anonymous_consumer
            self._anonymous = build.consumers.get(name) or Consumer(name)
        self._hides = config.hide_credentials
        self._refuses_replays = config.refuse_replays
        for name in keys.weak:
            owner = f"consumer {name!r}" if name else "an anonymous credential"
            logger.warning("hmac-auth: %s has a secret of less than %d characters", owner, MIN_SECRET_LENGTH)
        if self._policy.warning:
            logger.warning("hmac-auth: %s", self._policy.warning)

    def on_request(self, exchange: Exchange) -> Waiting:
        if not self._enforced:
            return None
        claim = self._claim(exchange.request.headers)
        if not isinstance(claim, Claim):
            return self._unsigned(exchange) if claim is None else self._unidentified(exchange, claim)
        rules = self._rules[claim.dialect]
        key = self._keys.get(claim.key_id)
        refusal = rules.unacceptable(exchange, claim)
        needs_body = refusal if refusal is not None else rules.look_at_body(exchange, claim)
        if isinstance(needs_body, Refusal):
            return self._unidentified(exchange, needs_body)
        if claim.unverified and key is not None:
            # All that is known is a key id: the consumer is provisional, and whether it may enter is not said yet.
            self._wait_for_body(exchange, claim)
            claim.admitted = self._policy.admit(exchange, key.consumer)
            return None
        refusal = rules.wrong_signature(exchange.request, claim, key)
        if refusal is not None or key is None:
            return self._unidentified(exchange, refusal or self._missing)
        if not needs_body:
            return self._accept(exchange, claim, key.consumer)
        self._wait_for_body(exchange, claim)
        return None if self._policy.admit(exchange, key.consumer) else rules.refusals.not_allowed(key.consumer.name)

    def wants_body(self, exchange: Exchange) -> bool:
        return self in exchange.local

    def on_request_body(self, exchange: Exchange) -> Waiting:
        claim: Claim = exchange.local[self]
        rules = self._rules[claim.dialect]
        body = exchange.request.received_body or b""
        if claim.unverified:
            key = self._keys[claim.key_id]
            refusal = rules.wrong_signature(exchange.request, claim, key, body)
            if refusal is not None:
                return refusal
            if not claim.admitted:
                return rules.refusals.not_allowed(key.consumer.name)
        return rules.wrong_body(claim, body) or self._accept(exchange, claim)

    # ------------------------------------------------------------------ helpers

    def _claim(self, headers: Headers) -> Claim | Refusal | None:
        """Return the credential that a request carries, None when it carries none of ours."""
        index = headers.index
        authorization = index.get(b"authorization") if self._signature else None
        signed = authorization is not None and authorization[:10].lower() == b"signature "
        x_ca = self._x_ca and (b"x-ca-key" in index or b"x-ca-signature" in index)
        if not (signed or x_ca):
            return None
        refusals = self._rules["signature" if signed else "x-ca"].refusals
        fields = fields_of(headers)
        if fields is None or (signed and x_ca):  # two credentials: whose request would it be?
            return refusals["malformed"]
        claim = signature_claim(fields[b"authorization"], fields) if signed else x_ca_claim(fields)
        return claim if isinstance(claim, Claim) else refusals[claim]

    def _wait_for_body(self, exchange: Exchange, claim: Claim) -> None:
        claim.fields = dict(claim.fields)  # what others change of the headers until then was not signed
        exchange.local[self] = claim

    def _unsigned(self, exchange: Exchange) -> Refusal | None:
        if self._anonymous is None or exchange.consumer:
            return self._unidentified(exchange, self._missing)
        if not self._policy.admit(exchange, self._anonymous):
            return self._first.not_allowed(self._anonymous.name)
        exchange.identified_by = ""  # nobody was verified: another plug-in may still find out who it is
        return None

    def _unidentified(self, exchange: Exchange, refusal: Refusal) -> Refusal | None:
        return self._policy.without_credential(exchange, refusal, self._first.not_allowed(exchange.consumer.name))

    def _accept(self, exchange: Exchange, claim: Claim, consumer: Consumer | None = None) -> Waiting:
        """Let a verified request pass, if it did not come before. `consumer` was not admitted yet."""
        refused = self._rules[claim.dialect].came_before(exchange, claim) if self._refuses_replays else None
        if refused is None:
            return self._enter(exchange, claim, consumer)
        return refused if isinstance(refused, Refusal) else self._accept_later(exchange, claim, consumer, refused)

    async def _accept_later(
        self, exchange: Exchange, claim: Claim, consumer: Consumer | None, asked: Coroutine[Any, Any, Refusal | None]
    ) -> Refusal | None:
        return await asked or self._enter(exchange, claim, consumer)

    def _enter(self, exchange: Exchange, claim: Claim, consumer: Consumer | None) -> Refusal | None:
        if consumer is not None and not self._policy.admit(exchange, consumer):
            return self._rules[claim.dialect].refusals.not_allowed(consumer.name)
        if self._hides:
            exchange.request.headers.remove_all(_CREDENTIALS[claim.dialect])
        return None
