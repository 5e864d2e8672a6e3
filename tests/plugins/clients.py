"""Who calls: a gateway that is asked by peers of any address, and says whom it took them for."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aigw_middleware import Gateway, Plugin, PluginConfig, Stage
from aigw_middleware.exchange import Exchange, Refusal
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.testing.asgi import AsgiExchange, asgi_exchange
from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.wsgi import WsgiExchange, wsgi_exchange
from tests.plugins.service import Service


class Watch(Plugin[PluginConfig]):
    """Keeps whom every exchange comes from, as it is seen in one stage."""

    def compile(self) -> None:
        self.seen: list[str | None] = []
        self.last: Exchange | None = None

    def on_request(self, exchange: Exchange) -> Refusal | None:
        self.seen.append(exchange.client)
        self.last = exchange
        return None


class First(Watch):
    """Runs before everything."""

    name, stage, priority = "first", Stage.RBAC, 1_000


class Last(Watch):
    """Runs after everything."""

    name, stage, priority = "last", Stage.ROUTER, -1_000


class Called:
    """A configuration around a service; what it sees of its callers."""

    def __init__(self, *entries: Mapping[str, Any], path: Path | None = None, **top: Any) -> None:
        self.service = Service()
        self.config = {"plugins": list(entries), **top}
        self.first, self.last = First(), Last()
        watching = [self.first, self.last]
        self.gateway = Gateway(self.service, path or self.config, plugins=watching, clock=VirtualClock())

    @property
    def client(self) -> str | None:
        """Whom the last exchange was taken to come from: the same in the first and in the last stage."""
        assert self.first.seen == self.last.seen
        return self.first.seen[-1]

    @property
    def records(self) -> list[tuple[str, str, str]]:
        """Plug-in, decision and reason of each line of the record of the last exchange."""
        assert self.first.last is not None
        return [(line.plugin, line.decision, line.reason) for line in self.first.last.records]

    def ask(
        self, peer: str | None = "10.0.0.1", headers: Iterable[tuple[str, str]] = (), *, path: str = "/", **scope: Any
    ) -> AsgiExchange:
        """One request through ASGI, over a connection from `peer`."""
        client = None if peer is None else (peer, 50_000)
        fields = [(name, value.encode("utf-8")) for name, value in headers]
        answered = asyncio.run(asgi_exchange(self.gateway, "GET", path, headers=fields, client=client, **scope))
        if answered.exception is not None:
            raise answered.exception
        return answered

    def ask_wsgi(self, peer: str, headers: Iterable[tuple[str, str]] = ()) -> WsgiExchange:
        """One request through WSGI, with a gateway of its own."""
        gateway = WSGIGateway(self.service.wsgi, self.config, plugins=[self.first, self.last], clock=VirtualClock())
        return wsgi_exchange(gateway, headers=list(headers), client=(peer, 50_000))
