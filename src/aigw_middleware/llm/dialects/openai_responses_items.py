"""The items that OpenAI's Responses are made of, in requests, answers and events: their types.

Source: the OpenAI API reference, "Responses": input items, the response object, streaming events; `x_search_call`, and
`arguments` and `prompt` of what the provider's own tools are asked, as xAI has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from .base import Attachment
from .walking import descriptions, dicts

PARTS: Final = {
    "input_text": "",
    "output_text": "",
    "text": "",
    "refusal": "",
    "reasoning_text": "",
    "summary_text": "",
    "input_image": "image",
    "computer_screenshot": "image",
    "input_audio": "audio",
    "output_audio": "audio",
    "input_file": "file",
}
"""What a type of content part is: text, or something that holds none that could be read here."""

ANY: Final = "*"  # in a path: every object of the list
FIELDS: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "function_call": (("tool_arguments", ("arguments",)),),
    "custom_tool_call": (("tool_arguments", ("input",)),),
    "mcp_call": (
        ("tool_arguments", ("arguments",)),
        ("tool_result", ("output",)),
        ("tool_result", ("error",)),
    ),
    "mcp_approval_request": (("tool_arguments", ("arguments",)),),
    "mcp_approval_response": (("tool_result", ("reason",)),),
    "mcp_list_tools": (("tool_result", ("error",)),),
    "code_interpreter_call": (
        ("tool_arguments", ("code",)),
        ("tool_result", ("outputs", ANY, "logs")),
        ("tool_arguments", ("arguments",)),
    ),
    "local_shell_call": (
        ("tool_arguments", ("action", "command")),
        ("tool_arguments", ("action", "env")),
        ("tool_arguments", ("action", "working_directory")),
    ),
    "local_shell_call_output": (("tool_result", ("output",)),),
    "shell_call": (("tool_arguments", ("action", "commands")),),
    "shell_call_output": (
        ("tool_result", ("output", ANY, "stdout")),
        ("tool_result", ("output", ANY, "stderr")),
    ),
    "apply_patch_call": (("tool_arguments", ("operation", "diff")), ("tool_arguments", ("operation", "path"))),
    "apply_patch_call_output": (("tool_result", ("output",)),),
    "computer_call": (
        ("tool_arguments", ("action", "text")),
        ("tool_arguments", ("actions", ANY, "text")),
        ("tool_arguments", ("pending_safety_checks", ANY, "message")),
    ),
    "computer_call_output": (("tool_result", ("acknowledged_safety_checks", ANY, "message")),),
    "web_search_call": (
        ("tool_arguments", ("action", "query")),
        ("tool_arguments", ("action", "queries")),
        ("tool_arguments", ("action", "pattern")),
        ("tool_arguments", ("action", "url")),
        ("tool_arguments", ("arguments",)),
    ),
    "x_search_call": (("tool_arguments", ("arguments",)), ("tool_arguments", ("input",))),
    "file_search_call": (
        ("tool_arguments", ("queries",)),
        ("document", ("results", ANY, "text")),
        ("tool_arguments", ("arguments",)),
    ),
    "image_generation_call": (("tool_arguments", ("revised_prompt",)), ("tool_arguments", ("prompt",))),
    "tool_search_call": (("tool_arguments", ("arguments",)),),
    "program": (("tool_arguments", ("code",)),),
    "program_output": (("tool_result", ("result",)),),
    # What their encrypted content says, only the provider can read; nobody else wrote it, either.
    "reasoning": (("reasoning", ("content",)), ("reasoning", ("summary",))),
    "function_call_output": (("tool_result", ("output",)),),
    "custom_tool_call_output": (("tool_result", ("output",)),),
    "message": (("content", ("content",)),),
    "tool_search_output": (),
    "additional_tools": (),
    "configuration_update": (),
    "compaction": (),
    "compaction_trigger": (),
    "item_reference": (),
}
"""The texts of each type of item: kind and path. Their order numbers the fields and must stay; new ones go to the end."""
IN_PARTS: Final = frozenset({"message", "reasoning", "function_call_output", "custom_tool_call_output"})
DEFINITIONS: Final = frozenset({"mcp_list_tools", "tool_search_output", "additional_tools", "configuration_update"})
NO_TEXTS: Final = frozenset(
    {"id", "type", "status", "role", "object", "call_id", "name", "namespace", "container_id", "encrypted_content"}
)

_SOURCES: Final = ("image_url", "file_data", "data", "file_url", "file_id")


def type_of(item: dict[str, Any]) -> str:
    """Return the type of an item; messages and references may come without."""
    name = item.get("type")
    if isinstance(name, str):
        return name
    if "content" in item or "role" in item:
        return "message"
    return "item_reference" if "id" in item else ""


def unreadable(item: Any) -> str:
    """Return why an item of a request cannot be read, or the empty string."""
    if not isinstance(item, dict):
        return "an input item is no object"
    name = type_of(item)
    if name not in FIELDS:
        return "an input item is of unknown type"
    if name not in IN_PARTS:
        return ""
    for _, path in FIELDS[name]:
        value = item.get(path[0])
        if isinstance(value, list):
            if any(unreadable_part(part) for part in value):
                return f"a {name} has a part of unknown type"
        elif not (value is None or isinstance(value, str) or (isinstance(value, dict) and path[0] == "output")):
            return f"the {path[0]} of a {name} is neither text nor a list of parts"
    return ""


def unreadable_part(part: Any) -> bool:
    """Whether a content part may hold text that nobody here can see."""
    return not isinstance(part, dict) or str(part.get("type")) not in PARTS


def definitions(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield `(container, key)` of all that tells the model what tools, or the schemas of an answer, mean."""
    yield from descriptions(value)
    tools = dicts(value)
    for tool in [*tools, *(inner for space in tools for inner in dicts(space.get("tools")))]:
        if isinstance(tool.get("server_description"), str):
            yield tool, "server_description"
        grammar = tool.get("format")
        if isinstance(grammar, dict) and isinstance(grammar.get("definition"), str):
            yield grammar, "definition"


def part_attachment(part: dict[str, Any], index: int) -> Iterator[Attachment]:
    """Yield what a content part carries or points to."""
    kind = PARTS.get(str(part.get("type")), "")
    if kind:
        sound = part.get("input_audio")
        held = sound if isinstance(sound, dict) else part
        source = next((held[key] for key in _SOURCES if held.get(key)), "")
        yield Attachment(kind, str(source), index, str(part.get("detail") or ""))


def item_attachments(item: dict[str, Any], index: int) -> Iterator[Attachment]:
    """Yield what an item carries or points to that is no text."""
    name = type_of(item)
    identifier = str(item.get("id") or "")
    if name in ("item_reference", "compaction"):
        yield Attachment("stored", identifier, index)
    elif name == "image_generation_call":
        picture = item.get("result")
        yield Attachment("image", str(picture), index) if picture else Attachment("stored", identifier, index)
    elif name == "code_interpreter_call":
        for output in dicts(item.get("outputs")):
            if output.get("url"):
                yield Attachment("image", str(output["url"]), index)
    else:
        held = item.get("content" if name == "message" else "output")
        for part in [held] if isinstance(held, dict) else dicts(held):
            yield from part_attachment(part, index)
