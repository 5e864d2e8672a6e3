"""Refuse, label or let pass programs by what they say of themselves in `User-Agent`.

    plugins:
      - name: bot-detect
        config:
          allow: ["^acme-uptime/"]
          deny: ["(?i)badbot"]
          categories: {search-engine: allow, ai-crawler: label}
          missing_user_agent: block

`allow` and `deny` are RE2 patterns that are searched in the value; `allow` is asked first, then `deny`, then the built-in
knowledge. A service that programs call, such as an API, wants `categories: {http-library: allow, unidentified: allow}`.
`/robots.txt` is answered to everybody: RFC 9309 lets a crawler that is refused it fetch everything.

A label is a request header for the service and the attributes `bot-category` and `bot-name` for other plug-ins; what a
caller sends under the header's name is removed. It is no proof: whoever pretends to be a browser is not found here.

Source: RFC 9110, section 10.1.5 (User-Agent); RFC 9309, section 2.3.1.3 (a robots.txt that is unavailable).
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec
from pydantic import field_validator

from ...config.models import HeaderName, Names
from ...exchange import Exchange, Refusal
from ...headers import header_name
from ...plugin import INBOUND, Field, Plugin, Stage
from ..patterns import compile_pattern
from .blocking import BlockingConfig
from .bots import CATEGORIES, LLM_SDK, detector

Action: TypeAlias = Literal["allow", "block", "label"]
Category: TypeAlias = Literal[
    "llm-sdk",
    "ai-crawler",
    "http-library",
    "search-engine",
    "link-preview",
    "monitoring",
    "automation",
    "crawler",
    "unidentified",
    "denied",
]

DENIED: Final = "denied"
MISSING: Final = "missing"
MAX_VERDICTS: Final = 4_096  # User-Agent values whose verdict is remembered, twice: the newest, and those before them
MAX_REMEMBERED_BYTES: Final = 1_024  # longer ones are judged each time


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What happens to the requests with one User-Agent."""

    action: Action
    category: str = ""
    name: str = ""


_PASS: Final = Verdict("allow")


class Verdicts:
    """Verdicts by User-Agent, of people and bots alike; bounded, and what is asked for again stays."""

    __slots__ = ("_older", "newest")

    def __init__(self) -> None:
        self.newest: dict[bytes, Verdict] = {}
        self._older: dict[bytes, Verdict] = {}

    def find(self, user_agent: bytes) -> Verdict | None:
        """Return a verdict that is not among the newest."""
        verdict = self._older.get(user_agent)
        if verdict is not None:
            self.keep(user_agent, verdict)
        return verdict

    def keep(self, user_agent: bytes, verdict: Verdict) -> None:
        """Remember a verdict; when there are too many, those that nobody asked for since the last time go."""
        if len(self.newest) >= MAX_VERDICTS:
            self._older, self.newest = self.newest, {}
        self.newest[user_agent] = verdict

    def __len__(self) -> int:
        return len(self.newest) + len(self._older)


class BotDetectConfig(BlockingConfig):
    """Which programs are let in."""

    allow: Names = Field((), description="RE2 patterns; a User-Agent in which one is found is let in.")
    deny: Names = Field((), description="RE2 patterns; one in which one of these is found is of the category `denied`.")
    mode: Literal["block", "label"] = Field(
        "block", description="What happens to bots: `block` refuses them, `label` tells the service of them."
    )
    categories: dict[Category, Action] = Field(
        {},
        description="What happens to those of one category, instead of `mode`. "
        + "; ".join(f"`{name}`: {text}" for name, text in CATEGORIES.items())
        + "; `denied`: found by `deny`.",
    )
    missing_user_agent: Action | None = Field(
        None, description="What happens to requests without a User-Agent; unset: as `mode` says. Browsers send one."
    )
    label_header: HeaderName = Field(
        "X-Bot-Category", description="Request header that tells the service the category, or `missing`."
    )
    open_paths: Names = Field(("/robots.txt",), description="Exact paths that are open to everybody.")

    @field_validator("allow", "deny")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            compile_pattern(pattern)
        return value


class BotDetect(Plugin[BotDetectConfig]):
    """Judge callers by what their User-Agent says."""

    name, stage, priority = "bot-detect", Stage.AUTHORIZATION, 310
    directions = frozenset({INBOUND})
    on_failure = "deny"

    def compile(self) -> None:
        config = self.config
        self._allow = [compile_pattern(pattern) for pattern in config.allow]
        self._deny = [compile_pattern(pattern) for pattern in config.deny]
        self._detector = detector()
        chosen: dict[str, Action] = {str(category): action for category, action in config.categories.items()}
        chosen.setdefault(LLM_SDK, "allow")  # callers that an AI gateway is there for
        self._actions = {category: chosen.get(category, config.mode) for category in (*CATEGORIES, DENIED)}
        self._missing = Verdict(config.missing_user_agent or config.mode, MISSING)
        self._header = header_name(config.label_header)
        labels = "label" in (*self._actions.values(), self._missing.action)
        self.identity_headers = (config.label_header,) if labels else ()
        self._open = frozenset(config.open_paths)
        self._refusal = config.refusal("bot_detected", "This service is not open to automated clients.")
        self._verdicts = Verdicts()

    def on_request(self, exchange: Exchange) -> Refusal | None:
        user_agent = exchange.request.headers.get_bytes(b"user-agent") or b""
        verdict = self._verdicts.newest.get(user_agent)
        if verdict is None:
            verdict = self._judge(user_agent)
        if verdict is _PASS:
            return None
        exchange.attributes["bot-category"] = verdict.category
        exchange.attributes["bot-name"] = verdict.name
        if verdict.action == "block" and exchange.request.path not in self._open:
            exchange.decide(self, "refused", verdict.category)
            return self._refusal
        if verdict.action == "label":
            exchange.request.headers.set_trusted(self._header, verdict.category.encode())
            exchange.decide(self, "changed", f"{verdict.category} {verdict.name}")
        return None

    def _judge(self, user_agent: bytes) -> Verdict:
        """Return the verdict on a User-Agent that is not among the newest, and remember it."""
        verdict = self._verdicts.find(user_agent)
        if verdict is None:
            verdict = self._look(user_agent)
            if len(user_agent) <= MAX_REMEMBERED_BYTES:
                self._verdicts.keep(user_agent, verdict)
        return verdict

    def _look(self, user_agent: bytes) -> Verdict:
        if not user_agent.strip():
            return self._missing
        if self._allow and _matches(self._allow, user_agent):
            return _PASS
        denied = self._deny and _matches(self._deny, user_agent)
        category = DENIED if denied else self._detector.find(user_agent)
        if category is None:
            return _PASS
        action = self._actions[category]
        name = self._detector.name(user_agent, category) if action != "block" else ""
        return Verdict(action, category, name)


def _matches(patterns: list[Any], user_agent: bytes) -> bool:
    text = user_agent.decode("latin-1")
    return any(pattern.search(text) for pattern in patterns)
