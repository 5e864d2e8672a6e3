"""`/metrics`: what a scrape gets, on ASGI, WSGI and Django, from one gateway, several, and several processes."""

import asyncio
import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import aigw_middleware
from aigw_middleware import ConfigError, install
from aigw_middleware.metrics import collector, metrics_app, metrics_view, metrics_wsgi_app
from aigw_middleware.plugins.ai.statistics import AiStatistics, Counters
from aigw_middleware.plugins.ai.statistics.measured import Measured
from aigw_middleware.testing import asgi_exchange, wsgi_exchange
from aigw_middleware.testing.script import Answer, ProviderError, Usage
from tests.plugins.ai_log import statistics
from tests.plugins.chat import Chat, question

PRICES = [{"model": "m", "input": 10, "output": 100}]
USAGE = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2, reasoning_tokens=1)
SERIES = {"route": "*", "upstream": "service", "model": "m", "consumer": "none"}
TIMED = {"route": "*", "upstream": "service", "model": "m"}
SAME = {"ai_route": "*", "ai_cluster": "service", "ai_model": "m", "ai_consumer": "none"}
COMPATIBLE = "route_upstream_model_consumer_metric_"


def used(**config: Any) -> Chat:
    """A gateway that a stream of 0.75 s and a call that failed went through."""
    answer = Answer("one two", usage=USAGE, delay_first_token=0.5, delay_between=0.25)
    chat = Chat(statistics(prices=PRICES, **config), answers=[answer, ProviderError(500)])
    for _ in range(2):
        chat.ask_wsgi(question(stream=True))
    return chat


def values_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Each sample of an exposition, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float | None:
    """One sample; None where there is none."""
    return values_of(text).get((name, tuple(sorted(labels.items()))))


def scrape(app: Any, method: str = "GET", **headers: str) -> Any:
    """Ask an ASGI application."""
    fields = [(name.replace("_", "-"), text) for name, text in headers.items()]
    return asyncio.run(asgi_exchange(app, method, "/", headers=fields))


def fields_of(answer: Any) -> dict[str, str]:
    """The headers of an answer on ASGI."""
    return {name.decode(): text.decode() for name, text in answer.headers}


def check(text: str) -> None:
    """What `used` must have left."""
    requests = "aigw_llm_requests_total"
    assert value(text, requests, **SERIES, outcome="completed", error="") == 1
    assert value(text, requests, **SERIES, outcome="completed", error="500") == 1
    for kind, count in (("input", 9), ("output", 4), ("cached", 2), ("reasoning", 1), ("cache_write", None)):
        assert value(text, "aigw_llm_tokens_total", **SERIES, type=kind, source="provider") == count
    assert value(text, "aigw_llm_cost_total", **SERIES, currency="USD") == pytest.approx(0.00049)
    assert value(text, "aigw_llm_unpriced_requests_total", **SERIES) is None
    for name, counts, total in (
        ("aigw_llm_time_to_first_byte_seconds", (1, 2, 2), 0.5),
        ("aigw_llm_time_to_first_token_seconds", (0, 1, 1), 0.5),
        ("aigw_llm_duration_seconds", (1, 1, 2), 0.75),
    ):
        found = [value(text, f"{name}_bucket", **TIMED, le=bound) for bound in ("0.32", "0.64", "+Inf")]
        assert (name, found) == (name, list(counts))
        assert value(text, f"{name}_sum", **TIMED) == total
        assert value(text, f"{name}_count", **TIMED) == counts[-1]
    assert value(text, "aigw_llm_time_between_tokens_seconds_count", **TIMED) == 1
    for name, count in (
        ("input_token", 9),
        ("total_token", 13),
        ("llm_service_duration", 750),
        ("llm_duration_count", 2),
        ("llm_first_token_duration", 500),
        ("llm_stream_duration_count", 1),
        ("llm_failure_count", 1),
    ):
        assert value(text, COMPATIBLE + name, **SAME) == count


