"""The counters of `ai-statistics`: what is counted under which labels, within which bounds, over reloads and threads."""

import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aigw_middleware import Gateway
from aigw_middleware.gateway import Core
from aigw_middleware.hosts.client import transport_classes
from aigw_middleware.llm.usage import Usage as Used
from aigw_middleware.plugins.ai.statistics import AiStatistics, Counters, Labels
from aigw_middleware.plugins.ai.statistics.counters import MAX_LABEL_SETS, MAX_LENGTH, MAX_VALUES, OTHER
from aigw_middleware.plugins.ai.statistics.measured import Measured
from aigw_middleware.plugins.ai.statistics.series import MAX_ERRORS, Histogram, Series
from aigw_middleware.testing import client
from aigw_middleware.testing.script import Answer, ErrorEvent, Garbage, ProviderError, RefuseConnection, Scripted, Usage
from tests.plugins.ai_log import statistics
from tests.plugins.chat import Chat, question

USAGE = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2, reasoning_tokens=1)
ANSWERED = Measured("completed", served=True, answered=True)


def plugins_of_core(core: Core) -> list[AiStatistics]:
    """The plug-ins of a gateway that count."""
    return [plugin for plugin in core.snapshot.plugins if isinstance(plugin, AiStatistics)]


def counted(chat: Chat) -> dict[Labels, Series]:
    """What they counted of the gateway that the last exchange went through."""
    (plugin,) = (plugin for plugin in chat.exchange.snapshot.plugins if isinstance(plugin, AiStatistics))
    return plugin.counters.read()


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_counted(stream: bool) -> None:
    answers: list[Scripted] = [
        Answer("one two", usage=USAGE, delay_first_token=0.5, delay_between=0.25),
        ProviderError(500),
        Answer("two", usage=USAGE),
    ]
    chat = Chat(statistics(), answers=answers)
    for _ in range(3):
        chat.ask_wsgi(question(stream=stream))
    found = counted(chat)
    assert found.keys() == {Labels("*", "service", "m", "none")}
    (series,) = found.values()
    took = 750 if stream else 500
    expected = {
        "input_token": 18,
        "output_token": 8,
        "total_token": 26,
        "llm_service_duration": took,
        "llm_duration_count": 3,
        "llm_failure_count": 1,
    }
    if stream:
        expected |= {"llm_first_token_duration": 500, "llm_stream_duration_count": 2}
    assert series.compatible() == expected
    assert series.requests == {("completed", ""): 2, ("completed", "500"): 1}
    assert series.tokens == {"provider": [18, 8, 4, 0, 2]}
    assert (series.costs, series.unpriced) == ({}, 0)
    assert (sum(series.total.counts), series.total.sum) == (3, took / 1_000)
    assert (sum(series.first_byte.counts), series.first_byte.sum) == (3, 0.5)
    assert (sum(series.first_token.counts), series.first_token.sum) == ((2, 0.5) if stream else (0, 0))
    assert (sum(series.interval.counts), series.interval.sum) == ((2, 0.25 / 3) if stream else (0, 0))


@pytest.mark.parametrize(
    ("answer", "end", "failures"),
    [
        (Answer("x"), ("completed", ""), 0),
        (ErrorEvent(after=1), ("completed", "reported"), 1),
        (ProviderError(404), ("completed", "404"), 1),
        (RefuseConnection(), ("failed", "RefusedConnectionError"), 1),
        (Garbage(b'{"error": "x"}'), ("completed", "reported"), 1),
    ],
)
def test_a_failure_counts_once(answer: Any, end: tuple[str, str], failures: int) -> None:
    chat = Chat(statistics(), answers=[answer])
    chat.ask(question(stream=True))
    (series,) = counted(chat).values()
    assert series.requests == {end: 1}
    assert series.failures == failures


def test_calls_that_are_made_are_counted_by_the_host_they_go_to() -> None:
    chat = Chat()
    plugin = AiStatistics()
    transport = transport_classes("httpx")[1](client(chat.provider)._transport, {"outgoing": []}, [plugin])

    async def ask() -> None:
        import httpx

        async with httpx.AsyncClient(transport=transport, base_url="https://llm.example.com") as http:
            assert (await http.post("/v1/chat/completions", json=question())).status_code == 200

    asyncio.run(ask())
    assert plugin.counters.read().keys() == {Labels("*", "llm.example.com", "m", "none")}


# ---------------------------------------------------------------------- bounds


def test_label_sets_are_bounded() -> None:
    counters = Counters()
    for number in range(MAX_LABEL_SETS + 50):
        counters.add(("r", "u", f"model-{number % 150}", f"consumer-{number // 150}"), ANSWERED)
    found = counters.read()
    assert len(found) == MAX_LABEL_SETS + 1
    assert found[OTHER].requests == {("completed", ""): 50}
    counters.add(("r", "u", "model-0", "consumer-0"), ANSWERED)
    assert counters.read()[Labels("r", "u", "model-0", "consumer-0")].requests == {("completed", ""): 2}


