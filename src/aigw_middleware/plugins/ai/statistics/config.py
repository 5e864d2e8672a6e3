"""What is to be recorded, and where each value comes from."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from ....headers import header_name
from ....llm.prices import Price
from ....llm.prices.entries import duplicates
from ....plugin import Field, PluginConfig
from .paths import JsonPath

TOKENS = ("reasoning_tokens", "cached_tokens", "input_token_details", "output_token_details")
BUILT_IN = ("question", "system", "messages", "answer", "reasoning", "tool_calls", *TOKENS)
"""Values that are known by name, in any dialect."""

JSON_SOURCES = ("request_body", "response_body", "response_streaming_body")
HEADER_SOURCES = ("request_header", "response_header")
CREDENTIALS = frozenset(
    {b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key", b"api-key", b"x-goog-api-key"}
)
DEFAULT_SUFFIXES = ("/completions", "/messages", "/responses", ":generateContent", ":streamGenerateContent")
FULL_LIMIT, LIGHT_LIMIT = 10_485_760, 4_000  # characters; limits of the two default sets

Scalar = str | int | float | bool
Source = Literal[
    "",
    "fixed_value",
    "request_header",
    "request_body",
    "response_header",
    "response_body",
    "response_streaming_body",
]


class Attribute(PluginConfig):
    """A value of an exchange, and where it is written."""

    key: str = Field(min_length=1, description=f"Its name. Known without a source: {', '.join(BUILT_IN)}.")
    value_source: Source = Field("", description="Where it comes from; empty: known by its name.")
    value: Scalar = Field("", description="The value itself, a header name, or a path into JSON: `usage.total_tokens`.")
    default_value: Scalar | None = Field(None, description="What is written when there is no value.")
    rule: Literal["", "first", "replace", "append"] = Field(
        "", description="For streams: keep the first value that is not empty, the last one, or all of them joined."
    )
    apply_to_log: bool = Field(False, description="Write it into the log line.")
    apply_to_span: bool = Field(
        False, description="Put it into the span, and publish it as attribute `trace_span_tag.<key>` of the exchange."
    )
    trace_span_key: str = Field("", description="Key for tracing, instead of `key`.")
    as_separate_log_field: bool = Field(
        False, description="In the log, put it beside the line instead of into it: `record.ai_attributes`."
    )

    @model_validator(mode="after")
    def _complete(self) -> Attribute:
        source, value = self.value_source, self.value
        if not source:
            if self.key not in BUILT_IN:
                raise ValueError(f"{self.key!r} needs a value_source; known without one: {', '.join(BUILT_IN)}")
            return self
        if source != "fixed_value" and not (isinstance(value, str) and value):
            wanted = "a path" if source in JSON_SOURCES else "a header name"
            raise ValueError(f"value_source {source} needs a value: {wanted}")
        if source in JSON_SOURCES:
            JsonPath(str(value))
        if source == "response_streaming_body" and not self.rule:
            raise ValueError("value_source response_streaming_body needs a rule: first, replace or append")
        if source in HEADER_SOURCES:
            _check_header(str(value))
        return self


def _check_header(name: str) -> None:
    if header_name(name) in CREDENTIALS:
        raise ValueError(f"{name} holds a credential, which no log may hold")


class AiStatisticsConfig(PluginConfig):
    """What is recorded of which exchanges."""

    use_default_attributes: bool = Field(
        False, description=f"Record {', '.join(BUILT_IN)}: questions and answers in full, so mind who reads the log."
    )
    use_default_response_attributes: bool = Field(False, description=f"Record {', '.join(TOKENS)}.")
    attributes: tuple[Attribute, ...] = Field((), description="Values of your own.")
    disable_openai_usage: bool = Field(False, description="Record no tokens; and every exchange, not only LLM calls.")
    value_length_limit: int = Field(
        32_000, ge=20, description="Characters of a value. With a default set: 10,485,760, with the light one: 4,000."
    )
    enable_path_suffixes: tuple[str, ...] = Field(
        (),
        description="Ends of paths that are recorded; `*`: all. None: all, or with a default set those of LLM calls.",
    )
    enable_content_types: tuple[str, ...] = Field((), description="Parts of Content-Types to record; none: all.")
    session_id_header: str = Field("", description="Request header with the session; some well-known ones follow.")
    prices: tuple[Price, ...] = Field((), description="What models cost, per million tokens. Needed for `cost`.")
    list_prices: bool = Field(
        False, description="Price what `prices` does not have by the list prices of the extra `prices`."
    )
    currency: str = Field("USD", description="Currency of the prices, a code of ISO 4217.")
    on_unknown_model: Literal["record", "warn", "omit"] = Field(
        "record",
        description="A call without a price never costs 0. `record`: it has no `cost`, is marked `unpriced` and counted; "
        "`warn`: also warn in the log of the library, once per model; `omit`: it has no `cost`, and that is all.",
    )
    opentelemetry: bool = Field(
        False, description="Make a span and metrics of each call, by OpenTelemetry's conventions. Extra `otel`."
    )
    opentelemetry_content: bool = Field(
        False, description="Put questions and answers into the span, cut to `value_length_limit`."
    )

    @field_validator("session_id_header")
    @classmethod
    def _is_a_header(cls, value: str) -> str:
        if value:
            _check_header(value)
        return value

    @field_validator("currency")
    @classmethod
    def _is_a_code(cls, value: str) -> str:
        if len(value) != 3 or not (value.isascii() and value.isupper() and value.isalpha()):
            raise ValueError("should be a code of ISO 4217 such as USD or EUR")
        return value

    @field_validator("prices")
    @classmethod
    def _begin_apart(cls, value: tuple[Price, ...]) -> tuple[Price, ...]:
        for index, earlier in duplicates(value):
            raise ValueError(f"[{index}] is valid from the same moment for the same model as [{earlier}]")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> AiStatisticsConfig:
        if self.list_prices and self.currency != "USD":
            raise ValueError("list_prices are in US dollars: currency should be USD")
        if self.opentelemetry_content and not self.opentelemetry:
            raise ValueError("opentelemetry_content needs opentelemetry: true")
        return self

    @property
    def all_attributes(self) -> tuple[Attribute, ...]:
        """The attributes of the default set that is chosen, then the operator's own."""
        keys = BUILT_IN if self.use_default_attributes else TOKENS if self.use_default_response_attributes else ()
        return (*(Attribute(key=key, apply_to_log=True) for key in keys), *self.attributes)

    @property
    def limit(self) -> int:
        """Characters of a value."""
        if "value_length_limit" in self.model_fields_set:
            return self.value_length_limit
        if self.use_default_attributes:
            return FULL_LIMIT
        return LIGHT_LIMIT if self.use_default_response_attributes else self.value_length_limit

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of paths; empty: every path."""
        chosen = self.enable_path_suffixes
        if not chosen and "enable_path_suffixes" not in self.model_fields_set:
            chosen = DEFAULT_SUFFIXES if self.use_default_attributes or self.use_default_response_attributes else ()
        return () if "*" in chosen else chosen
