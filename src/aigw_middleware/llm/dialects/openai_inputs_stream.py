"""The event streams of OpenAI's APIs without a conversation: images and speech as they are made, and their usage.

Source: the OpenAI API reference, "Images" (image streaming), "Audio" (speech and transcription stream events).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import error_object
from ..sse import Event
from .base import Delta, DialectStream
from .openai_usage import input_usage

_KNOWN: Final = frozenset(
    {
        "image_generation.partial_image",
        "image_generation.completed",
        "image_edit.partial_image",
        "image_edit.completed",
        "speech.audio.delta",
        "speech.audio.done",
    }
)
"""Events that carry images or sound, and no text."""
_USAGE: Final = frozenset({"transcript.text.done"})
"""Events of which only the usage is read: no text of their API's streams is."""


class _Event(msgspec.Struct):
    type: str = ""
    usage: Any = None
    error: Any = None


_read = msgspec.json.Decoder(_Event).decode


class OpenAIInputsStream(DialectStream):
    """One stream of images or sound."""

    def read(self, event: Event) -> Delta | None:
        if not event.data:
            return None
        try:
            read = _read(event.data)
        except (ValueError, RecursionError):
            return None
        error = read.type == "error" or read.error is not None
        if not error and read.type not in _KNOWN and read.type not in _USAGE:
            return None
        return Delta(usage=input_usage(read.usage), error=error)

    def opaque(self, event: Event) -> bool:
        return bool(event.data) and event.data != b"[DONE]"

    def ends(self, event: Event) -> bool:
        return event.data == b"[DONE]"

    def error_event(self, status: int, code: str, text: str) -> bytes:
        return self.encode(error_object("openai", status, code, text))