def test_values_of_one_label_are_bounded() -> None:
    counters = Counters()
    for number in range(MAX_VALUES + 50):
        counters.add(("r", "u", f"model-{number}", "c"), ANSWERED)
    found = counters.read()
    assert len(found) == MAX_VALUES + 1
    assert found[Labels("r", "u", "other", "c")].requests == {("completed", ""): 50}


@pytest.mark.parametrize(
    ("model", "label"),
    [("x" * 129, "x" * MAX_LENGTH), ("x" * 128, "x" * 128), ("a\ud800b", "a?b"), ("-", "-"), ("größer", "größer")],
)
def test_a_value_is_a_short_text_that_can_be_written(model: str, label: str) -> None:
    counters = Counters()
    for _ in range(2):
        counters.add(("r", "u", model, "c"), ANSWERED)
    assert {labels.model: series.requests for labels, series in counters.read().items()} == {
        label: {("completed", ""): 2}
    }


@pytest.mark.parametrize("end", [Measured("refused", "x"), Measured("completed", "404", served=True, failed=True)])
def test_a_model_that_nobody_answers_for_takes_no_place(end: Measured) -> None:
    counters = Counters()
    counters.add(("r", "u", "made-up", "c"), end)
    counters.add(("r", "u", "real", "c"), ANSWERED)
    counters.add(("r", "u", "real", "c"), end)
    assert {labels.model: sum(series.requests.values()) for labels, series in counters.read().items()} == {
        "other": 1,
        "real": 2,
    }
    assert (counters.model("made-up"), counters.model("real"), counters.model("")) == ("other", "real", "")


def test_a_caller_that_leaves_at_once_takes_no_place() -> None:
    chat = Chat(statistics(), answers=[Answer("x", delay_response=9)])
    chat.ask_while((10,), question(model="made-up", stream=True), disconnect_after=0)
    assert [labels.model for labels in counted(chat)] == ["other"]


def test_classes_of_errors_are_bounded() -> None:
    counters = Counters()
    for number in range(MAX_ERRORS + 5):
        counters.add(("r", "u", "-", "c"), Measured("refused", f"e{number}"))
    (series,) = counters.read().values()
    assert len(series.requests) == MAX_ERRORS + 1
    assert series.requests["refused", "other"] == 5


# ---------------------------------------------------------------------- threads and reloads


def test_counters_of_many_threads() -> None:
    counters = Counters()
    used = Measured("completed", served=True, answered=True, usage=Used(1, 2), total=0.5)

    def add() -> None:
        for _ in range(1_000):
            counters.add(("r", "u", "m", "c"), used)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    (series,) = counters.read().values()
    assert series.tokens == {"provider": [4_000, 8_000, 0, 0, 0]}
    assert (series.total.sum, counters.total("llm_duration_count")) == (2_000.0, 4_000)


@pytest.mark.parametrize("changed", [False, True])
def test_counters_outlive_a_reload(tmp_path: Path, changed: bool) -> None:
    chat, file = Chat(answers=[Answer("x"), Answer("y")]), tmp_path / "aigw.yaml"
    file.write_text("plugins: [{name: ai-statistics}]")
    chat.gateway = Gateway(chat.app, str(file), plugins=[chat.probe], clock=chat.clock)
    first = plugins_of_core(chat.gateway.core)

    async def twice() -> None:
        await chat.asked(question())
        if changed:
            file.write_text("plugins: [{name: ai-statistics, config: {session_id_header: x-mine}}]")
        chat.gateway.reload()
        await chat.asked(question())

    asyncio.run(twice())
    assert (plugins_of_core(chat.gateway.core) == first) == (not changed)
    (series,) = counted(chat).values()
    assert series.requests == {("completed", ""): 2}


def test_counters_of_several_loops_are_one() -> None:
    chat = Chat(statistics(), answers=[Answer("x"), Answer("y")])
    for _ in range(2):
        chat.ask(question())
    (series,) = counted(chat).values()
    assert series.requests == {("completed", ""): 2}


def test_counters_that_become_one() -> None:
    first, second = Counters(), Counters()
    for counters in (first, second, second):
        counters.add(("r", "u", "m", "c"), Measured("completed", served=True, answered=True, usage=Used(3, 4), total=1))
    second.add(("r", "u", "n", "c"), ANSWERED)
    first.absorb(second)
    first.absorb(second)
    second.add(("r", "u", "m", "c"), ANSWERED)
    for counters in (first, second):
        found = counters.read()
        assert {labels.model: series.requests for labels, series in found.items()} == {
            "m": {("completed", ""): 4},
            "n": {("completed", ""): 1},
        }
        assert found[Labels("r", "u", "m", "c")].tokens == {"provider": [9, 12, 0, 0, 0]}
        assert counters.total("total_token") == 21


@pytest.mark.parametrize(
    ("values", "counts"), [([], [0, 0, 0]), ([1], [1, 0, 0]), ([1.5, 2, 2.5], [0, 2, 1]), ([-1, 9], [1, 0, 1])]
)
def test_histograms(values: Sequence[float], counts: list[int]) -> None:
    histogram = Histogram((1, 2))
    for value in values:
        histogram.observe(value)
    assert (histogram.counts, histogram.sum) == (counts, sum(values))
