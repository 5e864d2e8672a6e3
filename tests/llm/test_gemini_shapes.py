"""A chunk of Gemini's is read typed where it is usual, and member by member where it is not: with one result."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aigw_middleware.llm.dialects.base import Delta, Piece
from aigw_middleware.llm.dialects.gemini_shapes import usual_chunk
from aigw_middleware.llm.dialects.gemini_stream import GeminiStream
from aigw_middleware.llm.sse import Event

texts = st.none() | st.text(max_size=4)
junk = (
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from([1.0, 2.5, "", "odd", [], {}, [{"text": "odd"}]])
)
counts = st.integers(0, 10**9) | st.sampled_from([None, 0, -1, 10**30, 1.0, 2.5, True, "7"])
by_modality = st.lists(
    st.fixed_dictionaries(
        {}, optional={"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", 4, 2]), "tokenCount": counts}
    )
    | junk,
    max_size=3,
)
CALL = {"functionCall": {"name": "f", "args": {"q": "x"}}}
IN_PIECES = {
    "functionCall": {
        "name": "f",
        "partialArgs": [{"jsonPath": "$.q", "stringValue": "x", "willContinue": True}],
        "willContinue": True,
    }
}


def members(
    usual: dict[str, Any], odd: dict[str, Any], always: dict[str, Any] | None = None
) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects that have some of the usual members, and now and then one that is not."""
    often = st.fixed_dictionaries(always or {}, optional=usual)
    seldom = st.fixed_dictionaries({}, optional={**usual, **(always or {}), **odd, "unknown": junk})
    return st.integers(0, 9).flatmap(lambda dice: often if dice else seldom)


texts_only = members(
    {"text": texts, "thought": st.booleans(), "thoughtSignature": st.just("c2ln")},
    {"thought": junk, "inlineData": st.just({"data": "iVBO"}), "text": junk},
)
parts = st.integers(0, 9).flatmap(
    lambda dice: texts_only if dice else st.sampled_from([CALL, IN_PIECES, {"executableCode": {"code": "1"}}])
)
contents = members({"role": st.just("model")}, {"parts": parts | junk}, {"parts": st.lists(parts, max_size=3)})
candidates = members(
    {
        "index": st.integers(0, 2),
        "finishReason": st.sampled_from(["STOP", "SAFETY", "", "FINISH_REASON_UNSPECIFIED"]),
        "safetyRatings": st.just([{"category": "C", "probability": "LOW"}]),
        "tokenCount": counts,
        "avgLogprobs": st.just(-0.25),
    },
    {
        "content": junk,
        "index": junk,
        "finishReason": junk,
        "finishMessage": texts,
        "logprobsResult": st.just({"chosenCandidates": [{"token": "x"}]}),
        "groundingMetadata": st.just({"webSearchQueries": ["x"]}),
        "citationMetadata": st.just({"citationSources": [{"uri": "x"}]}),
    },
    {"content": contents},
)
metadata = members(
    {
        **dict.fromkeys(("promptTokenCount", "candidatesTokenCount", "totalTokenCount"), st.integers(0, 10**9)),
        **dict.fromkeys(("thoughtsTokenCount", "cachedContentTokenCount"), st.integers(0, 10**9)),
        "promptTokensDetails": by_modality,
        "trafficType": st.just("ON_DEMAND"),
    },
    {"promptTokenCount": counts, "toolUsePromptTokenCount": counts, "prompt_token_count": counts},
)
chunks = members(
    {
        "usageMetadata": metadata,
        "modelVersion": st.text(max_size=3),
        "responseId": st.text(max_size=3),
        "createTime": st.just("2026-01-01T00:00:00Z"),
    },
    {
        "candidates": candidates | junk,
        "usageMetadata": junk,
        "usage_metadata": metadata,
        "modelVersion": junk,
        "responseId": junk,
        "error": junk,
        "promptFeedback": st.just({"blockReason": "SAFETY"}),
    },
    {"candidates": st.lists(candidates, min_size=1, max_size=3)},
)


def told(delta: Delta | None) -> Any:
    """Return all that a reading says, comparable."""
    if delta is None:
        return None
    pieces = [(*piece.place, piece.text) for piece in delta.pieces]
    calls = [msgspec.structs.astuple(call) for call in delta.calls]
    usage = None if delta.usage is None else (type(delta.usage), msgspec.structs.asdict(delta.usage))
    said = (list(delta.finished), list(delta.reasons), list(delta.closed), list(delta.restated))
    return pieces, calls, usage, said, delta.model, delta.identifier, delta.error, delta.usage_only


def remembered(stream: GeminiStream) -> Any:
    """Return what a stream knows of its candidates, and whether it is over."""
    known = {
        index: [getattr(candidate, name) for name in candidate.__slots__]
        for index, candidate in stream._candidates.items()
    }
    return known, stream._over


