"""The fields of a log line, under the names of the compatible gateways where they have one. Durations in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from .... import json as strict_json
from ....llm.prices import plain
from .values import cut

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....llm.usage import Usage
    from .measured import Measured

SESSION_HEADERS: Final = (
    "x-openclaw-session-key",
    "x-clawdbot-session-key",
    "x-moltbot-session-key",
    "x-agent-session",
)
NO_CONSUMER: Final = "none"


class Line(dict[str, Any]):
    """The message of a log record: written as JSON when, and only if, somebody formats it."""

    def __str__(self) -> str:
        return strict_json.encode(dict(self)).decode()


def line_of(exchange: Exchange, measured: Measured, rounds: int, sessions: Sequence[str], limit: int) -> Line:
    """Return the fields that every record has; those without a value are left out."""
    response, route = exchange.response, exchange.route.name
    meter = exchange.__dict__.get("meter")
    parts = route.split("@")
    usage = measured.usage
    cost = measured.cost
    fields = {
        "api": "@".join(parts[:3]) if len(parts) >= 3 else None,
        "route": route,
        "consumer": exchange.consumer.name or NO_CONSUMER,
        "chat_id": meter.answer_id or None if meter is not None else None,
        "chat_round": rounds or None,
        "session_id": session_of(exchange, sessions),
        "model": measured.model or None,
        "response_type": None if response is None else "stream" if measured.streamed else "normal",
        "finish_reason": ",".join(meter.finish_reasons) or None if meter is not None else None,
        "status": response.status if response is not None else None,
        "outcome": measured.outcome,
        "error": measured.error or None,
        "answered_by": exchange.answered_by or None,
        "input_token": stated_input(usage) if usage is not None else None,
        "output_token": stated_output(usage) if usage is not None else None,
        "total_token": usage.total_tokens if usage is not None else None,
        "usage_source": usage.source if usage is not None else None,
        "cost": plain(cost.total) if cost is not None else None,
        "currency": cost.currency if cost is not None else None,
        "unpriced": True if measured.unpriced else None,
        "first_byte_duration": _milliseconds(measured.first_byte),
        "llm_first_token_duration": _milliseconds(measured.first_token),
        "llm_token_interval": round(measured.interval * 1_000, 3) if measured.interval is not None else None,
        "llm_service_duration": _milliseconds(exchange.finished - exchange.started),
        "output_bytes": exchange.bytes_sent,
    }
    return Line((name, cut(value, limit)) for name, value in fields.items() if value is not None)


def session_of(exchange: Exchange, sessions: Sequence[str]) -> str | None:
    """Return the session that the caller names, in the first of some headers; None when in none."""
    headers = exchange.request.headers
    return next((value for name in sessions if (value := headers.get(name))), None)


def stated_input(usage: Usage) -> int:
    """Return the input as the provider counts it."""
    return usage.input_tokens if usage.stated_input is None else usage.stated_input


def stated_output(usage: Usage) -> int:
    """Return the output as the provider counts it."""
    return usage.output_tokens if usage.stated_output is None else usage.stated_output


def _milliseconds(seconds: float | None) -> int | None:
    return round(seconds * 1_000) if seconds is not None else None
