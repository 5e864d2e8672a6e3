"""Every text of a chat completion is seen, and only what is changed changes."""

from __future__ import annotations

from typing import Any

import pytest

from aigw_middleware.json import decode, encode
from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.dialects.base import Piece
from aigw_middleware.llm.dialects.walking import strings
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
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "r"}, {"type": "text", "text": "s"}]},
                    {"type": "thinking", "thinking": "t"},
                    {"type": "reference", "reference_ids": [1]},
                    {"type": "text", "text": "a"},
                ],
            },
            [("reasoning", "r"), ("reasoning", "s"), ("reasoning", "t"), ("content", "a")],
        ),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}]},
            [("content", "a"), ("content", "b")],
        ),
        (
            {
                "role": "assistant",
                "content": "a",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "r", "index": 0},
                    {"type": "reasoning.summary", "summary": "s", "index": 1},
                    {"type": "reasoning.encrypted", "data": "x", "index": 2},
                ],
            },
            [("content", "a"), ("reasoning", "r"), ("reasoning", "s")],
        ),
        (
            {
                "role": "assistant",
                "content": "a",
                "annotations": [
                    {"type": "file", "file": {"hash": "h", "content": [{"type": "text", "text": "page"}]}},
                    {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "content": "c"}},
                ],
            },
            [("content", "a"), ("document", "page"), ("document", "t"), ("document", "c")],
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


@pytest.mark.parametrize(
    ("part", "kind", "source"),
    [
        ({"type": "image_url", "image_url": {"url": "https://a", "detail": "low"}}, "image", "https://a"),
        ({"type": "image_url", "image_url": "https://a"}, "image", "https://a"),
        ({"type": "input_image", "image_url": "https://a"}, "image", "https://a"),
        ({"type": "document_url", "document_url": "https://a", "document_name": "b"}, "file", "https://a"),
        ({"type": "file", "file_id": "file-1"}, "file", "file-1"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file", "file-1"),
        ({"type": "video", "video": ["https://a"]}, "video", "https://a"),
        ({"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}, "audio", "QQ=="),
    ],
)
def test_attachments_of_services_that_speak_chat_completions(part: dict[str, Any], kind: str, source: str) -> None:
    body = {"messages": [{"role": "user", "content": [part]}]}
    assert CHAT.readable(body) == ""
    assert list(CHAT.texts(body)) == []
    assert [(found.kind, found.source) for found in CHAT.attachments(body)] == [(kind, source)]


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "r"}], "closed": True}
DETAILS = [
    {"type": "reasoning.text", "text": "r", "format": "f", "index": 0},
    {"type": "reasoning.encrypted", "data": "x"},
]
SEARCHED = [
    {"index": 0, "type": "search", "arguments": "q", "output": "o", "search_results": {"results": [{"title": "t"}]}}
]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"content": [THINKING]}, [("reasoning", "r")]),
        ({"content": [{"type": "text", "text": "a"}]}, [("content", "a")]),
        ({"content": [THINKING, {"type": "text", "text": "a"}]}, [("reasoning", "r"), ("content", "a")]),
        ({"content": "", "reasoning_details": DETAILS}, [("reasoning", "r")]),
        ({"reasoning": "r", "reasoning_details": DETAILS}, [("reasoning", "r")]),
        ({"reasoning_content": "r", "reasoning_details": DETAILS}, [("reasoning", "r")]),
        ({"reasoning": "other", "reasoning_details": DETAILS}, [("reasoning", "other"), ("reasoning", "r")]),
        ({"executed_tools": SEARCHED}, [("tool_arguments", "q"), ("tool_result", "o"), ("tool_result", "t")]),
    ],
)
def test_texts_that_stand_in_lists(said: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """In a stream event and in a whole answer; a change leaves no text as it was, wherever it was told once more."""
    event = Event(b"data: " + encode({"choices": [{"index": 0, "delta": said}]}) + b"\n\n")
    found = CHAT.open().read(event)
    assert found is not None
    assert sorted((piece.kind, piece.text) for piece in found.pieces) == sorted(expected)
    assert len({piece.place for piece in found.pieces}) == len(expected)
    for piece in found.pieces:
        alone = CHAT.open().read(Event(CHAT.open().text_event(event, piece)))
        assert alone is not None
        assert [(one.kind, one.text) for one in alone.pieces] == [(piece.kind, piece.text)]
    assert CHAT.open().text_of(event.data or b"") is None
    changed = [Piece(*piece.place, f"<{piece.kind}>") for piece in found.pieces]
    written = CHAT.open().with_texts(event, changed)

    body = {"choices": [{"index": 0, "message": said}]}
    assert sorted((piece.kind, piece.text) for piece in CHAT.read_answer(encode(body)).pieces) == sorted(expected)
    answer = decode(encode(body))
    for slot in CHAT.answer_texts(answer):
        slot.container[slot.key] = f"<{slot.kind}>"
    for left in (decode(Event(written).data or b"")["choices"][0]["delta"], answer["choices"][0]["message"]):
        texts = {holder[key] for holder, key in strings(left) if key not in ("type", "format", "data")}
        assert {f"<{kind}>" for kind, _ in expected} <= texts
        assert texts.isdisjoint({text for _, text in expected})


def test_what_a_tool_of_the_provider_said_comes_whole() -> None:
    found = CHAT.open().read(
        Event(b"data: " + encode({"choices": [{"delta": {"executed_tools": SEARCHED}}]}) + b"\n\n")
    )
    assert found is not None
    assert list(found.closed) == [(piece.index, piece.part) for piece in found.pieces]


@pytest.mark.parametrize(
    "where",
    [
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {
            "choices": [{"delta": {}, "finish_reason": "stop"}],
            "x_groq": {"id": "req_1", "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        },
        {"choices": [{"delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}]},
    ],
)
def test_where_services_tell_the_usage_of_a_stream(where: dict[str, Any]) -> None:
    event = Event(b"data: " + encode(where) + b"\n\n")
    found = CHAT.open().read(event)
    assert found is not None
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (3, 4)
    assert found.usage_only is (where["choices"] == [])
    left = CHAT.open().without_usage(event)
    assert "usage" not in decode(left.data or b"")
    assert "usage" in where or left.raw == event.raw


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (
            {"id": "", "object": "", "model": "", "created": 0, "choices": [], "prompt_filter_results": [{"a": "b"}]},
            True,
        ),
        ({"id": "c", "object": "chat.completion.chunk", "model": "m"}, True),
        ({"type": "ping"}, True),
        ({"value": "said"}, False),
        ({"id": "c", "output": {"text": "said"}}, False),
    ],
)
@pytest.mark.parametrize("name", ["openai-chat", "openai-completions"])
def test_an_event_without_choices_may_hold_text_that_nobody_sees(name: str, body: dict[str, Any], known: bool) -> None:
    stream = DIALECTS[name].open()
    event = Event(b"data: " + encode(body) + b"\n\n")
    assert (stream.read(event) is not None) is known
    assert stream.opaque(event)


def test_texts_of_a_list_are_numbered_like_one_text() -> None:
    """So that a text that follows a thought in its event and one in an event of its own are one stream of text."""
    places = []
    for content in ([THINKING, {"type": "text", "text": "a"}], [{"type": "text", "text": "b"}], "c"):
        found = CHAT.open().read(Event(b"data: " + encode({"choices": [{"index": 0, "delta": {"content": content}}]})))
        assert found is not None
        places += [piece.place for piece in found.pieces if piece.kind == "content"]
    assert places == [(0, "content", 0)] * 3
