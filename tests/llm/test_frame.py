"""Events that are told by the bytes around their text must be read as a JSON reader reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm.dialects import DIALECTS
from aigw_middleware.llm.dialects.base import Piece
from aigw_middleware.llm.frame import Frame

CHAT = DIALECTS["openai-chat"]


def event(text: str, *, ensure_ascii: bool = False, separators: tuple[str, str] = (",", ":"), **more: Any) -> bytes:
    """Return a chunk as providers write it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    body = {"id": "c-1", "model": "gpt", "choices": [choice], **more}
    return b"data: " + json.dumps(body, ensure_ascii=ensure_ascii, separators=separators).encode() + b"\n\n"


def learnt(raw: bytes) -> Frame | None:
    """Return the frame of an event that the dialect understands."""
    found = CHAT.open().text_of(raw[6:-2])
    assert found is not None
    return CHAT.open().frame(raw, Piece(found[0], "content", 0, found[1]))


@given(first=st.text(min_size=1), second=st.text(), separators=st.sampled_from([(",", ":"), (", ", ": ")]))
def test_what_a_frame_reads_is_what_json_reads(first: str, second: str, separators: tuple[str, str]) -> None:
    frame = learnt(event(first, separators=separators))
    if frame is None:
        return
    raw = event(second, separators=separators)
    read = frame.text(raw)
    assert read is None or (0, read) == CHAT.open().text_of(raw[6:-2])
    if read is not None:
        assert frame.event(second) == raw


@given(before=st.binary(max_size=30), middle=st.binary(max_size=30), after=st.binary(max_size=30))
def test_bytes_that_only_look_alike(before: bytes, middle: bytes, after: bytes) -> None:
    """Whatever stands where the text should: the frame reads it as the typed reader does, or not at all."""
    raw = event("hello")
    frame = learnt(raw)
    assert frame is not None
    cut = raw.index(b"hello")
    other = raw[:cut] + before + middle + after + raw[cut + 5 :]
    read = frame.text(other)
    if read is not None:
        assert CHAT.open().text_of(other[6:-2]) == (0, read)


def test_plain_texts_are_read() -> None:
    frame = learnt(event("Hello"))
    assert frame is not None
    assert frame.text(event(" wörld 你好 🙂")) == " wörld 你好 🙂"
    assert frame.event('say "no"') == event('say "no"')


@pytest.mark.parametrize(
    "raw",
    [
        event("Hello", id="c-2"),
        event("Hello", usage={"prompt_tokens": 1}),
        event('a "quoted" text'),
        event("two\nlines"),
        event(""),
        event("Hello")[:-1],
        event("a\u200bb"),
        event("a").replace(b'"a"', b'"\xff"'),
        event("a").replace(b'"a"', b"null"),
        event("a").replace(b'"a"', b'"a","content":"b"'),
    ],
)
def test_others_are_not(raw: bytes) -> None:
    frame = learnt(event("Hello"))
    assert frame is not None
    assert frame.text(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        event("Hello", ensure_ascii=True, note="ü"),
        event("Hello", content="Hello"),
        b'data: {"choices":[{"delta":{"c\\u006fntent":"Hello","content":"Hello"}}]}\n\n',
        event("tab\there"),
    ],
)
def test_nothing_is_learnt_where_two_readings_are_possible(raw: bytes) -> None:
    found = CHAT.open().text_of(raw[6:-2])
    assert found is not None
    assert CHAT.open().frame(raw, Piece(found[0], "content", 0, found[1])) is None
