"""Refuse requests whose URL, headers or body contain what an operator names.

    plugins:
      - name: request-block
        config:
          block_urls: [swagger.html, "debug=true"]
          block_exact_urls: [/metrics]
          block_regexp_urls: ['\\.(env|git)\\b']
          block_headers: ["x-forwarded-host\\nevil.example"]
          block_bodies: ["<script"]
          case_sensitive: false

Each list works on its own. A URL is path and query; it is looked at as it came and with every encoding undone, dot
segments, `//` and path parameters resolved, so that `/%73wagger.html` and `/x/..;/metrics` are found too, and one that is
encoded more than a dozen times is refused. Headers are one text of lines, each name in lower case followed by its value.
Bodies are read only where `block_bodies` is given, JSON and forms also with their escapes undone; what has a content
coding cannot be read and follows `on_uncovered`, which is `deny` here.

Source: RFC 3986, section 6 (which spellings are one URL); RFC 8259, section 7 (escapes in JSON).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

from pydantic import AliasChoices, field_validator, model_validator

from ...config.models import Names
from ...exchange import Exchange, Refusal, Request
from ...forms import form_of
from ...llm.view import Uncovered
from ...plugin import INBOUND, Field, Plugin, Stage
from ..patterns import compile_pattern
from .blocking import BlockingConfig
from .normalisation import canonical_target, decoded, forms_of

_FEW: Final = 8  # so many texts are looked for one after the other; more of them in one pass of RE2
_ESCAPE: Final = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})(?:\\u([dD][c-fC-F][0-9A-Fa-f]{2}))?|(.))", re.S)
_ESCAPED: Final = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class RequestBlockConfig(BlockingConfig):
    """What is blocked; at least one list has something in it."""

    block_urls: Names = Field((), description="Texts; a URL, path and query, that contains one is blocked.")
    block_exact_urls: Names = Field((), description="URLs, path and query, that are blocked.")
    block_regexp_urls: Names = Field((), description="RE2 patterns; a URL in which one is found is blocked.")
    block_headers: Names = Field(
        (), description="Texts that no header's name or value, or `name\\nvalue`, may contain."
    )
    block_bodies: Names = Field(
        (),
        validation_alias=AliasChoices("block_bodies", "blockBodies", "block_bodys", "blockBodys"),
        description="Texts that no request body may contain.",
    )
    case_sensitive: bool = Field(True, description="Whether letters must be of the same case, in patterns too.")
    regexp_full_match: bool = Field(
        False, description="Whether a pattern must match the whole URL, as in the compatible plug-in's C++ version."
    )

    @field_validator("block_urls", "block_exact_urls", "block_regexp_urls", "block_headers", "block_bodies")
    @classmethod
    def _written(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("an empty text is in every request: take it out of the list")
        return value

    @field_validator("block_regexp_urls")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            compile_pattern(pattern)
        return value

    @model_validator(mode="after")
    def _something(self) -> RequestBlockConfig:
        urls = self.block_urls or self.block_exact_urls or self.block_regexp_urls
        if not (urls or self.block_headers or self.block_bodies):
            raise ValueError(
                "names nothing to block: give one of block_urls, block_exact_urls, block_regexp_urls, block_headers and "
                "block_bodies"
            )
        return self


class RequestBlock(Plugin[RequestBlockConfig]):
    """Block requests that contain what is named, however it is spelled."""

    name, stage, priority = "request-block", Stage.AUTHORIZATION, 320
    directions = frozenset({INBOUND})
    on_failure = "deny"
    on_uncovered = "deny"

    def compile(self) -> None:
        config = self.config
        self._folds = not config.case_sensitive
        urls = [url.encode() for url in config.block_urls]
        self._urls = self._texts([*urls, *(plain for url in urls if (plain := decoded(url)))])
        exact = [url.encode() for url in config.block_exact_urls]
        canonical = [form for url in exact if (form := canonical_target(url))]
        self._exact = frozenset(self._fold(url) for url in (*exact, *canonical))
        written = config.block_regexp_urls
        self._patterns = [compile_pattern(f"(?i:{pattern})" if self._folds else pattern) for pattern in written]
        self._looks_at_urls = bool(urls or exact or written)
        headers = [header.encode() for header in config.block_headers]
        self._headers = self._texts(_with_lower_name(header) for header in headers)
        self._names = self._texts(header.lower() for header in headers if header != header.lower())
        self._bodies = self._texts([body.encode() for body in config.block_bodies])
        if self._bodies is None:
            self.unused = frozenset({"on_request_body"})
        self._url_blocked = config.refusal("url_blocked", "This URL is blocked.")
        self._header_blocked = config.refusal("header_blocked", "A header of this request is blocked.")
        self._body_blocked = config.refusal("body_blocked", "The content of this request is blocked.")

    def on_request(self, exchange: Exchange) -> Refusal | None:
        request = exchange.request
        if self._looks_at_urls and (reason := self._why(request)):
            exchange.decide(self, "refused", reason)
            return self._url_blocked
        if self._headers is not None:
            fields = request.headers.raw
            if self._headers.within(self._fold(b"\n".join(chain.from_iterable(fields)))):
                return self._header_blocked
            if self._names is not None and self._names.within(b"\n".join([name for name, _ in fields])):
                return self._header_blocked
        return None

    def on_request_body(self, exchange: Exchange) -> Refusal | None:
        assert self._bodies is not None
        for body in _body_forms(exchange.request):
            if self._bodies.within(self._fold(body)):
                return self._body_blocked
        return None

    def _why(self, request: Request) -> str:
        """Return which list blocks the URL; empty: none."""
        target = request.raw_path if request.raw_path is not None else request.path.encode()
        forms = forms_of(target + b"?" + request.query if request.query else target)
        if forms is None:
            return "the URL is encoded too often"
        for form in forms:
            folded = self._fold(form)
            if folded in self._exact:
                return "block_exact_urls"
            if self._urls is not None and self._urls.within(folded):
                return "block_urls"
            if self._patterns:
                text = form.decode(errors="replace")
                for pattern in self._patterns:
                    if pattern.fullmatch(text) if self.config.regexp_full_match else pattern.search(text):
                        return "block_regexp_urls"
        return ""

    def _texts(self, texts: Iterable[bytes]) -> Texts | None:
        distinct = tuple(dict.fromkeys(self._fold(text) for text in texts))
        return Texts(distinct) if distinct else None

    def _fold(self, data: bytes) -> bytes:
        """Return the data in lower case, where case does not matter."""
        if not self._folds:
            return data
        if data.isascii():
            return data.lower()
        return data.decode("utf-8", "surrogateescape").lower().encode("utf-8", "surrogateescape")


class Texts:
    """Some texts to look for: one after the other, or, if they are many, all of them in one pass."""

    __slots__ = ("_few", "_pattern")

    def __init__(self, texts: tuple[bytes, ...]) -> None:
        self._few = texts if len(texts) <= _FEW else ()
        self._pattern: Any = None
        if not self._few:
            import re2

            options = re2.Options()
            options.log_errors = False
            options.encoding = re2.Options.Encoding.LATIN1
            options.max_mem = 64 << 20  # bytes; thousands of texts need more than the usual 8 MiB
            self._pattern = re2.compile(b"|".join(re2.escape(text) for text in texts), options)

    def within(self, data: bytes) -> bool:
        """Return whether one of the texts is in `data`."""
        if self._pattern is not None:
            return self._pattern.search(data) is not None
        for text in self._few:  # noqa: SIM110 - a generator costs three times as much as what it finds
            if text in data:
                return True
        return False


def _with_lower_name(header: bytes) -> bytes:
    """Return a text of `block_headers` with its name, if it has a name and a value, as names are on the wire."""
    name, line_break, value = header.partition(b"\n")
    return name.lower() + line_break + value if line_break else header


def _body_forms(request: Request) -> Iterator[bytes]:
    """Yield the forms in which to look for texts. Raises Uncovered for a body whose content coding cannot be decoded."""
    body = request.body
    yield body
    form = form_of(request.headers.get_bytes(b"content-type") or b"")
    if form.media_type == "application/x-www-form-urlencoded":
        plain = decoded(b"?" + body)
        if plain is None:
            raise Uncovered("the body is encoded too often")
        yield plain
    elif form.readable and b"\\" in body:
        yield _ESCAPE.sub(_unescaped, body)


def _unescaped(match: re.Match[bytes]) -> bytes:
    """Return what an escape in a JSON string stands for."""
    code, low, letter = match.groups()
    if code is None:
        return _ESCAPED.get(letter, letter)
    units = bytes.fromhex((code + (low or b"")).decode())
    return units.decode("utf-16-be", "replace").encode()
