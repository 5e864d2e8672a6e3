"""What a fake provider is told to answer: whole answers, and the ways in which a provider fails.

    provider = FakeProvider([Answer("Hello."), RateLimited(retry_after=2), CutMidEvent(after=3)])

Nothing here belongs to one API: whoever asks gets it in the dialect in which it asked. The names are OpenAI's.

A provider that is slow is an `Answer` with a delay; `math.inf` hangs until the client leaves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]
UsageAt: TypeAlias = Literal["usual", "start", "every", "finish", "end"]


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
    """All tokens of the prompt, those of the cache too."""
    completion_tokens: int
    """All tokens of the completion, reasoning too."""
    cached_tokens: int = 0
    """How many of the prompt's tokens came from the provider's cache."""
    reasoning_tokens: int = 0
    """How many of the completion's tokens were reasoning."""
    cache_creation_tokens: int = 0
    """How many of the prompt's tokens were written to the provider's cache."""

    @property
    def total_tokens(self) -> int:
        """Prompt and completion."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Style:
    """How a stream is written, where providers differ or an API leaves it open."""

    interleave: bool = False
    """The events of several tool calls alternate; False: one call after the other. Gemini sends each call whole."""
    keep_alive: int = 0
    """After every so many events comes one that says nothing: a `ping` of Anthropic, elsewhere a comment, in a JSON
    array a line end; 0: none. Gemini itself sends no comments, and its Python SDK takes them for data and fails."""
    usage_at: UsageAt = "usual"
    """Where usage stands. `usual`: as the API's own provider has it, `end` for OpenAI, `every` for Gemini.

    `start`: in the first event, with the numbers of the end. `every`: in each event, cumulative; with Anthropic after
    each block. `finish`: in the event that has the finish reason. `end`: in the last event that can carry it, nowhere
    before. OpenAI's Responses always have it in the last event and Anthropic's messages the output tokens in
    `message_delta`, because their clients need it there. Chat completions and completions have it only if asked for.
    """
    reasoning_text: bool = False
    """OpenAI's Responses have the reasoning itself, as servers of open models send it; False: a summary of it."""
    crlf: bool | None = None
    """Whether lines end in CR LF; None: as the API's own provider ends them, which is LF for all but Gemini."""
    bom: bool = False
    """Whether the stream begins with a byte order mark."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that succeeds. A stream sends reasoning first, then text or refusal, then tool calls."""

    text: str | None = None
    """None: a sentence that names the model and repeats the last user message, or no text where tools are called."""
    tool_calls: Sequence[ToolCall] = ()
    """Given only to requests that offer `tools`; others get the text."""
    reasoning: str | None = None
    """The model's thoughts. In chat completions `reasoning_content`, as OpenAI-compatible providers have it."""
    refusal: str | None = None
    """The model's own refusal, in place of text. Where an API has no place for it: text, and a reason for the end."""
    finish_reason: FinishReason | None = None
    """None: `tool_calls` where tools are called, otherwise `stop`. An answer cut by a limit always ends in `length`."""
    stop_sequence: str | None = None
    """Which of the caller's stop sequences ended the answer; only Anthropic tells."""
    usage: Usage | Literal["counted", "none"] = "counted"
    """`counted`: one token for each word, tool name and piece of arguments; `none`: this provider reports no usage.

    Anthropic's messages cannot do without and report zeros.
    """
    cached_tokens: int = 0
    """Of a counted prompt, how many tokens came from the cache, as far as it is long enough."""
    cache_creation_tokens: int = 0
    """Of a counted prompt, how many of the other tokens were written to the cache."""
    chunks: Sequence[str] = ()
    """The text in the pieces in which a stream sends it, one token each; overrides `text`. Empty: word by word."""
    delay_response: float = 0.0
    """Seconds before the response starts."""
    delay_first_token: float = 0.0
    """Seconds before the first event of a stream, after its headers were sent; before a whole response."""
    delay_between: float = 0.0
    """Seconds before each further piece of a stream."""
    style: Style = Style()


@dataclass(frozen=True, slots=True)
class ProviderError:
    """An answer with an error status and the API's error object."""

    status: int = 500
    message: str = "The server had an error while processing your request."
    type: str = "server_error"
    """Another API's own name, such as Anthropic's `overloaded_error` or Gemini's `UNAVAILABLE`, is kept there; else
    the status says what it is called there, 529 for example `overloaded_error`."""
    code: str | None = None
    """Only OpenAI's errors have it, as `param`."""
    param: str | None = None
    headers: Sequence[tuple[str, str]] = ()


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
    """A stream that began well and ends with an error event, without `[DONE]`; status 500 for a whole answer.

    OpenAI's Responses send `error` and then `response.failed`.
    """

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
