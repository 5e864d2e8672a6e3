"""Put messages before and after a conversation, and replace text in it.

    plugins:
      - name: ai-prompt-decorator
        config:
          prepend:
            - {role: system, content: "You help ${consumer:-guests} of ${header:x-team:-no team} in ${geo-city:-a city}."}
          replace:
            - {pattern: '(\\d{4})-\\d{4}', replacement: '$1-****', regex: true, on_role: user}

Variables in messages: `${geo-country}`, `${geo-province}`, `${geo-city}`, `${geo-isp}`, `${header:name}`, `${consumer}`
and `${consumer.metadata.key}`, each with a default as `${name:-default}`; other `${...}` stay as they are. Without a
value and a default, a geo variable leaves the whole request as it came, as in the gateways this is compatible with; the
others become empty, so that no caller can do away with the operator's prompt by leaving out a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import field_validator, model_validator

from ...exchange import Exchange
from ...plugin import Field, Needs, Plugin, PluginConfig, Stage
from ..patterns import compile_pattern
from .variables import NoValue, Template

MESSAGES = frozenset({"system", "content", "tool_result"})  # kinds of text that are what a message says

_reference = re.compile(r"\$(?:(\$)|([0-9A-Za-z_]+)|\{([0-9A-Za-z_]+)\})")


class Message(PluginConfig):
    """A message to put in."""

    role: str = Field(min_length=1, description="Who says it: system, user, assistant, ...")
    content: str = Field(description="What is said; may hold variables.")

    @field_validator("content")
    @classmethod
    def _known_variables(cls, value: str) -> str:
        Template(value)
        return value


class Replacement(PluginConfig):
    """A text to replace."""

    pattern: str = Field(min_length=1, description="What to replace: the text itself or, with `regex`, an RE2 pattern.")
    replacement: str = Field(
        "", description="What to put there; with `regex`, `$1` and `${name}` are groups of the pattern, `$$` is a `$`."
    )
    on_role: str = Field("", description="Only in messages of this role; empty: in all.")
    regex: bool = Field(False, description="Whether `pattern` is an RE2 pattern.")

    @model_validator(mode="after")
    def _compiles(self) -> Replacement:
        self.compiled()
        return self

    def compiled(self) -> Callable[[str], str]:
        """Return the function that replaces. Raises ValueError."""
        if not self.regex:
            return lambda text: text.replace(self.pattern, self.replacement)
        try:
            pattern = compile_pattern(self.pattern)
        except ValueError as error:
            raise ValueError(f"pattern {error}") from None
        expand = _expansion(self.replacement, pattern)
        return lambda text: pattern.sub(expand, text)


class AiPromptDecoratorConfig(PluginConfig):
    """What to add and what to replace."""

    prepend: tuple[Message, ...] = Field((), description="Messages before the caller's, in this order.")
    append: tuple[Message, ...] = Field((), description="Messages after the caller's, in this order.")
    replace: tuple[Replacement, ...] = Field(
        (), description="Replacements in what all messages say, added ones too, one after the other."
    )

    @model_validator(mode="after")
    def _does_something(self) -> AiPromptDecoratorConfig:
        if not (self.prepend or self.append or self.replace):
            raise ValueError("has nothing to do: give it prepend, append or replace")
        return self


class AiPromptDecorator(Plugin[AiPromptDecoratorConfig]):
    """Decorate the conversation of an LLM call."""

    name, stage, priority = "ai-prompt-decorator", Stage.DEFAULT, 450
    needs = Needs.LLM

    def compile(self) -> None:
        config = self.config
        self._before = _Messages(config.prepend)
        self._after = _Messages(config.append)
        self._rules = [(rule.on_role, rule.compiled()) for rule in config.replace]
        self._added = f"{len(config.prepend)} messages before, {len(config.append)} after"

    def on_request_body(self, exchange: Exchange) -> None:
        call = exchange.llm
        assert call is not None
        try:
            before, after = self._before.of(exchange), self._after.of(exchange)
        except NoValue as missing:
            exchange.decide(self, "skipped", f"{missing} has no value and no default")
            return
        if before:
            call.insert(before)
        if after:
            call.insert(after, at_end=True)
        if before or after:
            exchange.decide(self, "changed", self._added)
        if self._rules:
            self._replace(exchange)

    def _replace(self, exchange: Exchange) -> None:
        call = exchange.llm
        assert call is not None
        replaced = 0
        for slot in call.texts():
            if slot.kind not in MESSAGES or not slot.role:
                continue
            old = text = slot.text
            for role, replace in self._rules:
                if not role or role == slot.role:
                    text = replace(text)
            if text != old:
                call.replace(slot, text)
                replaced += 1
        if replaced:
            exchange.decide(self, "changed", f"replaced in {replaced} texts")


class _Messages:
    """Messages whose variables are filled in for each exchange; constant ones are made once."""

    __slots__ = ("_constant", "_templates")

    def __init__(self, messages: Sequence[Message]) -> None:
        self._templates = [(message.role, Template(message.content)) for message in messages]
        variable = any(template.variable for _, template in self._templates)
        self._constant = None if variable else [(message.role, message.content) for message in messages]

    def of(self, exchange: Exchange) -> Sequence[tuple[str, str]]:
        """Return `(role, text)` pairs. Raises NoValue."""
        if self._constant is not None:
            return self._constant
        return [(role, template.fill(exchange)) for role, template in self._templates]


def _expansion(template: str, pattern: Any) -> Callable[[Any], str]:
    """Return what fills the groups of a match into `template`. Raises ValueError for a group that there is not."""
    parts: list[str | int] = []
    end = 0
    for match in _reference.finditer(template):
        name = match[2] or match[3]
        parts.append(template[end : match.start()])
        end = match.end()
        if match[1]:
            parts.append("$")
            continue
        group = int(name) if name.isdigit() else pattern.groupindex.get(name, -1)
        if not 0 <= group <= pattern.groups:
            raise ValueError(f"replacement names group {name!r}, which the pattern has not; ${{1}}x is $1 and an x")
        parts.append(group)
    parts.append(template[end:])
    return lambda match: "".join([part if isinstance(part, str) else match.group(part) or "" for part in parts])
