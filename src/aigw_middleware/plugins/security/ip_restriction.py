"""Let in, or shut out, by the client's address, after authentication.

    plugins:
      - name: ip-restriction
        config:
          allow: ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"]
          deny: ["10.66.0.0/16"]
          message: Only from the office.

What is on both lists is refused. Lists may come from files, `deny_files: [blocked.txt]`, one address or CIDR a line, which
are watched; while a file has a mistake, what it said before stays in force. An IPv4-mapped IPv6 address is the IPv4 address
it stands for, zone ids and ports do not count, and other spellings (octal, hexadecimal, one number) are no addresses.

The client is the one behind `trusted_proxies` or `http-real-ip`. With `ip_source_type: header` it is the one that a trusted
proxy names in `ip_header_name`, walked from the right; a request that no trusted proxy sent, or without the header, has no
known address. Who has none is refused, see `on_unknown_client`. To shut addresses out before authentication, use
`ip-access-control`.

Source: the plug-in of this name of the compatible gateways, which take the first address of a header from whoever sends it.
"""

from __future__ import annotations

import json
from typing import Literal, Self

from pydantic import field_validator, model_validator

from ...config.models import HeaderName, Names
from ...edge import Forwarding
from ...exchange import Exchange, Refusal
from ...plugin import INBOUND, Field, Plugin, Stage
from .address_lists import AddressGate, AddressListsConfig


class IpRestrictionConfig(AddressListsConfig):
    """Who may come in, and what the others are told."""

    ip_source_type: Literal["origin-source", "header"] = Field(
        "origin-source",
        description="`origin-source`: the client as the gateway knows it; `header`: only what trusted proxies name in "
        "`ip_header_name` counts.",
    )
    ip_header_name: HeaderName = Field("X-Forwarded-For", description="The header for `ip_source_type: header`.")
    real_ip_from: Names = Field(
        (),
        description="Addresses and CIDRs of the proxies whose header is believed; empty: those that the gateway trusts.",
    )
    status: int = Field(403, ge=200, le=599, description="Status of refusals.")
    message: str = Field("Your IP address is blocked.", description="Text of refusals.")

    @field_validator("real_ip_from")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Forwarding(value)
        return value

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.real_ip_from and self.ip_source_type != "header":
            raise ValueError("`real_ip_from` is for `ip_source_type: header`; elsewhere name proxies in `http-real-ip`")
        return self


class IpRestriction(Plugin[IpRestrictionConfig]):
    """Refuse clients by their address."""

    name, stage, priority = "ip-restriction", Stage.AUTHENTICATION, 210
    directions = frozenset({INBOUND})
    on_failure = "deny"

    def compile(self) -> None:
        config = self.config
        body = json.dumps({"message": config.message}, separators=(",", ":"), ensure_ascii=False).encode()
        self._gate = AddressGate(
            config,
            self.context.files,
            status=config.status,
            code="ip_address_blocked",
            text=config.message,
            body=body,
        )
        self._header = config.ip_header_name if config.ip_source_type == "header" else ""
        self._forwarding = Forwarding(config.real_ip_from) if config.real_ip_from else None

    def on_request(self, exchange: Exchange) -> Refusal | None:
        if not self._header:
            return self._gate.judge(exchange.client)
        forwarding = self._forwarding or exchange.snapshot.edge.forwarding
        return self._gate.judge(forwarding.named(exchange.request, self._header))
