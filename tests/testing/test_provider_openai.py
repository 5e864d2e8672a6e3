"""OpenAI's responses, completions and embeddings of the fake provider, read by the official SDK."""

import json
from typing import Any

import openai
import pytest
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall, ResponseOutputMessage
from pydantic import BaseModel

from aigw_middleware.testing.asgi import asgi_exchange
from aigw_middleware.testing.clients import client
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import Answer, ErrorEvent, RateLimited, Style, ToolCall, Usage

from .sdk import async_sdk, sync_sdk

WEATHER = ToolCall("weather", {"city": "Zürich", "unit": "°C"})
FULL = Answer("It is warm.", tool_calls=[WEATHER, ToolCall("now")], reasoning="Let me see.")
TOOLS: list[FunctionToolParam] = [{"type": "function", "name": "weather", "parameters": {}, "strict": None}]
ITEMS: Any = [
    {"role": "user", "content": [{"type": "input_text", "text": "How are "}, {"type": "input_text", "text": "you?"}]},
    {"type": "function_call_output", "call_id": "c", "output": "warm"},
]


@pytest.mark.anyio
async def test_a_response_echoes_by_default() -> None:
    async with async_sdk(FakeProvider()) as sdk:
        plain = await sdk.responses.create(model="m", input="How are you?", metadata={"a": "b"})
        items = await sdk.responses.create(model="m", input=ITEMS, instructions="Be brief.")
    assert plain.output_text == items.output_text == "This is m. You said: How are you?"
    assert (plain.id, plain.status, plain.metadata) == ("resp_1", "completed", {"a": "b"})
    assert items.usage is not None
    assert (items.usage.input_tokens, items.usage.output_tokens, items.usage.total_tokens) == (5, 8, 13)


@pytest.mark.anyio
@pytest.mark.parametrize("interleave", [False, True])
async def test_a_streamed_response_is_the_whole_one(interleave: bool) -> None:
    answer = Answer(FULL.text, FULL.tool_calls, FULL.reasoning, style=Style(interleave=interleave, keep_alive=1))
    async with async_sdk(FakeProvider([answer])) as sdk:
        whole = await sdk.responses.create(model="m", input="?", tools=TOOLS)
    async with (
        async_sdk(FakeProvider([answer])) as sdk,
        sdk.responses.stream(model="m", input="?", tools=TOOLS) as stream,
    ):
        names = [event.type async for event in stream]
        streamed = await stream.get_final_response()
    reasoning, message, weather, now = whole.output
    assert reasoning.type == "reasoning"
    assert reasoning.summary[0].text == "Let me see."
    assert isinstance(message, ResponseOutputMessage)
    assert whole.output_text == streamed.output_text == "It is warm."
    assert isinstance(weather, ResponseFunctionToolCall)
    assert (weather.call_id, weather.name, json.loads(weather.arguments)) == ("call_1_0", "weather", WEATHER.arguments)
    assert isinstance(now, ResponseFunctionToolCall)
    assert [item.model_dump(exclude={"created_at"}) for item in whole.output] == [
        {key: value for key, value in item.model_dump(exclude={"created_at"}).items() if "parsed" not in key}
        | ({"content": [_unparsed(part) for part in item.model_dump()["content"]]} if item.type == "message" else {})
        for item in streamed.output
    ]
    assert whole.usage == streamed.usage
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names[-1] == "response.completed"


def _unparsed(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "parsed"}


@pytest.mark.anyio
async def test_the_events_of_a_response_come_in_their_order() -> None:
    async with async_sdk(FakeProvider([Answer("So be it.", [ToolCall("now")], "Hm.")])) as sdk:
        stream = await sdk.responses.create(model="m", input="?", tools=TOOLS, stream=True)
        events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


