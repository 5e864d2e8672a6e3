"""Questions and answers in the form in which OpenTelemetry's conventions put them into spans, cut to a number of characters.

Source: OpenTelemetry, semantic conventions for generative AI: the JSON schemas of input messages, output messages and
system instructions.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from .... import json as strict_json
from .values import cut, cut_end

if TYPE_CHECKING:
    from ....llm.view import LlmCall
    from ....meter import Meter

PARTS: Final = {
    "content": ("text", "content"),
    "system": ("text", "content"),
    "reasoning": ("reasoning", "content"),
    "refusal": ("text", "content"),
    "tool_result": ("tool_call_response", "response"),
}
"""By kind of text: the type of part, and the member that has the text."""


class Conversation:
    """What a request says, as it was at the plug-in's turn. Of one that is too long the last messages are kept."""

    __slots__ = ("_messages", "_system")

    def __init__(self, call: LlmCall, limit: int) -> None:
        system: list[dict[str, Any]] = []
        found: dict[tuple[int, str], dict[str, Any]] = {}
        for slot in call.texts():
            if slot.kind not in PARTS or not slot.role:
                continue
            kind, member = PARTS[slot.kind]
            part = {"type": kind, member: cut(slot.text, limit)}
            if slot.index < 0:  # stands beside the messages, not among them
                system.append(part)
            else:
                message = found.setdefault((slot.index, slot.role), {"role": slot.role, "parts": []})
                message["parts"].append(part)
        kept: list[dict[str, Any]] = []
        room = limit
        for place in sorted(found, key=itemgetter(0))[::-1]:
            room -= sum(len(text) for part in found[place]["parts"] for text in part.values())
            if room < 0 and kept:
                break
            kept.append(found[place])
        self._messages = strict_json.encode(kept[::-1]).decode()
        self._system = strict_json.encode(system).decode() if system else ""

    def attributes(self) -> dict[str, str]:
        """Return the attributes of a span."""
        found = {"gen_ai.input.messages": self._messages}
        if self._system:
            found["gen_ai.system_instructions"] = self._system
        return found


def output_messages(meter: Meter, limit: int) -> str:
    """Return what was answered, as far as it was kept, as JSON."""
    parts: list[dict[str, Any]] = [
        {"type": kind, "content": cut_end(text, limit)}
        for kind, text in (("reasoning", meter.text("reasoning")), ("text", meter.text("content")))
        if text
    ]
    for call in meter.tool_calls():
        function = call["function"]
        parts.append(
            {"type": "tool_call", "id": call["id"], "name": function["name"], "arguments": function["arguments"]}
        )
    message: dict[str, Any] = {"role": "assistant", "parts": parts}
    if meter.finish_reasons:
        message["finish_reason"] = meter.finish_reasons[0]
    return strict_json.encode([message] if parts else []).decode()
