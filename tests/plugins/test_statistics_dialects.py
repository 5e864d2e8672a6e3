"""`ai-statistics` sees the same of a call in every dialect: what was asked, what was said, what was used."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from aigw_middleware.testing.script import Answer, ToolCall, Usage
from tests.plugins.ai_log import Log, logging_to, statistics
from tests.plugins.chat import CUTS, Chat

USAGE = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2)
TALK = [{"role": "user", "content": "Before?"}, {"role": "assistant", "content": "Yes."}]
NOW = {"role": "user", "content": "Now?"}

CHAT = {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, *TALK, NOW]}
MESSAGES = {"model": "m", "max_tokens": 9, "system": "Be brief.", "messages": [*TALK, NOW]}
RESPONSES = {"model": "m", "instructions": "Be brief.", "input": [*TALK, NOW]}
GENERATE = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "Before?"}]},
        {"role": "model", "parts": [{"text": "Yes."}]},
        {"parts": [{"text": "Now?"}]},
    ],
}
VERSION = [("anthropic-version", "2023-06-01")]
GEMINI = "/v1beta/models/m:generateContent"
GEMINI_STREAM = "/v1beta/models/m:streamGenerateContent?alt=sse"


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged during a test."""
    with logging_to() as handler:
        yield handler


CALLS = [
    pytest.param("/v1/chat/completions", {**CHAT, "stream": False}, "normal", id="chat"),
    pytest.param("/v1/chat/completions", {**CHAT, "stream": True}, "stream", id="chat, streamed"),
    pytest.param("/v1/messages", {**MESSAGES, "stream": False}, "normal", id="messages"),
    pytest.param("/v1/messages", {**MESSAGES, "stream": True}, "stream", id="messages, streamed"),
    pytest.param("/v1/responses", {**RESPONSES, "stream": False}, "normal", id="responses"),
    pytest.param("/v1/responses", {**RESPONSES, "stream": True}, "stream", id="responses, streamed"),
    pytest.param(GEMINI, GENERATE, "normal", id="gemini"),
    pytest.param(GEMINI_STREAM, GENERATE, "stream", id="gemini, streamed"),
]


@CUTS
@pytest.mark.parametrize(("path", "body", "form"), CALLS)
def test_a_conversation(log: Log, size: int, path: str, body: Any, form: str) -> None:
    chat = Chat(
        statistics(use_default_attributes=True, enable_path_suffixes=["*"]),
        answers=[Answer("The answer.", usage=USAGE, delay_first_token=0.5)],
        size=size,
    )
    answer = chat.ask_while((0.5,), body, path=path, headers=VERSION)
    assert answer.status == 200
    line = log.only
    assert (line["response_type"], line["outcome"], line["model"]) == (form, "completed", "m")
    assert line["chat_round"] == 2
    assert (line["system"], line["question"], line["answer"]) == ("Be brief.", "Now?", "The answer.")
    assert json.loads(line["messages"]) == [{"role": "system", "content": "Be brief."}, *TALK, NOW]
    assert line["usage_source"] == "provider"
    assert line["cached_tokens"] == 2
    stated = 7 if "messages" in path else 9  # Anthropic counts what was cached apart
    assert (line["input_token"], line["output_token"], line["total_token"]) == (stated, 4, 13)
    assert line["chat_id"]
    assert line["finish_reason"]
    assert line.get("llm_first_token_duration") == (500 if form == "stream" else None)
    assert ("llm_token_interval" in line) == (form == "stream")


@CUTS
@pytest.mark.parametrize(("path", "body", "form"), CALLS)
def test_tool_calls(log: Log, size: int, path: str, body: Any, form: str) -> None:
    if "contents" in body:
        tools: Any = [{"functionDeclarations": [{"name": "f"}]}]
    elif "max_tokens" in body:
        tools = [{"name": "f", "input_schema": {"type": "object"}}]
    elif "input" in body:
        tools = [{"type": "function", "name": "f", "parameters": {}}]
    else:
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    chat = Chat(
        statistics(attributes=[{"key": "tool_calls", "apply_to_log": True}]),
        answers=[Answer("", tool_calls=[ToolCall("f", {"a": "long enough"}, "c1")])],
        size=size,
    )
    assert chat.ask({**body, "tools": tools}, path=path, headers=VERSION).status == 200
    (call,) = json.loads(log.only["tool_calls"])
    assert call["function"]["name"] == "f"
    assert json.loads(call["function"]["arguments"]) == {"a": "long enough"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "m", "prompt": "Now?"}),
        ("/v1/embeddings", {"model": "m", "input": "Now?"}),
    ],
)
def test_what_is_no_conversation(log: Log, path: str, body: Any) -> None:
    chat = Chat(statistics(attributes=[{"key": "question", "apply_to_log": True}]), answers=[Answer("x", usage=USAGE)])
    assert chat.ask(body, path=path, headers=VERSION).status == 200
    assert (log.only["question"], log.only["input_token"], log.only["model"]) == ("Now?", 9, "m")


@pytest.mark.parametrize(("path", "body", "form"), [call for call in CALLS if "streamed" in str(call.id)])
def test_a_client_that_leaves(log: Log, path: str, body: Any, form: str) -> None:
    chat = Chat(statistics(), answers=[Answer(chunks=[f"word{number} " for number in range(40)], usage=Usage(9, 40))])
    chat.ask(body, path=path, headers=VERSION, send_fails_at=12)
    line = log.only
    counts = "provider" if "contents" in body else "tokenizer"  # Gemini tells with each event
    assert (line["outcome"], line["usage_source"]) == ("aborted", counts)
    assert 4 < line["output_token"] < 80
