"""What only the outer edge of a service can tell: who the client is behind proxies, and which headers no client may set."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .addresses import AddressSet, client_address, hops_of, parse_address
from .consumers import Consumer, ConsumerTable

if TYPE_CHECKING:
    from .config.models import GatewayConfig
    from .exchange import Exchange, Request


class Edge:
    """The facts of the edge: who the client is behind trusted proxies, and which identity headers to take away."""

    __slots__ = ("_header", "_identity", "_trusted", "_trusted_gateways", "identity_names", "outgoing_names")

    def __init__(self, config: GatewayConfig, identity_headers: Sequence[str]) -> None:
        self._trusted = AddressSet(config.trusted_proxies)
        self._header = config.client_header
        self._trusted_gateways = AddressSet(config.trust_identity_from)
        self._identity = config.identity_header
        self.identity_names = frozenset(spelling for name in identity_headers for spelling in spellings(name))
        self.outgoing_names = self.identity_names | frozenset(spellings(config.identity_header))
        """Headers that carry identity inward: no outgoing call ever has them."""

    def client(self, request: Request) -> str | None:
        """Return the caller's address: the peer, or what trusted proxies say stands behind it."""
        if not self._trusted:
            return request.peer
        return client_address(request.peer, hops_of(self._header, request.headers.get_all(self._header)), self._trusted)

    def take_identity(self, exchange: Exchange, consumers: ConsumerTable) -> None:
        """Remove headers that only this gateway may set; a trusted gateway in front may hand over the consumer."""
        request = exchange.request
        names = self.identity_names
        if names.isdisjoint(request.headers.index):
            return
        handed = request.headers.get(self._identity) if self._trusted_gateways else None
        request.headers.remove_all(names)
        packed = parse_address(request.peer) if handed and request.peer else None
        if handed and packed is not None and packed in self._trusted_gateways:
            exchange.consumer = consumers.get(handed) or Consumer(handed)
            request.headers.set(self._identity, handed)


def spellings(name: str) -> Iterator[bytes]:
    """Yield every way to write a header name with `-` and `_`: behind CGI they are one (CVE-2026-3902)."""
    parts = name.lower().replace("_", "-").split("-")
    if len(parts) > 8:
        yield from (("-".join(parts)).encode(), ("_".join(parts)).encode())
        return
    for signs in itertools.product("-_", repeat=len(parts) - 1):
        yield "".join(itertools.chain.from_iterable(zip(parts, (*signs, ""), strict=True))).encode()
