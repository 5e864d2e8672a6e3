"""Anthropic's messages of the fake provider, read by the official SDK and, where its order matters, by hand."""

import json
from typing import Any

import anthropic
import pytest
from anthropic.types import TextBlock, ThinkingBlock, ToolParam, ToolUseBlock

from aigw_middleware.testing.asgi import AsgiExchange
from aigw_middleware.testing.clients import wsgi_client
from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import Answer, Style, ToolCall, Usage

from .anthropic_calls import ASKED, MESSAGES, post, sdk

TOOLS: list[ToolParam] = [{"name": "weather", "input_schema": {"type": "object"}}]
WEATHER = ToolCall("weather", {"city": "Zürich", "unit": "°C"})


def events(exchange: AsgiExchange) -> list[tuple[str, Any]]:
    """Name and data of each event, which are told twice."""
    *blocks, rest = exchange.body.decode().split("\n\n")
    found = [block.split("\n") for block in blocks]
    told = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in found]
    assert rest == ""
    assert all(name == data["type"] for name, data in told)
    return told


@pytest.mark.anyio
async def test_a_message_echoes_by_default() -> None:
    async with sdk(FakeProvider()) as http:
        message = await http.messages.create(**ASKED, system="Be brief.")
    (block,) = message.content
    assert isinstance(block, TextBlock)
    assert (block.text, message.stop_reason) == ("This is m. You said: How are you?", "end_turn")
    assert (message.id, message.model, message.role, message._request_id) == ("msg_1", "m", "assistant", "req_1")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 8)


