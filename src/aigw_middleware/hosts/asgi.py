"""The ASGI host: a gateway as a pure ASGI 3 application around another one.

No task, thread or future is made on the normal path; the response is pushed through as the application sends it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ClientLeft, ConfigError
from ..exchange import CALLER, Caller, Exchange, Refusal, Request, Websocket
from ..gateway import Core
from ..headers import Headers
from ..hooks import run
from ..lazy import lazy
from ..paths import matching_path
from ..plugin import INBOUND, Plugin
from ..registry import REGISTRY, Registry
from ..runtime import SetupFailed, running_loop
from ..snapshot import ANY_ROUTE
from .asgi_exchange import Serving
from .asgi_sending import turn_down

if TYPE_CHECKING:
    from ..explanation import Explanation
    from ..ports import Clock
    from ..runtime import Runtime
    from ..snapshot import Snapshot

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_running_loop = asyncio.get_running_loop


class AsgiRequest(Request):
    """The request of an ASGI scope; read from it only as far as somebody asks."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method = scope.get("method", "GET")

    @lazy
    def headers(self) -> Headers:
        fields = self.scope["headers"]
        return Headers(fields if type(fields) is list else list(fields))

    @property
    def paths(self) -> tuple[str | bytes | None, ...]:
        scope = self.scope
        raw = scope.get("raw_path")
        return scope["path"], scope.get("root_path"), raw and raw.partition(b"?")[0]

    @lazy
    def path(self) -> str:
        return matching_path(self.scope["path"], self.scope.get("root_path", ""))

    @lazy
    def root_path(self) -> str:
        return self.scope.get("root_path", "")  # type: ignore[no-any-return]

    @lazy
    def raw_path(self) -> bytes | None:
        raw = self.scope.get("raw_path")
        return raw.partition(b"?")[0] if raw else None

    @lazy
    def query(self) -> bytes:
        return self.scope.get("query_string", b"")  # type: ignore[no-any-return]

    @lazy
    def scheme(self) -> str:
        return self.scope.get("scheme", "http")  # type: ignore[no-any-return]

    @lazy
    def http_version(self) -> str:
        return self.scope.get("http_version", "1.1")  # type: ignore[no-any-return]

    @lazy
    def peer(self) -> str | None:
        client = self.scope.get("client")
        return client[0] if client else None


