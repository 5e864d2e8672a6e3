"""The attributes of a configuration: read from the request, from events and from the rest, put together at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from .... import json as strict_json
from ....llm.sse import UNPARSED
from .config import Attribute
from .paths import JsonPath
from .values import Joined, Read, answer_reader, cut, cut_end, plain, request_reader

if TYPE_CHECKING:
    from ....exchange import Exchange
    from ....llm.sse import Event
    from .conversation import Conversation

PRODUCED: Final = frozenset({"answer", "reasoning", "tool_calls"})
"""Attributes made of the text that the provider produced."""


class Seen:
    """What is kept of one exchange until its end."""

    __slots__ = ("context", "conversation", "joined", "model", "parameters", "rounds", "values")

    def __init__(self) -> None:
        self.model = ""
        """The model that is asked for."""
        self.rounds = 0
        """Messages of the user."""
        self.values: dict[int, Any] = {}
        """Values of attributes that the request has, by number."""
        self.joined: dict[int, Joined] = {}
        self.context: Any = None
        """What was current for tracing when the exchange began."""
        self.parameters: dict[str, Any] = {}
        """Sampling parameters, as attributes of a span."""
        self.conversation: Conversation | None = None


class Attributes:
    """Reads the values of attributes, each where it comes from."""

    def __init__(self, attributes: Sequence[Attribute], limit: int) -> None:
        self._all = attributes
        self._limit = limit
        self._at_request: list[tuple[int, Read]] = []
        self._at_event: list[tuple[int, JsonPath, str]] = []
        self._at_end: list[tuple[int, Read]] = []
        for number, attribute in enumerate(attributes):
            if (read := request_reader(attribute)) is not None:
                self._at_request.append((number, read))
            elif (read := answer_reader(attribute)) is not None:
                self._at_end.append((number, read))
            else:
                self._at_event.append((number, JsonPath(str(attribute.value)), attribute.rule))
        self.keep_text = any(map(_is_produced, attributes))
        """Some are made of the text of the answer."""
        self.read_events = bool(self._at_event)
        """Some come from the events of a stream."""
        self.to_span = any(attribute.apply_to_span for attribute in attributes)
        """Some are for tracing."""

    def of_request(self, exchange: Exchange, seen: Seen) -> None:
        """Read those that the request has, as they are now."""
        for number, read in self._at_request:
            value = read(exchange)
            if value is not None:
                seen.values[number] = plain(value)

    def of_event(self, event: Event, seen: Seen) -> None:
        """Read those that an event has."""
        if not event.data or event.data == b"[DONE]":
            return
        if event.parsed is UNPARSED:
            try:
                event.parsed = strict_json.decode(event.data)
            except strict_json.InvalidJSON:
                event.parsed = None
        for number, path, rule in self._at_event:
            value = path.read(event.parsed)
            if value is not None:
                if number not in seen.joined:
                    seen.joined[number] = Joined(rule, self._limit)
                seen.joined[number].add(value)

    def values(self, exchange: Exchange, seen: Seen) -> list[tuple[Attribute, Any]]:
        """Return each attribute with its value; of several with one key the last that has one counts."""
        found = dict(seen.values)
        found.update((number, joined.result()) for number, joined in seen.joined.items())
        found.update((number, read(exchange)) for number, read in self._at_end)
        chosen: dict[str, tuple[Attribute, Any]] = {}
        for number, attribute in enumerate(self._all):
            value = found.get(number)
            if value is not None and value != "":
                shorten = cut_end if _is_produced(attribute) else cut
                chosen[attribute.key] = (attribute, shorten(plain(value), self._limit))
        for attribute in self._all:
            if attribute.key not in chosen and attribute.default_value is not None:
                chosen[attribute.key] = (attribute, attribute.default_value)
        return list(chosen.values())


def _is_produced(attribute: Attribute) -> bool:
    return not attribute.value_source and attribute.key in PRODUCED
