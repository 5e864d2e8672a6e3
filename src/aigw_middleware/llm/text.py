"""The texts of an answer on their way through the plug-ins: `on_event` and `on_text`, streamed and whole.

A hook sees one channel (a choice's content, reasoning, refusal or one tool call's arguments) as a stream of text. It may
hold back a tail, change what it lets out, or finish the answer. What one hook lets out is the next one's input, so the
result is that of filtering the whole text, for every way the provider cut it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..exchange import Finish, Refusal
from .dialects.base import Piece, Slot
from .sse import Event

if TYPE_CHECKING:
    from ..exchange import Exchange

TextHook = Callable[..., Any]

MAX_HELD = 65_536  # characters that one hook may hold back of one channel; beyond it the hook has failed


class Channel:
    """One stream of text of an answer. `final`: nothing follows on it."""

    __slots__ = ("final", "index", "kind", "part")

    def __init__(self, index: int, kind: str, part: int, final: bool) -> None:
        self.index = index
        self.kind = kind
        """`content`, `reasoning`, `refusal`, `transcript` or `tool_arguments`."""
        self.part = part
        self.final = final

    def __repr__(self) -> str:
        return f"<Channel {self.index} {self.kind} {self.part}{' final' if self.final else ''}>"


class State:
    """What the hooks hold back of one channel."""

    __slots__ = ("final", "last", "open", "tails")

    def __init__(self, piece: Piece, hooks: int) -> None:
        self.open = Channel(piece.index, piece.kind, piece.part, False)
        self.final = Channel(piece.index, piece.kind, piece.part, True)
        self.tails = [""] * hooks
        self.last: Event | None = None


class Finished(Exception):
    """A hook ended the answer; carries which one, what it said, and on which channel, if on one."""

    def __init__(self, position: int, finish: Finish, state: State | None = None) -> None:
        self.position = position
        self.finish = finish
        self.state = state


class Denied(Exception):
    """A hook broke, or could not read the stream, and its policy is to deny."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


class TextChain:
    """The `on_text` hooks of an exchange, innermost first; a hook that broke is not called again."""

    __slots__ = ("contain", "exchange", "hooks")

    def __init__(
        self,
        exchange: Exchange,
        hooks: Sequence[TextHook],
        contain: Callable[[Exchange, TextHook, Exception], Refusal | None],
    ) -> None:
        self.exchange = exchange
        self.hooks: list[TextHook | None] = list(hooks)
        self.contain = contain

    def push(self, state: State, text: str, final: bool, start: int = 0) -> str:
        """Return what the hooks from `start` on let out of `text`. Raises Finished, Denied."""
        channel = state.final if final else state.open
        tails = state.tails
        for position in range(start, len(tails)):
            hook = self.hooks[position]
            tail = tails[position]
            if tail:
                text = tail + text
                tails[position] = ""
            elif not text and not final:
                return ""
            if hook is None:
                continue
            try:
                result = hook(self.exchange, text, channel)
                if result is None:
                    continue
                if type(result) is str:
                    text = result
                elif type(result) is tuple:
                    emitted, held = result
                    if held and final:
                        raise TypeError("on_text held text back on a channel that is final")
                    if len(held) > MAX_HELD:
                        raise ValueError("on_text holds back more than a stream may wait for")
                    text, tails[position] = emitted + "", held
                elif isinstance(result, Finish):
                    raise Finished(position, result, state)
                else:
                    raise TypeError(f"on_text returned {type(result).__name__}")
            except Finished:
                raise
            except Exception as error:
                refusal = self.contain(self.exchange, hook, error)
                self.hooks[position] = None
                if refusal is not None:
                    raise Denied(refusal) from None
        return text


class WholeText:
    """One plug-in's `on_text` over a whole answer: each text once, final. A hook like any other of the response walk."""

    __slots__ = ("hook", "plugin")

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin
        self.hook = plugin.on_text

    def __call__(self, exchange: Exchange) -> None:
        call, response = exchange.llm, exchange.response
        if call is None or response is None:
            return
        dialect = call.dialect
        stopped: Finish | None = None
        for slot in list(dialect.answer_texts(response.json)):
            if stopped is not None:
                self._write(exchange, slot, "")
                dialect.finish_answer(response.json, slot.index, stopped.reason)
                continue
            text = slot.text
            result = self.hook(exchange, text, Channel(slot.index, slot.kind, slot.part, True))
            if isinstance(result, Finish):
                stopped = result
                self._write(exchange, slot, result.text)
                dialect.finish_answer(response.json, slot.index, result.reason)
            elif result is not None:
                if type(result) is tuple:
                    if result[1]:
                        raise TypeError("on_text held text back on a channel that is final")
                    result = result[0]
                if result != text:
                    self._write(exchange, slot, result)

    @staticmethod
    def _write(exchange: Exchange, slot: Slot, text: str) -> None:
        assert exchange.response is not None
        exchange.response.edit()
        slot.container[slot.key] = text
