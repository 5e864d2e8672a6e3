"""The Django host: one class, synchronous and asynchronous, streaming both ways, without a thread hop.

MIDDLEWARE = ["aigw_middleware.django.GatewayMiddleware", ...]
AIGW = "aigw.yaml"          # or a mapping
INSTALLED_APPS = ["aigw_middleware.django", ...]  # so that `manage.py check` checks AIGW: it imports no middleware
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any

from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..errors import ConfigError
from ..exchange import CALLER, Caller, Exchange
from ..gateway import Core
from ..hooks import run
from ..plugin import INBOUND
from ..ports.drive import finish
from ..runtime import running_loop
from ..snapshot import ANY_ROUTE
from .django_exchange import DjangoRequest, DjangoSource, read_body, write_headers
from .pull import Pulling
from .wsgi import refuse_asyncio_only


def core_of_settings() -> Core:
    """Return the gateway that `settings.AIGW` describes. Raises ConfigError, ImproperlyConfigured."""
    config = getattr(settings, "AIGW", None)
    if config is None:
        raise ImproperlyConfigured("AIGW is missing from the settings: a mapping, or the path of a configuration file")
    return Core(config)


class GatewayMiddleware:
    """A gateway in Django's middleware chain; put it first in `MIDDLEWARE`. Settings: `AIGW`."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        self.core = self.make_core()
        self._async = inspect.iscoroutinefunction(get_response) or bool(
            getattr(get_response, "_is_coroutine_marker", False)
        )
        self._async = self._async or _marked(get_response)
        if self._async:
            markcoroutinefunction(self)
        else:
            try:
                refuse_asyncio_only(self.core)
            except ConfigError as error:
                raise ImproperlyConfigured(str(error)) from None

    def make_core(self) -> Core:
        """Make the gateway; from `settings.AIGW` unless a subclass says otherwise."""
        return core_of_settings()

    def __call__(self, request: HttpRequest) -> Any:
        return self._serve_async(request) if self._async else self._serve(request)

    def _serve(self, request: HttpRequest) -> HttpResponseBase:
        core = self.core
        if core.look_due:
            core.look()
        runtime = core.process_runtime()
        runtime.adopt(core.snapshot)
        view = _View(self, request, runtime)
        token = CALLER.set(view.caller)
        try:
            return finish(view.serve(), "the exchange")
        finally:
            CALLER.reset(token)

    async def _serve_async(self, request: HttpRequest) -> HttpResponseBase:
        core = self.core
        if core.look_due:
            core.look()
        runtime = core.runtime(running_loop())
        waiting = runtime.adopt(core.snapshot)
        if waiting is not None:
            await waiting
        view = _View(self, request, runtime)
        token = CALLER.set(view.caller)
        try:
            return await view.serve()
        finally:
            CALLER.reset(token)


def _marked(function: Any) -> bool:
    from asgiref.sync import iscoroutinefunction

    return bool(iscoroutinefunction(function))


