"""The model that a request names: where it stands, how it is read and written, and the header that tells of it."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator

from ...exchange import Exchange, Request
from ...headers import Headers
from ...plugin import Plugin

SUFFIXES = (
    "/completions",
    "/embeddings",
    "/images/generations",
    "/audio/speech",
    "/fine_tuning/jobs",
    "/moderations",
    "/image-synthesis",
    "/video-synthesis",
    "/rerank",
    "/messages",
    "/responses",
)
PATH_VERBS = (":generateContent", ":streamGenerateContent", ":countTokens", ":embedContent", ":batchEmbedContents")
"""Ends of Gemini's paths, which name the model: `/v1beta/models/gemini-2.5-pro:generateContent`."""
MAX_HEADER_VALUE = 1_024  # bytes; the name of a model has tens of them, and headers are a scarce place

_VALUE = re.compile(rb"[!-~\x80-\xff](?:[ -~\x80-\xff]*[!-~\x80-\xff])?\Z")  # RFC 9110, section 5.5


def _no_empty_member(value: str) -> str:
    if not all(value.split(".")):
        raise ValueError("should be the name of a member, such as `model` or `request.model`")
    return value


def _is_a_header(value: str) -> str:
    if value:
        Headers([]).add(value, "")
    return value


MemberPath: TypeAlias = Annotated[str, AfterValidator(_no_empty_member)]
OptionalHeader: TypeAlias = Annotated[str, AfterValidator(_is_a_header)]


def path_ends(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what `str.endswith` asks for; `*` is every path."""
    return tuple("" if suffix == "*" else suffix for suffix in suffixes)


class ModelField:
    """The member of a JSON body that names the model; `a.b`: `b` inside of `a`."""

    __slots__ = ("_key", "_path")

    def __init__(self, key: str) -> None:
        *self._path, self._key = key.split(".")

    def body_of(self, request: Request) -> dict[str, Any] | None:
        """Return the body if it is a JSON object, None if it is other JSON or empty. Raises InvalidJSON and Uncovered."""
        body = request.json if request.received_body else None
        return body if type(body) is dict else None

    def read(self, body: dict[str, Any]) -> str:
        """Return the model that a body names; empty: none."""
        model = self._holder(body).get(self._key)
        return model if isinstance(model, str) else ""

    def write(self, request: Request, model: str) -> None:
        """Make the body name another model; objects on the way to it are made."""
        self._holder(request.edit(), make=True)[self._key] = model

    def _holder(self, body: dict[str, Any], *, make: bool = False) -> dict[str, Any]:
        """Return the object that has the model as a member; an empty one where there is none, put there with `make`."""
        holder = body
        for name in self._path:
            inner = holder.get(name)
            if not isinstance(inner, dict):
                inner = {}
                if make:
                    holder[name] = inner
            holder = inner
        return holder


def model_of_path(request: Request) -> str:
    """Return the model that a path of Gemini's API names, empty for every other path.

    Source: Gemini API reference, `POST /v1beta/{model=models/*}:generateContent` and its like; Vertex AI's paths end alike.
    """
    path = request.path
    if request.method != "POST" or not path.endswith(PATH_VERBS):
        return ""
    _, separator, call = path.rpartition("/models/")
    return call.rpartition(":")[0] if separator else ""


def publish(exchange: Exchange, plugin: Plugin[Any], header: bytes, model: str) -> bool:
    """Set the header `header` of the request to `model`, and whether it could be; else none is left there.

    A name that is no value of a header field, or too long for one, is recorded.
    """
    headers = exchange.request.headers
    value = model.encode("utf-8", "surrogateescape")
    if len(value) <= MAX_HEADER_VALUE and _VALUE.match(value):
        headers.set_trusted(header, value)
        return True
    if model:
        exchange.decide(plugin, "skipped", f"the model is no value for header {header.decode()}")
    headers.remove_all((header,))  # what a caller put there is not ours
    return False
