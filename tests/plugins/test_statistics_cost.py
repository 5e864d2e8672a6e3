"""What a call costs, as `ai-statistics` records it: by the prices of its configuration, never 0 for want of a price."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from aigw_middleware.plugins.ai.statistics import AiStatistics
from aigw_middleware.testing.script import Answer, ProviderError, Usage
from tests.plugins.ai_log import Log, logging_to, statistics
from tests.plugins.chat import Chat, problems, question

USAGE = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2, reasoning_tokens=1)
PRICES = [{"model": "m", "input": 10, "cached_input": 1, "output": 100}]


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged during a test."""
    with logging_to() as handler:
        yield handler


def counters_of(chat: Chat) -> tuple[dict[str, int], int]:
    """Costs by currency in 10**-12, and calls without a price."""
    plugin = next(plugin for plugin in chat.exchange.snapshot.plugins if isinstance(plugin, AiStatistics))
    (series,) = plugin.counters.read().values()
    return series.costs, series.unpriced


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("config", "cost", "counted"),
    [
        ({"prices": PRICES}, ("0.000472", "USD"), {"USD": 472_000_000}),
        ({"prices": PRICES, "currency": "EUR"}, ("0.000472", "EUR"), {"EUR": 472_000_000}),
        ({"prices": [{"model": "*", "input": 0, "output": 0}]}, ("0", "USD"), {"USD": 0}),
        ({}, (None, None), {}),
    ],
)
def test_the_cost(log: Log, stream: bool, config: Any, cost: Any, counted: dict[str, int]) -> None:
    chat = Chat(statistics(**config), answers=[Answer("x", usage=USAGE)])
    chat.ask(question(stream=stream))
    assert (log.only.get("cost"), log.only.get("currency")) == cost
    assert "unpriced" not in log.only
    assert counters_of(chat) == (counted, 0)


@pytest.mark.parametrize(
    ("policy", "unpriced", "warnings"), [(None, 1, 0), ("record", 1, 0), ("warn", 1, 1), ("omit", 0, 0)]
)
def test_a_model_without_a_price(
    log: Log, caplog: pytest.LogCaptureFixture, policy: str | None, unpriced: int, warnings: int
) -> None:
    config = {"on_unknown_model": policy} if policy else {}
    chat = Chat(statistics(prices=[{"model": "other", "input": 1, "output": 1}], **config), answers=[Answer("x")] * 2)
    with caplog.at_level(logging.WARNING, "aigw_middleware"):
        for _ in range(2):
            log.records.clear()
            chat.ask(question())
    assert "cost" not in log.only
    assert log.only.get("unpriced") == (True if unpriced else None)
    assert counters_of(chat) == ({}, 2 * unpriced)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["ai-statistics: there is no price for model 'm'"] * warnings


def test_a_call_without_tokens_has_no_cost(log: Log) -> None:
    chat = Chat(statistics(prices=PRICES), answers=[ProviderError(500)])
    chat.ask(question())
    assert not {"cost", "unpriced"} & log.only.keys()
    assert counters_of(chat) == ({}, 0)


def test_the_model_that_answered_is_priced_before_the_one_that_was_asked_for(log: Log) -> None:
    prices = [*PRICES, {"model": "m-2026-01-01", "input": 1, "output": 0}]
    body = b'{"id":"i","model":"m-2026-01-01","choices":[],"usage":{"prompt_tokens":1000000,"completion_tokens":0}}'
    from aigw_middleware.testing.script import Garbage

    for listed, cost in ((prices, "1"), (PRICES, "10")):
        log.records.clear()
        Chat(statistics(prices=listed), answers=[Garbage(body, "application/json")]).ask(question())
        assert (log.only["model"], log.only["cost"]) == ("m-2026-01-01", cost)


def test_the_price_is_that_of_the_moment_when_the_call_began(log: Log) -> None:
    change = datetime.fromtimestamp(Chat().clock.now() + 5, UTC)
    prices = [{"model": "m", "input": 1, "output": 0}, {"model": "m", "from": change, "input": 7, "output": 0}]
    chat = Chat(statistics(prices=prices), answers=[Answer("x", usage=Usage(1_000_000, 1), delay_response=9)] * 2)
    found = []
    for _ in range(2):
        log.records.clear()
        chat.ask_wsgi(question())
        found.append(log.only["cost"])
    assert found == ["1", "7"]


def test_list_prices(log: Log) -> None:
    chat = Chat(statistics(list_prices=True), answers=[Answer("x", usage=Usage(1_000, 0))])
    chat.ask(question(model="gpt-4o"))
    assert log.only["cost"] == "0.0025"


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({"prices": [{"model": "m", "output": 1}]}, "prices[0].input", "is required"),
        (
            {"prices": [*PRICES, *PRICES]},
            "prices",
            "[1] is valid from the same moment for the same model as [0]",
        ),
        (
            {"prices": [{"model": "a*b", "input": 1, "output": 1}]},
            "prices[0].model",
            "should have a `*` only at its end",
        ),
        ({"list_prices": True, "currency": "EUR"}, "", "list_prices are in US dollars: currency should be USD"),
        ({"currency": "euro"}, "currency", "should be a code of ISO 4217 such as USD or EUR"),
        ({"on_unknown_model": "free"}, "on_unknown_model", "should be 'record', 'warn' or 'omit'"),
        ({"opentelemetry_content": True}, "", "opentelemetry_content needs opentelemetry: true"),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    found = [problem for problem in problems(statistics(**config)) if problem[1].startswith(message)]
    assert [where for where, _ in found] == [f"plugins[0].config.{path}".removesuffix(".")]
