"""What tests of hmac-auth and replay-protection share: a guarded service, requests to it, stores that wait or fail."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from aigw_middleware import Gateway
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.state import MemoryStore, StoreError
from aigw_middleware.testing import HmacSigner, VirtualClock
from aigw_middleware.testing.wsgi import wsgi_exchange
from tests.plugins.service import Gated

Fields = Iterable[tuple[str, str]]


class Guarded(Gated):
    """A service behind plug-ins, asked for by target, with bodies; `outcome` is the consumer, or status and code."""

    def __init__(self, plugin: str, config: Any = None, *, start: float | None = None, **top: Any) -> None:
        super().__init__(plugin, config, **top)
        if start is not None:
            self.clock = VirtualClock(start)
            self.gateway = Gateway(self.service, self.config, clock=self.clock)
        self.wsgi_gateway = WSGIGateway(self.service.wsgi, self.config, clock=self.clock)

    def outcome(self, method: str, target: str, headers: Fields = (), body: bytes = b"", **options: Any) -> object:
        """Whom the service was told of; or status and code of the refusal, and that the service was not asked."""
        before = self.service.calls
        exchange = self.ask(method, target, list(headers), body=[body] if body else [], **options)
        return self._told(exchange, before)

    def outcome_wsgi(self, method: str, target: str, headers: Fields = (), body: bytes = b"") -> object:
        """The same through WSGI, always with the same gateway."""
        before = self.service.calls
        answer = wsgi_exchange(self.wsgi_gateway, method, target, headers=list(headers), body=[body] if body else [])
        assert answer.exception is None
        return self._told(answer, before)

    def _told(self, exchange: Any, before: int) -> object:
        if exchange.status == 200:
            return self.service.header("x-mse-consumer")
        assert self.service.calls == before
        return exchange.status, exchange.json()["code"]

    def signer(self, key: str, secret: str, **options: Any) -> HmacSigner:
        """A signer by this gateway's clock."""
        return HmacSigner(key, secret, self.clock, **options)


class WaitingStore:
    """A store that is not immediate, and that fails while `error` is set."""

    immediate = False

    def __init__(self, store: MemoryStore, error: StoreError | None = None) -> None:
        self._store = store
        self.error = error

    async def set_if_absent(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self._store.set_if_absent_now(key, value, ttl)


class BrokenStore(MemoryStore):
    """An immediate store that fails."""

    def set_if_absent_now(self, key: str, value: bytes, ttl: float | None = None) -> bool:
        raise StoreError("the store is away")


def ask_all(gated: Guarded, store: Any, requests: Sequence[tuple[str, str, Fields]]) -> list[int | None]:
    """Statuses of requests in a row with a store of their own, in one event loop."""
    from aigw_middleware.testing import asgi_exchange

    async def all_of_them() -> list[int | None]:
        gated.gateway.core.runtime(asyncio.get_running_loop()).ports.store = store
        return [
            (await asgi_exchange(gated.gateway, method, target, headers=list(headers))).status
            for method, target, headers in requests
        ]

    return asyncio.run(all_of_them())