def event(chunk: Any) -> Event:
    return Event(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n")


def candidate(*said: Any, **more: Any) -> dict[str, Any]:
    return {"content": {"parts": list(said)}, **more}


@settings(max_examples=200)
@given(st.lists(chunks, max_size=4))
@example([{"candidates": [candidate({"text": "a"}), candidate({"text": "b"}, index=1)]}])
@example([{"candidates": [candidate({"text": "a"}, index=1), candidate({"text": "b"})]}])
@example([{"candidates": [candidate({"text": "a"}), candidate({"text": "b"})]}])
@example([{"candidates": [candidate({"text": "a"}, index=1.0), candidate({"text": "b"})]}])
@example([{"candidates": [candidate({"text": "a"}, index=True)]}])
@example([{"candidates": [candidate({"text": "a"}, finishReason="FINISH_REASON_UNSPECIFIED")]}])
@example([{"candidates": [candidate({"text": ""}, {"text": "a", "thought": True}, {"text": "b"})]}])
@example([{"candidates": [candidate()], "usageMetadata": {"promptTokenCount": 5}}])
@example([{"candidates": [candidate(finishReason="STOP")], "usageMetadata": {"promptTokenCount": 5}}])
@example([{"candidates": [candidate({"text": "a"})]}, {"candidates": [candidate({"text": "b"}, CALL)]}])
def test_both_readings_agree(stream: list[dict[str, Any]]) -> None:
    both, slow = GeminiStream(), GeminiStream()
    for one in map(event, stream):
        delta, other = both.read(one), slow._read_any(one)
        assert told(delta) == told(other)
        assert remembered(both) == remembered(slow)
        if delta is None or other is None:
            continue
        changed = [Piece(*piece.place, piece.text.upper()) for piece in delta.pieces]
        assert both.with_texts(one, changed) == slow.with_texts(one, changed)
        for piece in delta.pieces:
            assert both.text_event(one, piece) == slow.text_event(one, piece)
        both.sent(one, delta)
        slow.sent(one, other)


USUAL: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "parts": [{"text": "a", "thought": True}, {"text": "b", "thoughtSignature": "c2ln"}],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
            "safetyRatings": [{"category": "C", "probability": "LOW"}],
            "tokenCount": 3,
            "avgLogprobs": -0.25,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 5,
        "candidatesTokenCount": 7,
        "totalTokenCount": 12,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        "trafficType": "ON_DEMAND",
    },
    "modelVersion": "gemini-x",
    "createTime": "2026-01-01T00:00:00Z",
    "responseId": "r1",
}


def test_what_providers_send_is_usual() -> None:
    assert usual_chunk(json.dumps(USUAL).encode()) is not None


@pytest.mark.parametrize("where", ["chunk", "candidate", "content", "part"])
@pytest.mark.parametrize("member", ["unknown", "finishMessage", "groundingMetadata", "finish_reason", "functionCall"])
def test_nothing_unknown_is_passed_over(where: str, member: str) -> None:
    chunk = json.loads(json.dumps(USUAL))
    candidate = chunk["candidates"][0]
    content = candidate["content"]
    holders = {"chunk": chunk, "candidate": candidate, "content": content, "part": content["parts"][1]}
    holders[where][member] = "a text"
    assert usual_chunk(json.dumps(chunk).encode()) is None


def test_a_text_behind_a_call_is_found_again() -> None:
    stream = GeminiStream()
    stream.read(event({"candidates": [{"content": {"parts": [CALL]}}]}))
    behind = {"candidates": [{"content": {"parts": [{"text": "a"}, {"text": "b", "thought": True}]}}]}
    delta = stream.read(event(behind))
    assert delta is not None
    assert [piece.place for piece in delta.pieces] == [(0, "content", 1), (0, "reasoning", 1)]
    changed = stream.with_texts(event(behind), [Piece(0, "content", 1, "c"), Piece(0, "reasoning", 1, "d")])
    parts = json.loads(changed.removeprefix(b"data: "))["candidates"][0]["content"]["parts"]
    assert [part["text"] for part in parts] == ["c", "d"]


@pytest.mark.parametrize("member", ["role", "text"])
@pytest.mark.parametrize("odd", [b'"\xff"', b'"\\ud800"', b"1e", b"[" * 100_000])
def test_what_is_no_json_is_read_by_neither(member: str, odd: bytes) -> None:
    inner = {"text": b'"parts":[{"text":%b}]', "role": b'"parts":[{"text":"a"}],"role":%b'}[member] % odd
    broken = Event(b'data: {"candidates":[{"content":{' + inner + b"}}]}\n\n")
    stream = GeminiStream()
    assert stream.read(broken) is None
    assert stream.opaque(broken)
