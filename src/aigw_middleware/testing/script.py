"""What a fake provider is told to answer: whole answers, and the ways in which a provider fails.

    provider = FakeProvider([Answer("Hello."), RateLimited(retry_after=2), CutMidEvent(after=3)])

A provider that is slow is an `Answer` with a delay; `math.inf` hangs until the client leaves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class RefusedConnectionError(ConnectionRefusedError):
    """Raised by a fake provider in place of reading a request: nobody listens there."""


class CutConnectionError(ConnectionResetError):
    """Raised by a fake provider in the middle of an answer, so that whatever serves it drops the connection."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function, as a model asks for it."""

    name: str
    arguments: Mapping[str, Any] | str = "{}"
    """A JSON object, or its text as a model may write it, which need not be valid."""
    id: str | None = None
    """None: counted by the provider."""

    @property
    def arguments_text(self) -> str:
        """The arguments as they go over the wire."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider says a call has cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """How many of the prompt's tokens came from the provider's cache."""
    reasoning_tokens: int = 0
    """How many of the completion's tokens were reasoning."""

    def as_json(self) -> dict[str, Any]:
        """OpenAI's `usage` object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that succeeds. A stream sends reasoning first, then text or refusal, then tool calls."""

    text: str | None = None
    """None: a sentence that names the model and repeats the last user message, or no text where tools are called."""
    tool_calls: Sequence[ToolCall] = ()
    """Given only to requests that offer `tools`; others get the text."""
    reasoning: str | None = None
    """Sent as `reasoning_content`, the field that OpenAI-compatible providers use for it."""
    refusal: str | None = None
    """The model's own refusal, in place of text."""
    finish_reason: FinishReason | None = None
    """None: `tool_calls` where tools are called, otherwise `stop`. An answer cut by a limit always ends in `length`."""
    usage: Usage | Literal["counted", "none"] = "counted"
    """`counted`: one token for each word, tool name and piece of arguments; `none`: this provider reports no usage."""
    chunks: Sequence[str] = ()
    """The text in the pieces in which a stream sends it, one token each; overrides `text`. Empty: word by word."""
    delay_response: float = 0.0
    """Seconds before the response starts."""
    delay_first_token: float = 0.0
    """Seconds before the first event of a stream, after its headers were sent; before a whole response."""
    delay_between: float = 0.0
    """Seconds before each further piece of a stream."""


@dataclass(frozen=True, slots=True)
class ProviderError:
    """An answer with an error status and OpenAI's error object."""

    status: int = 500
    message: str = "The server had an error while processing your request."
    type: str = "server_error"
    code: str | None = None
    param: str | None = None
    headers: Sequence[tuple[str, str]] = ()

    def as_json(self) -> dict[str, Any]:
        """OpenAI's error body."""
        return error_json(self.message, self.type, self.code, self.param)


@dataclass(frozen=True, slots=True)
class RateLimited:
    """429, with the headers from which clients read when to come back."""

    retry_after: float | str | None = 1
    """`Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3); None: not sent."""
    retry_after_ms: int | None = None
    """`retry-after-ms`: milliseconds, which OpenAI's SDKs prefer; None: not sent."""
    message: str = "Rate limit reached. Please try again later."

    def as_error(self) -> ProviderError:
        """The same as a `ProviderError`."""
        waits = (("retry-after", self.retry_after), ("retry-after-ms", self.retry_after_ms))
        headers = [(name, str(value)) for name, value in waits if value is not None]
        return ProviderError(429, self.message, "requests", "rate_limit_exceeded", headers=headers)


@dataclass(frozen=True, slots=True)
class Garbage:
    """A response that says it succeeded and whose body nobody can read."""

    body: bytes = b"\xff\xfe<html>upstream\x00"
    content_type: str = "application/json"
    status: int = 200


@dataclass(frozen=True, slots=True)
class CutMidEvent:
    """A stream that ends in the middle of an event; a whole answer that ends in the middle of its JSON."""

    after: int = 1
    """How many events with content are sent whole before the one that is cut."""
    reset: bool = False
    """False: the response ends as if it were complete. True: `CutConnectionError`, the server drops the connection."""
    answer: Answer = field(default_factory=Answer)


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """A stream that began well and ends with an error event, without `[DONE]`; status 500 for a whole answer."""

    after: int = 1
    """How many events with content are sent before the error."""
    message: str = "The server had an error while processing your request."
    type: str = "server_error"
    code: str | None = None
    answer: Answer = field(default_factory=Answer)

    def as_error(self) -> ProviderError:
        """The same before a response has started."""
        return ProviderError(500, self.message, self.type, self.code)


@dataclass(frozen=True, slots=True)
class RefuseConnection:
    """`RefusedConnectionError` before anything of the request is read; such a request is counted, not recorded.

    In-process clients turn it into their library's connection error. A server that runs the provider has accepted the
    connection by then and answers 500, so where a socket is wanted, use a port on which nobody listens.
    """


Fault: TypeAlias = ProviderError | RateLimited | Garbage | CutMidEvent | ErrorEvent | RefuseConnection
Scripted: TypeAlias = Answer | Fault


def error_json(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
