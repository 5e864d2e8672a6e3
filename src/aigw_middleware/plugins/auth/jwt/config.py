"""What can be configured about tokens: for all consumers of a plug-in, and for each of them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, JsonValue, NonNegativeInt, PositiveInt, ValidationInfo, model_validator

from ....config.models import Names
from ....config.secrets import Secret, read_secret
from ....headers import header_name, header_value
from ....plugin import Field, PluginConfig
from ..policy import AuthConfig
from .jwks import REFRESH_AT, RemoteKeys

_UNRESOLVABLE = (".dns", ".static", ".nacos", ".eureka", ".consul", ".zookeeper")
"""Ends of service names that only the registry of a compatible gateway can turn into addresses."""
_NOT_FOR_CLAIMS = frozenset(
    {"authorization", "cookie", "host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
)

Algorithm: TypeAlias = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
    "EdDSA", "Ed25519", "Ed448",
]  # fmt: skip


def _as_text(value: object, info: ValidationInfo) -> object:
    """Return a key set written as a mapping as text, with `env:` and `file:` references inside it read."""
    if not isinstance(value, dict):
        return value
    local = bool((info.context or {}).get("local", True))
    return json.dumps(_plain(value, local=local))


def _plain(value: object, *, local: bool) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, str) and value.startswith(("env:", "file:")):
        return read_secret(value, local=local).reveal()
    if isinstance(value, dict):
        return {key: _plain(item, local=local) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, local=local) for item in value]
    return value


Jwks: TypeAlias = Annotated[Secret, BeforeValidator(_as_text)]


class RemoteJwks(PluginConfig):
    """Where a key set is published."""

    url: str = Field("", description="Address of the key set; or the four `service_` keys and `path` below.")
    service_name: str = Field("", description="Host name of the service that has the key set.")
    service_host: str = Field("", description="Host name to use instead of `service_name`.")
    service_port: int = Field(443, ge=1, le=65_535, description="Port; 443 and 8443 speak TLS.")
    path: str = Field("/", description="Path of the key set.")
    cooldown_seconds: PositiveInt = Field(
        30, description="Seconds to the next fetch after one that failed or did not bring the key that a token names."
    )
    max_stale_seconds: NonNegativeInt = Field(
        3_600, description="Seconds for which an old key set is still used while fetching it anew fails."
    )

    @model_validator(mode="after")
    def _reachable(self) -> RemoteJwks:
        if bool(self.url) == bool(self.service_name or self.service_host):
            raise ValueError("should have either `url` or `service_name`")
        if not self.url and (self.service_host or self.service_name).endswith(_UNRESOLVABLE):
            raise ValueError("`service_name` is known to a gateway's registry only: give `url` or `service_host`")
        if not self.path.startswith("/"):
            raise ValueError("`path` should begin with /")
        parts = urlsplit(self.address)
        port = parts.port  # raises ValueError when it is none
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or port == 0:
            raise ValueError("`url` should be an http or https address, without a user")
        header_value(self.address.encode("ascii"))
        return self

    @property
    def address(self) -> str:
        """The whole address."""
        if self.url:
            return self.url
        scheme = "https" if self.service_port in (443, 8443) else "http"
        port = "" if self.service_port == 443 else f":{self.service_port}"
        return f"{scheme}://{self.service_host or self.service_name}{port}{self.path}"


class FromHeader(PluginConfig):
    """A header that carries a token."""

    name: str = Field(min_length=1, description="Name of the header.")
    value_prefix: str = Field("", description="What stands before the token, `Bearer ` for example; in any case.")

    @model_validator(mode="after")
    def _writable(self) -> FromHeader:
        header_name(self.name)
        return self


class ClaimToHeader(PluginConfig):
    """A claim that the service gets as a header."""

    claim: str = Field(min_length=1, description="Name of the claim.")
    header: str = Field(min_length=1, description="Header that receives it; no caller can set it himself any more.")
    override: bool = Field(True, description="Replace the header; false: add to what another claim has put there.")

    @model_validator(mode="after")
    def _own(self) -> ClaimToHeader:
        header_name(self.header)
        if self.header.lower() in _NOT_FOR_CLAIMS:
            raise ValueError(f"`header` should not be {self.header}: callers and servers need it themselves")
        return self


class TokenConfig(PluginConfig):
    """What holds for all consumers of a plug-in, unless one has its own."""

    jwks: Jwks | None = Field(
        None, description="JWK Set: JSON as text or mapping, `env:NAME` or `file:path`; public keys, or shared secrets."
    )
    remote_jwks: RemoteJwks | None = Field(None, description="Instead of `jwks`: where it is published.")
    jwks_cache_duration: int = Field(600, ge=30, le=604_800, description="Seconds for which a published set is good.")
    jwks_fetch_timeout: int = Field(1_500, ge=1, le=10_000, description="Milliseconds to wait for it.")
    issuer: str = Field("", description="Who must have issued the token (`iss`); empty: anybody with the key.")
    audiences: Names = Field((), description="Whom it may be for (`aud`), any of these; empty: not looked at.")
    scopes: Names = Field(
        (),
        description="Scopes that it must have (`scope` or `scp`), all of them, also as a text with spaces; 403 without.",
    )
    algorithms: tuple[Algorithm, ...] = Field((), description="Algorithms to accept; empty: what its keys are for.")
    claims_to_headers: tuple[ClaimToHeader, ...] = Field((), description="Claims that the service gets as headers.")
    from_headers: tuple[FromHeader, ...] = Field((), description="Headers that carry the token.")
    from_params: Names = Field((), description="Query parameters that carry the token.")
    from_cookies: Names = Field((), description="Cookies that carry the token.")
    clock_skew_seconds: NonNegativeInt = Field(60, le=86_400, description="Seconds by which clocks may differ.")
    require_exp: bool = Field(False, description="Refuse tokens that never expire.")
    keep_token: bool = Field(
        True, description="false: what carried the token (header, cookie, parameter) does not reach the service."
    )

    @model_validator(mode="after")
    def _one_source(self) -> TokenConfig:
        if self.jwks is not None and self.remote_jwks is not None:
            raise ValueError("should have either `jwks` or `remote_jwks`")
        return self


class Credential(TokenConfig):
    """By which tokens a consumer is known; what is not said here is as in the plug-in's configuration."""

    claims: dict[str, JsonValue] = Field({}, description="Claims that the token must have, with exactly these values.")

    def completed(self, common: TokenConfig) -> Credential:
        """Return it with what `common` says where it says nothing: keys and places go together, scopes add up."""
        said = set(self.model_fields_set)
        if said & {"jwks", "remote_jwks"}:
            said |= {"jwks", "remote_jwks"}
        if self.from_headers or self.from_params or self.from_cookies:
            said |= {"from_headers", "from_params", "from_cookies"}
        values = {name: getattr(self if name in said else common, name) for name in TokenConfig.model_fields}
        values["scopes"] = tuple(dict.fromkeys((*common.scopes, *self.scopes)))
        return Credential.model_construct(claims=self.claims, **values)

    def remote(self) -> RemoteKeys | None:
        """Return the source of its keys when that is remote."""
        if self.remote_jwks is None:
            return None
        ttl = float(self.jwks_cache_duration)
        cooldown = min(float(self.remote_jwks.cooldown_seconds), ttl * REFRESH_AT)
        stale = float(self.remote_jwks.max_stale_seconds)
        return RemoteKeys(self.remote_jwks.address, ttl, self.jwks_fetch_timeout / 1_000, cooldown, stale)


class JwtConsumer(Credential):
    """A caller and its tokens; a declared consumer of the same name gets them in addition to its own."""

    name: str = Field(min_length=1, max_length=256, description="Name of the consumer; what the service is told.")

    @model_validator(mode="after")
    def _tellable(self) -> JwtConsumer:
        header_value(self.name.encode())
        return self


class JwtAuthConfig(AuthConfig, TokenConfig):
    """Whose tokens are good for what."""

    consumers: tuple[JwtConsumer, ...] = Field((), description="Callers and their tokens.")
    enable_headers: Names = Field(
        (), description="Ask for a token only when one of these headers is there; anybody can leave them out."
    )
    max_token_bytes: PositiveInt = Field(16_384, le=1 << 20, description="Longest token that is looked at, in bytes.")

    @model_validator(mode="after")
    def _headers(self) -> JwtAuthConfig:
        for name in self.enable_headers:
            header_name(name)
        return self


def credential_of(value: Any) -> Credential:
    """Return a declared consumer's credential. Raises ValidationError."""
    return Credential.model_validate(value, context={"local": True})
