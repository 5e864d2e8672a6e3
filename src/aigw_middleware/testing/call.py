"""A request to a model, understood: what every dialect of the fake provider reads out of it, and what it writes back."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .apis import Api
from .framing import Event, EventStream, Framing
from .script import ProviderError, Style

if TYPE_CHECKING:
    from .composition import Composition
    from .provider_hosts import ReceivedRequest

MOST_CHOICES = 128  # what OpenAI allows; others allow less


class InvalidCallError(Exception):
    """The request is not one of its dialect; `param` names the field at fault, if one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class Call(ABC):
    """What a request asks for. Its class is its dialect: it knows how to read the request and to write the answer."""

    api: ClassVar[Api]
    """Whose dialect it is: how errors look."""
    keep_alive: ClassVar[Event | None] = None
    """The event that says nothing; None: a comment."""
    has_reasoning: ClassVar[bool] = True
    """Whether its answers have a place for reasoning."""
    interleaves: ClassVar[bool] = True
    """Whether tool calls come in pieces, which can take turns."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    """The conversation with its instructions: `role`, and `content` as text or as a list of parts that may have `text`."""
    stream: bool = False
    include_usage: bool = False
    """Whether a stream was asked to report usage, where that is the caller's choice."""
    choices: int = 1
    limit: int | None = None
    """The most tokens of one choice; None: as many as the answer has."""
    offers_tools: bool = False
    response_format: Mapping[str, Any] | None = None
    """As chat completions have it."""

    @classmethod
    @abstractmethod
    def read(cls, request: "ReceivedRequest") -> Self:
        """Understand a request. Raises InvalidCallError."""

    @abstractmethod
    def whole(self, composed: "Composition") -> Mapping[str, Any]:
        """The answer in one JSON object."""

    def events(self, composed: "Composition") -> Iterator[Event]:
        """The answer as a stream; the last event is final."""
        raise NotImplementedError(f"{type(self).__name__} has no stream")

    def failure(self, error: ProviderError, composed: "Composition", sent: int) -> Iterator[Event]:
        """The events with which a stream breaks off after `sent` events; the last one is final."""
        yield Event(self.api.error(error, composed.request_id), final=True)

    def framing(self, style: Style) -> Framing:
        """What the events of the stream are wrapped in."""
        return EventStream("\r\n" if style.crlf else "\n", bom=style.bom)

    @property
    def last_user_text(self) -> str:
        """What the user said last, empty if nothing."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return text_of(message.get("content"))
        return ""

    @property
    def texts(self) -> list[str]:
        """The texts of all messages."""
        return [text_of(message.get("content")) for message in self.messages]


def body_of(request: "ReceivedRequest") -> Mapping[str, Any]:
    """The JSON object that was sent. Raises InvalidCallError if it is none."""
    if not isinstance(request.json, Mapping):
        raise InvalidCallError("We could not parse the JSON body of your request.")
    return request.json


def model_of(body: Mapping[str, Any]) -> str:
    """The model that the body names. Raises InvalidCallError."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidCallError("you must provide a model parameter", "model")
    return model


def messages_of(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of at least one object. Raises InvalidCallError."""
    messages = body.get(name)
    if not isinstance(messages, list) or not messages or not all(isinstance(one, Mapping) for one in messages):
        raise InvalidCallError(f"'{name}' must be a list of at least one message.", name)
    return messages


def positive(body: Mapping[str, Any], name: str, most: int | None = None) -> int | None:
    """A whole number of at least one, None if there is none. Raises InvalidCallError."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise InvalidCallError(f"Invalid value for '{name}': expected an integer of at least 1.", name)
    if most is not None and value > most:
        raise InvalidCallError(f"Invalid value for '{name}': expected an integer of at most {most}.", name)
    return value


def member(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under `name`; empty if there is none."""
    value = body.get(name)
    return value if isinstance(value, Mapping) else {}


def text_of(content: object) -> str:
    """The text of a message's content: as it is, or of all its parts."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""
