"""The whole default order, in one place: a request passes from top to bottom, its answer from bottom to top.

Stages run in this sequence; inside a stage the larger priority is first, then the name decides. `stage_order`, `stage` and
`priority` in a configuration change it. The numbers are those of the gateways this library is compatible with; their
published stage rule is Authorization, Authentication, Statistics, Default, so that a preflight needs no credential.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .plugin import Stage

if TYPE_CHECKING:
    from .plugin import Plugin

RBAC, AUTHORIZATION, AUTHENTICATION, DEFAULT = Stage.RBAC, Stage.AUTHORIZATION, Stage.AUTHENTICATION, Stage.DEFAULT
SENTINEL, ROUTER = Stage.SENTINEL, Stage.ROUTER

DEFAULT_STAGE_ORDER = (Stage.AUTHORIZATION, Stage.AUTHENTICATION, Stage.STATISTICS, Stage.DEFAULT)

DEFAULT_ORDER: tuple[tuple[str, Stage, int], ...] = (
    ("ip-access-control", RBAC, 0),  # an address that is shut out costs nothing more
    ("cors", AUTHORIZATION, 340),  # a preflight carries no credential, so it is answered before authentication
    ("waf", AUTHORIZATION, 330),
    ("request-block", AUTHORIZATION, 320),
    ("bot-detect", AUTHORIZATION, 310),
    ("http-real-ip", AUTHENTICATION, 980),  # before whatever looks at the client's address
    ("custom-response", AUTHENTICATION, 910),
    ("model-router", AUTHENTICATION, 900),  # the model chosen here decides what the rest sees
    ("model-mapper", AUTHENTICATION, 800),
    ("replay-protection", AUTHENTICATION, 800),
    ("frontend-gray", AUTHENTICATION, 450),
    ("geo-ip", AUTHENTICATION, 440),
    ("de-graphql", AUTHENTICATION, 430),
    ("cache-control", AUTHENTICATION, 420),
    ("transformer", AUTHENTICATION, 410),
    ("oauth", AUTHENTICATION, 350),
    ("jwt-auth", AUTHENTICATION, 340),
    ("hmac-auth", AUTHENTICATION, 330),
    ("basic-auth", AUTHENTICATION, 320),
    ("key-auth", AUTHENTICATION, 310),
    ("ext-auth", AUTHENTICATION, 300),  # the decisions that may ask others come after those that need not
    ("opa", AUTHENTICATION, 225),
    ("request-validation", AUTHENTICATION, 220),
    ("ip-restriction", AUTHENTICATION, 210),
    ("jwt-logout", AUTHENTICATION, 50),  # after jwt-auth verified the token it looks up
    ("response-cache", AUTHENTICATION, 10),  # a cached answer only for callers that were let in
    ("ai-context-limit", DEFAULT, 1000),
    ("ai-data-masking", DEFAULT, 991),  # outermost: sees what the caller sent, restores what the caller gets
    ("ai-statistics", DEFAULT, 990),
    ("ai-security-guard", DEFAULT, 850),
    ("ai-cache", DEFAULT, 800),  # a cached answer costs no quota
    ("ai-quota", DEFAULT, 750),
    ("ai-intent", DEFAULT, 700),
    ("ai-history", DEFAULT, 650),
    ("ai-token-ratelimit", DEFAULT, 600),
    ("ai-prompt-template", DEFAULT, 500),  # templates become prompts before prompts are decorated
    ("ai-prompt-decorator", DEFAULT, 450),
    ("ai-search", DEFAULT, 440),
    ("ai-transformer", DEFAULT, 410),
    ("ai-rag", DEFAULT, 405),
    ("traffic-tag", DEFAULT, 400),
    ("ai-json-resp", DEFAULT, 150),
    ("ai-proxy", DEFAULT, 110),  # innermost of the AI plug-ins: the others see the caller's API shape
    ("canary-header", DEFAULT, 100),
    ("cluster-key-rate-limit", DEFAULT, 20),
    ("key-rate-limit", DEFAULT, 10),
    ("traffic-policy", SENTINEL, 0),
    ("timeout", ROUTER, 100),  # around the call itself
    ("route-policy", ROUTER, 0),
)


def ranks(stage_order: Sequence[Stage] = DEFAULT_STAGE_ORDER) -> dict[Stage, int]:
    """Return the place of each stage."""
    return {stage: place for place, stage in enumerate((RBAC, *stage_order, SENTINEL, ROUTER))}


def in_order(plugins: Iterable[Plugin[Any]], stage_order: Sequence[Stage] = DEFAULT_STAGE_ORDER) -> list[Plugin[Any]]:
    """Return plug-ins sorted by stage, priority (larger first), then name, however they were added."""
    rank = ranks(stage_order)
    return sorted(plugins, key=lambda plugin: (rank[plugin.stage], -plugin.priority, plugin.name))
