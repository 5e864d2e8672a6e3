"""Every text of a request and of a whole answer of OpenAI's Responses is seen, and only what is changed changes."""

from __future__ import annotations

import copy
import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from aigw_middleware.llm.dialects import DIALECTS, DialectTable
from aigw_middleware.llm.dialects.openai_responses_items import FIELDS

RESPONSES = DIALECTS["openai-responses"]


def part(text: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": kind, "text": text}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"role": "user", "content": "a"}, [("content", "user", "a")]),
        ({"type": "message", "role": "system", "content": "a"}, [("system", "system", "a")]),
        (
            {"role": "developer", "content": [part("a"), part("b")]},
            [("system", "developer", "a"), ("system", "developer", "b")],
        ),
        (
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "status": "completed",
                "content": [part("a", "output_text"), {"type": "refusal", "refusal": "no"}],
            },
            [("content", "assistant", "a"), ("refusal", "assistant", "no")],
        ),
        (
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            [("tool_arguments", "assistant", "{}")],
        ),
        ({"type": "function_call_output", "call_id": "c", "output": "a"}, [("tool_result", "tool", "a")]),
        (
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [part("a"), {"type": "input_image", "file_id": "f"}],
            },
            [("tool_result", "tool", "a")],
        ),
        ({"type": "function_call_output", "call_id": "c", "output": {"x": ["a"]}}, [("tool_result", "tool", "a")]),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "a"},
            [("tool_arguments", "assistant", "a")],
        ),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": [part("a")]}, [("tool_result", "tool", "a")]),
        (
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [part("s", "summary_text")],
                "content": [part("r", "reasoning_text")],
                "encrypted_content": "gAAA",
            },
            [("reasoning", "assistant", "r"), ("reasoning", "assistant", "s")],
        ),
        (
            {"type": "local_shell_call", "action": {"type": "exec", "command": ["cat", "x"], "env": {"K": "v"}}},
            [
                ("tool_arguments", "assistant", "cat"),
                ("tool_arguments", "assistant", "x"),
                ("tool_arguments", "assistant", "v"),
            ],
        ),
        ({"type": "local_shell_call_output", "id": "c", "output": "a"}, [("tool_result", "tool", "a")]),
        (
            {"type": "shell_call", "action": {"commands": ["ls", "id"]}},
            [("tool_arguments", "assistant", t) for t in ("ls", "id")],
        ),
        (
            {"type": "shell_call_output", "output": [{"stdout": "o", "stderr": "e", "outcome": {"type": "timeout"}}]},
            [("tool_result", "tool", "o"), ("tool_result", "tool", "e")],
        ),
        ({"type": "shell_call_output", "output": ["o"]}, [("tool_result", "tool", "o")] * 2),
        (
            {"type": "apply_patch_call", "operation": {"type": "create_file", "diff": "+a", "path": "p"}},
            [("tool_arguments", "assistant", "+a"), ("tool_arguments", "assistant", "p")],
        ),
        ({"type": "apply_patch_call_output", "output": "a"}, [("tool_result", "tool", "a")]),
        ({"type": "computer_call", "action": {"type": "type", "text": "a"}}, [("tool_arguments", "assistant", "a")]),
        ({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "u"}}, []),
        (
            {
                "type": "mcp_call",
                "name": "f",
                "arguments": "{}",
                "output": "a",
                "error": {"type": "http_error", "message": "e"},
            },
            [
                ("tool_arguments", "assistant", "{}"),
                ("tool_result", "assistant", "a"),
                ("tool_result", "assistant", "http_error"),
                ("tool_result", "assistant", "e"),
            ],
        ),
        ({"type": "mcp_approval_request", "arguments": "{}", "name": "f"}, [("tool_arguments", "assistant", "{}")]),
        ({"type": "mcp_approval_response", "approve": False, "reason": "a"}, [("tool_result", "assistant", "a")]),
        (
            {"type": "mcp_list_tools", "tools": [{"name": "f", "description": "d", "input_schema": {"title": "t"}}]},
            [("tool_definition", "assistant", "d"), ("tool_definition", "assistant", "t")],
        ),
        (
            {"type": "web_search_call", "action": {"type": "search", "query": "q"}},
            [("tool_arguments", "assistant", "q")],
        ),
        (
            {"type": "file_search_call", "queries": ["q"], "results": [{"text": "a", "filename": "f"}]},
            [("tool_arguments", "assistant", "q"), ("document", "assistant", "a")],
        ),
        (
            {"type": "code_interpreter_call", "code": "1+1", "outputs": [{"type": "logs", "logs": "2"}]},
            [("tool_arguments", "assistant", "1+1"), ("tool_result", "assistant", "2")],
        ),
        (
            {"type": "image_generation_call", "revised_prompt": "a", "result": "iVBO"},
            [("tool_arguments", "assistant", "a")],
        ),
        ({"type": "tool_search_call", "arguments": {"q": "a"}}, [("tool_arguments", "assistant", "a")]),
        ({"type": "item_reference", "id": "msg_1"}, []),
        ({"id": "msg_1"}, []),
        ({"type": "compaction", "encrypted_content": "gAAA"}, []),
    ],
)
def test_texts_of_an_input_item(item: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    body = {"model": "m", "input": [{"role": "user", "content": ""}, item]}
    assert RESPONSES.readable(body) == ""
    found = [slot for slot in RESPONSES.texts(body) if slot.index == 1]
    assert [(slot.kind, slot.role, slot.text) for slot in found] == expected
    assert len({slot.place for slot in found}) == len(found)
    for slot in found:
        slot.container[slot.key] = f"<{slot.text}>" if not slot.text.startswith("<") else slot.text
    assert {slot.text for slot in RESPONSES.texts(body) if slot.index == 1} == {f"<{text}>" for _, _, text in expected}


def test_texts_beside_the_items() -> None:
    body = {
        "instructions": "i",
        "input": "a",
        "prompt": {"id": "pmpt_1", "version": "2", "variables": {"name": "v", "picture": part("w")}},
        "tools": [
            {
                "type": "function",
                "name": "f",
                "description": "d",
                "parameters": {"properties": {"x": {"description": "e"}}},
            },
            {
                "type": "custom",
                "name": "g",
                "description": "h",
                "format": {"type": "grammar", "definition": "start: /a/"},
            },
            {"type": "mcp", "server_label": "l", "server_description": "s"},
            {"type": "namespace", "description": "n", "tools": [{"type": "custom", "format": {"definition": "k"}}]},
        ],
        "text": {"format": {"type": "json_schema", "name": "o", "schema": {"title": "t", "description": "u"}}},
    }
    assert RESPONSES.readable(body) == ""
    assert [(slot.kind, slot.role, slot.text) for slot in RESPONSES.texts(body)] == [
        ("system", "system", "i"),
        ("variable", "user", "v"),
        ("variable", "user", "w"),
        ("content", "user", "a"),
        *(("tool_definition", "", text) for text in ("d", "e", "h", "start: /a/", "s", "n", "k", "t", "u")),
    ]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"input": 5},
        {"input": ["x"]},
        {"messages": [], "input": "x"},
        {"input": "x", "instructions": ["y"]},
        {"prompt": "pmpt_1"},
        {"prompt": {"id": "p", "variables": ["x"]}},
        {"prompt": {"id": "p", "variables": {"x": {"type": "mystery"}}}},
        {"prompt": {"id": "p", "variables": {"x": ["y"]}}},
        {"input": [{"type": "mystery", "text": "secret"}]},
        {"input": [{"type": ["x"]}]},
        {"input": [{}]},
        {"input": [{"role": "user", "content": 5}]},
        {"input": [{"role": "user", "content": {"text": "secret"}}]},
        {"input": [{"role": "user", "content": [{"type": "mystery", "body": "secret"}]}]},
        {"input": [{"role": "user", "content": [{"type": {}, "body": "secret"}]}]},
        {"input": [{"type": "function_call_output", "output": ["secret"]}]},
        {"input": [{"type": "reasoning", "summary": [{"text": "secret"}]}]},
    ],
)
def test_what_cannot_be_read_says_why(body: Any) -> None:
    assert RESPONSES.readable(body)


