"""The configuration as models: every key, its default, its unit. The reference page is made from these."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from ..addresses import AddressSet
from ..edge import UNIX
from ..headers import header_name
from ..llm.dialects import DIALECTS
from ..plugin import FailurePolicy, Stage
from .secrets import MIN_SECRET_BYTES, Secret

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(b|kb|mb|gb|kib|mib|gib)?\s*\Z", re.I)
_SIZE_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*\Z")
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.match(value)
    if match is None:
        raise ValueError("should be a number of bytes such as 1048576, '500kB' or '10MB'")
    return int(float(match[1]) * _SIZE_UNITS[(match[2] or "b").lower()])


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _TIME.match(value)
    if match is None:
        raise ValueError("should be a time such as 1.5, '500ms', '60s', '5m' or '2h'")
    return float(match[1]) * _TIME_UNITS[match[2] or "s"]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _is_header_name(value: str) -> str:
    header_name(value)
    return value


ByteSize: TypeAlias = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Seconds: TypeAlias = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_listed)]
HeaderName: TypeAlias = Annotated[str, AfterValidator(_is_header_name)]


class Model(BaseModel):
    """Base of the models of the configuration itself."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class MatchModel(Model):
    """What a rule applies to: all keys given must hold, any value of a key may."""

    route: Names = Field((), description="Names of routes.")
    route_prefix: Names = Field((), description="Prefixes of names of routes.")
    domain: Names = Field((), description="Host names: exact, `*.suffix`, `prefix*` or `*`.")
    service: Names = Field(
        (), description="Accepted for upstream's `_match_service_`; never matches inside one service."
    )
    path: Names = Field((), description="Exact paths.")
    path_prefix: Names = Field((), description="Path prefixes that end at a `/`: `/v1` covers `/v1/chat`, not `/v1x`.")
    path_regex: Names = Field((), description="RE2 patterns searched in the path.")
    method: Names = Field((), description="HTTP methods.")
    header: dict[str, str] = Field({}, description="Header values: exact, `*` (present), `prefix*` or `/RE2 pattern/`.")
    consumer: Names = Field((), description="Late key: names of consumers.")
    group: Names = Field((), description="Late key: groups of consumers.")
    model: Names = Field((), description="Late key: model names, exact or `prefix*`.")


class RuleModel(Model):
    """A configuration for some exchanges."""

    match: MatchModel = Field(description="What it applies to.")
    config: dict[str, Any] = Field(
        {}, repr=False, description="Laid over the plug-in's `config` key by key; lists and maps replace."
    )
    enabled: bool = Field(True, description="false switches the plug-in off for what matches.")
    replace: bool = Field(False, description="The rule's `config` stands alone, as upstream's `_rules_` do.")


class PluginEntry(Model):
    """One plug-in of the stack."""

    name: str = Field(min_length=1, description="Name of the plug-in.")
    config: dict[str, Any] = Field({}, repr=False, description="Its configuration.")
    rules: tuple[RuleModel, ...] = Field((), description="Configurations for some exchanges; the first match wins.")
    stage: Stage | None = Field(None, description="Stage to run in, instead of the plug-in's own.")
    priority: int | None = Field(None, description="Larger runs first inside the stage; instead of the plug-in's own.")
    on_failure: FailurePolicy | None = Field(None, description="The plug-in itself broke: `deny` or `allow`.")
    on_uncovered: FailurePolicy | None = Field(None, description="A call that it cannot read: `deny` or `allow`.")
    shadow: bool = Field(False, description="Run it, record what it would do, change nothing.")
    enabled: bool = Field(True, description="false: as if the entry were not there.")
    id: str = Field("", description="Identity of the entry in state and records; needed when a plug-in is named twice.")


class ConsumerModel(Model):
    """A caller that authentication plug-ins may identify."""

    name: str = Field(min_length=1, max_length=256, description="Unique name; what the service is told.")
    groups: Names = Field((), description="Groups, named `group:x` in `allow` lists.")
    tier: str = Field("", description="Tier, for limits.")
    metadata: dict[str, Any] = Field({}, description="Anything the service or plug-ins want to know.")
    credentials: dict[str, Any] = Field({}, repr=False, description="Credentials by authentication plug-in.")


class TimeoutPolicy(Model):
    """Deadlines of the call."""

    total: Seconds = Field(0, description="Seconds from the start of the call to the end of the answer; 0: none.")
    first_byte: Seconds = Field(0, description="Seconds to the first byte of the answer; 0: none.")
    idle: Seconds = Field(0, description="Seconds between two pieces of the answer; 0: none.")


class AddressPolicy(Model):
    """Who may come in, by the client's address."""

    allow: Names = Field((), description="Addresses or CIDRs that may enter; nobody else may then.")
    deny: Names = Field((), description="Addresses or CIDRs that may not, also when `allow` has them.")
    allow_files: Names = Field((), description="Files of addresses that may enter, one a line; watched.")
    deny_files: Names = Field((), description="Files of addresses that may not, one a line; watched.")


