"""AWS event streams: lengths and checksums hold, headers of every type, chunks are unwrapped and wrapped again."""

import json
import struct
from base64 import b64encode
from binascii import crc32
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm.aws_eventstream import (
    CHUNK,
    MAX_HEADERS,
    MAX_PAYLOAD,
    Message,
    Splitter,
    encode,
    encode_exception,
    encode_message,
)
from aigw_middleware.llm.aws_headers import Header, HeaderType, HeaderValue, encode_headers, read_headers
from aigw_middleware.llm.splitting import FramingError
from aigw_middleware.llm.sse import EventTooLong

CHUNK_HEADERS = (
    b"\x0b:event-type\x07\x00\x05chunk\x0d:content-type\x07\x00\x10application/json\x0d:message-type\x07\x00\x05event"
)
INNER = b'{"type":"content_block_delta","delta":{"text":"Hi"}}'
WRAPPED = b'{"bytes":"%b","p":"abcdefghijk"}' % b64encode(INNER)


def framed(headers: bytes, payload: bytes, *, total: int | None = None, headers_length: int | None = None) -> bytes:
    """A message by the specification, with the lengths it is told to claim and the right checksums."""
    total = 16 + len(headers) + len(payload) if total is None else total
    out = struct.pack(">II", total, len(headers) if headers_length is None else headers_length)
    out += struct.pack(">I", crc32(out)) + headers + payload
    return out + struct.pack(">I", crc32(out))


def one(stream: bytes) -> Message:
    splitter = Splitter()
    (event,) = splitter.feed(stream)
    assert splitter.finish() is None
    assert event.raw == stream
    assert isinstance(event, Message)
    return event


def test_a_chunk_is_what_it_wraps() -> None:
    event = one(framed(CHUNK_HEADERS, WRAPPED))
    assert (event.data, event.event, event.message_type, event.wrapped) == (INNER, "chunk", "event", True)
    assert event.payload == WRAPPED
    assert event.headers is not None
    assert list(event.headers) == [":event-type", ":content-type", ":message-type"]


@pytest.mark.parametrize("name", ["headers", "payload", "message_type", "wrapped", "data", "event"])
def test_any_field_may_be_asked_for_first(name: str) -> None:
    again, event = one(framed(CHUNK_HEADERS, WRAPPED)), one(framed(CHUNK_HEADERS, WRAPPED))
    assert event.data == INNER
    assert getattr(again, name) == getattr(event, name)


def test_a_message_of_converse_is_its_payload() -> None:
    payload = b'{"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"abcd"}'
    event = one(framed(CHUNK_HEADERS.replace(b"\x05chunk", b"\x11contentBlockDelta"), payload))
    assert (event.data, event.event, event.wrapped) == (payload, "contentBlockDelta", False)


def test_an_exception_and_an_error_say_their_type() -> None:
    event = one(encode_exception("throttlingException", b'{"message":"slow down"}'))
    assert (event.event, event.message_type) == ("throttlingException", "exception")
    assert event.data == b'{"message":"slow down"}'
    headers = [
        Header(":error-message", HeaderType.STRING, "sorry"),
        Header(":error-code", HeaderType.STRING, "InternalError"),
        Header(":message-type", HeaderType.STRING, "error"),
    ]
    event = one(encode_message(headers, b""))
    assert (event.event, event.message_type, event.data) == ("InternalError", "error", None)
    assert event.headers is not None
    assert event.headers[":error-message"].value == "sorry"


def test_only_an_event_is_unwrapped() -> None:
    event = one(encode_exception(CHUNK, WRAPPED))
    assert (event.event, event.data, event.wrapped) == ("chunk", WRAPPED, False)
    assert encode(b"{}", event) == encode_exception(CHUNK, b"{}")


@pytest.mark.parametrize(
    "payload",
    [b"{}", b'{"bytes":1}', b'{"bytes":"e30"}', b'{"bytes":"e3\\n0="}', b'{"bytes":"\\u00e9"}', b"[]", b"x", b"\xff"],
)
def test_a_chunk_that_wraps_nothing_readable_is_data_itself(payload: bytes) -> None:
    event = one(framed(CHUNK_HEADERS, payload))
    assert (event.data, event.wrapped) == (payload, False)
    assert one(encode(payload, event)).raw == event.raw


def test_a_message_without_anything() -> None:
    event = one(framed(b"", b""))
    assert (event.data, event.event, event.headers, event.payload) == (None, "", {}, b"")


def test_a_wrapper_is_kept() -> None:
    like = one(framed(CHUNK_HEADERS, WRAPPED))
    event = one(encode(b'{"new":1}', like))
    assert (event.data, event.wrapped) == (b'{"new":1}', True)
    assert event.raw[12 : 12 + len(CHUNK_HEADERS)] == CHUNK_HEADERS
    assert json.loads(event.payload) == {"bytes": b64encode(b'{"new":1}').decode(), "p": "abcdefghijk"}
    assert list(json.loads(event.payload)) == ["bytes", "p"]
    assert one(encode(INNER, like)).raw == like.raw
    assert one(encode(b"1", like, "content_block_stop")).event == "chunk"  # its own type stands in what it wraps


