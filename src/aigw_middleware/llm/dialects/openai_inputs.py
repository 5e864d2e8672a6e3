"""OpenAI's APIs without a conversation, and those shaped like them: embeddings, images, speech, moderations, rerank, videos.

Texts go in; what comes out is vectors, scores, images or sound, and hardly any text. Forms and recordings are not read.

Source: the OpenAI API reference, "Embeddings", "Images", "Audio", "Moderations" and "Videos"; `rerank` as Cohere, Jina
and vLLM have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ..framing import SSE, Framing
from ..usage import Usage
from .base import Attachment, Delta, Dialect, Piece, Slot
from .openai_inputs_stream import OpenAIInputsStream
from .openai_texts import images_of, text_slots, unreadable_documents, unreadable_texts
from .openai_usage import input_usage
from .walking import dicts

_FIELDS: Final = (
    ("instructions", "system", "system", 0),
    ("negative_prompt", "content", "user", 2),
    ("prompt", "content", "user", 1),
    ("query", "content", "user", 3),
)
"""Members that are one text: name, kind, role and part."""
_MAIN: Final = ("prompt", "input", "query")
"""Members of which every request has one."""
_TIMED: Final = ("segments", "words", "logprobs")
_IMAGES: Final = ("image", "images", "input_reference")


class _Spoken(msgspec.Struct):
    revised_prompt: str | None = None


class _Answer(msgspec.Struct):
    """An answer whose texts, if it has any, are those of images: vectors and scores are passed over by the decoder."""

    data: list[_Spoken] | None = None
    model: str | None = None
    id: str | None = None
    usage: Any = None
    error: Any = None
    meta: Any = None
    results: Any = None
    text: Any = None
    prompt: Any = None


_read = msgspec.json.Decoder(_Answer).decode


class _Timed:
    """A transcript that is told once more, with times: segments and words go when it is replaced."""

    __slots__ = ("_body",)

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body

    def __getitem__(self, key: str) -> Any:
        return self._body[key]

    def __setitem__(self, key: str, text: str) -> None:
        if text == self._body[key]:
            return
        self._body[key] = text
        for name in _TIMED:
            if self._body.get(name):
                self._body[name] = []


class _Inputs(Dialect):
    """What these APIs have in common: their answers."""

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        if not isinstance(body, dict):
            return
        for part, name in enumerate(("text", "prompt"), 1):
            if isinstance(body.get(name), str):
                holder: Any = _Timed(body) if name == "text" else body
                yield Slot(holder, name, "content", 0, "assistant", part)
        for index, made in enumerate(dicts(body.get("data"))):
            if isinstance(made.get("revised_prompt"), str):
                yield Slot(made, "revised_prompt", "content", index, "assistant")
        for index, result in enumerate(dicts(body.get("results"))):
            holder, key = result, "document"
            if isinstance(result.get("document"), dict):
                holder, key = result["document"], "text"
            if isinstance(holder.get(key), str):
                yield Slot(holder, key, "document", index, "assistant")

    def read_answer(self, data: bytes) -> Delta:
        try:
            answer = _read(data)
        except (ValueError, RecursionError):  # of unusual types, or no JSON: what can be read of it is
            return super().read_answer(data)
        if answer.results or answer.text is not None or answer.prompt is not None:
            return super().read_answer(data)
        said = [made.revised_prompt for made in answer.data or ()]
        return Delta(
            [Piece(index, "content", 0, text) for index, text in enumerate(said) if text],
            (),
            input_usage(answer.usage, answer.meta),
            answer.model or "",
            error=answer.error not in (None, ""),
            identifier=answer.id or "",
        )

    def usage(self, body: Any) -> Usage | None:
        return input_usage(body.get("usage"), body.get("meta")) if isinstance(body, dict) else None

    def open(self, framing: Framing = SSE) -> OpenAIInputsStream:
        return OpenAIInputsStream(framing)


class OpenAIEmbeddings(_Inputs):
    """Embeddings of texts."""

    name = "openai-embeddings"
    suffixes = ("/v1/embeddings",)
    hints = ("/embeddings",)

    def hinted(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("input"), (str, list)) and "messages" not in body

    def readable(self, body: Any) -> str:
        if not isinstance(body, dict):
            return "the body is no JSON object"
        if body.get("messages") is not None:
            return "embeddings of messages are not read"
        return unreadable_texts(body.get("input"), "input")

    def texts(self, body: Any) -> Iterator[Slot]:
        if isinstance(body, dict):
            yield from text_slots(body, "input")


_PARAMETERS = {"choices": (("n",),)}


class OpenAIOther(_Inputs):
    """Images, speech, moderations, rerankings and videos of texts; which of them is told by the members of a request."""

    name = "openai-other"
    suffixes = (
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/moderations",
        "/v1/rerank",
        "/v2/rerank",
    )
    hints = ("/images/generations", "/audio/speech", "/rerank", "/v1/videos")
    media_answers = True
    parameters = _PARAMETERS

    def hinted(self, body: Any) -> bool:
        return isinstance(body, dict) and any(body.get(name) is not None for name in _MAIN)

    def readable(self, body: Any) -> str:
        if not isinstance(body, dict):
            return "the body is no JSON object"
        if not self.hinted(body):
            return "there is no prompt, input or query"
        for name, *_ in _FIELDS:
            if not isinstance(body.get(name), (str, type(None))):
                return f"{name} is no text"
        if body.get("input") is not None:
            reason = unreadable_texts(body["input"], "input", parts=True)
            if reason:
                return reason
        if body.get("query") is not None or body.get("documents") is not None:
            return unreadable_documents(body.get("documents"))
        return ""

    def texts(self, body: Any) -> Iterator[Slot]:
        if not isinstance(body, dict):
            return
        for name, kind, role, part in _FIELDS:
            if isinstance(body.get(name), str):
                yield Slot(body, name, kind, 0, role, part)
        yield from text_slots(body, "input")
        documents = body.get("documents")
        for index, document in enumerate(documents if isinstance(documents, list) else ()):
            if isinstance(document, str):
                yield Slot(documents, index, "document", index, "user")
            elif isinstance(document, dict):
                for part, (key, value) in enumerate(document.items()):
                    if isinstance(value, str) and key != "image":
                        yield Slot(document, key, "document", index, "user", part)

    def attachments(self, body: Any) -> Iterator[Attachment]:
        if not isinstance(body, dict):
            return
        for name in _IMAGES:
            held = body.get(name)
            for index, image in enumerate(held if isinstance(held, list) else [held]):
                yield from images_of(image, index)
        for index, part in enumerate(dicts(body.get("input"))):
            if part.get("type") == "image_url":
                yield from images_of(part, index)
        for index, document in enumerate(dicts(body.get("documents"))):
            yield from images_of(document.get("image"), index)


class OpenAIMedia(_Inputs):
    """Recordings to write down and images to change: the request is a form, which is not read; what is answered is."""

    name = "openai-media"
    suffixes = (
        "/v1/images/edits",
        "/v1/images/variations",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
    )
    covered = False
