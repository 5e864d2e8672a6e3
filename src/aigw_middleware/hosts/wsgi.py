"""The WSGI host (PEP 3333): native, no event loop, no bridge.

Header hooks run before the application; its iterable is handed through chunk by chunk and closed exactly once.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..exchange import CALLER, Caller, Exchange, Request, Response
from ..gateway import Core
from ..headers import RawHeaders
from ..hooks import run
from ..plugin import INBOUND, Plugin
from ..ports.drive import finish
from ..registry import REGISTRY, Registry
from ..snapshot import ANY_ROUTE
from .environ import Environ, WsgiRequest, phrase, read_body, title, write_environ
from .handover import Restarted
from .pull import Pulling

if TYPE_CHECKING:
    from ..pipeline import Stack
    from ..ports import Clock

logger = logging.getLogger("aigw_middleware")


class WSGIGateway:
    """A gateway around a WSGI application.

        app.wsgi_app = WSGIGateway(app.wsgi_app, config="aigw.yaml")     # Flask

    Around another WSGIGateway it absorbs it: one exchange, one sorted stack. An exception of the application is logged and
    answered with a 500 that has passed the plug-ins; with `outermost=False` it goes on outward instead, to a debugger or
    to a test that expects it. Raises ConfigError; names a plug-in that needs asyncio.
    """

    app: Any
    core: Core

    def __init__(
        self,
        app: Any,
        config: Mapping[str, Any] | str | Path | None = None,
        plugins: Sequence[Plugin[Any]] = (),
        *,
        outermost: bool = True,
        registry: Registry = REGISTRY,
        clock: Clock | None = None,
        core: Core | None = None,
    ) -> None:
        self._outermost = outermost
        if isinstance(app, WSGIGateway):
            if config is not None and app.core.configured:
                raise ConfigError.of(
                    "", "two gateways with a configuration each stand around one application", "merge the two files"
                )
            if config is None and app.core.configured:
                config = app.core.source.path or app.core.source.read_data()
            plugins = [*plugins, *app.core.plugins[INBOUND]]
            clock = clock or app.core.clock
            app = app.app
        self.app = app
        self.core = core or Core(config, plugins, registry=registry, clock=clock)
        refuse_asyncio_only(self.core)

    def close(self) -> None:
        """Tear down what the gateway acquired."""
        self.core.close()

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how often each plug-in failed or could not read a call, by `(plug-in, decision)`: what to alert on."""
        return self.core.counts()

    def reload(self) -> None:
        """Read the configuration again. Raises ConfigError and keeps the old one when it is wrong."""
        self.core.reload()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        core = self.core
        if core.look_due:
            core.look()
        snapshot = core.snapshot
        runtime = core.process_runtime()
        if runtime.snapshot is not snapshot:
            runtime.adopt(snapshot)
        exchange = Exchange()
        exchange.direction = INBOUND
        exchange.snapshot = snapshot
        exchange.runtime = runtime
        exchange.ports = runtime.ports
        exchange.started = runtime.ports.clock.monotonic()
        exchange.route = ANY_ROUTE
        request = exchange.request = WsgiRequest(environ)
        environ["aigw.exchange"] = exchange
        caller = Caller(exchange)
        token = CALLER.set(caller)
        try:
            stack, answer = snapshot.admit(exchange, snapshot.sides[INBOUND])
            result: Any = answer
            if result is None and stack.early:
                result = run(stack.early, exchange)
            if result is None and stack.bare and "meter" not in exchange.__dict__:
                write_environ(request, environ)
                return self._pass(environ, start_response, caller)
            body = _Body(self.app, environ, exchange, stack, caller, start_response, reraise=not self._outermost)
            finish(body.pulling.open(result), "the exchange")
            try:
                body.start()
            except BaseException:
                body.close()
                raise
            return body
        finally:
            CALLER.reset(token)

    def _pass(self, environ: Environ, start_response: Callable[..., Any], caller: Caller) -> Iterable[bytes]:
        """Nobody watches the response: the application's own iterable leaves, wrapped only where more of its code runs."""
        iterable = self.app(environ, start_response)
        wrapper = environ.get("wsgi.file_wrapper")
        if (
            type(iterable) in (list, tuple)
            or (isinstance(wrapper, type) and isinstance(iterable, wrapper))
            or isinstance(iterable, io.IOBase)  # what a wrapper that is a function hands through, uWSGI's for one
        ):
            caller.detach(caller.exchange.ports.clock.monotonic() if caller.exchange else 0.0)
            return iterable  # type: ignore[no-any-return]
        return _InContext(iterable, caller)


def refuse_asyncio_only(core: Core) -> None:
    """Raise ConfigError naming every plug-in that cannot run on a synchronous host."""
    names = sorted({plugin.name for plugin in core.snapshot.plugins if plugin.asyncio_only})
    if names:
        raise ConfigError.of("plugins", f"{', '.join(names)} needs asyncio and cannot run on a synchronous host")


