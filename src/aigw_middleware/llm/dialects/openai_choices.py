"""What OpenAI's chat completions and legacy completions have in common: choices, why they end, usage and asking for it.

Source: the OpenAI API reference, "Chat completions" and "Completions" (legacy).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..usage import Usage
from .base import Dialect, Place
from .openai_usage import openai_usage
from .walking import dicts

SAMPLING = {
    "temperature": (("temperature",),),
    "top_p": (("top_p",),),
    "top_k": (("top_k",),),
    "stop": (("stop",),),
    "seed": (("seed",),),
    "frequency_penalty": (("frequency_penalty",),),
    "presence_penalty": (("presence_penalty",),),
}
"""Parameters that OpenAI's APIs and those like them name alike."""


class OpenAIChoices(Dialect):
    """An API whose answers are `choices`, and whose streams tell their usage if `stream_options` asks for it."""

    def ask_for_usage(self, body: Any) -> bool:
        options = body.get("stream_options")
        if options is None:
            body["stream_options"] = {"include_usage": True}
            return True
        if isinstance(options, dict) and options.get("include_usage") is not True:
            options["include_usage"] = True
            return True
        return False

    def answer_reasons(self, body: Any) -> Iterator[str]:
        for _, choice in choices_of(body):
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason:
                yield reason

    def usage(self, body: Any) -> Usage | None:
        return openai_usage(body.get("usage")) if isinstance(body, dict) else None

    def finish_answer(self, body: Any, index: int, reason: str, place: Place | None = None) -> None:
        for number, choice in choices_of(body):
            if number == index:
                choice["finish_reason"] = reason
                if choice.get("logprobs") is not None:
                    choice["logprobs"] = None


class Logged:
    """What holds a text of a choice with log probabilities: they repeat it token by token, and go when it is replaced."""

    __slots__ = ("_choice", "_holder")

    def __init__(self, holder: dict[str, Any], choice: dict[str, Any]) -> None:
        self._holder = holder
        self._choice = choice

    def __getitem__(self, key: str) -> Any:
        return self._holder[key]

    def __setitem__(self, key: str, text: str) -> None:
        if text != self._holder[key]:
            self._holder[key] = text
            self._choice["logprobs"] = None


def holder_of(holder: dict[str, Any], choice: dict[str, Any]) -> Any:
    """Return what a text of `choice` that stands in `holder` is to be written to."""
    return holder if choice.get("logprobs") is None else Logged(holder, choice)


def choices_of(body: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the choices of a whole answer with their indexes, by place where they do not say."""
    for position, choice in enumerate(dicts(body.get("choices") if isinstance(body, dict) else None)):
        index = choice.get("index")
        yield index if isinstance(index, int) else position, choice
