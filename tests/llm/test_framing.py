"""Every framing behind one face: the same events for every cut, byte for byte the same stream, bounded, linear."""

import struct
from binascii import crc32
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm import aws_eventstream, json_array, ndjson, sse
from aigw_middleware.llm.framing import (
    AWS_EVENT_STREAM,
    JSON_ARRAY,
    NDJSON,
    SSE,
    Framing,
    FramingError,
    framing_of,
)
from aigw_middleware.llm.sse import BOM, Event, EventTooLong

FRAMINGS = [SSE, NDJSON, AWS_EVENT_STREAM, JSON_ARRAY]
JSON_TEXTS = ['{"a":"Grüße 🌍 [\\"],{}\\\\"}'.encode(), b"{}", b'{"n": [1.50, {"m": null}]}', b'"text"', b"[]", b"7"]


def message(payload: bytes, event: str = "contentBlockDelta", kind: str = "event") -> bytes:
    """An AWS event stream message, written here by the specification alone."""
    headers = b""
    name = {"event": ":event-type", "exception": ":exception-type"}[kind]
    for key, value in ((name, event), (":content-type", "application/json"), (":message-type", kind)):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    out = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    out += struct.pack(">I", crc32(out)) + headers + payload
    return out + struct.pack(">I", crc32(out))


STREAMS: dict[str, tuple[Framing, bytes]] = {
    "sse": (SSE, b"event: a\r\ndata: {}\r\n\r\n: ping\n\ndata: {}\n\ndata: [DONE]\n\n"),
    "ndjson": (NDJSON, b"".join(text + b"\n" for text in JSON_TEXTS)),
    "ndjson crlf": (NDJSON, BOM + b"\r\n".join([*JSON_TEXTS, b"", b" \t", b"\r", b'{"last":1}'])),
    "ndjson cut off": (NDJSON, b'\n\n{"a":1}\n{"a":'),
    "aws": (AWS_EVENT_STREAM, b"".join(map(message, JSON_TEXTS)) + message(b"{}", "throttlingException", "exception")),
    "aws cut off": (AWS_EVENT_STREAM, message(b"{}") + message(b"")[:-1]),
    "aws damaged": (AWS_EVENT_STREAM, message(b"{}") + message(b'{"a":1}')[:-1] + b"\0" + message(b"{}")),
    "aws, then something else": (AWS_EVENT_STREAM, message(b"{}") + b"<html>Bad gateway</html>"),
    "array": (JSON_ARRAY, b"[" + b"\n,\r\n".join(JSON_TEXTS) + b"\n]\n"),
    "array with a mark": (JSON_ARRAY, BOM + b" [ " + b",".join(JSON_TEXTS) + b"]"),
    "array of scalars": (JSON_ARRAY, b'[1 , -2.5e3,true,null,"\\u005d\\"","\\\\",[[]],{}]'),
    "empty array": (JSON_ARRAY, b"\n[ ]\n"),
    "array cut off": (JSON_ARRAY, b'[{"a":[1,2]},{"b":"\\'),
    "array, then something else": (JSON_ARRAY, b"[{}]]{}"),
    "array without a comma": (JSON_ARRAY, b"[{} {}]"),
    "array without an element": (JSON_ARRAY, b"[{},,{}]"),
    "array that ends in a comma": (JSON_ARRAY, b"[{},]"),
    "not an array": (JSON_ARRAY, b'{"error":{}}'),
    "half a mark": (JSON_ARRAY, BOM[:2] + b"[]"),
}


class Seen(NamedTuple):
    """What a consumer learns from a stream, apart from the chunks."""

    events: list[tuple[bytes, bytes | None, str, bool]]
    failure: type[Exception] | None
    rest: bytes