def test_headers_are_kept_unless_the_type_changes() -> None:
    odd = encode_headers([Header("trace", HeaderType.LONG, 7), Header(":event-type", HeaderType.STRING, "a")])
    like = one(framed(odd, b"{}"))
    assert encode(b'{"b":1}', like) == encode(b'{"b":1}', like, "a") == framed(odd, b'{"b":1}')
    other = one(encode(b"{}", like, "messageStop"))
    assert (other.event, other.message_type, other.data) == ("messageStop", "event", b"{}")
    assert other.headers is not None
    assert "trace" not in other.headers


def test_without_a_message_to_follow() -> None:
    for event in (one(encode(b"{}")), one(encode(b"{}", None, "chunk"))):
        assert event.raw[12 : 12 + len(CHUNK_HEADERS)] == CHUNK_HEADERS
        assert (event.payload, event.data) == (b'{"bytes":"e30="}', b"{}")
    event = one(encode(b"{}", None, "messageStart"))
    assert (event.event, event.data, event.wrapped) == ("messageStart", b"{}", False)


def test_checksums_are_those_of_gzip() -> None:
    assert framed(b"", b"") == bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")
    assert encode_message([], b"") == framed(b"", b"")
    assert encode(b'{"a":1}', None, "x") == framed(CHUNK_HEADERS.replace(b"\x05chunk", b"\x01x"), b'{"a":1}')


@pytest.mark.parametrize("at", range(len(framed(CHUNK_HEADERS, WRAPPED))))
def test_every_damaged_byte_is_noticed(at: int) -> None:
    good = framed(CHUNK_HEADERS, b"{}")
    bad = bytearray(framed(CHUNK_HEADERS, WRAPPED))
    bad[at] ^= 0x10
    splitter = Splitter()
    with pytest.raises(FramingError, match="checksum") as caught:
        splitter.feed(good + bytes(bad) + good)
    assert [event.raw for event in caught.value.events] == [good]
    assert caught.value.pending == bytes(bad) + good
    with pytest.raises(FramingError) as caught:
        splitter.feed(good)
    assert (caught.value.events, caught.value.pending) == ([], good)
    assert "prelude" in str(caught.value) or at >= 12
    assert splitter.finish() is None
    assert one(good).event == "chunk"


@pytest.mark.parametrize(
    ("total", "headers_length"), [(0, 0), (15, 0), (16, 1), (19, 2**32 - 1), (18, 3), (100, 85), (12, 0)]
)
def test_lengths_that_contradict_each_other(total: int, headers_length: int) -> None:
    lying = framed(b"ab", b"c", total=total, headers_length=headers_length)
    for stream in (lying, lying[:12]):
        with pytest.raises(FramingError, match="lengths") as caught:
            Splitter().feed(stream)
        assert caught.value.pending == stream


def test_a_length_that_does_not_fit_the_message() -> None:
    for total in (18, 20, 30):
        with pytest.raises(FramingError, match="checksum of an event stream message is wrong"):
            Splitter().feed(framed(b"", b"abc", total=total) + b"x" * 20)


@pytest.mark.parametrize("total", [101, 1 << 20, 2**32 - 1])
def test_an_oversized_message_is_refused_at_its_prelude(total: int) -> None:
    prelude = framed(b"", b"", total=total)[:12]
    splitter = Splitter(max_event=100)
    assert splitter.feed(prelude[:11]) == []
    with pytest.raises(EventTooLong) as caught:
        splitter.feed(prelude[11:])
    assert (caught.value.pending, splitter.pending) == (prelude, b"")
    assert len(Splitter(max_event=100).feed(framed(b"", b"x" * 84))) == 1


def test_an_incomplete_message_has_no_data() -> None:
    whole = framed(CHUNK_HEADERS, WRAPPED)
    for size in range(1, len(whole)):
        splitter = Splitter()
        assert splitter.feed(whole[:size]) == []
        assert splitter.pending == whole[:size]
        event = splitter.finish()
        assert event is not None
        assert (event.raw, event.complete, event.data, event.event) == (whole[:size], False, None, "")


numbers = {HeaderType.BYTE: 7, HeaderType.SHORT: 15, HeaderType.INTEGER: 31, HeaderType.LONG: 63}
number_headers = st.sampled_from([*numbers, HeaderType.TIMESTAMP]).flatmap(
    lambda kind: st.tuples(st.just(kind), st.integers(-(2 ** numbers.get(kind, 63)), 2 ** numbers.get(kind, 63) - 1))
)
values: st.SearchStrategy[tuple[HeaderType, HeaderValue]] = (
    st.sampled_from([(HeaderType.TRUE, True), (HeaderType.FALSE, False)])
    | number_headers
    | st.tuples(st.just(HeaderType.BYTE_ARRAY), st.binary())
    | st.tuples(st.just(HeaderType.STRING), st.text())
    | st.tuples(st.just(HeaderType.UUID), st.uuids())
)
names = st.text(min_size=1, max_size=60)


