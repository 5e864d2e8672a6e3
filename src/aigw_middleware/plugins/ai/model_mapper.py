"""Replace the model that a caller asks for.

    plugins:
      - name: model-mapper
        config:
          model_mapping: {"gpt-4o": qwen-max, "gpt-4o-mini*": qwen-turbo, "gpt-*": qwen-plus, "*": ""}

An exact name wins, then the longest prefix, then `*`; an empty target keeps what the caller asked for, and a missing
model counts as the empty name. The final name goes into a header too, so that whatever stands behind can route by it.
This works on the JSON body of any API whose path ends in one of the suffixes; bodies of other types pass. What claims to
be JSON and is not, or names a member twice, is refused: two readers could find two models in it.
"""

from __future__ import annotations

from pydantic import field_validator

from ...exchange import Exchange
from ...headers import header_name
from ...llm.view import is_json
from ...plugin import Field, Plugin, PluginConfig, Stage
from .by_model import ByModel, star_at_the_end
from .model_field import SUFFIXES, MemberPath, ModelField, OptionalHeader, path_ends, publish


class ModelMapperConfig(PluginConfig):
    """Which name stands for which."""

    model_key: MemberPath = Field(
        "model", description="Member of the body that names the model; `a.b`: `b` inside of `a`."
    )
    model_mapping: dict[str, str] = Field(
        {}, description="Model by model asked for: exact, `prefix*` or `*`. An empty model keeps what was asked for."
    )
    enable_on_path_suffix: tuple[str, ...] = Field(SUFFIXES, description="Ends of the paths it works on; `*`: all.")
    model_to_header: OptionalHeader = Field(
        "x-higress-llm-model-final", description="Request header that receives the final model; empty: none."
    )

    @field_validator("model_mapping")
    @classmethod
    def _star_at_the_end(cls, value: dict[str, str]) -> dict[str, str]:
        star_at_the_end(value)
        return value


class ModelMapper(Plugin[ModelMapperConfig]):
    """Map the model named in the request's body to another one."""

    name, stage, priority = "model-mapper", Stage.AUTHENTICATION, 800

    def compile(self) -> None:
        config = self.config
        self._field = ModelField(config.model_key)
        self._targets = ByModel(config.model_mapping)
        self._suffixes = path_ends(config.enable_on_path_suffix)
        self._header = header_name(config.model_to_header) if config.model_to_header else b""

    def wants_body(self, exchange: Exchange) -> bool:
        request = exchange.request
        return request.path.endswith(self._suffixes) and is_json(request.headers.get_bytes(b"content-type"))

    def on_request_body(self, exchange: Exchange) -> None:
        request = exchange.request
        body = self._field.body_of(request)
        if body is None:
            return
        model = self._field.read(body)
        target = self._targets.get(model)
        if target and target != model:
            self._field.write(request, target)
            exchange.decide(self, "changed", f"model: {target}")
        if self._header:
            publish(exchange, self, self._header, target or model)
