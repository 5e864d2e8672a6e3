"""Answers of the fake provider, read by the official SDK and, where bytes matter, by hand."""

import asyncio
import json
import math
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from aigw_middleware.testing.asgi import AsgiExchange, asgi_exchange
from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.provider_hosts import ReceivedRequest
from aigw_middleware.testing.script import Answer, Scripted, ToolCall, Usage

from .sdk import ECHO, MESSAGES, TOOLS, async_sdk, sync_sdk

WEATHER = ToolCall("weather", {"city": "Zürich", "unit": "°C"})


async def post(provider: FakeProvider, path: str = "/v1/chat/completions", **body: Any) -> AsgiExchange:
    request = {"model": "m", "messages": MESSAGES} | body
    return await asgi_exchange(provider, "POST", path, body=[json.dumps(request).encode()])


def events(exchange: AsgiExchange) -> list[Any]:
    *lines, end, rest = exchange.body.decode().split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.anyio
async def test_a_whole_answer_echoes_by_default() -> None:
    provider = FakeProvider(clock=VirtualClock(1_700_000_000))
    async with async_sdk(provider) as sdk:
        answer = await sdk.chat.completions.create(model="m", messages=MESSAGES)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.message.refusal) == ("assistant", ECHO, None)
    assert (choice.finish_reason, answer.model, answer.created) == ("stop", "m", 1_700_000_000)
    assert (answer.id, answer._request_id) == ("chatcmpl-1", "req_1")
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 8, 13)
    assert answer.usage.prompt_tokens_details
    assert answer.usage.completion_tokens_details


def test_the_synchronous_sdk_reads_the_same_over_wsgi() -> None:
    provider = FakeProvider()
    with sync_sdk(provider) as sdk:
        whole = sdk.chat.completions.create(model="m", messages=MESSAGES)
        with sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert whole.choices[0].message.content == "".join(pieces) == ECHO
    assert provider.outcomes == {"completed": 2}


@pytest.mark.anyio
async def test_a_stream_comes_word_by_word_with_its_usage_last() -> None:
    provider = FakeProvider()
    async with async_sdk(provider) as sdk:
        stream = await sdk.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    role, *deltas, finish, usage = chunks
    assert (role.choices[0].delta.role, role.choices[0].delta.content) == ("assistant", "")
    said = "|".join(str(chunk.choices[0].delta.content) for chunk in deltas)
    assert said == "This| is| m.| You| said:| How| are| you?"
    assert (finish.choices[0].finish_reason, finish.choices[0].delta.content) == ("stop", None)
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.completion_tokens == len(deltas)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert {chunk.id for chunk in chunks} == {"chatcmpl-1"}
    assert provider.outcomes == {"completed": 1}


@pytest.mark.anyio
async def test_usage_is_in_a_stream_only_when_asked_for() -> None:
    plain = events(await post(FakeProvider(), stream=True))
    assert all("usage" not in event and event["choices"] for event in plain)
    asked = events(await post(FakeProvider(), stream=True, stream_options={"include_usage": True}))
    assert [event["usage"] is None for event in asked] == [True] * (len(asked) - 1) + [False]
    silent = FakeProvider([Answer(usage="none")] * 2)
    assert all(
        event["choices"] for event in events(await post(silent, stream=True, stream_options={"include_usage": True}))
    )
    assert "usage" not in (await post(silent)).json()


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [(), ("It is ", "", "w", "arm.")])
async def test_a_whole_answer_is_the_sum_of_its_stream(chunks: tuple[str, ...]) -> None:
    answer = Answer("It is warm.", tool_calls=[WEATHER, ToolCall("now")], reasoning="Let me see.", chunks=chunks)
    provider = FakeProvider([answer, answer])
    request: dict[str, Any] = {"model": "m", "messages": MESSAGES, "tools": TOOLS}
    async with async_sdk(provider) as sdk:
        whole = (await sdk.chat.completions.create(**request)).choices[0]
        async with sdk.chat.completions.stream(**request) as stream:
            async for _ in stream:
                pass
            streamed = (await stream.get_final_completion()).choices[0]
    assert whole.finish_reason == streamed.finish_reason == "tool_calls"
    assert whole.message.content == streamed.message.content == "It is warm."
    assert whole.message.model_extra == {"reasoning_content": "Let me see."}
    assert whole.message.tool_calls is not None
    assert streamed.message.tool_calls is not None
    calls = [
        (call.id, call.function.name, call.function.arguments)
        for call in whole.message.tool_calls
        if call.type == "function"
    ]
    assert calls == [("call_1_0", "weather", '{"city": "Zürich", "unit": "°C"}'), ("call_1_1", "now", "{}")]
    assert [call.function.arguments for call in streamed.message.tool_calls] == [call[2] for call in calls]