@pytest.mark.anyio
async def test_reasoning_itself_and_refusals() -> None:
    answer = Answer(refusal="I cannot.", reasoning="Hm.", style=Style(reasoning_text=True))
    async with async_sdk(FakeProvider([answer] * 2)) as sdk:
        reasoning, message = (await sdk.responses.create(model="m", input="?")).output
        assert reasoning.type == "reasoning"
        assert (reasoning.summary, reasoning.content and reasoning.content[0].text) == ([], "Hm.")
        assert isinstance(message, ResponseOutputMessage)
        assert message.content[0].type == "refusal"
        assert message.content[0].refusal == "I cannot."
        stream = await sdk.responses.create(model="m", input="?", stream=True)
        events = [event async for event in stream]
    said = [event.delta for event in events if event.type == "response.refusal.delta"]
    thought = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert ("".join(said), "".join(thought)) == ("I cannot.", "Hm.")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "limit", "reason"),
    [(Answer("One two"), 1, "max_output_tokens"), (Answer("One", finish_reason="content_filter"), 9, "content_filter")],
)
async def test_what_is_not_complete_is_incomplete(answer: Answer, limit: int, reason: str) -> None:
    async with async_sdk(FakeProvider([answer] * 2)) as sdk:
        whole = await sdk.responses.create(model="m", input="?", max_output_tokens=limit)
        assert (whole.status, whole.output_text, whole.max_output_tokens) == ("incomplete", "One", limit)
        assert whole.incomplete_details is not None
        assert whole.incomplete_details.reason == reason
        stream = await sdk.responses.create(model="m", input="?", max_output_tokens=limit, stream=True)
        last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    assert isinstance(last.response.output[0], ResponseOutputMessage)
    assert last.response.output[0].status == ("incomplete" if reason == "max_output_tokens" else "completed")


@pytest.mark.anyio
async def test_usage_of_a_response_names_its_parts() -> None:
    answer = Answer("Yes.", reasoning="Hm, hm.", cached_tokens=2, cache_creation_tokens=9)
    started = Answer("Yes.", usage=Usage(7, 5), style=Style(usage_at="start"))
    so_far = Answer("Yes.", usage=Usage(7, 5), style=Style(usage_at="every"))
    async with async_sdk(FakeProvider([answer, started, so_far, Answer(usage="none")])) as sdk:
        usage = (await sdk.responses.create(model="m", input="a b c d")).usage
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (4, 3, 7)
        assert (usage.input_tokens_details.cached_tokens, usage.input_tokens_details.cache_write_tokens) == (2, 2)
        assert usage.output_tokens_details.reasoning_tokens == 2
        for tokens in (5, 0):
            stream = await sdk.responses.create(model="m", input="?", stream=True)
            first = await anext(stream)
            assert first.type == "response.created"
            assert first.response.usage is not None
            assert (first.response.usage.input_tokens, first.response.usage.output_tokens) == (7, tokens)
            await stream.close()
        assert (await sdk.responses.create(model="m", input="?")).usage is None


class Weather(BaseModel):
    city: str
    degrees: int | None


@pytest.mark.anyio
async def test_a_response_keeps_its_format() -> None:
    async with async_sdk(FakeProvider()) as sdk:
        parsed = await sdk.responses.parse(model="m", input="?", text_format=Weather)
        plain = await sdk.responses.create(model="m", input="?", text={"format": {"type": "json_object"}})
    assert parsed.output_parsed == Weather(city="text", degrees=None)
    assert json.loads(plain.output_text) == {"model": "m", "echo": "?"}


@pytest.mark.anyio
async def test_a_response_that_fails_says_so() -> None:
    provider = FakeProvider([ErrorEvent(after=2, message="broken", code="rate_limit_exceeded"), RateLimited()])
    async with async_sdk(provider) as sdk:
        stream = await sdk.responses.create(model="m", input="?", stream=True)
        *events, error, failed = [event async for event in stream]
        assert error.type == "error"
        assert (error.message, error.code, error.sequence_number) == ("broken", "rate_limit_exceeded", len(events))
        assert failed.type == "response.failed"
        assert failed.sequence_number == len(events) + 1
        assert failed.response.error is not None
        assert (failed.response.status, failed.response.error.message) == ("failed", "broken")
        assert [event.type for event in events].count("response.output_text.delta") == 2
        with pytest.raises(openai.RateLimitError):
            await sdk.responses.create(model="m", input="?")


def test_responses_over_wsgi() -> None:
    with sync_sdk(FakeProvider([FULL])) as sdk, sdk.responses.stream(model="m", input="?", tools=TOOLS) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == "It is warm."


