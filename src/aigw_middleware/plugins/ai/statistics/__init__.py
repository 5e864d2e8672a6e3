"""Record tokens, timing and cost of every LLM call, whole or streamed, finished or not: a log line, metrics, a span.

    plugins:
      - name: ai-statistics
        config:
          use_default_response_attributes: true
          session_id_header: x-session
          attributes:
            - {key: team, value_source: request_header, value: x-team, default_value: none, apply_to_log: true}
            - key: service_tier
              value_source: response_streaming_body
              value: service_tier
              rule: replace
              apply_to_log: true
          prices:
            - {model: gpt-4o, input: 2.50, cached_input: 1.25, output: 10}
            - {model: "m*", input: 1, output: 2}

Each exchange leaves one record in the logger `aigw_middleware.ai_log`: `record.ai_log` is a dict, the message the same
as JSON. Tokens are the provider's own numbers; `usage_source` says whether it counted them (`provider`), or they were
counted (`tokenizer`) or estimated (`bytes`) from the text that passed, as when the client left early. Durations are in
milliseconds; `llm_token_interval` is the mean time between two tokens of a stream. `cost` is a decimal number as text, in
units of `currency`. Values of the request are those at the plug-in's turn: what was masked before it is not in the log.

The counters are read through `/metrics`, see [Metrics](../metrics.md). With `opentelemetry: true` each call is also a span,
made when it is over, and is counted in metrics by OpenTelemetry's conventions for generative AI; questions and answers
are in it only with `opentelemetry_content: true`.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from ....llm.prices import PriceBook
from ....plugin import OUTBOUND, Needs, Plugin, Stage
from .attributes import Attributes, Seen
from .config import AiStatisticsConfig, Attribute
from .counters import NO_MODEL, Counters, Labels
from .line import NO_CONSUMER, SESSION_HEADERS, line_of
from .measured import Measured, measure
from .values import turns

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....llm.sse import Event
    from ....runtime import Runtime
    from .telemetry import Telemetry

__all__ = ["AiStatistics", "AiStatisticsConfig", "Attribute", "Counters", "Labels"]

SERVICE = "service"  # the upstream of what comes in: the application that the gateway stands around
MAX_WARNED = 1_000  # models without a price that are warned of; callers choose names

logger = logging.getLogger("aigw_middleware")
_log = logging.getLogger("aigw_middleware.ai_log")


class AiStatistics(Plugin[AiStatisticsConfig]):
    """Log, count, price and trace LLM calls."""

    name, stage, priority = "ai-statistics", Stage.DEFAULT, 990
    needs = Needs.USAGE | Needs.LLM

    def compile(self) -> None:
        config = self.config
        self._limit = config.limit
        self._attributes = Attributes(config.all_attributes, self._limit)
        self._suffixes = config.suffixes
        self._types = tuple(part.lower() for part in config.enable_content_types)
        self._all = config.disable_openai_usage
        own = (config.session_id_header,) if config.session_id_header else ()
        self._sessions = (*own, *SESSION_HEADERS)
        self._keeps_text = config.opentelemetry_content or self._attributes.keep_text
        self._book: PriceBook | None = None
        if config.prices or config.list_prices:
            self._book = PriceBook.from_config(config.prices, currency=config.currency, list_prices=config.list_prices)
        self._warned: set[str] = set()
        self._telemetry: Telemetry | None = None
        if config.opentelemetry:
            from .telemetry import Telemetry

            self._telemetry = Telemetry(self._limit if config.opentelemetry_content else 0)
        unused = (("on_event", self._attributes.read_events), ("on_request", self._telemetry))
        self.unused = frozenset(hook for hook, used in unused if not used)
        self.counters = Counters(_mirror())

    def setup(self, runtime: Runtime) -> None:
        counters = runtime.state(self, "counters", lambda: self.counters)
        if counters is not self.counters:  # those of the configuration before this one
            counters.absorb(self.counters)
            self.counters = counters

    def on_request(self, exchange: Exchange) -> None:
        if self._telemetry is not None:
            seen = exchange.local[self] = Seen()
            seen.context = self._telemetry.begin()

    def on_request_body(self, exchange: Exchange) -> None:
        call = exchange.llm
        if call is None or (self._suffixes and not exchange.request.path.endswith(self._suffixes)):
            return
        seen: Seen | None = exchange.local.get(self)
        if seen is None:
            seen = exchange.local[self] = Seen()
        seen.model = call.model
        if self._keeps_text:
            exchange.meter.keep_text = max(exchange.meter.keep_text, self._limit + 1)
        if not call.covered:
            return
        if _log.isEnabledFor(logging.INFO):
            seen.rounds = turns(call)
        self._attributes.of_request(exchange, seen)
        if self._telemetry is not None:
            self._telemetry.prepare(call, seen)

    def on_event(self, exchange: Exchange, event: Event) -> None:
        seen: Seen | None = exchange.local.get(self)
        if seen is not None:
            self._attributes.of_event(event, seen)

    def on_complete(self, exchange: Exchange) -> None:
        if exchange.llm is None and not self._all:
            return
        if self._suffixes and not exchange.request.path.endswith(self._suffixes):
            return
        if self._types and not self._is_recorded_type(exchange):
            return
        kept = exchange.__dict__
        seen: Seen | None = kept["local"].get(self) if "local" in kept else None
        measured = measure(
            exchange, seen.model if seen is not None else "", counts_tokens=not self._all, book=self._book
        )
        upstream = exchange.request.domain if exchange.direction is OUTBOUND else SERVICE
        labels = exchange.route.name, upstream, measured.model or NO_MODEL, exchange.consumer.name or NO_CONSUMER
        if measured.unpriced:
            self._unpriced(measured)
        self.counters.add(labels, measured)
        logs = _log.isEnabledFor(logging.INFO)
        if logs or self._attributes.to_span or self._telemetry is not None:
            self._publish(exchange, seen or Seen(), measured, logs)

    # ------------------------------------------------------------------ what is recorded

    def _is_recorded_type(self, exchange: Exchange) -> bool:
        """Whether the service's answer has a Content-Type that is recorded; refusals and failures always are."""
        response = exchange.response
        if response is None or exchange.refusal is not None:
            return True
        content_type = (response.headers.get("content-type") or "").lower()
        return any(part in content_type for part in self._types)

    def _unpriced(self, measured: Measured) -> None:
        policy = self.config.on_unknown_model
        if policy == "omit":
            measured.unpriced = False
        elif policy == "warn" and measured.model not in self._warned and len(self._warned) < MAX_WARNED:
            self._warned.add(measured.model)
            logger.warning("ai-statistics: there is no price for model %r", measured.model[:128])

    def _publish(self, exchange: Exchange, seen: Seen, measured: Measured, logs: bool) -> None:
        values = self._attributes.values(exchange, seen)
        tags = {
            attribute.trace_span_key or attribute.key: value for attribute, value in values if attribute.apply_to_span
        }
        if tags:
            exchange.attributes.update((f"trace_span_tag.{key}", value) for key, value in tags.items())
        if self._telemetry is not None:
            bounded = {
                "gen_ai.request.model": self.counters.model(seen.model),
                "gen_ai.response.model": self.counters.model(measured.answering),
            }
            self._telemetry.end(exchange, measured, seen, bounded, tags)
        if logs:
            line = line_of(exchange, measured, seen.rounds, self._sessions, self._limit)
            beside: dict[str, Any] = {}
            for attribute, value in values:
                if attribute.apply_to_log:
                    (beside if attribute.as_separate_log_field else line)[attribute.key] = value
            _log.info(line, extra={"ai_log": line, "ai_attributes": beside})


def _mirror() -> Any:
    """Return what counts for the other workers too, where there are any."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return None
    from ....metrics.workers import mirror

    return mirror()
