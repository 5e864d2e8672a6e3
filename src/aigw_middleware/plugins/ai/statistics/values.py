"""Reading attributes: from the request at the plug-in's turn, from events as they pass, from the rest at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from .... import json as strict_json
from .config import Attribute
from .paths import JsonPath

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....llm.view import LlmCall

TRUNCATED: Final = " [truncated] "
SAID: Final = frozenset({"system", "content", "tool_result"})  # kinds of text that are what a message says

Read = Callable[["Exchange"], Any]


class Joined:
    """The values of one path in the events of a stream, put together by its rule, within a number of characters."""

    __slots__ = ("_begin", "_end", "_end_length", "_half", "_room", "_rule", "_value")

    def __init__(self, rule: str, limit: int) -> None:
        self._rule = rule
        self._half = limit // 2
        self._room = 2 * self._half
        self._begin: list[str] = []
        self._end: list[str] = []
        self._end_length = 0
        self._value: Any = None

    def add(self, value: Any) -> None:
        """Take the value of one event; None and empty texts count as none."""
        if value is None or value == "" or (self._rule == "first" and self._value is not None):
            return
        value = plain(value)
        if self._rule == "append":
            self._append(str(value))
        else:
            self._value = value

    def _append(self, text: str) -> None:
        if len(text) <= self._room:
            self._begin.append(text)
            self._room -= len(text)
            return
        self._begin.append(text[: self._room])
        self._end.append(text[self._room :])
        self._end_length += len(text) - self._room
        self._room = 0
        if self._end_length > 2 * self._half:
            self._end = ["".join(self._end)[-self._half :]]
            self._end_length = self._half

    def result(self) -> Any:
        """Return the value, or None."""
        if self._rule != "append":
            return self._value
        begin = "".join(self._begin)
        if not self._end:
            return begin or None
        return begin[: self._half] + TRUNCATED + (begin + "".join(self._end))[-self._half :]


def plain(value: Any) -> Any:
    """Return a scalar as it is, anything else as JSON: what is recorded must not change when the body does."""
    return value if isinstance(value, (str, int, float, bool)) else strict_json.encode(value).decode()


def cut(value: Any, limit: int) -> Any:
    """Return `value`, without the middle when it is a longer text than `limit` characters."""
    if isinstance(value, str) and len(value) > limit:
        half = limit // 2
        return value[:half] + TRUNCATED + value[-half:]
    return value


def cut_end(value: Any, limit: int) -> Any:
    """Return `value`, without the rest when it is a longer text than `limit` characters."""
    return value[:limit] + TRUNCATED.rstrip() if isinstance(value, str) and len(value) > limit else value


def request_reader(attribute: Attribute) -> Read | None:
    """Return what reads an attribute from the request; None when it comes from elsewhere."""
    source, value = attribute.value_source, str(attribute.value)
    if source == "request_header":
        return lambda exchange: exchange.request.headers.get(value)
    if source == "request_body":
        path = JsonPath(value)
        return lambda exchange: path.read(exchange.request.json)
    return _REQUEST.get(attribute.key) if not source else None


def answer_reader(attribute: Attribute) -> Read | None:
    """Return what reads an attribute when the exchange is over; None when it comes from elsewhere."""
    source, value = attribute.value_source, attribute.value
    if source == "fixed_value":
        return lambda exchange: value
    if source == "response_header":
        return lambda exchange: exchange.response.headers.get(str(value)) if exchange.response is not None else None
    if source == "response_body":
        path = JsonPath(str(value))
        return lambda exchange: path.read(exchange.meter.answer)
    return _ANSWER.get(attribute.key) if not source else None


def turns(call: LlmCall) -> int:
    """Return how many messages of the conversation are the user's."""
    return len({slot.index for slot in call.texts() if slot.role == "user"})


def _messages(exchange: Exchange) -> list[dict[str, str]]:
    """Return what each message says, without what is no text."""
    found: dict[tuple[int, str], dict[str, str]] = {}
    for slot in exchange.llm.texts() if exchange.llm is not None else ():
        if slot.kind not in SAID or not slot.role:
            continue
        message = found.setdefault((slot.index, slot.role), {"role": slot.role, "content": ""})
        message["content"] = _lines([message["content"], slot.text])
    return [found[place] for place in sorted(found, key=itemgetter(0))]


def _question(exchange: Exchange) -> str | None:
    messages = _messages(exchange)
    return messages[-1]["content"] if messages else None


def _system(exchange: Exchange) -> str:
    call = exchange.llm
    return _lines(slot.text for slot in call.texts() if slot.kind == "system") if call is not None else ""


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)


_REQUEST: Final[dict[str, Read]] = {"question": _question, "system": _system, "messages": _messages}
_ANSWER: Final[dict[str, Read]] = {
    "answer": lambda exchange: exchange.meter.text("content"),
    "reasoning": lambda exchange: exchange.meter.text("reasoning"),
    "tool_calls": lambda exchange: exchange.meter.tool_calls() or None,
    "reasoning_tokens": lambda exchange: _reported(exchange, "reasoning_tokens"),
    "cached_tokens": lambda exchange: _reported(exchange, "cached_tokens"),
    "input_token_details": lambda exchange: _reported(exchange, "input_details"),
    "output_token_details": lambda exchange: _reported(exchange, "output_details"),
}


def _reported(exchange: Exchange, name: str) -> Any:
    reported = exchange.meter.reported
    return getattr(reported, name) if reported is not None else None