def test_attachments() -> None:
    body = {
        "previous_response_id": "resp_1",
        "conversation": {"id": "conv_1"},
        "prompt": {"id": "pmpt_1", "variables": {"p": {"type": "input_file", "file_id": "file-1"}}},
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": "https://x/y.png", "detail": "high"},
                    {"type": "input_file", "filename": "f.pdf", "file_data": "data:application/pdf;base64,AA"},
                    {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
                ],
            },
            {"type": "item_reference", "id": "msg_1"},
            {"type": "computer_call_output", "output": {"type": "computer_screenshot", "file_id": "file-2"}},
            {
                "type": "function_call_output",
                "output": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}],
            },
            {"type": "image_generation_call", "id": "ig_1", "result": None},
            {"type": "image_generation_call", "id": "ig_2", "result": "iVBO"},
            {"type": "code_interpreter_call", "outputs": [{"type": "image", "url": "https://x/z.png"}]},
            {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"},
        ],
        "tools": [
            {"type": "file_search", "vector_store_ids": ["vs_1"]},
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-3"]}},
            {"type": "image_generation", "input_image_mask": {"file_id": "file-4"}},
        ],
    }
    found = [(one.kind, one.source, one.index, one.detail, one.remote) for one in RESPONSES.attachments(body)]
    assert found == [
        ("stored", "resp_1", 0, "", True),
        ("stored", "conv_1", 0, "", True),
        ("stored", "pmpt_1", 0, "", True),
        ("file", "file-1", 0, "", True),
        ("image", "https://x/y.png", 0, "high", True),
        ("file", "data:application/pdf;base64,AA", 0, "", False),
        ("audio", "UklG", 0, "", False),
        ("stored", "msg_1", 1, "", True),
        ("image", "file-2", 2, "", True),
        ("image", "data:image/png;base64,AA", 3, "", False),
        ("stored", "ig_1", 4, "", True),
        ("image", "iVBO", 5, "", False),
        ("image", "https://x/z.png", 6, "", True),
        ("stored", "cmp_1", 7, "", True),
        ("stored", "vs_1", 0, "", True),
        ("stored", "file-3", 0, "", True),
        ("image", "file-4", 0, "", True),
    ]


