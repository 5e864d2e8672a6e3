"""The stack that targets are set for: twelve plug-ins of an AI gateway. What is not built yet is sketched, and named.

One table says, for each plug-in, how it is configured here and which hooks a sketch of it has. A class that the registry
knows is used; for another one a plug-in with the same hooks stands in which does nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aigw_middleware.errors import ConfigError
from aigw_middleware.json import encode
from aigw_middleware.plugin import Needs, Plugin, PluginConfig, Stage
from aigw_middleware.registry import REGISTRY

from .exchange import API_KEY, ORIGIN

KEYS = 1_000
CIDRS = 1_000
_ISSUER = "https://login.example.com"
_JWT_SECRET = b"0123456789abcdef0123456789abcdef"
_YEAR_2100 = 4_102_444_800
_DENY_WORDS = ("project bluebird", "topsecret", "codename", "password", "internal only", "merger", "lawsuit", "layoffs")


def _real_ip() -> dict[str, Any]:
    return {"real_ip_from": ["10.0.0.0/8"], "real_ip_header": "x-forwarded-for"}


def _denied_addresses() -> dict[str, Any]:
    return {"deny": [f"198.{18 + number // 256}.{number % 256}.0/24" for number in range(CIDRS)]}


def _cors() -> dict[str, Any]:
    return {"allow_origins": [ORIGIN], "allow_credentials": True, "expose_headers": ["X-Request-Id"]}


def key_consumers(count: int) -> list[dict[str, str]]:
    """Return so many consumers with a key each, one of them with the key that requests here carry."""
    names = (f"consumer-{number}" for number in range(count - 1))
    return [
        {"name": "caller", "credential": digest(API_KEY)},
        *({"name": name, "credential": digest(f"the-key-of-{name}")} for name in names),
    ]


def digest(key: str) -> str:
    """Return a key as a configuration names it without telling it."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def _keys() -> dict[str, Any]:
    return {"keys": ["x-api-key"], "consumers": key_consumers(KEYS)}


def _tokens() -> dict[str, Any]:
    key = {"kty": "oct", "kid": "bench", "alg": "HS256", "k": _base64(_JWT_SECRET)}
    return {"consumers": [{"name": "caller", "issuer": _ISSUER, "jwks": encode({"keys": [key]}).decode()}]}


def token() -> str:
    """Return a bearer token that jwt-auth accepts until the year 2100."""
    head = _base64(encode({"alg": "HS256", "kid": "bench", "typ": "JWT"}))
    claims = _base64(encode({"iss": _ISSUER, "sub": "caller", "exp": _YEAR_2100}))
    signature = hmac.digest(_JWT_SECRET, f"{head}.{claims}".encode(), "sha256")
    return f"{head}.{claims}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _models() -> dict[str, Any]:
    return {"model_mapping": {"gpt-4o": "gpt-4o-2024-08-06", "claude-*": "claude-sonnet", "*": "gpt-4o-mini"}}


def _decoration() -> dict[str, Any]:
    return {"prepend": [{"role": "system", "content": "Answer in the language of the question."}]}


def _token_limit() -> dict[str, Any]:
    item = {"limit_by_per_consumer": "", "limit_keys": [{"key": "*", "token_per_minute": 10**12}]}
    return {"rule_name": "bench", "rule_items": [item]}


@dataclass(frozen=True, slots=True)
class Place:
    """One plug-in of the stack: its configuration here, and what a sketch of it looks like."""

    name: str
    config: Callable[[], dict[str, Any]]
    stage: Stage
    priority: int
    hooks: tuple[str, ...]
    needs: Needs = Needs.NOTHING


