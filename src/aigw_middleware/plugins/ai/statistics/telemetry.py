"""Spans and metrics of LLM calls as OpenTelemetry's conventions for generative AI have them.

Only the API package is used: where they go, and whether they go anywhere, the SDK says that the service sets up. A span is
made when the exchange is over, with the times of its beginning and end; its parent is what was current when it began, or
the caller's `traceparent`.

Source: OpenTelemetry, semantic conventions for generative AI, spans and metrics (status: development); W3C Trace Context.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ....errors import ConfigError
from ....plugin import OUTBOUND
from .conversation import Conversation, output_messages

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....llm.view import LlmCall
    from .attributes import Seen
    from .measured import Measured

EXTRA: Final = "pip install 'aigw-middleware[otel]'"
SCOPE: Final = "aigw_middleware"

OPERATIONS: Final = {
    "openai-completions": "text_completion",
    "openai-embeddings": "embeddings",
    "openai-other": "generate_content",
    "openai-media": "generate_content",
    "gemini": "generate_content",
}
"""By dialect; all others chat."""
EMBEDDINGS: Final = (":embedContent", ":batchEmbedContents")
PROVIDERS: Final = {"anthropic": "anthropic", "gemini": "gcp.gemini", "openai": "openai"}
"""By the first word of the dialect: whose API it is, which many others speak."""

PARAMETERS: Final[tuple[tuple[str, str, type, type], ...]] = (
    ("temperature", "gen_ai.request.temperature", int, float),
    ("top_p", "gen_ai.request.top_p", int, float),
    ("top_k", "gen_ai.request.top_k", int, float),
    ("frequency_penalty", "gen_ai.request.frequency_penalty", int, float),
    ("presence_penalty", "gen_ai.request.presence_penalty", int, float),
    ("max_output_tokens", "gen_ai.request.max_tokens", int, int),
    ("choices", "gen_ai.request.choice.count", int, int),
    ("seed", "gen_ai.request.seed", int, int),
)
"""Common name, attribute, and the types of a value that is recorded."""
MAX_STOPS: Final = 16

OPERATION_BOUNDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKEN_BOUNDS: Final = tuple(4**power for power in range(14))  # 1, 4, 16, ... 67108864
FIRST_TOKEN_BOUNDS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN_BOUNDS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


def parameters_of(call: LlmCall) -> dict[str, Any]:
    """Return the sampling parameters of a request, as far as they are what they should be."""
    found: dict[str, Any] = {}
    for name, attribute, *types in PARAMETERS:
        value = call.parameter(name)
        if type(value) in types and -(2**63) <= value < 2**63:  # what the wire format of traces can hold; no NaN either
            found[attribute] = types[1](value)
    if found.get("gen_ai.request.choice.count") == 1:
        del found["gen_ai.request.choice.count"]
    stop = call.parameter("stop")
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    if stops and all(isinstance(text, str) for text in stops):
        found["gen_ai.request.stop_sequences"] = stops[:MAX_STOPS]
    return found


class Telemetry:
    """A tracer and the instruments. Raises ConfigError when the API package is not installed."""

    def __init__(self, content: int) -> None:
        self._content = content
        """Characters of each side of a conversation that go into a span; 0: none."""
        try:
            self._context = importlib.import_module("opentelemetry.context")
            metrics = importlib.import_module("opentelemetry.metrics")
            self._propagate = importlib.import_module("opentelemetry.propagate")
            self._trace = importlib.import_module("opentelemetry.trace")
        except ImportError:
            message = "opentelemetry: true needs the package opentelemetry-api, which is not installed"
            raise ConfigError.of("", message, EXTRA) from None
        self._tracer = self._trace.get_tracer(SCOPE)
        meter = metrics.get_meter(SCOPE)

        def histogram(name: str, unit: str, bounds: Iterable[float], text: str) -> Any:
            return meter.create_histogram(
                name, unit=unit, description=text, explicit_bucket_boundaries_advisory=list(bounds)
            )

        self._tokens = histogram("gen_ai.client.token.usage", "{token}", TOKEN_BOUNDS, "Tokens used.")
        self._client = histogram("gen_ai.client.operation.duration", "s", OPERATION_BOUNDS, "Duration of calls made.")
        self._server = histogram("gen_ai.server.request.duration", "s", OPERATION_BOUNDS, "Duration of calls served.")
        self._first = histogram(
            "gen_ai.server.time_to_first_token", "s", FIRST_TOKEN_BOUNDS, "Time to the first token of a stream."
        )
        self._each = histogram(
            "gen_ai.server.time_per_output_token", "s", PER_TOKEN_BOUNDS, "Time per token after the first."
        )

    def begin(self) -> Any:
        """Return the context that is current now."""
        return self._context.get_current()

    def prepare(self, call: LlmCall, seen: Seen) -> None:
        """Keep what a span says of the request, as it is now."""
        seen.parameters = parameters_of(call)
        if self._content:
            seen.conversation = Conversation(call, self._content)

    def end(
        self,
        exchange: Exchange,
        measured: Measured,
        seen: Seen,
        bounded: Mapping[str, str],
        tags: Mapping[str, Any],
    ) -> None:
        """Record a call that is over: `bounded` are models as values of labels, `tags` what else goes into the span."""
        call, outgoing = exchange.llm, exchange.direction is OUTBOUND
        dialect = call.dialect.name if call is not None else "openai"
        operation = OPERATIONS.get(dialect, "chat")
        if exchange.request.path.endswith(EMBEDDINGS):
            operation = "embeddings"
        kind = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": PROVIDERS.get(dialect.partition("-")[0], "openai"),
        }
        attributes: dict[str, Any] = {**kind, **self._of_answer(exchange, measured), **seen.parameters, **tags}
        name = operation
        if seen.model:
            attributes["gen_ai.request.model"] = seen.model
            name = f"{operation} {seen.model}"
        if outgoing:
            attributes["server.address"] = exchange.request.domain
        if seen.conversation is not None:
            attributes |= seen.conversation.attributes()
            attributes["gen_ai.output.messages"] = output_messages(exchange.meter, self._content)
        span = self._span(exchange, name, seen.context, attributes, measured)
        labels = {**kind, **{name: value for name, value in bounded.items() if value}}
        self._measure(measured, labels, self._trace.set_span_in_context(span), outgoing)

    def _span(self, exchange: Exchange, name: str, begun: Any, attributes: dict[str, Any], measured: Measured) -> Any:
        trace = self._trace
        context = begun if begun is not None else self._context.get_current()
        around = trace.get_current_span(context).get_span_context()
        kind = trace.SpanKind.CLIENT if exchange.direction is OUTBOUND else trace.SpanKind.INTERNAL
        if exchange.direction is not OUTBOUND and not (around.is_valid and not around.is_remote):
            kind = trace.SpanKind.SERVER  # nobody else made a span of this request: ours is the service's
            if not around.is_valid:
                names = ("traceparent", "tracestate")
                carrier = {name: value for name in names if (value := exchange.request.headers.get(name))}
                context = self._propagate.extract(carrier, context)
        end = exchange.ports.clock.now()
        start = end - (exchange.finished - exchange.started)
        span = self._tracer.start_span(
            name, context=context, kind=kind, attributes=attributes, start_time=_nanoseconds(start)
        )
        if measured.error:
            span.set_status(trace.Status(trace.StatusCode.ERROR, measured.error))
        span.end(end_time=_nanoseconds(end))
        return span

    @staticmethod
    def _of_answer(exchange: Exchange, measured: Measured) -> dict[str, Any]:
        found: dict[str, Any] = {
            "gen_ai.span.kind": "LLM",
            "aigw.route": exchange.route.name,
            "aigw.outcome": measured.outcome,
        }
        if exchange.consumer.name:
            found["aigw.consumer"] = exchange.consumer.name
        if measured.error:
            found["error.type"] = measured.error
        meter, usage, cost = exchange.__dict__.get("meter"), measured.usage, measured.cost
        if meter is not None:
            if meter.model:
                found["gen_ai.response.model"] = found["gen_ai.model_name"] = meter.model
            if meter.answer_id:
                found["gen_ai.response.id"] = meter.answer_id
            if meter.finish_reasons:
                found["gen_ai.response.finish_reasons"] = list(meter.finish_reasons)
        if usage is not None:
            found["gen_ai.usage.input_tokens"] = usage.input_tokens
            found["gen_ai.usage.output_tokens"] = usage.output_tokens
            found["gen_ai.usage.total_tokens"] = usage.total_tokens
            found["aigw.usage_source"] = usage.source
            for name, count in (
                ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
                ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens),
                ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
            ):
                if count:
                    found[name] = count
        if cost is not None:
            found["aigw.cost"] = float(cost.total)
            found["aigw.currency"] = cost.currency
        return found

    def _measure(self, measured: Measured, labels: Mapping[str, str], context: Any, outgoing: bool) -> None:
        usage = measured.usage
        if usage is not None:
            self._tokens.record(usage.input_tokens, {**labels, "gen_ai.token.type": "input"}, context)
            self._tokens.record(usage.output_tokens, {**labels, "gen_ai.token.type": "output"}, context)
        if not measured.served:
            return
        ended = {**labels, "error.type": measured.error} if measured.error else labels
        (self._client if outgoing else self._server).record(measured.total, ended, context)
        if not outgoing and not measured.error:
            if measured.first_token is not None:
                self._first.record(measured.first_token, labels, context)
            if measured.interval is not None:
                self._each.record(measured.interval, labels, context)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