def said(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


@pytest.mark.parametrize(
    ("body", "messages", "at_end", "expected"),
    [
        ({"input": "a", "n": 1}, [("system", "s")], False, {"input": "a", "n": 1, "instructions": "s"}),
        (
            {"instructions": "i", "input": "a"},
            [("system", "s"), ("developer", "t")],
            False,
            {"instructions": "s\n\nt\n\ni", "input": "a"},
        ),
        ({"input": "a"}, [("user", "u")], False, {"input": [said("user", "u"), said("user", "a")]}),
        ({"input": "a"}, [("system", "s")], True, {"input": [said("user", "a"), said("system", "s")]}),
        ({"input": []}, [("system", "s"), ("user", "u")], False, {"input": [said("system", "s"), said("user", "u")]}),
        (
            {"input": "a"},
            [("system", "s"), ("user", "u"), ("system", "t")],
            False,
            {"input": [said("user", "u"), said("system", "t"), said("user", "a")], "instructions": "s"},
        ),
        (
            {"instructions": "i", "input": [said("user", "a")]},
            [("developer", "s")],
            False,
            {"instructions": "s\n\ni", "input": [said("user", "a")]},
        ),
        ({"input": [{"id": "x"}]}, [("assistant", "t")], True, {"input": [{"id": "x"}, said("assistant", "t")]}),
        ({"prompt": {"id": "p"}}, [("system", "s")], False, {"prompt": {"id": "p"}, "instructions": "s"}),
        ({"prompt": {"id": "p"}}, [("user", "u")], True, {"prompt": {"id": "p"}, "input": [said("user", "u")]}),
    ],
)
def test_messages_go_in_where_the_api_wants_them(
    body: dict[str, Any], messages: list[tuple[str, str]], at_end: bool, expected: dict[str, Any]
) -> None:
    assert RESPONSES.insert(body, messages, at_end=at_end)
    assert json.dumps(body) == json.dumps(expected)
    assert RESPONSES.readable(body) == ""


@pytest.mark.parametrize("body", [[], {}, {"input": 5}, {"messages": [], "input": "x"}, {"model": "m"}])
def test_no_conversation_no_message(body: Any) -> None:
    before = copy.deepcopy(body)
    assert not RESPONSES.insert(body, [("system", "s")], at_end=False)
    assert body == before


@pytest.mark.parametrize(
    ("name", "body", "written"),
    [
        ("max_output_tokens", {"max_output_tokens": 5}, {"max_output_tokens": 7}),
        ("temperature", {"temperature": 5}, {"temperature": 7}),
        ("top_p", {"top_p": 5}, {"top_p": 7}),
        ("reasoning_effort", {"reasoning": {"effort": 5}}, {"reasoning": {"effort": 7}}),
        ("service_tier", {"service_tier": 5}, {"service_tier": 7}),
    ],
)
def test_parameters(name: str, body: dict[str, Any], written: dict[str, Any]) -> None:
    assert RESPONSES.parameter(body, name) == 5
    assert RESPONSES.set_parameter(body, name, 7)
    assert body == written
    assert set(RESPONSES.parameters) == {
        "max_output_tokens",
        "temperature",
        "top_p",
        "reasoning_effort",
        "service_tier",
    }


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("/v1/responses", None, True),
        ("/openai/v1/responses", None, True),
        ("/v1/responses/resp_1/cancel", None, False),
        ("/api/responses", {"input": "x"}, True),
        ("/v1/responses/input_tokens", {"input": [{"role": "user", "content": "x"}]}, True),
        ("/v1/responses/compact", {"model": "m", "input": "x"}, True),
        ("/api/responses", {"prompt": {"id": "p"}}, True),
        ("/api/responses", {"answer": 5}, False),
        ("/ask", {"model": "m", "input": [{"role": "user", "content": "x"}]}, True),
        ("/ask", {"model": "m", "input": [{"type": "text", "text": "embed me"}]}, False),
        ("/ask", {"model": "m", "input": ["embed me"]}, False),
        ("/ask", {"model": "m", "input": "embed me"}, False),
    ],
)
def test_recognised_by_path_and_shape(path: str, body: Any, found: bool) -> None:
    table = DialectTable()
    dialect = table.of_path(path) or (table.of_body(path, body) if body is not None else None)
    assert (dialect is RESPONSES) is found


MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [
        {
            "type": "output_text",
            "text": "a",
            "annotations": [{"type": "file_path", "index": 0}],
            "logprobs": [{"token": "a"}],
        },
        {"type": "refusal", "refusal": "no"},
        {"type": "output_text", "text": "b", "annotations": [], "logprobs": []},
    ],
}
ANSWER: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1741476777,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": "not of the answer",
    "model": "gpt-4.1",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [part("s", "summary_text")], "encrypted_content": "gAAA"},
        MESSAGE,
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        },
        {"type": "mcp_call", "id": "mcp_1", "server_label": "l", "name": "g", "arguments": "{1}", "output": "o"},
        {"type": "tomorrow", "id": "t_1", "said": {"words": "new"}},
    ],
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.50,
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 20},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 123,
    },
    "metadata": {},
}
TEXTS = [
    ("reasoning", "s"),
    ("content", "a"),
    ("refusal", "no"),
    ("content", "b"),
    ("tool_arguments", "{}"),
    ("tool_arguments", "{1}"),
    ("tool_result", "o"),
    ("content", "new"),
]


def test_a_whole_answer() -> None:
    delta = RESPONSES.read_answer(json.dumps(ANSWER).encode())
    assert [(piece.kind, piece.text) for piece in delta.pieces] == TEXTS
    assert len({piece.place for piece in delta.pieces}) == len(TEXTS)
    assert (delta.model, delta.identifier, delta.error, delta.reasons) == ("gpt-4.1", "resp_1", False, ["completed"])
    assert [(call.id, call.name) for call in delta.calls] == [("call_1", "f"), ("mcp_1", "g")]
    arguments = {piece.part: piece.text for piece in delta.pieces if piece.kind == "tool_arguments"}
    assert [arguments[call.part] for call in delta.calls] == ["{}", "{1}"]
    usage = delta.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (36, 87, 123)
    assert (usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens, usage.partial) == (12, 20, 64, False)


