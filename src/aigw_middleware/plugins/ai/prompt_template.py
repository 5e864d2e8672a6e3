"""Let callers ask by the name of a prompt and fill in its variables.

    plugins:
      - name: ai-prompt-template
        config:
          templates:
            - name: translate
              template:
                model: gpt-4o
                temperature: "{{temperature}}"
                messages:
                  - {role: system, content: "Translate into {{language}}."}
                  - {role: user, content: "{{text}}"}
              variables:
                language: {enum: [German, French], default: German}
                temperature: {type: number, default: 0.2}

A caller sends `{"template": "translate", "properties": {"text": "Hello"}}`. Values are put into texts as they are, never
into the JSON around them, so that no value can add a member or a message. A text that is one variable and nothing else
becomes the value itself where the variable is declared as a number, boolean, list or object. What the caller sends
besides is dropped, but for the members in `keep`. A request header `template-enable: false` leaves the request alone, and
so does a body without `template` and `properties`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import model_validator

from ... import json as strict_json
from ...exchange import Exchange, Refusal
from ...llm.dialects.walking import strings
from ...llm.view import is_json
from ...plugin import Field, Plugin, PluginConfig, Stage

_placeholder = re.compile(r"\{\{\s*([^{}\s]+)\s*\}\}")
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "any": lambda value: True,
}

Fill = Callable[[Mapping[str, Any]], Any]


class Variable(PluginConfig):
    """What a variable may be."""

    type: Literal["string", "number", "integer", "boolean", "array", "object", "any"] = Field(
        "string", description="JSON type of the value. `any`: whatever comes, as text."
    )
    default: Any = Field(None, description="Value where the caller gives none; null: the caller must give one.")
    enum: tuple[Any, ...] = Field((), description="The values that are allowed; none: all of the type.")
    max_length: int = Field(100_000, ge=0, description="Characters of a text, items of a list.")

    @model_validator(mode="after")
    def _default_fits(self) -> Variable:
        if self.default is not None and (problem := self.problem(self.default)):
            raise ValueError(f"default {problem}")
        return self

    def problem(self, value: Any) -> str:
        """Return why a value does not fit, or the empty string; never the value."""
        if not _TYPES[self.type](value):
            return f"is not of type {self.type}"
        if self.enum and not any(value == allowed and type(value) is type(allowed) for allowed in self.enum):
            return f"is none of {', '.join(map(str, self.enum))}"
        if isinstance(value, (str, list)) and len(value) > self.max_length:
            return f"is longer than {self.max_length}"
        return ""


class PromptTemplate(PluginConfig):
    """A prompt with a name."""

    name: str = Field(min_length=1, description="What callers name it by.")
    template: dict[str, Any] = Field(description="The body that is sent; `{{name}}` in its texts are variables.")
    variables: dict[str, Variable] = Field({}, description="Types, defaults and bounds; others may be anything.")

    @model_validator(mode="after")
    def _variables_exist(self) -> PromptTemplate:
        unused = sorted(set(self.variables) - set(_variables_of(self.template)))
        if unused:
            raise ValueError(f"declares {', '.join(unused)}, which the template does not use")
        return self


class AiPromptTemplateConfig(PluginConfig):
    """The prompts that callers can name."""

    templates: tuple[PromptTemplate, ...] = Field(description="The prompts.")
    keep: tuple[str, ...] = Field(
        ("stream", "stream_options"), description="Members of the caller's body that are laid over the prompt."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> AiPromptTemplateConfig:
        if not self.templates:
            raise ValueError("has nothing to do: give it templates")
        names = [template.name for template in self.templates]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"templates: {', '.join(twice)} is there more than once")
        return self


class AiPromptTemplate(Plugin[AiPromptTemplateConfig]):
    """Make a request of the name of a prompt and the values of its variables."""

    name, stage, priority = "ai-prompt-template", Stage.DEFAULT, 500
    on_failure = "deny"

    def compile(self) -> None:
        self._templates = {template.name: _Compiled(template) for template in self.config.templates}

    def wants_body(self, exchange: Exchange) -> bool:
        headers = exchange.request.headers
        return is_json(headers.get_bytes(b"content-type")) and headers.get_bytes(b"template-enable") != b"false"

    def on_request_body(self, exchange: Exchange) -> Refusal | None:
        request = exchange.request
        body = request.json if request.received_body else None
        if not isinstance(body, dict) or "template" not in body or "properties" not in body:
            return None
        name, properties = body["template"], body["properties"]
        template = self._templates.get(name) if isinstance(name, str) else None
        if template is None:
            return _refusal("unknown_template", f"There is no prompt template {_shown(name)}.")
        if not isinstance(properties, dict):
            return _refusal("invalid_properties", "The properties of a prompt template are an object.")
        values, problem = template.values(properties)
        if problem:
            return _refusal("invalid_properties", problem)
        kept = {member: body[member] for member in self.config.keep if member in body}
        edited = request.edit()
        edited.clear()
        edited.update(template.fill(values), **kept)
        if exchange.llm is not None:
            exchange.llm.reread()
        exchange.decide(self, "changed", f"template: {template.name}")
        return None


class _Compiled:
    """A template as what fills it, made once."""

    __slots__ = ("_fill", "_variables", "name")

    def __init__(self, template: PromptTemplate) -> None:
        self.name = template.name
        any_value = Variable(type="any")
        used = _variables_of(template.template)
        self._variables = {name: template.variables.get(name, any_value) for name in used}
        self._fill = _filler(template.template, template.variables)

    def values(self, properties: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """Return the value of each variable, and what is wrong with them; empty when nothing is."""
        values: dict[str, Any] = {}
        for name, variable in self._variables.items():
            value = properties.get(name)
            if value is None:
                value = variable.default
            if value is None:
                return values, f"Property {name!r} of prompt template {self.name!r} is missing."
            problem = variable.problem(value)
            if problem:
                return values, f"Property {name!r} of prompt template {self.name!r} {problem}."
            values[name] = value
        return values, ""

    def fill(self, values: Mapping[str, Any]) -> Any:
        """Return the body."""
        return self._fill(values)


def _variables_of(template: dict[str, Any]) -> list[str]:
    """Return the names of the variables in the texts of a template, in their order."""
    found = [name for holder, key in strings(template) for name in _placeholder.findall(holder[key])]
    return list(dict.fromkeys(found))


def _filler(value: Any, variables: Mapping[str, Variable]) -> Fill:
    """Return what makes a fresh copy of a part of a template with its variables filled in."""
    if isinstance(value, dict):
        members = [(name, _filler(item, variables)) for name, item in value.items()]
        return lambda values: {name: fill(values) for name, fill in members}
    if isinstance(value, list):
        items = [_filler(item, variables) for item in value]
        return lambda values: [fill(values) for fill in items]
    if not isinstance(value, str) or not _placeholder.search(value):
        return lambda values: value
    whole = _placeholder.fullmatch(value)
    if whole and variables.get(whole[1], Variable(type="any")).type not in ("string", "any"):
        return lambda values: values[whole[1]]
    return lambda values: _placeholder.sub(lambda match: _text(values[match[1]]), value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else strict_json.encode(value).decode()


def _shown(name: Any) -> str:
    """Return a caller's name for a template, short enough for a message."""
    return repr(name[:100]) if isinstance(name, str) else "whose name is no text"


def _refusal(code: str, text: str) -> Refusal:
    return Refusal(400, code, text, upstream=("text/plain", text.encode()))
