"""The price of the gateway itself (P2), and single middlewares beside what users would pick instead."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware

from aigw_middleware.hosts.asgi import Gateway

from . import peers
from .apps import chat
from .exchange import ORIGIN, asgi_case, chat_body, headers, scope
from .measure import BARE, PEER, PEER_BARE, Lab
from .stack import digest, sketch
from .table import Row, Section, Target

COUNTS = (0, 6, 12, 50)
_ALL_HOOKS = ("on_request", "on_response", "on_complete")


async def nothing(lab: Lab) -> Section:
    """P2: a gateway with nothing enabled, then with plug-ins that do nothing."""
    body = chat_body()
    request = scope(headers(body))
    cases = {BARE: asgi_case(chat, request, body), **peers.yardstick(request, body)}
    for count in COUNTS:
        plugins = [sketch(f"no-op-{number}", ("on_request",), priority=number) for number in range(count)]
        cases[f"{count}"] = asgi_case(Gateway(chat, plugins=plugins), request, body)
    full = [sketch(f"no-op-{number}", _ALL_HOOKS, priority=number) for number in range(12)]
    cases["full"] = asgi_case(Gateway(chat, plugins=full), request, body)
    readings = await lab.compare(cases)
    most = COUNTS[-1]
    slope = readings.slopes({BARE: (BARE, BARE, 1), "each": (f"{most}", "0", most)})
    factor = readings.growth(f"{most}", "0")
    rows = [Row.added(readings, f"{count} no-op plug-ins", f"{count}") for count in COUNTS[1:]]
    return Section(
        "P2",
        "the gateway itself: plug-ins with on_request that do nothing",
        [
            Row.added(readings, "nothing enabled", "0").within("3 µs", 3.0),
            *rows,
            Row.added(slope, f"each further one, over 0 to {most}", "each").within("0.1 µs", 0.1),
            Row(f"{most} in parts of none", factor, unit="x", target=Target("x 2.5", 2.5, factor)),
            Row.added(readings, "12 that watch the answer and the end too", "full"),
        ],
    )


async def beside(lab: Lab) -> Section:
    """Single middlewares and plug-ins against what users would pick instead."""
    body = chat_body()
    request = scope(headers(body))
    pure, pure_scope = peers.limited(chat, request, pure=True)
    based, based_scope = peers.limited(chat, request, pure=False)
    starlette_cors = CORSMiddleware(
        chat, allow_origins=[ORIGIN], allow_credentials=True, expose_headers=["X-Request-Id"]
    )
    cors = {"allow_origins": [ORIGIN], "allow_credentials": True, "expose_headers": ["X-Request-Id"]}
    key = request_key(request["headers"])
    key_auth = {"keys": ["x-api-key"], "consumers": [{"name": "caller", "credential": digest(key)}]}
    limit = {"limit_by_consumer": "", "limit_keys": [{"key": "*", "query_per_minute": 1_000_000_000}]}

    def gateway(*names: str) -> Gateway:
        configs = {"cors": cors, "key-auth": key_auth, "key-rate-limit": limit}
        return Gateway(chat, {"plugins": [{"name": name, "config": configs[name]} for name in names]})

    readings = await lab.compare(
        {
            BARE: asgi_case(chat, request, body),
            **peers.yardstick(request, body),
            "slowapi": asgi_case(based, based_scope, body),
            "slowapi pure": asgi_case(pure, pure_scope, body),
            "starlette cors": asgi_case(starlette_cors, request, body),
            "nothing": asgi_case(Gateway(chat), request, body),
            "cors": asgi_case(gateway("cors"), request, body),
            "key-auth": asgi_case(gateway("key-auth"), request, body),
            "limit": asgi_case(gateway("key-auth", "key-rate-limit"), request, body),
        }
    )
    return Section(
        "peers",
        "single middlewares, ours beside others",
        [
            Row.whole(readings, "bare application, whole cost", BARE),
            Row.added(readings, "one no-op BaseHTTPMiddleware (BHM), body not read", PEER, over=PEER_BARE),
            Row.added(readings, "slowapi, SlowAPIMiddleware, one limit", "slowapi"),
            Row.added(readings, "slowapi, SlowAPIASGIMiddleware, one limit", "slowapi pure"),
            Row.added(readings, "ours: key-auth and key-rate-limit, one limit", "limit"),
            Row.added(readings, "Starlette's CORSMiddleware", "starlette cors"),
            Row.added(readings, "ours: cors", "cors"),
            Row.added(readings, "ours: key-auth", "key-auth"),
            Row.added(readings, "ours: nothing enabled", "nothing"),
        ],
    )


def request_key(fields: list[tuple[bytes, bytes]]) -> str:
    """Return the API key that a request carries."""
    return dict(fields)[b"x-api-key"].decode()
