"""Tell by headers which provider and which model a request asks for, and choose a model where the caller leaves it open.

    plugins:
      - name: model-router
        config:
          add_provider_header: x-provider
          model_to_header: x-model
          auto_routing:
            enable: true
            default_model: qwen/qwen-turbo
            rules:
              - {pattern: '(?i)\\b(traceback|stack trace|segfault)\\b', model: anthropic/claude-sonnet-4-5}
              - {pattern: '(?i)\\btranslate\\b', model: qwen/qwen-mt-plus}

A model `provider/name` becomes the header `add_provider_header: provider` and, in the body, the model `name`; what comes
before the first `/` is the provider. `model_to_header` receives the model as it was asked for, or chosen.

Who asks for exactly `higress/auto` gets the model of the first rule that is found in what the user said last, else
`default_model`, and the header `x-higress-llm-model` names it; without either, the body leaves as it came.

The model is read from JSON of any API, from a field of a form (`multipart/form-data`), and from paths of Gemini's API,
which are not rewritten. On every path that it works on, what callers send under the names of these headers is removed. A
body that two readers could read differently is refused: JSON that is none or names a member twice, a form that is not
well-formed or has the field twice.
"""

from __future__ import annotations

from typing import Any

from pydantic import field_validator, model_validator

from ...exchange import Exchange, Refusal
from ...headers import header_name
from ...llm.view import is_json
from ...plugin import Field, Plugin, PluginConfig, Stage
from ..patterns import compile_pattern
from .model_field import (
    PATH_VERBS,
    SUFFIXES,
    MemberPath,
    ModelField,
    OptionalHeader,
    model_of_path,
    path_ends,
    publish,
)
from .multipart import InvalidForm, is_form, text_field

AUTOMATIC = "higress/auto"
"""The model that callers ask for who leave the choice to the gateway."""
CHOSEN_HEADER = "x-higress-llm-model"
"""Request header that receives the model that was chosen for them."""


