"""What Gemini's requests say: contents to generate from, to count, or to embed, one by one or in batches.

Source: the Gemini API reference, "models.generateContent", "models.countTokens", "models.embedContent" and
"models.batchEmbedContents"; where both APIs read one object in place of a list of one, so does this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from .base import Attachment, Slot
from .gemini_parts import LEAVES, SPELLINGS, blobs, get, one_or_more, texts_of, unknown
from .walking import descriptions

_ROLES: Final = {"model": "assistant", "function": "tool", "": "user"}
_GEMINI_ROLES: Final = {"assistant": "model"}
_SYSTEM: Final = ("system", "developer")
_INSTRUCTION: Final = SPELLINGS["systemInstruction"]
_CONTENTS: Final = ("contents", "content")


def in_snake_case(body: dict[str, Any]) -> bool:
    """Whether the names of a request are spelled with underscores."""
    return any("_" in name for name in body)


def why_unread(body: Any) -> str:
    """Return why the texts of a request are not known; empty when they are."""
    if not isinstance(body, dict):
        return "the body is no JSON object"
    wholes = [whole for _, whole in _wholes(body)]
    if not any(name in whole for whole in wholes for name in _CONTENTS):
        return "there are no contents"
    if body.get("instances") is not None:  # Vertex AI counts the tokens of other models' input with it
        return "instances are not read"
    for whole in wholes:
        for name in (*_CONTENTS, *_INSTRUCTION):
            for content in _listed(whole.get(name)):
                reason = _why_content_unread(content)
                if reason:
                    return reason
    return ""


def request_texts(body: Any) -> Iterator[Slot]:
    """Yield every text of a request."""
    for start, whole in _wholes(body):
        for name in _INSTRUCTION:
            yield from _content_texts(whole, name, start, system=True)
        for name in _CONTENTS:
            yield from _content_texts(whole, name, start)
        if isinstance(whole.get("title"), str):  # of a document that is to be embedded
            yield Slot(whole, "title", "document", start, "user")
        for number, tool in enumerate(one_or_more(whole.get("tools"))):
            for holder, key in descriptions(tool):
                yield Slot(holder, key, "tool_definition", 0, "", number)
        for name in SPELLINGS["generationConfig"]:  # the schemas of the answer
            for holder, key in descriptions(whole.get(name)):
                yield Slot(holder, key, "tool_definition", 0, "", -1)


def request_attachments(body: Any) -> Iterator[Attachment]:
    """Yield what a request carries or points to that is no text."""
    for start, whole in _wholes(body):
        stored = get(whole, "cachedContent")
        if isinstance(stored, str) and stored:
            yield Attachment("stored", stored)
        for name in (*_INSTRUCTION, *_CONTENTS):
            for index, content in enumerate(one_or_more(whole.get(name)), start):
                for part in one_or_more(content.get("parts")) or [content]:
                    for kind, source, detail in blobs(part):
                        yield Attachment(kind, source, index, detail)


def insert(body: Any, messages: Sequence[tuple[str, str]], *, at_end: bool) -> bool:
    """Put messages in: those of the system among its instructions, others as contents of their own.

    Contents of one role may follow each other, so none is joined with what the caller sent. False when there is no
    conversation.
    """
    if not isinstance(body, dict):
        return False
    contents = body.get("contents")
    if isinstance(contents, str):
        contents = {"role": "user", "parts": [{"text": contents}]}
    if not isinstance(contents, (list, dict)):
        wrapped = get(body, "generateContentRequest")
        return isinstance(wrapped, dict) and insert(wrapped, messages, at_end=at_end)
    spoken = [
        {"role": _GEMINI_ROLES.get(role, "user"), "parts": [{"text": text}]}
        for role, text in messages
        if role not in _SYSTEM
    ]
    if spoken:
        there = _listed(contents)
        body["contents"] = [*there, *spoken] if at_end else [*spoken, *there]
    parts = [{"text": text} for role, text in messages if role in _SYSTEM]
    if parts:
        _instruct(body, parts, at_end=at_end)
    return True


def _wholes(body: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield a request and those inside of it, each with the index of its first content."""
    if isinstance(body, dict):
        yield 0, body
        yield from ((0, wrapped) for wrapped in one_or_more(get(body, "generateContentRequest")))
        yield from enumerate(one_or_more(body.get("requests")))


def _listed(value: Any) -> list[Any]:
    """Return what stands at a place that holds one value or a list of them; nothing for null."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _why_content_unread(content: Any) -> str:
    if isinstance(content, str):
        return ""
    if not isinstance(content, dict):
        return "a content is no object"
    parts = content.get("parts")
    if parts is None:  # a part where a content should be, as in lists of instructions
        return unknown({name: value for name, value in content.items() if name != "role"})
    if not isinstance(parts, (str, dict, list)):
        return "the parts of a content are no list"
    return next(filter(None, map(unknown, _listed(parts))), "")


def _content_texts(whole: dict[str, Any], name: str, start: int, *, system: bool = False) -> Iterator[Slot]:
    """Yield the texts of the contents that a member holds."""
    value = whole.get(name)
    places: list[tuple[Any, Any]] = [(whole, name)]
    if isinstance(value, list):
        places = [(value, key) for key in range(len(value))]
    for index, (holder, key) in enumerate(places if value is not None else (), start):
        content = holder[key]
        if isinstance(content, str):
            yield _slot(holder, key, "content", index, "system" if system else "user")
        elif isinstance(content, dict):
            said = content.get("role")
            role = _ROLES.get(said, said) if isinstance(said, str) else "user"
            yield from _part_texts(content, index, "system" if system else role)


def _part_texts(content: dict[str, Any], index: int, role: str) -> Iterator[Slot]:
    parts = content.get("parts")
    if isinstance(parts, str):
        yield _slot(content, "parts", "content", index, role)
        return
    told = LEAVES
    for number, part in enumerate([content] if parts is None else _listed(parts)):
        if isinstance(part, str):
            yield _slot(parts, number, "content", index, role, number)
        for container, key, kind in texts_of(part) if isinstance(part, dict) else ():
            if container is part and key == "text":
                yield _slot(container, key, kind, index, role, number)
            elif part is not content or key != "role":
                yield _slot(container, key, kind, index, role, told)
                told += 1


def _slot(container: Any, key: Any, kind: str, index: int, role: str, part: int = 0) -> Slot:
    return Slot(container, key, "system" if role == "system" and kind == "content" else kind, index, role, part)


def _instruct(body: dict[str, Any], parts: list[dict[str, Any]], *, at_end: bool) -> None:
    """Put parts before or after those of the system instruction."""
    key = next((name for name in _INSTRUCTION if body.get(name) is not None), "")
    if not key:
        for name in _INSTRUCTION:
            body.pop(name, None)
        body[_INSTRUCTION[in_snake_case(body)]] = {"parts": parts}
        return
    held = body[key]
    if not isinstance(held, dict) or (held.get("parts") is None and "text" in held):
        held = body[key] = {"parts": held}
    there = [{"text": part} if isinstance(part, str) else part for part in _listed(held.get("parts"))]
    held["parts"] = [*there, *parts] if at_end else [*parts, *there]
