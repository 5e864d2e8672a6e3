"""A Django project in one module: settings, URLs and views. `configured()` makes it the running process's project."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from aigw_middleware import Plugin
from aigw_middleware.gateway import Core
from aigw_middleware.hosts.django import GatewayMiddleware

SECRET_KEY = "tests"
ALLOWED_HOSTS = ["*"]
USE_I18N = False
ROOT_URLCONF = __name__
MIDDLEWARE = ["aigw_middleware.django.GatewayMiddleware", "django.middleware.common.CommonMiddleware"]
INSTALLED_APPS = ["aigw_middleware.django"]

EVENTS: list[str] = []
"""What views did, in order."""


def configured(**changes: Any) -> AbstractContextManager[Any]:
    """Return a context in which this project is the one that runs, whoever configured Django before."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], USE_I18N=False, SECRET_KEY=SECRET_KEY)
    if not apps.ready:
        django.setup()
    made = {"ROOT_URLCONF": ROOT_URLCONF, "ALLOWED_HOSTS": ALLOWED_HOSTS, "MIDDLEWARE": MIDDLEWARE}
    context: AbstractContextManager[Any] = override_settings(**{**made, **changes})
    return context


def through(
    plugins: list[Plugin[Any]], *, config: dict[str, Any] | None = None, before: list[str] | None = None
) -> Any:
    """Return a context in which the gateway runs these plug-in objects; `before` are middlewares outside of it."""
    Objects.core = Core(config, plugins)
    return configured(MIDDLEWARE=[*(before or ()), f"{__name__}.Objects"])


class Objects(GatewayMiddleware):
    """The gateway's middleware with objects for plug-ins, as a subclass may have it."""

    core: Core

    def make_core(self) -> Core:
        return type(self).core


def blocking_only(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware that Django must adapt under ASGI."""

    def middleware(request: HttpRequest) -> HttpResponse:
        return get_response(request)

    return middleware


class Closing(HttpResponse):  # type: ignore[misc] # Django carries no types
    """A response that tells when it is closed."""

    def close(self) -> None:
        EVENTS.append("closed")
        super().close()


def plain(request: HttpRequest) -> HttpResponse:
    return Closing(b"hello", content_type="text/plain")


async def plain_async(request: HttpRequest) -> HttpResponse:
    return Closing(b"hello", content_type="text/plain")


def broken(request: HttpRequest) -> HttpResponse:
    raise LookupError("secret-value")


async def broken_async(request: HttpRequest) -> HttpResponse:
    raise LookupError("secret-value")


def _pieces(note: Callable[[str], None]) -> Iterator[bytes]:
    try:
        for number in range(3):
            note(f"made {number}")
            yield b"%d" % number
    finally:
        note("finished")


def pieces() -> Iterator[bytes]:
    yield from _pieces(EVENTS.append)


async def pieces_async() -> AsyncIterator[bytes]:
    try:
        for number in range(3):
            EVENTS.append(f"made {number}")
            await asyncio.sleep(0)
            yield b"%d" % number
    finally:
        await asyncio.sleep(0)
        EVENTS.append("finished")


class ClosingStream(StreamingHttpResponse):  # type: ignore[misc] # Django carries no types
    """A streamed response that tells when it is closed."""

    def close(self) -> None:
        EVENTS.append("closed")
        super().close()


def stream_of_iterator(request: HttpRequest) -> ClosingStream:
    return ClosingStream(pieces(), content_type="text/plain")


def stream_of_async_iterator(request: HttpRequest) -> ClosingStream:
    return ClosingStream(pieces_async(), content_type="text/plain")


async def async_stream_of_iterator(request: HttpRequest) -> ClosingStream:
    return ClosingStream(pieces(), content_type="text/plain")


async def async_stream_of_async_iterator(request: HttpRequest) -> ClosingStream:
    return ClosingStream(pieces_async(), content_type="text/plain")


def threads(request: HttpRequest) -> StreamingHttpResponse:
    def names() -> Iterator[bytes]:
        for _ in range(2):
            yield b"%d " % threading.get_ident()

    return StreamingHttpResponse(names(), content_type="text/plain")


def cookies(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(b"hello", content_type="text/plain")
    response.set_cookie("one", "1", samesite="Lax", httponly=True)
    response.set_cookie("two", "a b", path="/a")
    return response


def body(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"body": request.body.decode(), "length": request.META["CONTENT_LENGTH"]})


def read(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"body": request.read().decode(), "length": request.META["CONTENT_LENGTH"]})


def form(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"post": dict(request.POST.lists()), "again": request.body.decode()})


def parsed(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"json": json.loads(request.body), "type": request.content_type})


async def body_async(request: HttpRequest) -> JsonResponse:
    return body(request)


def exchange(request: Any) -> JsonResponse:
    return JsonResponse({"consumer": request.aigw.consumer.name, "path": request.aigw.request.path})


async def exchange_async(request: Any) -> JsonResponse:
    return exchange(request)


urlpatterns = [
    path("plain", plain),
    path("plain-async", plain_async),
    path("broken", broken),
    path("broken-async", broken_async),
    path("stream/sync/sync", stream_of_iterator),
    path("stream/sync/async", stream_of_async_iterator),
    path("stream/async/sync", async_stream_of_iterator),
    path("stream/async/async", async_stream_of_async_iterator),
    path("threads", threads),
    path("cookies", cookies),
    path("body", body),
    path("body-async", body_async),
    path("read", read),
    path("form", form),
    path("json", parsed),
    path("exchange", exchange),
    path("exchange-async", exchange_async),
]
