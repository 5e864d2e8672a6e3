"""The official SDK over our in-process clients, as the tests of this folder use it."""

from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from aigw_middleware.testing.clients import client, wsgi_client
from aigw_middleware.testing.provider import FakeProvider

MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "How are "}, {"type": "text", "text": "you?"}]},
]
TOOLS: list[ChatCompletionToolParam] = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
]
ECHO = "This is m. You said: How are you?"


def async_sdk(
    provider: FakeProvider, *, max_retries: int = 0, timeout: float = 60, **options: Any
) -> openai.AsyncOpenAI:
    """An async SDK client that checks responses against the SDK's own types."""
    return openai.AsyncOpenAI(
        api_key="k",
        base_url="http://testserver/v1",
        max_retries=max_retries,
        timeout=timeout,
        http_client=client(provider, library="httpx2", **options),
        _strict_response_validation=True,
    )


def sync_sdk(provider: FakeProvider, **options: Any) -> openai.OpenAI:
    """The same without a loop, over WSGI."""
    return openai.OpenAI(
        api_key="k",
        base_url="http://testserver/v1",
        max_retries=0,
        http_client=wsgi_client(provider.wsgi, library="httpx2", **options),
        _strict_response_validation=True,
    )