class PoliciesModel(Model):
    """Policies before and around the call."""

    ip_access_control: AddressPolicy | None = Field(None, description="Who may come in, before every plug-in.")
    timeout: TimeoutPolicy | None = Field(None, description="Deadlines of the call.")


if TYPE_CHECKING:
    LlmSetting: TypeAlias = str
else:
    LlmSetting = Literal["auto", "none", *DIALECTS]


AuthMode: TypeAlias = Literal["any", "all"]


class RouteModel(Model):
    """A name for some requests; the first route that matches gives its name to the exchange."""

    name: str = Field(min_length=1, description="Name that rules match.")
    path: Names = Field((), description="Exact paths.")
    path_prefix: Names = Field((), description="Path prefixes that end at a `/`.")
    path_regex: Names = Field((), description="RE2 patterns searched in the path.")
    methods: Names = Field((), description="HTTP methods.")
    domain: Names = Field((), description="Host names: exact, `*.suffix`, `prefix*` or `*`.")
    header: dict[str, str] = Field({}, description="Header values: exact, `*`, `prefix*` or `/RE2 pattern/`.")
    llm: LlmSetting = Field(
        "auto", description="API shape of its LLM calls; `auto`: by path, else by the body's shape."
    )
    watch_disconnect: bool = Field(
        False, description="Watch for a lost client on every answer, not only on LLM streams."
    )
    auth_mode: AuthMode | Literal[""] = Field("", description="`auth_mode` for this route; empty: as for all.")
    policies: PoliciesModel = Field(PoliciesModel(), description="Policies around the call, for this route.")


class GatewayConfig(Model):
    """The whole configuration."""

    version: Literal[1] = Field(1, description="Version of this format.")
    secret: Secret | None = Field(
        None, description="32 bytes or more; keys for identities in stores, hashes and caches derive from it."
    )
    previous_secrets: tuple[Secret, ...] = Field(
        (), description="Earlier values of `secret`, still accepted while rotating."
    )
    stage_order: tuple[Stage, ...] = Field(
        (Stage.AUTHORIZATION, Stage.AUTHENTICATION, Stage.STATISTICS, Stage.DEFAULT),
        description="Order of the four middle stages; `rbac` is always first, `sentinel` and `router` last.",
    )
    stores: dict[str, str] = Field(
        {}, description="Stores by name; `default` is the one plug-ins use. `memory://` shares counters in the process."
    )
    trusted_proxies: Names = Field(
        (),
        description="Addresses or CIDRs of proxies whose forwarding header is believed; `unix:`: over a Unix socket.",
    )
    client_header: str = Field("x-forwarded-for", description="Header in which trusted proxies name the client.")
    trust_identity_from: Names = Field(
        (), description="Addresses or CIDRs of gateways in front that may hand over the consumer header."
    )
    auth_mode: AuthMode = Field(
        "any",
        description="Where several plug-ins identify callers: `any` one is enough, or `all` must, as the same consumer.",
    )
    identity_header: str = Field("X-Mse-Consumer", description="Header that tells the service who the consumer is.")
    max_body_bytes: ByteSize = Field(
        10_000_000, description="Largest body that is read into memory, counted while reading."
    )
    ambiguous_paths: Literal["refuse", "allow"] = Field(
        "refuse",
        description="What happens to paths that two parties could read differently, where rules or guards match on paths.",
    )
    error_format: Literal["standard", "upstream"] = Field(
        "standard", description="`upstream`: refusals with the bytes of compatible gateways."
    )
    reload_interval: Seconds = Field(1.0, description="Seconds between looks at the file; 0: never look.")
    detached_ttl: Seconds = Field(
        300.0, description="Seconds for which work that outlives its exchange keeps its caller's identity."
    )
    on_disconnect: Literal["cancel", "drain", "ignore"] = Field(
        "cancel", description="What happens to a streamed LLM answer whose client left."
    )
    debug: bool = Field(False, description="Record quiet passes and their microseconds too.")
    consumers: tuple[ConsumerModel, ...] = Field((), description="Callers, declared once.")
    routes: tuple[RouteModel, ...] = Field((), description="Names for requests; `*` if none matches.")
    policies: PoliciesModel = Field(PoliciesModel(), description="Policies around the call, for every route.")
    plugins: tuple[PluginEntry, ...] = Field((), description="Plug-ins around the service.")
    outgoing: tuple[PluginEntry, ...] | None = Field(None, description="Plug-ins around the calls it makes.")

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: Secret | None) -> Secret | None:
        if secret is not None and len(secret.reveal().encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"should have {MIN_SECRET_BYTES} bytes or more")
        return secret

    @field_validator("trusted_proxies", "trust_identity_from")
    @classmethod
    def _addresses(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        AddressSet(text for text in value if text != UNIX or info.field_name != "trusted_proxies")
        return value

    @field_validator("stage_order")
    @classmethod
    def _each_once(cls, value: tuple[Stage, ...]) -> tuple[Stage, ...]:
        middle = {Stage.AUTHORIZATION, Stage.AUTHENTICATION, Stage.STATISTICS, Stage.DEFAULT}
        if len(value) != 4 or set(value) != middle:
            raise ValueError("should name authorization, authentication, statistics and default, each once")
        return value
