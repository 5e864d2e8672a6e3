"""Let in, or shut out, by the client's address, before everything else.

    plugins:
      - name: ip-access-control
        config:
          deny: ["198.51.100.0/24", "2001:db8:bad::/48"]
        rules:
          - match: {route_prefix: [admin]}
            config: {allow: ["10.0.0.0/8", "127.0.0.1"]}

The policy of the whole gateway: an address that is refused here costs nothing more, whatever the stack has behind it. What is
on both lists is refused. Lists may come from files, `deny_files: [blocked.txt]`, one address or CIDR a line, which are
watched; while a file has a mistake, what it said before stays in force. The client is the one behind `trusted_proxies` or
`http-real-ip`; where no address is known, as over a Unix domain socket, it is refused, see `on_unknown_client`.

Source: the policy IpAccessControl of the compatible gateways, and their annotation `whitelist-source-range`.
"""

from __future__ import annotations

from ...exchange import Exchange, Refusal
from ...plugin import INBOUND, Plugin, Stage
from .address_lists import AddressGate, AddressListsConfig

_TEXT = "RBAC: access denied"


class IpAccessControlConfig(AddressListsConfig):
    """Who may come in at all."""


class IpAccessControl(Plugin[IpAccessControlConfig]):
    """Refuse clients by their address, before every other plug-in."""

    name, stage, priority = "ip-access-control", Stage.RBAC, 0
    directions = frozenset({INBOUND})
    on_failure = "deny"

    def compile(self) -> None:
        self._gate = AddressGate(
            self.config, self.context.files, status=403, code="rbac_access_denied", text=_TEXT, body=_TEXT.encode()
        )

    def on_request(self, exchange: Exchange) -> Refusal | None:
        return self._gate.judge(exchange.client)
