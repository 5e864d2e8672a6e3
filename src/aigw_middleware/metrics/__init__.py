"""What `ai-statistics` counted, for Prometheus: an ASGI application, a WSGI application, a Django view, a collector.

    app.mount("/metrics", metrics_app())                                               # FastAPI, Starlette
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": metrics_wsgi_app()})  # Flask
    path("metrics", metrics_view())                                                    # Django, in urls.py
    prometheus_client.REGISTRY.register(collector())                                   # an endpoint that is there already

Each takes the gateways to report: a Gateway, a WSGIGateway, a client transport, or an application that `install` was
called with. Without any, all gateways of the process are reported, those made later too. Equal series of several
gateways are added up. Models, consumers, routes and costs can be read there: protect it like other internal pages.
"""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from ..errors import ConfigError
from ..gateway import Core, live
from ..plugins.ai.statistics.counters import Counters, merged

__all__ = ["MetricsApp", "MetricsWsgiApp", "collector", "metrics_app", "metrics_view", "metrics_wsgi_app"]

EXTRA: Final = "pip install 'aigw-middleware[prometheus]'"
METHODS: Final = ("GET", "HEAD")
MAX_ACCEPT: Final = 4_096  # characters of a header that are looked at

Answer: TypeAlias = tuple[int, list[tuple[str, str]], bytes]


def metrics_app(*gateways: Any) -> MetricsApp:
    """Return an ASGI application. Raises ConfigError without prometheus_client, TypeError for what is no gateway."""
    return MetricsApp(_Page(gateways))


def metrics_wsgi_app(*gateways: Any) -> MetricsWsgiApp:
    """Return a WSGI application. Raises ConfigError without prometheus_client, TypeError for what is no gateway."""
    return MetricsWsgiApp(_Page(gateways))


def metrics_view(*gateways: Any) -> Callable[[Any], Any]:
    """Return a Django view. Raises ConfigError without prometheus_client, TypeError for what is no gateway."""
    page = _Page(gateways)

    def view(request: Any) -> Any:
        from django.http import HttpResponse

        accept, encoding = request.headers.get("accept", ""), request.headers.get("accept-encoding", "")
        status, headers, body = page.answer(request.method, accept, encoding)
        return HttpResponse(body, status=status, headers=dict(headers))

    return view


def collector(*gateways: Any) -> GatewayCollector:
    """Return a collector for a registry of prometheus_client. Raises TypeError for what is no gateway.

    In its multiprocess mode none is needed: there the counters are in the files that MultiProcessCollector reads.
    """
    return GatewayCollector([_core_of(gateway) for gateway in gateways])


def _core_of(gateway: Any) -> Core:
    for found in (gateway, getattr(gateway, "core", None)):
        if isinstance(found, Core):
            return found
    installed = getattr(getattr(gateway, "state", None), "aigw_gateway", None)
    if installed is not None:
        return _core_of(installed)
    raise TypeError(f"{type(gateway).__name__} is no gateway, and no application that install() was called with")


class GatewayCollector:
    """The counters of some gateways, or of all, read whenever a registry asks."""

    def __init__(self, cores: Iterable[Core]) -> None:
        self._cores = tuple(cores)

    def collect(self) -> Iterator[Any]:
        """Yield the metric families of prometheus_client."""
        from .families import families

        cores = self._cores or tuple(live)
        found = (getattr(plugin, "counters", None) for core in cores for plugin in core.snapshot.plugins)
        decisions: Counter[tuple[str, str]] = Counter()
        for core in cores:
            decisions.update(core.counts())
        return families(merged(counters for counters in found if isinstance(counters, Counters)), decisions)

    def describe(self) -> Iterable[Any]:
        """Return nothing: a registry need not read all counters to learn their names."""
        return ()


class _Page:
    """The answer to a scrape, whatever carries it."""

    def __init__(self, gateways: Iterable[Any]) -> None:
        try:
            from prometheus_client import CollectorRegistry
        except ImportError:
            message = "metrics are written by the package prometheus-client, which is not installed"
            raise ConfigError.of("", message, EXTRA) from None
        from .workers import VARIABLE, WorkerCollector

        self._registry = CollectorRegistry()
        several = VARIABLE in os.environ
        found = collector(*gateways)
        self._registry.register(WorkerCollector() if several else found)

    def answer(self, method: str | None, accept: str, encoding: str) -> Answer:
        """Return status, headers and body."""
        from prometheus_client.exposition import choose_encoder

        if method not in METHODS:
            return 405, [("allow", ", ".join(METHODS)), ("content-length", "0")], b""
        try:
            write, content_type = choose_encoder(accept[:MAX_ACCEPT])
        except (TypeError, ValueError):  # a version that is none
            write, content_type = choose_encoder("")
        body = write(self._registry)
        headers = [("content-type", content_type), ("cache-control", "no-store"), ("vary", "accept, accept-encoding")]
        if "gzip" in encoding[:MAX_ACCEPT]:
            body = gzip.compress(body, 5)
            headers.append(("content-encoding", "gzip"))
        headers.append(("content-length", str(len(body))))
        return 200, headers, b"" if method == "HEAD" else body


class MetricsApp:
    """An ASGI application. The text is made in a thread: a thousand series take longer than an event loop may wait."""

    def __init__(self, page: _Page) -> None:
        self._page = page

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer a scrape."""
        from anyio.to_thread import run_sync

        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            raise RuntimeError(f"metrics have no {scope['type']}")
        accept = _header(scope, b"accept")
        encoding = _header(scope, b"accept-encoding")
        status, headers, body = await run_sync(self._page.answer, scope["method"], accept, encoding)
        fields = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


def _header(scope: Mapping[str, Any], wanted: bytes) -> str:
    return b",".join(value for name, value in scope["headers"] if name.lower() == wanted).decode("latin-1")


class MetricsWsgiApp:
    """A WSGI application (PEP 3333)."""

    def __init__(self, page: _Page) -> None:
        self._page = page

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer a scrape."""
        status, headers, body = self._page.answer(
            environ["REQUEST_METHOD"], environ.get("HTTP_ACCEPT", ""), environ.get("HTTP_ACCEPT_ENCODING", "")
        )
        start_response("200 OK" if status == 200 else "405 Method Not Allowed", headers)
        return [body]
