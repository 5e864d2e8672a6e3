"""Django's request and response as the two sides of an exchange: what is read from them, and what is written back."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Iterator
from http.cookies import Morsel
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest

from ..exchange import Exchange, Request
from ..headers import RawHeaders
from ..lazy import lazy
from .environ import WsgiRequest, title, write_environ

if TYPE_CHECKING:
    from .django import GatewayMiddleware


class DjangoRequest(WsgiRequest):
    """The request of Django's `META`, which follows CGI under WSGI and ASGI alike."""

    def __init__(self, native: HttpRequest) -> None:
        super().__init__(native.META)
        self.native = native
        self.method = native.method or "GET"

    @lazy
    def path(self) -> str:
        return self.native.path_info or "/"

    @lazy
    def raw_path(self) -> bytes | None:
        scope = getattr(self.native, "scope", None)
        if scope is not None:
            raw = scope.get("raw_path")
            return raw.partition(b"?")[0] if raw else None
        return WsgiRequest.raw_path.compute(self)

    @lazy
    def scheme(self) -> str:
        return self.native.scheme or "http"


class DjangoSource:
    """The rest of Django's chain and the view as the inner side of the exchange."""

    def __init__(self, middleware: GatewayMiddleware, native: HttpRequest, exchange: Exchange) -> None:
        self._middleware = middleware
        self._native = native
        self._exchange = exchange
        self.response: Any = None
        self._iterator: Any = None
        self._iterators: list[Any] = []
        self._is_async = False
        self._runner: asyncio.Runner | None = None

    async def open(self) -> tuple[int, RawHeaders]:
        write_request(self._exchange.request, self._native)
        result = self._middleware.get_response(self._native)
        if isinstance(result, CoroutineType) or inspect.isawaitable(result):
            result = await result
        self.response = result
        if result.streaming:
            # Taken before our own iterator takes its place in the response.
            content = result.streaming_content
            self._iterator = content.__aiter__() if result.is_async else iter(content)
            self._is_async = result.is_async
            # Django wraps the view's iterator in one of its own, which does not close it.
            self._iterators = [self._iterator, getattr(result, "_iterator", None)] if result.is_async else []
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in result.headers.items()]
        return result.status_code, fields

    async def read(self) -> bytes | None:
        if self._iterator is None:
            content = self.response.content
            self._iterator = iter([content] if content else [])
        if not self._is_async:
            if self._middleware._async and self.response.streaming:  # a view's blocking code never runs in the loop
                return await sync_to_async(_step)(self._iterator)
            return _step(self._iterator)
        if self._middleware._async:
            return await anext(self._iterator, None)
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_next(self._iterator))

    async def close(self) -> None:
        """Close the iteration; the response itself is closed by Django, or by the view's exchange when replaced."""
        runner, self._runner = self._runner, None
        iterators, self._iterators = self._iterators, []
        for close in [iterator.aclose for iterator in iterators if hasattr(iterator, "aclose")]:
            if self._middleware._async:
                await close()
            elif runner is not None:
                runner.run(close())
        if runner is not None:
            runner.close()


def _step(iterator: Iterator[bytes]) -> bytes | None:
    return next(iterator, None)


async def _next(iterator: Any) -> bytes | None:
    return await anext(iterator, None)


def read_body(native: HttpRequest, limit: int) -> bytes | None:
    """Return the request's body, counting; None when it has more than `limit` bytes."""
    stream: Any = getattr(native, "_stream", None)
    if native.META.get("wsgi.input_terminated") and not native.META.get("CONTENT_LENGTH"):
        stream = native.META["wsgi.input"]  # Django reads nothing without a length; the server says where the body ends
    if hasattr(native, "_body") or stream is None:
        body = native.body
        return body if len(body) <= limit else None
    data: bytes = stream.read(limit + 1)
    if len(data) > limit:
        return None
    _set_body(native, data)
    return data


def _set_body(native: Any, data: bytes) -> None:
    native._body = data
    native._stream = io.BytesIO(data)
    native._read_started = False


def write_request(request: Request, native: Any) -> None:
    """Write changed header fields and an edited body back."""
    if request.edited:
        for parsed in ("_post", "_files"):
            native.__dict__.pop(parsed, None)
        _set_body(native, request.wire)
        native.META["CONTENT_LENGTH"] = str(len(request.wire))
    elif request.loaded:
        _set_body(native, request.wire)
    if request.requeried:
        native.__dict__.pop("GET", None)
    if request.headers.changed or request.requeried:
        loaded, request.__dict__["_body"] = request.__dict__.get("_body"), None
        write_environ(request, native.META)
        request.__dict__["_body"] = loaded
        native.__dict__.pop("headers", None)
        native._set_content_type_params(native.META)


class _Cookie(Morsel[str]):
    """A cookie that leaves as it was written: `http.cookies` drops what has an attribute that it does not know."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        name, _, value = text.partition(";")[0].partition("=")
        self._key, self._value, self._coded_value = name.strip(), value.strip(), value.strip()

    def OutputString(self, attrs: Any = None) -> str:  # noqa: N802 - the name that http.cookies gives it
        return self._text


def write_headers(response: Any, fields: RawHeaders) -> None:
    """Set fields on a Django response, which holds one value per name; cookies have a place of their own."""
    for name, value in fields:
        text = value.decode("latin-1")
        if name == b"set-cookie":
            cookie = _Cookie(text)
            response.cookies[cookie.key] = cookie
            continue
        spelled = title(name)
        response.headers[spelled] = f"{response.headers[spelled]}, {text}" if spelled in response.headers else text