def test_a_change_of_a_whole_answer_changes_what_depends_on_it_and_nothing_else() -> None:
    body = {**copy.deepcopy(ANSWER), "output_text": "ab"}
    for slot in RESPONSES.answer_texts(body):
        if slot.text in ("a", "no"):
            slot.container[slot.key] = slot.text.upper()
    expected = {**copy.deepcopy(ANSWER), "output_text": "Ab"}
    content = expected["output"][1]["content"]
    content[0]["text"], content[0]["logprobs"], content[1]["refusal"] = "A", [], "NO"
    assert json.dumps(body) == json.dumps(expected)


def test_the_joined_text_is_a_text_where_there_is_no_other() -> None:
    assert [slot.text for slot in RESPONSES.answer_texts({"output": [], "output_text": "a"})] == ["a"]
    many = [{"type": "message", "content": [part(str(n % 10), "output_text") for n in range(200)]}]
    body = {"output": many, "output_text": "0123456789" * 20}
    for slot in RESPONSES.answer_texts(body):
        slot.container[slot.key] = "x"
    assert "output_text" not in body  # rather than joined two hundred times


@pytest.mark.parametrize(
    ("reason", "status", "details", "told"),
    [
        ("stop", "completed", None, "completed"),
        ("tool_calls", "completed", None, "completed"),
        ("length", "incomplete", {"reason": "max_output_tokens"}, "max_output_tokens"),
        ("content_filter", "incomplete", {"reason": "content_filter"}, "content_filter"),
    ],
)
def test_the_reason_of_a_whole_answer(reason: str, status: str, details: Any, told: str) -> None:
    body = copy.deepcopy(ANSWER)
    RESPONSES.finish_answer(body, 0, reason)
    assert (body["status"], body["incomplete_details"]) == (status, details)
    assert list(RESPONSES.answer_reasons(body)) == [told] == [RESPONSES.reason(reason)]


def test_a_whole_answer_that_is_stopped_says_nothing_behind_the_place() -> None:
    for number, slot in enumerate(list(RESPONSES.answer_texts(ANSWER))):
        body = copy.deepcopy(ANSWER)
        RESPONSES.finish_answer(body, 0, "content_filter", slot.place)
        item = (0, 1, 1, 1, 2, 3, 3, 4)[number]
        assert [one["id"] for one in body["output"]] == ["rs_1", "msg_1", "fc_1", "mcp_1", "t_1"][: item + 1]
        assert body["output"][-1].get("status", "incomplete") == "incomplete"


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_in_the_background_says_nothing_yet(status: str) -> None:
    delta = RESPONSES.read_answer(json.dumps({**ANSWER, "status": status, "output": [], "usage": None}).encode())
    assert (list(delta.pieces), delta.reasons, delta.usage, delta.error) == ([], [], None, False)


