"""The response of one exchange on its way out, without I/O: what is held, what passes, what changes."""

from __future__ import annotations

import copy
import enum
import sys
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from . import json as strict_json
from .codings import CodingError, Decoder
from .exchange import Exchange, Refusal, Response
from .hooks import Answer, Result, contain, owner, run
from .llm.framing import Framing
from .llm.stream import StreamFlow
from .llm.view import Uncovered
from .pipeline import Stack, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

MAX_OBSERVED_BYTES = 4 << 20  # of a whole answer, kept beside to read its usage from
NO_BODY = frozenset({204, 205, 304})
RESPONSE_TOO_LARGE = Refusal(502, "response_too_large", "The answer is larger than the gateway may hold to check it.")
_VALIDATORS = (
    b"etag",
    b"digest",
    b"content-digest",
    b"repr-digest",
    b"content-md5",
    b"accept-ranges",
    b"content-range",
)


class Mode(enum.Enum):
    """What happens to the body: it passes, is read beside, is held until its end, or goes event by event."""

    PASS = enum.auto()
    OBSERVE = enum.auto()
    HOLD = enum.auto()
    EVENTS = enum.auto()


class Flow:
    """Drives one response through a walk. A host calls `start`, then `chunk` for each piece, then `end`.

    `start` and `end` return None, an answer that takes this response's place, or a coroutine of either.
    """

    mode = Mode.PASS
    stream: StreamFlow | None = None
    feed: Callable[[bytes], bytes]
    """Takes a chunk of a stream that is read and returns what leaves."""
    _decoder: Decoder | None = None
    _size = 0
    _held: list[bytes] | None = None

    def __init__(self, exchange: Exchange, stack: Stack, walk: Walk) -> None:
        self.exchange = exchange
        self._walk = walk
        self.observes = stack.usage or "meter" in exchange.__dict__

    def start(self, response: Response) -> Result:
        """Status and headers are known."""
        self.exchange.response = response
        if self._walk.head:
            result = run(self._walk.head, self.exchange)
            if result is not None:
                return self._continue(result) if type(result) is CoroutineType else result
        return self._choose()

    async def _continue(self, result: Coroutine[Any, Any, Answer]) -> Answer:
        answer = await result
        if answer is not None:
            return answer
        chosen = self._choose()
        return await chosen if type(chosen) is CoroutineType else chosen  # type: ignore[return-value]

    def _choose(self) -> Result:
        """Decide what happens to the body, and run the hooks that need no body when there is none to read."""
        exchange, walk = self.exchange, self._walk
        if walk.bodiless and not (self.observes and exchange.llm is not None):
            return None
        response = exchange.response
        assert response is not None
        empty = response.status in NO_BODY or response.status < 200 or exchange.request.method == "HEAD"
        if empty:
            return run(walk.plain, exchange) if walk.plain else None
        form = response.form
        framing = form.framing
        call = exchange.llm
        if call is not None:
            if response.status < 400:
                framing = call.dialect.framing(exchange.request, framing, json=form.json)
        elif not form.events:
            framing = None
        if framing is not None:
            self._open_stream(response, framing)
            refusal = self._stream_denied(response)
            if refusal is not None:
                return refusal
        elif walk.tail and form.readable and response.status != 206 and response.readable:
            self.mode = Mode.HOLD
            return None
        elif self.observes and form.json and call is not None and response.readable:
            self.mode = Mode.OBSERVE
        media = call is not None and call.dialect.media_answers and form.media
        if walk.texts and framing is None and response.status < 400 and not media:
            refusal = self._unreadable("a whole answer cannot be read")
            if refusal is not None:
                return refusal
        return run(walk.plain, exchange) if walk.plain else None

    def _open_stream(self, response: Response, framing: Framing) -> None:
        exchange, walk = self.exchange, self._walk
        call = exchange.llm
        drop = call is not None and call.asked_for_usage
        watched = self.observes and call is not None
        coding = response.coding
        if not (walk.events or walk.texts or drop or watched) or (coding is not None and not coding.decodable):
            return
        if coding is not None:
            self._decoder = Decoder(coding, max_output=sys.maxsize)  # what passes is not kept: the ratio bounds it
        dialect = call.dialect if call is not None else None
        self.stream = StreamFlow(exchange, dialect, walk.events, walk.texts, contain, drop_usage=drop, framing=framing)
        self.feed = self.stream.feed if coding is None else self._decode
        if watched:
            exchange.meter.streamed = True
        self.mode = Mode.EVENTS
        if not self.stream.observes:
            response.headers.remove("content-length")
            response.headers.remove("content-encoding")
            response.headers.remove_all(_VALIDATORS)

    def _stream_denied(self, response: Response) -> Refusal | None:
        """A stream whose dialect or content coding is not read: text hooks follow their policy."""
        call = self.exchange.llm
        if self._walk.texts and (not response.readable or call is None or not call.dialect.covered):
            return self._unreadable("a stream cannot be read")
        return None

    def _unreadable(self, reason: str) -> Refusal | None:
        for hook in self._walk.texts:
            refusal = contain(self.exchange, hook, Uncovered(reason))
            if refusal is not None:
                self.exchange.answering = owner(hook)
                return refusal
        return None

    def chunk(self, data: bytes) -> bytes:
        """Return what leaves for a piece of the body; empty when it is held."""
        mode = self.mode
        if mode is Mode.PASS:
            return data
        if mode is Mode.EVENTS:
            assert self.stream is not None
            return self.feed(data)
        self._size += len(data)
        if self._held is None:
            self._held = []
        if mode is Mode.OBSERVE:
            if self._size <= MAX_OBSERVED_BYTES:
                self._held.append(data)
            return data
        self._held.append(data)
        return b""

    @property
    def overfull(self) -> bool:
        """Whether more is held than the configuration allows."""
        return self.mode is Mode.HOLD and self._size > self.exchange.snapshot.max_body_bytes

    def give_up(self) -> Result:
        """Stop holding an answer that is too large: refuse it where a guard must see it, else let it pass unread."""
        for hook in self._walk.tail:
            plugin = owner(hook)
            if plugin.on_uncovered == "deny":
                self.exchange.decide(plugin, "refused", "the answer is too large to read")
                return RESPONSE_TOO_LARGE
        self.mode = Mode.PASS
        return run(self._walk.plain, self.exchange) if self._walk.plain else None

    def held(self) -> bytes:
        """Return and forget what was held."""
        held, self._held = self._held or (), None
        return held[0] if len(held) == 1 else b"".join(held)

    def end(self) -> Result:
        """The body is complete."""
        if self.mode is Mode.HOLD:
            response = self.exchange.response
            assert response is not None
            response.load(self.held())
            response.max_plain = self.exchange.snapshot.max_body_bytes
            if self.observes and self.exchange.llm is not None and response.form.json:
                self._observe(response)
            return run(self._walk.tail, self.exchange)
        if self.mode is Mode.OBSERVE and self._size <= MAX_OBSERVED_BYTES:
            beside = copy.copy(self.exchange.response)
            assert beside is not None
            beside.load(self.held())
            beside.max_plain = MAX_OBSERVED_BYTES
            self._observe(beside)
        return None

    def tail(self) -> bytes:
        """Return what leaves last: the held body as it stands now, or what text hooks still hold back."""
        if self.mode is Mode.HOLD:
            response = self.exchange.response
            assert response is not None
            body = response.wire
            if response.edited:
                response.headers.remove_all(_VALIDATORS)
                response.headers.set_length(len(body))
            return body
        stream, decoder = self.stream, self._decoder
        if stream is None or self.mode is not Mode.EVENTS:
            return b""
        if decoder is None or stream.finished:
            return stream.end()
        try:
            rest = decoder.finish()
        except CodingError:  # the answer was cut off: what could be decoded has left
            rest = b""
        out = stream.feed(rest) if rest else b""
        return b"" if stream.observes else out + stream.end()

    def break_off(self, status: int, code: str, text: str) -> bytes | None:
        """End a stream with an error of its dialect; None for what is no stream, is not read, or passes in a coding."""
        stream, response = self.stream, self.exchange.response
        if stream is None or self.exchange.llm is None:
            return None
        if stream.observes and response is not None and response.coding is not None:
            return None
        return stream.break_off(status, code, text)

    @property
    def finished(self) -> bool:
        """Whether a plug-in ended the stream: the service is to be stopped."""
        return self.stream is not None and self.stream.finished

    @property
    def delivered(self) -> bool:
        """Whether the dialect's end marker has passed, so that a client that leaves has everything."""
        return self.stream is not None and self.stream.ended

    def _observe(self, response: Response) -> None:
        exchange = self.exchange
        call = exchange.llm
        assert call is not None
        try:
            exchange.meter.observe_answer(call.said(response), response.body)
        except (strict_json.InvalidJSON, Uncovered):
            exchange.decide("gateway", "skipped", "the answer is not JSON: usage unknown")

    def _decode(self, data: bytes) -> bytes:
        """Return what leaves of a stream with a content coding: without it, unless nobody but us reads it."""
        decoder = self._decoder
        if decoder is None or self.stream is None:
            return data
        try:
            plain = decoder.feed(data)
        except CodingError as error:
            if not self.stream.observes:
                self.exchange.error = error
                return self.stream.break_off(502, "bad_content_coding", f"The answer cannot be read: {error.text}.")
            self.exchange.decide("gateway", "skipped", f"the answer cannot be read: {error.text}")
            self._decoder = None
            return data
        out = self.stream.feed(plain) if plain else b""
        return data if self.stream.observes else out
