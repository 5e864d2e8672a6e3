"""Anthropic messages: `POST .../v1/messages`, requests and whole answers; also as Bedrock and Vertex AI take them.

Bedrock and Vertex AI name the model in the path, Bedrock the stream too; their bodies say `anthropic_version`.

Source: the Anthropic API reference, "Messages" and "Count message tokens"; the Bedrock API reference, InvokeModel and
InvokeModelWithResponseStream; Vertex AI, `rawPredict` and `streamRawPredict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ... import json as strict_json
from ..framing import SSE, Framing
from ..sse import encode_event
from ..usage import Usage
from .anthropic_blocks import (
    LEAF,
    block_attachments,
    block_slots,
    call_of,
    characteristic,
    content_slots,
    definition_texts,
    emptied,
    unreadable,
)
from .anthropic_events import message
from .anthropic_stream import STOP_REASONS, AnthropicStream
from .anthropic_usage import anthropic_usage
from .base import Attachment, Call, Dialect, Place, Slot
from .walking import descriptions, dicts

if TYPE_CHECKING:
    from ...exchange import Request

_PARAMETERS = {
    "max_output_tokens": (("max_tokens",),),
    "temperature": (("temperature",),),
    "top_p": (("top_p",),),
    "top_k": (("top_k",),),
    "stop": (("stop_sequences",),),
    "thinking_budget": (("thinking", "budget_tokens"),),
    "reasoning_effort": (("output_config", "effort"),),
    "service_tier": (("service_tier",),),
}
_INSTRUCTIONS = ("system", "developer")
_SYSTEM = -1  # the index of the system prompt, which stands before the messages


class AnthropicMessages(Dialect):
    """Messages of Anthropic and the services that speak like it."""

    name = "anthropic-messages"
    error_style = "anthropic"
    suffixes = ("/v1/messages", "/messages/count_tokens")
    hints = ("/messages",)
    conversation = "messages"
    parameters = _PARAMETERS
    finish_reasons = STOP_REASONS

    def recognises(self, body: Any) -> bool:
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            return False
        if isinstance(body.get("anthropic_version"), str):
            return True
        if type(body.get("max_tokens")) is not int:
            return False
        return (
            isinstance(body.get("system"), (str, list))
            or any("input_schema" in tool for tool in dicts(body.get("tools")))
            or any(
                map(characteristic, (block for sent in dicts(body["messages"]) for block in dicts(sent.get("content"))))
            )
        )

    def hinted(self, body: Any) -> bool:
        if self.recognises(body):
            return True
        if not isinstance(body, dict) or type(body.get("max_tokens")) is not int:
            return False
        sent = body.get("messages")
        return isinstance(sent, list) and all(one.get("role") in ("user", "assistant") for one in dicts(sent))

    def readable(self, body: Any) -> str:
        if not isinstance(body, dict):
            return "the body is no JSON object"
        if not isinstance(body.get("messages"), list):
            return "messages is no list"
        if body.get("system") is not None and (trouble := unreadable(body["system"], only_text=True)):
            return f"the system prompt {trouble}"
        for sent in body["messages"]:
            if not isinstance(sent, dict):
                return "a message is no object"
            if trouble := unreadable(sent.get("content")):
                return f"the content of a message {trouble}"
        return ""

    # ------------------------------------------------------------------ requests

    def model(self, request: Request) -> str:
        return _model_of_path(request.path) or super().model(request)

    def set_model(self, request: Request, model: str) -> bool:
        return not _model_of_path(request.path) and super().set_model(request, model)

    def streams(self, request: Request) -> bool:
        if _model_of_path(request.path) and not request.path.endswith(":rawPredict"):
            return request.path.endswith(("/invoke-with-response-stream", ":streamRawPredict"))
        return super().streams(request)

    def set_parameter(self, body: dict[str, Any], name: str, value: Any) -> bool:
        if name == "thinking_budget":
            thinking = body.get("thinking")
            body["thinking"] = {**(thinking if isinstance(thinking, dict) else {}), "type": "enabled"}
        elif name == "stop" and isinstance(value, str):
            value = [value]
        return super().set_parameter(body, name, value)

    def texts(self, body: Any) -> Iterator[Slot]:
        if not isinstance(body, dict):
            return
        yield from content_slots(body.get("system"), body, "system", _SYSTEM, "system", "system")
        messages = body.get("messages")
        for index, sent in enumerate(messages if isinstance(messages, list) else ()):
            if isinstance(sent, dict):
                role = sent.get("role")
                role = role if isinstance(role, str) else ""
                kind = "system" if role == "system" else "content"
                yield from content_slots(sent.get("content"), sent, "content", index, role, kind)
        for number, tool in enumerate(dicts(body.get("tools"))):
            for holder, key in definition_texts(tool):
                yield Slot(holder, key, "tool_definition", 0, "", number)
        for name in ("output_config", "output_format"):  # the schema of the answer, and where it stood before
            for holder, key in descriptions(body.get(name)):
                yield Slot(holder, key, "tool_definition", 0, "", -1)

    def attachments(self, body: Any) -> Iterator[Attachment]:
        if not isinstance(body, dict):
            return
        container = body.get("container")
        container = container.get("id") if isinstance(container, dict) else container
        if isinstance(container, str):
            yield Attachment("stored", container)  # files of earlier calls are in it
        messages = body.get("messages")
        for index, sent in enumerate(messages if isinstance(messages, list) else ()):
            if isinstance(sent, dict):
                yield from block_attachments(sent.get("content"), index)

    def insert(self, body: Any, messages: Sequence[tuple[str, str]], *, at_end: bool) -> bool:
        conversation = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(conversation, list):
            return False
        if any(role not in ("user", "assistant", *_INSTRUCTIONS) for role, _ in messages):
            return False
        prompt = [{"type": "text", "text": text} for role, text in messages if role in _INSTRUCTIONS]
        if prompt and not _add_to_system(body, prompt, at_end):
            return False
        place = len(conversation) if at_end else 0
        # Turns of one role in a row are allowed: the API takes them for one.
        conversation[place:place] = [
            {"role": role, "content": text} for role, text in messages if role not in _INSTRUCTIONS
        ]
        return True

    # ------------------------------------------------------------------ whole answers

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        for number, block in _blocks(body):
            yield from block_slots(block, number)

    def answer_calls(self, body: Any) -> Iterator[Call]:
        for number, block in _blocks(body):
            yield from call_of(block, number)

    def answer_reasons(self, body: Any) -> Iterator[str]:
        reason = body.get("stop_reason") if isinstance(body, dict) else None
        if isinstance(reason, str) and reason:
            yield reason

    def usage(self, body: Any) -> Usage | None:
        if not isinstance(body, dict):
            return None
        if "content" not in body and "usage" not in body and "input_tokens" in body:
            return Usage()  # tokens were counted, and none was used
        return anthropic_usage(body.get("usage"))

    def finish_answer(self, body: Any, index: int, reason: str, place: Place | None = None) -> None:
        if not isinstance(body, dict) or index != 0:
            return
        body["stop_reason"] = self.reason(reason)
        body["stop_sequence"] = None
        if body.get("stop_details") is not None:
            body["stop_details"] = None
        if isinstance(body.get("content"), list):
            content = body["content"]
            if place is not None:
                content = content[: 1 + (place[2] if place[2] < LEAF else place[2] // LEAF - 1)]
            body["content"] = [block for block in content if not emptied(block)]

    def open(self, framing: Framing = SSE) -> AnthropicStream:
        return AnthropicStream(framing)

    def answer(self, text: str, *, stream: bool, reason: str, model: str, identifier: str, created: int) -> bytes:
        content = [{"type": "text", "text": text}] if text else []
        whole = message(identifier, model, content, self.reason(reason), 0)
        if not stream:
            return strict_json.encode(whole)
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}
        ]
        if text:
            delta = {"type": "text_delta", "text": text}
            events += [
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 0, "delta": delta},
                {"type": "content_block_stop", "index": 0},
            ]
        end = {"stop_reason": self.reason(reason), "stop_sequence": None}
        events += [{"type": "message_delta", "delta": end, "usage": {"output_tokens": 0}}, {"type": "message_stop"}]
        return b"".join(encode_event(strict_json.encode(event), event["type"]) for event in events)


def _blocks(body: Any) -> Iterator[tuple[int, Any]]:
    content = body.get("content") if isinstance(body, dict) else None
    yield from enumerate(content if isinstance(content, list) else ())


def _add_to_system(body: dict[str, Any], prompt: list[dict[str, str]], at_end: bool) -> bool:
    """Put text blocks before or after those of the system prompt, whose own keep their order and their cache marks."""
    system = body.get("system")
    if not system:
        body["system"] = prompt[0]["text"] if len(prompt) == 1 else prompt
        return True
    if isinstance(system, str):
        system = [{"type": "text", "text": system}]
    elif not isinstance(system, list):
        return False
    body["system"] = [*system, *prompt] if at_end else [*prompt, *system]
    return True


def _model_of_path(path: str) -> str:
    """Return the model that Bedrock's and Vertex AI's paths name; empty where a path names none."""
    for opening, endings in (
        ("/model/", ("/invoke", "/invoke-with-response-stream")),
        ("/publishers/anthropic/models/", (":rawPredict", ":streamRawPredict")),
    ):
        for ending in endings:
            if path.endswith(ending):
                _, found, model = path.removesuffix(ending).partition(opening)
                return model if found else ""
    return ""