PLACES = (
    Place("request-id", dict, Stage.RBAC, 1_000, ("on_request", "on_response", "on_refusal")),
    Place("cors", _cors, Stage.AUTHORIZATION, 340, ("on_request", "on_response", "on_refusal")),
    Place("bot-detect", dict, Stage.AUTHORIZATION, 310, ("on_request",)),
    Place("http-real-ip", _real_ip, Stage.AUTHENTICATION, 980, ("on_request",)),
    Place("model-mapper", _models, Stage.AUTHENTICATION, 800, ("on_request_body",), Needs.LLM),
    Place("jwt-auth", _tokens, Stage.AUTHENTICATION, 340, ("on_request",)),
    Place("key-auth", _keys, Stage.AUTHENTICATION, 310, ("on_request",)),
    Place("ip-restriction", _denied_addresses, Stage.AUTHENTICATION, 210, ("on_request",)),
    Place("ai-data-masking", lambda: {"deny_words": _DENY_WORDS}, Stage.DEFAULT, 991, ("on_request_body", "on_text"), Needs.LLM),
    Place("ai-statistics", dict, Stage.DEFAULT, 990, ("on_complete",), Needs.USAGE),
    Place("ai-token-ratelimit", _token_limit, Stage.DEFAULT, 600, ("on_request_body",), Needs.LLM | Needs.USAGE),
    Place("ai-prompt-decorator", _decoration, Stage.DEFAULT, 450, ("on_request_body",), Needs.LLM),
)  # fmt: skip


def _nothing(self: Plugin[PluginConfig], *given: object) -> None:
    """A hook that does nothing."""


def sketch(
    name: str,
    hooks: Iterable[str],
    *,
    stage: Stage = Stage.DEFAULT,
    priority: int = 100,
    needs: Needs = Needs.NOTHING,
    hook: Callable[..., Any] = _nothing,
) -> Plugin[PluginConfig]:
    """Return a plug-in with these hooks, all of which do the same."""
    members = dict.fromkeys(hooks, hook)
    made: type[Plugin[PluginConfig]] = type(
        name.title().replace("-", ""),
        (Plugin,),
        {"name": name, "stage": stage, "priority": priority, "needs": needs, **members},
    )
    return made()


@cache
def missing(name: str) -> str:
    """Return why a plug-in must be sketched; empty when the registry has it."""
    try:
        REGISTRY.get(name)
    except ConfigError as error:
        problem = error.problems[0]
        return (
            "an extra is not installed"
            if "import" in problem.message and "aigw" not in problem.message
            else "not built yet"
        )
    return ""


@dataclass(frozen=True, slots=True)
class Stack:
    """What a gateway is made from: the configuration of built plug-ins, and sketches of the others."""

    config: Mapping[str, Any]
    plugins: list[Plugin[PluginConfig]]
    sketched: Mapping[str, list[str]] = field(default_factory=dict)
    """Names of the sketched ones, by the reason."""

    @property
    def note(self) -> str:
        """What readers of the figures must know about the stack."""
        if not self.sketched:
            return "no plug-in of the stack is sketched"
        return "; ".join(f"sketched as no-op, {reason}: {', '.join(names)}" for reason, names in self.sketched.items())


def ai_stack(*, without: str = "", overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Stack:
    """Return the stack, perhaps without one of its plug-ins; `overrides` replaces keys of their configurations."""
    entries: list[dict[str, Any]] = []
    plugins: list[Plugin[PluginConfig]] = []
    sketched: dict[str, list[str]] = {}
    for place in PLACES:
        if place.name == without:
            continue
        reason = missing(place.name)
        if reason:
            plugins.append(
                sketch(place.name, place.hooks, stage=place.stage, priority=place.priority, needs=place.needs)
            )
            sketched.setdefault(reason, []).append(place.name)
        else:
            entries.append({"name": place.name, "config": {**place.config(), **(overrides or {}).get(place.name, {})}})
    return Stack({"trusted_proxies": ["10.0.0.0/8"], "plugins": entries}, plugins, sketched)


def built() -> list[str]:
    """Return the names of the plug-ins that are there."""
    return [place.name for place in PLACES if not missing(place.name)]