def consume(framing: Framing, chunks: Iterable[bytes], max_event: int = 1 << 20) -> Seen:
    splitter = framing.splitter(max_event)
    events: list[Event] = []
    failures: list[EventTooLong | FramingError] = []
    for chunk in chunks:
        try:
            events += splitter.feed(chunk)
        except (EventTooLong, FramingError) as error:
            failures.append(error)
        else:
            assert not failures
        assert len(splitter.pending) <= (0 if failures else max_event)
    tail = splitter.finish()
    if failures:
        assert tail is None
        assert len({type(error) for error in failures}) == 1
        assert not any(error.events for error in failures[1:])
        events += failures[0].events
    elif tail is not None:
        events.append(tail)
    assert splitter.finish() is None
    for event in events:
        assert (event.id, event.retry, event.changed, event.parsed) == (None, None, False, sse.UNPARSED)
    return Seen(
        [(event.raw, event.data, event.event, event.complete) for event in events],
        type(failures[0]) if failures else None,
        b"".join(error.pending for error in failures),
    )


def joined(seen: Seen) -> bytes:
    return b"".join(raw for raw, *_ in seen.events) + seen.rest


@pytest.mark.parametrize(("framing", "stream"), STREAMS.values(), ids=STREAMS.keys())
def test_every_cut_gives_the_same_events(framing: Framing, stream: bytes) -> None:
    whole = consume(framing, [stream])
    assert joined(whole) == stream
    assert consume(framing, (bytes([byte]) for byte in stream)) == whole
    for first in range(len(stream) + 1):
        assert consume(framing, [stream[:first], stream[first:]]) == whole
        for second in range(first, min(first + 3, len(stream)) + 1):
            assert consume(framing, [stream[:first], stream[first:second], b"", stream[second:]]) == whole


@pytest.mark.parametrize(("framing", "stream"), STREAMS.values(), ids=STREAMS.keys())
def test_every_bound_holds_for_every_cut(framing: Framing, stream: bytes) -> None:
    unbounded = consume(framing, [stream])
    for max_event in range(0 if framing is not SSE else 4, 60, 3):
        whole = consume(framing, [stream], max_event)
        assert joined(whole) == stream
        assert all(len(raw) <= max_event for raw, *_ in whole.events)
        if whole.failure is not EventTooLong:
            assert whole == unbounded
        for size in (1, 2, 5):
            cut = consume(framing, (stream[at : at + size] for at in range(0, len(stream), size)), max_event)
            assert (cut.events, cut.failure) == (whole.events, whole.failure)
            assert joined(cut) == stream


garbage = st.lists(
    st.sampled_from([b"[", b"]", b"{", b"}", b",", b'"', b"\\", b"\n", b"\r\n", b" ", b"1", b"true", BOM, BOM[:1]])
    | st.sampled_from([b"\0\0\0\x10\0\0\0\0", message(b"{}"), message(b"")[:20], b'{"a":1}', b"data: x\n\n"])
    | st.binary(max_size=20),
    max_size=30,
).map(b"".join)


@pytest.mark.parametrize("framing", FRAMINGS[1:], ids=str)
@given(garbage, st.lists(st.integers(0, 200), max_size=8), st.sampled_from([1, 12, 40, 1 << 20]))
def test_any_bytes_cut_anywhere(framing: Framing, stream: bytes, cuts: list[int], max_event: int) -> None:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    cut = consume(framing, (stream[a:b] for a, b in pairwise(places)), max_event)
    whole = consume(framing, [stream], max_event)
    assert joined(cut) == joined(whole) == stream
    assert (cut.events, cut.failure) == (whole.events, whole.failure)
    assert all(complete for _, _, _, complete in cut.events[:-1])
    assert framing is not NDJSON or cut.failure is not FramingError


@given(st.binary(max_size=200))
def test_any_bytes_are_some_event(raw: bytes) -> None:
    """What is read lazily, long after the splitter, cannot fail either, and can be a template."""
    for framing in FRAMINGS:
        event = framing.event(raw)
        assert event.data is None or event.data in raw or framing in (SSE, AWS_EVENT_STREAM)
        assert isinstance(event.event, str)
        assert framing.encode(b"{}", like=event)


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
@given(texts=st.lists(st.sampled_from(JSON_TEXTS), min_size=1), size=st.integers(1, 50))
def test_what_is_written_is_read_back(framing: Framing, texts: list[bytes], size: int) -> None:
    outlet = framing.outlet()
    parts = [framing.encode(text) for text in texts]
    stream = b"".join(map(outlet.write, parts)) + outlet.close() if outlet else b"".join(parts)
    seen = consume(framing, (stream[at : at + size] for at in range(0, len(stream), size)))
    assert [data for _, data, _, _ in seen.events if data is not None] == texts
    assert all(complete for _, _, _, complete in seen.events)
    assert seen.failure is None


