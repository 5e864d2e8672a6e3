"""What only the outer edge of a service can tell: who the client is behind proxies, and which headers no client may set."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from .addresses import MAX_HOPS, AddressSet, parse_address, reported_address, usual_spelling
from .consumers import Consumer, ConsumerTable
from .forwarded import hops_of

if TYPE_CHECKING:
    from .config.models import GatewayConfig
    from .exchange import Exchange, Request
    from .plugin import Plugin

UNIX: Final = "unix:"
"""Stands among the proxies for whoever connects over a Unix domain socket."""
_MAX_PEERS: Final = 1_024  # whose trust is remembered; proxies are few, the bound is for those who call directly
_MAX_LINES: Final = 4_096  # of a header, whose client is remembered: requests of a client mostly have the same one
_MAX_LENGTH: Final = 256  # characters of one of them


class Forwarding:
    """Whom to believe about who the client is: which proxies, in which header, over how many hops.

    `proxies` are addresses, networks and `unix:`. Raises ValueError for anything else.
    """

    __slots__ = ("_believed", "_known", "_name", "_sockets", "header", "max_hops", "proxies")

    def __init__(self, proxies: Iterable[str], header: str = "x-forwarded-for", max_hops: int = MAX_HOPS) -> None:
        texts = list(proxies)
        self.proxies = AddressSet(text for text in texts if text != UNIX)
        self._sockets = UNIX in texts
        self.header = header.lower()
        self._name = self.header.encode()
        self.max_hops = max_hops
        self._believed = lru_cache(_MAX_PEERS)(self.proxies.__contains__)
        self._known = lru_cache(_MAX_LINES)(partial(_reported, self.proxies, max_hops))

    def __bool__(self) -> bool:
        """Whether anybody is believed."""
        return self._sockets or bool(self.proxies)

    def client(self, request: Request) -> str | None:
        """Return the caller's address: what trusted proxies say stands behind them, or the peer."""
        named = self.named(request) if self else None
        return named if named is not None else usual_spelling(request.peer)

    def named(self, request: Request, header: str = "") -> str | None:
        """Return the address that trusted proxies name in the header, or in another one; None when they name nobody."""
        if not self.believes(request.peer):
            return None
        headers = request.headers
        if not header and len(headers.index) == len(headers.raw):  # no field stands there twice, as nearly always
            line = headers.index.get(self._name)
            if line is None:
                return None
            if len(line) <= _MAX_LENGTH:
                return self._known(self.header, line.decode("latin-1"))
        name = header or self.header
        lines = headers.get_all(name)
        if len(lines) == 1 and len(lines[0]) <= _MAX_LENGTH:
            return self._known(name, lines[0])
        return _reported(self.proxies, self.max_hops, name, *lines) if lines else None

    def believes(self, peer: str | None) -> bool:
        """Whether what this peer reports is believed."""
        if not peer or peer.startswith(("/", UNIX)):  # servers give a socket's path, if they give anything
            return self._sockets
        return self._believed(peer)


def _reported(proxies: AddressSet, max_hops: int, name: str, *lines: str) -> str | None:
    """Return the client that the lines of a header report."""
    return reported_address(hops_of(name, lines), proxies, max_hops)


def forwarding_of(plugins: Iterable[Plugin[Any]]) -> Forwarding | None:
    """Return what the first plug-in that has `forwarding` supplies."""
    return next((found for plugin in plugins if (found := getattr(plugin, "forwarding", None)) is not None), None)


class Edge:
    """The facts of the edge: who the client is behind trusted proxies, and which identity headers to take away.

    `forwarding` stands in place of the settings at the top of the configuration.
    """

    __slots__ = ("_identity", "_trusted_gateways", "forwarding", "identity_names", "outgoing_names")

    def __init__(
        self, config: GatewayConfig, identity_headers: Sequence[str], forwarding: Forwarding | None = None
    ) -> None:
        if forwarding is None:
            forwarding = Forwarding(config.trusted_proxies, config.client_header)
        self.forwarding = forwarding
        self._trusted_gateways = AddressSet(config.trust_identity_from)
        self._identity = config.identity_header
        self.identity_names = frozenset(spelling for name in identity_headers for spelling in spellings(name))
        self.outgoing_names = self.identity_names | frozenset(spellings(config.identity_header))
        """Headers that carry identity inward: no outgoing call ever has them."""

    def client(self, request: Request) -> str | None:
        """Return the caller's address where no rule says whom else to believe about it."""
        return self.forwarding.client(request)

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
