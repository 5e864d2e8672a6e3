"""Record tokens and timing of every LLM call, whole or streamed, finished or not: one log line and counters.

    plugins:
      - name: ai-statistics
        config:
          use_default_response_attributes: true
          session_id_header: x-session
          attributes:
            - {key: team, value_source: request_header, value: x-team, default_value: none, apply_to_log: true}
            - key: finish
              value_source: response_streaming_body
              value: choices.0.finish_reason
              rule: replace
              apply_to_log: true

Each exchange leaves one record in the logger `aigw_middleware.ai_log`: `record.ai_log` is a dict, the message the same
as JSON. `usage_source` says whether the provider counted the tokens (`provider`) or they were estimated from the text
that passed (`bytes`), as when the client left early. Durations are in milliseconds. Values of the request are those at
the plug-in's turn: what was masked before it is not in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .... import json as strict_json
from ....llm.sse import UNPARSED
from ....plugin import Needs, Plugin, Stage
from .config import AiStatisticsConfig, Attribute
from .counters import Counters, Labels
from .paths import JsonPath
from .values import Joined, Read, answer_reader, cut, cut_end, plain, request_reader, turns

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....llm.sse import Event
    from ....llm.usage import Usage

__all__ = ["AiStatistics", "AiStatisticsConfig", "Attribute", "Counters", "Labels"]

SESSION_HEADERS = ("x-openclaw-session-key", "x-clawdbot-session-key", "x-moltbot-session-key", "x-agent-session")
PRODUCED = frozenset({"answer", "reasoning", "tool_calls"})  # attributes made of the text that the provider produced
NO_MODEL = "-"
NO_CONSUMER = "none"

_NOTHING_SEEN: Mapping[Any, Any] = {}

_log = logging.getLogger("aigw_middleware.ai_log")


class _Line(dict[str, Any]):
    """The message of a log record: written as JSON when, and only if, somebody formats it."""

    def __str__(self) -> str:
        return strict_json.encode(dict(self)).decode()


class _Seen:
    """What is kept of one exchange until its end."""

    __slots__ = ("joined", "model", "rounds", "values")

    def __init__(self, model: str, rounds: int) -> None:
        self.model = model
        self.rounds = rounds
        self.values: dict[int, Any] = {}
        self.joined: dict[int, Joined] = {}


class AiStatistics(Plugin[AiStatisticsConfig]):
    """Log and count LLM calls."""

    name, stage, priority = "ai-statistics", Stage.DEFAULT, 990
    needs = Needs.USAGE | Needs.LLM

    def compile(self) -> None:
        config = self.config
        self._attributes = config.all_attributes
        self._limit = config.limit
        self._suffixes = config.suffixes
        self._types = tuple(part.lower() for part in config.enable_content_types)
        own = (config.session_id_header,) if config.session_id_header else ()
        self._sessions = (*own, *SESSION_HEADERS)
        self._at_request: list[tuple[int, Read]] = []
        self._at_event: list[tuple[int, JsonPath, str]] = []
        self._at_end: list[tuple[int, Read]] = []
        for number, attribute in enumerate(self._attributes):
            if (read := request_reader(attribute)) is not None:
                self._at_request.append((number, read))
            elif (read := answer_reader(attribute)) is not None:
                self._at_end.append((number, read))
            else:
                self._at_event.append((number, JsonPath(str(attribute.value)), attribute.rule))
        self._keeps_text = any(map(_is_produced, self._attributes))
        self._spans = any(attribute.apply_to_span for attribute in self._attributes)
        if not self._at_event:
            self.unused = frozenset({"on_event"})

    def on_request_body(self, exchange: Exchange) -> None:
        call = exchange.llm
        if call is None or not self._concerns(exchange):
            return
        rounds = turns(call) if call.covered and _log.isEnabledFor(logging.INFO) else 0
        seen = exchange.local[self] = _Seen(call.model, rounds)
        if self._keeps_text:
            exchange.meter.keep_text = max(exchange.meter.keep_text, self._limit + 1)
        for number, read in self._at_request:
            value = read(exchange) if call.covered else None
            if value is not None:
                seen.values[number] = plain(value)

    def on_event(self, exchange: Exchange, event: Event) -> None:
        seen = exchange.local.get(self)
        if seen is None or not event.data or event.data == b"[DONE]":
            return
        if event.parsed is UNPARSED:
            try:
                event.parsed = strict_json.decode(event.data)
            except strict_json.InvalidJSON:
                event.parsed = None
        for number, path, rule in self._at_event:
            value = path.read(event.parsed)
            if value is not None:
                if number not in seen.joined:
                    seen.joined[number] = Joined(rule, self._limit)
                seen.joined[number].add(value)

    def on_complete(self, exchange: Exchange) -> None:
        if exchange.llm is None and not self.config.disable_openai_usage:
            return
        if not self._concerns(exchange) or not self._is_recorded_type(exchange):
            return
        seen = exchange.__dict__.get("local", _NOTHING_SEEN).get(self) or _Seen("", 0)
        self._count(exchange, seen)
        logs = _log.isEnabledFor(logging.INFO)
        if not logs and not self._spans:
            return
        values = self._values(exchange, seen)
        for attribute, value in values:
            if attribute.apply_to_span:
                exchange.attributes[f"trace_span_tag.{attribute.trace_span_key or attribute.key}"] = value
        if logs:
            line = _Line(self._fields(exchange, seen))
            beside: dict[str, Any] = {}
            for attribute, value in values:
                if attribute.apply_to_log:
                    (beside if attribute.as_separate_log_field else line)[attribute.key] = value
            _log.info(line, extra={"ai_log": line, "ai_attributes": beside})

    # ------------------------------------------------------------------ which exchanges

    def _concerns(self, exchange: Exchange) -> bool:
        return not self._suffixes or exchange.request.path.endswith(self._suffixes)

    def _is_recorded_type(self, exchange: Exchange) -> bool:
        """Whether the service's answer has a Content-Type that is recorded; refusals and failures always are."""
        response = exchange.response
        if not self._types or response is None or exchange.refusal is not None:
            return True
        content_type = (response.headers.get("content-type") or "").lower()
        return any(part in content_type for part in self._types)

    # ------------------------------------------------------------------ what is recorded

    def _values(self, exchange: Exchange, seen: _Seen) -> list[tuple[Attribute, Any]]:
        """Return each attribute with its value; of several with one key the last that has one counts."""
        found = dict(seen.values)
        found.update((number, joined.result()) for number, joined in seen.joined.items())
        found.update((number, read(exchange)) for number, read in self._at_end)
        chosen: dict[str, tuple[Attribute, Any]] = {}
        for number, attribute in enumerate(self._attributes):
            value = found.get(number)
            if value is not None and value != "":
                shorten = cut_end if _is_produced(attribute) else cut
                chosen[attribute.key] = (attribute, shorten(plain(value), self._limit))
        for attribute in self._attributes:
            if attribute.key not in chosen and attribute.default_value is not None:
                chosen[attribute.key] = (attribute, attribute.default_value)
        return list(chosen.values())

    def _fields(self, exchange: Exchange, seen: _Seen) -> Mapping[str, Any]:
        """Return the fields that every record has, under the names of the compatible gateways where they have one."""
        response, meter, route = exchange.response, exchange.meter, exchange.route.name
        parts = route.split("@")
        usage = self._usage(exchange)
        fields = {
            "api": "@".join(parts[:3]) if len(parts) >= 3 else None,
            "route": route,
            "consumer": exchange.consumer.name or NO_CONSUMER,
            "chat_id": meter.answer_id or None,
            "chat_round": seen.rounds or None,
            "session_id": self._session(exchange),
            "model": meter.model or seen.model or None,
            "response_type": None if response is None else "stream" if _streams(exchange) else "normal",
            "status": response.status if response is not None else None,
            "outcome": exchange.outcome,
            "answered_by": exchange.answered_by or None,
            "input_token": usage.input_tokens if usage is not None else None,
            "output_token": usage.output_tokens if usage is not None else None,
            "total_token": usage.total_tokens if usage is not None else None,
            "usage_source": usage.source if usage is not None else None,
            "first_byte_duration": _milliseconds(exchange, exchange.first_byte),
            "llm_first_token_duration": _milliseconds(exchange, exchange.first_token),
            "llm_service_duration": _milliseconds(exchange, exchange.finished),
            "output_bytes": exchange.bytes_sent,
        }
        return {name: cut(value, self._limit) for name, value in fields.items() if value is not None}

    def _session(self, exchange: Exchange) -> str | None:
        headers = exchange.request.headers
        return next((value for name in self._sessions if (value := headers.get(name))), None)

    def _usage(self, exchange: Exchange) -> Usage | None:
        """Return the tokens used; None when no provider answered, or they are not to be recorded."""
        meter = exchange.meter
        if self.config.disable_openai_usage or (meter.reported is None and not meter.produced_pieces):
            return None
        return meter.usage

    def _count(self, exchange: Exchange, seen: _Seen) -> None:
        outcome = exchange.outcome
        amounts = {"request_count": 1, f"{outcome}_count": 1}
        if outcome == "refused" and "meter" not in exchange.__dict__:
            self._add(exchange, seen.model, amounts)  # refused before anything could be used
            return
        meter = exchange.meter
        usage = self._usage(exchange)
        if usage is not None:
            amounts["input_token"] = usage.input_tokens
            amounts["output_token"] = usage.output_tokens
            amounts["total_token"] = usage.total_tokens
            amounts["cached_token"] = usage.cached_tokens
            amounts["reasoning_token"] = usage.reasoning_tokens
        if outcome != "refused":
            response = exchange.response
            amounts["llm_service_duration"] = _milliseconds(exchange, exchange.finished) or 0
            amounts["llm_duration_count"] = 1
            if meter.first_token and _streams(exchange):
                amounts["llm_first_token_duration"] = _milliseconds(exchange, meter.first_token) or 0
                amounts["llm_stream_duration_count"] = 1
            refused_by_provider = response is not None and response.status >= 400
            if outcome == "failed" or meter.error_reported or refused_by_provider:
                amounts["llm_failure_count"] = 1
        self._add(exchange, meter.model or seen.model, amounts)

    def _add(self, exchange: Exchange, model: str, amounts: Mapping[str, int]) -> None:
        counters = exchange.runtime.state(self, "counters", Counters)
        counters.add((exchange.route.name, model or NO_MODEL, exchange.consumer.name or NO_CONSUMER), amounts)


def _is_produced(attribute: Attribute) -> bool:
    return not attribute.value_source and attribute.key in PRODUCED


def _streams(exchange: Exchange) -> bool:
    return exchange.response is not None and exchange.response.media_type == "text/event-stream"


def _milliseconds(exchange: Exchange, moment: float) -> int | None:
    """Return the time from the beginning to a moment; None when it never came."""
    return round((moment - exchange.started) * 1_000) if moment else None
