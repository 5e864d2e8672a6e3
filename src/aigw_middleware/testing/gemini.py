"""Gemini's `generateContent` and its siblings as a provider writes them.

Source: Google AI for Developers, Gemini API: "Generating content" (GenerateContentResponse, UsageMetadata,
FinishReason), "Counting tokens", "Embeddings"; field names as in the JSON of the REST API.
"""

import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .apis import GEMINI, Api
from .call import MOST_CHOICES, Call, InvalidCallError, body_of, member, messages_of, positive
from .composition import Block, Composition, prompt_tokens
from .framing import Event, EventStream, Framing, JsonArray
from .openai_embeddings import DIMENSIONS, MOST_DIMENSIONS, vector
from .script import Style, Usage

if TYPE_CHECKING:
    from .provider_hosts import ReceivedRequest

FINISH_REASONS: Mapping[str, str] = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}


@dataclass(frozen=True, slots=True)
class GenerateContentCall(Call):
    """A request for content, whole or streamed."""

    api: ClassVar[Api] = GEMINI
    interleaves: ClassVar[bool] = False

    as_events: bool = False
    """Whether a stream is wanted as Server-Sent Events; False: as a JSON array."""

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = body_of(request)
        config = _either(body, "generationConfig", "generation_config")
        schema = config.get("responseJsonSchema") or config.get("responseSchema")
        asks_json = config.get("responseMimeType") == "application/json"
        query = urllib.parse.parse_qs(request.query.decode("latin-1"))
        return cls(
            model=model_in(request.path),
            messages=_conversation(body),
            stream=request.path.endswith(":streamGenerateContent"),
            choices=positive(config, "candidateCount", MOST_CHOICES) or 1,
            limit=positive(config, "maxOutputTokens"),
            offers_tools=bool(body.get("tools")),
            response_format={
                "type": "json_schema" if asks_json and schema else "json_object" if asks_json else "text",
                "json_schema": {"schema": schema},
            },
            as_events=query.get("alt") == ["sse"],
        )

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """The response with all parts."""
        parts = [part for block in composed.blocks for part in _parts(block)]
        return _response(composed, range(self.choices), parts, composed.usage, _finish_reason(composed))

    def events(self, composed: Composition) -> Iterator[Event]:
        """A response for each piece, tool calls whole, and one that says why it ended."""
        at, begun = composed.style.usage_at, False
        for piece in composed.pieces:
            block = composed.blocks[piece.block]
            if block.kind == "tool" and not piece.closes:
                continue
            parts = _parts(block if block.kind == "tool" else replace(block, text=piece.text))
            for index in range(self.choices) if parts else ():
                counted = composed.usage_after(piece.number + 1) if at in ("usual", "every") else None
                usage = composed.usage if at == "start" and not begun else counted
                begun = True
                yield Event(_response(composed, [index], parts, usage), piece=piece.number)
        usage = None if at == "start" and begun else composed.usage
        end = _finish_reason(composed)
        yield Event(_response(composed, range(self.choices), [{"text": ""}], usage, end), final=True)

    def framing(self, style: Style) -> Framing:
        """Lines end in CR LF unless the style says otherwise."""
        newline = "\n" if style.crlf is False else "\r\n"
        return EventStream(newline, bom=style.bom) if self.as_events else JsonArray(newline)


@dataclass(frozen=True, slots=True)
class GeminiCountCall(Call):
    """A request for the number of tokens of a prompt. Of an answer it gets delays and usage."""

    api: ClassVar[Api] = GEMINI

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = body_of(request)
        wrapped = body.get("generateContentRequest")
        return cls(model_in(request.path), _conversation(wrapped if isinstance(wrapped, Mapping) else body))

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """The number."""
        usage = composed.usage
        tokens = prompt_tokens(self.texts) if usage is None else usage.prompt_tokens
        return {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}


@dataclass(frozen=True, slots=True)
class GeminiEmbedCall(Call):
    """A request for the embedding of one content, or of several. Of an answer it gets the delays."""

    api: ClassVar[Api] = GEMINI

    batch: bool = False
    dimensions: int = DIMENSIONS

    @classmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""
        body = body_of(request)
        batch = request.path.endswith(":batchEmbedContents")
        asked = messages_of(body, "requests") if batch else [body]
        config = {**asked[0], **member(asked[0], "embedContentConfig")}
        contents = [_message(member(one, "content")) for one in asked]
        dimensions = positive(config, "outputDimensionality", MOST_DIMENSIONS) or DIMENSIONS
        return cls(model_in(request.path), contents, batch=batch, dimensions=dimensions)

    def whole(self, composed: Composition) -> Mapping[str, Any]:
        """One embedding, or the list of all."""
        embeddings = [{"values": vector(text, self.dimensions)} for text in self.texts]
        return {"embeddings": embeddings} if self.batch else {"embedding": embeddings[0]}


def model_in(path: str) -> str:
    """The model that a path names: what stands before the method."""
    return path.rpartition("/")[2].partition(":")[0]


def _conversation(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    instructions = _message(_either(body, "systemInstruction", "system_instruction"))
    return [{**instructions, "role": "system"}, *map(_message, messages_of(body, "contents"))]


def _either(body: Mapping[str, Any], name: str, spelled: str) -> Mapping[str, Any]:
    """A member that may be spelled as in JSON or as in the API's protocol buffers."""
    return member(body, name) or member(body, spelled)


def _message(content: Mapping[str, Any]) -> dict[str, Any]:
    parts = content.get("parts", [])
    if not isinstance(parts, list):
        raise InvalidCallError("Invalid value at 'contents.parts': expected a list.")
    return {"role": content.get("role") or "user", "content": parts}


def _response(
    composed: Composition,
    indexes: Sequence[int],
    parts: Sequence[Mapping[str, Any]],
    usage: Usage | None,
    finish_reason: str | None = None,
) -> dict[str, Any]:
    end = {} if finish_reason is None else {"finishReason": finish_reason}
    content = {"parts": parts, "role": "model"}
    body: dict[str, Any] = {"candidates": [{"content": content, **end, "index": index} for index in indexes]}
    if usage is not None:
        body["usageMetadata"] = _usage(usage)
    return {**body, "modelVersion": composed.call.model, "responseId": f"response-{composed.number}"}


def _parts(block: Block) -> list[dict[str, Any]]:
    """The part for a block; none for a tool call whose arguments are no JSON object, for which there is no form."""
    if block.kind == "tool":
        call = {"name": block.tool.name, "args": block.arguments, "id": block.tool.id}
        return [] if block.arguments is None else [{"functionCall": call}]
    return [{"text": block.text, "thought": True}] if block.kind == "reasoning" else [{"text": block.text}]


def _finish_reason(composed: Composition) -> str:
    reason = FINISH_REASONS.get(composed.finish_reason, "STOP")
    if reason == "STOP" and composed.said("refusal"):
        return "SAFETY"
    malformed = any(block.arguments is None for block in composed.tools)
    return "MALFORMED_FUNCTION_CALL" if malformed and reason == "STOP" else reason


def _usage(usage: Usage) -> dict[str, Any]:
    """Gemini counts thoughts apart from the candidates, and names neither them nor the cache where there is none."""
    counts = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": usage.completion_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.total_tokens,
        "cachedContentTokenCount": usage.cached_tokens or None,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt_tokens}],
        "thoughtsTokenCount": usage.reasoning_tokens or None,
    }
    return {name: value for name, value in counts.items() if value is not None}