@pytest.mark.parametrize(("framing", "stream"), STREAMS.values(), ids=STREAMS.keys())
def test_an_event_written_like_another_is_that_event(framing: Framing, stream: bytes) -> None:
    for raw, data, kind, complete in consume(framing, [stream]).events:
        if data is None or not complete:
            continue
        like = framing.event(raw)
        assert (like.raw, like.data, like.event) == (raw, data, kind)
        again = framing.event(framing.encode(data, like=like))
        assert (again.data, again.event, again.id) == (data, kind, like.id)


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_a_template_of_another_framing_is_no_template(framing: Framing) -> None:
    for other in FRAMINGS:
        if other is not framing:
            like = other.event(other.encode(b'{"a":1}'))
            assert framing.event(framing.encode(b'{"b":2}', like=like)).data == b'{"b":2}'


@pytest.mark.parametrize(
    ("media_type", "framing"),
    [
        ("text/event-stream", SSE),
        ("Text/Event-Stream; charset=utf-8", SSE),
        ("application/x-ndjson", NDJSON),
        ("application/ndjson", NDJSON),
        (" application/jsonl ;a=b", NDJSON),
        ("application/x-jsonlines", NDJSON),
        ("application/stream+json;charset=UTF-8", NDJSON),
        ("application/vnd.amazon.eventstream", AWS_EVENT_STREAM),
        ("application/json", None),
        ("text/event-streams", None),
        ("", None),
        (";", None),
    ],
)
def test_media_types(media_type: str, framing: Framing | None) -> None:
    assert framing_of(media_type) is framing


def test_names() -> None:
    assert [repr(framing) for framing in FRAMINGS] == [
        "<Framing sse>",
        "<Framing ndjson>",
        "<Framing aws-eventstream>",
        "<Framing json-array>",
    ]
    for framing in FRAMINGS:
        assert all(framing_of(media_type) is framing for media_type in framing.media_types)
    assert JSON_ARRAY.media_types == ()


@pytest.mark.parametrize(("framing", "stream"), STREAMS.values(), ids=STREAMS.keys())
def test_only_the_array_says_where_it_ends(framing: Framing, stream: bytes) -> None:
    ends = [raw for raw, *_ in consume(framing, [stream]).events if framing.ends(framing.event(raw))]
    closed = {b"\n]", b"]", b"\n[ ]"} if framing is JSON_ARRAY else set()
    assert ends in ([], *([raw] for raw in closed))
    if b"".join(JSON_TEXTS[:1]) in stream or stream in (b"[{}]]{}", b"\n[ ]\n"):
        assert bool(ends) is (framing is JSON_ARRAY)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_sse_is_written_like_its_template(line_end: str) -> None:
    like = Event("event: a\nid: 7\nretry: 5\ndata: {}\n\n".replace("\n", line_end).encode())
    assert SSE.encode(b"1", like=like) == like.raw.replace(b"{}", b"1")
    assert SSE.encode(b"1", like=like, event="b", id="8") == b"event: b\nid: 8\nretry: 5\ndata: 1\n\n".replace(
        b"\n", line_end.encode()
    )
    assert SSE.encode(b"1", event="b", id="") == b"event: b\nid: \ndata: 1\n\n"


def test_a_type_that_may_be_read_but_not_written() -> None:
    written = SSE.encode(b"1", like=Event(b"event: a\0b\ndata: {}\n\n"))
    assert written == "event: a\N{REPLACEMENT CHARACTER}b\ndata: 1\n\n".encode()
    with pytest.raises(ValueError, match="event of a server-sent event"):
        SSE.encode(b"1", event="a\nb")