def test_asgi() -> None:
    answer = scrape(metrics_app(used().wsgi))
    assert answer.status == 200
    assert fields_of(answer)["content-type"].startswith("text/plain; version=0.0.4")
    assert fields_of(answer)["cache-control"] == "no-store"
    check(answer.body.decode())


def test_wsgi() -> None:
    answer = wsgi_exchange(metrics_wsgi_app(used().wsgi), "GET", "/")
    assert (answer.status, answer.reason) == (200, "OK")
    check(answer.body.decode())
    assert wsgi_exchange(metrics_wsgi_app(used().wsgi), "POST", "/").status == 405


@pytest.mark.parametrize("place", ["route", "mount"])
def test_in_fastapi(place: str) -> None:
    chat = used()
    app = FastAPI()
    if place == "route":
        app.add_route("/metrics", metrics_app(chat.wsgi))
    else:
        app.mount("/metrics", metrics_app(chat.wsgi))
    check(TestClient(app).get("/metrics").text)


def test_of_an_application_that_is_installed() -> None:
    app = Starlette(routes=[Mount("/", Chat(answers=[Answer("x")]).provider)])
    install(app, {"plugins": [statistics()]})
    assert TestClient(app).post("/v1/chat/completions", json=question()).status_code == 200
    text = scrape(metrics_app(app)).body.decode()
    assert value(text, "aigw_llm_requests_total", **SERIES, outcome="completed", error="") == 1


def test_in_flask() -> None:
    app = Flask("service")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": metrics_wsgi_app(used().wsgi)})  # type: ignore[method-assign]
    check(app.test_client().get("/metrics").text)


def test_in_django() -> None:
    from django.conf import settings
    from django.test import RequestFactory

    if not settings.configured:
        settings.configure()
    view = metrics_view(used().wsgi)
    answer = view(RequestFactory().get("/metrics"))
    assert answer.status_code == 200
    assert answer["content-type"].startswith("text/plain")
    check(answer.content.decode())


# ---------------------------------------------------------------------- the exchange


@pytest.mark.parametrize(("method", "status", "empty"), [("GET", 200, False), ("HEAD", 200, True), ("POST", 405, True)])
def test_methods(method: str, status: int, empty: bool) -> None:
    answer = scrape(metrics_app(used().wsgi), method)
    assert (answer.status, answer.body == b"") == (status, empty)
    assert ("allow" in fields_of(answer)) == (status == 405)


@pytest.mark.parametrize("encoding", ["gzip", "deflate, gzip;q=1.0", "identity", ""])
def test_codings(encoding: str) -> None:
    answer = scrape(metrics_app(used().wsgi), accept_encoding=encoding)
    coded = "gzip" in encoding
    assert (fields_of(answer).get("content-encoding") == "gzip") == coded
    check((gzip.decompress(answer.body) if coded else answer.body).decode())


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=x.y", "text/plain; version=0.0.4"),
        ("text/plain;version=" + "9" * 5_000, "text/plain"),
        ("\xff;;;=,=;", "text/plain; version=0.0.4"),
    ],
)
def test_formats(accept: str, content_type: str) -> None:
    answer = scrape(metrics_app(used().wsgi), accept=accept)
    assert answer.status == 200
    assert fields_of(answer)["content-type"].startswith(content_type)
    read = parse_openmetrics if "openmetrics" in content_type else parse
    assert {"aigw_llm_requests", "aigw_llm_cost"} <= {family.name for family in read(answer.body.decode())}


def test_values_that_callers_choose_cannot_break_the_text() -> None:
    chat = Chat(statistics(), answers=[Answer("x")])
    chat.ask_wsgi(question(model='a"b\\c\nd{e="f"}'))
    text = scrape(metrics_app(chat.wsgi)).body.decode()
    labels = {**SERIES, "model": 'a"b\\c\nd{e="f"}'}
    assert value(text, "aigw_llm_requests_total", **labels, outcome="completed", error="") == 1


