"""AWS event streams: binary messages with typed headers and two checksums, as Amazon Bedrock streams its answers.

    total length (4) | headers length (4) | CRC-32 of these 8 (4) | headers | payload | CRC-32 of all before (4)

All numbers are big-endian; the total counts everything. `InvokeModelWithResponseStream` puts the model's own JSON in
base64 into the payload, `{"bytes": "...", "p": "<padding>"}`, under the event type `chunk`; `ConverseStream` sends
its JSON as the payload. An error in the stream is a message of the type `exception`.

After a wrong checksum or length nothing says where the next message begins, so all that follows is refused
(`FramingError`): the specification ends the stream there.

Source: Smithy, "Amazon Event Stream Specification"; Bedrock API reference, InvokeModelWithResponseStream (ResponseStream,
PayloadPart) and ConverseStream (ConverseStreamOutput).
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .. import json as strict_json
from .aws_headers import Header, HeaderType, encode_headers, read_headers
from .splitting import BufferedSplitter
from .sse import UNPARSED, Event

MEDIA_TYPES: Final = ("application/vnd.amazon.eventstream",)

MAX_PAYLOAD: Final = 25_165_824
"""Bytes of payload that a message may be written with."""
MAX_HEADERS: Final = 131_072
"""Bytes of headers that a message may be written with."""

CHUNK: Final = "chunk"
"""The event type whose payload wraps the model's own event."""

_LENGTHS: Final = struct.Struct(">II")
_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_LEAST: Final = _PRELUDE.size + _CRC.size
_TYPE_NAMES: Final = {"exception": ":exception-type", "error": ":error-code"}


class Message(Event):
    """One message. `event` is the event, exception or error type, `data` the payload, or what a chunk wraps.

    A payload that claims to be a chunk and wraps nothing readable is the data itself, for its readers to judge; so is
    that of a message whose headers cannot be read. An incomplete message has no data.
    """

    __slots__ = ("_headers", "_payload", "_wrapper")

    _headers: Mapping[str, Header] | None
    _payload: bytes
    _wrapper: dict[str, Any] | None

    @property
    def headers(self) -> Mapping[str, Header] | None:
        """The headers by name; None when they cannot be read (malformed, too many, or a name twice)."""
        if self._data is UNPARSED:
            self._read()
        return self._headers

    @property
    def payload(self) -> bytes:
        """The payload as sent."""
        if self._data is UNPARSED:
            self._read()
        return self._payload

    @property
    def message_type(self) -> str:
        """`event`, `exception` (declared by the API, `event` names it) or `error` (any other); empty when not given."""
        return _text(self.headers, ":message-type")

    @property
    def wrapped(self) -> bool:
        """Whether `data` was taken out of a chunk's base64."""
        if self._data is UNPARSED:
            self._read()
        return self._wrapper is not None

    def _read(self) -> None:
        self._data, self._event, self._id, self._retry = None, "", None, None
        self._headers, self._payload, self._wrapper = None, b"", None
        raw = self.raw
        if not self.complete or len(raw) < _LEAST:
            return
        payload = _PRELUDE.size + int.from_bytes(raw[4:8], "big")
        self._payload = raw[payload : -_CRC.size]
        self._headers = headers = read_headers(raw[_PRELUDE.size : payload])
        message_type = _text(headers, ":message-type")
        self._event = _text(headers, _TYPE_NAMES.get(message_type, ":event-type"))
        self._data = self._payload or None
        if self._event == CHUNK and message_type not in _TYPE_NAMES:
            inner = _unwrap(self._payload)
            if inner is not None:
                self._wrapper, self._data = inner


