"""Client transports for httpx that run a configuration's `outgoing:` plug-ins."""

from __future__ import annotations

from .hosts.client import transport_classes

GatewayTransport, AsyncGatewayTransport = transport_classes("httpx")
