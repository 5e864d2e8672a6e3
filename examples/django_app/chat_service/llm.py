"""The official clients. Each call that they make runs through the plug-ins under `outgoing:` of the settings' AIGW.

They are made at the first call, not at import: a server that forks gives each worker its own.
"""

from functools import cache
from typing import Any

import httpx2
import openai
from django.conf import settings

from aigw_middleware.httpx2 import AsyncGatewayTransport, GatewayTransport
from aigw_middleware.testing.clients import asgi_transport_class, wsgi_transport_class


@cache
def client() -> openai.OpenAI:
    """For views that are plain functions."""
    fake = settings.FAKE_PROVIDER
    inner = wsgi_transport_class("httpx2")(fake.wsgi) if fake else None
    return openai.OpenAI(http_client=httpx2.Client(transport=GatewayTransport(inner, config=settings.AIGW)), **_place())


@cache
def async_client() -> openai.AsyncOpenAI:
    """For views that are coroutines."""
    fake = settings.FAKE_PROVIDER
    inner = asgi_transport_class("httpx2")(fake) if fake else None
    transport = AsyncGatewayTransport(inner, config=settings.AIGW)
    return openai.AsyncOpenAI(http_client=httpx2.AsyncClient(transport=transport), **_place())


def _place() -> dict[str, Any]:
    return {"base_url": "http://provider/v1", "api_key": "none"} if settings.FAKE_PROVIDER else {}
