"""An exchange as the LLM call it is: model, stream flag, texts, in any dialect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from .. import json as strict_json
from ..forms import Uncovered as Uncovered
from ..forms import form_of
from ..json import InvalidJSON
from .dialects import DIALECTS, Attachment, Dialect, Slot

if TYPE_CHECKING:
    from ..exchange import Exchange, Request, Response
    from ..ports import Offload
    from .dialects.base import Delta


SAID: Final = frozenset({"system", "content", "tool_result"})
"""Kinds of text that are what a message says."""


class LlmCall:
    """The LLM call of an exchange. Reading its body raises InvalidJSON, its texts Uncovered."""

    __slots__ = ("_answer", "_answer_of", "_reason", "_unread", "asked_for_usage", "dialect", "request")

    def __init__(self, request: Request, dialect: Dialect) -> None:
        self.request = request
        self.dialect = dialect
        self._reason: str | None = None
        self._unread = ""
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
        """Why the request cannot be read; empty when it can. Raises InvalidJSON for what claims to be JSON and is not."""
        if self._reason is None:
            if not self.dialect.covered:
                self._reason = f"{self.dialect.name} requests are not read"
            elif not self.request.loaded:
                return "the request body was not loaded"
            else:
                self._reason = self._no_json or self.dialect.readable(self.body)
        return self._reason

    @property
    def _no_json(self) -> str:
        """Why there is no JSON to look into; empty when there is. Raises InvalidJSON when it says so and is not."""
        if not self.request.loaded:
            return "the request body was not loaded"
        if self._unread:
            return self._unread
        try:
            self.request.json  # noqa: B018 - kept where it can be read
        except Uncovered as error:
            self._unread = f"the request body cannot be decoded: {error}"
        except InvalidJSON:
            content_type = self.request.headers.get_bytes(b"content-type")
            if content_type is None or is_json(content_type):
                raise
            self._unread = "the request body is not JSON"
        return self._unread

    @property
    def covered(self) -> bool:
        """Whether every text of the call can be read."""
        return not self.uncovered

    def reread(self) -> None:
        """Forget what was found out of the body, which another one took the place of."""
        self._reason = None
        self._unread = ""

    @property
    def model(self) -> str:
        """The model the caller asks for; empty when none is named."""
        return self.dialect.model(self.request) if not self._no_json else ""

    def set_model(self, model: str) -> bool:
        """Ask for another model; False where the body does not say which, because the path does."""
        return not self._no_json and self.dialect.set_model(self.request, model)

    @property
    def streams(self) -> bool:
        """Whether the caller asks for a stream."""
        return not self._no_json and self.dialect.streams(self.request)

    def parameter(self, name: str) -> Any:
        """Return a parameter by its common name (`temperature`, `max_output_tokens`, ...); None when it is not given."""
        return self.dialect.parameter(self.body, name) if not self._no_json else None

    def set_parameter(self, name: str, value: Any) -> bool:
        """Set a parameter by its common name; False where the API has no such thing."""
        if self._no_json or name not in self.dialect.parameters or not isinstance(self.body, dict):
            return False
        return self.dialect.set_parameter(self.request.edit(), name, value)

    @property
    def output_limit(self) -> int | None:
        """The most tokens the caller wants for each choice, under whatever name; None when it does not say."""
        limit = self.parameter("max_output_tokens")
        return limit if type(limit) is int and limit >= 0 else None

    def attachments(self) -> Iterator[Attachment]:
        """Yield what the request carries or points to that is no text. Raises Uncovered."""
        if self.uncovered:
            raise Uncovered(self.uncovered)
        return self.dialect.attachments(self.body)

    def texts(self) -> Iterator[Slot]:
        """Yield every text of the request. Raises Uncovered."""
        if self.uncovered:
            raise Uncovered(self.uncovered)
        return self.dialect.texts(self.body)

    async def prompt_tokens(self, offload: Offload) -> int:
        """Return how many tokens the request takes, its overheads and images included. Raises Uncovered, OffloadFull.

        What was counted before, as the earlier turns of a conversation, costs a look-up; what is long is counted in a
        thread. How exact the number is depends on the model: see `aigw_middleware.llm.tokens`.
        """
        from .tokens import count_prompt

        texts, images, messages, tools = self._counted()
        return await count_prompt(self.model, texts, images, messages=messages, tools=tools, offload=offload)

    def prompt_bound(self) -> int:
        """Return a number of tokens that `prompt_tokens` cannot exceed, told from sizes alone. Raises Uncovered."""
        from .tokens import counter_for, overhead

        texts, images, messages, tools = self._counted()
        bound = counter_for(self.model).upper_bound
        around = overhead(self.model, texts, images, messages=messages, tools=tools)
        return around + sum(bound(text) for _, _, text in texts)

    def _counted(self) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]], int, int]:
        """Return what is counted: texts with role and kind, images with detail, how many messages and tools."""
        slots = [slot for slot in self.texts() if slot.kind != "tool_definition"]
        definitions = self.dialect.definitions(self.body)  # the model gets the whole of them, names and all
        texts = [(slot.role, slot.kind, slot.text) for slot in slots]
        texts += [("", "tool_definition", strict_json.encode(definition).decode()) for definition in definitions]
        images = [(found.source, found.detail) for found in self.attachments() if found.kind == "image"]
        return texts, images, len({slot.index for slot in slots if slot.kind in SAID}), len(definitions)

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
        except (ValueError, Uncovered):
            return None
        dialect = exchange.snapshot.dialects.of_body(request.path, body)
    return LlmCall(request, dialect) if dialect is not None else None


def body_loaded(exchange: Exchange, data: bytes) -> None:
    """Take the request's body, and recognise the LLM call that only its body tells of."""
    request = exchange.request
    request.load(data)
    if request.coding is not None:
        request.max_plain = exchange.snapshot.max_body_bytes
    if exchange.llm is None:
        exchange.llm = recognise(exchange)
    if "meter" in exchange.__dict__:
        exchange.meter.call = exchange.llm


def may_be_llm(exchange: Exchange) -> bool:
    """Whether the exchange is an LLM call, or its body could make it one; told without reading it."""
    if exchange.llm is not None:
        return exchange.llm.dialect.covered  # what nobody can read is not loaded, however large it is
    request = exchange.request
    return (
        exchange.route.llm == "auto"
        and request.method == "POST"
        and is_json(request.headers.get_bytes(b"content-type"))
    )


def is_json(content_type: bytes | None) -> bool:
    """Whether a Content-Type value means JSON (RFC 6839: also `+json`)."""
    return content_type is not None and form_of(content_type).json