class Splitter(BufferedSplitter):
    """Cut a stream into messages whose checksums are right.

    A message whose prelude claims more than `max_event` bytes is refused as soon as the prelude is there.
    """

    __slots__ = ("_total",)

    event_type = Message

    def _reset(self) -> None:
        super()._reset()
        self._total = 0  # length of the message that begins the buffer, once its prelude was read

    def _end(self, text: bytes | bytearray, begin: int) -> int:
        size = len(text)
        total = self._total
        if not total:
            if size - begin < _PRELUDE.size:
                return -1
            total, headers, checksum = _PRELUDE.unpack_from(text, begin)
            if checksum != binascii.crc32(text[begin : begin + _LENGTHS.size]):
                self._reason = "the checksum of an event stream message's prelude is wrong"
            elif headers > total - _LEAST:
                self._reason = "the lengths of an event stream message contradict each other"
            if self._reason:
                return begin + _PRELUDE.size
            self._total = total
        end = begin + total
        if end <= size:
            self._total = 0
            with memoryview(text) as view:
                checksum = binascii.crc32(view[begin : end - _CRC.size])
            if checksum != _CRC.unpack_from(text, end - _CRC.size)[0]:
                self._reason = "the checksum of an event stream message is wrong"
        return end


def encode_message(headers: Iterable[Header], payload: bytes) -> bytes:
    """Return a message. Raises ValueError for headers that cannot be written and for more than the format allows."""
    return _message(encode_headers(headers), payload)


def encode_exception(exception: str, data: bytes) -> bytes:
    """Return the message of an exception that the API declares, as `throttlingException`, with its JSON.

    Raises ValueError as `encode_message` does.
    """
    return encode_message(_json_headers("exception", exception), data)


def encode(data: bytes, like: Event | None = None, event: str = "") -> bytes:
    """Return a message with the JSON `data`.

    It has the headers of `like`, byte for byte, and is wrapped as `like` is, with its other members (`p`) as they are;
    `event` replaces the event type, except that a wrapped chunk stays one: the type of what it wraps stands in there.
    Without a message to follow, `event` is the type; where that is empty, or `chunk`, a chunk is written.
    Raises ValueError for a type or data longer than the format allows.
    """
    if isinstance(like, Message) and like.headers is not None and (like.wrapped or event in ("", like.event)):
        block = like.raw[_PRELUDE.size : len(like.raw) - _CRC.size - len(like.payload)]
        wrapper = like._wrapper
    else:
        block = encode_headers(_json_headers("event", event or CHUNK))
        wrapper = {} if event in ("", CHUNK) else None
    if wrapper is not None:
        data = strict_json.encode({**wrapper, "bytes": binascii.b2a_base64(data, newline=False).decode()})
    return _message(block, data)


def _message(block: bytes, payload: bytes) -> bytes:
    if len(block) > MAX_HEADERS or len(payload) > MAX_PAYLOAD:
        raise ValueError("an event stream message has at most 131072 bytes of headers and 25165824 of payload")
    lengths = _LENGTHS.pack(_LEAST + len(block) + len(payload), len(block))
    checksum = binascii.crc32(lengths)
    message = b"%b%b%b%b" % (lengths, _CRC.pack(checksum), block, payload)
    return message + _CRC.pack(binascii.crc32(message))


def _json_headers(message_type: str, name: str) -> list[Header]:
    return [
        Header(_TYPE_NAMES.get(message_type, ":event-type"), HeaderType.STRING, name),
        Header(":content-type", HeaderType.STRING, "application/json"),
        Header(":message-type", HeaderType.STRING, message_type),
    ]


def _text(headers: Mapping[str, Header] | None, name: str) -> str:
    header = headers.get(name) if headers else None
    return header.value if header is not None and isinstance(header.value, str) else ""


def _unwrap(payload: bytes) -> tuple[dict[str, Any], bytes] | None:
    try:
        wrapper = strict_json.decode(payload)
        if isinstance(wrapper, dict) and isinstance(wrapper.get("bytes"), str):
            return wrapper, binascii.a2b_base64(wrapper["bytes"], strict_mode=True)
    except ValueError:  # not JSON, or not base64
        pass
    return None
