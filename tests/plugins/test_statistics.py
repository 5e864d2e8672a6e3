"""`ai-statistics`: one record for each exchange whatever its end, what it says, and the counters."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from aigw_middleware import Gateway
from aigw_middleware.plugins.ai.statistics import AiStatistics
from aigw_middleware.plugins.ai.statistics.paths import JsonPath
from aigw_middleware.plugins.ai.statistics.values import Joined, cut
from aigw_middleware.testing.script import (
    Answer,
    CutMidEvent,
    ErrorEvent,
    Garbage,
    ProviderError,
    RefuseConnection,
    ToolCall,
    Usage,
)
from tests.plugins.ai_log import Log, logging_to, statistics
from tests.plugins.chat import CUTS, Chat, example, problems, question, said

USAGE = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2, reasoning_tokens=1)
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


@pytest.fixture
def log() -> Iterator[Log]:
    """What is logged during a test."""
    with logging_to() as handler:
        yield handler


def counted(chat: Chat) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """Requests by end, and the counters of the compatible gateways, of the only label set."""
    plugin = next(plugin for plugin in chat.exchange.snapshot.plugins if isinstance(plugin, AiStatistics))
    (series,) = plugin.counters.read().values()
    return series.requests, series.compatible()


# ---------------------------------------------------------------------- the record


@CUTS
@pytest.mark.parametrize("asks_for_usage", [False, True])
def test_a_streamed_call(log: Log, size: int, asks_for_usage: bool) -> None:
    members: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks_for_usage else {}
    plain = Chat(answers=[Answer("one two", usage=USAGE)], size=size)
    expected = plain.ask(question(stream=True, **members))
    chat = Chat(statistics(), answers=[Answer("one two", usage=USAGE)], size=size)
    answered = chat.ask(question(stream=True, **members))
    assert said(answered.body) == said(expected.body)
    assert (b'"usage":{' in answered.body) == asks_for_usage
    assert log.only == {
        "route": "*",
        "consumer": "none",
        "chat_id": "chatcmpl-1",
        "chat_round": 1,
        "model": "m",
        "response_type": "stream",
        "finish_reason": "stop",
        "status": 200,
        "outcome": "completed",
        "input_token": 9,
        "output_token": 4,
        "total_token": 13,
        "usage_source": "provider",
        "first_byte_duration": 0,
        "llm_first_token_duration": 0,
        "llm_token_interval": 0.0,
        "llm_service_duration": 0,
        "output_bytes": len(answered.body),
    }
    assert json.loads(log.records[0].getMessage()) == log.only
    assert (log.records[0].name, log.records[0].levelno) == ("aigw_middleware.ai_log", logging.INFO)


def test_a_whole_call_passes_untouched(log: Log) -> None:
    plain = Chat(answers=[Answer("one two", usage=USAGE)]).ask(question())
    chat = Chat(statistics(), answers=[Answer("one two", usage=USAGE)])
    answered = chat.ask(question())
    assert (answered.body, answered.headers) == (plain.body, plain.headers)
    assert (log.only["response_type"], log.only["total_token"], log.only["chat_id"]) == ("normal", 13, "chatcmpl-1")


@CUTS
def test_times(log: Log, size: int) -> None:
    answer = Answer("one two", delay_response=1, delay_first_token=0.25, delay_between=2)
    chat = Chat(statistics(), answers=[answer], size=size)
    chat.ask_while((1, 0.25, 2), question(stream=True))
    assert log.only["first_byte_duration"] == 1250  # the role, which is no token, comes with the first one
    assert log.only["llm_first_token_duration"] == 1250
    assert log.only["llm_service_duration"] == 3250


def test_times_on_wsgi(log: Log) -> None:
    chat = Chat(statistics(), answers=[Answer("one two", delay_response=1, delay_first_token=0.5, delay_between=2)])
    assert said(chat.ask_wsgi(question(stream=True)).body) == "one two"
    assert (log.only["first_byte_duration"], log.only["llm_service_duration"]) == (1500, 3500)
    assert (log.only["outcome"], log.only["output_token"]) == ("completed", 2)


@CUTS
@pytest.mark.parametrize(
    ("answer", "outcome", "status", "tokens"),
    [
        (Answer("one two three four", usage="none"), "completed", 200, (2, 4, "tokenizer")),
        (CutMidEvent(after=2, answer=Answer("one two three")), "completed", 200, (2, 2, "tokenizer")),
        (CutMidEvent(after=2, reset=True, answer=Answer("one two three")), "failed", 200, (2, 2, "tokenizer")),
        (ErrorEvent(after=1, answer=Answer("one two")), "completed", 200, (2, 1, "tokenizer")),
        (ProviderError(429, "slow down"), "completed", 429, None),
        (ProviderError(500, "broken"), "completed", 500, None),
        (Garbage(), "completed", 200, None),
        (Garbage(b"data: {]\n\ndata: x", "text/event-stream"), "completed", 200, None),
        (RefuseConnection(), "failed", 500, None),
    ],
)
def test_however_it_ends(
    log: Log, size: int, answer: Any, outcome: str, status: int, tokens: tuple[int, int, str] | None
) -> None:
    chat = Chat(statistics(), answers=[answer], size=size)
    chat.ask(question(stream=True))
    line = log.only
    assert (line["outcome"], line["status"]) == (outcome, status)
    assert (line.get("input_token"), line.get("output_token"), line.get("usage_source")) == (
        tokens or (None, None, None)
    )


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_a_client_that_leaves(log: Log, version: str) -> None:
    chat = Chat(statistics(), answers=[Answer("one two three four", usage=USAGE)])
    chat.ask(question(stream=True), send_fails_at=4, spec_version=version)
    assert log.only["outcome"] == "aborted"
    assert log.only["usage_source"] == "tokenizer"
    assert log.only["output_token"] == 3  # of the four words that it would have had


def test_a_client_that_leaves_before_the_answer(log: Log) -> None:
    chat = Chat(statistics(), answers=[Answer("x", delay_response=9)])
    chat.ask_while((10,), question(stream=True), disconnect_after=0)
    assert log.only["outcome"] == "aborted"
    assert "input_token" not in log.only


@pytest.mark.anyio
async def test_a_cancelled_call(log: Log) -> None:
    chat = Chat(statistics(), answers=[Answer("x", delay_response=9)])
    asking = asyncio.create_task(chat.asked(question(stream=True)))
    await chat.clock.until_sleeping()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert log.only["outcome"] == "aborted"


def test_a_refusal_by_another_plugin(log: Log) -> None:
    key = {"name": "key-auth", "config": {"keys": ["x-api-key"], "in_header": True}}
    consumers = [{"name": "alice", "credentials": {"key-auth": ["secret-key-of-alice"]}}]
    chat = Chat(statistics(), key, answers=[Answer("x")], consumers=consumers)
    chat.ask(question())
    assert (log.only["outcome"], log.only["status"], log.only["answered_by"]) == ("refused", 401, "key-auth")
    assert "input_token" not in log.only
    assert log.only["error"] == "no_key_authentication_information_found"
    assert counted(chat) == ({("refused", "no_key_authentication_information_found"): 1}, {})
    log.records.clear()
    chat.ask(question(), headers=[("x-api-key", "secret-key-of-alice")])
    assert (log.only["outcome"], log.only["consumer"]) == ("completed", "alice")


def test_a_body_that_is_no_json_is_one_record_too(log: Log) -> None:
    chat = Chat(statistics())
    assert chat.ask(b'{"model": "m", "messages": [').status == 400
    assert (log.only["outcome"], log.only["status"]) == ("refused", 400)


def test_the_route_and_what_its_name_tells(log: Log) -> None:
    routes = [{"name": "chat@v1@key@1", "path_prefix": "/v1"}]
    Chat(statistics(), answers=[Answer("x")], routes=routes).ask(question())
    assert (log.only["route"], log.only["api"]) == ("chat@v1@key@1", "chat@v1@key")


@pytest.mark.parametrize(
    ("config", "headers", "session"),
    [
        ({}, [], None),
        ({}, [("x-agent-session", "a")], "a"),
        ({}, [("x-agent-session", "a"), ("x-openclaw-session-key", "o")], "o"),
        ({"session_id_header": "x-mine"}, [("x-agent-session", "a"), ("x-mine", "m")], "m"),
        ({"sessionIdHeader": "x-mine"}, [("x-agent-session", "a")], "a"),
    ],
)
def test_sessions(log: Log, config: Any, headers: Any, session: str | None) -> None:
    Chat(statistics(**config), answers=[Answer("x")]).ask(question(), headers=headers)
    assert log.only.get("session_id") == session


@pytest.mark.parametrize(
    ("config", "path", "recorded"),
    [
        ({}, "/v1/chat/completions", True),
        ({}, "/other", False),
        ({"enable_path_suffixes": ["/completions"]}, "/v1/chat/completions", True),
        ({"enable_path_suffixes": ["/messages"]}, "/v1/chat/completions", False),
        ({"enable_path_suffixes": ["/messages", "*"]}, "/v1/chat/completions", True),
        ({"disable_openai_usage": True}, "/other", True),
        ({"enable_content_types": ["application/json"]}, "/v1/chat/completions", True),
        ({"enable_content_types": ["event-stream"]}, "/v1/chat/completions", False),
    ],
)
def test_which_exchanges(log: Log, config: Any, path: str, recorded: bool) -> None:
    Chat(statistics(**config), answers=[Answer("x")]).ask(question() if "chat" in path else {"a": 1}, path=path)
    assert len(log.records) == recorded


def test_without_tokens(log: Log) -> None:
    chat = Chat(statistics(disable_openai_usage=True), answers=[Answer("x", usage=USAGE)])
    chat.ask(question())
    assert "total_token" not in log.only
    assert "total_token" not in counted(chat)[1]


def test_nobody_listens() -> None:
    chat = Chat(statistics(), answers=[Answer("x")])
    assert chat.ask(question()).status == 200
    assert counted(chat)[0] == {("completed", ""): 1}


# ---------------------------------------------------------------------- attributes


def logged(**attribute: Any) -> dict[str, Any]:
    """The entry of an attribute that goes to the log."""
    return {"apply_to_log": True, **attribute}


@CUTS
@pytest.mark.parametrize("stream", [False, True])
def test_all_built_in_attributes(log: Log, size: int, stream: bool) -> None:
    answer = Answer(
        "The answer.",
        reasoning="Let me think.",
        tool_calls=[ToolCall("f", {"a": "long enough"}, "c1"), ToolCall("g")],
        usage=USAGE,
    )
    chat = Chat(statistics(use_default_attributes=True), answers=[answer], size=size)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Before?"},
        {"role": "assistant", "content": "Yes."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Now"}, {"type": "image_url"}, {"type": "text", "text": "then?"}],
        },
    ]
    chat.ask({"model": "m", "messages": messages, "stream": stream, "tools": TOOLS})
    line = log.only
    assert line["chat_round"] == 2
    assert line["question"] == "Now\nthen?"
    assert line["system"] == "Be brief."
    assert json.loads(line["messages"]) == [*messages[:3], {"role": "user", "content": "Now\nthen?"}]
    assert line["answer"] == "The answer."
    assert line["reasoning"] == "Let me think."
    assert json.loads(line["tool_calls"]) == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "long enough"}'}},
        {"index": 1, "id": "call_1_1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert (line["reasoning_tokens"], line["cached_tokens"]) == (1, 2)
    assert json.loads(line["input_token_details"])["cached_tokens"] == 2
    assert json.loads(line["output_token_details"])["reasoning_tokens"] == 1


def test_the_light_set(log: Log) -> None:
    chat = Chat(statistics(use_default_response_attributes=True), answers=[Answer("x", usage=USAGE)])
    chat.ask(question())
    assert {"reasoning_tokens", "cached_tokens"} <= log.only.keys()
    assert not {"question", "answer", "messages"} & log.only.keys()
    log.records.clear()
    chat.ask({"model": "m", "messages": []}, path="/v1/other")
    assert log.records == []


def test_the_question_as_it_was_at_the_turn_of_the_plugin(log: Log) -> None:
    decorator = {"name": "ai-prompt-decorator", "config": {"append": [{"role": "user", "content": "appended"}]}}
    chat = Chat(statistics(use_default_attributes=True), decorator, answers=[Answer("x")])
    chat.ask(question("mine"))
    assert (log.only["question"], log.only["chat_round"]) == ("mine", 1)
    assert json.loads(log.only["messages"]) == [{"role": "user", "content": "mine"}]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ({"value_source": "fixed_value", "value": "v1"}, "v1"),
        ({"value_source": "fixed_value", "value": 3}, 3),
        ({"value_source": "request_header", "value": "X-Team"}, "search"),
        ({"value_source": "request_header", "value": "x-none"}, None),
        ({"value_source": "request_header", "value": "x-none", "default_value": "none"}, "none"),
        ({"value_source": "request_body", "value": "model"}, "m"),
        ({"value_source": "request_body", "value": "messages.@reverse.0.content"}, "Hello?"),
        ({"value_source": "request_body", "value": "messages.#"}, 1),
        ({"value_source": "request_body", "value": "messages.#.role"}, '["user"]'),
        ({"value_source": "request_body", "value": "temperature"}, 0.5),
        ({"value_source": "request_body", "value": "nothing.at.all", "default_value": 0}, 0),
        ({"value_source": "response_header", "value": "content-type"}, "application/json"),
        ({"value_source": "response_body", "value": "choices.0.message.content"}, "one two"),
        ({"value_source": "response_body", "value": "usage.total_tokens"}, 13),
        ({"value_source": "response_streaming_body", "value": "id", "rule": "first"}, None),
    ],
)
def test_sources(log: Log, attribute: dict[str, Any], value: Any) -> None:
    chat = Chat(statistics(attributes=[logged(key="found", **attribute)]), answers=[Answer("one two", usage=USAGE)])
    chat.ask(question(temperature=0.5), headers=[("x-team", "search")])
    assert log.only.get("found") == value


@CUTS
@pytest.mark.parametrize(
    ("path", "rule", "value"),
    [
        ("choices.0.delta.content", "append", "one two three"),
        ("choices.0.delta.content", "first", "one"),
        ("choices.0.delta.content", "replace", " three"),
        ("choices.0.finish_reason", "replace", "stop"),
        ("usage.total_tokens", "replace", 13),
        ("choices.0.nothing", "append", None),
    ],
)
def test_values_of_a_stream(log: Log, size: int, path: str, rule: str, value: Any) -> None:
    attribute = logged(key="found", value_source="response_streaming_body", value=path, rule=rule)
    chat = Chat(statistics(attributes=[attribute]), answers=[Answer("one two three", usage=USAGE)], size=size)
    asked = question(stream=True, stream_options={"include_usage": True})
    plain = Chat(answers=[Answer("one two three", usage=USAGE)], size=size).ask(asked)
    assert chat.ask(asked).body == plain.body
    assert log.only.get("found") == value


def test_garbage_in_a_stream_harms_no_attribute(log: Log) -> None:
    attribute = logged(key="found", value_source="response_streaming_body", value="a", rule="append")
    body = b'data: {"a":1}\n\n: comment\n\ndata: {]\n\ndata: [1]\n\ndata: {"a":"x"}\n\ndata: [DONE]\n\n'
    chat = Chat(statistics(attributes=[attribute]), answers=[Garbage(body, "text/event-stream")])
    assert chat.ask(question(stream=True)).body == body
    assert log.only["found"] == "1x"


def test_one_key_from_several_sources(log: Log) -> None:
    attributes = [
        logged(key="answer", value_source="response_streaming_body", value="choices.0.delta.content", rule="append"),
        logged(key="answer", value_source="response_body", value="choices.0.message.content", default_value="nothing"),
    ]
    chat = Chat(statistics(attributes=attributes), answers=[Answer("one two"), Answer("three"), ProviderError()])
    for stream, expected in ((True, "one two"), (False, "three"), (False, "nothing")):
        log.records.clear()
        chat.ask(question(stream=stream))
        assert log.only["answer"] == expected


def test_where_attributes_go(log: Log) -> None:
    attributes = [
        {"key": "nowhere", "value_source": "fixed_value", "value": "n"},
        {"key": "span", "value_source": "fixed_value", "value": "s", "apply_to_span": True},
        {
            "key": "named",
            "value_source": "fixed_value",
            "value": "t",
            "apply_to_span": True,
            "trace_span_key": "gen_ai.x",
        },
        logged(key="beside", value_source="fixed_value", value="b", as_separate_log_field=True),
    ]
    chat = Chat(statistics(attributes=attributes), answers=[Answer("x")])
    chat.ask(question())
    assert not {"nowhere", "span", "named", "beside"} & log.only.keys()
    assert log.records[0].__dict__["ai_attributes"] == {"beside": "b"}
    assert chat.exchange.attributes == {"trace_span_tag.span": "s", "trace_span_tag.gen_ai.x": "t"}


@CUTS
def test_long_values_are_cut(log: Log, size: int) -> None:
    text = "".join(chr(0x4E00 + number) for number in range(100))
    attributes = [
        logged(key="question"),
        logged(key="answer"),
        logged(key="joined", value_source="response_streaming_body", value="choices.0.delta.content", rule="append"),
    ]
    chat = Chat(
        statistics(attributes=attributes, value_length_limit=20), answers=[Answer(chunks=list(text))], size=size
    )
    chat.ask(question(text, stream=True))
    assert log.only["question"] == log.only["joined"] == f"{text[:10]} [truncated] {text[-10:]}"
    assert log.only["answer"] == f"{text[:20]} [truncated]"


@pytest.mark.parametrize(
    ("text", "result"), [("x" * 20, "x" * 20), ("a" * 11 + "b" * 10, "a" * 10 + " [truncated] " + "b" * 10), (5, 5)]
)
def test_cut(text: Any, result: Any) -> None:
    assert cut(text, 20) == result


@pytest.mark.parametrize("length", [0, 1, 19, 20, 21, 40, 60, 61, 500])
@pytest.mark.parametrize("step", [1, 3, 50])
def test_joining_keeps_what_cutting_the_whole_would(length: int, step: int) -> None:
    text = "".join(chr(0x100 + number) for number in range(length))
    joined = Joined("append", 20)
    for start in range(0, length, step):
        joined.add(text[start : start + step])
    assert joined.result() == (cut(text, 20) or None)


def test_events_are_read_only_when_an_attribute_needs_it() -> None:
    assert AiStatistics(use_default_attributes=True).unused == {"on_event", "on_request"}
    attribute = {"key": "x", "value_source": "response_streaming_body", "value": "id", "rule": "first"}
    assert AiStatistics(attributes=[attribute]).unused == {"on_request"}


# ---------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", {"b": [1, {"c": 2}], "d.e": 3}),
        ("a.b", [1, {"c": 2}]),
        ("a.b.0", 1),
        ("a.b.1.c", 2),
        ("a.b.2", None),
        ("a.b.x", None),
        ("a.b.0.x", None),
        (r"a.d\.e", 3),
        ("a.b.#", 2),
        ("a.b.#.c", [2]),
        ("a.b.@reverse.0.c", 2),
        ("none", None),
    ],
)
def test_paths(path: str, value: Any) -> None:
    assert JsonPath(path).read({"a": {"b": [1, {"c": 2}], "d.e": 3}}) == value


@pytest.mark.parametrize("path", ["", "a..b", "a.", "a.*", "a.#(b==1)", "a|b", "@pretty", "a.@flatten", "{a,b}"])
def test_paths_that_are_not_understood(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        JsonPath(path)


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        (
            {"attributes": [{"key": "colour"}]},
            "attributes[0]",
            "'colour' needs a value_source; known without one: question, system, messages, answer, reasoning, tool_calls, "
            "reasoning_tokens, cached_tokens, input_token_details, output_token_details",
        ),
        ({"attributes": [{}]}, "attributes[0].key", "is required"),
        (
            {"attributes": [{"key": "a", "value_source": "request_body"}]},
            "attributes[0]",
            "value_source request_body needs a value: a path",
        ),
        (
            {"attributes": [{"key": "a", "value_source": "request_body", "value": "a.*"}]},
            "attributes[0]",
            "'*' in a path is not understood: use members, indexes, `#` and `@reverse`",
        ),
        (
            {"attributes": [{"key": "a", "value_source": "response_streaming_body", "value": "a"}]},
            "attributes[0]",
            "value_source response_streaming_body needs a rule: first, replace or append",
        ),
        (
            {"attributes": [{"key": "a", "value_source": "request_header", "value": "Authorization"}]},
            "attributes[0]",
            "Authorization holds a credential, which no log may hold",
        ),
        (
            {"attributes": [{"key": "a", "value_source": "request_header", "value": "a b"}]},
            "attributes[0]",
            "'a b' is not a header name",
        ),
        (
            {"attributes": [{"key": "answer", "rule": "last"}]},
            "attributes[0].rule",
            "should be '', 'first', 'replace' or 'append'",
        ),
        ({"session_id_header": "cookie"}, "session_id_header", "cookie holds a credential, which no log may hold"),
        ({"value_length_limit": 5}, "value_length_limit", "should be greater than or equal to 20"),
        ({"sampling": 1}, "sampling", "unknown key"),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    assert problems(statistics(**config)) == [(f"plugins[0].config.{path}", message)]


def test_the_example(log: Log) -> None:
    chat = Chat(*example(AiStatistics)["plugins"], answers=[Answer("x", usage=USAGE)])
    chat.ask(question(stream=True), headers=[("x-session", "s1")])
    line = log.only
    assert (line["session_id"], line["team"], line["cached_tokens"]) == ("s1", "none", 2)
    assert (line["cost"], line["currency"]) == ("0.000017", "USD")


def test_the_class_alone_is_an_application(log: Log) -> None:
    chat = Chat(answers=[Answer("x")])
    chat.gateway = Gateway(AiStatistics(chat.provider))
    chat.ask(question())
    assert log.only["outcome"] == "completed"
