"""FastAPI dependencies: who calls, and the exchange that a path operation serves.

    from aigw_middleware.fastapi import CurrentConsumer

    @app.get("/whoami")
    async def whoami(consumer: CurrentConsumer) -> str:
        return consumer.name or "nobody"

They work in HTTP and websocket operations, and in other dependencies.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from .consumers import Consumer
from .exchange import Exchange

__all__ = ["CurrentConsumer", "CurrentExchange"]


# Both are coroutines because FastAPI sends plain functions to a thread.
async def _exchange(connection: HTTPConnection) -> Exchange:
    exchange = getattr(connection.state, "aigw", None)
    if not isinstance(exchange, Exchange):
        raise RuntimeError(
            "no gateway stands around this application: call install(app, config=...) once, after app = FastAPI()"
        )
    return exchange


CurrentExchange = Annotated[Exchange, Depends(_exchange)]
"""The exchange under way, as plug-ins see it. Raises RuntimeError where no gateway stands around the application."""


async def _consumer(exchange: CurrentExchange) -> Consumer:
    return exchange.consumer


CurrentConsumer = Annotated[Consumer, Depends(_consumer)]
"""Who calls; falsy and with an empty name when no plug-in said who it is. Raises RuntimeError as CurrentExchange does."""
