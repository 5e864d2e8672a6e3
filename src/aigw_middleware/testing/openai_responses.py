"""OpenAI's Responses as a provider writes them.

Source: OpenAI API reference, "Responses" (create a model response; the response object) and "Streaming events".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .apis import OPENAI, Api
from .call import Call, InvalidCallError, body_of, member, model_of, positive
from .composition import Composition, Piece
from .framing import Event
from .openai_response_items import begun, done, item_id, part_of
from .script import ProviderError, Usage

if TYPE_CHECKING:
    from .provider_hosts import ReceivedRequest

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class ResponsesCall(Call):
    """A request for a model response."""

    api: ClassVar[Api] = OPENAI

    asked: Mapping[str, Any] = field(default_factory=dict)
    """The request's body, of which the answer repeats a part."""

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = body_of(request)
        wanted = member(member(body, "text"), "format")
        return cls(
            model=model_of(body),
            messages=[{"role": "system", "content": body.get("instructions")}, *_conversation(body.get("input"))],
            stream=body.get("stream") is True,
            limit=positive(body, "max_output_tokens"),
            offers_tools=bool(body.get("tools")),
            response_format={"type": wanted.get("type"), "json_schema": wanted},
            asked=body,
        )

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """The response object as it is in the end."""
        reason = INCOMPLETE.get(composed.finish_reason)
        return {
            **self._response(composed, "incomplete" if reason else "completed"),
            "incomplete_details": {"reason": reason} if reason else None,
            "output": [done(composed, place) for place in range(len(composed.blocks))],
            "usage": composed.usage and _usage(composed.usage),
        }

    def events(self, composed: Composition) -> Iterator[Event]:
        """The response, its items with their parts and pieces, the response again."""
        return _numbered(self._events(composed))

    def failure(self, error: ProviderError, composed: Composition, sent: int) -> Iterator[Event]:
        """The error, and the response that has failed."""
        code = error.code or "server_error"
        failed = {**self._response(composed, "failed"), "error": {"code": code, "message": error.message}}
        told = {"code": code, "message": error.message, "param": error.param}
        return _numbered(
            iter([_event("error", told), _event("response.failed", {"response": failed}, final=True)]), sent
        )

    def _events(self, composed: Composition) -> Iterator[Event]:
        opening = self._response(composed, "in_progress")
        if composed.style.usage_at in ("start", "every"):
            usage = composed.usage if composed.style.usage_at == "start" else composed.usage_after(0)
            opening["usage"] = usage and _usage(usage)
        yield _event("response.created", {"response": opening})
        yield _event("response.in_progress", {"response": opening})
        for piece in composed.pieces:
            write = _tool_events if composed.blocks[piece.block].kind == "tool" else _text_events
            yield from write(composed, piece)
        response = self.whole(composed)
        yield _event(f"response.{response['status']}", {"response": response}, final=True)

    def _response(self, composed: Composition, status: str) -> dict[str, Any]:
        asked = self.asked
        return {
            "id": f"resp_{composed.number}",
            "object": "response",
            "created_at": composed.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.get("instructions"),
            "max_output_tokens": self.limit,
            "model": self.model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": asked.get("previous_response_id"),
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": True,
            "temperature": 1.0,
            "text": asked.get("text") or {"format": {"type": "text"}},
            "tool_choice": asked.get("tool_choice") or "auto",
            "tools": asked.get("tools") or [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
            "metadata": asked.get("metadata") or {},
        }


def _conversation(given: object) -> list[Mapping[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given or not all(isinstance(item, Mapping) for item in given):
        raise InvalidCallError("'input' must be a string or a list of at least one item.", "input")
    return given


def _text_events(composed: Composition, piece: Piece) -> Iterator[Event]:
    block = composed.blocks[piece.block]
    part = part_of(composed, block)
    inside = {**_place(composed, piece), part.place: 0}
    if piece.opens:
        yield _item_event("added", begun(composed, piece.block), piece)
        yield _event(f"{part.frame}.added", {**inside, "part": part.written("")})
    yield _event(f"{part.events}.delta", {**inside, "delta": piece.text, **part.beside}, piece.number)
    if piece.closes:
        yield _event(f"{part.events}.done", {**inside, part.member: block.text, **part.beside})
        yield _event(f"{part.frame}.done", {**inside, "part": part.written(block.text)})
        yield _item_event("done", done(composed, piece.block), piece)


def _tool_events(composed: Composition, piece: Piece) -> Iterator[Event]:
    name, place = "response.function_call_arguments", _place(composed, piece)
    if piece.opens:
        yield _item_event("added", begun(composed, piece.block), piece, piece.number)
    else:
        yield _event(f"{name}.delta", {**place, "delta": piece.text}, piece.number)
    if piece.closes:
        yield _event(f"{name}.done", {**place, "arguments": composed.blocks[piece.block].text})
        yield _item_event("done", done(composed, piece.block), piece)


def _place(composed: Composition, piece: Piece) -> dict[str, Any]:
    return {"item_id": item_id(composed, piece.block), "output_index": piece.block}


def _item_event(end: str, item: Mapping[str, Any], piece: Piece, number: int | None = None) -> Event:
    return _event(f"response.output_item.{end}", {"output_index": piece.block, "item": item}, number)


def _event(name: str, members: Mapping[str, Any], piece: int | None = None, *, final: bool = False) -> Event:
    return Event({"type": name, **members}, name, piece, final)


def _numbered(events: Iterator[Event], start: int = 0) -> Iterator[Event]:
    for number, event in enumerate(events, start):
        kind = {"type": event.name, "sequence_number": number}
        yield Event(kind | event.data, event.name, event.piece, event.final)


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_creation_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
