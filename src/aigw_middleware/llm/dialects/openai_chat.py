"""OpenAI chat completions: `POST .../chat/completions`, whole and as server-sent events.

Source: the OpenAI API reference, "Chat completions" and "Streaming"; `reasoning_content` as DeepSeek and others send it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ... import json as strict_json
from ..errors import error_object
from ..frame import Frame
from ..sse import Event, encode_event
from ..usage import Usage, count
from .base import Delta, Dialect, Piece, Slot
from .openai_shapes import ABSENT, AnswerMessage, DeltaMessage, TokenCounts, read_answer, read_chunk, read_text

DONE = b"data: [DONE]\n\n"
_FIELDS = {"content": "content", "reasoning_content": "reasoning", "reasoning": "reasoning", "refusal": "refusal"}
_FIELD_OF_KIND = {"content": "content", "reasoning": "reasoning_content", "refusal": "refusal"}
_PARTS = frozenset({"text", "refusal", "image_url", "input_audio", "file"})
"""Types of content parts: the first two are text, the others hold none that could be read here."""
_KIND_OF_ROLE = {"system": "system", "developer": "system", "tool": "tool_result", "function": "tool_result"}
_LEGACY = 999  # the part of a `function_call`, which came before tool calls
_TOOL = 1_000  # parts of tool arguments are numbered from here; 1 tells `reasoning` from its namesake, 0


class OpenAIChat(Dialect):
    """Chat completions of OpenAI and the many services that speak them."""

    name = "openai-chat"
    error_style = "openai"
    suffixes = ("/chat/completions",)

    def recognises(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("messages"), list) and isinstance(body.get("model"), str)

    def readable(self, body: Any) -> str:
        if not isinstance(body, dict):
            return "the body is no JSON object"
        if not isinstance(body.get("messages"), list):
            return "messages is no list"
        for message in body["messages"]:
            if not isinstance(message, dict):
                return "a message is no object"
            content = message.get("content")
            if content is None or isinstance(content, str):
                continue
            if not isinstance(content, list):
                return "the content of a message is neither text nor a list of parts"
            for part in content:
                if not isinstance(part, dict) or part.get("type") not in _PARTS:
                    return "a message has a part of unknown type"
        return ""

    def texts(self, body: Any) -> Iterator[Slot]:
        messages = body.get("messages")
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
                for number, part in enumerate(_dicts(content)):
                    for key in ("text", "refusal"):
                        if isinstance(part.get(key), str):
                            yield Slot(part, key, kind, index, role, number)
            if len(message) > 2 or content is None or not role:  # more than its role and its content
                yield from self._other_texts(message, index, role)
        if "tools" in body or "functions" in body:
            for number, tool in enumerate([*_dicts(body.get("tools")), *_dicts(body.get("functions"))]):
                function = tool.get("function", tool)
                if isinstance(function, dict) and isinstance(function.get("description"), str):
                    yield Slot(function, "description", "tool_definition", 0, "", number)
        prediction = body.get("prediction")
        if isinstance(prediction, dict) and isinstance(prediction.get("content"), str):
            yield Slot(prediction, "content", "prediction", 0, "")

    @staticmethod
    def _other_texts(message: dict[str, Any], index: int, role: str) -> Iterator[Slot]:
        for field in ("reasoning_content", "reasoning", "refusal", "name"):
            if isinstance(message.get(field), str):
                yield Slot(message, field, _FIELDS.get(field, "name"), index, role)
        calls = [*_dicts(message.get("tool_calls")), *([message] if "function_call" in message else [])]
        for number, call in enumerate(calls):
            function = call.get("function_call") if call is message else call.get("function")
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                yield Slot(function, "arguments", "tool_arguments", index, role, number)

    def insert(self, body: Any, messages: Sequence[tuple[str, str]], *, at_end: bool) -> bool:
        conversation = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(conversation, list):
            return False
        place = len(conversation) if at_end else 0
        conversation[place:place] = [{"role": role, "content": text} for role, text in messages]
        return True

    def ask_for_usage(self, body: Any) -> bool:
        options = body.get("stream_options")
        if options is None:
            body["stream_options"] = {"include_usage": True}
            return True
        if isinstance(options, dict) and options.get("include_usage") is not True:
            options["include_usage"] = True
            return True
        return False

    def answer_texts(self, body: Any) -> Iterator[Slot]:
        for position, choice in enumerate(_dicts(body.get("choices") if isinstance(body, dict) else None)):
            index = choice.get("index")
            index = index if isinstance(index, int) else position
            message = choice.get("message")
            if not isinstance(message, dict):
                continue
            for field, kind in _FIELDS.items():
                value = message.get(field)
                if value is None:
                    continue
                if isinstance(value, str):
                    yield Slot(message, field, kind, index, "assistant", 1 if field == "reasoning" else 0)
                elif isinstance(value, list):
                    for number, part in enumerate(_dicts(value)):
                        if isinstance(part.get("text"), str):
                            yield Slot(part, "text", kind, index, "assistant", number)
            spoken, legacy = message.get("audio"), message.get("function_call")
            if isinstance(spoken, dict) and isinstance(spoken.get("transcript"), str):
                yield Slot(spoken, "transcript", "transcript", index, "assistant")
            if isinstance(legacy, dict) and isinstance(legacy.get("arguments"), str):
                yield Slot(legacy, "arguments", "tool_arguments", index, "assistant", _LEGACY)
            calls = message.get("tool_calls")
            for number, call in enumerate(_dicts(calls) if calls is not None else ()):
                function = call.get("function")
                if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                    yield Slot(function, "arguments", "tool_arguments", index, "assistant", _TOOL + number)

    def answer_calls(self, body: Any) -> Iterator[tuple[int, int, str, str]]:
        for position, choice in enumerate(_dicts(body.get("choices") if isinstance(body, dict) else None)):
            index = choice.get("index")
            message = choice.get("message")
            for number, call in enumerate(_dicts(message.get("tool_calls") if isinstance(message, dict) else None)):
                function = call.get("function")
                name = function.get("name") if isinstance(function, dict) else None
                if isinstance(name, str) and name:
                    place = index if isinstance(index, int) else position
                    yield place, _TOOL + number, str(call.get("id") or ""), name

    def usage(self, body: Any) -> Usage | None:
        return _usage(body.get("usage")) if isinstance(body, dict) else None

    def read_answer(self, data: bytes) -> Delta:
        try:
            answer = read_answer(data)
        except (ValueError, RecursionError):  # of unusual types, or no JSON: what can be read of it is
            return super().read_answer(data)
        pieces: list[Piece] = []
        calls: list[tuple[int, int, str, str]] = []
        for position, choice in enumerate(answer.choices or ()):
            if choice.message is not None:
                index = position if choice.index is None else choice.index
                _read_said(index, choice.message, pieces, calls, whole=True)
        counts = answer.usage
        return Delta(
            pieces,
            (),
            _counted(counts) if counts is not None else None,
            answer.model,
            error=answer.error is not ABSENT and bytes(answer.error) not in (b"null", b'""'),
            identifier=answer.id,
            calls=calls,
        )

    def finish_answer(self, body: Any, index: int, reason: str) -> None:
        for position, choice in enumerate(_dicts(body.get("choices"))):
            if choice.get("index", position) == index:
                choice["finish_reason"] = reason
                if choice.get("logprobs") is not None:
                    choice["logprobs"] = None

    def read(self, event: Event) -> Delta | None:
        data = event.data
        if data is None or data == b"[DONE]":
            return None
        try:
            chunk = read_chunk(data)
        except (ValueError, RecursionError):
            return None
        pieces: list[Piece] = []
        finished: list[int] = []
        calls: list[tuple[int, int, str, str]] = []
        for choice in chunk.choices or ():
            if choice.delta is not None:
                _read_said(choice.index, choice.delta, pieces, calls)
            if choice.finish_reason:
                finished.append(choice.index)
        usage = None
        if chunk.usage is not ABSENT and bytes(chunk.usage) != b"null":
            usage = _usage(strict_json.decode(bytes(chunk.usage)))
        return Delta(
            pieces,
            finished,
            usage,
            chunk.model,
            error=chunk.error is not ABSENT and bytes(chunk.error) != b"null",
            usage_only=usage is not None and not chunk.choices,
            identifier=chunk.id,
            calls=calls,
        )

    def text_of(self, data: bytes) -> tuple[int, str] | None:
        try:
            chunk = read_text(data)
        except (ValueError, RecursionError):
            return None
        if len(chunk.choices) != 1 or chunk.usage is not None or chunk.error is not None:
            return None
        choice = chunk.choices[0]
        delta = choice.delta
        if (
            not delta.content
            or choice.finish_reason is not None
            or delta.reasoning_content is not None
            or delta.tool_calls is not None
            or delta.function_call is not None
            or delta.audio is not None
            or delta.reasoning is not None
            or delta.refusal is not None
        ):
            return None
        return choice.index, delta.content

    def frame(self, event: bytes, index: int, text: str) -> Frame | None:
        return Frame.of(event, b'"content"', index, text)

    def ends(self, event: Event) -> bool:
        return event.data == b"[DONE]"

    def with_texts(self, event: Event, pieces: Sequence[Piece]) -> bytes:
        if len(pieces) == 1 and pieces[0].kind == "content" and b'"logprobs"' not in event.raw:
            spliced = _splice(event.raw, pieces[0].text)
            if spliced is not None:
                return spliced
        body = strict_json.decode(event.data or b"")
        for piece in pieces:
            for position, choice in enumerate(_dicts(body.get("choices"))):
                if choice.get("index", position) != piece.index or not isinstance(choice.get("delta"), dict):
                    continue
                _set_text(choice["delta"], piece)
                if choice.get("logprobs") is not None:
                    choice["logprobs"] = None  # they describe the tokens that were replaced
        return _event_like(event, strict_json.encode(body))

    def text_event(self, template: Event, piece: Piece) -> bytes:
        body = strict_json.decode(template.data or b"")
        delta: dict[str, Any] = {}
        if piece.kind == "transcript":
            delta["audio"] = {"transcript": piece.text}
        elif piece.part == _LEGACY:
            delta["function_call"] = {"arguments": piece.text}
        elif piece.kind == "tool_arguments":
            delta["tool_calls"] = [{"index": piece.part - _TOOL, "function": {"arguments": piece.text}}]
        else:
            delta["reasoning" if piece.part == 1 else _FIELD_OF_KIND[piece.kind]] = piece.text
        body["choices"] = [{"index": piece.index, "delta": delta, "finish_reason": None}]
        if body.get("usage") is not None:
            body["usage"] = None
        return _event_like(template, strict_json.encode(body))

    def finish_events(self, template: Event | None, indexes: Sequence[int], reason: str) -> bytes:
        body: dict[str, Any] = {}
        if template is not None:
            body = strict_json.decode(template.data or b"{}")
        out = []
        for index in indexes or (0,):
            body["choices"] = [{"index": index, "delta": {}, "finish_reason": reason}]
            if body.get("usage") is not None:
                body["usage"] = None
            out.append(encode_event(strict_json.encode(body)))
        return b"".join([*out, DONE])

    def error_event(self, status: int, code: str, text: str) -> bytes:
        return encode_event(strict_json.encode(error_object("openai", status, code, text)))

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


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _read_said(
    index: int,
    said: DeltaMessage | AnswerMessage,
    pieces: list[Piece],
    calls: list[tuple[int, int, str, str]],
    *,
    whole: bool = False,
) -> None:
    """Collect the texts of one choice's delta or message; tool calls of a whole message are numbered by their place."""
    content = said.content
    if content:
        if isinstance(content, str):
            pieces.append(Piece(index, "content", 0, content))
        else:
            pieces += [Piece(index, "content", part, text.text) for part, text in enumerate(content) if text.text]
    if said.reasoning_content:
        pieces.append(Piece(index, "reasoning", 0, said.reasoning_content))
    if said.reasoning:
        pieces.append(Piece(index, "reasoning", 1, said.reasoning))
    if said.refusal:
        pieces.append(Piece(index, "refusal", 0, said.refusal))
    if said.audio is not None and said.audio.transcript:
        pieces.append(Piece(index, "transcript", 0, said.audio.transcript))
    if said.function_call is not None and said.function_call.arguments:
        pieces.append(Piece(index, "tool_arguments", _LEGACY, said.function_call.arguments))
    if said.tool_calls:
        for number, call in enumerate(said.tool_calls):
            function = call.function
            if function is None:
                continue
            part = _TOOL + (number if whole else call.index)
            if function.name:
                calls.append((index, part, call.id or "", function.name))
            if function.arguments:
                pieces.append(Piece(index, "tool_arguments", part, function.arguments))


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    prompt, completion = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    total = value.get("total_tokens")
    return _counted(
        TokenCounts(
            count(value.get("prompt_tokens")),
            count(value.get("completion_tokens")),
            count(total) if total is not None else None,
            prompt if isinstance(prompt, dict) else None,
            completion if isinstance(completion, dict) else None,
        )
    )


