"""Identify callers by a signed JSON Web Token, and tell the service who calls and what the token says.

    plugins:
      - name: jwt-auth
        config:
          consumers:
            - name: alice
              issuer: https://id.example.com
              audiences: [api]
              claims: {sub: alice}
              jwks: '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
              claims_to_headers: [{claim: roles, header: x-roles}]
            - name: partners
              issuer: https://partners.example.com
              remote_jwks: {url: "https://partners.example.com/.well-known/jwks.json"}

A token stands in the header `Authorization` after `Bearer `, or in the query as `access_token`, unless other places are
configured. Every token of a request must be good, and for the same consumer. Of the keys, each verifies what its own type
and `alg` say; what a token says of algorithms and keys only chooses among them. What a consumer does not say itself is as
in the plug-in's own configuration, so that consumers of one issuer need no more than `claims`. Without `consumers` those
count that are declared at the top of the configuration with credentials for `jwt-auth`; without these, but with keys,
every good token lets in, without a name.

Source: RFC 7519 (tokens), 7515 and 7518 (signatures), 7517 and 8037 (keys), 8725 (best practice), 6750 (bearer tokens).
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from ....errors import ConfigError
from ....exchange import Exchange, Refusal
from ....headers import header_name
from ....plugin import INBOUND, Plugin, Stage
from ..policy import AuthPolicy, challenge
from .config import JwtAuthConfig
from .consumers import Compiled
from .jwks import stop_fetching
from .verdicts import Match, Verdict
from .verifier import Refusals, Verifier, Wanted

if TYPE_CHECKING:
    from ....runtime import Runtime

logger = logging.getLogger("aigw_middleware")

MAX_TOKENS = 4
"""Tokens of one request that are looked at; nobody needs more, and each costs a verification."""


class JwtAuth(Plugin[JwtAuthConfig]):
    """Refuse callers without a good token; set `exchange.consumer` and the consumer header for the others."""

    name, stage, priority = "jwt-auth", Stage.AUTHENTICATION, 340
    directions = frozenset({INBOUND})
    on_failure = "deny"
    identifies = True
    extra = "jwt"

    identity_headers: tuple[str, ...] = ()
    """Headers that claims become, so that no caller can set them."""

    def compile(self) -> None:
        config = self.config
        compiled = Compiled(config, self.context, self.name)
        if compiled.problems:
            raise ConfigError(compiled.problems, self.name)
        local = bool(config.consumers or config.scopes or config.jwks or config.remote_jwks)
        self._policy = AuthPolicy(config, self.context, self.name, local=local)
        self._enforced = self._policy.enforced
        self._only_with = tuple(header_name(name) for name in config.enable_headers)
        self._finder = compiled.finder
        self._find = compiled.finder.find
        self.identity_headers = compiled.headers
        refusals = self._refusals()
        self._verifier = Verifier(compiled.sources, refusals, config.max_token_bytes)
        self._known = self._verifier.known
        for warning in (*compiled.warnings, self._policy.warning):
            if warning:
                logger.warning("jwt-auth: %s", warning)

    def _refusals(self) -> Refusals:
        bearer = challenge("Bearer", self.config.realm)
        invalid = f'{bearer}, error="invalid_token"'  # RFC 6750, section 3.1
        self._missing = _refusal(401, "Jwt is missing", bearer)
        self._invalid = _refusal(401, "Jwt verification fails", invalid)
        self._not_allowed = _refusal(403, "Access Denied", bearer)
        self._lacks_scope = _refusal(
            403, "Access Denied", f'{bearer}, error="insufficient_scope"', "insufficient_scope"
        )
        return Refusals(
            self._invalid,
            _refusal(401, "Jwt is expired", invalid),
            _refusal(401, "Jwt not yet valid", invalid),
            _refusal(401, "Jwks remote fetch is failed", bearer),
        )

    def on_request(self, exchange: Exchange) -> Refusal | None | Coroutine[Any, Any, Refusal | None]:
        if not self._enforced:
            return None
        request = exchange.request
        if self._only_with and not any(name in request.headers.index for name in self._only_with):
            return None
        found = self._find(request)
        if not found:
            return self._policy.without_credential(exchange, self._missing, self._not_allowed)
        if len(found) == 1:
            ((text, places),) = found.items()
            verdict = self._known(text, exchange, exchange.ports.clock.now())
            if verdict is not None:
                return self._enter(exchange, verdict.matches, places)
        if len(found) > MAX_TOKENS:
            return self._policy.without_credential(exchange, self._invalid, self._not_allowed)
        answer = self._decide(exchange, found)
        return self._later(exchange, found, answer) if type(answer) is Wanted else answer  # type: ignore[return-value]

    def teardown(self, runtime: Runtime) -> Coroutine[Any, Any, None] | None:
        """End fetches beside exchanges when the runtime ends; on a reload others go on with what they bring."""
        tasks = stop_fetching(runtime, self._verifier.remotes) if not runtime.usable else []
        return _ended(tasks) if tasks else None

    async def _later(self, exchange: Exchange, found: dict[bytes, int], answer: Wanted) -> Refusal | None:
        """Decide after the key sets were fetched that the decision needs."""
        # A caller may have to wait for the fetch under way when it came, and for one for the key that it names; no longer.
        for last in (False, True):
            await exchange.ports.gather(*(remote.fetch(exchange) for remote in dict.fromkeys(answer.remotes)))
            result = self._decide(exchange, found, last=last)
            if not isinstance(result, Wanted):
                break
            answer = result
        assert not isinstance(result, Wanted)
        return result

    def _decide(self, exchange: Exchange, found: dict[bytes, int], *, last: bool = False) -> Refusal | None | Wanted:
        """Judge every token that was found, then let in whom all of them stand for."""
        now = exchange.ports.clock.now()
        matches: list[Match] | None = None
        wanted: list[Any] = []
        for text, places in found.items():
            verdict = self._known(text, exchange, now) or self._verifier.judge(text, exchange, now, last=last)
            if isinstance(verdict, Refusal):
                return self._policy.without_credential(exchange, verdict, self._not_allowed)
            if isinstance(verdict, Wanted):
                wanted.extend(verdict.remotes)
                continue
            matches = _common(matches, verdict, places)
        if wanted:
            return Wanted(tuple(wanted))
        return self._enter(exchange, matches or (), _together(found.values()))

    def _enter(self, exchange: Exchange, matches: Iterable[Match], places: int) -> Refusal | None:
        """Let in the first of the consumers that may enter, and tell the service of it."""
        refusal = self._invalid
        for match in matches:
            if not match.places & places:
                continue
            if match.lacks_scope:
                refusal = self._lacks_scope
            elif self._policy.admit(exchange, match.consumer):
                exchange.claims = match.claims
                if match.fields is not None:
                    match.fields.write(exchange.request.headers)
                if not match.keep_token:
                    self._finder.take_out(exchange.request, places)
                return None
            elif refusal is self._invalid:
                refusal = self._not_allowed
        if refusal is self._invalid:
            return self._policy.without_credential(exchange, refusal, self._not_allowed)
        return refusal


def _common(matches: list[Match] | None, verdict: Verdict, places: int) -> list[Match]:
    """Return the consumers that this token stands for as well as those before it."""
    here = [match for match in verdict.matches if match.places & places]
    if matches is None:
        return here
    names = {match.consumer.name for match in here}
    return [match for match in matches if match.consumer.name in names]


def _together(bits: Iterable[int]) -> int:
    together = 0
    for places in bits:
        together |= places
    return together


def _refusal(status: int, text: str, authenticate: str, code: str = "") -> Refusal:
    headers = {"www-authenticate": authenticate}
    code = code or text.lower().replace(" ", "_")
    return Refusal(status, code, text, headers, upstream=("text/plain", text.encode()))


async def _ended(tasks: list[Any]) -> None:
    import asyncio

    await asyncio.wait(tasks)
