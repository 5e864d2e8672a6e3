"""The content blocks of Anthropic messages: which texts each type holds, in requests, whole answers and events alike.

Source: the Anthropic API reference, "Messages" (ContentBlockParam, ContentBlock) and the pages of its server tools.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ... import json as strict_json
from .base import Attachment, Call, Slot
from .walking import descriptions

LEAF: Final = 1 << 32
"""Parts from here on are the texts inside of a block that has no text of its own; below it are the blocks' numbers."""

CALLS: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_RESULTS = frozenset(
    {
        "tool_result",
        "mcp_tool_result",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "advisor_tool_result",
    }
)
_DOCUMENTS = frozenset({"document", "search_result", "compaction"})
_THINKING = frozenset({"thinking", "redacted_thinking"})
_TOOLS = frozenset({"tool_addition", "mcp_tool_listing"})
"""Blocks that define tools, or name them."""
_BLOCKS = (
    frozenset({"text", "image", "container_upload", "tool_removal", "fallback"})
    | CALLS
    | _RESULTS
    | _DOCUMENTS
    | _THINKING
    | _TOOLS
)
_INNER = frozenset({"text", "image", "document", "search_result", "tool_reference", "browser_state"})
_SOURCES = frozenset({"text", "base64", "url", "file", "content"})

_WITHOUT_TEXT = frozenset(
    {
        "image",
        "base64",
        "url",
        "file",
        "redacted_thinking",
        "container_upload",
        "tool_reference",
        "tool_removal",
        "fallback",
    }
)
"""Types of objects, sources among them, that hold nothing that is read as text."""
_NO_TEXT = frozenset(
    {
        "type",
        "id",
        "tool_use_id",
        "tool_name",
        "toolset_name",
        "server_name",
        "file_id",
        "file_type",
        "media_type",
        "error_code",
        "stop_reason",
        "retrieved_at",
        "signature",
        "encrypted_content",
        "encrypted_index",
        "encrypted_stdout",
        "cache_control",
        "caller",
    }
)
"""Members of blocks that are identifiers, words of the protocol, or sealed."""


def leaves(value: Any, *, blocks: bool = False) -> Iterator[tuple[Any, Any]]:
    """Yield `(container, key)` of every string inside of an object or a list, however deep; `blocks`: those that are texts.

    Strings may be replaced while it goes on.
    """
    way = [(value, _keys(value, blocks))]
    while way:
        holder, keys = way[-1]
        for key in keys:
            item = holder[key]
            if isinstance(item, str):
                yield holder, key
            elif isinstance(item, (dict, list)):
                way.append((item, _keys(item, blocks)))
                break
        else:
            way.pop()


def _keys(value: Any, blocks: bool) -> Iterator[Any]:
    if isinstance(value, list):
        return iter(range(len(value)))
    if not isinstance(value, dict):
        return iter(())
    if not blocks:
        return iter(list(value))
    return iter(() if type_of(value) in _WITHOUT_TEXT else [key for key in value if key not in _NO_TEXT])


def type_of(value: Any) -> str:
    """Return the type that an object says it is of, or the empty string."""
    found = value.get("type") if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def block_slots(
    block: Any, number: int, index: int = 0, role: str = "assistant", kind: str = "content", *, sent: bool = False
) -> Iterator[Slot]:
    """Yield the texts of one content block; `sent` to the model, where what it signed is not to be touched."""
    form = type_of(block)
    if not form or form in _WITHOUT_TEXT:
        return
    inside = "document"
    if form == "text":
        if isinstance(block.get("text"), str):
            yield Slot(block, "text", kind, index, role, number)
        if "citations" not in block:
            return
        found = leaves(block["citations"], blocks=True)
    elif form == "thinking":
        # A signature covers the text it came with: the API refuses a block that was changed, and what is signed is the
        # model's own, not the caller's.
        if isinstance(block.get("thinking"), str) and not (sent and block.get("signature")):
            yield Slot(block, "thinking", "reasoning", index, role, number)
        return
    elif form in CALLS:
        inside = "tool_arguments"
        arguments = block.get("input")
        found = iter([(block, "input")]) if isinstance(arguments, str) else leaves(arguments)
    elif form in _TOOLS:
        inside = "tool_definition"
        found = definition_texts(block)
    elif form in _DOCUMENTS:
        if sent and block.get("signature"):  # a compaction, signed as thinking is
            return
        found = leaves(block, blocks=True)
    else:  # of a type that is not known, too: nothing that an answer says is overlooked
        inside = "tool_result"
        role = "tool" if sent else role
        found = leaves(block, blocks=True)
    if kind == "system":
        inside = kind
    for place, (holder, key) in enumerate(found):
        yield Slot(holder, key, inside, index, role, (number + 1) * LEAF + place)


