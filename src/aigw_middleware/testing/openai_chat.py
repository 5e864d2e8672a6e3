"""OpenAI's chat completions as a provider writes them.

Source: OpenAI API reference, "Chat" (create a chat completion; the chat completion object; the chunk object).
`reasoning_content` is not OpenAI's: compatible providers use it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .apis import OPENAI, Api
from .call import MOST_CHOICES, Call, body_of, member, messages_of, model_of, positive
from .composition import Block, BlockKind, Composition, Piece
from .composition import words as words  # part of this module's face
from .framing import Event
from .script import Usage

if TYPE_CHECKING:
    from .provider_hosts import ReceivedRequest

DONE = "[DONE]"
FIELD_OF: Mapping[BlockKind, str] = {"reasoning": "reasoning_content", "text": "content", "refusal": "refusal"}


@dataclass(frozen=True, slots=True)
class ChatCall(Call):
    """A chat completion request."""

    api: ClassVar[Api] = OPENAI

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = body_of(request)
        return cls(
            model=model_of(body),
            messages=messages_of(body, "messages"),
            stream=body.get("stream") is True,
            include_usage=member(body, "stream_options").get("include_usage") is True,
            choices=positive(body, "n", MOST_CHOICES) or 1,
            limit=positive(body, "max_completion_tokens") or positive(body, "max_tokens"),
            offers_tools=bool(body.get("tools")),
            response_format=member(body, "response_format"),
        )

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """The chat completion object."""
        message = _message(composed)
        finish = composed.finish_reason
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
            for index in range(self.choices)
        ]
        body = {**_frame(composed, "chat.completion"), "choices": choices}
        return body if composed.usage is None else {**body, "usage": usage_object(composed.usage)}

    def events(self, composed: Composition) -> Iterator[Event]:
        """Roles, pieces in turn, finishes, usage, end marker."""
        frame = _frame(composed, "chat.completion.chunk")
        usage = UsageChunks(composed)
        choices = range(self.choices)
        role = {"role": "assistant", "content": None if _opens_without_text(composed) else "", "refusal": None}
        for index in choices:
            yield Event({**frame, "choices": [_choice(index, role)], **usage.beside(first=index == 0)})
        for piece in composed.pieces:
            delta = _delta(composed.blocks[piece.block], piece)
            for index in choices:
                beside = usage.beside(sent=piece.number + 1)
                yield Event({**frame, "choices": [_choice(index, delta)], **beside}, piece=piece.number)
        for index in choices:
            ended = [_choice(index, {}, composed.finish_reason)]
            beside = usage.beside(sent=len(composed.pieces), last=index == self.choices - 1)
            yield Event({**frame, "choices": ended, **beside})
        yield from usage.after(frame)
        yield Event(DONE, final=True)


class UsageChunks:
    """Where the chunks of a stream have usage, as the style says; nowhere unless it was asked for."""

    def __init__(self, composed: Composition) -> None:
        self._composed = composed
        self._asked = composed.call.include_usage
        self._at = composed.style.usage_at

    def beside(self, *, sent: int = 0, first: bool = False, last: bool = False) -> dict[str, Any]:
        """The member of a chunk that has choices: null in all that do not report, as the reference says."""
        if not self._asked:
            return {}
        composed = self._composed
        whole = (first and self._at == "start") or (last and self._at == "finish")
        usage = composed.usage_after(sent) if self._at == "every" else composed.usage if whole else None
        return {"usage": usage and usage_object(usage)}

    def after(self, frame: Mapping[str, Any]) -> Iterator[Event]:
        """The chunk of its own, which has no choices."""
        if self._asked and self._composed.usage is not None and self._at in ("usual", "end", "every"):
            yield Event({**frame, "choices": [], "usage": usage_object(self._composed.usage)})


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's `usage` of completions; tokens written to the cache are named only where there are any."""
    written = {"cache_write_tokens": usage.cache_creation_tokens} if usage.cache_creation_tokens else {}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0, **written},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _frame(composed: Composition, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{composed.number}",
        "object": kind,
        "created": composed.created,
        "model": composed.call.model,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }


def _opens_without_text(composed: Composition) -> bool:
    return bool(composed.blocks) and all(block.kind == "tool" for block in composed.blocks)


def _choice(index: int, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _delta(block: Block, piece: Piece) -> dict[str, Any]:
    if block.kind != "tool":
        return {FIELD_OF[block.kind]: piece.text}
    if not piece.opens:
        return {"tool_calls": [{"index": block.place, "function": {"arguments": piece.text}}]}
    return {"tool_calls": [{"index": block.place, **_tool_call(block, "")}]}


def _message(composed: Composition) -> dict[str, Any]:
    tools = composed.tools
    refusal = composed.said("refusal") or None
    message: dict[str, Any] = {
        "role": "assistant",
        "content": composed.said("text") or (None if tools or refusal else ""),
        "refusal": refusal,
        "annotations": [],
    }
    reasoning = composed.said("reasoning")
    if reasoning:
        message["reasoning_content"] = reasoning
    if tools:
        message["tool_calls"] = [_tool_call(block, block.text) for block in tools]
    return message


def _tool_call(block: Block, arguments: str) -> dict[str, Any]:
    return {"id": block.tool.id, "type": "function", "function": {"name": block.tool.name, "arguments": arguments}}
