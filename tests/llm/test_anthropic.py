"""Anthropic messages: every text of a request and of a whole answer is seen, and only what is changed changes."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Channel, Exchange, Finish, Plugin, PluginConfig
from aigw_middleware.exchange import Request
from aigw_middleware.headers import Headers
from aigw_middleware.llm.dialects import DIALECTS, DialectTable
from aigw_middleware.testing.matrix import Script, Scripted, assert_same, run_everywhere

MESSAGES = DIALECTS["anthropic-messages"]
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
SEARCHED = {
    "type": "web_search_result",
    "title": "t",
    "url": "https://a.example",
    "encrypted_content": "sealed",
    "page_age": None,
}
CITED = {
    "type": "web_search_result_location",
    "cited_text": "c",
    "url": "u",
    "title": None,
    "encrypted_index": "sealed",
}
RAN = {"type": "bash_code_execution_result", "stdout": "o", "stderr": "e", "return_code": 0, "content": []}
FETCHED = {
    "type": "web_fetch_result",
    "url": "u",
    "retrieved_at": "2025-01-01",
    "content": {
        "type": "document",
        "title": "t",
        "source": {"type": "text", "media_type": "text/plain", "data": "d"},
    },
}


def asked(*blocks: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": role, "content": list(blocks)}], **more}


def told(body: Any) -> list[tuple[str, str, str]]:
    return [(slot.kind, slot.role, slot.text) for slot in MESSAGES.texts(body)]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "text", "text": "a"}, [("content", "user", "a")]),
        (
            {"type": "text", "text": "a", "citations": [CITED]},
            [("content", "user", "a"), ("document", "user", "c"), ("document", "user", "u")],
        ),
        ({"type": "image", "source": {"type": "url", "url": "https://a.example/i.png"}}, []),
        (
            {"type": "document", "source": PDF, "title": "t", "context": "c"},
            [("document", "user", "t"), ("document", "user", "c")],
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            [("document", "user", "d")],
        ),
        ({"type": "document", "source": {"type": "content", "content": "d"}}, [("document", "user", "d")]),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "d"}]}},
            [("document", "user", "d")],
        ),
        (
            {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "d"}]},
            [("document", "user", "s"), ("document", "user", "t"), ("document", "user", "d")],
        ),
        ({"type": "thinking", "thinking": "r", "signature": "sealed"}, []),
        ({"type": "thinking", "thinking": "r", "signature": ""}, [("reasoning", "user", "r")]),
        ({"type": "redacted_thinking", "data": "sealed"}, []),
        (
            {"type": "tool_use", "id": "i", "name": "n", "input": {"type": "x", "deep": [{"id": "y"}], "n": 5}},
            [("tool_arguments", "user", "x"), ("tool_arguments", "user", "y")],
        ),
        (
            {"type": "server_tool_use", "id": "i", "name": "n", "input": {"query": "q"}},
            [("tool_arguments", "user", "q")],
        ),
        (
            {"type": "mcp_tool_use", "id": "i", "name": "n", "server_name": "s", "input": {"query": "q"}},
            [("tool_arguments", "user", "q")],
        ),
        ({"type": "tool_result", "tool_use_id": "i", "content": "r"}, [("tool_result", "tool", "r")]),
        (
            {
                "type": "tool_result",
                "tool_use_id": "i",
                "content": [
                    {"type": "text", "text": "r"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                    {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "d"}]},
                ],
            },
            [("tool_result", "tool", text) for text in ("r", "s", "t", "d")],
        ),
        ({"type": "tool_result", "tool_use_id": "i"}, []),
        (
            {"type": "mcp_tool_result", "tool_use_id": "i", "content": [{"type": "text", "text": "r"}]},
            [("tool_result", "tool", "r")],
        ),
        (
            {"type": "web_search_tool_result", "tool_use_id": "i", "content": [SEARCHED]},
            [("tool_result", "tool", "t"), ("tool_result", "tool", "https://a.example")],
        ),
        (
            {"type": "web_fetch_tool_result", "tool_use_id": "i", "content": FETCHED},
            [("tool_result", "tool", text) for text in ("u", "t", "d")],
        ),
        (
            {"type": "bash_code_execution_tool_result", "tool_use_id": "i", "content": RAN},
            [("tool_result", "tool", "o"), ("tool_result", "tool", "e")],
        ),
        (
            {
                "type": "code_execution_tool_result",
                "tool_use_id": "i",
                "content": {**RAN, "type": "code_execution_result"},
            },
            [("tool_result", "tool", "o"), ("tool_result", "tool", "e")],
        ),
        (
            {
                "type": "text_editor_code_execution_tool_result",
                "tool_use_id": "i",
                "content": {"type": "text_editor_code_execution_view_result", "content": "v", "file_type": "text"},
            },
            [("tool_result", "tool", "v")],
        ),
        ({"type": "container_upload", "file_id": "file_1"}, []),
        ({"type": "compaction", "content": "s"}, [("document", "user", "s")]),
        ({"type": "compaction", "content": "s", "signature": "sealed"}, []),
        (
            {
                "type": "advisor_tool_result",
                "tool_use_id": "i",
                "content": {"type": "advisor_result", "text": "r", "stop_reason": "end_turn"},
            },
            [("tool_result", "tool", "r")],
        ),
        (
            {
                "type": "advisor_tool_result",
                "tool_use_id": "i",
                "content": {"type": "advisor_redacted_result", "encrypted_content": "sealed"},
            },
            [],
        ),
        ({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "n"}}, []),
        (
            {
                "type": "tool_addition",
                "tool": {
                    "type": "tool_definition",
                    "definition": {
                        "name": "n",
                        "description": "d",
                        "input_schema": {"type": "object", "properties": {"q": {"type": "string", "description": "p"}}},
                        "input_examples": [{"q": "e"}],
                    },
                },
            },
            [("tool_definition", "user", text) for text in ("d", "p", "e")],
        ),
        ({"type": "tool_removal", "tool": {"type": "mcp_toolset_reference", "server_name": "s"}}, []),
        (
            {
                "type": "mcp_tool_listing",
                "mcp_server_name": "s",
                "tools": [{"name": "n", "description": "d", "input_schema": {"type": "object", "title": "t"}}],
            },
            [("tool_definition", "user", "d"), ("tool_definition", "user", "t")],
        ),
        ({"type": "fallback", "from": {"model": "m"}, "to": {"model": "o"}, "trigger": {"type": "refusal"}}, []),
    ],
)
def test_texts_of_a_block(block: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    body = asked(block)
    assert MESSAGES.readable(body) == ""
    assert told(body) == expected


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_texts_of_the_answers_schema(name: str) -> None:
    schema = {"type": "object", "properties": {"bird": {"type": "string", "description": "d"}}}
    form = {"type": "json_schema", "schema": schema}
    body = asked(**{name: {"format": form} if name == "output_config" else form})
    assert told(body) == [("tool_definition", "", "d")]


def test_texts_around_the_messages() -> None:
    body = {
        "system": [
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "b"},
        ],
        "messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
        "tools": [
            {
                "name": "n",
                "description": "e",
                "input_schema": {"type": "object", "properties": {"q": {"type": "string", "description": "f"}}},
                "input_examples": [{"q": "g"}],
            },
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "output_config": {"format": {"type": "json_schema", "schema": {"description": "h"}}},
    }
    assert told(body) == [
        ("system", "system", "a"),
        ("system", "system", "b"),
        ("content", "user", "c"),
        ("content", "assistant", "d"),
        *[("tool_definition", "", text) for text in "efgh"],
    ]
    assert told({"system": "a", "messages": [{"role": "system", "content": "b"}]}) == [
        ("system", "system", "a"),
        ("system", "system", "b"),
    ]
    assert [slot.index for slot in MESSAGES.texts(body)][:4] == [-1, -1, 0, 1]


def test_arguments_are_read_however_deep_they_are() -> None:
    value: Any = "deep"
    for _ in range(190):
        value = [value]
    assert [text for *_, text in told(asked({"type": "tool_use", "input": {"v": value}}))] == ["deep"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"messages": "x"},
        {"messages": ["x"]},
        {"messages": [{"role": "user"}]},
        asked("x"),
        asked({"type": "mystery", "body": "secret"}),
        asked({"type": ["text"], "text": "secret"}),
        asked({"type": "tool_result", "content": [{"type": "mystery"}]}),
        asked({"type": "tool_result", "content": {"secret": "x"}}),
        asked({"type": "document", "source": {"type": "mystery"}}),
        asked({"type": "document", "source": "secret"}),
        asked({"type": "document", "source": {"type": "content", "content": [{"type": "mystery"}]}}),
        asked({"type": "tool_result", "content": [{"type": "document", "source": {"type": "mystery"}}]}),
        {"system": 5, "messages": []},
        {"system": [{"type": "image"}], "messages": []},
    ],
)
def test_what_cannot_be_read_says_why(body: Any) -> None:
    assert MESSAGES.readable(body)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "image", "source": {**PDF, "media_type": "image/png"}}, [("image", "JVBE", False)]),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a.example"}},
            [("image", "https://a.example", True)],
        ),
        ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, [("stored", "file_1", True)]),
        ({"type": "document", "source": PDF}, [("file", "JVBE", False)]),
        (
            {"type": "document", "source": {"type": "url", "url": "https://a.example"}},
            [("file", "https://a.example", True)],
        ),
        ({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, [("stored", "file_1", True)]),
        ({"type": "document", "source": {"type": "text", "data": "d"}}, []),
        (
            {"type": "document", "source": {"type": "content", "content": [{"type": "image", "source": PDF}]}},
            [("image", "JVBE", False)],
        ),
        ({"type": "tool_result", "content": [{"type": "image", "source": PDF}]}, [("image", "JVBE", False)]),
        ({"type": "tool_use", "input": {"type": "image", "source": PDF}}, []),
        ({"type": "container_upload", "file_id": "file_1"}, [("stored", "file_1", True)]),
    ],
)
def test_attachments(block: dict[str, Any], expected: list[tuple[str, str, bool]]) -> None:
    body = {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": [block]}]}
    found = list(MESSAGES.attachments(body))
    assert [(one.kind, one.source, one.remote) for one in found] == expected
    assert {one.index for one in found} <= {1}


def test_containers_are_stored_input() -> None:
    for container in ("container_1", {"id": "container_1", "skills": []}):
        found = MESSAGES.attachments({"container": container, "messages": []})
        assert [(one.kind, one.source) for one in found] == [("stored", "container_1")]


@pytest.mark.parametrize(
    ("system", "at_end", "expected"),
    [
        (None, False, "new"),
        ("", False, "new"),
        ("old", False, [{"type": "text", "text": "new"}, {"type": "text", "text": "old"}]),
        ("old", True, [{"type": "text", "text": "old"}, {"type": "text", "text": "new"}]),
        (
            [{"type": "text", "text": "old", "cache_control": {"type": "ephemeral"}}],
            False,
            [
                {"type": "text", "text": "new"},
                {"type": "text", "text": "old", "cache_control": {"type": "ephemeral"}},
            ],
        ),
    ],
)
def test_instructions_go_into_the_system_prompt(system: Any, at_end: bool, expected: Any) -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "b"}]}
    if system is not None:
        body["system"] = system
    assert MESSAGES.insert(body, [("system", "new"), ("assistant", "x")], at_end=at_end)
    assert body["system"] == expected
    assert [sent["content"] for sent in body["messages"]] == (["b", "x"] if at_end else ["x", "b"])
    assert MESSAGES.readable(body) == ""


def test_what_cannot_be_inserted_changes_nothing() -> None:
    for body, role in (
        ({"messages": []}, "tool"),
        ({}, "user"),
        ([], "user"),
        ({"messages": [], "system": 5}, "system"),
    ):
        before = copy.deepcopy(body)
        assert not MESSAGES.insert(body, [("user", "a"), (role, "b")], at_end=False)
        assert body == before
    body = {"messages": []}
    assert MESSAGES.insert(body, [("system", "a"), ("developer", "b")], at_end=False)
    assert [slot.text for slot in MESSAGES.texts(body)] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_output_tokens", 5, {"max_tokens": 5}),
        ("temperature", 0.5, {"temperature": 0.5}),
        ("top_p", 0.5, {"top_p": 0.5}),
        ("top_k", 5, {"top_k": 5}),
        ("stop", ["a"], {"stop_sequences": ["a"]}),
        ("thinking_budget", 2048, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("reasoning_effort", "low", {"output_config": {"effort": "low"}}),
        ("service_tier", "auto", {"service_tier": "auto"}),
    ],
)
def test_parameters(name: str, value: Any, expected: Any) -> None:
    body: dict[str, Any] = {}
    assert MESSAGES.parameter(body, name) is None
    assert MESSAGES.set_parameter(body, name, value)
    assert body == expected
    assert MESSAGES.parameter(body, name) == value


def test_parameters_that_the_api_has_otherwise_or_not_at_all() -> None:
    body: dict[str, Any] = {"thinking": {"type": "disabled", "display": "omitted"}}
    MESSAGES.set_parameter(body, "stop", "a")
    MESSAGES.set_parameter(body, "thinking_budget", 1024)
    assert body == {
        "thinking": {"type": "enabled", "display": "omitted", "budget_tokens": 1024},
        "stop_sequences": ["a"],
    }
    assert not MESSAGES.set_parameter(body, "seed", 1)


# ---------------------------------------------------------------------- recognising


def named(path: str, body: Any) -> str:
    table = DialectTable()
    found = table.of_path(path) or table.of_body(path, body)
    return found.name if found is not None else ""


PLAIN = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/messages", None, "anthropic-messages"),
        ("/anthropic/v1/messages", None, "anthropic-messages"),
        ("/v1/messages/count_tokens", None, "anthropic-messages"),
        ("/anthropic/messages/count_tokens", None, "anthropic-messages"),
        ("/anthropic/messages", PLAIN, "anthropic-messages"),
        ("/chat/messages", {**PLAIN, "messages": [{"role": "system", "content": "x"}]}, "openai-chat"),
        ("/chat/messages", {"model": "m", "messages": []}, "openai-chat"),
        ("/any", PLAIN, "openai-chat"),
        ("/any", {**PLAIN, "system": "x"}, "anthropic-messages"),
        ("/any", {**PLAIN, "tools": [{"name": "n", "input_schema": {}}]}, "anthropic-messages"),
        ("/any", {**PLAIN, "tools": [{"type": "function", "function": {"name": "n"}}]}, "openai-chat"),
        ("/any", asked({"type": "tool_result", "tool_use_id": "i"}), "anthropic-messages"),
        ("/any", asked({"type": "image", "source": PDF}), "anthropic-messages"),
        ("/any", asked({"type": "image_url", "image_url": {"url": "x"}}), "openai-chat"),
        ("/any", asked({"type": "document", "document": {"data": "x"}}), "openai-chat"),
        ("/any", asked({"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}), "openai-chat"),
        ("/model/a/invoke", {"anthropic_version": "bedrock-2023-05-31", "messages": []}, "anthropic-messages"),
        ("/model/a/invoke", {"max_tokens": 9, "messages": []}, "unread"),
        ("/any", [], ""),
    ],
)
def test_recognised_by_path_and_shape(path: str, body: Any, expected: str) -> None:
    assert named(path, body) == expected


def requested(path: str, body: Any) -> Request:
    request = Request()
    request.headers = Headers([])
    request.path = path
    request.load(json.dumps(body).encode())
    return request


@pytest.mark.parametrize(
    ("path", "body", "model", "streams"),
    [
        ("/v1/messages", {"model": "a", "stream": True}, "a", True),
        ("/v1/messages", {"model": "a"}, "a", False),
        ("/v1/messages", {"model": 5, "stream": 1}, "", False),
        ("/v1/messages", [], "", False),
        ("/model/anthropic.claude-v1:0/invoke", {"stream": True}, "anthropic.claude-v1:0", False),
        ("/model/anthropic.claude-v1:0/invoke-with-response-stream", {}, "anthropic.claude-v1:0", True),
        ("/model/arn:aws:bedrock:x:1:inference-profile/a/invoke", {}, "arn:aws:bedrock:x:1:inference-profile/a", False),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict", {}, "claude@1", False),
        (
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict",
            {"stream": True},
            "claude@1",
            True,
        ),
        ("/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:streamRawPredict", {}, "claude@1", True),
        ("/invoke", {"model": "a"}, "a", False),
    ],
)
def test_model_and_stream_of_a_request(path: str, body: Any, model: str, streams: bool) -> None:
    request = requested(path, body)
    assert MESSAGES.model(request) == model
    assert MESSAGES.streams(request) is streams
    in_body = path == "/invoke" or path.startswith("/v1/messages")
    assert MESSAGES.set_model(request, "b") is (in_body and isinstance(body, dict))
    assert (MESSAGES.model(request) == "b") is (in_body and isinstance(body, dict))


# ---------------------------------------------------------------------- whole answers

ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "the owl", "signature": "s"},
        {"type": "redacted_thinking", "data": "sealed"},
        {
            "type": "server_tool_use",
            "id": "srv_1",
            "name": "web_search",
            "input": {"query": "owl"},
            "caller": {"type": "direct"},
        },
        {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [SEARCHED], "caller": {"type": "direct"}},
        {"type": "text", "text": "a owl", "citations": [CITED]},
        {
            "type": "tool_use",
            "id": "toolu_1",
            "name": "n",
            "input": {"who": "owl", "n": 1, "list": ["owl", True]},
            "caller": {"type": "direct"},
        },
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 15, "ephemeral_1h_input_tokens": 5},
        "output_tokens": 40,
        "output_tokens_details": {"thinking_tokens": 7},
    },
}


def test_a_whole_answer() -> None:
    said = MESSAGES.read_answer(json.dumps(ANSWER).encode())
    assert [(piece.kind, piece.text) for piece in said.pieces] == [
        ("reasoning", "the owl"),
        ("tool_arguments", "owl"),
        ("tool_result", "t"),
        ("tool_result", "https://a.example"),
        ("content", "a owl"),
        ("document", "c"),
        ("document", "u"),
        ("tool_arguments", "owl"),
        ("tool_arguments", "owl"),
    ]
    assert len({piece.place for piece in said.pieces}) == 9
    assert [(call.part, call.id, call.name) for call in said.calls] == [(2, "srv_1", "web_search"), (5, "toolu_1", "n")]
    assert json.loads(said.calls[1].arguments) == {"who": "owl", "n": 1, "list": ["owl", True]}
    assert (said.model, said.identifier, list(said.reasons), said.error) == ("m", "msg_1", ["tool_use"], False)
    assert MESSAGES.read_answer(b'{"type":"error","error":{"type":"api_error","message":"x"}}').error


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (ANSWER["usage"], (60, 40, 100, 30, 20, 5, 7, 10)),
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 7, 0, 0, 0, 0, 3)),
        ({"output_tokens": 4}, (0, 4, 4, 0, 0, 0, 0, None)),
        (
            {"input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}},
            (6, 0, 6, 0, 5, 3, 0, 1),
        ),
        ({"input_tokens": 1, "cache_read_input_tokens": None, "cache_creation": "x"}, (1, 0, 1, 0, 0, 0, 0, 1)),
        (
            {
                "input_tokens": 5,
                "output_tokens": 2,
                "iterations": [
                    {
                        "type": "compaction",
                        "input_tokens": 100,
                        "output_tokens": 10,
                        "cache_read_input_tokens": 1_000,
                        "cache_creation_input_tokens": 70,
                        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 70},
                    },
                    {"type": "message", "input_tokens": 5, "output_tokens": 2},
                ],
            },
            (1_175, 12, 1_187, 1_000, 70, 70, 0, 5),
        ),
        (
            {
                "input_tokens": 8,
                "output_tokens": 3,
                "iterations": [
                    {"type": "message", "input_tokens": 3, "output_tokens": 1},
                    {"type": "advisor_message", "model": "o", "input_tokens": 20, "output_tokens": 6},
                    {"type": "message", "input_tokens": 5, "output_tokens": 2},
                ],
            },
            (28, 9, 37, 0, 0, 0, 0, 8),
        ),
        (
            {
                "input_tokens": 8,
                "output_tokens": 3,
                "iterations": [
                    {"type": "message", "model": "m", "input_tokens": 7, "output_tokens": 0},
                    {"type": "fallback_message", "model": "o", "input_tokens": 8, "output_tokens": 3},
                ],
            },
            (8, 3, 11, 0, 0, 0, 0, 8),
        ),
        ({"input_tokens": 1, "iterations": ["x", {"type": ["compaction"]}]}, (1, 0, 1, 0, 0, 0, 0, 1)),
    ],
)
def test_usage(reported: Any, expected: Any) -> None:
    usage = MESSAGES.usage({"usage": reported})
    assert usage is not None
    assert not usage.partial
    assert expected == (
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.reasoning_tokens,
        usage.stated_input,
    )


def test_what_is_said_of_the_parts_of_usage() -> None:
    usage = MESSAGES.usage(ANSWER)
    assert usage is not None
    assert usage.input_details == {"cache_creation_input_tokens": 20, "cache_read_input_tokens": 30}
    assert usage.output_details == {"thinking_tokens": 7}
    assert MESSAGES.usage({"usage": 5, "content": []}) is None
    counted = MESSAGES.usage({"input_tokens": 99})
    assert counted is not None
    assert counted.total_tokens == 0


class Filter(Plugin[PluginConfig]):
    """Replaces one word; ends the answer at another."""

    name = "filter"

    def __init__(self, word: str = "owl", other: str = "dog", stop: str = "\0") -> None:
        super().__init__()
        self.word, self.other, self.stop = word, other, stop

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> str | Finish:
        place = text.find(self.stop)
        if place >= 0:
            return Finish("content_filter", text[:place] + "(end)")
        return text.replace(self.word, self.other)


def answered(answer: Any, *plugins: Plugin[Any], hosts: Any = ("asgi",), path: str = "/v1/messages") -> bytes:
    script = Script(
        method="POST",
        path=path,
        headers=[("content-type", "application/json")],
        body=[json.dumps(PLAIN).encode()],
        answer=Scripted(headers=[("content-type", "application/json")], chunks=[json.dumps(answer).encode()]),
    )
    return assert_same(run_everywhere(script, lambda: list(plugins), hosts=hosts)).body


def sdk(data: bytes, media_type: str = "application/json") -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": media_type}, content=data)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", max_retries=0, http_client=http, _strict_response_validation=True)


def test_a_filtered_answer_differs_in_its_texts_only() -> None:
    data = answered(ANSWER, Filter(), hosts=("asgi", "wsgi", "httpx"))
    assert json.loads(data) == json.loads(json.dumps(ANSWER).replace("owl", "dog"))
    message = sdk(data).messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert [block.type for block in message.content] == [block["type"] for block in ANSWER["content"]]
    assert answered(ANSWER, Filter("nothing")) == json.dumps(ANSWER).encode()


def test_an_answer_that_is_ended_has_no_empty_blocks() -> None:
    data = answered(ANSWER, Filter(stop="a.example"))
    message = sdk(data).messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert [block.type for block in message.content] == [
        "thinking",
        "redacted_thinking",
        "server_tool_use",
        "web_search_tool_result",
    ]
    assert json.loads(data)["content"][3]["content"][0]["url"] == "https://(end)"
    assert (message.stop_reason, message.stop_sequence) == ("refusal", None)


@pytest.mark.parametrize(
    ("reason", "word"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_answers_made_here_are_read_by_the_sdk(reason: str, word: str) -> None:
    for text in ("", "No \u20ac\n\nsorry."):
        made = {"reason": reason, "model": "m", "identifier": "7", "created": 5}
        whole = MESSAGES.answer(text, stream=False, **made)
        stream = MESSAGES.answer(text, stream=True, **made)
        said = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        messages = [sdk(whole).messages.create(**said)]
        with sdk(stream, "text/event-stream").messages.stream(**said) as events:
            messages.append(events.get_final_message())
        for message in messages:
            assert "".join(block.text for block in message.content if block.type == "text") == text
            assert (message.id, message.model, message.stop_reason) == ("msg_7", "m", word)
            assert (message.usage.input_tokens, message.usage.output_tokens) == (0, 0)


def test_a_made_answer_is_read_by_the_asynchronous_sdk() -> None:
    data = MESSAGES.answer("No.", stream=True, reason="stop", model="m", identifier="7", created=5)

    async def read() -> str:
        def answer(request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)

        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
            client = anthropic.AsyncAnthropic(api_key="k", http_client=http, _strict_response_validation=True)
            asking = client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}])
            async with asking as events:
                return "".join([text async for text in events.text_stream])

    assert asyncio.run(read()) == "No."


# ---------------------------------------------------------------------- anything at all

TYPES = [
    "text",
    "thinking",
    "redacted_thinking",
    "image",
    "document",
    "search_result",
    "tool_use",
    "tool_result",
    "web_search_tool_result",
    "compaction",
    "base64",
    "content",
    "mystery",
]
NAMES = ["content", "text", "source", "input", "data", "citations", "thinking", "title", "usage", "signature", "id"]
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3)
odd = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
        | st.fixed_dictionaries({"type": st.sampled_from(TYPES)}, optional=dict.fromkeys(NAMES, inner))
    ),
    max_leaves=12,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(st.fixed_dictionaries({"role": scalars, "content": odd}) | odd, max_size=3) | odd,
        **dict.fromkeys(
            ["system", "content", "tools", "usage", "thinking", "output_config", "container", "stop_reason"], odd
        ),
    },
)


@given(bodies | odd)
def test_nothing_raises_on_odd_requests_and_answers(body: Any) -> None:
    before = copy.deepcopy(body)
    readable, recognised = MESSAGES.readable(body), MESSAGES.recognises(body)
    assert isinstance(readable, str)
    assert not (recognised and not isinstance(body, dict))
    assert isinstance(MESSAGES.hinted(body), bool)
    list(MESSAGES.attachments(body))
    MESSAGES.answered(body)
    list(MESSAGES.texts(body))
    MESSAGES.parameter(body, "thinking_budget")
    assert body == before
    changed = copy.deepcopy(body)
    MESSAGES.finish_answer(changed, 0, "stop")
    changed = copy.deepcopy(body)
    MESSAGES.insert(changed, [("system", "a"), ("user", "b")], at_end=True)


def blanked(value: Any) -> Any:
    """Return JSON with every text replaced by its length, which the edit below keeps."""
    if isinstance(value, dict):
        return {key: blanked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [blanked(item) for item in value]
    return ("text", len(value)) if isinstance(value, str) else value


@given(bodies)
def test_edits_change_nothing_else(body: dict[str, Any]) -> None:
    for walk in (MESSAGES.texts, MESSAGES.answer_texts):
        changed = copy.deepcopy(body)
        places = set()
        for slot in walk(changed):
            assert isinstance(slot.text, str)
            places.add((id(slot.container), slot.key))
            slot.container[slot.key] = "*" * len(slot.text)
        assert blanked(changed) == blanked(body)
        again = list(walk(changed))
        assert all(set(slot.text) <= {"*"} for slot in again)
        assert len(again) == len(places)
    assert len({slot.place for slot in MESSAGES.answer_texts(body)}) == len(list(MESSAGES.answer_texts(body)))
