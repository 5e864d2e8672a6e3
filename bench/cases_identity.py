"""Identity and the edge: what one verdict costs, on headers that are there already, without the gateway around it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aigw_middleware.consumers import Consumer
from aigw_middleware.exchange import Exchange, Request
from aigw_middleware.headers import Headers
from aigw_middleware.hosts.asgi import Gateway
from aigw_middleware.plugin import Plugin
from aigw_middleware.snapshot import ANY_ROUTE

from .apps import chat
from .exchange import CLIENT, chat_body, headers
from .measure import Case, Lab
from .stack import digest, sketch, token
from .table import Row, Section, Target

CONSUMERS = (1_000, 1_000_000)
NETWORKS = (1_000, 100_000)
TOKENS = 64
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.{} Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_{} like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (compatible; Googlebot/2.{}; +http://www.google.com/bot.html)",
    "python-requests/2.32.{}",
)


def _exchanges(plugin: Plugin[Any] | None, gateway: Gateway, fields: Sequence[tuple[bytes, bytes]]) -> Case:
    """Return a case of new exchanges with these headers, and one hook of one plug-in on each."""
    hook = (plugin or sketch("nothing", ("on_request",))).on_request
    runtime = gateway.core.runtime(asyncio.get_running_loop())
    snapshot = gateway.core.snapshot

    async def case(count: int) -> None:
        for _ in range(count):
            exchange = Exchange()
            exchange.snapshot, exchange.runtime, exchange.ports = snapshot, runtime, runtime.ports
            exchange.route = ANY_ROUTE
            exchange.client = CLIENT
            request = exchange.request = Request()
            request.headers = Headers(list(fields), owned=True)
            request.headers.index  # noqa: B018 - somebody has always asked already
            hook(exchange)

    return case


def _calls(function: Callable[[Any], object], values: Iterable[Any]) -> Case:
    """Return a case of calls with one value after the other, over and over."""
    endless = itertools.cycle(list(values))

    async def case(count: int) -> None:
        for value in itertools.islice(endless, count):
            function(value)

    return case


def _plugin(gateway: Gateway) -> Any:
    (plugin,) = gateway.core.snapshot.plugins
    return plugin


def _gateway(name: str, config: dict[str, Any]) -> Gateway:
    return Gateway(chat, {"plugins": [{"name": name, "config": config}]})


async def tokens(lab: Lab) -> Section:
    """JWT: a token that is known, one that is not, and joserfc alone."""
    from joserfc import jwt
    from joserfc.jwk import OctKey

    from .stack import PLACES

    config = next(place.config() for place in PLACES if place.name == "jwt-auth")
    fields = headers(chat_body(), token=token())
    gateway = _gateway("jwt-auth", config)
    plugin = _plugin(gateway)
    exchange = Exchange()
    exchange.snapshot = gateway.core.snapshot
    exchange.runtime = gateway.core.runtime(asyncio.get_running_loop())
    exchange.ports = exchange.runtime.ports
    known, judge = plugin._known, plugin._verifier.judge
    text = token().encode()
    key = OctKey.import_key({"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"})
    now = time.time()
    readings = await lab.compare(
        {
            "call": _calls(lambda _: None, [text]),
            "warm": _calls(lambda value: known(value, exchange, now), [text]),
            "cold": _calls(lambda value: judge(value, exchange, now, last=True), [text]),
            "joserfc": _calls(lambda value: jwt.decode(value, key, algorithms=["HS256"]), [text]),
            "nothing": _exchanges(None, gateway, fields),
            "hook": _exchanges(plugin, gateway, fields),
        }
    )
    cold, alone = readings.added("cold", "call"), readings.added("joserfc", "call")
    return Section(
        "tokens",
        "jwt-auth, HS256: one verdict",
        [
            Row.added(readings, "a token that is known", "warm", over="call").within("1 µs", 1.0),
            Row.added(readings, "a token that is not", "cold", over="call"),
            Row.added(readings, "joserfc alone", "joserfc", over="call"),
            Row(
                "not known, in parts of joserfc alone",
                cold / alone,
                unit="x",
                target=Target("x 1.1", 1.1, cold / alone),
            ),
            Row.added(readings, "the whole hook, known, with the headers it sets", "hook", over="nothing"),
        ],
    )


async def keys(lab: Lab) -> Section:
    """API keys: finding whose a key is, the hash of it included."""
    cases: dict[str, Case] = {"call": _calls(lambda _: None, [b""])}
    sizes = lab.effort.sizes(CONSUMERS)
    for count in sizes:
        names = [f"consumer-{number}" for number in range(count)]
        consumers = [{"name": name, "credential": digest(f"the-key-of-{name}")} for name in names]
        plugin = _plugin(_gateway("key-auth", {"keys": ["x-api-key"], "consumers": consumers}))
        ((kind, _, tables),) = [place for place in plugin._places if place[1] == b"x-api-key" and place[0] == 0]
        asked = [f"the-key-of-{names[number * 7919 % count]}".encode() for number in range(64)]
        find = plugin._find

        def look(value: bytes, find: Any = find, kind: Any = kind, tables: Any = tables) -> Consumer | None:
            return find(value, kind, tables)  # type: ignore[no-any-return]

        cases[f"{count}"] = _calls(look, asked)
    readings = await lab.compare(cases)
    rows = [Row.added(readings, f"among {count:,}", f"{count}", over="call") for count in sizes]
    rows[-1] = rows[-1].within("1.5 µs", 1.5)
    return Section("api-keys", "key-auth: one look-up, by the number of consumers with a key each", rows)


async def edge(lab: Lab) -> Section:
    """Addresses and programs: one verdict each."""
    fields = headers(chat_body())
    cases: dict[str, Case] = {}
    sizes = lab.effort.sizes(NETWORKS)
    gateway = _gateway("ip-restriction", {"deny": ["198.51.100.0/24"]})
    cases["nothing"] = _exchanges(None, gateway, fields)
    for count in sizes:
        denied = [f"{11 + number // 65_536}.{number // 256 % 256}.{number % 256}.0/24" for number in range(count)]
        made = _gateway("ip-restriction", {"deny": denied})
        cases[f"networks {count}"] = _exchanges(_plugin(made), made, fields)
    readings = await lab.compare(cases)
    bots = _gateway("bot-detect", {})
    bot = _plugin(bots)
    agents = [agent.format(number).encode() for number in range(50) for agent in AGENTS]
    programs = await lab.compare(
        {
            "nothing": _exchanges(None, bots, fields),
            "warm": _exchanges(bot, bots, fields),
            "call": _calls(lambda _: None, [b""]),
            "cold": _calls(bot._look, agents),
        }
    )
    networks = [
        Row.added(readings, f"ip-restriction, {count:,} networks", f"networks {count}", over="nothing")
        for count in sizes
    ]
    networks[-1] = networks[-1].within("1 µs", 1.0)
    return Section(
        "edge",
        "where from, and what program: one verdict",
        [
            *networks,
            Row.added(programs, "bot-detect, a User-Agent seen before", "warm", over="nothing").within("0.2 µs", 0.2),
            Row.added(programs, "bot-detect, another one each time", "cold", over="call").within("5 µs", 5.0),
        ],
    )