def _counted(counts: TokenCounts) -> Usage:
    prompt, completion, total = counts.prompt_tokens_details, counts.completion_tokens_details, counts.total_tokens
    return Usage(
        count(counts.prompt_tokens),
        count(counts.completion_tokens),
        count(total) if total is not None else None,
        count(prompt.get("cached_tokens")) if prompt is not None else 0,
        count(completion.get("reasoning_tokens")) if completion is not None else 0,
        "provider",
        prompt,
        completion,
    )


def _splice(raw: bytes, text: str) -> bytes | None:
    """Replace the value of the one `"content"` member of an event, or return None when that is not unambiguous."""
    start = raw.find(b'"content":')
    if start < 0 or raw.find(b"content", start + 10) >= 0 or raw.find(b"\\u") >= 0 or raw.find(b"content") != start + 1:
        return None
    start += 10
    while raw[start : start + 1] == b" ":
        start += 1
    if raw[start : start + 1] != b'"':
        return None
    end = start + 1
    while True:
        end = raw.find(b'"', end)
        if end < 0:
            return None
        slashes = end - len(raw[:end].rstrip(b"\\"))
        if slashes % 2 == 0:
            break
        end += 1
    return raw[:start] + strict_json.encode(text) + raw[end + 1 :]


def _set_text(delta: dict[str, Any], piece: Piece) -> None:
    if piece.kind == "transcript":
        delta["audio"]["transcript"] = piece.text
        return
    if piece.part == _LEGACY:
        delta["function_call"]["arguments"] = piece.text
        return
    if piece.kind == "tool_arguments":
        for position, call in enumerate(_dicts(delta.get("tool_calls"))):
            if call.get("index", position) == piece.part - _TOOL and isinstance(call.get("function"), dict):
                call["function"]["arguments"] = piece.text
        return
    delta["reasoning" if piece.part == 1 else _FIELD_OF_KIND[piece.kind]] = piece.text


def _event_like(event: Event, data: bytes) -> bytes:
    return encode_event(data, event=event.event, id=event.id)
