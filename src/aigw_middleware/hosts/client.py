"""The outgoing side: client transports that run `outgoing:` around every request a client makes.

One implementation for httpx and httpx2, synchronous and asynchronous. The transport sits where the client's own one does,
so each attempt of a retry or redirect is an exchange of its own; `verify`, `limits` and proxies belong to `inner`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..exchange import CALLER, Caller, Exchange, Request
from ..gateway import Core
from ..headers import Headers, RawHeaders
from ..hooks import run
from ..lazy import lazy
from ..plugin import OUTBOUND, Plugin
from ..ports.drive import finish
from ..registry import REGISTRY, Registry
from ..runtime import running_loop
from ..snapshot import ANY_ROUTE
from .pull import Pulling

if TYPE_CHECKING:
    from ..pipeline import Stack
    from ..ports import Clock
    from ..runtime import Runtime


class ClientRequest(Request):
    """The request that a client is about to send."""

    def __init__(self, request: Any) -> None:
        self.native = request
        self.method = request.method
        self.headers = Headers([(name.lower(), value) for name, value in request.headers.raw])
        url = request.url
        self.scheme = url.scheme
        self.path = url.path or "/"
        self.raw_path = url.raw_path.partition(b"?")[0]
        self.query = url.query

    @lazy
    def domain(self) -> str:
        return self.native.url.host.lower()  # type: ignore[no-any-return]


def enter(core: Core, runtime: Runtime, request: Any) -> tuple[Exchange, Caller]:
    """Begin an outgoing exchange; it inherits the caller of the exchange that it is made in."""
    snapshot = core.snapshot
    exchange = Exchange()
    exchange.direction = OUTBOUND
    exchange.snapshot = snapshot
    exchange.runtime = runtime
    exchange.ports = runtime.ports
    exchange.started = runtime.ports.clock.monotonic()
    exchange.route = ANY_ROUTE
    exchange.request = ClientRequest(request)
    caller = CALLER.get()
    if caller is not None:
        inherit(exchange, caller)
    # The transport's own code may suspend and resume in other contexts, so nothing of ours is set in the caller's one.
    return exchange, Caller(exchange)


def inherit(exchange: Exchange, caller: Caller) -> None:
    """Take over who called: as it stands now, or, for work that outlives its exchange, for `detached_ttl` seconds."""
    inbound = caller.exchange
    if inbound is not None:
        exchange.consumer = inbound.consumer
        attributes = inbound.__dict__.get("attributes")
        exchange.__dict__["inbound"] = inbound
    else:
        age = exchange.ports.clock.monotonic() - caller.ended
        if age > exchange.snapshot.detached_ttl:
            return
        exchange.consumer = caller.consumer
        attributes = caller.attributes
    if attributes:
        exchange.attributes.update(attributes)


class _SourceBase:
    """The inner transport as the inner side of the exchange."""

    def __init__(self, inner: Any, exchange: Exchange, module: Any) -> None:
        self._inner = inner
        self._exchange = exchange
        self._module = module
        self.response: Any = None
        self._iterator: Any = None

    def _outgoing(self) -> Any:
        """The request as it leaves: the client's own object, or one with what plug-ins changed."""
        exchange = self._exchange
        request = exchange.request
        native: Any = request.native  # type: ignore[attr-defined]
        request.headers.remove_all(exchange.snapshot.edge.outgoing_names)
        if not (request.edited or request.headers.changed or request.loaded or request.requeried):
            return native
        url = native.url.copy_with(query=request.query or None) if request.requeried else native.url
        content = request.wire if request.loaded else None
        if request.edited:
            request.headers.set_length(len(request.wire))
        built = self._module.Request(
            native.method,
            url,
            headers=request.headers.raw,
            extensions=native.extensions,
            **({"content": content} if content is not None else {"stream": native.stream}),
        )
        spelled = {name.lower(): name for name, _ in native.headers.raw}  # some servers still look at the case of names
        built.headers = self._module.Headers([(spelled.get(name, name), value) for name, value in request.headers.raw])
        return built

    def _head(self) -> tuple[int, RawHeaders]:
        response = self.response
        return response.status_code, [(name.lower(), value) for name, value in response.headers.raw]


