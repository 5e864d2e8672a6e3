"""Client transports for httpx2, which the OpenAI and Anthropic SDKs use, that run `outgoing:` plug-ins."""

from __future__ import annotations

from .hosts.client import transport_classes

GatewayTransport, AsyncGatewayTransport = transport_classes("httpx2")