def test_websockets_are_turned_away() -> None:
    app = Starlette(routes=[Mount("/metrics", metrics_app())])
    with pytest.raises(WebSocketDisconnect), TestClient(app).websocket_connect("/metrics/"):
        raise AssertionError("it was accepted")


# ---------------------------------------------------------------------- which gateways


def test_several_gateways_are_added_up_and_others_left_out() -> None:
    first, second, other = used(), used(), used()
    text = scrape(metrics_app(first.wsgi, second.wsgi)).body.decode()
    assert value(text, "aigw_llm_tokens_total", **SERIES, type="input", source="provider") == 18
    assert value(text, "aigw_llm_duration_seconds_bucket", **TIMED, le="+Inf") == 4
    text = scrape(metrics_app(other.wsgi.core)).body.decode()
    check(text)
    text = scrape(metrics_app(first.wsgi, first.wsgi)).body.decode()
    assert value(text, "aigw_llm_tokens_total", **SERIES, type="input", source="provider") == 9


def test_without_any_named_all_of_the_process_are_reported() -> None:
    app = metrics_app()
    chat = Chat(statistics(), answers=[Answer("x")])  # made later
    chat.ask_wsgi(question(model="only-here"))
    labels = {**SERIES, "model": "only-here"}
    text = scrape(app).body.decode()
    assert value(text, "aigw_llm_requests_total", **labels, outcome="completed", error="") == 1


def test_what_plugins_could_not_do_is_reported() -> None:
    chat = used()
    chat.wsgi.core.process_runtime().count("ai-data-masking", "uncovered")
    text = scrape(metrics_app(chat.wsgi)).body.decode()
    assert value(text, "aigw_plugin_decisions_total", plugin="ai-data-masking", decision="uncovered") == 1


@pytest.mark.parametrize("thing", [None, "gateway", Starlette(), AiStatistics()])
def test_what_is_no_gateway(thing: Any) -> None:
    with pytest.raises(TypeError, match="is no gateway"):
        metrics_app(thing)


def test_a_registry_of_ones_own() -> None:
    registry = CollectorRegistry()
    registry.register(collector(used().wsgi))
    check(generate_latest(registry).decode())


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for make in (metrics_app, metrics_wsgi_app, metrics_view):
        with pytest.raises(
            ConfigError, match=r"prometheus-client, which is not installed .*aigw-middleware\[prometheus\]"
        ):
            make()
    chat = used()  # it counts all the same
    (plugin,) = (plugin for plugin in chat.wsgi.core.snapshot.plugins if isinstance(plugin, AiStatistics))
    assert plugin.counters.total("total_token") == 13


# ---------------------------------------------------------------------- several processes


WORKER = """
import sys
from tests.test_metrics import used
used()
"""
READER = """
from aigw_middleware.metrics import metrics_wsgi_app
from aigw_middleware.testing import wsgi_exchange
print(wsgi_exchange(metrics_wsgi_app(), "GET", "/").body.decode())
"""


def test_several_processes(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    sources = Path(aigw_middleware.__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), str(sources)]),
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(WORKER)
    check(run(READER))
    run(WORKER)
    text = run(READER)
    assert value(text, "aigw_llm_tokens_total", **SERIES, type="input", source="provider") == 18
    assert value(text, "aigw_llm_duration_seconds_bucket", **TIMED, le="+Inf") == 4
    assert value(text, COMPATIBLE + "llm_service_duration", **SAME) == 1_500


def test_other_processes_get_the_bounded_labels() -> None:
    seen: list[Any] = []

    class Mirror:
        def add(self, labels: Any, measured: Measured) -> None:
            seen.append(labels)

    counters = Counters(Mirror())
    for model in ("m", "x" * 200, "m"):
        counters.add(("r", "u", model, "c"), Measured("completed", served=True, answered=True))
    assert [labels.model for labels in seen] == ["m", "x" * 128, "m"]