@pytest.mark.anyio
async def test_tool_calls_stream_their_name_first_and_need_tools_in_the_request() -> None:
    provider = FakeProvider([Answer(tool_calls=[WEATHER])] * 3)
    deltas = [event["choices"][0]["delta"] for event in events(await post(provider, stream=True, tools=TOOLS))]
    assert deltas[0] == {"role": "assistant", "content": None, "refusal": None}
    (head,) = deltas[1]["tool_calls"]
    assert head == {"index": 0, "id": "call_1_0", "type": "function", "function": {"name": "weather", "arguments": ""}}
    pieces = [delta["tool_calls"][0] for delta in deltas[2:-1]]
    assert all(set(piece) == {"index", "function"} for piece in pieces)
    assert len(pieces) > 1
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == WEATHER.arguments
    whole = await post(provider, tools=TOOLS)
    assert (whole.json()["choices"][0]["message"]["content"], "Zürich".encode() in whole.body) == (None, True)
    choice = (await post(provider)).json()["choices"][0]
    assert (choice["message"]["content"], "tool_calls" in choice["message"], choice["finish_reason"]) == (
        ECHO,
        False,
        "stop",
    )


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("limit", "text", "finish"), [(1, "One", "length"), (2, "One two", "length"), (3, "One two three", "stop")]
)
async def test_a_limit_cuts_the_answer(name: str, limit: int, text: str, finish: str) -> None:
    provider = FakeProvider([Answer("One two three")] * 2)
    limited: dict[str, Any] = {name: limit}
    whole = (await post(provider, **limited)).json()
    assert (whole["choices"][0]["message"]["content"], whole["choices"][0]["finish_reason"]) == (text, finish)
    assert whole["usage"]["completion_tokens"] == limit
    streamed = events(await post(provider, stream=True, **limited))
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in streamed) == text
    assert streamed[-1]["choices"][0]["finish_reason"] == finish


@pytest.mark.anyio
async def test_reasoning_counts_against_the_limit_and_in_the_usage() -> None:
    answer = (await post(FakeProvider([Answer("Yes.", reasoning="Hm, hm, hm.")]), max_completion_tokens=3)).json()
    message = answer["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("", "Hm, hm, hm.")
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3


@pytest.mark.anyio
async def test_refusals_finish_reasons_and_usage_come_as_scripted() -> None:
    usage = Usage(100, 20, cached_tokens=64)
    provider = FakeProvider([Answer(refusal="I cannot."), Answer("Half", finish_reason="content_filter", usage=usage)])
    refused = (await post(provider)).json()["choices"][0]["message"]
    assert (refused["content"], refused["refusal"]) == (None, "I cannot.")
    filtered = (await post(provider)).json()
    assert filtered["choices"][0]["finish_reason"] == "content_filter"
    assert filtered["usage"]["total_tokens"] == 120
    assert filtered["usage"]["prompt_tokens_details"]["cached_tokens"] == 64


@pytest.mark.anyio
async def test_several_choices_take_turns() -> None:
    provider = FakeProvider([Answer("a b")] * 2)
    whole = (await post(provider, n=2)).json()
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["a b", "a b"]
    assert whole["usage"]["completion_tokens"] == 4
    choices = [event["choices"][0] for event in events(await post(provider, n=2, stream=True))]
    assert [(one["index"], one["delta"].get("content")) for one in choices] == [
        (0, ""), (1, ""), (0, "a"), (1, "a"), (0, " b"), (1, " b"), (0, None), (1, None),
    ]  # fmt: skip


class Weather(BaseModel):
    city: str
    degrees: int | None
    days: list["Weather"]


@pytest.mark.anyio
async def test_response_formats_are_kept_by_the_echo() -> None:
    async with async_sdk(FakeProvider()) as sdk:
        parsed = await sdk.chat.completions.parse(model="m", messages=MESSAGES, response_format=Weather)
        assert parsed.choices[0].message.parsed == Weather(city="text", degrees=None, days=[])
        answer = await sdk.chat.completions.create(
            model="m", messages=MESSAGES, response_format={"type": "json_object"}
        )
    assert json.loads(answer.choices[0].message.content or "") == {"model": "m", "echo": "How are you?"}


@pytest.mark.anyio
async def test_models_are_listed() -> None:
    async with async_sdk(FakeProvider(models=("a", "b"))) as sdk:
        assert [model.id async for model in sdk.models.list()] == ["a", "b"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "/v1/audio/speech", b"{}", 404, None),
        ("GET", "/v1/files", b"", 404, None),
        ("GET", "/v1/chat/completions", b"", 405, None),
        ("POST", "/v1/models", b"", 405, None),
        ("POST", "/v1/chat/completions", b'{"model": \xff', 400, None),
        ("POST", "/v1/chat/completions", b"[" * 100_000, 400, None),
        ("POST", "/v1/chat/completions", b"[]", 400, None),
        ("POST", "/v1/chat/completions", b"{}", 400, "model"),
        ("POST", "/v1/chat/completions", b'{"model": "m", "messages": []}', 400, "messages"),
        ("POST", "/v1/chat/completions", b'{"model": "m", "messages": [{}], "n": 0}', 400, "n"),
        ("POST", "/v1/chat/completions", b'{"model": "m", "messages": [{}], "n": 129}', 400, "n"),
        ("POST", "/v1/chat/completions", b'{"model": "m", "messages": [{}], "max_tokens": true}', 400, "max_tokens"),
    ],
)
async def test_bad_requests_get_openai_errors_and_use_up_no_script(
    method: str, path: str, body: bytes, status: int, param: str | None
) -> None:
    provider = FakeProvider([Answer("kept")])
    exchange = await asgi_exchange(provider, method, path, body=[body])
    error = exchange.json()["error"]
    assert (exchange.status, error["type"], error["param"]) == (status, "invalid_request_error", param)
    assert provider.remaining == 1