class _BlockingSource(_SourceBase):
    async def open(self) -> tuple[int, RawHeaders]:
        self.response = self._inner.handle_request(self._outgoing())
        return self._head()

    async def read(self) -> bytes | None:
        if self._iterator is None:
            self._iterator = iter(self.response.stream)
        return next(self._iterator, None)

    async def close(self) -> None:
        if self.response is not None:
            self.response.close()


class _AsyncSource(_SourceBase):
    async def open(self) -> tuple[int, RawHeaders]:
        self.response = await self._inner.handle_async_request(self._outgoing())
        return self._head()

    async def read(self) -> bytes | None:
        if self._iterator is None:
            self._iterator = self.response.stream.__aiter__()
        try:
            return await self._iterator.__anext__()  # type: ignore[no-any-return]
        except StopAsyncIteration:
            return None

    async def close(self) -> None:
        if self.response is not None:
            iterator_close = getattr(self._iterator, "aclose", None)
            if iterator_close is not None:
                await iterator_close()
            await self.response.aclose()


def _is_pass(stack: Stack, exchange: Exchange, result: Any) -> bool:
    return result is None and stack.bare and "meter" not in exchange.__dict__


@functools.cache
def transport_classes(name: str) -> tuple[type[Any], type[Any]]:
    """Return `(GatewayTransport, AsyncGatewayTransport)` for the module `name`: `httpx` or `httpx2`."""
    module = importlib.import_module(name)

    class _Common:
        def _prepare(
            self,
            config: Mapping[str, Any] | str | Path | None,
            plugins: Sequence[Plugin[Any]],
            registry: Registry,
            clock: Clock | None,
            core: Core | None,
        ) -> None:
            if core is None:
                core = Core(config, plugins, direction=OUTBOUND, registry=registry, clock=clock)
                self._owned = True
            else:
                core.want(OUTBOUND, plugins)
                self._owned = False
            self.core = core

    class GatewayTransport(_Common, module.BaseTransport):  # type: ignore[misc, name-defined]
        """A transport for synchronous clients that runs `outgoing:` around each request.

        `inner` is the transport that sends; None makes the client library's default one. Raises ConfigError.
        """

        def __init__(
            self,
            inner: Any = None,
            config: Mapping[str, Any] | str | Path | None = None,
            plugins: Sequence[Plugin[Any]] = (),
            *,
            registry: Registry = REGISTRY,
            clock: Clock | None = None,
            core: Core | None = None,
        ) -> None:
            from .wsgi import refuse_asyncio_only

            self._prepare(config, plugins, registry, clock, core)
            refuse_asyncio_only(self.core)
            self._inner = inner if inner is not None else module.HTTPTransport()

        def handle_request(self, request: Any) -> Any:
            core = self.core
            if core.look_due:
                core.look()
            runtime = core.process_runtime()
            runtime.adopt(core.snapshot)
            exchange, caller = enter(core, runtime, request)
            snapshot = exchange.snapshot
            stack, answer = snapshot.admit(exchange, snapshot.sides[OUTBOUND])
            result: Any = answer
            if result is None and stack.early:
                result = run(stack.early, exchange)
            if _is_pass(stack, exchange, result):
                return self._inner.handle_request(_SourceBase(self._inner, exchange, module)._outgoing())

            async def load(limit: int) -> bytes | None:
                chunks: list[bytes] = []
                size = 0
                for chunk in request.stream:
                    size += len(chunk)
                    if size > limit:
                        return None
                    chunks.append(chunk)
                return b"".join(chunks)

            pulling = Pulling(
                exchange, stack, lambda: _BlockingSource(self._inner, exchange, module), load, reraise=True
            )
            finish(pulling.open(result), "the exchange")
            return _answer(module, pulling, _BlockingBody(pulling, caller), request)

        def close(self) -> None:
            self._inner.close()
            if self._owned:
                self.core.close()

        def __enter__(self) -> Any:
            self._inner.__enter__()
            return self

        def __exit__(self, *raised: Any) -> None:
            try:
                self._inner.__exit__(*raised)
            finally:
                if self._owned:
                    self.core.close()

    class _BlockingBody(module.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, pulling: Pulling, caller: Caller) -> None:
            self._pulling = pulling
            self._caller = caller

        def __iter__(self) -> Iterator[bytes]:
            while True:
                chunk = finish(self._pulling.read(), "the answer")
                if chunk is None:
                    return
                if chunk:
                    yield chunk

        def close(self) -> None:
            finish(self._pulling.close(), "the end of the exchange")
            self._caller.detach(self._pulling.exchange.finished)

    class AsyncGatewayTransport(_Common, module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        """A transport for asynchronous clients that runs `outgoing:` around each request.

        `inner` is the transport that sends; None makes the client library's default one. Raises ConfigError.
        """

        def __init__(
            self,
            inner: Any = None,
            config: Mapping[str, Any] | str | Path | None = None,
            plugins: Sequence[Plugin[Any]] = (),
            *,
            registry: Registry = REGISTRY,
            clock: Clock | None = None,
            core: Core | None = None,
        ) -> None:
            self._prepare(config, plugins, registry, clock, core)
            self._inner = inner if inner is not None else module.AsyncHTTPTransport()

        async def handle_async_request(self, request: Any) -> Any:
            core = self.core
            if core.look_due:
                core.look()
            runtime = core.runtime(running_loop())
            waiting = runtime.adopt(core.snapshot)
            if waiting is not None:
                await waiting
            exchange, caller = enter(core, runtime, request)
            snapshot = exchange.snapshot
            stack, answer = snapshot.admit(exchange, snapshot.sides[OUTBOUND])
            result: Any = answer
            if result is None and stack.early:
                result = run(stack.early, exchange)
            if type(result) is CoroutineType and stack.silent:
                result = await result
            if _is_pass(stack, exchange, result):
                return await self._inner.handle_async_request(_SourceBase(self._inner, exchange, module)._outgoing())

            async def load(limit: int) -> bytes | None:
                chunks: list[bytes] = []
                size = 0
                stream = request.stream
                if hasattr(stream, "__aiter__"):
                    async for chunk in stream:
                        size += len(chunk)
                        if size > limit:
                            return None
                        chunks.append(chunk)
                return b"".join(chunks)

            pulling = Pulling(exchange, stack, lambda: _AsyncSource(self._inner, exchange, module), load, reraise=True)
            await pulling.open(result)
            return _answer(module, pulling, _AsyncBody(pulling, caller), request)

        async def aclose(self) -> None:
            await self._inner.aclose()
            if self._owned:
                await self.core.aclose()

        async def __aenter__(self) -> Any:
            await self._inner.__aenter__()
            return self

        async def __aexit__(self, *raised: Any) -> None:
            try:
                await self._inner.__aexit__(*raised)
            finally:
                if self._owned:
                    await self.core.aclose()

    class _AsyncBody(module.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, pulling: Pulling, caller: Caller) -> None:
            self._pulling = pulling
            self._caller = caller

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            while True:
                chunk = await self._pulling.read()
                if chunk is None:
                    raise StopAsyncIteration
                if chunk:
                    return chunk

        async def aclose(self) -> None:
            await self._pulling.close()
            self._caller.detach(self._pulling.exchange.finished)

    for cls in (GatewayTransport, AsyncGatewayTransport):
        cls.__module__ = f"aigw_middleware.{name}"
        cls.__qualname__ = cls.__name__
    return GatewayTransport, AsyncGatewayTransport


def _answer(module: Any, pulling: Pulling, stream: Any, request: Any) -> Any:
    """Make the client library's response; its body is a stream, for `content=` would invent a Content-Length."""
    exchange = pulling.exchange
    response = exchange.response
    assert response is not None
    native = pulling.native.response if isinstance(pulling.native, _SourceBase) else None
    extensions = dict(native.extensions) if native is not None else {"http_version": b"HTTP/1.1"}
    return module.Response(
        response.status, headers=response.headers.raw, stream=stream, extensions=extensions, request=request
    )
