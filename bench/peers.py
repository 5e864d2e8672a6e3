"""What a user would put in place of the gateway, in the same run."""

from __future__ import annotations

from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from .apps import unread_chat
from .exchange import PATH, asgi_case
from .measure import PEER, PEER_BARE, Case

_ENOUGH = "1000000000/minute"


class Passing(BaseHTTPMiddleware):
    """A BaseHTTPMiddleware that does nothing."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


class Refusing(BaseHTTPMiddleware):
    """A BaseHTTPMiddleware that answers 401 and calls nobody."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if request.headers.get("x-api-key") is None:
            return JSONResponse({"detail": "Not authenticated"}, 401, {"www-authenticate": "Key"})
        return await call_next(request)


def passing(app: ASGIApp, layers: int = 1) -> ASGIApp:
    """Return the application behind so many middlewares that do nothing."""
    for _ in range(layers):
        app = Passing(app)
    return app


def yardstick(request: Scope, body: bytes) -> dict[str, Case]:
    """Return the cases that everything is measured by: one BaseHTTPMiddleware that does nothing, and what is inside it.

    The application inside does not read the body: reading it through a BaseHTTPMiddleware makes a task more, and the
    yardstick should be the cheapest form of what it stands for.
    """
    return {PEER_BARE: asgi_case(unread_chat, request, body), PEER: asgi_case(Passing(unread_chat), request, body)}


def _endpoint(request: Request) -> Response:
    return Response()


def limited(app: ASGIApp, request: Scope, *, pure: bool) -> tuple[ASGIApp, Scope]:
    """Return the application behind slowapi with a limit nobody reaches, and a scope in which slowapi finds its limiter.

    `pure`: its ASGI middleware, else the one built on BaseHTTPMiddleware.
    """
    host = Starlette(routes=[Route(PATH, _endpoint, methods=["POST"])])
    host.state.limiter = Limiter(key_func=get_remote_address, default_limits=[_ENOUGH])
    middleware = SlowAPIASGIMiddleware(app) if pure else SlowAPIMiddleware(app)
    return middleware, {**request, "app": host}