class AutoRoutingRule(PluginConfig):
    """A model for what users say."""

    pattern: str = Field(min_length=1, description="RE2 pattern, searched in the user's last message.")
    model: str = Field(min_length=1, description="Model for messages in which it is found.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        compile_pattern(value)
        return value


class AutoRouting(PluginConfig):
    """How a model is chosen."""

    enable: bool = Field(False, description=f"Whether the model `{AUTOMATIC}` means that one is chosen.")
    default_model: str = Field("", description="Model where no rule matches; empty: the request stays as it is.")
    rules: tuple[AutoRoutingRule, ...] = Field((), description="Rules; the first that matches wins.")


class ModelRouterConfig(PluginConfig):
    """What is read, and where it is written."""

    model_key: MemberPath = Field(
        "model", description="Member of the body, or field of a form, that names the model; `a.b`: `b` inside of `a`."
    )
    add_provider_header: OptionalHeader = Field(
        "", description="Request header that receives the provider of `provider/model`; empty: models are not split."
    )
    model_to_header: OptionalHeader = Field(
        "", description="Request header that receives the whole name of the model; empty: none."
    )
    keep_original_model_name: bool = Field(False, description="Leave the provider in the body's model.")
    enable_on_path_suffix: tuple[str, ...] = Field(
        (*SUFFIXES, *PATH_VERBS), description="Ends of the paths it works on, without the query; `*`: all."
    )
    auto_routing: AutoRouting = Field(AutoRouting(), description="Choice of a model by what the user says.")

    @model_validator(mode="after")
    def _one_value_each(self) -> ModelRouterConfig:
        whole = {self.model_to_header.lower()} | ({CHOSEN_HEADER} if self.auto_routing.enable else set())
        if self.add_provider_header and self.add_provider_header.lower() in whole:
            raise ValueError(f"header {self.add_provider_header} cannot hold both the provider and the whole model")
        return self


class ModelRouter(Plugin[ModelRouterConfig]):
    """Set headers from the model that a request names, and choose a model for it."""

    name, stage, priority = "model-router", Stage.AUTHENTICATION, 900

    def compile(self) -> None:
        config = self.config
        routing = config.auto_routing
        self._field = ModelField(config.model_key)
        self._suffixes = path_ends(config.enable_on_path_suffix)
        self._provider_header = header_name(config.add_provider_header) if config.add_provider_header else b""
        self._model_header = header_name(config.model_to_header) if config.model_to_header else b""
        self._chosen_header = header_name(CHOSEN_HEADER) if routing.enable else b""
        self._headers = frozenset({self._provider_header, self._model_header, self._chosen_header} - {b""})
        self._automatic = AUTOMATIC if routing.enable else ""
        self._rules = [(compile_pattern(rule.pattern).search, rule.model) for rule in routing.rules]
        if not self._headers:
            self.unused = frozenset({"on_request", "on_request_body"})

    def on_request(self, exchange: Exchange) -> None:
        request = exchange.request
        if not request.path.endswith(self._suffixes):
            return
        request.headers.remove_all(self._headers)  # what a caller put there is not ours
        model = model_of_path(request)
        if model:
            self._publish(exchange, model)

    def wants_body(self, exchange: Exchange) -> bool:
        request = exchange.request
        if not request.path.endswith(self._suffixes) or model_of_path(request) not in ("", self._automatic):
            return False
        content_type = request.headers.get_bytes(b"content-type")
        return is_json(content_type) or is_form(content_type)

    def on_request_body(self, exchange: Exchange) -> Refusal | None:
        request = exchange.request
        content_type = request.headers.get_bytes(b"content-type")
        if model_of_path(request):
            self._publish(exchange, self._chosen(exchange, self._field.body_of(request)))
        elif content_type is not None and is_form(content_type):
            try:
                self._route_form(exchange, content_type)
            except InvalidForm as error:
                return Refusal(400, "invalid_form", f"The request body is not an acceptable form: {error}.")
        else:
            self._route_json(exchange)
        return None

    def _route_json(self, exchange: Exchange) -> None:
        request = exchange.request
        body = self._field.body_of(request)
        asked = self._field.read(body) if body is not None else ""
        if asked:
            final = self._publish(exchange, self._chosen(exchange, body) if asked == self._automatic else asked)
            if final != asked:
                self._field.write(request, final)

    def _route_form(self, exchange: Exchange, content_type: bytes) -> None:
        request = exchange.request
        data = request.body
        field = text_field(data, content_type, self.config.model_key) if data else None
        if field is not None and field.text:
            asked = field.text
            final = self._publish(exchange, self._chosen(exchange, None) if asked == self._automatic else asked)
            if final != asked:
                request.body = field.replaced(final)

    def _publish(self, exchange: Exchange, model: str) -> str:
        """Set the headers that tell of `model`, and return what the body is to name."""
        if self._model_header:
            publish(exchange, self, self._model_header, model)
        if not self._provider_header or model == self._automatic:
            return model
        provider, _, name = model.partition("/")
        if not (provider and name and publish(exchange, self, self._provider_header, provider)):
            return model
        if self.config.keep_original_model_name or model_of_path(exchange.request):
            return model
        exchange.decide(self, "changed", "the model's provider went from the body into a header")
        return name

    def _chosen(self, exchange: Exchange, body: dict[str, Any] | None) -> str:
        """Return the model that the rules choose, and tell of it; the automatic one where they choose none."""
        model, why = self._choice(_last_question(exchange, body) if body is not None else "")
        if not model:
            exchange.decide(self, "skipped", f"no rule chooses a model for {AUTOMATIC}, and there is no default_model")
            return AUTOMATIC
        publish(exchange, self, self._chosen_header, model)
        exchange.decide(self, "changed", f"model: {model}, {why}")
        return model

    def _choice(self, question: str) -> tuple[str, str]:
        """Return a model, empty if there is none, and why it is this one."""
        if question:
            text = question.encode()  # once, rather than by each pattern
            for number, (search, model) in enumerate(self._rules):
                if search(text):
                    return model, f"rules[{number}]"
        return self.config.auto_routing.default_model, "default_model"


def _last_question(exchange: Exchange, body: dict[str, Any]) -> str:
    """Return the last text of the last message of the user that has one, in any dialect; empty: there is none.

    A call need not be readable in every part to be routed: a part of unknown type beside the text changes nothing.
    """
    call = exchange.llm
    question = ""
    if call is not None:
        for slot in call.dialect.texts(body):
            if slot.kind == "content" and slot.role == "user":
                question = slot.text
    return question
