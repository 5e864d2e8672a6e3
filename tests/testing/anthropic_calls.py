"""The official Anthropic SDK over our in-process clients, and the same calls by hand."""

import asyncio
import json
from typing import Any

import anthropic
from anthropic.types import MessageParam

from aigw_middleware.testing.asgi import AsgiExchange, asgi_exchange
from aigw_middleware.testing.clients import client
from aigw_middleware.testing.provider import FakeProvider

MESSAGES: list[MessageParam] = [{"role": "user", "content": [{"type": "text", "text": "How are you?"}]}]
ASKED: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": MESSAGES}
VERSION = ("anthropic-version", "2023-06-01")


def sdk(provider: FakeProvider, **options: Any) -> anthropic.AsyncAnthropic:
    """An async SDK client that checks responses against the SDK's own types."""
    return anthropic.AsyncAnthropic(
        api_key="k",
        base_url="http://testserver",
        max_retries=0,
        http_client=client(provider, library="httpx2", **options),
        _strict_response_validation=True,
    )


def post(provider: FakeProvider, path: str = "/v1/messages", headers: Any = (VERSION,), **body: Any) -> AsgiExchange:
    """One call without the SDK."""
    asked = json.dumps(ASKED | body).encode()
    return asyncio.run(asgi_exchange(provider, "POST", path, headers=list(headers), body=[asked]))
