"""The texts of an answer on their way through the plug-ins: `on_event` and `on_text`, streamed and whole.

A hook sees one channel (a choice's content, reasoning, refusal or one tool call's arguments) as a stream of text. It may
hold back a tail, change what it lets out, or finish the answer. What one hook lets out is the next one's input, so the
result is that of filtering the whole text, for every way the provider cut it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..exchange import Finish, Refusal
from .dialects.base import Dialect, Place

if TYPE_CHECKING:
    from ..exchange import Exchange, Response

TextHook = Callable[..., Any]

MAX_HELD = 65_536  # characters that one hook may hold back of one channel; beyond it the hook has failed


class Channel(msgspec.Struct, eq=False, gc=False):
    """One stream of text of an answer. `final`: nothing follows on it."""

    index: int
    kind: str
    """`content`, `reasoning`, `refusal`, `transcript` or `tool_arguments`."""
    part: int
    final: bool

    def __repr__(self) -> str:
        return f"<Channel {self.index} {self.kind} {self.part}{' final' if self.final else ''}>"


class State:
    """What the hooks hold back of one channel."""

    __slots__ = ("final", "last", "open", "tails")

    def __init__(self, index: int, kind: str, part: int, hooks: int) -> None:
        self.open = Channel(index, kind, part, False)
        self.final = Channel(index, kind, part, True)
        self.tails = [""] * hooks
        self.last: bytes = b""
        """The last event that carried text of this channel, as it came."""

    @property
    def place(self) -> Place:
        """Which of the answer's texts it is."""
        return self.open.index, self.open.kind, self.open.part


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
    named = "on_text"

    def __init__(self, plugin: Any) -> None:
        self.plugin = plugin
        self.hook = plugin.on_text

    def __call__(self, exchange: Exchange) -> None:
        call, response = exchange.llm, exchange.response
        if call is None or response is None:
            return
        changed: dict[Place, str] = {}
        for piece in call.said(response).pieces:
            result = self.hook(exchange, piece.text, Channel(piece.index, piece.kind, piece.part, True))
            if result is None:
                continue
            if type(result) is Finish:
                _write(call.dialect, response, changed, (piece.place, result))
                return
            if type(result) is tuple:
                if result[1]:
                    raise TypeError("on_text held text back on a channel that is final")
                result = result[0]
            if result != piece.text:
                changed[piece.place] = result + ""
        if changed:
            _write(call.dialect, response, changed, None)


def _write(
    dialect: Dialect, response: Response, changed: Mapping[Place, str], stopped: tuple[Place, Finish] | None
) -> None:
    """Put changed texts into a whole answer; behind the one where a hook stopped nothing is said any more."""
    body = response.edit()
    over: Finish | None = None
    ended: dict[int, Place] = {}
    for slot in list(dialect.answer_texts(body)):
        place = slot.place
        if stopped is not None and place == stopped[0]:
            over = stopped[1]
            slot.container[slot.key] = over.text
        elif over is not None:
            slot.container[slot.key] = ""
        elif place in changed:
            slot.container[slot.key] = changed[place]
        if over is not None:
            stop = place if stopped is not None and place == stopped[0] else (slot.index, "", -1)
            ended.setdefault(slot.index, stop)
    for index, place in ended.items():
        assert over is not None
        dialect.finish_answer(body, index, over.reason, place)
