"""Anthropic's messages as a provider writes them, and the count of their tokens.

Source: Anthropic API reference, "Messages" (create a message; count tokens) and "Streaming messages".
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .apis import ANTHROPIC, Api
from .call import Call, InvalidCallError, body_of, member, messages_of, model_of, positive
from .composition import Block, Composition, Piece, prompt_tokens
from .framing import Event
from .script import ProviderError, Usage

if TYPE_CHECKING:
    from .provider_hosts import ReceivedRequest

STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
PING = Event({"type": "ping"}, "ping")
NOTHING_COUNTED = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class MessagesCall(Call):
    """A request for a message."""

    api: ClassVar[Api] = ANTHROPIC
    keep_alive: ClassVar[Event | None] = PING

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = _checked(request)
        limit = positive(body, "max_tokens")
        if limit is None:
            raise InvalidCallError("max_tokens: Field required")
        wanted = member(member(body, "output_config"), "format")
        return cls(
            model=model_of(body),
            messages=_conversation(body),
            stream=body.get("stream") is True,
            limit=limit,
            offers_tools=bool(body.get("tools")),
            response_format={"type": wanted.get("type"), "json_schema": wanted},
        )

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """The message object."""
        usage = composed.usage or NOTHING_COUNTED
        return {
            **_message(composed),
            "content": [_block(composed, place, block) for place, block in enumerate(composed.blocks)],
            **_end(composed),
            "usage": {**_input(usage), "output_tokens": usage.completion_tokens, "service_tier": "standard"},
        }

    def events(self, composed: Composition) -> Iterator[Event]:
        """The message without content, its blocks with their pieces, the end of the message."""
        yield _event("message_start", message={**_message(composed), "content": [], **_begin(composed)})
        for piece in composed.pieces:
            yield from self._piece_events(composed, piece)
        yield _event("message_delta", delta=_end(composed), usage=_usage_at_end(composed))
        yield Event({"type": "message_stop"}, "message_stop", final=True)

    def failure(self, error: ProviderError, composed: Composition, sent: int) -> Iterator[Event]:
        """The error, as its body would be."""
        yield Event(self.api.error(error, composed.request_id), "error", final=True)

    def _piece_events(self, composed: Composition, piece: Piece) -> Iterator[Event]:
        block = composed.blocks[piece.block]
        if piece.opens:
            number = piece.number if block.kind == "tool" else None
            yield _event("content_block_start", number, index=piece.block, content_block=_opening(block))
            if piece.number == 0:
                yield PING
        if block.kind == "tool":
            # The first delta of a tool call is empty, the piece is in the event before.
            delta = {"type": "input_json_delta", "partial_json": piece.text}
            yield _delta(piece, delta, None if piece.opens else piece.number)
        elif block.kind == "reasoning":
            yield _delta(piece, {"type": "thinking_delta", "thinking": piece.text}, piece.number)
            if piece.closes:
                yield _delta(piece, {"type": "signature_delta", "signature": _signature(composed, piece.block)})
        else:
            yield _delta(piece, {"type": "text_delta", "text": piece.text}, piece.number)
        if piece.closes:
            yield _event("content_block_stop", index=piece.block)
            if composed.style.usage_at == "every":
                so_far = composed.usage_after(piece.number + 1) or NOTHING_COUNTED
                going_on = {"stop_reason": None, "stop_sequence": None}
                yield _event("message_delta", delta=going_on, usage={"output_tokens": so_far.completion_tokens})


@dataclass(frozen=True, slots=True)
class CountTokensCall(Call):
    """A request for the number of input tokens. Of an answer it gets delays and usage."""

    api: ClassVar[Api] = ANTHROPIC

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = _checked(request)
        return cls(model=model_of(body), messages=_conversation(body))

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """The number."""
        usage = composed.usage
        return {"input_tokens": prompt_tokens(self.texts) if usage is None else usage.prompt_tokens}


def _checked(request: "ReceivedRequest") -> Mapping[str, Any]:
    if request.header("anthropic-version") is None:
        raise InvalidCallError("anthropic-version: header is required")
    return body_of(request)


def _conversation(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [{"role": "system", "content": body.get("system")}, *messages_of(body, "messages")]


def _message(composed: Composition) -> dict[str, Any]:
    return {
        "model": composed.call.model,
        "id": f"msg_{composed.number}",
        "type": "message",
        "role": "assistant",
    }


def _begin(composed: Composition) -> dict[str, Any]:
    at, usage = composed.style.usage_at, composed.usage or NOTHING_COUNTED
    if at == "end":
        told = {**_input(NOTHING_COUNTED), "output_tokens": 0}
    else:
        begun = min(1, usage.completion_tokens)
        told = {**_input(usage), "output_tokens": usage.completion_tokens if at == "start" else begun}
    return {"stop_reason": None, "stop_sequence": None, "usage": {**told, "service_tier": "standard"}}


def _usage_at_end(composed: Composition) -> dict[str, Any]:
    usage = composed.usage or NOTHING_COUNTED
    again = _input(usage) if composed.style.usage_at in ("end", "finish") else {}
    return {**again, "output_tokens": usage.completion_tokens}


def _end(composed: Composition) -> dict[str, Any]:
    reason = STOP_REASONS[composed.finish_reason]
    if reason == "end_turn" and composed.said("refusal"):
        reason = "refusal"
    if reason == "end_turn" and composed.stop_sequence is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": composed.stop_sequence}
    return {"stop_reason": reason, "stop_sequence": None}


def _input(usage: Usage) -> dict[str, Any]:
    """Anthropic counts the tokens of the cache apart from the others."""
    apart = usage.cached_tokens + usage.cache_creation_tokens
    return {
        "input_tokens": max(0, usage.prompt_tokens - apart),
        "cache_creation_input_tokens": usage.cache_creation_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
    }


def _opening(block: Block) -> dict[str, Any]:
    if block.kind == "tool":
        return {"type": "tool_use", "id": block.tool.id, "name": block.tool.name, "input": {}}
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _block(composed: Composition, place: int, block: Block) -> dict[str, Any]:
    if block.kind == "tool":
        return {**_opening(block), "input": block.arguments or {}}
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": block.text, "signature": _signature(composed, place)}
    return {"type": "text", "text": block.text}


def _signature(composed: Composition, place: int) -> str:
    return base64.b64encode(f"signature of block {place} of message {composed.number}".encode()).decode()


def _delta(piece: Piece, delta: Mapping[str, Any], number: int | None = None) -> Event:
    return _event("content_block_delta", number, index=piece.block, delta=delta)


def _event(name: str, piece: int | None = None, /, **members: Any) -> Event:
    return Event({"type": name, **members}, name, piece)
