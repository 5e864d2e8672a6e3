"""The same call to the fake provider in every dialect, whole or streamed."""

import json
from typing import Any

import pytest

from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import Scripted
from aigw_middleware.testing.wsgi import WsgiExchange, wsgi_exchange

MESSAGES = [{"role": "user", "content": "Hi there."}]
TOOLS = [{"type": "function", "name": "f", "parameters": {}}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": MESSAGES, "tools": TOOLS},
    "/v1/completions": {"model": "m", "prompt": "Hi there."},
    "/v1/responses": {"model": "m", "input": "Hi there.", "tools": TOOLS},
    "/v1/messages": {"model": "m", "messages": MESSAGES, "tools": TOOLS, "max_tokens": 10_000},
    "/v1beta/models/m:generateContent": {"contents": [{"parts": [{"text": "Hi there."}]}], "tools": TOOLS},
}
LIMITS = {"/v1/responses": "max_output_tokens"}
EVERYWHERE = pytest.mark.parametrize("path", BODIES)


def ask(scripted: Scripted, path: str, *, stream: bool, limit: int | None = None, clock: Any = None) -> WsgiExchange:
    """One call to a provider of its own, so that ids are alike."""
    body = dict(BODIES[path])
    if "contents" in body:
        path = path.replace("generateContent", "streamGenerateContent") + "?alt=sse" if stream else path
        body |= {} if limit is None else {"generationConfig": {"maxOutputTokens": limit}}
    else:
        body |= {"stream": stream, "stream_options": {"include_usage": True}}
        body |= {} if limit is None else {LIMITS.get(path, "max_tokens"): limit}
    provider = FakeProvider([scripted], clock=clock or VirtualClock(1_700_000_000))
    headers = [("anthropic-version", "2023-06-01")]
    return wsgi_exchange(provider.wsgi, "POST", path, headers=headers, body=[json.dumps(body).encode()])


def events(body: bytes) -> list[Any]:
    """The data of all events, whatever their line ends; what is no JSON as text."""
    blocks = body.decode("utf-8-sig").replace("\r\n", "\n").split("\n\n")
    data = [line.removeprefix("data: ") for block in blocks for line in block.split("\n") if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]
