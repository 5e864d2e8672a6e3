"""Find the client behind proxies: the address that they name in a header counts, if they are to be believed.

    plugins:
      - name: http-real-ip
        config: {real_ip_from: ["10.0.0.0/8", "127.0.0.1", "fd00::/8"], real_ip_header: x-forwarded-for}
      - name: ip-restriction
        config: {deny: ["198.51.100.0/24"]}

A header is believed only if the connection comes from one of `real_ip_from`. Its addresses are then walked from the
right, over those that are themselves in `real_ip_from`; the first other one is the client, so that nothing counts which a
client wrote in front of it. With `recursive: false` the last address counts, whoever it is. Something that is no address
(`unknown`, `_hidden`, garbage) ends the walk at the last good one. `forwarded` is read by RFC 7239, of `x-real-ip` the last
line counts, every other header is a list as `x-forwarded-for` is, over all its lines in order.

The result is known before the first hook: every plug-in of every stage sees it. The entry takes the place of
`trusted_proxies` and `client_header` at the top of the configuration, for the requests that its rules apply to.

Source: the realip module of nginx, whose keys the compatible gateways use; RFC 7239.
"""

from __future__ import annotations

from pydantic import AliasChoices, field_validator

from ...addresses import MAX_HOPS
from ...config.models import Names
from ...edge import Forwarding
from ...exchange import Exchange
from ...headers import header_name
from ...plugin import INBOUND, Field, Plugin, PluginConfig, Stage

_PROXY_PROTOCOL = "proxy_protocol"


class HttpRealIpConfig(PluginConfig):
    """Which proxies are believed, and where they name the client."""

    real_ip_from: Names = Field(
        description="Addresses and CIDRs of the proxies that are believed; `unix:` stands for whoever connects over a Unix "
        "domain socket.",
    )
    real_ip_header: str = Field("x-forwarded-for", description="Header in which they name the client.")
    recursive: bool = Field(
        True,
        validation_alias=AliasChoices("recursive", "real_ip_recursive", "realIpRecursive"),
        description="Whether a believed proxy that is named is believed in turn; false: the last address counts.",
    )
    max_hops: int = Field(
        MAX_HOPS, ge=1, le=1_000, description="Addresses that are believed at most, however many are named."
    )

    @field_validator("real_ip_from")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not Forwarding(value):
            raise ValueError("should name the proxies that are believed, for example [10.0.0.0/8]")
        return value

    @field_validator("real_ip_header")
    @classmethod
    def _header(cls, value: str) -> str:
        if value.lower().replace("-", "_") == _PROXY_PROTOCOL:
            raise ValueError(
                "proxy_protocol is spoken before HTTP, to the server: let the server read it, which then gives the "
                "client as the other end of the connection, and leave this entry out"
            )
        header_name(value)
        return value


class HttpRealIp(Plugin[HttpRealIpConfig]):
    """Take the client's address from a header that trusted proxies set."""

    name, stage, priority = "http-real-ip", Stage.AUTHENTICATION, 980
    directions = frozenset({INBOUND})
    shadowable = False

    def compile(self) -> None:
        config = self.config
        hops = config.max_hops if config.recursive else 1
        self.forwarding = Forwarding(config.real_ip_from, config.real_ip_header, hops)

    def on_request(self, exchange: Exchange) -> None:
        client = exchange.client  # from here on the headers may change, the client does not
        if exchange.snapshot.debug and client != exchange.request.peer:
            exchange.decide(self, "changed", f"the client is {client}")
