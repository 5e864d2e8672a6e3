"""Server-sent events: the same events for every cut, byte for byte the same stream, fields as WHATWG HTML says."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm.sse import BOM, UNPARSED, Event, EventTooLong, Splitter, encode_event

Fields = tuple[bytes | None, str, str | None, int | None]

OPENAI = (
    'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'
    'data: {"choices":[{"delta":{"content":"Grüße 🌍"}}]}\n\n'
    "data: [DONE]\n\n"
).encode()
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start"}\n\n'
    b'event: ping\ndata: {"type": "ping"}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
TRANSCRIPTS = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "crlf": ANTHROPIC.replace(b"\n", b"\r\n"),
    "cr": ANTHROPIC.replace(b"\n", b"\r"),
    "mixed": b"data: a\n\r\ndata: b\r\n\ndata: c\r\r\ndata: d\r\n\rdata: e\n\rdata: f\r\rdata: g\n\n",
    "byte order mark": BOM + OPENAI,
    "byte order mark, then a blank line": BOM + b"\r\ndata: a\r\n\r\n",
    "byte order mark twice": BOM + b"data: a\n\n" + BOM + b"data: b\n\n",
    "comments": b": hello\n\n:\n: ping\ndata: a\n:x\ndata: b\n\n: bye\n\n",
    "many lines": b"data: a\ndata\ndata:\ndata:  b\nid: 7\nretry: 1500\nevent: x\n\nid\n\n",
    "blank lines": b"\n\n\r\n\rdata: a\n\n\n\ndata: b\n\n\r\n",
    "keep-alive first": b"\r\n\r\ndata: a\r\n\r\n\r\n",
    "tail": b"data: a\n\ndata: b\n",
    "tail without a line end": b"data: a\r\n\r\ndata: b",
    "latin-1 and NUL": b"data: \xff\xfe\nid: a\0b\n\nid: \xe9\ndata:\0\n\n",
}


def fields(event: Event) -> Fields:
    return event.data, event.event, event.id, event.retry


def split(chunks: Iterable[bytes]) -> list[Event]:
    splitter = Splitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    tail = splitter.finish()
    return events if tail is None else [*events, tail]


def seen(events: Sequence[Event]) -> list[tuple[bytes, Fields, bool]]:
    return [(event.raw, fields(event), event.complete) for event in events]


def dispatched(stream: bytes) -> list[tuple[str, str, str]]:
    """What a browser dispatches: (type, data, last event id). The algorithm of 9.2.6 word for word, on text."""
    text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    out: list[tuple[str, str, str]] = []
    data_buffer = type_buffer = id_buffer = ""
    for line in lines:
        if line == "":
            if data_buffer == "":
                type_buffer = ""
                continue
            out.append((type_buffer or "message", data_buffer.removesuffix("\n"), id_buffer))
            data_buffer = type_buffer = ""
            continue
        if line.startswith(":"):
            continue
        if ":" in line:
            field, value = line.split(":", 1)
            value = value.removeprefix(" ")
        else:
            field, value = line, ""
        if field == "event":
            type_buffer = value
        elif field == "data":
            data_buffer += value + "\n"
        elif field == "id" and "\0" not in value:
            id_buffer = value
    return out


def dispatched_from(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    out = []
    last_id = ""
    for event in events:
        if not event.complete:
            continue
        last_id = last_id if event.id is None else event.id
        if event.data is not None:
            text = event.data.decode("utf-8", errors="replace")
            out.append((event.event or "message", text, last_id))
    return out


@pytest.mark.parametrize("stream", TRANSCRIPTS.values(), ids=TRANSCRIPTS.keys())
def test_every_cut_gives_the_same_events(stream: bytes) -> None:
    whole = seen(split([stream]))
    assert b"".join(raw for raw, _, _ in whole) == stream
    assert seen(split(bytes([byte]) for byte in stream)) == whole
    for first in range(len(stream) + 1):
        assert seen(split([stream[:first], stream[first:]])) == whole
        for second in range(first, min(first + 5, len(stream)) + 1):
            assert seen(split([stream[:first], stream[first:second], b"", stream[second:]])) == whole


@pytest.mark.parametrize("stream", TRANSCRIPTS.values(), ids=TRANSCRIPTS.keys())
def test_transcripts_dispatch_what_a_browser_dispatches(stream: bytes) -> None:
    assert dispatched_from(split([stream])) == dispatched(stream)


pieces = st.lists(
    st.sampled_from(
        ["\n", "\r", "\r\n", "\n\n", "data", ":", " ", "data: ", "event: ", "id: ", "retry: ", "id: a\0", "a", "7", "é"]
    ).map(str.encode)
    | st.sampled_from([b"\xff", b"\xf0\x9f", BOM, BOM[:1], b"\0", b": c", b"data: x\n\n", b"\x0b\x1c"]),
    max_size=40,
).map(b"".join)


@given(pieces, st.lists(st.integers(0, 120), max_size=12))
def test_any_bytes_cut_anywhere(stream: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events = split(stream[a:b] for a, b in pairwise(places))
    assert b"".join(event.raw for event in events) == stream
    assert all(event.complete for event in events[:-1])
    assert dispatched_from(events) == dispatched(stream)
    if b"\n" in stream.split(b"\r")[0]:  # after an LF nothing depends on the cuts
        assert seen(events) == seen(split([stream]))


block = st.tuples(
    st.lists(st.sampled_from([b"data: a", b"event: x", b"id", b": c", b"", b"\r", b"b\rc"]), max_size=4),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"\n", b"\r\n", b"\n\n", b"x", b"\r"]),
).map(lambda parts: parts[1].join([*parts[0], parts[2]]))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    "text",
    [
        "\n?a\n\n",
        "a\n?b\n\n",
        "a\n\n?b\n\n",
        "a\n\n\n",
        "\n\n",
        "\n",
        "a\n",
        "a\n\nb",
        "a\n?\n",
        "?\n\n",
        "a?\n\n",
        "a?b\n\n",
    ],
)
def test_chunks_that_are_nearly_one_event(text: str, end: bytes) -> None:
    for other in (b"", b"\n", b"\r", b"\r\n"):
        chunk = text.encode().replace(b"\n", end).replace(b"?", other)
        stream = [b": hello\n\n", chunk, b"data: x\n\n"]
        assert seen(split(stream)) == seen(split([b"".join(stream)]))


@given(st.lists(block | pieces, max_size=8))
def test_chunks_that_look_like_one_event(chunks: list[bytes]) -> None:
    """The quick ways through `feed` agree with the slow one, which a whole stream takes."""
    stream = [b": hello\n\n", *chunks]
    assert seen(split(stream)) == seen(split([b"".join(stream)]))


line = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(
    st.lists(
        st.tuples(
            st.lists(line | st.just(""), min_size=1).map("\n".join),
            line,
            st.none() | line,
            st.none() | st.integers(0, 10**18 - 1),
        ),
        max_size=5,
    ),
    st.integers(1, 30),
)
def test_what_is_written_is_read_back(written: list[tuple[str, str, str | None, int | None]], size: int) -> None:
    stream = b"".join(encode_event(*event) for event in written)
    events = split(stream[i : i + size] for i in range(0, len(stream), size))
    assert [fields(event) for event in events] == [(data.encode(), *rest) for data, *rest in written]
    assert all(event.complete for event in events)


@given(st.binary(), st.sampled_from(["\n", "\r", "\r\n"]))
def test_line_breaks_in_data_become_lines(data: bytes, line_end: str) -> None:
    data = b"a" + line_end.encode() + data
    (event,) = split([encode_event(data)])
    assert event.data == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def test_writer() -> None:
    assert encode_event("é") == "data: é\n\n".encode()
    assert encode_event(b"") == b"data: \n\n"
    assert encode_event("a\nb", "x", "7", 10) == b"event: x\nid: 7\nretry: 10\ndata: a\ndata: b\n\n"
    assert encode_event(b"a", id="") == b"id: \ndata: a\n\n"


@pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\0b", "\n"])
def test_writer_refuses_what_would_end_a_field(bad: str) -> None:
    with pytest.raises(ValueError, match="event of a server-sent event"):
        encode_event(b"", event=bad)
    with pytest.raises(ValueError, match="id of a server-sent event"):
        encode_event(b"", id=bad)
    with pytest.raises(ValueError, match="negative"):
        encode_event(b"", retry=-1)


def test_fields_of_one_event() -> None:
    raw = b"data: a\ndata\ndata:  b\nevent: x\nevent: y\nid: 1\nid: 2\0\nretry: 15\nretry: 1s\nother: z\ndatas: c\n\n"
    assert fields(Event(raw)) == (b"a\n\n b", "y", "1", 15)
    assert fields(Event(b": only a comment\n\n")) == (None, "", None, None)
    assert fields(Event(b"data:\n\n")) == (b"", "", None, None)
    assert fields(Event(b"retry: " + b"9" * 5000 + b"\n\n")) == (None, "", None, None)
    assert fields(Event("retry: ٣\n\n".encode())) == (None, "", None, None)


@pytest.mark.parametrize("name", ["data", "event", "id", "retry"])
def test_any_field_may_be_asked_for_first(name: str) -> None:
    expected = {"data": b"a", "event": "x", "id": "1", "retry": 2}
    event = Event(b"event: x\nid: 1\nretry: 2\ndata: a\n\n")
    assert getattr(event, name) == expected[name]
    assert fields(event) == tuple(expected.values())


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: a\n\r", b"a"),
        (b"data: a\r\n", b"a"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
        (b"data: a\nx", b"a"),
        (b"data: a", b"a"),
        (b"data: \n\n", b""),
        (b"\ndata: a\n\n", b"a"),
        (b"event: x\ndata: a\n\n", b"a"),
        (b"event: x\ndata: a\n\r", b"a"),
        (b"event: x\ndata: a\r\n", b"a"),
        (b"event: x\ndata: a\ndata: b\n\n", b"a\nb"),
        (b"event: x\rdata: a\rdata: b\n\n", b"a\nb"),
        (b"event: x\ndata: \n\n", b""),
        (b"event: x\ndata:a\n\n", b"a"),
        (b"event: x", None),
        (b"event: ", None),
        (b"event: data: \n\n", None),
        (b"", None),
    ],
)
def test_data_of_the_common_shapes_and_of_their_neighbours(raw: bytes, data: bytes | None) -> None:
    assert Event(raw).data == data


def test_what_the_pipeline_keeps_on_an_event() -> None:
    (event,) = Splitter().feed(b"data: 1\n\n")
    assert event.parsed is UNPARSED
    assert not event.changed
    assert repr(event) == r"Event(b'data: 1\n\n', complete=True)"
    assert not hasattr(event, "__dict__")
    event.parsed, event.changed = {"a": 1}, True
    assert event.raw == b"data: 1\n\n"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_event_leaves_with_its_last_byte(line_end: bytes) -> None:
    splitter = Splitter()
    for text in (b"data: a", b"event: x" + line_end + b"data: b", b"data: c"):
        (event,) = splitter.feed(text + line_end * 2)
        assert event.raw == text + line_end * 2
        assert splitter.pending == b""
    assert splitter.finish() is None


def test_a_whole_event_is_not_copied() -> None:
    splitter = Splitter()
    splitter.feed(b": hello\n\n")
    for chunk in (b"data: a\n\n", b"event: x\ndata: a\n\n", b"data: a\r\n\r\n"):
        (event,) = splitter.feed(chunk)
        assert event.raw is chunk


def test_crlf_cut_in_two() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: a\r\n\r") == []
    assert splitter.pending == b"data: a\r\n\r"
    (event,) = splitter.feed(b"\n")
    assert event.raw == b"data: a\r\n\r\n"
    assert splitter.feed(b"data: b\r\n\r") == []
    (event,) = splitter.feed(b"data: c")
    assert event.raw == b"data: b\r\n\r"
    assert splitter.pending == b"data: c"
    splitter.feed(b"\r\n\r")
    last = splitter.finish()
    assert last is not None
    assert (last.raw, last.data, last.complete) == (b"data: c\r\n\r", b"c", True)


def test_lf_after_bare_crs_opens_the_next_event() -> None:
    splitter = Splitter()
    (event,) = splitter.feed(b"data: a\r\r")
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\n") == []
    assert splitter.pending == b"\n"
    (after,) = splitter.feed(b"data: b\n\n")
    assert (event.raw, after.raw, after.data) == (b"data: a\r\r", b"\ndata: b\n\n", b"b")


def test_only_the_lf_right_after_a_cr_belongs_to_it() -> None:
    splitter = Splitter()
    raws = [event.raw for chunk in (b"data: a\r\r", b"data: b\n\n", b"\n", b"c\n\r") for event in splitter.feed(chunk)]
    assert raws == [b"data: a\r\r", b"data: b\n\n", b"\n"]
    assert splitter.pending == b"c\n\r"


@pytest.mark.parametrize("stream", [b"", b"data: a", b"data: a\n", BOM[:2], BOM, b"data: a\r"])
def test_finish_returns_the_rest_and_starts_anew(stream: bytes) -> None:
    splitter = Splitter()
    for _ in range(2):
        assert splitter.feed(stream) == []
        tail = splitter.finish()
        if not stream:
            assert tail is None
        else:
            assert tail is not None
            assert (tail.raw, tail.complete) == (stream, False)
        assert splitter.pending == b""
        assert [event.data for event in splitter.feed(BOM + b"data: b\n\n")] == [b"b"]
        assert splitter.finish() is None


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_an_event_at_the_bound_passes_and_one_above_does_not(size: int, end: bytes) -> None:
    good = b"data: 1" + end
    for long, fits in ((b"data: 123" + end, True), (b"data: 1234" + end, False), (b"x" * 5000, False)):
        splitter = Splitter(max_event=9 + len(end))
        stream = good + long + good
        chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
        out = bytearray()
        refused = 0
        for chunk in chunks:
            try:
                events = splitter.feed(chunk)
            except EventTooLong as error:
                refused += 1
                out += b"".join(event.raw for event in error.events) + error.pending
            else:
                assert not refused
                out += b"".join(event.raw for event in events)
        assert bool(refused) is not fits
        assert bytes(out) + splitter.pending == stream
        if not fits:
            assert splitter.finish() is None
            assert len(splitter.feed(good)) == 1  # a new stream


@pytest.mark.parametrize("piece", [b"x", b"x" * 7, b"data: a\n", b"\r\ndata: a"])
def test_an_event_without_end_is_not_collected(piece: bytes) -> None:
    splitter = Splitter(max_event=20)
    fed = out = b""
    refused = False
    while not refused:
        fed += piece
        try:
            out += b"".join(event.raw for event in splitter.feed(piece))
        except EventTooLong as error:
            out += b"".join(event.raw for event in error.events) + error.pending
            refused = True
        assert len(splitter.pending) <= 20
    assert out == fed
    assert 20 < len(fed) <= 20 + 2 + len(piece)
    assert splitter.pending == b""


def test_events_before_the_one_too_long_are_handed_over() -> None:
    with pytest.raises(EventTooLong) as caught:
        Splitter(max_event=20).feed(b"data: a\n\ndata: " + b"b" * 20 + b"\n\ndata: c\n\n")
    assert [event.data for event in caught.value.events] == [b"a"]
    assert str(caught.value) == "a server-sent event is longer than 20 bytes"
    assert caught.value.pending == b"data: " + b"b" * 20 + b"\n\ndata: c\n\n"
    splitter = Splitter(max_event=20)
    splitter.feed(b"data: a\n\n")
    with pytest.raises(EventTooLong):
        splitter.feed(b"data: " + b"b" * 20 + b"\n\n")


def test_work_is_linear_in_the_bytes() -> None:
    """No look at bytes already looked at: each feed starts to search at most two bytes before the chunk."""
    for end in (b"\n", b"\r\n"):
        splitter = Splitter()
        splitter.feed(b":" + end + end)
        for count in range(1, 3000):
            assert splitter.feed(b"x") == []
            assert splitter._scanned == max(0, count - 2)
        assert len(splitter.feed(end + end)) == 1
