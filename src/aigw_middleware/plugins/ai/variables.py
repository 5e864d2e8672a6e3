"""Texts with variables that an exchange fills in: `You help ${consumer:-guests} in ${geo-city:-unknown}.`

`${geo-country}`, `${geo-province}`, `${geo-city}` and `${geo-isp}` are attributes that a plug-in before published;
`${header:name}` is a request header, `${consumer}` the caller's name, `${consumer.metadata.key}` a fact declared of it,
`${claims.key}` a claim of its verified token (RFC 7519); keys may go on with dots into objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ... import json as strict_json
from ...exchange import Exchange
from ...headers import InvalidHeader, header_name

GEO = ("geo-country", "geo-province", "geo-city", "geo-isp")

_variable = re.compile(r"\$\{([^${}]+)\}")

Read = Callable[[Exchange], str]


class NoValue(Exception):
    """A geo variable has neither value nor default; the text is its name."""


class _Variable(NamedTuple):
    name: str
    read: Read
    default: str
    required: bool


class Template:
    """A text cut at its variables; other `${...}` are part of the text. Raises ValueError for a misspelled variable."""

    __slots__ = ("_parts",)

    def __init__(self, text: str) -> None:
        self._parts: list[str | _Variable] = []
        end = 0
        for match in _variable.finditer(text):
            name, separator, default = match[1].partition(":-")
            read = _reader(name)
            if read is None:
                continue
            self._parts += [text[end : match.start()], _Variable(name, read, default, name in GEO and not separator)]
            end = match.end()
        self._parts.append(text[end:])

    @property
    def variable(self) -> bool:
        """Whether the text differs from exchange to exchange."""
        return len(self._parts) > 1

    def fill(self, exchange: Exchange) -> str:
        """Return the text for an exchange. Raises NoValue; variables other than geo ones may be empty."""
        return "".join([part if isinstance(part, str) else _value(part, exchange) for part in self._parts])


def _value(variable: _Variable, exchange: Exchange) -> str:
    value = variable.read(exchange) or variable.default
    if not value and variable.required:
        raise NoValue(variable.name)
    return value


def _reader(name: str) -> Read | None:
    """Return what reads a variable; None for a name that is not ours."""
    if name in GEO:
        return lambda exchange: str(exchange.attributes.get(name) or "")
    if name == "consumer":
        return lambda exchange: exchange.consumer.name
    if name.startswith("consumer.metadata."):
        path = name.split(".")[2:]
        return lambda exchange: _text_at(exchange.consumer.metadata, path)
    if name.startswith("claims."):
        path = name.split(".")[1:]
        return lambda exchange: _text_at(exchange.claims, path)
    if name.startswith("header:"):
        return _header_reader(name.removeprefix("header:"))
    if name.startswith(("geo-", "consumer.", "claim")):
        known = f"{', '.join(GEO)}, header:name, consumer, consumer.metadata.key and claims.key"
        raise ValueError(f"${{{name}}} is no variable: there are {known}")
    return None


def _header_reader(name: str) -> Read:
    try:
        raw = header_name(name)
    except InvalidHeader:
        raise ValueError(f"${{header:{name}}}: {name!r} is not a header name") from None

    def read(exchange: Exchange) -> str:
        value = exchange.request.headers.get_bytes(raw) or b""
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")

    return read


def _text_at(value: Any, path: Sequence[str]) -> str:
    """Return what stands at a path of keys as text: a text itself, anything else as JSON, nothing as the empty text."""
    for key in path:
        value = value.get(key) if hasattr(value, "get") else None
    if value is None or isinstance(value, str):
        return value or ""
    return strict_json.encode(value).decode()
