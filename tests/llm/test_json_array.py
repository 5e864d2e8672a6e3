"""The elements of one JSON array, and an array that stays valid whatever leaves of it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm.json_array import Element, Outlet, Splitter, encode, is_close
from aigw_middleware.llm.splitting import FramingError
from aigw_middleware.llm.sse import BOM, Event, EventTooLong

text = st.text() | st.text(st.sampled_from('"\\[]{},: \n'))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
space = st.text(st.sampled_from(" \t\r\n"), max_size=3)


def split(stream: bytes, size: int = 1 << 20) -> list[Event]:
    splitter = Splitter()
    events = [event for at in range(0, len(stream), size) for event in splitter.feed(stream[at : at + size])]
    tail = splitter.finish()
    return events if tail is None else [*events, tail]


@st.composite
def arrays(draw: st.DrawFn) -> tuple[list[object], bytes]:
    values: list[object] = [*draw(st.lists(JSON, max_size=5))]
    ascii_only, indent = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    parts = [
        draw(space) + json.dumps(value, indent=indent, ensure_ascii=ascii_only) + draw(space) for value in values
    ] or [draw(space)]
    stream = draw(space) + "[" + ",".join(parts) + "]" + draw(space)
    return values, draw(st.sampled_from([b"", BOM])) + stream.encode()


@given(arrays(), st.integers(1, 40))
def test_any_array_comes_apart(array: tuple[list[object], bytes], size: int) -> None:
    values, stream = array
    events = split(stream, size)
    assert b"".join(event.raw for event in events) == stream
    assert [json.loads(event.data) for event in events if event.data is not None] == values
    assert all(event.complete and event.event == "" for event in events)
    assert [is_close(event) for event in events[len(values) :]] in ([True], [True, False])
    for number, event in enumerate(events[: len(values)]):
        assert event.raw.removeprefix(BOM).lstrip()[:1] == (b"," if number else b"[")
        assert not is_close(event)


@given(arrays(), st.lists(st.sampled_from(["keep", "drop", "replace", "insert", "insert two"]), min_size=6, max_size=6))
def test_what_leaves_stays_an_array(array: tuple[list[object], bytes], actions: list[str]) -> None:
    values, stream = array
    outlet = Outlet()
    out = b""
    expected: list[object] = []
    for number, event in enumerate(split(stream)):
        if number > len(values):
            out += outlet.write(event.raw)  # white space behind the array
            continue
        action = actions[number]
        if action.startswith("insert"):
            added = encode(b'{"new":1}', event) * (2 if "two" in action else 1)
            out += outlet.write(added)
            expected += [{"new": 1}] * (2 if "two" in action else 1)
        if event.data is None:
            assert is_close(event)
            out += outlet.write(event.raw)
        elif action == "replace":
            out += outlet.write(encode(b"[0]", event))
            expected.append([0])
        elif action != "drop":
            out += outlet.write(event.raw)
            expected.append(values[number])
    assert outlet.close() == b""
    assert json.loads(out.removeprefix(BOM)) == expected
    if not any(action in actions[: len(values) + 1] for action in ("drop", "replace", "insert", "insert two")):
        assert out == stream


@pytest.mark.parametrize("sent", range(4))
def test_an_array_that_is_ended_early(sent: int) -> None:
    outlet = Outlet()
    out = b"".join(outlet.write(event.raw) for event in split(b' [{"a":1}\n,{"a":2},{"a":3}]')[:sent])
    assert json.loads(out + outlet.close()) == [{"a": 1}, {"a": 2}, {"a": 3}][:sent]
    assert outlet.close() == b""


def test_an_array_without_its_elements() -> None:
    outlet = Outlet()
    first, second, close = split(b'[{"a":1},{"a":2}\n]')
    assert outlet.write(close.raw) == b"[\n]"
    assert outlet.close() == b""
    outlet = Outlet()
    assert [outlet.write(event.raw) for event in (second, first, close)] == [b'[{"a":2}', b',{"a":1}', b"\n]"]
    outlet = Outlet()
    (empty,) = split(b" [ ]")
    assert outlet.write(encode(b"{}")) + outlet.write(empty.raw) + outlet.close() == b"[\n{}  ]"


def test_an_element_leaves_with_its_last_byte() -> None:
    splitter = Splitter()
    raws = [b'[{"a":[]}', b"\n,\r\n{}", b',"x"', b",[]", b"\n]"]
    for raw in raws:
        (event,) = splitter.feed(raw)
        assert event.raw is raw  # and is not copied
        assert splitter.pending == b""
    assert splitter.finish() is None
    assert splitter.feed(b"[1") == []
    assert [event.data for event in splitter.feed(b",")] == [b"1"]
    assert splitter.pending == b","


def test_separators_of_a_template() -> None:
    assert encode(b"{}") == b",\n{}"
    assert encode(b"{}", Element(b"\n,\r\n7")) == b"\n,\r\n{}"
    assert encode(b"{}", Element(BOM + b" [  7")) == b" ,  {}"
    assert encode(b"{}", Element(b"\n]")) == b",\n{}"
    assert encode(b"{}", Element(b"[ ]")) == b",\n{}"
    assert encode(b"{}", Event(b", 7")) == b",\n{}"


@pytest.mark.parametrize(
    ("before", "tail"),
    [
        (b"[{}", b"\n,"),
        (b"[{}", b',{"a":{}'),
        (b"[{}", b',{"a":"]'),
        (b"[{}", b',"]'),
        (b"[{}", b',"\\"]'),
        (b"[{}", b",12"),
        (b"[{}", b" "),
        (b"", b"["),
        (b"", BOM[:1]),
        (b"", BOM),
        (b"", b" \n"),
    ],
)
def test_an_array_that_was_cut_off(before: bytes, tail: bytes) -> None:
    events = split(before + tail)
    assert [event.raw for event in events] == [before, tail][not before :]
    assert (events[-1].complete, events[-1].data, is_close(events[-1])) == (False, None, False)


@pytest.mark.parametrize(
    ("stream", "before", "reason"),
    [
        (b'{"error":{}}', 0, "the stream is not a JSON array"),
        (b"\xef\xbb[]", 0, "the stream is not a JSON array"),
        (BOM + BOM + b"[]", 0, "the stream is not a JSON array"),
        (b"[{}]{}", 2, "something follows the JSON array"),
        (b"[]]", 1, "something follows the JSON array"),
        (b"[1 2]", 1, "a comma is missing in the JSON array"),
        (b"[{}{}]", 1, "a comma is missing in the JSON array"),
        (b"[,1]", 0, "an element is missing in the JSON array"),
        (b"[1,]", 1, "an element is missing in the JSON array"),
        (b"[}", 0, "an element is missing in the JSON array"),
        (b"[\xff]", 0, "an element is missing in the JSON array"),
    ],
)
def test_what_is_no_array(stream: bytes, before: int, reason: str) -> None:
    splitter = Splitter()
    with pytest.raises(FramingError, match=re.escape(reason)) as caught:
        splitter.feed(stream)
    assert len(caught.value.events) == before
    assert b"".join(event.raw for event in caught.value.events) + caught.value.pending == stream
    with pytest.raises(FramingError, match=re.escape(reason)) as caught:
        splitter.feed(b"[]")
    assert (caught.value.events, caught.value.pending) == ([], b"[]")
    assert splitter.finish() is None
    assert len(splitter.feed(b"[]")) == 1  # a new stream


def test_opaque_bytes_pass_the_outlet() -> None:
    assert Outlet().write(b'{"error":{}}') == b'{"error":{}}'
    assert Outlet().write(b' "x" ') == b' "x" '
    assert Outlet().write(b"") == b""


def test_depth_costs_nothing() -> None:
    depth = 100_000
    (event, _) = split(b"[" + b"[" * depth + b"]" * depth + b"]")
    assert event.data == b"[" * depth + b"]" * depth


def test_an_element_at_the_bound_passes_and_one_above_does_not() -> None:
    assert len(Splitter(max_event=9).feed(b'[{},"12345"\n,{ }]')) == 4
    with pytest.raises(EventTooLong) as caught:
        Splitter(max_event=9).feed(b'[{},"1234567",{}]')
    assert [event.data for event in caught.value.events] == [b"{}"]
    assert caught.value.pending == b',"1234567",{}]'