class _View:
    """One exchange in Django's chain."""

    def __init__(self, middleware: GatewayMiddleware, native: HttpRequest, runtime: Any) -> None:
        self._middleware = middleware
        self._native = native
        exchange = self.exchange = Exchange()
        exchange.direction = INBOUND
        exchange.snapshot = middleware.core.snapshot
        exchange.runtime = runtime
        exchange.ports = runtime.ports
        exchange.started = runtime.ports.clock.monotonic()
        exchange.route = ANY_ROUTE
        exchange.request = DjangoRequest(native)
        native.aigw = exchange
        self.caller = Caller(exchange)
        self._loop = asyncio.get_running_loop() if middleware._async else None
        self._sources: list[DjangoSource] = []
        self._stack, self._refusal = exchange.snapshot.admit(exchange, exchange.snapshot.sides[INBOUND])

        async def load(limit: int) -> bytes | None:
            return read_body(native, limit)

        self.pulling = Pulling(exchange, self._stack, self._source, load, reraise=False)

    def _source(self) -> DjangoSource:
        source = DjangoSource(self._middleware, self._native, self.exchange)
        self._sources.append(source)
        return source

    async def serve(self) -> HttpResponseBase:
        """Run the exchange up to its response; a whole one to its end."""
        answer: Any = self._refusal
        if answer is None and self._stack.early:
            answer = run(self._stack.early, self.exchange)
        await self.pulling.open(answer)
        return await self._response()

    async def _response(self) -> HttpResponseBase:
        """Return Django's response: the view's own object where it is the view that answered."""
        pulling, exchange = self.pulling, self.exchange
        head = exchange.response
        assert head is not None
        native = pulling.native.response if isinstance(pulling.native, DjangoSource) else None
        for source in self._sources:
            if source.response is not None and source.response is not native:
                source.response.close()  # nobody else has it: Django closes the one that leaves
        whole = pulling.whole
        if native is not None and not native.streaming and whole is None:
            whole = await self._whole()
        if native is None:
            response: Any = (
                HttpResponse(whole, status=head.status)
                if whole is not None
                else StreamingHttpResponse(self._stream(), status=head.status)
            )
            del response.headers["Content-Type"]
            write_headers(response, head.headers.raw)
        else:
            response = native
            if not native.streaming:
                if native.content != whole:
                    native.content = whole or b""
            elif whole is None:
                response.streaming_content = self._stream()
            else:
                response = _held(native, whole)
            response.status_code = head.status
            if head.headers.changed:
                for name in list(response.headers):
                    del response.headers[name]
                write_headers(response, head.headers.raw)
        if whole is not None:
            await self._drain()
        else:
            response._resource_closers.append(self._close)
        return response

    async def _whole(self) -> bytes:
        """Read a whole answer of a view."""
        chunks: list[bytes] = []
        while True:
            chunk = await self.pulling.read()
            if chunk is None:
                return b"".join(chunks)
            chunks.append(chunk)

    async def _drain(self) -> None:
        while await self.pulling.read() is not None:
            pass
        self.caller.detach(self.exchange.finished)

    def _stream(self) -> Any:
        return _AsyncStream(self) if self._middleware._async else _Stream(self)

    def _close(self) -> None:
        """Called by Django with the response: under ASGI in the loop's own thread, or in a worker thread."""
        if not self.exchange.ended:
            if self._loop is None:
                finish(self.pulling.close(), "the end of the exchange")
            elif self._loop.is_running() and not _in_a_loop():
                asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            else:
                self._end_in_loop()
        self.caller.detach(self.exchange.finished)

    async def _end(self) -> None:
        token = CALLER.set(self.caller)
        try:
            await self.pulling.close()
        finally:
            CALLER.reset(token)

    def _end_in_loop(self) -> None:
        """End at once where nothing waits; what does wait goes on in a task."""
        coroutine = self._end()
        try:
            yielded = coroutine.send(None)
        except StopIteration:
            return
        if self._loop is None or not self._loop.is_running():
            coroutine.close()
            return
        task = self._loop.create_task(_go_on(coroutine, yielded))
        _ending.add(task)
        task.add_done_callback(_ending.discard)


_ending: set[asyncio.Task[None]] = set()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Rest:
    """The rest of a coroutine that was begun outside of a task."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], yielded: Any) -> None:
        self._coroutine = coroutine
        self._yielded = yielded

    def __await__(self) -> Generator[Any, Any, None]:
        yielded = self._yielded
        while True:
            try:
                value = yield yielded
            except BaseException as error:
                step: Callable[[], Any] = functools.partial(self._coroutine.throw, error)
            else:
                step = functools.partial(self._coroutine.send, value)
            try:
                yielded = step()
            except StopIteration:
                return


async def _go_on(coroutine: Coroutine[Any, Any, None], yielded: Any) -> None:
    await _Rest(coroutine, yielded)


def _held(native: Any, whole: bytes) -> Any:
    """A stream that had to be read to its end leaves as a whole response, with everything else that it had."""
    response = HttpResponse(whole)
    response.headers = native.headers
    response.cookies = native.cookies
    response._resource_closers.extend(native._resource_closers)
    return response


class _Stream:
    def __init__(self, view: _View) -> None:
        self._view = view

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = CALLER.set(self._view.caller)
        try:
            chunk = finish(self._view.pulling.read(), "the answer")
        finally:
            CALLER.reset(token)
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Called by Django with the response."""
        self._view._close()


class _AsyncStream:
    def __init__(self, view: _View) -> None:
        self._view = view

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        token = CALLER.set(self._view.caller)
        try:
            chunk = await self._view.pulling.read()
        finally:
            CALLER.reset(token)
        if chunk is None:
            raise StopAsyncIteration
        return chunk
