"""Answer with a fixed response: at once, or in place of answers of certain statuses.

    plugins:
      - name: custom-response
        config:
          rules:
            - {enable_on_status: [404], status_code: 200, body: '{"items": []}'}
            - {enable_on_status: [5xx], status_code: 503, headers: [Retry-After=30], body: Back in a moment.}

Without `enable_on_status` every request is answered at once, before it is authenticated, and the service is not asked.
With it the service is asked and its answer replaced: by the rule that names its status exactly, else by the first whose
pattern fits, else by the first rule that names none. Refusals by other plug-ins are no answers of the service and stay.
"""

from __future__ import annotations

import http
import re

from pydantic import field_validator, model_validator

from ... import json as strict_json
from ...exchange import Exchange, Reply
from ...headers import Headers, header_name
from ...plugin import Field, Plugin, PluginConfig, Stage

_FUZZY = re.compile(r"[1-9xX][0-9xX]{2}\Z")
_BODILESS = frozenset({http.HTTPStatus.NO_CONTENT, http.HTTPStatus.RESET_CONTENT, http.HTTPStatus.NOT_MODIFIED})
_RULE_KEYS = ("status_code", "headers", "body", "enable_on_status")


class ResponseRule(PluginConfig):
    """A response, and which statuses it takes the place of."""

    status_code: int = Field(200, ge=200, le=599, description="Status of the response.")
    headers: tuple[str, ...] = Field(
        (), description="Headers as `name=value`. Content-Length is left out: it follows from the body."
    )
    body: str = Field(
        "", description="Body. Its Content-Type, unless `headers` has one, is JSON if it is JSON, else plain text."
    )
    enable_on_status: tuple[str, ...] = Field(
        (),
        description="Statuses of the service to replace: `404`, or with `x` for any digit, `4xx`. None: see `rules`.",
    )

    @field_validator("enable_on_status", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        items = value if isinstance(value, (list, tuple)) else [value]
        return [str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in items]

    @field_validator("enable_on_status")
    @classmethod
    def _statuses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for status in value:
            if not _FUZZY.match(status):
                raise ValueError(f"{status!r} is no status such as 404, 40x or 4xx")
        return tuple(status.lower() for status in value)

    @field_validator("headers")
    @classmethod
    def _writable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for field in value:
            name, separator, text = field.partition("=")
            if not separator:
                raise ValueError(f"{name!r} should be written as name=value")
            if header_name(name.strip()) != b"content-length":
                Headers([]).add(name.strip(), text)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ResponseRule:
        if self.body and self.status_code in _BODILESS:
            raise ValueError(f"a response of status {self.status_code} has no body")
        return self

    def reply(self) -> Reply:
        """Return the response."""
        fields = [(name.strip(), value) for name, _, value in (field.partition("=") for field in self.headers)]
        typed = any(name.lower() == "content-type" for name, _ in fields)
        return Reply(self.status_code, fields, self.body, None if typed or not self.body else _media_type(self.body))


class CustomResponseConfig(ResponseRule):
    """One response, or several rules."""

    rules: tuple[ResponseRule, ...] = Field(
        (), description="Several responses. The first without `enable_on_status` is used where no other one fits."
    )

    @model_validator(mode="after")
    def _either(self) -> CustomResponseConfig:
        if self.rules and any(key in self.model_fields_set for key in _RULE_KEYS):
            raise ValueError(f"should have either `rules` or {', '.join(_RULE_KEYS)}")
        seen: set[str] = set()
        for status in (status for rule in self.rules or (self,) for status in rule.enable_on_status):
            if status in seen:
                raise ValueError(f"status {status} is named twice in enable_on_status")
            seen.add(status)
        return self


class CustomResponse(Plugin[CustomResponseConfig]):
    """Send a configured response instead of the service's."""

    name, stage, priority = "custom-response", Stage.AUTHENTICATION, 910

    def compile(self) -> None:
        rules = self.config.rules or (self.config,)
        self._replies: dict[int, Reply] = {}
        named = [(status, rule.reply()) for rule in rules for status in rule.enable_on_status]
        for pattern, reply in sorted(named, key=lambda item: "x" in item[0]):  # exact ones first; sorting is stable
            for status in _statuses_of(pattern):
                self._replies.setdefault(status, reply)
        default = next((rule.reply() for rule in rules if not rule.enable_on_status), None)
        self._at_once = None if named else default
        self._otherwise = default if named else None

    def on_request(self, exchange: Exchange) -> Reply | None:
        return self._at_once

    def on_response(self, exchange: Exchange) -> Reply | None:
        assert exchange.response is not None
        return self._replies.get(exchange.response.status, self._otherwise)


def _statuses_of(pattern: str) -> list[int]:
    """Return the statuses that a pattern stands for."""
    if "x" not in pattern:
        return [int(pattern)]
    expression = re.compile(pattern.replace("x", "[0-9]"))
    return [status for status in range(100, 1000) if expression.match(str(status))]


def _media_type(body: str) -> str:
    try:
        strict_json.decode(body.encode())
    except strict_json.InvalidJSON:
        return "text/plain; charset=utf-8"
    return "application/json; charset=utf-8"
