"""JSON texts, one per line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm.ndjson import Line, Outlet, Splitter, encode
from aigw_middleware.llm.sse import BOM, EventTooLong

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=6), st.sampled_from([None, 2]), st.sampled_from([b"\n", b"\r\n"]), st.integers(1, 40))
def test_any_values_come_back(values: list[object], indent: int | None, end: bytes, size: int) -> None:
    like = Line(b"{}" + end)
    texts = [json.dumps(value, indent=indent, ensure_ascii=False).encode() for value in values]
    stream = b"".join(encode(text, like) for text in texts)
    splitter = Splitter()
    events = [event for at in range(0, len(stream), size) for event in splitter.feed(stream[at : at + size])]
    assert splitter.finish() is None
    assert [json.loads(event.data or b"?") for event in events] == values
    assert all(event.raw.endswith(end) for event in events)


def test_an_empty_line_leaves_at_once() -> None:
    splitter = Splitter()
    for line in (b"\n", b"\r\n", b" \t\n"):
        (event,) = splitter.feed(line)
        assert (event.raw, event.data, event.complete) == (line, None, True)


@pytest.mark.parametrize(
    ("rest", "data", "complete"),
    [
        (b'{"a":1}', b'{"a":1}', True),
        (b'{"a":1}\r', b'{"a":1}', True),
        (BOM + b"[1] ", b"[1]", True),
        (b'{"a":', b'{"a":', False),
        (b"data: {}", b"data: {}", False),
        (b'"\xff"', b'"\xff"', False),
        (b"[" * 100_000, b"[" * 100_000, False),
        (b"  ", None, True),
        (BOM, None, True),
    ],
)
def test_a_last_line_without_its_end_is_whole_when_it_is_json(rest: bytes, data: bytes | None, complete: bool) -> None:
    splitter = Splitter()
    assert splitter.feed(rest) == []
    assert splitter.pending == rest
    event = splitter.finish()
    assert event is not None
    assert (event.raw, event.data, event.complete) == (rest, data, complete)


def test_a_line_with_a_template() -> None:
    assert encode(b'{\n "a": 1\r\n}', Line(b"{}\r\n")) == b'{  "a": 1  }\r\n'
    assert encode(b"{}", Line(b"{}")) == encode(b"{}") == b"{}\n"


def test_a_line_that_follows_an_unended_one() -> None:
    outlet = Outlet()
    assert [outlet.write(part) for part in (b"1\n2\n", b"", b"3", b"", b"4\n", b"5")] == [
        b"1\n2\n",
        b"",
        b"3",
        b"",
        b"\n4\n",
        b"5",
    ]
    assert outlet.close() == b""


def test_the_bound_counts_the_line_end() -> None:
    assert len(Splitter(max_event=4).feed(b"{} \n{}\r\n")) == 2
    splitter = Splitter(max_event=4)
    with pytest.raises(EventTooLong) as caught:
        splitter.feed(b"{}\n{}  \n{}\n")
    assert [event.raw for event in caught.value.events] == [b"{}\n"]
    assert caught.value.pending == b"{}  \n{}\n"
    with pytest.raises(EventTooLong):
        splitter.feed(b"{}\n")
    assert splitter.finish() is None
    assert len(splitter.feed(b"{}\n")) == 1  # a new stream
