"""Event streams (P3): what each event costs, by how closely it is looked at, and when the first byte leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from starlette.types import ASGIApp, Message, Scope
from starlette.types import Receive as ReceiveFunction
from starlette.types import Send as SendFunction

from aigw_middleware.hosts.asgi import Gateway
from aigw_middleware.plugin import Needs, Plugin, PluginConfig

from . import peers
from .apps import streamed_chat
from .exchange import Receive, asgi_case, chat_body, expect, headers, scope
from .measure import BARE, PEER, PEER_BARE, Case, Lab
from .stack import Stack, ai_stack, sketch, token
from .table import Row, Section, Target

EVENTS = 200
LENGTHS = (10, 100, 1_000, 2_000)

Around: TypeAlias = Callable[[ASGIApp], ASGIApp]


def _unchanged(self: Plugin[PluginConfig], exchange: Any, text: str, channel: Any) -> None:
    """Look at a text, leave it."""
    if "\0" in text:
        raise ValueError("the service sent a NUL")


def _changed(self: Plugin[PluginConfig], exchange: Any, text: str, channel: Any) -> str | tuple[str, str]:
    """Change every text and hold its last character back, as a filter does that looks for names cut in two."""
    if channel.final:
        return text.upper()
    return text[:-1].upper(), text[-1:]


def _uninspected(app: ASGIApp) -> Gateway:
    hooks = ("on_request", "on_response", "on_complete")
    return Gateway(app, plugins=[sketch(f"no-op-{number}", hooks, priority=number) for number in range(12)])


def _looking(app: ASGIApp, on_text: Any) -> Gateway:
    """Eleven plug-ins that watch the end, one of them usage too, and one that sees every text."""
    plugins = [sketch(f"no-op-{number}", ("on_request", "on_complete"), priority=number) for number in range(10)]
    usage = sketch("usage", ("on_complete",), needs=Needs.USAGE)
    return Gateway(app, plugins=[*plugins, usage, sketch("texts", ("on_text",), needs=Needs.LLM, hook=on_text)])


def _stack(app: ASGIApp, made: Stack) -> Gateway:
    return Gateway(app, made.config, made.plugins)


async def events(lab: Lab) -> Section:
    """P3: the cost of each of 200 events, the fixed cost of the exchange taken off."""
    body = chat_body(stream=True)
    request = scope(headers(body, token=token()))
    made = ai_stack()
    gateways: dict[str, Around] = {
        BARE: lambda app: app,
        PEER: peers.passing,
        "uninspected": _uninspected,
        "inspected": lambda app: _looking(app, _unchanged),
        "changed": lambda app: _looking(app, _changed),
        "stack": lambda app: _stack(app, made),
    }
    short, long = streamed_chat(0), streamed_chat(EVENTS)
    cases: dict[str, Case] = {}
    for name, around in gateways.items():
        await expect(around(long), request, body)
        cases[f"{name} short"] = asgi_case(around(short), request, body)
        cases[f"{name} long"] = asgi_case(around(long), request, body)
    readings = await lab.compare(cases)
    each = readings.slopes({name: (f"{name} long", f"{name} short", EVENTS) for name in gateways})
    each.rounds[PEER_BARE] = each.rounds[BARE]
    begin = readings.slopes({name: (f"{name} short", "bare short", 1) for name in gateways if name != BARE})
    turns = await turns_before_first_byte(gateways["stack"], body)
    peer_turns = await turns_before_first_byte(peers.passing, body)
    return Section(
        "P3",
        f"streams: what each of {EVENTS} events costs",
        [
            Row.whole(each, "bare application, whole cost", BARE),
            Row.added(each, "one no-op BaseHTTPMiddleware (BHM)", PEER),
            Row.added(each, "12 plug-ins, content not inspected", "uninspected").ratio_within("1/25 of one BHM", 0.04),
            Row.added(each, "12 plug-ins, usage and text inspected", "inspected").within("2 µs", 2.0),
            Row.added(each, "12 plug-ins, every text changed and held back", "changed").within("5 µs", 5.0),
            Row.added(each, "the AI stack: usage, deny words", "stack").within("5 µs", 5.0),
            Row("a stream without events, the AI stack", begin.median("stack"), least=begin.least("stack")),
            Row("the same, one BaseHTTPMiddleware", begin.median(PEER), least=begin.least(PEER)),
            Row("loop turns before the first byte, the AI stack", turns, unit="", target=Target("none", 0, turns)),
            Row("the same, one BaseHTTPMiddleware", peer_turns, unit=""),
        ],
        [made.note],
    )


async def lengths(lab: Lab) -> Section:
    """How the cost of an event depends on how many there are."""
    body = chat_body(stream=True)
    request = scope(headers(body, token=token()))
    made = ai_stack()
    cases: dict[str, Case] = {}
    sizes = lab.effort.sizes(LENGTHS)
    for count in sizes:
        app = streamed_chat(count)
        cases[f"bare {count}"] = asgi_case(app, request, body)
        cases[f"peer {count}"] = asgi_case(peers.passing(app), request, body)
        cases[f"stack {count}"] = asgi_case(_stack(app, made), request, body)
    readings = (await lab.compare(cases)).each({name: int(name.split()[1]) for name in cases})
    rows = [
        Row.added(
            readings,
            f"{count:,} events",
            f"stack {count}",
            over=f"bare {count}",
            peer=f"peer {count}",
            peer_over=f"bare {count}",
        )
        for count in sizes
    ]
    return Section("chunks", "the AI stack: added to each event, by the length of the stream", rows, [made.note])


async def turns_before_first_byte(around: Around, body: bytes) -> int:
    """Return how many turns the event loop takes from the service's first piece of body to the server's."""
    loop = asyncio.get_running_loop()
    produced: list[int] = []
    sent: list[int] = []
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not sent:
            loop.call_soon(turn)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            sent.append(turns)

    service = streamed_chat(1)

    async def observed(scope_: Scope, receive: ReceiveFunction, send_: SendFunction) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body":
                produced.append(turns)
            await send_(message)

        await service(scope_, receive, sending)

    loop.call_soon(turn)
    await around(observed)({**scope(headers(body, token=token())), "state": {}}, Receive(body), send)
    return sent[0] - produced[0]