@pytest.mark.parametrize("framing", FRAMINGS[1:], ids=str)
def test_there_is_no_quick_way(framing: Framing) -> None:
    splitter = framing.splitter()
    assert not splitter.plain
    splitter.feed(b"[1," if framing is JSON_ARRAY else framing.encode(b"{}"))
    assert not splitter.plain
    assert not splitter.is_one_line(b"data: {}\n\n")


class Counted:
    """A pattern that counts the bytes it looked at."""

    def __init__(self, pattern: Any) -> None:
        self.pattern = pattern
        self.looked_at = 0

    def search(self, text: bytes | bytearray, at: int) -> Any:
        return self.found(self.pattern.search(text, at), len(text), at)

    def match(self, text: bytes | bytearray, at: int) -> Any:
        return self.found(self.pattern.match(text, at), len(text), at)

    def found(self, found: Any, size: int, at: int) -> Any:
        self.looked_at += (found.end() if found else size) - at
        return found


def test_work_on_an_array_is_linear_in_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    for name in ("_TOKEN", "_MARK", "_STRING_MARK", "_LITERAL_END"):
        counted.append(Counted(getattr(json_array, name)))
        monkeypatch.setattr(json_array, name, counted[-1])
    element = (
        b'{"a\\n\\\\":[' + b'"",' * 10_000 + b'"' + b"x" * 30_000 + b'\\"", ' + b"1" * 30_000 + b"]}" + b" " * 30_000
    )
    for stream in (b"[" + element + b",7]", b"[" + b"1" * 99_000 + b"]"):
        for size in (1, 7, len(stream)):
            splitter = JSON_ARRAY.splitter()
            events = [e for at in range(0, len(stream), size) for e in splitter.feed(stream[at : at + size])]
            assert events[-1].raw[-1:] == b"]"
            assert sum(pattern.looked_at for pattern in counted) < 1.01 * len(stream)
            for pattern in counted:
                pattern.looked_at = 0


def test_work_on_messages_is_linear_in_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    summed = 0

    class Binascii:
        @staticmethod
        def crc32(data: Any) -> int:
            nonlocal summed
            summed += len(data)
            return crc32(data)

    monkeypatch.setattr(aws_eventstream, "binascii", Binascii)
    stream = message(b"x" * 90_000) + message(b"") * 50
    for size in (1, 7, len(stream)):
        splitter = AWS_EVENT_STREAM.splitter()
        assert sum(len(splitter.feed(stream[at : at + size])) for at in range(0, len(stream), size)) == 51
        assert summed < len(stream) + 51 * 8
        summed = 0


class CountedBuffer(bytearray):
    """A buffer that counts the bytes it looked at."""

    looked_at = 0

    def find(self, what: Any, start: Any = 0, end: Any = None, /) -> int:
        found = super().find(what, start)
        self.looked_at += (len(self) if found < 0 else found + 1) - start
        return found


def test_work_on_lines_is_linear_in_the_bytes() -> None:
    stream = b'"' + b"x" * 3000 + b'"\n' + b"{}\n" * 50
    for size in (1, 7, len(stream)):
        splitter = ndjson.Splitter()
        splitter._buffer = buffer = CountedBuffer()
        assert sum(len(splitter.feed(stream[at : at + size])) for at in range(0, len(stream), size)) == 51
        assert buffer.looked_at <= len(stream)


@pytest.mark.parametrize("framing", FRAMINGS[1:], ids=str)
def test_a_million_chunks_of_one_byte(framing: Framing) -> None:
    """Would not come to an end if each chunk cost a look at, or a copy of, what came before."""
    stream = framing.encode(b'"' + b"x" * 250_000 + b'"') * 4
    stream = b"[" + stream[1:] if framing is JSON_ARRAY else stream
    feed = framing.splitter(1 << 20).feed
    chunks = [bytes([byte]) for byte in range(256)]
    assert sum(len(feed(chunks[byte])) for byte in stream) == 4
    assert len(stream) >= 1_000_000
