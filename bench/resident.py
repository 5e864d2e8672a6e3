"""How a process grows: `python -m bench.resident REQUESTS RELOADS` prints two numbers of kB, as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from pathlib import Path

from aigw_middleware.hosts.asgi import Gateway

from .apps import chat
from .exchange import asgi_case, chat_body, expect, headers, scope
from .measure import resident
from .stack import Stack, ai_stack, key_consumers, token


async def of_requests(made: Stack, count: int) -> int:
    """Return by how many kB the process grows over `count` requests."""
    body = chat_body()
    request = scope(headers(body, token=token()))
    gateway = Gateway(chat, made.config, made.plugins)
    await expect(gateway, request, body)
    case = asgi_case(gateway, request, body)
    await case(max(1, count // 10))
    before = resident()
    for _ in range(10):
        await case(count // 10)
        await asyncio.sleep(0)
    return resident() - before


async def of_reloads(made: Stack, other: Stack, count: int) -> int:
    """Return by how many kB the process grows over `count` reloads of two configurations in turn, a request after each."""
    body = chat_body()
    request = scope(headers(body, token=token()))
    texts = [json.dumps({**stack.config, "reload_interval": 0}) for stack in (made, other)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aigw.json"
        path.write_text(texts[0])
        gateway = Gateway(chat, path, made.plugins)
        case = asgi_case(gateway, request, body)

        async def reload(times: int) -> None:
            for number in range(times):
                path.write_text(texts[(number + 1) % 2])
                gateway.reload()
                await case(1)

        await reload(max(10, count // 10))
        before = resident()
        await reload(count)
        grown = resident() - before
        await expect(gateway, request, body)
    return grown


async def main() -> None:
    """Measure both."""
    requests, reloads = map(int, sys.argv[1:])
    made = ai_stack(overrides={"key-auth": {"consumers": key_consumers(10)}})
    other = ai_stack(overrides={"key-auth": {"consumers": key_consumers(11)}})
    print(json.dumps([await of_requests(made, requests), await of_reloads(made, other, reloads)]))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    asyncio.run(main())
