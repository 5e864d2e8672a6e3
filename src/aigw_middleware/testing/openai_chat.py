"""OpenAI's chat completions as a provider writes them: a request understood, an answer composed, whole or as events.

One composition is the source of both forms, so a whole answer is always the sum of its stream.
Source: OpenAI API reference, "Chat" (create a chat completion; the chat completion object; the chunk object).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from .script import Answer, ToolCall, Usage

WORD = re.compile(r"\s*\S+|\s+\Z")
ARGUMENT_PIECE = 8  # characters of a tool call's arguments in one piece

PieceKind: TypeAlias = Literal["reasoning", "text", "refusal", "tool", "arguments"]
EventKind: TypeAlias = Literal["role", "delta", "finish", "usage", "done"]
FIELD_OF: Mapping[PieceKind, str] = {"reasoning": "reasoning_content", "text": "content", "refusal": "refusal"}


class InvalidCallError(Exception):
    """The request is no chat completion request; `param` names the field at fault, if one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class ChatCall:
    """What a chat completion request asks for."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    limit: int | None = None
    """The most tokens of one choice; None: as many as the answer has."""
    offers_tools: bool = False
    response_format: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, body: object) -> "ChatCall":
        """Read a decoded request body. Raises InvalidCallError."""
        if not isinstance(body, Mapping):
            raise InvalidCallError("We could not parse the JSON body of your request.")
        model, messages = body.get("model"), body.get("messages")
        if not isinstance(model, str) or not model:
            raise InvalidCallError("you must provide a model parameter", "model")
        if not isinstance(messages, list) or not messages or not all(isinstance(one, Mapping) for one in messages):
            raise InvalidCallError("'messages' must be a list of at least one message.", "messages")
        options = body.get("stream_options")
        response_format = body.get("response_format")
        return cls(
            model=model,
            messages=messages,
            stream=body.get("stream") is True,
            include_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
            choices=_positive(body, "n") or 1,
            limit=_positive(body, "max_completion_tokens") or _positive(body, "max_tokens"),
            offers_tools=bool(body.get("tools")),
            response_format=response_format if isinstance(response_format, Mapping) else None,
        )

    @property
    def last_user_text(self) -> str:
        """What the user said last, empty if nothing."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return _text_of(message)
        return ""

    @property
    def prompt_tokens(self) -> int:
        """The words of all messages, at least one."""
        return max(1, sum(len(words(_text_of(message))) for message in self.messages))


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of an answer that one event carries; `tool` is the place of the tool call that it belongs to."""

    kind: PieceKind
    text: str
    tool: int = 0


@dataclass(frozen=True, slots=True)
class Composition:
    """An answer fitted to a request: what each choice says, why it ends and what it costs."""

    call: ChatCall
    pieces: Sequence[Piece]
    tool_calls: Sequence[ToolCall]
    """Each with its id."""
    finish_reason: str
    usage: Usage | None
    id: str
    created: int

    @classmethod
    def of(cls, answer: Answer, text: str, call: ChatCall, *, number: int, created: int) -> "Composition":
        """Fit `answer`, with `text` where it has none, to `call`; `number` makes the ids."""
        tool_calls = [
            replace(tool, id=tool.id or f"call_{number}_{index}") for index, tool in enumerate(answer.tool_calls)
        ]
        if not call.offers_tools:
            tool_calls = []
        everything = _pieces(answer, text, tool_calls)
        pieces = everything if call.limit is None else everything[: call.limit]
        if len(pieces) < len(everything):
            finish_reason = "length"
        else:
            finish_reason = answer.finish_reason or ("tool_calls" if tool_calls else "stop")
        counted = Usage(
            call.prompt_tokens,
            len(pieces) * call.choices,
            reasoning_tokens=sum(piece.kind == "reasoning" for piece in pieces) * call.choices,
        )
        usage = counted if answer.usage == "counted" else None if answer.usage == "none" else answer.usage
        return cls(call, pieces, tool_calls, finish_reason, usage, f"chatcmpl-{number}", created)

    def whole(self) -> dict[str, Any]:
        """The chat completion object."""
        body = self._frame("chat.completion")
        body["choices"] = [
            {"index": index, "message": self._message(), "logprobs": None, "finish_reason": self.finish_reason}
            for index in range(self.call.choices)
        ]
        if self.usage is not None:
            body["usage"] = self.usage.as_json()
        return body

    def events(self) -> Iterator[tuple[EventKind, int, bytes]]:
        """The events of the stream with their kind and choice: roles, pieces in turn, finishes, usage, end marker."""
        choices = range(self.call.choices)
        role = {"role": "assistant", "content": None if self._opens_without_text() else "", "refusal": None}
        for index in choices:
            yield "role", index, self._event([_choice(index, role)])
        for piece in self.pieces:
            for index in choices:
                yield "delta", index, self._event([_choice(index, self._delta(piece))])
        for index in choices:
            yield "finish", index, self._event([_choice(index, {}, self.finish_reason)])
        if self.call.include_usage and self.usage is not None:
            yield "usage", 0, self._event([], self.usage.as_json())
        yield "done", 0, b"data: [DONE]\n\n"

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.call.model,
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
        }

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        body = self._frame("chat.completion.chunk")
        body["choices"] = choices
        if self.call.include_usage:
            body["usage"] = usage  # null in all events but the last, as the reference says
        return b"data: " + encode(body) + b"\n\n"

    def _opens_without_text(self) -> bool:
        return bool(self.pieces) and all(piece.kind in ("tool", "arguments") for piece in self.pieces)

    def _delta(self, piece: Piece) -> dict[str, Any]:
        if piece.kind == "tool":
            head = {"name": piece.text, "arguments": ""}
            return {
                "tool_calls": [
                    {"index": piece.tool, "id": self.tool_calls[piece.tool].id, "type": "function", "function": head}
                ]
            }
        if piece.kind == "arguments":
            return {"tool_calls": [{"index": piece.tool, "function": {"arguments": piece.text}}]}
        return {FIELD_OF[piece.kind]: piece.text}

    def _message(self) -> dict[str, Any]:
        said = {kind: "".join(piece.text for piece in self.pieces if piece.kind == kind) for kind in FIELD_OF}
        tools = [piece.tool for piece in self.pieces if piece.kind == "tool"]
        refusal = said["refusal"] or None
        message: dict[str, Any] = {
            "role": "assistant",
            "content": said["text"] or (None if tools or refusal else ""),
            "refusal": refusal,
            "annotations": [],
        }
        if said["reasoning"]:
            message["reasoning_content"] = said["reasoning"]
        if tools:
            message["tool_calls"] = [self._tool_call(place) for place in tools]
        return message

    def _tool_call(self, place: int) -> dict[str, Any]:
        tool = self.tool_calls[place]
        written = "".join(piece.text for piece in self.pieces if piece.kind == "arguments" and piece.tool == place)
        return {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": written}}


def encode(body: object) -> bytes:
    """Compact JSON in UTF-8, characters as they are; a lone surrogate becomes `?`."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def words(text: str) -> list[str]:
    """The words of a text, each with the space before it; together they are the text."""
    return WORD.findall(text)


def _pieces(answer: Answer, text: str, tool_calls: Sequence[ToolCall]) -> list[Piece]:
    pieces = [Piece("reasoning", word) for word in words(answer.reasoning or "")]
    if answer.refusal is not None:
        pieces += [Piece("refusal", word) for word in words(answer.refusal)]
    elif answer.chunks:
        pieces += [Piece("text", chunk) for chunk in answer.chunks]
    elif answer.text is not None or not tool_calls:
        pieces += [Piece("text", word) for word in words(text if answer.text is None else answer.text)]
    for place, tool in enumerate(tool_calls):
        written = tool.arguments_text
        pieces.append(Piece("tool", tool.name, place))
        pieces += [
            Piece("arguments", written[start : start + ARGUMENT_PIECE], place)
            for start in range(0, len(written), ARGUMENT_PIECE)
        ]
    return pieces


def _choice(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _positive(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise InvalidCallError(f"Invalid value for '{name}': expected an integer of at least 1.", name)
    return value


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""