@given(st.dictionaries(names, values, max_size=12))
def test_headers_of_every_type_come_back(written: dict[str, tuple[HeaderType, HeaderValue]]) -> None:
    headers = [Header(name, *value) for name, value in written.items()]
    block = encode_headers(headers)
    read = read_headers(block)
    assert read is not None
    assert list(read.values()) == headers
    assert [type(header.value) for header in read.values()] == [type(header.value) for header in headers]
    assert one(encode_message(headers, b"x")).headers == read


@given(st.dictionaries(names, values, min_size=1, max_size=3), st.data())
def test_headers_that_are_cut_short_are_not_read(
    written: dict[str, tuple[HeaderType, HeaderValue]], data: st.DataObject
) -> None:
    *_, (name, value) = written.items()
    block = encode_headers(Header(name, *value) for name, value in written.items())
    last = len(encode_headers([Header(name, *value)]))
    cut = data.draw(st.integers(len(block) - last + 1, len(block) - 1))
    assert read_headers(block[:cut]) is None
    event = one(framed(block[:cut], b"{}"))
    assert (event.headers, event.event, event.data, event.wrapped) == (None, "", b"{}", False)
    assert one(encode(b"[]", event)).event == "chunk"  # not written again what cannot be read


def test_headers_as_the_specification_shows_them() -> None:
    block = bytes.fromhex(
        "0161 00 0162 01 0163 02 ff 0164 03 fffe 0165 04 00000003 0166 05 0000000000000004 0167 06 0002 0001"
        "0168 07 0002 c3a9 0169 08 0000018bcfe56800 016a 09 00112233445566778899aabbccddeeff"
    )
    read = read_headers(block)
    assert read is not None
    assert {name: header.value for name, header in read.items()} == {
        "a": True,
        "b": False,
        "c": -1,
        "d": -2,
        "e": 3,
        "f": 4,
        "g": b"\0\1",
        "h": "é",
        "i": 1_700_000_000_000,
        "j": UUID("00112233-4455-6677-8899-aabbccddeeff"),
    }
    assert [header.type for header in read.values()] == list(HeaderType)
    assert encode_headers(read.values()) == block


@pytest.mark.parametrize(
    "block",
    [
        b"\x00\x00",  # no name
        b"\x01a\x0a",  # no such type
        b"\x01a\x00\x01a\x01",  # a name twice
        b"\x01\xff\x00",  # a name that is not UTF-8
        b"\x01a\x07\x00\x01\xff",  # a text that is not UTF-8
        b"\x01a\x07\x00\x02b",
        b"\xff",
    ],
)
def test_headers_that_are_not_read(block: bytes) -> None:
    assert read_headers(block) is None


def test_headers_are_bounded_in_number() -> None:
    assert len(read_headers(encode_headers(Header(str(n), HeaderType.TRUE, True) for n in range(128))) or ()) == 128
    assert read_headers(encode_headers(Header(str(n), HeaderType.TRUE, True) for n in range(129))) is None


@pytest.mark.parametrize("value", ["", 5, True])
def test_a_type_that_is_no_text_is_none(value: HeaderValue) -> None:
    kind = {str: HeaderType.STRING, int: HeaderType.INTEGER, bool: HeaderType.TRUE}[type(value)]
    assert one(encode_message([Header(":event-type", kind, value)], b"{}")).event == ""


@pytest.mark.parametrize(
    "header",
    [
        Header("", HeaderType.TRUE, True),
        Header("é" * 128, HeaderType.TRUE, True),
        Header("a", HeaderType.TRUE, False),
        Header("a", HeaderType.TRUE, 1.0),  # type: ignore[arg-type]
        Header("a", HeaderType.BYTE, 128),
        Header("a", HeaderType.BYTE, True),
        Header("a", HeaderType.LONG, "1"),
        Header("a", HeaderType.STRING, b"a"),
        Header("a", HeaderType.STRING, "a" * 32_768),
        Header("a", HeaderType.STRING, "\ud800"),
        Header("a", HeaderType.BYTE_ARRAY, b"a" * 32_768),
        Header("a", HeaderType.UUID, b"a" * 16),
    ],
)
def test_headers_that_cannot_be_written(header: Header) -> None:
    with pytest.raises(ValueError, match=r"event stream header|surrogates"):
        encode_headers([header])


def test_messages_that_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_message([], b"x" * (MAX_PAYLOAD + 1))
    with pytest.raises(ValueError, match="at most"):
        encode_message([Header(str(n), HeaderType.STRING, "a" * 32_000) for n in range(5)], b"")
    assert MAX_HEADERS < 5 * 32_000
    with pytest.raises(ValueError, match="cannot have this value"):
        encode(b"", None, "a" * 32_768)
