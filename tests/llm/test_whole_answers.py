"""A whole answer is read typed where it is usual, and member by member where it is not: with one result."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import json as strict_json
from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.dialects.base import Delta, Dialect

CHAT = DIALECTS["openai-chat"]

texts = st.none() | st.text(max_size=8)
functions = st.fixed_dictionaries({}, optional={"name": texts, "arguments": texts})
calls = st.lists(
    st.fixed_dictionaries({"function": functions}, optional={"id": texts, "index": st.integers(0, 3)}), max_size=3
)
parts = st.lists(st.fixed_dictionaries({"type": st.just("text")}, optional={"text": texts}), max_size=3)
messages = st.fixed_dictionaries(
    {"role": st.just("assistant")},
    optional={
        "content": texts | parts,
        "reasoning_content": texts,
        "reasoning": texts,
        "refusal": texts,
        "tool_calls": st.none() | calls,
        "function_call": st.none() | functions,
        "audio": st.none() | st.fixed_dictionaries({}, optional={"transcript": texts}),
    },
)
counts = st.integers(0, 10**9)
answers = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": messages}, optional={"index": counts}), max_size=3)},
    optional={
        "id": st.text(max_size=5),
        "model": st.text(max_size=5),
        "error": st.none() | st.just("") | st.fixed_dictionaries({"message": st.text()}),
        "usage": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "prompt_tokens": counts,
                "completion_tokens": counts,
                "total_tokens": counts,
                "prompt_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"cached_tokens": counts}),
                "completion_tokens_details": st.none()
                | st.fixed_dictionaries({}, optional={"reasoning_tokens": counts}),
            },
        ),
    },
)


def told(delta: Delta) -> Any:
    """Return all that a reading says, comparable."""
    usage = delta.usage
    return (
        [(*piece.place, piece.text) for piece in delta.pieces],
        None
        if usage is None
        else (usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.cached_tokens, usage.reasoning_tokens),
        delta.model or "",
        delta.identifier or "",
        delta.error,
        sorted((call.index, call.part, call.id, call.name, call.arguments) for call in delta.calls),
        list(delta.reasons),
    )


@given(answers)
def test_both_readings_agree(answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    assert told(CHAT.read_answer(data)) == told(Dialect.read_answer(CHAT, data))


@pytest.mark.parametrize(
    ("odd", "text"),
    [
        ('{"choices":[{"message":{"content":"yes","audio":"none"}}]}', "yes"),
        ('{"choices":[{"message":{"content":"yes"}}],"usage":{"prompt_tokens":"7"}}', "yes"),
        ('{"choices":[{"message":{"content":"yes"}},{"message":7}],"model":null}', "yes"),
        ('{"choices":[null,{"message":{"content":"yes","tool_calls":{}}}]}', "yes"),
    ],
)
def test_unusual_answers_are_read_as_far_as_they_go(odd: str, text: str) -> None:
    assert [piece.text for piece in CHAT.read_answer(odd.encode()).pieces] == [text]


@pytest.mark.parametrize("broken", [b"", b"{", b'{"choices":[{"message":{"content":"\xff"}}]}', b"[" * 100_000])
def test_what_is_no_json_is_said_so(broken: bytes) -> None:
    with pytest.raises(strict_json.InvalidJSON):
        CHAT.read_answer(broken)
