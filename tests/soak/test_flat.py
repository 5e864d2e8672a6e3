"""Minutes of load: memory stays where it was."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import pytest

from aigw_middleware import Gateway
from aigw_middleware.testing import asgi_exchange

REQUESTS = 100_000
RELOADS = 1_000
WARM_UP = 5_000
ALLOWED_KILOBYTES = 4_096  # the allocator's own ups and downs


async def app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"choices": []}'})


def config(number: int) -> dict[str, Any]:
    return {
        "plugins": [
            {"name": "cors"},
            {"name": "model-mapper", "config": {"model_mapping": {"a": f"b{number}"}}},
            {
                "name": "key-rate-limit",
                "config": {"limit_by_header": "x", "limit_keys": [{"key": "*", "query_per_second": 9}]},
            },
            {"name": "ai-statistics"},
        ]
    }


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.soak
def test_memory_is_flat_over_requests_and_reloads() -> None:
    async def run() -> None:
        gateway = Gateway(app, config(0))

        async def exchanges(count: int) -> None:
            for number in range(count):
                headers = [(b"content-type", b"application/json"), (b"x", b"%d" % (number % 100))]
                body = [b'{"model": "a", "messages": []}']
                await asgi_exchange(gateway, method="POST", path="/v1/chat/completions", headers=headers, body=body)

        def reloads(count: int) -> None:
            for number in range(count):
                gateway.core.source._given = config(number)
                gateway.reload()

        await exchanges(WARM_UP)
        reloads(RELOADS // 20)
        before = resident()
        await exchanges(REQUESTS)
        for _ in range(RELOADS // 10):
            reloads(10)
            await exchanges(1)
        assert resident() - before <= ALLOWED_KILOBYTES
        await gateway.aclose()

    asyncio.run(run())
