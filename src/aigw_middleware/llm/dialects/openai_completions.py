"""OpenAI's legacy completions: `POST .../v1/completions`, requests and whole answers; its streams have a file beside this.

A prompt, or several, each with its own continuations. There is no conversation, so nothing can be put before or after it.

Source: the OpenAI API reference, "Completions" (legacy); `prompt_embeds` as vLLM takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ... import json as strict_json
from ..framing import SSE, Framing
from ..sse import encode_event
from .base import Slot
from .openai_chat_stream import DONE
from .openai_choices import SAMPLING, OpenAIChoices, choices_of, holder_of
from .openai_completions_stream import OpenAICompletionsStream
from .openai_texts import unreadable_texts

_PARAMETERS = {**SAMPLING, "max_output_tokens": (("max_tokens",),), "choices": (("n",),)}


class OpenAICompletions(OpenAIChoices):
    """Completions of a prompt."""

    name = "openai-completions"
    suffixes = ("/v1/completions",)
    hints = ("/completions",)
    parameters = _PARAMETERS

    def hinted(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("prompt"), (str, list)) and "messages" not in body

    def readable(self, body: Any) -> str:
        if not isinstance(body, dict):
            return "the body is no JSON object"
        if body.get("messages") is not None:
            return "a completion with messages is neither a completion nor a chat completion"
        if body.get("prompt_embeds") is not None:
            return "prompt_embeds is no text"
        if not isinstance(body.get("suffix"), (str, type(None))):
            return "suffix is no text"
        prompt = body.get("prompt")  # without one the model begins a document of its own
        return "" if prompt is None else unreadable_texts(prompt, "prompt")

    # ------------------------------------------------------------------ requests

    def texts(self, body: Any) -> Iterator[Slot]:
        if not isinstance(body, dict):
            return
        if isinstance(body.get("suffix"), str):
            yield Slot(body, "suffix", "content", 0, "user", 1)  # first, so that the last text is the question
        prompt = body.get("prompt")
        if isinstance(prompt, str):
            yield Slot(body, "prompt", "content", 0, "user")
        elif isinstance(prompt, list):
            for index, text in enumerate(prompt):
                if isinstance(text, str):
                    yield Slot(prompt, index, "content", index, "user")

    # ------------------------------------------------------------------ whole answers

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        for index, choice in choices_of(body):
            if isinstance(choice.get("text"), str):
                yield Slot(holder_of(choice, choice), "text", "content", index, "assistant")

    def answer(self, text: str, *, stream: bool, reason: str, model: str, identifier: str, created: int) -> bytes:
        head = {"id": f"cmpl-{identifier}", "object": "text_completion", "created": created, "model": model}
        choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": None}
        last = {**choice, "finish_reason": reason}
        if not stream:
            usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
            return strict_json.encode({**head, "choices": [last], "usage": usage})
        events = [strict_json.encode({**head, "choices": [one]}) for one in (choice, {**last, "text": ""})]
        return b"".join([*map(encode_event, events), DONE])

    # ------------------------------------------------------------------ streams

    def open(self, framing: Framing = SSE) -> OpenAICompletionsStream:
        return OpenAICompletionsStream(framing)