def test_a_failed_answer_is_an_error() -> None:
    error = {"code": "server_error", "message": "x"}
    delta = RESPONSES.read_answer(json.dumps({**ANSWER, "status": "failed", "error": error}).encode())
    assert (delta.error, delta.reasons) == (True, ["failed"])


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_an_answer_of_our_own(reason: str) -> None:
    made = {"text": "hi", "reason": reason, "model": "m", "identifier": "1", "created": 5}
    whole = json.loads(RESPONSES.answer(stream=False, **made))  # type: ignore[arg-type]
    assert openai._models.construct_type(type_=Response, value=whole).output_text == "hi"
    Response.model_validate(whole)
    stream = RESPONSES.answer(stream=True, **made)  # type: ignore[arg-type]
    events = [json.loads(block.split(b"data: ")[1]) for block in stream.split(b"\n\n")[:-1]]
    assert [event["sequence_number"] for event in events] == list(range(9))
    assert events[-1] == {"type": f"response.{whole['status']}", "sequence_number": 8, "response": whole}


# ------------------------------------------------------------------ anything at all

NAMES = """
type role content text refusal input instructions prompt variables tools output action command commands arguments summary
results error response item part delta output_index content_index id call_id output_text usage format
"""
names = st.sampled_from(NAMES.split())
words = st.sampled_from([*FIELDS, "output_text", "refusal", "input_image", "input_file", "system", "user", "auto"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | words | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)
bodies = anything | st.fixed_dictionaries(
    {},
    optional={
        "input": anything,
        "prompt": anything,
        "instructions": anything,
        "tools": anything,
        "output": st.lists(st.dictionaries(names, anything | words, max_size=5), max_size=3),
        "output_text": anything,
        "usage": anything,
    },
)


def strings(value: Any) -> Any:
    """Return the shape of a JSON value: every text is None."""
    if isinstance(value, dict):
        return {key: strings(item) for key, item in value.items()}
    return [strings(item) for item in value] if isinstance(value, list) else None if isinstance(value, str) else value


@given(bodies)
def test_nothing_raises_and_edits_change_texts_only(body: Any) -> None:
    RESPONSES.recognises(body)
    RESPONSES.hinted(body)
    why = RESPONSES.readable(body)
    list(RESPONSES.attachments(body))
    before = json.dumps(strings(body))
    for slot in list(RESPONSES.texts(body)):
        assert isinstance(slot.text, str)
        slot.container[slot.key] = "x"
    assert json.dumps(strings(body)) == before
    RESPONSES.answered(body)
    found = list(RESPONSES.answer_texts(body))
    assert len({slot.place for slot in found}) == len(found)
    RESPONSES.finish_answer(copy.deepcopy(body), 0, "length")
    changed = copy.deepcopy(body)
    assert RESPONSES.insert(changed, [("user", "u")], at_end=True) <= (changed != body)
    assert why == "" or isinstance(why, str)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"type": "x_search_call", "arguments": "q"}, ["q"]),
        ({"type": "web_search_call", "name": "web_search", "arguments": "q"}, ["q"]),
        ({"type": "code_interpreter_call", "arguments": "q"}, ["q"]),
        ({"type": "file_search_call", "queries": ["p"], "arguments": "q"}, ["p", "q"]),
        ({"type": "image_generation_call", "revised_prompt": "p", "prompt": "q"}, ["p", "q"]),
    ],
)
def test_what_tools_of_the_provider_are_asked(item: dict[str, Any], expected: list[str]) -> None:
    """As xAI writes it, in an answer and where it is sent back."""
    assert [slot.text for slot in RESPONSES.answer_texts({"output": [item]})] == expected
    body = {"model": "m", "input": [item]}
    assert RESPONSES.readable(body) == ""
    assert [(slot.kind, slot.text) for slot in RESPONSES.texts(body)] == [("tool_arguments", text) for text in expected]