class _WsgiSource:
    """The application as the inner side of the exchange."""

    def __init__(self, app: Any, environ: Environ, request: Request, fresh: bool) -> None:
        self._app = app
        self._environ = dict(environ) if fresh else environ
        self._request = request
        self._iterable: Any = None
        self._iterator: Iterator[bytes] | None = None
        self._written: list[bytes] = []
        self.status_line: str | None = None
        self._handed_over = False
        self._sent = False
        self._head: tuple[int, RawHeaders] | None = None
        self._restarted: Restarted | None = None

    async def open(self) -> tuple[int, RawHeaders]:
        write_environ(self._request, self._environ)
        self._iterable = self._app(self._environ, self._start_response)
        if self._head is None:  # it may be called as late as with the first piece
            self._iterator = iter(self._iterable)
            while self._head is None:
                try:
                    self._written.append(next(self._iterator))
                except StopIteration:
                    break
        if self._head is None:
            raise RuntimeError("the application returned without calling start_response")
        self._handed_over = True
        return self._head

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if exc_info is not None:
            try:
                if self._handed_over:
                    if self._sent or any(self._written):
                        raise exc_info[1].with_traceback(exc_info[2])
                    self._restarted = Restarted(int(status[:3]), fields, exc_info)
            finally:
                exc_info = None
        elif self._head is not None:
            raise AssertionError("start_response was called twice without exc_info")
        self.status_line = status
        self._head = int(status[:3]), fields
        return self._written.append

    async def read(self) -> bytes | None:
        if not self._written:
            if self._iterator is None:
                self._iterator = iter(self._iterable)
            try:
                chunk = next(self._iterator)
            except StopIteration:
                self._iterator = iter(())
            else:
                if not self._written and self._restarted is None:
                    self._sent = self._sent or bool(chunk)
                    return chunk
                self._written.append(chunk)  # after what write() was given while this piece was made
            again, self._restarted = self._restarted, None
            if again is not None:
                raise again
            if not self._written:
                return None
        chunk = self._written.pop(0)
        self._sent = self._sent or bool(chunk)
        return chunk

    async def close(self) -> None:
        iterable, self._iterable = self._iterable, None
        self._iterator = self._iterator or iter(())
        close = getattr(iterable, "close", None)
        if close is not None:
            close()


class _Body:
    """The iterable that the server gets: a class, so that `close` works even when it was never iterated."""

    def __init__(
        self,
        app: Any,
        environ: Environ,
        exchange: Exchange,
        stack: Stack,
        caller: Caller,
        start_response: Callable[..., Any],
        *,
        reraise: bool,
    ) -> None:
        self._caller = caller
        self._start_response = start_response
        self._started: Response | None = None
        self._closed = False

        async def load(limit: int) -> bytes | None:
            return read_body(environ, limit)

        def source() -> _WsgiSource:
            return _WsgiSource(app, environ, exchange.request, stack.replay)

        self.pulling = Pulling(exchange, stack, source, load, reraise=reraise)

    def start(self) -> None:
        """Give the head to the server, which replaces one that it has already."""
        exchange = self.pulling.exchange
        again = (self.pulling.restarted,) if self._started is not None else ()
        response = self._started = exchange.response
        assert response is not None
        if exchange.error is not None:
            logger.error("the application raised %s", type(exchange.error).__name__, exc_info=exchange.error)
        line = self.pulling.native.status_line if isinstance(self.pulling.native, _WsgiSource) else None
        if line is None or int(line[:3]) != response.status:
            line = f"{response.status} {phrase(response.status)}"
        fields = [(title(name), value.decode("latin-1")) for name, value in response.headers.raw]
        self._start_response(line, fields, *again)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = CALLER.set(self._caller)
        try:
            chunk = finish(self.pulling.read(), "the answer")
        finally:
            CALLER.reset(token)
        if self.pulling.exchange.response is not self._started:
            self.start()
        if chunk is None:
            self._caller.detach(self.pulling.exchange.finished)
            raise StopIteration
        return chunk

    def close(self) -> None:
        """The server is done with the response, wherever it stopped."""
        if self._closed:
            return
        self._closed = True
        token = CALLER.set(self._caller)
        try:
            finish(self.pulling.close(), "the end of the exchange")
        finally:
            CALLER.reset(token)
            self._caller.detach(self.pulling.exchange.finished)

    def __del__(self) -> None:
        if not self._closed and self.pulling.flow is not None:
            self.close()


class _InContext:
    """Runs the application's iterable with the caller in context, and closes it."""

    __slots__ = ("_caller", "_iterable", "_iterator")

    def __init__(self, iterable: Any, caller: Caller) -> None:
        self._iterable = iterable
        self._iterator: Any = None
        self._caller = caller

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = CALLER.set(self._caller)
        try:
            if self._iterator is None:
                self._iterator = iter(self._iterable)
            return next(self._iterator)  # type: ignore[no-any-return]
        finally:
            CALLER.reset(token)

    def close(self) -> None:
        """Close the application's iterable."""
        close = getattr(self._iterable, "close", None)
        token = CALLER.set(self._caller)
        try:
            if close is not None:
                close()
        finally:
            CALLER.reset(token)
            exchange = self._caller.exchange
            if exchange is not None:
                self._caller.detach(exchange.ports.clock.monotonic())
