"""An event stream on its way out: usage is observed, event hooks and text hooks run, what did not change passes as it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..exchange import Finish, Refusal
from .dialects.base import Delta, Dialect, Piece
from .frame import Frame
from .sse import Event, EventTooLong, Splitter
from .text import Denied, Finished, State, TextChain, TextHook

if TYPE_CHECKING:
    from ..exchange import Exchange


MAX_LESSONS = 16  # events that are looked at for what surrounds their text; a stream that changes it goes on parsed
MAX_FRAMED = 16_384  # bytes of an event that is not parsed; far below any bound on events


class StreamFlow:
    """An event stream on its way out. Feed it chunks; `finished` says that a plug-in ended it and upstream must stop."""

    __slots__ = (
        "_chain",
        "_channels",
        "_dialect",
        "_drop_usage",
        "_event_hooks",
        "_finished_choices",
        "_frame",
        "_last_text",
        "_lessons",
        "_observe_only",
        "_out",
        "_passing",
        "_quick",
        "_seen_choices",
        "_splitter",
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
    ) -> None:
        self.exchange = exchange
        self.contain = contain
        self.finished = False
        self.ended = False
        """The dialect's end marker has passed: a client that leaves now has everything."""
        self._dialect = dialect
        self._event_hooks: list[Callable[..., Any]] = list(event_hooks)
        self._chain = TextChain(exchange, text_hooks, contain) if text_hooks else None
        self._drop_usage = drop_usage
        self._observe_only = not event_hooks and not text_hooks and not drop_usage
        self._quick = dialect is not None and not event_hooks
        self._splitter = Splitter()
        self._channels: dict[tuple[int, str, int], State] = {}
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
            if frame is not None and len(chunk) < MAX_FRAMED:
                text = frame.text(chunk)
                if text is not None:
                    return self._content(chunk, frame.index, text, frame)
            if self._splitter.is_one_line(chunk):
                dialect = self._dialect
                assert dialect is not None
                found = dialect.text_of(chunk[6:-2])
                if found is not None:
                    if self._lessons:
                        self._lessons -= 1
                        self._frame = dialect.frame(chunk, *found)
                    return self._content(chunk, *found, None)
        try:
            events = self._splitter.feed(chunk)
        except EventTooLong as error:
            return self._too_long(error, chunk)
        if self._observe_only:
            for event in events:
                self._account(event)
            return chunk
        out = self._out
        for event in events:
            try:
                self._event(event)
            except Denied as denied:
                self._deny(denied.refusal)
            if self.finished:
                break
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
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
            if tail is not None and tail.complete:  # its last line end could have been half of one more
                self._event(tail)
                tail = None
            if not self.finished:
                self._flush(None)
        except Finished as finished:
            self._finish(finished, None, ())
        except Denied as denied:
            self._deny(denied.refusal)
        if tail is not None and self._chain is None and not self.finished:
            self._out.append(tail.raw)  # an event without its end: nobody reads it, but it is the provider's
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _content(self, chunk: bytes, index: int, text: str, frame: Frame | None) -> bytes:
        """One event that carries a piece of content and nothing else, as most do: the quick way through."""
        self.exchange.meter.observe_content(index, text)
        chain = self._chain
        if chain is None:
            self._seen_choices.add(index)
            return chunk
        state = self._channels.get((index, "content", 0))
        if state is None:
            self._seen_choices.add(index)
            state = self._state(Piece(index, "content", 0, text))
        try:
            out = chain.push(state, text, False)
        except Finished as finished:
            self._finish(finished, Event(chunk), ())
        except Denied as denied:
            self._deny(denied.refusal)
        else:
            state.last = self._last_text = chunk
            if out == text:
                return chunk
            if frame is not None:
                return frame.event(out)
            assert self._dialect is not None
            return self._dialect.with_texts(Event(chunk), (Piece(index, "content", 0, out),))
        data = b"".join(self._out)
        self._out.clear()
        return data

    # ------------------------------------------------------------------ one event

    def _account(self, event: Event) -> Delta | None:
        dialect = self._dialect
        if dialect is None:
            return None
        delta = dialect.read(event)
        if delta is None:
            if dialect.ends(event):
                self.ended = True
            return None
        self.exchange.meter.observe(delta)
        for piece in delta.pieces:
            self._seen_choices.add(piece.index)
        return delta

    def _event(self, event: Event) -> None:
        delta = self._account(event)
        if self._drop_usage and delta is not None and delta.usage_only:
            return
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
        dialect = self._dialect
        for current in events:
            self._texts(current, delta if current is event else dialect.read(current) if dialect else None)
            if self.finished:
                return

    def _texts(self, event: Event, delta: Delta | None) -> None:
        chain = self._chain
        if chain is None:
            if delta is not None:
                self._finished_choices.update(delta.finished)
            self._out.append(event.raw)
            return
        assert self._dialect is not None
        if delta is None:
            self._unread(event)
            return
        pieces = delta.pieces
        if delta.finished:
            self._flush_choices(delta)
            if self.finished:
                return
        changed: list[Piece] = []
        done: list[tuple[Piece, str]] = []
        for piece in pieces:
            state = self._state(piece)
            final = piece.index in delta.finished
            try:
                text = chain.push(state, piece.text, final)
            except Finished as finished:
                self._finish(finished, event, done)
                return
            if final:
                del self._channels[(piece.index, piece.kind, piece.part)]
            state.last = event.raw
            done.append((piece, text))
            if text != piece.text:
                changed.append(Piece(piece.index, piece.kind, piece.part, text))
        if pieces:
            self._last_text = event.raw
        self._finished_choices.update(delta.finished)
        self._out.append(self._dialect.with_texts(event, changed) if changed else event.raw)

    def _state(self, piece: Piece) -> State:
        key = (piece.index, piece.kind, piece.part)
        state = self._channels.get(key)
        if state is None:
            assert self._chain is not None
            state = self._channels[key] = State(piece, len(self._chain.hooks))
        return state

    def _unread(self, event: Event) -> None:
        """An event without JSON of the dialect: a comment, the end marker, or something a text hook cannot see into."""
        assert self._dialect is not None
        assert self._chain is not None
        if self._dialect.ends(event):
            try:
                self._flush(None)
            except Finished as finished:
                self._finish(finished, None, ())
                return
        elif event.data:
            from .view import Uncovered

            for position, hook in enumerate(self._chain.hooks):
                if hook is None:
                    continue
                refusal = self.contain(self.exchange, hook, Uncovered("a stream event is not of the dialect"))
                if refusal is not None:
                    raise Denied(refusal)
                self._chain.hooks[position] = hook
        self._out.append(event.raw)

    # ------------------------------------------------------------------ flushing and ending

    def _flush_choices(self, delta: Delta) -> None:
        """Before the event that ends choices: what is held back of them, unless the event itself carries that channel."""
        own = {(piece.index, piece.kind, piece.part) for piece in delta.pieces}
        try:
            for index in delta.finished:
                self._flush(index, own)
        except Finished as finished:
            self._finish(finished, None, ())

    def _flush(self, choice: int | None, besides: set[tuple[int, str, int]] = frozenset()) -> None:  # type: ignore[assignment]
        if self._chain is None:
            return
        assert self._dialect is not None
        for key in [key for key in self._channels if (choice is None or key[0] == choice) and key not in besides]:
            state = self._channels.pop(key)
            text = self._chain.push(state, "", True)
            if text and state.last:
                self._out.append(self._dialect.text_event(Event(state.last), Piece(*key, text)))

    def _finish(
        self,
        finished: Finished,
        event: Event | None,
        done: Sequence[tuple[Piece, str]],
    ) -> None:
        """End the stream: what the hook let out still passes the outer ones, what was held back inside is dropped."""
        self.finished = self.ended = True
        position = finished.position
        template = event if event is not None and event.data else Event(self._last_text) if self._last_text else None
        dialect = self._dialect
        if dialect is None:
            return
        out: list[tuple[Piece, str]] = list(done)
        state = finished.state
        if state is None and finished.finish.text:  # an event hook has no channel: its text is content
            piece = Piece(min(self._seen_choices - self._finished_choices, default=0), "content", 0, "")
            state = self._channels.get((piece.index, "content", 0)) or State(piece, self._hook_count)
        if state is not None:
            channel = state.open
            place = (channel.index, channel.kind, channel.part)
            self._channels.pop(place, None)
            out.append((Piece(*place, ""), self._outer(state, finished.finish.text, position)))
        for key, other in list(self._channels.items()):
            text = self._outer(other, "", position)
            if text:
                out.append((Piece(*key, ""), text))
        self._channels.clear()
        if template is not None:
            for piece, text in out:
                if text:
                    self._out.append(dialect.text_event(template, Piece(piece.index, piece.kind, piece.part, text)))
        still_open = sorted(self._seen_choices - self._finished_choices)
        self._out.append(dialect.finish_events(template, still_open, finished.finish.reason))

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
        if self._dialect is not None:
            self._out.append(self._dialect.error_event(refusal.status, refusal.code, refusal.text))

    def _too_long(self, error: EventTooLong, chunk: bytes) -> bytes:
        """An event over the bound: guards cannot read it, others let the rest of the stream pass unread."""
        pending = self._splitter.pending
        if self._observe_only:
            self._passing = True
            return chunk
        if self._chain is not None:
            for hook in self._chain.hooks:
                refusal = self.contain(self.exchange, hook, error) if hook is not None else None
                if refusal is not None:
                    self._deny(refusal)
                    data = b"".join(self._out)
                    self._out.clear()
                    return data
        self._passing = True
        return pending
