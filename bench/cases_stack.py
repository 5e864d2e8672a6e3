"""The whole stack: what it adds to a request (P1), what a refusal costs (P4), the same on WSGI (P8), and what is in it."""

from __future__ import annotations

from dataclasses import replace

from aigw_middleware.hosts.asgi import Gateway
from aigw_middleware.hosts.wsgi import WSGIGateway

from . import peers
from .apps import chat, wsgi_chat, wsgi_streamed_chat
from .exchange import asgi_case, chat_body, environ, expect, headers, scope, wsgi_case
from .measure import BARE, PEER, PEER_BARE, Lab
from .stack import ai_stack, built, token
from .table import Row, Section, Target

EVENTS = 200


async def stack(lab: Lab) -> Section:
    """P1: twelve plug-ins, a body of 1 kB."""
    body = chat_body()
    request = scope(headers(body, token=token()))
    made = ai_stack()
    gateway = Gateway(chat, made.config, made.plugins)
    await expect(gateway, request, body)
    limited, limited_request = peers.limited(chat, request, pure=True)
    readings = await lab.compare(
        {
            BARE: asgi_case(chat, request, body),
            **peers.yardstick(request, body),
            "stack": asgi_case(gateway, request, body),
            "one": asgi_case(peers.passing(chat), request, body),
            "ten": asgi_case(peers.passing(chat, 10), request, body),
            "slowapi": asgi_case(limited, limited_request, body),
        }
    )
    return Section(
        "P1",
        "the AI stack of 12 plug-ins around a chat completion of 1 kB",
        [
            Row.whole(readings, "bare application, whole cost", BARE),
            Row.added(readings, "one no-op BaseHTTPMiddleware (BHM), body not read", PEER, over=PEER_BARE),
            Row.added(readings, "one where the service reads the body, as here", "one"),
            Row.added(readings, "ten where it does", "ten"),
            Row.added(readings, "slowapi, SlowAPIASGIMiddleware, one limit", "slowapi"),
            Row.added(readings, "12 plug-ins", "stack").ratio_within("1/10 of one BHM", 0.1),
            Row("in parts of slowapi", readings.ratio("stack", "slowapi", peer_over=BARE), unit="x"),
            Row("in parts of the bare application, with it", readings.quotient("stack", BARE), unit="x"),
        ],
        [made.note],
    )


async def parts(lab: Lab) -> Section:
    """What each plug-in that is built adds: the stack less the stack without it."""
    body = chat_body()
    request = scope(headers(body, token=token()))
    made = ai_stack()
    cases = {
        BARE: asgi_case(chat, request, body),
        **peers.yardstick(request, body),
        "stack": asgi_case(Gateway(chat, made.config, made.plugins), request, body),
    }
    for name in built():
        rest = ai_stack(without=name)
        cases[name] = asgi_case(Gateway(chat, rest.config, rest.plugins), request, body)
    readings = await lab.compare(cases, scale=2.0)
    rows = [replace(Row.added(readings, f"of that {name}", "stack", over=name), least=None) for name in built()]
    return Section(
        "parts",
        "what each plug-in of the stack takes: the stack less the stack without it",
        [Row.added(readings, "12 plug-ins", "stack"), *rows],
        [made.note],
    )


async def refusal(lab: Lab) -> Section:
    """P4: a caller without a key or a token, refused on its headers."""
    body = chat_body()
    request = scope(headers(body, key=""))
    made = ai_stack()
    gateway = Gateway(chat, made.config, made.plugins)
    peer = peers.Refusing(chat)
    alone = Gateway(chat, {"plugins": [entry for entry in made.config["plugins"] if entry["name"] == "key-auth"]})
    for app in (gateway, peer, alone):
        await expect(app, request, body, 401)
    readings = await lab.compare(
        {
            "peer": asgi_case(peer, request, body),
            "stack": asgi_case(gateway, request, body),
            "alone": asgi_case(alone, request, body),
        }
    )
    return Section(
        "P4",
        "a refusal before the body is read: 401 of key-auth",
        [
            Row.whole(readings, "BaseHTTPMiddleware that answers 401", "peer", peer="peer"),
            Row.whole(readings, "key-auth among 12 plug-ins", "stack", peer="peer").ratio_within(
                "1/4 of a BHM's 401", 0.25
            ),
            Row.whole(readings, "key-auth alone", "alone", peer="peer"),
        ],
        ["whole cost: the application is not called; the ratio is to the BaseHTTPMiddleware that refuses", made.note],
    )


async def wsgi(lab: Lab) -> Section:
    """P8: the same stack on WSGI."""
    body = chat_body()
    fields = headers(body, token=token())
    request, native = scope(fields), environ(fields)
    made = ai_stack()
    short, long = wsgi_streamed_chat(0), wsgi_streamed_chat(EVENTS)
    readings = await lab.compare(
        {
            BARE: asgi_case(chat, request, body),
            **peers.yardstick(request, body),
            "asgi": asgi_case(Gateway(chat, made.config, made.plugins), request, body),
            "bare wsgi": wsgi_case(wsgi_chat, native, body),
            "wsgi": wsgi_case(WSGIGateway(wsgi_chat, made.config, made.plugins), native, body),
            "nothing": wsgi_case(WSGIGateway(wsgi_chat), native, body),
            "bare short": wsgi_case(short, native, body),
            "bare long": wsgi_case(long, native, body),
            "short": wsgi_case(WSGIGateway(short, made.config, made.plugins), native, body),
            "long": wsgi_case(WSGIGateway(long, made.config, made.plugins), native, body),
        }
    )
    events = readings.slopes({BARE: ("bare long", "bare short", EVENTS), "stack": ("long", "short", EVENTS)})
    factor = readings.growth("wsgi", "asgi", over_large="bare wsgi")
    return Section(
        "P8",
        "WSGI: the same stack, and its cost in parts of that on ASGI",
        [
            Row.added(readings, "12 plug-ins on ASGI", "asgi"),
            Row.added(readings, "12 plug-ins on WSGI", "wsgi", over="bare wsgi"),
            Row("WSGI in parts of ASGI", factor, unit="x", target=Target("ASGI x 1.3", 1.3, factor)),
            Row.added(readings, "nothing enabled on WSGI", "nothing", over="bare wsgi"),
            Row.added(events, "each event of a stream, 12 plug-ins on WSGI", "stack"),
        ],
        [made.note],
    )
