"""Every text of a chat completion is seen, and only what is changed changes."""

from __future__ import annotations

from typing import Any

import pytest

from aigw_middleware.json import encode
from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.dialects.base import Piece
from aigw_middleware.llm.sse import Event

CHAT = DIALECTS["openai-chat"]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"q": "secret"}'}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "content": "a"}, [("content", "a")]),
        ({"role": "system", "content": "a"}, [("system", "a")]),
        ({"role": "developer", "content": "a"}, [("system", "a")]),
        ({"role": "tool", "content": "a", "tool_call_id": "c"}, [("tool_result", "a")]),
        ({"content": "a", "name": "bob"}, [("content", "a"), ("name", "bob")]),
        ({"role": "assistant", "tool_calls": [CALL]}, [("tool_arguments", '{"q": "secret"}')]),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, [("tool_arguments", '{"q": "secret"}')]),
        ({"role": "assistant", "function_call": CALL["function"]}, [("tool_arguments", '{"q": "secret"}')]),
        ({"role": "assistant", "refusal": "no"}, [("refusal", "no")]),
        ({"role": "assistant", "content": "a", "reasoning_content": "r"}, [("content", "a"), ("reasoning", "r")]),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}],
            },
            [("content", "a")],
        ),
    ],
)
def test_texts_of_a_message(message: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    body = {"model": "m", "messages": [message]}
    assert CHAT.readable(body) == ""
    assert [(slot.kind, slot.text) for slot in CHAT.texts(body)] == expected


def test_definitions_of_tools_are_texts() -> None:
    body = {
        "messages": [],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}],
        "functions": [{"description": "e"}],
    }
    assert [(slot.kind, slot.text) for slot in CHAT.texts(body)] == [("tool_definition", "d"), ("tool_definition", "e")]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"messages": "x"},
        {"messages": ["x"]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "mystery", "body": "secret"}]}]},
        {"messages": [{"role": "user", "content": ["x"]}]},
    ],
)
def test_what_cannot_be_read_says_why(body: Any) -> None:
    assert CHAT.readable(body)


def test_messages_go_in_at_both_ends() -> None:
    body = {"messages": [{"role": "user", "content": "b"}]}
    assert CHAT.insert(body, [("system", "a")], at_end=False)
    assert CHAT.insert(body, [("user", "c")], at_end=True)
    assert [message["content"] for message in body["messages"]] == ["a", "b", "c"]
    assert not CHAT.insert({}, [("system", "a")], at_end=False)


def read(delta: dict[str, Any]) -> list[tuple[str, str]]:
    data = encode({"choices": [{"index": 0, "delta": delta}]})
    found = CHAT.open().read(Event(b"data: " + data + b"\n\n"))
    assert found is not None
    assert (CHAT.open().text_of(data) is not None) == (list(delta) == ["content"])
    return [(piece.kind, piece.text) for piece in found.pieces]


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"content": "a"}, [("content", "a")]),
        ({"content": ""}, []),
        ({"reasoning_content": "r", "content": "a"}, [("reasoning", "r"), ("content", "a")]),
        ({"function_call": {"arguments": "{"}}, [("tool_arguments", "{")]),
        ({"audio": {"transcript": "said"}}, [("transcript", "said")]),
        ({"tool_calls": [{"index": 1, "function": {"name": "f", "arguments": "x"}}]}, [("tool_arguments", "x")]),
        ({"refusal": "no"}, [("refusal", "no")]),
    ],
)
def test_texts_of_a_stream_event(delta: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    if delta != {"content": ""}:
        assert read(delta) == expected
    event = Event(b"data: " + encode({"id": "c", "choices": [{"index": 0, "delta": delta}]}) + b"\n\n")
    found = CHAT.open().read(event)
    assert found is not None
    changed = [Piece(piece.index, piece.kind, piece.part, piece.text.upper()) for piece in found.pieces]
    again = CHAT.open().read(Event(CHAT.open().with_texts(event, changed)))
    assert again is not None
    assert [piece.text for piece in again.pieces] == [text.upper() for _, text in expected]
    for piece in found.pieces:
        alone = CHAT.open().read(Event(CHAT.open().text_event(event, piece)))
        assert alone is not None
        assert [(one.kind, one.part, one.text) for one in alone.pieces] == [(piece.kind, piece.part, piece.text)]


def test_texts_of_a_whole_answer() -> None:
    message = {
        "content": "a",
        "audio": {"transcript": "b"},
        "function_call": {"name": "f", "arguments": "c"},
        "tool_calls": [CALL],
    }
    answer = {"choices": [{"index": 0, "message": message}]}
    assert [slot.text for slot in CHAT.answer_texts(answer)] == ["a", "b", "c", '{"q": "secret"}']
