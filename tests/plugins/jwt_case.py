"""What the tests of jwt-auth share: alice, her token, and what becomes of a request that carries one."""

from collections.abc import Mapping
from typing import Any

from aigw_middleware.plugins.auth.jwt.keys import KeySet
from aigw_middleware.plugins.auth.jwt.token import HeaderCache, Token
from tests.plugins.service import Gated, problems_of
from tests.plugins.service import outcome as outcome_of
from tests.plugins.tokens import ISSUER, key_set, signer

MISSING, INVALID = (401, "jwt_is_missing"), (401, "jwt_verification_fails")
EXPIRED, EARLY = (401, "jwt_is_expired"), (401, "jwt_not_yet_valid")
DENIED, SCOPE = (403, "access_denied"), (403, "insufficient_scope")
HS = signer("HS256")
KEYS = key_set(signer("HS256").jwk())
ALICE = {"name": "alice", "issuer": ISSUER, "jwks": KEYS}
TOKEN = signer("HS256").token()


def one(**changes: Any) -> dict[str, Any]:
    """A configuration with one consumer, alice, and changes to her credential."""
    return {"consumers": [{**ALICE, **changes}]}


def outcome(gated: Gated, token: str | None = None, path: str = "/", **headers: str) -> object:
    """Whom the service was told of; or status and code of the refusal, and that the service was not asked."""
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if token is not None:
        fields.append(("authorization", f"Bearer {token}"))
    return outcome_of(gated, dict(fields), path)


def problems(config: Mapping[str, Any], **top: Any) -> list[str]:
    return problems_of("jwt-auth", config, **top)


def verified(keys: KeySet, token: str) -> bool:
    """Whether one of the keys has signed it, whatever it says."""
    headers = HeaderCache()
    return Token(token.encode(), headers).verified(keys, headers) is not None


def plugin_of(gated: Gated) -> Any:
    """The one plug-in of a gateway."""
    (plugin,) = gated.gateway.core.snapshot.plugins
    return plugin
