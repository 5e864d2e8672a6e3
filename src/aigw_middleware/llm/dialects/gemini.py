"""Gemini's `generateContent` and its siblings, of the Gemini API and of Vertex AI: requests and whole answers.

Source: the Gemini API reference ("Generating content", "Counting tokens", "Embeddings", "Function calling") and Vertex
AI's "GenerateContentRequest". Both read names in camel case and in snake case; the one that a body uses is written.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ... import json as strict_json
from ..framing import JSON_ARRAY, SSE, Framing
from ..sse import encode_event
from ..usage import Usage
from .base import Attachment, Call, Delta, Dialect, Paths, Piece, Place, Slot
from .gemini_answer import Reading, candidates_of, cut_off, drop_logprobs
from .gemini_parts import SPELLINGS, key_of, one_or_more
from .gemini_requests import in_snake_case, insert, request_attachments, request_texts, why_unread
from .gemini_stream import FINISH_REASONS, GeminiStream
from .walking import read_path, write_path

if TYPE_CHECKING:
    from ...exchange import Request

_STREAMING: Final = ":streamGenerateContent"
_MODEL: Final = re.compile(r"/(?:models|tunedModels|endpoints)/(.+):[A-Za-z]+\Z", re.DOTALL)


def _spelled(*names: str) -> Paths:
    """Return a path in every mixture of spellings, that of camel case first and that of snake case second."""
    paths = list(itertools.product(*(SPELLINGS[name] for name in names)))
    return paths[0], paths[-1], *paths[1:-1]


_PARAMETERS = {
    "max_output_tokens": _spelled("generationConfig", "maxOutputTokens"),
    "temperature": _spelled("generationConfig", "temperature"),
    "top_p": _spelled("generationConfig", "topP"),
    "top_k": _spelled("generationConfig", "topK"),
    "stop": _spelled("generationConfig", "stopSequences"),
    "seed": _spelled("generationConfig", "seed"),
    "choices": _spelled("generationConfig", "candidateCount"),
    "frequency_penalty": _spelled("generationConfig", "frequencyPenalty"),
    "presence_penalty": _spelled("generationConfig", "presencePenalty"),
    "thinking_budget": _spelled("generationConfig", "thinkingConfig", "thinkingBudget"),
    "reasoning_effort": _spelled("generationConfig", "thinkingConfig", "thinkingLevel"),
    "service_tier": _spelled("serviceTier"),
}


class Gemini(Dialect):
    """Content generation, token counts and embeddings of the Gemini API and of Vertex AI."""

    name = "gemini"
    error_style = "gemini"
    suffixes = (":generateContent", _STREAMING, ":countTokens", ":embedContent", ":batchEmbedContents")
    conversation = "contents"
    parameters = _PARAMETERS
    finish_reasons = FINISH_REASONS

    def recognises(self, body: Any) -> bool:
        contents = one_or_more(body.get("contents")) if isinstance(body, dict) else []
        return bool(contents) and isinstance(contents[0].get("parts"), (list, dict))

    def readable(self, body: Any) -> str:
        return why_unread(body)

    def model(self, request: Request) -> str:
        named = _MODEL.search(request.path)
        if named is not None:
            return named[1].rpartition("/models/")[2]
        return super().answer_model(request.json) if request.loaded else ""

    def set_model(self, request: Request, model: str) -> bool:
        return False  # the path says which, and no path is rewritten

    def streams(self, request: Request) -> bool:
        return request.path.endswith(_STREAMING)

    def set_parameter(self, body: dict[str, Any], name: str, value: Any) -> bool:
        paths = self.parameters.get(name, ())
        if not paths or any(read_path(body, path) is not None for path in paths):
            return super().set_parameter(body, name, value)
        snake, path, holder = in_snake_case(body), [], body
        for spellings in zip(paths[0], paths[1], strict=True):  # of all names in camel case, and in snake case
            path.append(next((spelled for spelled in spellings if spelled in holder), spellings[snake]))
            inner = holder.get(path[-1])
            holder = inner if isinstance(inner, dict) else {}
        write_path(body, path, value)
        return True

    # ------------------------------------------------------------------ requests

    def texts(self, body: Any) -> Iterator[Slot]:
        return request_texts(body)

    def attachments(self, body: Any) -> Iterator[Attachment]:
        return request_attachments(body)

    def insert(self, body: Any, messages: Sequence[tuple[str, str]], *, at_end: bool) -> bool:
        return insert(body, messages, at_end=at_end)

    # ------------------------------------------------------------------ whole answers

    def answer_model(self, body: Any) -> str:
        return Reading({}).read(body).model

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        yield from Reading({}).read(body).slots.values()

    def answer_calls(self, body: Any) -> Iterator[Call]:
        yield from Reading({}).read(body).calls

    def answer_reasons(self, body: Any) -> Iterator[str]:
        yield from Reading({}).read(body).reasons

    def usage(self, body: Any) -> Usage | None:
        usage = Reading({}).read(body).usage
        if usage is not None:
            usage.partial = False
        return usage

    def answered(self, body: Any) -> Delta:
        reading = Reading({}).read(body)
        if reading.usage is not None:
            reading.usage.partial = False
        return Delta(
            [Piece(*place, text) for place, slot in reading.slots.items() if (text := slot.text)],
            (),
            reading.usage,
            reading.model,
            error=reading.error,
            identifier=reading.identifier,
            calls=reading.calls,
            reasons=reading.reasons,
        )

    def finish_answer(self, body: Any, index: int, reason: str, place: Place | None = None) -> None:
        if place is not None:
            cut_off(body, place)
        last: dict[str, Any] | None = None
        for candidate in [candidate for told, candidate in candidates_of(body) if told == index]:
            drop_logprobs(candidate)
            if last is not None:
                last.pop(key_of(last, "finishReason"), None)
            last = candidate
        if last is not None:
            last[key_of(last, "finishReason")] = self.reason(reason)

    # ------------------------------------------------------------------ streams and answers of plug-ins

    def framing(self, request: Request, framing: Framing | None, *, json: bool) -> Framing | None:
        """Return how a stream is framed: without `alt=sse` it is one JSON array, whose media type does not tell."""
        asked = request.parameter("alt") or request.parameter("$alt")
        return JSON_ARRAY if json and framing is None and self.streams(request) and asked != "sse" else framing

    def open(self, framing: Framing = SSE) -> GeminiStream:
        return GeminiStream(framing)

    def answer(self, text: str, *, stream: bool, reason: str, model: str, identifier: str, created: int) -> bytes:
        candidate = {
            "content": {"parts": [{"text": text}], "role": "model"},
            "finishReason": self.reason(reason),
            "index": 0,
        }
        body = {
            "candidates": [candidate],
            "usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
            "modelVersion": model,
            "createTime": datetime.datetime.fromtimestamp(created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "responseId": identifier,
        }
        data = strict_json.encode(body)
        return encode_event(data) if stream else data