@pytest.mark.anyio
@pytest.mark.parametrize("interleave", [False, True])
@pytest.mark.parametrize("usage_at", ["usual", "start", "every", "finish", "end"])
async def test_a_streamed_message_is_the_whole_one(interleave: bool, usage_at: Any) -> None:
    answer = Answer(
        "It is warm.",
        tool_calls=[WEATHER, ToolCall("now")],
        reasoning="Let me see.",
        cached_tokens=1,
        cache_creation_tokens=1,
        style=Style(interleave=interleave, usage_at=usage_at, keep_alive=2),
    )
    async with sdk(FakeProvider([answer])) as http:
        whole = await http.messages.create(**ASKED, tools=TOOLS)
    async with sdk(FakeProvider([answer])) as http, http.messages.stream(**ASKED, tools=TOOLS) as stream:
        said = "".join([text async for text in stream.text_stream])
        streamed = await stream.get_final_message()
    thinking, text, weather, now = whole.content
    assert isinstance(thinking, ThinkingBlock)
    assert (thinking.thinking, bool(thinking.signature)) == ("Let me see.", True)
    assert isinstance(text, TextBlock)
    assert text.text == said == "It is warm."
    assert isinstance(weather, ToolUseBlock)
    assert (weather.id, weather.name, weather.input) == ("call_1_0", "weather", WEATHER.arguments)
    assert isinstance(now, ToolUseBlock)
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert (whole.stop_reason, streamed.stop_reason) == ("tool_use", "tool_use")
    usage = whole.usage
    assert (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (1, 1, 1)
    assert streamed.usage == usage


def test_the_events_of_a_message_come_in_their_order() -> None:
    answer = Answer("So be", [ToolCall("now")], "Hm.", usage=Usage(10, 7, cached_tokens=4, cache_creation_tokens=1))
    told = events(post(FakeProvider([answer]), stream=True, tools=[{}]))
    assert [name for name, _ in told] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 2,
        "content_block_stop",
        "content_block_start",
        *["content_block_delta"] * 2,
        "content_block_stop",
        "content_block_start",
        *["content_block_delta"] * 2,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    data = [data for _, data in told]
    assert data[0]["message"]["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 1,
        "cache_read_input_tokens": 4,
        "output_tokens": 1,
        "service_tier": "standard",
    }
    assert [one["delta"]["type"] for one in data if one["type"] == "content_block_delta"] == [
        *("thinking_delta", "signature_delta", "text_delta", "text_delta", "input_json_delta", "input_json_delta")
    ]
    assert data[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    }


def test_interleaved_tool_calls_take_turns() -> None:
    answer = Answer(tool_calls=[WEATHER, WEATHER], style=Style(interleave=True))
    told = [data for _, data in events(post(FakeProvider([answer]), stream=True, tools=[{}]))]
    turns = [one["index"] for one in told if one["type"] == "content_block_delta"]
    assert turns == [0, 1] * (len(turns) // 2)
    assert [one["index"] for one in told if one["type"] == "content_block_stop"] == [0, 1]


@pytest.mark.parametrize(
    ("answer", "limit", "reason", "sequence"),
    [
        (Answer("One"), 9, "end_turn", None),
        (Answer("One two"), 1, "max_tokens", None),
        (Answer(refusal="I cannot."), 9, "refusal", None),
        (Answer("One", finish_reason="content_filter"), 9, "refusal", None),
        (Answer("One", stop_sequence="END"), 9, "stop_sequence", "END"),
        (Answer("One two", stop_sequence="END"), 1, "max_tokens", None),
        (Answer(tool_calls=[WEATHER]), 99, "tool_use", None),
        (Answer(tool_calls=[WEATHER]), 2, "max_tokens", None),
    ],
)
def test_stop_reasons(answer: Answer, limit: int, reason: str, sequence: str | None) -> None:
    provider = FakeProvider([answer] * 2)
    whole = post(provider, max_tokens=limit, tools=[{}]).json()
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)
    told = events(post(provider, max_tokens=limit, tools=[{}], stream=True))
    assert told[-2][1]["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


@pytest.mark.parametrize(
    ("usage_at", "start", "deltas"),
    [
        ("usual", (8, 2, 1), [{"output_tokens": 3}]),
        ("start", (8, 2, 3), [{"output_tokens": 3}]),
        ("every", (8, 2, 1), [{"output_tokens": 1}, {"output_tokens": 3}, {"output_tokens": 3}]),
        ("finish", (8, 2, 1), "all"),
        ("end", (0, 0, 0), "all"),
    ],
)
def test_usage_stands_where_the_style_says(usage_at: Any, start: tuple[int, int, int], deltas: Any) -> None:
    counted = Usage(10, 3, cached_tokens=2)
    provider = FakeProvider([Answer("So be", reasoning="Hm.", usage=counted, style=Style(usage_at=usage_at))])
    told = [data for _, data in events(post(provider, stream=True))]
    begun = told[0]["message"]["usage"]
    assert (begun["input_tokens"], begun["cache_read_input_tokens"], begun["output_tokens"]) == start
    everything = {"input_tokens": 8, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2, "output_tokens": 3}
    found = [one["usage"] for one in told if one["type"] == "message_delta"]
    assert found == ([everything] if deltas == "all" else deltas)


def test_a_provider_without_usage_reports_zeros() -> None:
    assert post(FakeProvider([Answer(usage="none")])).json()["usage"]["output_tokens"] == 0
    told = events(post(FakeProvider([Answer(usage="none")]), stream=True))
    assert (told[0][1]["message"]["usage"]["input_tokens"], told[-2][1]["usage"]) == (0, {"output_tokens": 0})


def test_arguments_that_are_no_object_are_an_empty_one() -> None:
    whole = post(FakeProvider([Answer(tool_calls=[ToolCall("now", "{no")])]), tools=[{}]).json()
    assert whole["content"][0]["input"] == {}


@pytest.mark.anyio
async def test_tokens_are_counted() -> None:
    provider = FakeProvider([Answer(), Answer(usage=Usage(77, 0)), Answer(usage="none")])
    async with sdk(provider) as http:
        counts = [
            (await http.messages.count_tokens(model="m", messages=MESSAGES, system="Be brief.")).input_tokens
            for _ in range(3)
        ]
    assert counts == [5, 77, 5]


@pytest.mark.anyio
async def test_models_are_listed() -> None:
    clock = VirtualClock(1_700_000_000)
    async with sdk(FakeProvider(models=("a", "b"), clock=clock)) as http:
        models = [model async for model in http.models.list()]
    assert [model.id for model in models] == ["a", "b"]
    assert models[0].created_at.timestamp() == 1_700_000_000
    async with sdk(FakeProvider(models=())) as http:
        assert [model async for model in http.models.list()] == []


@pytest.mark.anyio
async def test_a_message_keeps_its_format() -> None:
    schema: dict[str, object] = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
    async with sdk(FakeProvider()) as http:
        message = await http.messages.create(
            **ASKED, output_config={"format": {"type": "json_schema", "schema": schema}}
        )
    assert isinstance(message.content[0], TextBlock)
    assert json.loads(message.content[0].text) == {"city": "text"}


def test_the_synchronous_sdk_reads_the_same_over_wsgi() -> None:
    provider = FakeProvider([Answer("It is", tool_calls=[WEATHER], reasoning="Hm.")] * 2)
    http = anthropic.Anthropic(
        api_key="k",
        base_url="http://testserver",
        http_client=wsgi_client(provider.wsgi, library="httpx2"),
        _strict_response_validation=True,
    )
    with http:
        whole = http.messages.create(**ASKED, tools=TOOLS)
        with http.messages.stream(**ASKED, tools=TOOLS) as stream:
            streamed = stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert [block.to_dict() for block in streamed.content[1:2]] == [block.to_dict() for block in whole.content[1:2]]
    assert provider.outcomes == {"completed": 2}
