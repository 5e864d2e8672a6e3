"""OpenAI chat completions: `POST .../chat/completions`, requests and whole answers; its streams have a file beside this.

Source: the OpenAI API reference, "Chat completions"; `reasoning_content` as DeepSeek and others send it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ... import json as strict_json
from ..framing import SSE, Framing
from ..sse import encode_event
from .base import Attachment, Call, Delta, Piece, Place, Slot
from .openai_chat_stream import DONE, OpenAIChatStream, read_said
from .openai_chat_texts import (
    EXECUTED,
    LEGACY,
    PARTS,
    TOOL,
    Repeated,
    detail_texts,
    listed_texts,
    part_attachments,
    part_texts,
    repeats,
)
from .openai_choices import SAMPLING, OpenAIChoices, choices_of, holder_of
from .openai_shapes import ABSENT, read_answer
from .openai_usage import openai_usage
from .walking import descriptions, dicts, strings

_FIELDS = {"reasoning_content": "reasoning", "reasoning": "reasoning", "content": "content", "refusal": "refusal"}
"""In the order in which a stream tells them."""
_CITED = frozenset({"text", "content", "title"})
_KIND_OF_ROLE = {"system": "system", "developer": "system", "tool": "tool_result", "function": "tool_result"}

_PARAMETERS = {
    **SAMPLING,
    "max_output_tokens": (("max_completion_tokens",), ("max_tokens",)),
    "choices": (("n",),),
    "reasoning_effort": (("reasoning_effort",), ("reasoning", "effort")),
    "service_tier": (("service_tier",),),
}


class OpenAIChat(OpenAIChoices):
    """Chat completions of OpenAI and the many services that speak them."""

    name = "openai-chat"
    suffixes = ("/chat/completions",)
    conversation = "messages"
    parameters = _PARAMETERS

    def recognises(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("messages"), list) and isinstance(body.get("model"), str)

    def readable(self, body: Any) -> str:
        if not isinstance(body, dict):
            return "the body is no JSON object"
        if not isinstance(body.get("messages"), list):
            return "" if _is_template(body) else "messages is no list"
        for message in body["messages"]:
            if not isinstance(message, dict):
                return "a message is no object"
            content = message.get("content")
            if content is None or isinstance(content, str):
                continue
            if not isinstance(content, list):
                return "the content of a message is neither text nor a list of parts"
            for part in content:
                if not isinstance(part, dict) or str(part.get("type")) not in PARTS:
                    return "a message has a part of unknown type"
        return ""

    # ------------------------------------------------------------------ requests

    def texts(self, body: Any) -> Iterator[Slot]:
        messages = body.get("messages")
        if messages is None and _is_template(body):
            for number, (holder, key) in enumerate(strings(body["properties"])):
                yield Slot(holder, key, "variable", 0, "user", number)
        for index, message in enumerate(messages if isinstance(messages, list) else ()):
            if not isinstance(message, dict):
                continue
            role = message.get("role")
            role = role if isinstance(role, str) else ""
            kind = _KIND_OF_ROLE.get(role, "content")
            content = message.get("content")
            if isinstance(content, str):
                yield Slot(message, "content", kind, index, role)
            elif content is not None:
                yield from part_texts(content, kind, index, role)
            if len(message) > 2 or content is None or not role:  # more than its role and its content
                yield from self._other_texts(message, index, role)
        if "tools" in body or "functions" in body:
            for number, tool in enumerate([*dicts(body.get("tools")), *dicts(body.get("functions"))]):
                for holder, key in descriptions(tool):
                    yield Slot(holder, key, "tool_definition", 0, "", number)
        if "response_format" in body:
            for holder, key in descriptions(body["response_format"]):
                yield Slot(holder, key, "tool_definition", 0, "", -1)
        prediction = body.get("prediction")
        if isinstance(prediction, dict):
            if isinstance(prediction.get("content"), str):
                yield Slot(prediction, "content", "prediction", 0, "")
            for number, part in enumerate(dicts(prediction.get("content"))):
                if isinstance(part.get("text"), str):
                    yield Slot(part, "text", "prediction", 0, "", number)

    @staticmethod
    def _other_texts(message: dict[str, Any], index: int, role: str) -> Iterator[Slot]:
        for field in ("reasoning_content", "reasoning", "refusal", "name"):
            if isinstance(message.get(field), str):
                yield Slot(message, field, _FIELDS.get(field, "name"), index, role)
        yield from detail_texts(message.get("reasoning_details"), index, role)
        for number, (holder, key) in enumerate(strings(message.get("annotations"))):  # sent back, files' texts and all
            if key in _CITED:
                yield Slot(holder, key, "document", index, role, number)
        calls = [*dicts(message.get("tool_calls")), *([message] if "function_call" in message else [])]
        for number, call in enumerate(calls):
            function = call.get("function_call") if call is message else call.get("function")
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                yield Slot(function, "arguments", "tool_arguments", index, role, number)
            custom = call.get("custom")
            if isinstance(custom, dict) and isinstance(custom.get("input"), str):
                yield Slot(custom, "input", "tool_arguments", index, role, number)

    def attachments(self, body: Any) -> Iterator[Attachment]:
        for index, message in enumerate(dicts(body.get("messages"))):
            for part in dicts(message.get("content")):
                yield from part_attachments(part, index)

    def insert(self, body: Any, messages: Sequence[tuple[str, str]], *, at_end: bool) -> bool:
        conversation = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(conversation, list):
            return False
        place = len(conversation) if at_end else 0
        conversation[place:place] = [{"role": role, "content": text} for role, text in messages]
        return True

    # ------------------------------------------------------------------ whole answers

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        for index, choice in choices_of(body):
            message = choice.get("message")
            if not isinstance(message, dict):
                continue
            held = holder_of(message, choice)
            for field, kind in _FIELDS.items():
                value = message.get(field)
                if isinstance(value, str):
                    details = detail_texts(message.get("reasoning_details"), index, "assistant")
                    holder = Repeated(message, details) if repeats(message, field, details) else held
                    yield Slot(holder, field, kind, index, "assistant", 1 if field == "reasoning" else 0)
                elif isinstance(value, list) and field != "content":
                    for number, part in enumerate(dicts(value)):
                        if isinstance(part.get("text"), str):
                            yield Slot(holder_of(part, choice), "text", kind, index, "assistant", number)
            for slot in listed_texts(message, index):
                if slot.kind == "content":
                    slot.container = holder_of(slot.container, choice)
                yield slot
            spoken, legacy = message.get("audio"), message.get("function_call")
            if isinstance(spoken, dict) and isinstance(spoken.get("transcript"), str):
                yield Slot(spoken, "transcript", "transcript", index, "assistant")
            if isinstance(legacy, dict) and isinstance(legacy.get("arguments"), str):
                yield Slot(legacy, "arguments", "tool_arguments", index, "assistant", LEGACY)
            for number, call in enumerate(dicts(message.get("tool_calls"))):
                for name, key in (("function", "arguments"), ("custom", "input")):
                    called = call.get(name)
                    if isinstance(called, dict) and isinstance(called.get(key), str):
                        yield Slot(called, key, "tool_arguments", index, "assistant", TOOL + number)

    def answer_calls(self, body: Any) -> Iterator[Call]:
        for index, choice in choices_of(body):
            message = choice.get("message")
            for number, call in enumerate(dicts(message.get("tool_calls") if isinstance(message, dict) else None)):
                for called in (call.get("function"), call.get("custom")):
                    name = called.get("name") if isinstance(called, dict) else None
                    if isinstance(name, str) and name:
                        yield Call(index, TOOL + number, str(call.get("id") or ""), name)

    def finish_answer(self, body: Any, index: int, reason: str, place: Place | None = None) -> None:
        super().finish_answer(body, index, reason, place)
        if place is None:
            return
        made = place[2] - TOOL + 1 if place[1] == "tool_arguments" and place[2] < EXECUTED else 0
        for number, choice in choices_of(body):
            message = choice.get("message")
            if number != index or not isinstance(message, dict):
                continue
            if isinstance(message.get("tool_calls"), list) and made < len(message["tool_calls"]):
                message["tool_calls"] = message["tool_calls"][: max(made, 0)] or None
            if not made and message.get("function_call") is not None:
                message["function_call"] = None

    def read_answer(self, data: bytes) -> Delta:
        try:
            answer = read_answer(data)
        except (ValueError, RecursionError):  # of unusual types, or no JSON: what can be read of it is
            return super().read_answer(data)
        pieces: list[Piece] = []
        calls: list[Call] = []
        reasons: list[str] = []
        for position, choice in enumerate(answer.choices or ()):
            if choice.message is not None:
                index = position if choice.index is None else choice.index
                read_said(index, choice.message, pieces, calls, whole=True)
            if choice.finish_reason:
                reasons.append(choice.finish_reason)
        return Delta(
            pieces,
            (),
            openai_usage(answer.usage),
            answer.model,
            error=answer.error is not ABSENT and bytes(answer.error) not in (b"null", b'""'),
            identifier=answer.id,
            calls=calls,
            reasons=reasons,
        )

    def open(self, framing: Framing = SSE) -> OpenAIChatStream:
        return OpenAIChatStream(framing)

    def answer(self, text: str, *, stream: bool, reason: str, model: str, identifier: str, created: int) -> bytes:
        head = {"id": f"chatcmpl-{identifier}", "created": created, "model": model}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        if not stream:
            message = {"role": "assistant", "content": text, "refusal": None}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
            return strict_json.encode({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        chunk = {**head, "object": "chat.completion.chunk"}
        first = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        last = {"index": 0, "delta": {}, "finish_reason": reason}
        events = [strict_json.encode({**chunk, "choices": [choice]}) for choice in (first, last)]
        return b"".join([*map(encode_event, events), DONE])


def _is_template(body: dict[str, Any]) -> bool:
    """Whether a body names a prompt template and its variables, as `ai-prompt-template` turns into a conversation."""
    return "messages" not in body and isinstance(body.get("template"), str) and isinstance(body.get("properties"), dict)
