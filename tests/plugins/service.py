"""A service that says what reached it, on ASGI and on WSGI, and how to ask through a gateway around it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from aigw_middleware import ConfigError, Gateway
from aigw_middleware.consumers import ANONYMOUS
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.testing.asgi import AsgiExchange, asgi_exchange
from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.http_messages import HeaderPairs
from aigw_middleware.testing.wsgi import WsgiExchange, wsgi_exchange


class Service:
    """Answers everything alike and keeps what came: `calls` requests, the last one's `headers` and `query`."""

    def __init__(
        self, status: int = 200, headers: HeaderPairs = (), body: bytes = b"from the service", fails: bool = False
    ) -> None:
        self.status = status
        self.response_headers = [(_bytes(name), _bytes(value)) for name, value in headers]
        self.body = body
        self.fails = fails
        self.calls = 0
        self.headers: list[tuple[str, str]] = []
        self.query = ""
        self.consumer = ANONYMOUS
        """Who called last, as the exchange has it; on ASGI."""

    def header(self, name: str) -> list[str]:
        """All values of a header of the last request."""
        return [value for key, value in self.headers if key == name]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        self.query = scope["query_string"].decode("latin-1")
        self.consumer = scope["state"]["aigw"].consumer
        if self.fails:
            raise LookupError("the service is broken")
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.response_headers)})
        await send({"type": "http.response.body", "body": self.body})

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.calls += 1
        self.headers = [
            (key[5:].lower().replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_")
        ]
        self.query = environ["QUERY_STRING"]
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.response_headers]
        start_response(f"{self.status} Whatever", headers)
        return [self.body]


class Gated:
    """A service behind a gateway of one plug-in (or of a whole configuration), in virtual time."""

    def __init__(
        self,
        plugin: str,
        config: Mapping[str, Any] | None = None,
        service: Service | None = None,
        *,
        rules: Iterable[Mapping[str, Any]] = (),
        **top: Any,
    ) -> None:
        self.service = service or Service()
        self.clock = VirtualClock()
        entry: dict[str, Any] = {"name": plugin, "rules": list(rules)}
        if config is not None:
            entry["config"] = dict(config)
        self.config = {"plugins": [entry, *top.pop("plugins", ())], **top}
        self.gateway = Gateway(self.service, self.config, clock=self.clock)

    def ask(self, method: str = "GET", path: str = "/", headers: HeaderPairs = (), **options: Any) -> AsgiExchange:
        """One request through ASGI."""
        exchange = asyncio.run(asgi_exchange(self.gateway, method, path, headers=headers, **options))
        if exchange.exception is not None and not self.service.fails:
            raise exchange.exception
        return exchange

    def ask_wsgi(self, method: str = "GET", path: str = "/", headers: HeaderPairs = ()) -> WsgiExchange:
        """One request through WSGI, with a gateway of its own."""
        gateway = WSGIGateway(self.service.wsgi, self.config, clock=self.clock)
        exchange = wsgi_exchange(gateway, method, path, headers=headers)
        if exchange.exception is not None:
            raise exchange.exception
        return exchange


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def outcome(gated: Gated, headers: Mapping[str, str] | None = None, path: str = "/") -> object:
    """Whom the service was told of; or status and code of the refusal, and that the service was not asked."""
    before = gated.service.calls
    exchange = gated.ask("GET", path, list((headers or {}).items()))
    if exchange.status == 200:
        return gated.service.header("x-mse-consumer")
    assert gated.service.calls == before
    return exchange.status, exchange.json()["code"]


def problems_of(plugin: str, config: Mapping[str, Any], **top: Any) -> list[str]:
    """Return what is wrong with a configuration of one plug-in, each as it is told."""
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": plugin, "config": dict(config)}], **top})
    return [str(problem) for problem in caught.value.problems]