@pytest.mark.anyio
async def test_requests_are_recorded_as_they_came() -> None:
    def name_the_key(request: ReceivedRequest) -> Scripted:
        return Answer(request.header("Authorization"))

    provider = FakeProvider(default=name_the_key)
    body = json.dumps({"model": "m", "messages": MESSAGES}).encode()
    headers = [("Authorization", "Bearer k"), ("X-Tag", "a"), ("x-tag", "\xe9")]
    answer = await asgi_exchange(
        provider, "POST", "/any/chat/completions?v=1", headers=headers, body=[body[:9], body[9:]]
    )
    assert answer.json()["choices"][0]["message"]["content"] == "Bearer k"
    (request,) = provider.requests
    assert (request.method, request.path, request.query) == ("POST", "/any/chat/completions", b"v=1")
    assert (request.body, request.json["model"], request.pieces_sent) == (body, "m", 1)
    assert (request.header("X-TAG"), request.header("absent")) == ("a, \xe9", None)
    assert request.scripted == Answer("Bearer k")


@pytest.mark.anyio
async def test_delays_wait_on_the_clock() -> None:
    clock = VirtualClock()
    provider = FakeProvider([Answer("a b c", delay_response=1, delay_first_token=10, delay_between=2)], clock=clock)
    async with async_sdk(provider, headers_first=True) as sdk:
        creating = asyncio.create_task(sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True))
        await clock.until_sleeping()
        clock.advance(1)
        stream = await creating
        reading = asyncio.create_task(anext(stream))
        await clock.until_sleeping()
        assert not reading.done()
        clock.advance(10)
        assert (await reading).choices[0].delta.role == "assistant"
        assert [(await anext(stream)).choices[0].delta.content for _ in range(1)] == ["a"]
        for word in (" b", " c"):
            reading = asyncio.create_task(anext(stream))
            await clock.until_sleeping()
            clock.advance(2)
            assert (await reading).choices[0].delta.content == word
    assert clock.monotonic() == 15


@pytest.mark.anyio
async def test_a_provider_that_hangs_is_a_timeout() -> None:
    provider = FakeProvider([Answer(delay_first_token=math.inf)])
    async with async_sdk(provider, timeout=0.01) as sdk:
        with pytest.raises(openai.APITimeoutError):
            await sdk.chat.completions.create(model="m", messages=MESSAGES)
    assert provider.outcomes == {"disconnected": 1}


def test_a_thread_sleeps_on_the_same_clock() -> None:
    clock = VirtualClock()
    with sync_sdk(FakeProvider([Answer("a b", delay_first_token=10, delay_between=2)], clock=clock)) as sdk:
        for _ in sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True):
            pass
    assert clock.monotonic() == 12