class Gateway:
    """A gateway around an ASGI application.

        app.add_middleware(Gateway, config="aigw.yaml")
        app = Gateway(app, plugins=[KeyAuth(...), Cors(...)])

    `config` is a path to YAML, TOML or JSON, or a mapping. Around another gateway or plug-in of ours it absorbs it: one
    exchange, one sorted stack. `outermost` says that nothing outside turns exceptions into responses; it is found out
    by itself inside Starlette. Raises ConfigError.
    """

    app: Any
    core: Core

    def __init__(
        self,
        app: Any,
        config: Mapping[str, Any] | str | Path | None = None,
        plugins: Sequence[Plugin[Any]] = (),
        *,
        outermost: bool | None = None,
        registry: Registry = REGISTRY,
        clock: Clock | None = None,
    ) -> None:
        inner = app._gateway if isinstance(app, Plugin) else app
        if isinstance(inner, Gateway):
            if config is not None and inner.core.configured:
                raise ConfigError.of(
                    "", "two gateways with a configuration each stand around one application", "merge the two files"
                )
            config = (
                config
                if config is not None
                else inner.core.source.path or inner.core.source.read_data()
                if inner.core.configured
                else None
            )
            plugins = [*plugins, *inner.core.plugins[INBOUND]]
            clock = clock or inner.core.clock
            app = inner.app
        elif inner is None:
            raise ConfigError.of("", f"{type(app).__name__} was made without an app", "pass it in plugins=[...]")
        self.app = app
        self.core = Core(config, plugins, registry=registry, clock=clock)
        self._outermost = outermost
        self._runtime: Runtime | None = None

    def transport(self, inner: Any = None, *, module: str = "httpx", sync: bool = False) -> Any:
        """Return a client transport that runs `outgoing:` of this gateway, with its snapshot and stores."""
        from .client import transport_classes

        blocking, asynchronous = transport_classes(module)
        return (blocking if sync else asynchronous)(inner, core=self.core)

    def explain(self, method: str = "POST", path: str = "/", headers: Sequence[tuple[str, str]] = ()) -> Explanation:
        """Say which plug-ins a request would meet, in which order, and why. Raises InvalidHeader."""
        from ..explain import explain

        return explain(self.core, method, path, headers)

    async def aclose(self) -> None:
        """Tear down what this event loop acquired."""
        await self.core.aclose()

    def close(self) -> None:
        """Tear down what synchronous hosts of the same gateway acquired."""
        self.core.close()

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how often each plug-in failed or could not read a call, by `(plug-in, decision)`: what to alert on."""
        return self.core.counts()

    def reload(self) -> None:
        """Read the configuration again. Raises ConfigError and keeps the old one when it is wrong."""
        self.core.reload()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        core = self.core
        if core.look_due:
            core.look()
        snapshot = core.snapshot
        runtime = self._runtime
        if runtime is None or runtime.loop is not _running_loop() or not runtime.usable:
            runtime = self._runtime = core.runtime(running_loop())
        if runtime.snapshot is not snapshot:
            waiting = runtime.adopt(snapshot)
            if waiting is not None:
                await waiting
        exchange = Exchange()
        exchange.direction = INBOUND
        exchange.snapshot = snapshot
        exchange.runtime = runtime
        exchange.ports = runtime.ports
        exchange.started = runtime.ports.clock.monotonic()
        exchange.route = ANY_ROUTE
        request = exchange.request = AsgiRequest(scope)
        state = scope.get("state")
        if state is None:
            state = scope["state"] = {}
        state["aigw"] = exchange
        caller = Caller(exchange)
        token = CALLER.set(caller)
        try:
            result: Any = None
            stacks = snapshot.inbound
            stack = stacks.only
            if stack is None or snapshot.careful:
                stack, result = snapshot.admit(exchange, stacks)
            if result is None and stack.early:
                result = run(stack.early, exchange)
            if (
                result is None
                and stack.bare
                and "meter" not in exchange.__dict__
                and not exchange.route.watch_disconnect
            ):
                if "headers" in request.__dict__ and request.headers.changed:
                    scope = {**scope, "headers": request.headers.raw}
                if request.requeried:
                    scope = {**scope, "query_string": request.query}
                await self.app(scope, receive, send)
                return
            if type(result) is Refusal and "meter" not in exchange.__dict__:
                await turn_down(stack, exchange, result, send)
                return
            serving = Serving(self.app, scope, receive, send, exchange, stack)
            serving.outermost = self._outermost if self._outermost is not None else "app" not in scope
            if type(result) is CoroutineType:
                result = await serving.settled(result)
            await serving.serve(result)
        finally:
            CALLER.reset(token)
            state.pop("aigw", None)  # the scope and the exchange know each other: without this they were cyclic garbage
            caller.exchange = None
            caller.consumer = exchange.consumer
            caller.ended = exchange.finished or runtime.ports.clock.monotonic()
            if "attributes" in exchange.__dict__:
                caller.attributes = exchange.attributes

    # ------------------------------------------------------------------ what is no HTTP exchange

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Observe the lifespan: set up before the application starts, tear down after it stopped."""

        async def observed_receive() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                snapshot = self.core.snapshot
                runtime = self.core.runtime(running_loop())
                waiting = runtime.adopt(snapshot)
                if waiting is not None:
                    await waiting
            return message

        async def observed_send(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                await self.core.aclose()
            await send(message)

        try:
            await self.app(scope, observed_receive, observed_send)
        except SetupFailed as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        from .asgi_websocket import handshake

        core = self.core
        if core.look_due:
            core.look()
        snapshot: Snapshot = core.snapshot
        runtime = core.runtime(running_loop())
        waiting = runtime.adopt(snapshot)
        if waiting is not None:
            await waiting
        exchange = Websocket()
        exchange.direction = INBOUND
        exchange.snapshot = snapshot
        exchange.runtime = runtime
        exchange.ports = runtime.ports
        exchange.started = runtime.ports.clock.monotonic()
        exchange.route = ANY_ROUTE
        exchange.request = AsgiRequest(scope)
        scope.setdefault("state", {})["aigw"] = exchange
        caller = Caller(exchange)
        token = CALLER.set(caller)
        try:
            await handshake(self.app, scope, receive, send, exchange)
        finally:
            CALLER.reset(token)
            caller.detach(exchange.finished or runtime.ports.clock.monotonic())


def install(
    app: Any, config: Mapping[str, Any] | str | Path | None = None, plugins: Sequence[Plugin[Any]] = (), **options: Any
) -> Any:
    """Put a gateway outermost around a Starlette or FastAPI application, outside its own error pages; returns `app`.

    So responses to unhandled exceptions pass through the gateway too. Raises ConfigError, and RuntimeError when the
    application has already started.
    """
    if getattr(app, "middleware_stack", None) is not None:
        raise RuntimeError("install() must run before the application handles its first request")
    build = app.build_middleware_stack
    gateway = Gateway(_Unbuilt(), config, plugins, outermost=True, **options)

    def build_middleware_stack() -> Gateway:
        gateway.app = build()
        return gateway

    app.build_middleware_stack = build_middleware_stack
    app.state.aigw_gateway = gateway
    return app


class _Unbuilt:
    """Stands for the application until Starlette builds its stack."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientLeft("the application was not built yet")
