"""Spans and metrics of OpenTelemetry: names, attributes, times, parents; content only where it is asked for."""

import asyncio
import io
import json
import sys
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import httpx
import pytest
from opentelemetry import context, metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aigw_middleware.hosts.client import transport_classes
from aigw_middleware.plugins.ai.statistics import AiStatistics
from aigw_middleware.testing import client
from aigw_middleware.testing.script import Answer, ProviderError, ToolCall, Usage
from tests.plugins.ai_log import statistics
from tests.plugins.chat import PATH, Chat, problems, question

USAGE = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2, reasoning_tokens=1)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorded:
    """What the SDK got."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracing = TracerProvider(shutdown_on_exit=False)
        self.tracing.add_span_processor(SimpleSpanProcessor(self.spans))
        self.measuring = MeterProvider([self.reader], shutdown_on_exit=False)

    @property
    def span(self) -> ReadableSpan:
        """The one span there is."""
        (span,) = self.spans.get_finished_spans()
        return span

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes."""
        return dict(self.span.attributes or {})

    def points(self) -> dict[str, list[tuple[dict[str, Any], float, tuple[float, ...]]]]:
        """Attributes, sum and bounds of each histogram, by name."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: [
                (dict(point.attributes), point.sum, tuple(point.explicit_bounds)) for point in metric.data.data_points
            ]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """The SDK, in place of whatever is set up for the process, which can be done only once."""
    found = Recorded()
    monkeypatch.setattr(trace, "get_tracer", lambda name: found.tracing.get_tracer(name))
    monkeypatch.setattr(metrics, "get_meter", lambda name: found.measuring.get_meter(name))
    yield found
    found.tracing.shutdown()
    found.measuring.shutdown()


def traced(**config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return statistics(opentelemetry=True, **config)


@pytest.mark.parametrize("stream", [False, True])
def test_a_span(recorded: Recorded, stream: bool) -> None:
    prices = [{"model": "m", "input": 10, "cached_input": 1, "output": 100}]
    answer = Answer("one two", usage=USAGE, delay_first_token=1, delay_between=0.5)
    chat = Chat(traced(prices=prices), answers=[answer])
    began = chat.clock.now()
    members = {"temperature": 0.5, "top_p": 1, "max_tokens": 7, "n": 2, "seed": 3, "stop": "END", "stream": stream}
    chat.ask_wsgi({"model": "m", "messages": [{"role": "user", "content": "Hello?"}], **members})
    span, took = recorded.span, chat.clock.now() - began
    assert (span.name, span.kind, span.parent) == ("chat m", trace.SpanKind.SERVER, None)
    assert span.status.status_code is trace.StatusCode.UNSET
    assert (span.start_time, span.end_time) == (int(began * 1e9), int((began + took) * 1e9))
    found = recorded.attributes
    assert set(found.pop("gen_ai.response.finish_reasons")) == {"stop"}
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.span.kind": "LLM",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.model": "m",
        "gen_ai.model_name": "m",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.total_tokens": 13,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "aigw.route": "*",
        "aigw.outcome": "completed",
        "aigw.usage_source": "provider",
        "aigw.cost": 0.000472,
        "aigw.currency": "USD",
    }


@pytest.mark.parametrize("value", ["hot", None, True, 2**63, [1]])
def test_parameters_that_are_none(recorded: Recorded, value: Any) -> None:
    Chat(traced(), answers=[Answer("x")]).ask(question(temperature=value))
    assert "gen_ai.request.temperature" not in recorded.attributes


def test_the_parent_is_what_was_current_when_the_exchange_began(recorded: Recorded) -> None:
    chat = Chat(traced(), answers=[Answer("one two")])
    around = recorded.tracing.get_tracer("server").start_span("GET /")

    async def ask() -> None:
        token = context.attach(trace.set_span_in_context(around))
        try:
            await chat.asked(question(stream=True), headers=[("traceparent", TRACEPARENT)])
        finally:
            context.detach(token)

    asyncio.run(ask())
    parent = recorded.span.parent
    assert parent is not None
    assert parent.span_id == around.get_span_context().span_id
    assert recorded.span.kind is trace.SpanKind.INTERNAL


def test_the_parent_is_not_what_is_current_when_the_answer_is_read(recorded: Recorded) -> None:
    chat = Chat(traced(), answers=[Answer("one two")])
    around = recorded.tracing.get_tracer("server").start_span("GET /")
    body = json.dumps(question(stream=True)).encode()
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": PATH, "CONTENT_TYPE": "application/json"}
    environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    setup_testing_defaults(environ)
    token = context.attach(trace.set_span_in_context(around))
    answer: Any = chat.wsgi(environ, lambda *head: None)
    context.detach(token)
    assert b"two" in b"".join(answer)
    answer.close()
    parent = recorded.span.parent
    assert parent is not None
    assert parent.span_id == around.get_span_context().span_id


def test_without_one_the_caller_says_what_the_parent_is(recorded: Recorded) -> None:
    Chat(traced(), answers=[Answer("x")]).ask(question(), headers=[("traceparent", TRACEPARENT)])
    parent = recorded.span.parent
    assert parent is not None
    assert f"{parent.trace_id:032x}-{parent.span_id:016x}" == TRACEPARENT[3:-3]
    assert recorded.span.kind is trace.SpanKind.SERVER


@pytest.mark.parametrize("value", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
def test_a_traceparent_that_is_none(recorded: Recorded, value: str) -> None:
    Chat(traced(), answers=[Answer("x")]).ask(question(), headers=[("traceparent", value)])
    assert recorded.span.parent is None


def test_errors(recorded: Recorded) -> None:
    Chat(traced(), answers=[ProviderError(429)]).ask(question())
    span = recorded.span
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "429")
    assert recorded.attributes["error.type"] == "429"
    (duration,) = recorded.points()["gen_ai.server.request.duration"]
    assert duration[0]["error.type"] == "429"


def test_a_refusal_before_the_turn_of_the_plugin(recorded: Recorded) -> None:
    key = {"name": "key-auth", "config": {"keys": ["x-api-key"], "in_header": True}}
    consumers = [{"name": "alice", "credentials": {"key-auth": ["secret-key-of-alice"]}}]
    Chat(traced(), key, consumers=consumers).ask(question())
    assert recorded.span.name == "chat"
    assert recorded.attributes["error.type"] == "no_key_authentication_information_found"


def test_attributes_of_the_configuration(recorded: Recorded) -> None:
    attributes = [
        {"key": "team", "value_source": "fixed_value", "value": "search", "apply_to_span": True},
        {"key": "n", "value_source": "fixed_value", "value": 1, "apply_to_span": True, "trace_span_key": "gen_ai.n"},
        {"key": "log", "value_source": "fixed_value", "value": 1, "apply_to_log": True},
    ]
    Chat(traced(attributes=attributes), answers=[Answer("x")]).ask(question())
    found = recorded.attributes
    assert (found["team"], found["gen_ai.n"]) == ("search", 1)
    assert not {"n", "log"} & found.keys()


@pytest.mark.parametrize("stream", [False, True])
def test_content_only_where_it_is_asked_for(recorded: Recorded, stream: bool) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a secret question"}]
    asked = {
        "model": "m",
        "messages": messages,
        "stream": stream,
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }
    answer = Answer("a secret answer", reasoning="hm", tool_calls=[ToolCall("f", {"a": "secret"}, "c1")])
    Chat(traced(), answers=[answer]).ask(asked)
    assert "secret" not in repr(recorded.attributes)
    recorded.spans.clear()
    Chat(traced(opentelemetry_content=True), answers=[answer]).ask(asked)
    found = recorded.attributes
    assert json.loads(found["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "a secret question"}]},
    ]
    (said,) = json.loads(found["gen_ai.output.messages"])
    assert (said["role"], said["finish_reason"]) == ("assistant", "tool_calls")
    assert said["parts"] == [
        {"type": "reasoning", "content": "hm"},
        {"type": "text", "content": "a secret answer"},
        {"type": "tool_call", "id": "c1", "name": "f", "arguments": '{"a": "secret"}'},
    ]


def test_a_message_of_anthropic(recorded: Recorded) -> None:
    messages = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "found"}]},
    ]
    chat = Chat(traced(opentelemetry_content=True), answers=[Answer("Hi.", usage=USAGE)])
    body = {"model": "m", "max_tokens": 9, "system": "Be brief.", "messages": messages}
    assert chat.ask(body, path="/v1/messages", headers=[("anthropic-version", "2023-06-01")]).status == 200
    found = recorded.attributes
    assert (found["gen_ai.provider.name"], found["gen_ai.operation.name"]) == ("anthropic", "chat")
    assert json.loads(found["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    asked = json.loads(found["gen_ai.input.messages"])
    assert asked[0] == {"role": "user", "parts": [{"type": "text", "content": "Hello?"}]}
    assert asked[-1]["parts"] == [{"type": "tool_call_response", "response": "found"}]
    assert found["gen_ai.usage.input_tokens"] == 9  # with what was cached


def test_content_is_cut(recorded: Recorded) -> None:
    messages = [{"role": "user", "content": text * 30} for text in "ab"]
    chat = Chat(traced(opentelemetry_content=True, value_length_limit=20), answers=[Answer("c" * 30)])
    chat.ask({"model": "m", "messages": messages})
    assert json.loads(recorded.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "b" * 10 + " [truncated] " + "b" * 10}]}
    ]
    assert json.loads(recorded.attributes["gen_ai.output.messages"])[0]["parts"] == [
        {"type": "text", "content": "c" * 20 + " [truncated]"}
    ]


def test_metrics_of_a_service(recorded: Recorded) -> None:
    chat = Chat(traced(), answers=[Answer("one two", usage=USAGE, delay_first_token=0.5, delay_between=0.25)])
    chat.ask_wsgi(question(stream=True))
    labels = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m",
    }
    found = recorded.points()
    assert found.keys() == {
        "gen_ai.client.token.usage",
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
    }
    tokens = found["gen_ai.client.token.usage"]
    assert [(point[0], point[1]) for point in tokens] == [
        ({**labels, "gen_ai.token.type": "input"}, 9),
        ({**labels, "gen_ai.token.type": "output"}, 4),
    ]
    assert (tokens[0][2][:3], tokens[0][2][-1]) == ((1, 4, 16), 67108864)
    for name, seconds, last in (
        ("gen_ai.server.request.duration", 0.75, 81.92),
        ("gen_ai.server.time_to_first_token", 0.5, 10.0),
        ("gen_ai.server.time_per_output_token", 0.25 / 3, 2.5),
    ):
        ((attributes, total, bounds),) = found[name]
        assert (attributes, pytest.approx(total), bounds[-1]) == (labels, seconds, last)


def test_models_that_callers_make_up_are_no_labels(recorded: Recorded) -> None:
    Chat(traced(), answers=[ProviderError(404)]).ask(question(model="made-up"))
    ((attributes, *_),) = recorded.points()["gen_ai.server.request.duration"]
    assert attributes["gen_ai.request.model"] == "other"
    assert recorded.attributes["gen_ai.request.model"] == "made-up"


def test_a_call_that_is_made(recorded: Recorded) -> None:
    chat = Chat(answers=[Answer("x", usage=USAGE)])
    inner = client(chat.provider)._transport
    transport = transport_classes("httpx")[1](inner, {"outgoing": []}, [AiStatistics(opentelemetry=True)])

    async def ask() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="https://llm.example.com") as http:
            assert (await http.post("/v1/chat/completions", json=question())).status_code == 200

    asyncio.run(ask())
    assert recorded.span.kind is trace.SpanKind.CLIENT
    assert recorded.attributes["server.address"] == "llm.example.com"
    assert recorded.points().keys() == {"gen_ai.client.token.usage", "gen_ai.client.operation.duration"}


def test_nothing_without_being_asked(recorded: Recorded) -> None:
    Chat(statistics(), answers=[Answer("x")]).ask(question())
    assert recorded.spans.get_finished_spans() == ()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert problems(traced()) == [
        ("plugins[0].config", "opentelemetry: true needs the package opentelemetry-api, which is not installed")
    ]
