"""An exchange as the LLM call it is: model, stream flag, texts, in any dialect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..forms import form_of, is_coded
from .dialects import DIALECTS, Dialect, Slot

if TYPE_CHECKING:
    from ..exchange import Exchange, Request, Response
    from .dialects.base import Delta


class Uncovered(Exception):
    """A call is an LLM call but cannot be read; becomes the plug-in's `on_uncovered` policy."""


class LlmCall:
    """The LLM call of an exchange. Reading its body raises InvalidJSON, its texts Uncovered."""

    __slots__ = ("_answer", "_answer_of", "_coding", "_reason", "asked_for_usage", "dialect", "request")

    def __init__(self, request: Request, dialect: Dialect) -> None:
        self.request = request
        self.dialect = dialect
        self._reason: str | None = None
        self._coding: bool | None = None
        self._answer: Delta | None = None
        self._answer_of: Response | None = None
        self.asked_for_usage = False
        """Whether usage was asked for on the caller's behalf, so that its event is taken out of the stream again."""

    @property
    def body(self) -> Any:
        """The request's JSON; change it through the methods here or `exchange.request.edit()`."""
        return self.request.json

    @property
    def uncovered(self) -> str:
        """Why the request cannot be read; empty when it can."""
        if self._reason is None:
            if not self.request.loaded:
                return "the request body was not loaded"
            if self._coded:
                self._reason = "the request body has a content coding"
            else:
                self._reason = self.dialect.readable(self.body)
        return self._reason

    @property
    def covered(self) -> bool:
        """Whether every text of the call can be read."""
        return not self.uncovered

    @property
    def model(self) -> str:
        """The model the caller asks for; empty when none is named."""
        return self.dialect.model(self.body) if self.request.loaded and not self._coded else ""

    @property
    def _coded(self) -> bool:
        if self._coding is None:
            self._coding = is_coded(self.request.headers.get_bytes(b"content-encoding"))
        return self._coding

    @property
    def streams(self) -> bool:
        """Whether the caller asks for a stream."""
        return self.dialect.streams(self.body)

    def texts(self) -> Iterator[Slot]:
        """Yield every text of the request. Raises Uncovered."""
        if self.uncovered:
            raise Uncovered(self.uncovered)
        return self.dialect.texts(self.body)

    def said(self, response: Response) -> Delta:
        """Return what a whole answer carries, as it stands now. Raises InvalidJSON."""
        if response.edited:
            return self.dialect.answered(response.json)
        if self._answer is None or self._answer_of is not response:
            self._answer = self.dialect.read_answer(response.body)
            self._answer_of = response
        return self._answer

    def replace(self, slot: Slot, text: str) -> None:
        """Put another text in a place of the request."""
        self.request.edit()
        slot.container[slot.key] = text

    def insert(self, messages: Sequence[tuple[str, str]], *, at_end: bool = False) -> None:
        """Put `(role, text)` messages before or after the conversation. Raises Uncovered."""
        if self.uncovered or not self.dialect.insert(self.request.edit(), messages, at_end=at_end):
            raise Uncovered(self.uncovered or "the call has no conversation")


def recognise(exchange: Exchange) -> LlmCall | None:
    """Return the view of an exchange that is an LLM call: by its route's `llm`, else its path, else its body's shape."""
    request = exchange.request
    setting = exchange.route.llm
    if setting == "none" or request.method != "POST":
        return None
    if setting != "auto":
        return LlmCall(request, DIALECTS[setting])
    dialect = exchange.snapshot.dialects.of_path(request.path)
    if dialect is None and request.loaded and is_json(request.headers.get_bytes(b"content-type")):
        try:
            body = request.json
        except ValueError:
            return None
        dialect = next((known for known in DIALECTS.values() if known.recognises(body)), None)
    return LlmCall(request, dialect) if dialect is not None else None


def body_loaded(exchange: Exchange, data: bytes) -> None:
    """Take the request's body, and recognise the LLM call that only its body tells of."""
    exchange.request.load(data)
    if exchange.llm is None:
        exchange.llm = recognise(exchange)
    if "meter" in exchange.__dict__:
        exchange.meter.call = exchange.llm


def may_be_llm(exchange: Exchange) -> bool:
    """Whether the exchange is an LLM call, or its body could make it one; told without reading it."""
    if exchange.llm is not None:
        return True
    request = exchange.request
    return (
        exchange.route.llm == "auto"
        and request.method == "POST"
        and is_json(request.headers.get_bytes(b"content-type"))
    )


def is_json(content_type: bytes | None) -> bool:
    """Whether a Content-Type value means JSON (RFC 6839: also `+json`)."""
    return content_type is not None and form_of(content_type).json
