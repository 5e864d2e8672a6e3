"""What is read of OpenAI's chat completions, as types: members that nobody here needs are skipped by the decoder."""

from __future__ import annotations

from typing import Any

import msgspec

ABSENT = msgspec.Raw(b"null")


class FunctionCall(msgspec.Struct):
    """A function that is called, or a piece of the call."""

    arguments: str | None = None
    name: str | None = None


class CustomCall(msgspec.Struct):
    """A call of a custom tool, whose input is free text, or a piece of the call."""

    input: str | None = None
    name: str | None = None


class ToolCallDelta(msgspec.Struct):
    """A tool call, or a piece of one."""

    index: int = 0
    function: FunctionCall | None = None
    custom: CustomCall | None = None
    id: str | None = None


class Audio(msgspec.Struct):
    """A spoken answer."""

    transcript: str | None = None


class DeltaMessage(msgspec.Struct):
    """What an event adds to the message of one choice, or the whole of one."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: FunctionCall | None = None
    audio: Audio | None = None
    reasoning_details: Any = None
    executed_tools: Any = None


class ChunkChoice(msgspec.Struct):
    """One choice of an event."""

    index: int = 0
    delta: DeltaMessage | None = None
    finish_reason: str | None = None
    usage: Any = None


class Chunk(msgspec.Struct):
    """An event of a stream."""

    choices: list[ChunkChoice] | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    model: str | None = None
    id: str | None = None
    x_groq: Any = None


class AnswerChoice(msgspec.Struct):
    """One choice of a whole answer."""

    message: DeltaMessage | None = None
    index: int | None = None
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    """A whole answer."""

    choices: list[AnswerChoice] | None = None
    usage: dict[str, Any] | None = None
    error: msgspec.Raw = ABSENT
    model: str | None = None
    id: str | None = None


class TextDelta(msgspec.Struct, gc=False):
    """What an event adds that carries one piece of content, as most do."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None
    reasoning_details: Any = None
    executed_tools: Any = None


class TextChoice(msgspec.Struct, gc=False):
    """The one choice of such an event."""

    delta: TextDelta
    index: int = 0
    finish_reason: str | None = None


class TextChunk(msgspec.Struct, gc=False):
    """Such an event; whatever else may stand there is told by not being None."""

    choices: list[TextChoice]
    usage: Any = None
    error: Any = None


read_text = msgspec.json.Decoder(TextChunk).decode
read_chunk = msgspec.json.Decoder(Chunk).decode
read_answer = msgspec.json.Decoder(Answer).decode