def definition_texts(tool: Any) -> Iterator[tuple[Any, Any]]:
    """Yield `(container, key)` of every text of a tool's definition, or of an object that holds such."""
    if not isinstance(tool, dict):
        return
    yield from descriptions(tool)
    wrapped = tool.get("tool")
    inline = wrapped.get("definition") if isinstance(wrapped, dict) else None
    for definition in (tool, inline):
        if isinstance(definition, dict):
            yield from leaves(definition.get("input_examples"))


def call_of(block: Any, number: int) -> Iterator[Call]:
    """Yield the tool call that a block is, if it is one; its arguments, unless they are still to come."""
    if type_of(block) in CALLS:
        arguments = block.get("input")
        written = strict_json.encode(arguments).decode() if arguments else ""
        yield Call(0, number, _text(block, "id"), _text(block, "name"), written)


def content_slots(content: Any, holder: dict[str, Any], key: str, index: int, role: str, kind: str) -> Iterator[Slot]:
    """Yield the texts of a content that is sent to the model, text or blocks, the member `key` of `holder`."""
    if isinstance(content, str):
        yield Slot(holder, key, kind, index, role)
    elif isinstance(content, list):
        for number, block in enumerate(content):
            yield from block_slots(block, number, index, role, kind, sent=True)


def unreadable(content: Any, *, only_text: bool = False) -> str:
    """Return why the texts of a message's content cannot all be told, or the empty string."""
    if isinstance(content, str):
        return ""
    if not isinstance(content, list):
        return "is neither text nor a list of blocks"
    for block in content:
        form = type_of(block)
        if form not in _BLOCKS or (only_text and form != "text"):
            return "has a block of unknown type"
        if form in ("tool_result", "mcp_tool_result") and not _inner(block.get("content")):
            return "has a tool result with a block of unknown type"
        if form == "document" and not _source(block.get("source")):
            return "has a document of unknown type"
    return ""


def _inner(content: Any) -> bool:
    if content is None or isinstance(content, str):
        return True
    return isinstance(content, list) and all(
        type_of(block) in _INNER and (block["type"] != "document" or _source(block.get("source"))) for block in content
    )


def _source(source: Any) -> bool:
    form = type_of(source)
    return form in _SOURCES and (form != "content" or _inner(source.get("content")))


def characteristic(block: Any) -> bool:
    """Whether a block is of a type and shape that no other API's messages have."""
    form = type_of(block)
    if form in ("image", "document"):
        return type_of(block.get("source")) in _SOURCES
    return form in _BLOCKS and form not in ("text", "thinking")


def emptied(block: Any) -> bool:
    """Whether nothing is left of a block, as behind the place where an answer was ended; clients could not send it back."""
    if type_of(block) == "text":
        return _text(block, "text") == ""
    if type_of(block) in CALLS:
        texts = [holder[key] for holder, key in leaves(block.get("input"))]
        return bool(texts) and not any(texts)
    return False


def block_attachments(content: Any, index: int) -> Iterator[Attachment]:
    """Yield what the blocks of a message carry or point to, those inside of tool results and documents too."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
            continue
        form = type_of(value)
        if form == "container_upload":
            yield Attachment("stored", _text(value, "file_id"), index)
        elif form in ("image", "document"):
            source = value.get("source")
            kind = "image" if form == "image" else "file"
            match type_of(source):
                case "base64":
                    yield Attachment(kind, _text(source, "data"), index)
                case "url":
                    yield Attachment(kind, _text(source, "url"), index)
                case "file":
                    yield Attachment("stored", _text(source, "file_id"), index)
        if isinstance(value, dict) and form not in CALLS:  # a tool's arguments may look like anything
            waiting += reversed([item for item in value.values() if isinstance(item, (dict, list))])


def _text(holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""