def trusting(provider: FakeProvider) -> openai.AsyncOpenAI:
    """An SDK client that does not check types: the SDK's own do not know a completion's `finish_reason` of null in a
    stream, nor the base64 that the SDK itself asks embeddings for."""
    http = client(provider, library="httpx2")
    return openai.AsyncOpenAI(api_key="k", base_url="http://testserver/v1", max_retries=0, http_client=http)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("prompt", "texts"),
    [("a b", ["This is m. You said: a b"]), (["a", "b"], ["This is m. You said: b"] * 2), ([1, 2], None)],
)
async def test_completions_whole_and_streamed(prompt: Any, texts: list[str] | None) -> None:
    texts = texts or ["This is m. You said: 1 2"]
    async with trusting(FakeProvider()) as sdk:
        whole = await sdk.completions.create(model="m", prompt=prompt)
        stream = await sdk.completions.create(
            model="m", prompt=prompt, stream=True, stream_options={"include_usage": True}
        )
        *chunks, last = [chunk async for chunk in stream]
    assert (whole.id, whole.object) == ("cmpl-1", "text_completion")
    assert [choice.text for choice in whole.choices] == texts
    assert {choice.finish_reason for choice in whole.choices} == {"stop"}
    said = ["" for _ in texts]
    for chunk in chunks:
        assert chunk.usage is None
        said[chunk.choices[0].index] += chunk.choices[0].text
    assert said == texts
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert (last.choices, last.usage) == ([], whole.usage)


@pytest.mark.anyio
async def test_completions_have_neither_reasoning_nor_tools() -> None:
    answer = Answer(refusal="No, never.", reasoning="Hm.", tool_calls=[WEATHER])
    async with trusting(FakeProvider([answer] * 2)) as sdk:
        whole = await sdk.completions.create(model="m", prompt="?", max_tokens=1, n=2)
        assert [(choice.text, choice.finish_reason) for choice in whole.choices] == [("No,", "length")] * 2
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 2
        stream = await sdk.completions.create(model="m", prompt="?", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "No, never."


@pytest.mark.anyio
@pytest.mark.parametrize(("given", "count"), [("a b", 1), (["a b", "c"], 2), ([1, 2], 1), ([[1, 2], [3]], 2)])
async def test_embeddings_follow_from_the_text(given: Any, count: int) -> None:
    async with trusting(FakeProvider()) as sdk:
        as_numbers = await sdk.embeddings.create(model="m", input=given, encoding_format="float")
        unasked = await sdk.embeddings.create(model="m", input=given)  # the SDK asks for base64 and decodes it
    assert [one.index for one in as_numbers.data] == list(range(count))
    assert [one.embedding for one in as_numbers.data] == [one.embedding for one in unasked.data]
    assert as_numbers.usage.prompt_tokens == as_numbers.usage.total_tokens == count + 1
    for one in as_numbers.data:
        assert len(one.embedding) == 8
        assert sum(number * number for number in one.embedding) == pytest.approx(1)


@pytest.mark.anyio
async def test_embeddings_differ_by_text_and_have_the_length_asked_for() -> None:
    provider = FakeProvider([Answer(usage=Usage(42, 0))])
    async with trusting(provider) as sdk:
        answer = await sdk.embeddings.create(model="m", input=["a", "b", "a"], dimensions=3)
    first, second, third = (one.embedding for one in answer.data)
    assert first == third != second
    assert (len(first), answer.usage.prompt_tokens, provider.remaining) == (3, 42, 0)
    request = provider.requests[0]
    assert (request.json["encoding_format"], request.json["dimensions"]) == ("base64", 3)
    async with trusting(FakeProvider([RateLimited(), Answer(usage="none")])) as sdk:
        with pytest.raises(openai.RateLimitError):
            await sdk.embeddings.create(model="m", input="a")
        assert "usage" not in (await sdk.embeddings.create(model="m", input="a")).model_dump(exclude_unset=True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        ("completions", b'{"model": "m"}', "prompt"),
        ("completions", b'{"model": "m", "prompt": []}', "prompt"),
        ("completions", b'{"model": "m", "prompt": ["a", 1]}', "prompt"),
        ("completions", b'{"model": "m", "prompt": [[true]]}', "prompt"),
        ("completions", b'{"model": "m", "prompt": ["a", "b"], "n": 65}', "n"),
        ("responses", b'{"input": "a"}', "model"),
        ("responses", b'{"model": "m"}', "input"),
        ("responses", b'{"model": "m", "input": ["a"]}', "input"),
        ("embeddings", b'{"model": "m"}', "input"),
        ("embeddings", b'{"model": "m", "input": "a", "dimensions": 0}', "dimensions"),
        ("embeddings", b'{"model": "m", "input": "a", "encoding_format": "x"}', "encoding_format"),
    ],
)
async def test_bad_requests_use_up_no_script(endpoint: str, body: bytes, param: str) -> None:
    provider = FakeProvider([Answer("kept")])
    exchange = await asgi_exchange(provider, "POST", f"/v1/{endpoint}", body=[body])
    error = exchange.json()["error"]
    assert (exchange.status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert provider.remaining == 1
