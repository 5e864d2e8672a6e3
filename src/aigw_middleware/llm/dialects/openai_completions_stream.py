"""The event streams of OpenAI's legacy completions: those of chat completions, with plain text in their choices.

Source: the OpenAI API reference, "Completions" (legacy), `stream` and `stream_options`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ... import json as strict_json
from ..frame import Frame
from ..sse import Event
from .base import Delta, Piece
from .openai_chat_stream import OpenAIChatStream, tells_nothing, template_of
from .openai_shapes import ABSENT
from .openai_usage import openai_usage
from .walking import dicts


class _Choice(msgspec.Struct):
    text: str | None = None
    index: int | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    delta: msgspec.Raw = ABSENT


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    model: str | None = None
    id: str | None = None


_read = msgspec.json.Decoder(_Chunk).decode


class OpenAICompletionsStream(OpenAIChatStream):
    """One stream of completion chunks; its end marker and its errors are those of chat completions."""

    def read(self, event: Event) -> Delta | None:
        data = event.data
        if data is None or data == b"[DONE]":
            return None
        try:
            chunk = _read(data)
        except (ValueError, RecursionError):
            return None
        choices = chunk.choices or ()
        pieces: list[Piece] = []
        finished: list[int] = []
        reasons: list[str] = []
        for position, choice in enumerate(choices):
            if bytes(choice.delta) not in (b"null", b"{}"):
                return None  # a chunk of another API, which says its text elsewhere
            index = position if choice.index is None else choice.index
            if choice.text:
                pieces.append(Piece(index, "content", 0, choice.text))
            if choice.finish_reason:
                finished.append(index)
                reasons.append(choice.finish_reason)
        usage = openai_usage(chunk.usage)
        if chunk.choices is None and usage is None and chunk.error is None and not tells_nothing(data):
            return None
        return Delta(
            pieces,
            finished,
            usage,
            chunk.model,
            error=chunk.error is not None,
            usage_only=usage is not None and not choices,
            identifier=chunk.id,
            reasons=reasons,
        )

    def text_of(self, data: bytes) -> tuple[int, str] | None:
        try:
            chunk = _read(data)
        except (ValueError, RecursionError):
            return None
        choices = chunk.choices
        if choices is None or len(choices) != 1 or chunk.usage is not None or chunk.error is not None:
            return None
        choice = choices[0]
        if not choice.text or choice.finish_reason is not None or choice.logprobs is not None:
            return None
        return (choice.index or 0, choice.text) if choice.delta is ABSENT else None

    def frame(self, event: bytes, piece: Piece) -> Frame | None:
        data = self.framing.event(event).data
        if data is None or self.text_of(data) is None:
            return None  # log probabilities may stand beside it, which must go when the text does
        return Frame.of(event, b'"text"', piece)

    def with_texts(self, event: Event, pieces: Sequence[Piece]) -> bytes:
        body = strict_json.decode(event.data or b"")
        changed = {piece.index: piece.text for piece in pieces}
        for position, choice in enumerate(dicts(body.get("choices"))):
            index = choice.get("index")
            index = position if index is None else index
            if index in changed and choice.get("text"):
                choice["text"] = changed[index]
                if choice.get("logprobs") is not None:
                    choice["logprobs"] = None  # they repeat, token by token, what was replaced
        return self.encode(body, event)

    def text_event(self, template: Event, piece: Piece) -> bytes:
        body = template_of(template)
        body["choices"] = [_choice(piece.index, piece.text, None)]
        return self.encode(body, template)

    def ending(self, index: int, reason: str) -> dict[str, Any]:
        return _choice(index, "", reason)


def _choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}
