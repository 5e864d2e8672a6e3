"""Where a conversation can be cut, in any dialect: what may be left out at its beginning so that it stays one.

A call of a tool and its result stay together or go together: OpenAI, Anthropic and Gemini refuse one without the other.
Anthropic and Gemini also want a user's message first, so a conversation can only begin with one, and one that brings no
result. The last turn is what is to be answered; it stays whole, with all messages of the user that it begins with.

Sources: the API references of OpenAI ("Chat completions", "Responses": input items), Anthropic ("Messages", "Tool use")
and Gemini ("Generating content", "Function calling").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from .dialects import Dialect
from .dialects.gemini_parts import get, one_or_more
from .dialects.openai_responses_items import type_of
from .dialects.walking import dicts

Speaker: TypeAlias = Literal["system", "user", "assistant", "tool"]


class Message(NamedTuple):
    """What cutting must know of a message."""

    speaker: Speaker
    """`tool`: it brings results; whatever is none of the others is taken for the assistant's."""
    calls: Sequence[str] = ()
    """Identifiers of the calls that it makes."""
    results: Sequence[str] = ()
    """Identifiers of the calls whose results it brings."""


def cuts(dialect: Dialect, messages: Sequence[Any]) -> list[int]:
    """Return before which messages a conversation may begin instead, in order; none for a dialect without one."""
    read = _READERS.get(dialect.name)
    if read is None:
        return []
    found = [read(message) for message in messages]
    users = [index for index, message in enumerate(found) if message.speaker == "user"]
    if not users:
        return []
    last = users[-1]
    while last and found[last - 1].speaker == "user":
        last -= 1
    barred = _between_call_and_result(found)
    return [index for index in users if 0 < index <= last and not barred[index]]


def shortened(dialect: Dialect, messages: Sequence[Any], cut: int, *, keep_system: bool) -> list[Any]:
    """Return the messages from a cut on; before them, with `keep_system`, those of the system that stood before it."""
    read = _READERS[dialect.name]
    kept = [message for message in messages[:cut] if read(message).speaker == "system"] if keep_system else []
    return [*kept, *messages[cut:]]


def _between_call_and_result(messages: Sequence[Message]) -> list[bool]:
    """Say of each place before a message whether a call stands before it whose result stands behind it."""
    called: dict[str, int] = {}
    steps = [0] * (len(messages) + 1)
    for index, message in enumerate(messages):
        for identifier in message.calls:
            called[identifier] = index  # the last one: some services begin to number anew with each answer
        for identifier in message.results:
            if identifier in called:
                steps[called[identifier] + 1] += 1
                steps[index + 1] -= 1
    barred = []
    open_calls = 0
    for step in steps:
        open_calls += step
        barred.append(open_calls > 0)
    return barred


def _chat(message: Any) -> Message:
    role = message.get("role") if isinstance(message, dict) else None
    if role == "user":
        return Message("user")
    if role in ("tool", "function"):
        return Message("tool", results=tuple(_texts(message.get("tool_call_id"))))
    if role in ("system", "developer"):
        return Message("system")
    calls = dicts(message.get("tool_calls")) if isinstance(message, dict) else []
    return Message("assistant", tuple(_texts(*(call.get("id") for call in calls))))


def _anthropic(message: Any) -> Message:
    """Messages of the system among the others are taken for the assistant's: the system prompt stands elsewhere."""
    content = dicts(message.get("content")) if isinstance(message, dict) else []
    calls = tuple(_texts(*(block.get("id") for block in content if _ends(block, "tool_use"))))
    results = [block for block in content if _ends(block, "tool_result")]
    if isinstance(message, dict) and message.get("role") == "user":
        brought = tuple(_texts(*(block.get("tool_use_id") for block in results)))
        return Message("tool", results=brought) if results else Message("user")
    return Message("assistant", calls)


def _gemini(content: Any) -> Message:
    """Results belong to the calls of the content before them, so that identifiers, which may be missing, are not needed."""
    if isinstance(content, str):
        return Message("user")
    if not isinstance(content, dict):
        return Message("assistant")
    brings = any(
        get(part, "functionResponse") is not None or get(part, "toolResponse") is not None
        for part in one_or_more(content.get("parts"))
    )
    if brings or content.get("role") == "function":
        return Message("tool")
    return Message("user" if content.get("role") in ("user", "", None) else "assistant")


def _responses(item: Any) -> Message:
    if not isinstance(item, dict):
        return Message("assistant")
    name = type_of(item)
    if name == "message":
        role = item.get("role")
        return Message("user" if role == "user" else "system" if role in ("system", "developer") else "assistant")
    if name == "mcp_approval_response":
        return Message("tool", results=tuple(_texts(item.get("approval_request_id"))))
    if name.endswith("_output"):
        return Message("tool", results=tuple(_texts(item.get("call_id"))))
    return Message("assistant", tuple(_texts(item.get("call_id"), item.get("id"))))


def _ends(block: Mapping[str, Any], word: str) -> bool:
    """Whether the type of a block is `word` or one of its kinds (`server_tool_use`, `mcp_tool_result`)."""
    form = block.get("type")
    return isinstance(form, str) and form.endswith(word)


def _texts(*values: Any) -> Iterator[str]:
    yield from (value for value in values if isinstance(value, str))


_READERS: Final[Mapping[str, Callable[[Any], Message]]] = {
    "openai-chat": _chat,
    "anthropic-messages": _anthropic,
    "gemini": _gemini,
    "openai-responses": _responses,
}
