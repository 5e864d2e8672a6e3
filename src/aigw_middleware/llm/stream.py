"""An event stream on its way out: usage is observed, event hooks and text hooks run, what did not change passes as it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..exchange import Finish, Refusal
from ..forms import Uncovered
from .dialects.base import Delta, Dialect, Piece, Place
from .frame import Frame
from .framing import SSE, Framing, FramingError
from .sse import Event, EventTooLong
from .text import Denied, Finished, State, TextChain, TextHook

if TYPE_CHECKING:
    from ..exchange import Exchange


MAX_LESSONS = 16  # events that are looked at for what surrounds their text; a stream that changes it goes on parsed


class StreamFlow:
    """An event stream on its way out. Feed it chunks; `finished` says that a plug-in ended it and upstream must stop."""

    __slots__ = (
        "_chain",
        "_channels",
        "_drop_usage",
        "_event_hooks",
        "_finished_choices",
        "_frame",
        "_framing",
        "_last_text",
        "_lessons",
        "_observe_only",
        "_observe_text",
        "_out",
        "_outlet",
        "_passing",
        "_quick",
        "_said",
        "_seen_choices",
        "_splitter",
        "_stream",
        "contain",
        "ended",
        "exchange",
        "finished",
    )

    def __init__(
        self,
        exchange: Exchange,
        dialect: Dialect | None,
        event_hooks: Sequence[Callable[..., Any]],
        text_hooks: Sequence[TextHook],
        contain: Callable[[Exchange, Callable[..., Any], Exception], Refusal | None],
        *,
        drop_usage: bool = False,
        framing: Framing = SSE,
    ) -> None:
        self.exchange = exchange
        self.contain = contain
        self.finished = False
        self.ended = False
        """The dialect's end marker has passed: a client that leaves now has everything."""
        self._stream = dialect.open(framing) if dialect is not None else None
        self._observe_text = exchange.meter.observe_text if dialect is not None else None
        self._event_hooks: list[Callable[..., Any]] = list(event_hooks)
        self._chain = TextChain(exchange, text_hooks, contain) if text_hooks else None
        self._drop_usage = drop_usage
        self._observe_only = not event_hooks and not text_hooks and not drop_usage
        if self._chain is None and self._stream is not None:
            self._stream.said = None
        self._said = self._stream.said if self._stream is not None else None
        self._quick = dialect is not None and not event_hooks
        self._framing = framing
        self._splitter = framing.splitter()
        self._outlet = None if self._observe_only else framing.outlet()
        self._channels: dict[Place, State] = {}
        self._seen_choices: set[int] = set()
        self._finished_choices: set[int] = set()
        self._last_text = b""
        self._frame: Frame | None = None
        self._lessons = MAX_LESSONS
        self._out: list[bytes] = []
        self._passing = False

    def feed(self, chunk: bytes) -> bytes:
        """Return what leaves for `chunk`; empty when nothing does yet."""
        if self.finished:
            return b""
        if self._passing:
            return chunk
        if self._quick and self._splitter.plain:
            frame = self._frame
            if frame is not None:
                text = frame.text(chunk)
                if text is not None:
                    return self._quickly(chunk, frame.place, text, frame)
            if self._splitter.is_one_line(chunk):
                assert self._stream is not None
                found = self._stream.text_of(chunk[6:-2])
                if found is not None:
                    index, text = found
                    self._learn(chunk, Piece(index, "content", 0, text))
                    return self._quickly(chunk, (index, "content", 0), text, None)
        try:
            events = self._splitter.feed(chunk)
        except (EventTooLong, FramingError) as error:
            return self._unreadable(error, chunk)
        if self._observe_only:
            for event in events:
                self._account(event)
            return chunk
        for event in events:
            try:
                self._event(event)
            except Denied as denied:
                self._deny(denied.refusal)
            if self.finished:
                break
        return self._leave()

    def _leave(self) -> bytes:
        """Return what was written, with what the framing wants between its events, and at the end of them."""
        out = self._out
        if self._outlet is not None:
            out = list(map(self._outlet.write, out))
            if self.finished:
                out.append(self._outlet.close())
        data = out[0] if len(out) == 1 else b"".join(out)
        self._out.clear()
        return data

    def end(self) -> bytes:
        """Return what is left when the stream ended without an end marker."""
        if self.finished or self._passing:
            return b""
        tail = self._splitter.finish()
        if self._observe_only:
            if tail is not None and tail.complete:
                self._account(tail)
            return b""
        try:
            whole = self._whole(tail) if tail is not None else None
            if whole is not None:
                self._event(whole)
                tail = None
            if not self.finished:
                self._flush(lambda place: True)
        except Finished as finished:
            self._finish(finished, None, ())
        except Denied as denied:
            self._deny(denied.refusal)
        if tail is not None and self._chain is None and not self.finished:
            self._out.append(tail.raw)  # an event without its end: nobody reads it, but it is the provider's
        return self._leave()

    def _whole(self, tail: Event) -> Event | None:
        """Return what a stream left behind its last event if it is one, or would be but for the empty line after it."""
        if tail.complete:  # its last line end could have been half of one more
            return tail
        stream = self._stream
        if self._chain is None or stream is None or self._framing is not SSE or not tail.data:
            return None
        event = Event(tail.raw + (b"\n" if tail.raw.endswith(b"\n") else b"\n\n"))
        return event if stream.ends(event) or stream.read(event) is not None else None

    def break_off(self, status: int, code: str, text: str) -> bytes:
        """End a stream whose rest will not come: what was held back leaves, then the dialect's error event."""
        left = self.end()
        if not self.finished:
            self.finished = True
            if self._stream is not None:
                self._out.append(self._stream.error_event(status, code, text))
            left += self._leave()
        return left

    def _learn(self, event: bytes, piece: Piece) -> None:
        """Remember what surrounds the text of an event that carries nothing else."""
        if self._lessons:
            assert self._stream is not None
            self._lessons -= 1
            self._frame = self._stream.frame(event, piece)

    def _quickly(self, chunk: bytes, place: Place, text: str, frame: Frame | None) -> bytes:
        """One event that carries a piece of text and nothing else, as most do: the quick way through."""
        assert self._observe_text is not None
        self._observe_text(place, text)
        chain = self._chain
        if chain is None:
            self._seen_choices.add(place[0])
            return chunk
        state = self._channels.get(place)
        if state is None:
            self._seen_choices.add(place[0])
            state = self._state(place)
        assert self._stream is not None
        try:
            out = chain.push(state, text, False)
        except Finished as finished:
            self._finish(finished, Event(chunk), ())
        except Denied as denied:
            self._deny(denied.refusal)
        else:
            state.last = self._last_text = chunk
            if self._said is not None:
                self._said.setdefault(place, []).append(out)
            if out == text:
                return chunk
            if frame is not None:
                return frame.event(out)
            return self._stream.with_texts(Event(chunk), (Piece(*place, out),))
        return self._leave()

    # ------------------------------------------------------------------ one event

    def _account(self, event: Event) -> Delta | None:
        stream = self._stream
        if stream is None:
            return None
        delta = stream.read(event)
        if delta is None:
            if stream.ends(event):
                self.ended = True
            return None
        if stream.ends(event):
            self.ended = True
        self.exchange.meter.observe(delta)
        pieces = delta.pieces
        for piece in pieces:
            self._seen_choices.add(piece.index)
        if len(pieces) == 1 and self._quick and self._lessons and self._splitter.plain and _is_bare(delta):
            self._learn(event.raw, pieces[0])
        return delta

    def _event(self, event: Event) -> None:
        delta = self._account(event)
        if self._drop_usage and delta is not None and delta.usage is not None:
            if delta.usage_only:
                return
            assert self._stream is not None
            event = self._stream.without_usage(event)
        if not self._event_hooks:
            self._texts(event, delta)
            return
        events: list[Event] = [event]
        for hook in tuple(self._event_hooks):
            passed: list[Event] = []
            for current in events:
                try:
                    result = hook(self.exchange, current)
                except Exception as error:
                    self._event_hooks.remove(hook)
                    refusal = self.contain(self.exchange, hook, error)
                    if refusal is not None:
                        raise Denied(refusal) from None
                    result = None
                if result is None:
                    passed.append(current)
                elif isinstance(result, Finish):
                    self._finish(Finished(-1, result), event, ())
                    return
                else:
                    passed.extend(result)
            events = passed
        stream = self._stream
        for current in events:
            self._texts(current, delta if current is event else stream.read(current) if stream else None)
            if self.finished:
                return

    def _texts(self, event: Event, delta: Delta | None) -> None:
        chain, stream = self._chain, self._stream
        if chain is None:
            if delta is not None:
                self._finished_choices.update(delta.finished)
                if stream is not None:
                    stream.sent(event, delta)
            self._out.append(event.raw)
            return
        assert stream is not None
        if delta is None:
            self._unread(event)
            return
        pieces = delta.pieces
        if delta.finished or delta.closed:
            self._flush_before(delta)
            if self.finished:
                return
        changed: list[Piece] = []
        done: list[tuple[Piece, str]] = []
        for piece in pieces:
            place = piece.place
            state = self._state(place)
            final = piece.index in delta.finished or (piece.index, piece.part) in delta.closed
            try:
                text = chain.push(state, piece.text, final)
            except Finished as finished:
                self._finish(finished, event, done)
                return
            if final:
                del self._channels[place]
            state.last = event.raw
            done.append((piece, text))
            if stream.said is not None:
                stream.said.setdefault(place, []).append(text)
            if text != piece.text:
                changed.append(Piece(*place, text))
        if pieces:
            self._last_text = event.raw
        if delta.restated and not self._restate(event, delta, changed):
            return
        self._finished_choices.update(delta.finished)
        stream.sent(event, delta)
        self._out.append(stream.with_texts(event, changed) if changed else event.raw)

    def _restate(self, event: Event, delta: Delta, changed: list[Piece]) -> bool:
        """Collect what a text that is told again must say now: what left of it; False when that ended the answer."""
        assert self._chain is not None
        assert self._stream is not None
        said = self._stream.said
        for piece in delta.restated:
            place = piece.place
            if said is None or place not in said:  # it was not told in pieces
                try:
                    text = self._chain.push(State(*place, len(self._chain.hooks)), piece.text, True)
                except Finished as finished:
                    self._finish(finished, event, ())
                    return False
                if said is not None:
                    said[place] = [text]
            else:
                text = "".join(said[place])
                said[place] = [text]
            if text != piece.text:
                changed.append(Piece(*place, text))
        return True

    def _state(self, place: Place) -> State:
        state = self._channels.get(place)
        if state is None:
            state = self._channels[place] = State(*place, self._hook_count)
        return state

    def _unread(self, event: Event) -> None:
        """An event without JSON of the dialect: a comment, the end marker, or something a text hook cannot see into."""
        assert self._stream is not None
        assert self._chain is not None
        if self._stream.ends(event) or self._framing.ends(event):
            try:
                self._flush(lambda place: True)
            except Finished as finished:
                self._finish(finished, None, ())
                return
        elif self._stream.opaque(event):
            for position, hook in enumerate(self._chain.hooks):
                if hook is None:
                    continue
                refusal = self.contain(self.exchange, hook, Uncovered("a stream event is not of the dialect"))
                if refusal is not None:
                    raise Denied(refusal)
                self._chain.hooks[position] = hook
        self._out.append(event.raw)

    # ------------------------------------------------------------------ flushing and ending

    def _flush_before(self, delta: Delta) -> None:
        """Before the event that ends texts: what is held back of them, unless the event itself carries that channel."""
        own = {piece.place for piece in delta.pieces}
        closed, finished = delta.closed, delta.finished
        try:
            self._flush(
                lambda place: place not in own and (place[0] in finished or (place[0], place[2]) in closed),
            )
        except Finished as ending:
            self._finish(ending, None, ())

    def _flush(self, concerns: Callable[[Place], bool]) -> None:
        if self._chain is None:
            return
        assert self._stream is not None
        for place in [place for place in self._channels if concerns(place)]:
            state = self._channels.pop(place)
            text = self._chain.push(state, "", True)
            if text and state.last:
                if self._stream.said is not None:
                    self._stream.said.setdefault(place, []).append(text)
                self._out.append(self._stream.text_event(self._framing.event(state.last), Piece(*place, text)))

    def _finish(
        self,
        finished: Finished,
        event: Event | None,
        done: Sequence[tuple[Piece, str]],
    ) -> None:
        """End the stream: what the hook let out still passes the outer ones, what was held back inside is dropped."""
        self.finished = self.ended = True
        position = finished.position
        template = event if event is not None and event.data else None
        if template is None and self._last_text:
            template = self._framing.event(self._last_text)
        stream = self._stream
        if stream is None:
            return
        out: list[tuple[Place, str]] = []
        state = finished.state
        if state is None and finished.finish.text:  # an event hook has no channel: its text is content
            place = (min(self._seen_choices - self._finished_choices, default=0), "content", 0)
            state = self._channels.get(place) or State(*place, self._hook_count)
        if state is not None:
            place = state.place
            self._channels.pop(place, None)
            out.append((place, self._outer(state, finished.finish.text, position)))
        for place, other in list(self._channels.items()):
            out.append((place, self._outer(other, "", position)))
        self._channels.clear()
        if stream.said is not None:
            for place, text in out:
                stream.said.setdefault(place, []).append(text)
        if template is not None:
            for place, text in [*((piece.place, text) for piece, text in done), *out]:
                if text:
                    self._out.append(stream.text_event(template, Piece(*place, text)))
        still_open = sorted(self._seen_choices - self._finished_choices)
        self._out.append(stream.finish_events(template, still_open, finished.finish.reason))

    @property
    def observes(self) -> bool:
        """Whether everything passes as it comes: nothing here may change it."""
        return self._observe_only

    @property
    def _hook_count(self) -> int:
        return len(self._chain.hooks) if self._chain is not None else 0

    def _outer(self, state: State, text: str, position: int) -> str:
        if self._chain is None:
            return text
        try:
            return self._chain.push(state, text, True, position + 1)
        except Finished as finished:
            return self._outer(state, finished.finish.text, finished.position)

    def _deny(self, refusal: Refusal) -> None:
        self.finished = True
        self.exchange.refusal = refusal
        if self._stream is not None:
            self._out.append(self._stream.error_event(refusal.status, refusal.code, refusal.text))

    def _unreadable(self, error: EventTooLong | FramingError, chunk: bytes) -> bytes:
        """An event over the bound, or a damaged frame: guards cannot read it, others let the rest pass unread."""
        pending = error.pending
        if self._observe_only:
            self._passing = True
            return chunk
        for event in error.events:
            try:
                self._event(event)
            except Denied as denied:
                self._deny(denied.refusal)
            if self.finished:
                break
        if self._chain is not None and not self.finished:
            for hook in self._chain.hooks:
                refusal = self.contain(self.exchange, hook, Uncovered(str(error))) if hook is not None else None
                if refusal is not None:
                    self._deny(refusal)
                    break
        if not self.finished:
            self._passing = True
            self._out.append(pending)
        return self._leave()


def _is_bare(delta: Delta) -> bool:
    """Whether an event carries its texts and nothing that would be missed if it was not parsed."""
    return not (delta.finished or delta.closed or delta.restated or delta.calls or delta.usage or delta.error)
