"""What stands for texts and images in the requests of OpenAI's APIs without a conversation, and of those like them.

Source: the OpenAI API reference, "Completions" (legacy), "Embeddings" and "Moderations"; documents as Cohere has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from .base import Attachment, Slot

_SOURCES: Final = ("image_url", "url", "file_id", "image")


def unreadable_texts(value: Any, name: str, *, parts: bool = False) -> str:
    """Return why a text or a list of texts, or where `parts` says so of parts, cannot be read; empty when it can."""
    if isinstance(value, str):
        return ""
    if not isinstance(value, list):
        return f"{name} is neither text nor a list of texts"
    for item in value:
        if isinstance(item, str) or (parts and _is_part(item)):
            continue
        if isinstance(item, (int, list)):
            return f"{name} is a list of tokens"
        return f"{name} has an item of unknown type"
    return ""


def _is_part(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    return kind == "image_url" or (kind == "text" and isinstance(item.get("text"), str))


def unreadable_documents(documents: Any) -> str:
    """Return why the documents of a reranking cannot be read; empty when they can."""
    if not isinstance(documents, list):
        return "documents is no list"
    for document in documents:
        if isinstance(document, str):
            continue
        if not isinstance(document, dict) or any(isinstance(value, (dict, list)) for value in document.values()):
            return "a document is neither text nor an object of texts"
    return ""


def text_slots(body: dict[str, Any], name: str) -> Iterator[Slot]:
    """Yield a text, or each of a list of texts and of parts."""
    value = body.get(name)
    if isinstance(value, str):
        yield Slot(body, name, "content", 0, "user")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, str):
                yield Slot(value, index, "content", index, "user")
            elif isinstance(item, dict) and isinstance(item.get("text"), str):
                yield Slot(item, "text", "content", index, "user")


def images_of(value: Any, index: int) -> Iterator[Attachment]:
    """Yield the image that a URL, Base64, or an object with one of them or with a file's identifier means."""
    for _ in range(2):  # `image_url` holds an object with its `url`, or the URL itself
        if isinstance(value, dict):
            value = next((value[name] for name in _SOURCES if value.get(name)), None)
    if isinstance(value, str) and value:
        yield Attachment("image", value, index)
