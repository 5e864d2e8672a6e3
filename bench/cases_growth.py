"""How the cost grows (P5): with consumers, addresses, routes and rules, with the size of the body, with requests at a time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Scope

from aigw_middleware.config.matching import Facts, Match, MatchIndex
from aigw_middleware.exchange import Exchange
from aigw_middleware.hosts.asgi import Gateway
from aigw_middleware.plugin import Plugin, PluginConfig
from aigw_middleware.registry import Registry
from aigw_middleware.snapshot import MAX_KNOWN

from . import peers
from .apps import chat, unread_chat, yielding_chat
from .exchange import PROXY, Receive, asgi_case, chat_body, concurrent_case, drop, expect, headers, scope
from .measure import BARE, Case, Lab, Readings, resident
from .stack import ai_stack, digest, sketch, token
from .table import Row, Section, Target

CONSUMERS = (10, 1_000, 100_000, 1_000_000)
ADDRESSES = (10, 1_000, 10_000, 100_000)
ROUTES = (1, 100, 1_000, 10_000)
BODIES = (1_000, 10_000, 100_000, 1_000_000)
TASKS = (1, 10, 100, 500)
CALLERS = 64
GROWTH = 2.5


class Nothing(Plugin[PluginConfig]):
    """Does nothing; for rules to choose from."""

    name = "nothing"

    def on_request(self, exchange: Exchange) -> None:
        return None


class Address(Plugin[PluginConfig]):
    """Asks for the caller's address."""

    name = "address"

    def on_request(self, exchange: Exchange) -> None:
        assert exchange.client is not None


async def consumers(lab: Lab) -> Section:
    """P5: key-auth, by the number of keys."""
    sizes = lab.effort.sizes(CONSUMERS)
    body = chat_body()
    request = scope(headers(body))
    cases: dict[str, Case] = {BARE: asgi_case(chat, request, body), **peers.yardstick(request, body)}
    taken = 0.0
    for size in sizes:
        lab.progress(f"building {size:,} consumers")
        entries = [
            {"name": f"c{number}", "credential": digest(f"key-of-consumer-{number:07}")} for number in range(size)
        ]
        config = {"plugins": [{"name": "key-auth", "config": {"keys": ["x-api-key"], "consumers": entries}}]}
        before = resident()
        gateway = Gateway(chat, config)
        taken = (resident() - before) * 1_024 / size
        step = max(1, size // CALLERS)
        callers = [scope(headers(body, key=f"key-of-consumer-{number:07}")) for number in range(0, size, step)]
        await expect(gateway, callers[-1], body)
        cases[f"{size}"] = asgi_case(gateway, callers, body)
    readings = await lab.compare(cases)
    rows = _growth(readings, sizes, "consumers")
    rows.append(Row(f"resident memory of each of {sizes[-1]:,}", taken, unit="B"))
    return Section(
        "consumers", f"P5: key-auth by the number of consumers with a key each, {CALLERS} of them calling", rows
    )


async def addresses(lab: Lab) -> Section:
    """P5: the caller's address behind trusted proxies, by the number of CIDRs."""
    sizes = lab.effort.sizes(ADDRESSES)
    body = chat_body()
    request = scope(headers(body))
    cases: dict[str, Case] = {BARE: asgi_case(chat, request, body), **peers.yardstick(request, body)}
    for size in sizes:
        networks = [f"{100 + number // 65_536}.{number // 256 % 256}.{number % 256}.0/24" for number in range(size - 1)]
        config = {"trusted_proxies": [*networks, f"{PROXY}/32"]}
        cases[f"{size}"] = asgi_case(Gateway(chat, config, [Address()]), request, body)
    readings = await lab.compare(cases)
    return Section(
        "addresses", "P5: the caller's address by the number of trusted CIDRs", _growth(readings, sizes, "CIDRs")
    )


async def routes(lab: Lab) -> Section:
    """P5: finding the route of a request, and the rule of a plug-in, by their number."""
    sizes = lab.effort.sizes(ROUTES)
    most = sizes[-1]
    body = chat_body()
    registry = Registry()
    registry.register(Nothing)
    request = scope(headers(body), "/tenant-0/v1/chat/completions")
    without = Gateway(chat, {"plugins": [{"name": "nothing"}]}, registry=registry)
    other = [scope(headers(body), f"/tenant-{most - 1}/v1/chat/{number:04}-other") for number in range(2 * MAX_KNOWN)]
    cases: dict[str, Case] = {
        BARE: asgi_case(chat, request, body),
        **peers.yardstick(request, body),
        "no routes": asgi_case(without, request, body),
        "no routes, new": _in_turn(without, other, body),
        "alone": _look_up_alone(most),
    }
    for size in sizes:
        paths = [f"/tenant-{number}/v1" for number in range(size)]
        last = scope(headers(body), f"/tenant-{size - 1}/v1/chat/completions")
        named = [{"name": f"r{number}", "path_prefix": path} for number, path in enumerate(paths)]
        rules = [{"match": {"path_prefix": path}, "config": {}} for path in paths]
        config: Mapping[str, Any] = {"routes": named, "plugins": [{"name": "nothing"}]}
        gateway = Gateway(chat, config, registry=registry)
        cases[f"{size}"] = asgi_case(gateway, last, body)
        config = {"plugins": [{"name": "nothing", "rules": rules}]}
        ruled = Gateway(chat, config, registry=registry)
        await expect(
            ruled, last, body
        )  # sets up a plug-in for each rule; it is not to be taken for what a request takes
        cases[f"{size} rules"] = asgi_case(ruled, last, body)
    cases["new"] = _in_turn(gateway, other, body)
    readings = await lab.compare(cases)
    matching = Row.added(
        readings, f"what {most:,} routes add to none, for a path asked before", f"{most}", over="no routes"
    )
    return Section(
        "routes",
        "P5: choosing by path prefix, by the number of routes and of a plug-in's rules",
        [
            Row.added(readings, "no routes", "no routes"),
            *_growth(readings, sizes, "routes"),
            matching.within("1 µs", 1.0),
            Row.added(readings, "the same, for a path never asked before", "new", over="no routes, new"),
            Row.whole(readings, f"one among {most:,} looked up in the index alone", "alone"),
            *_growth(readings, sizes, "rules", " rules"),
        ],
    )


def _in_turn(app: ASGIApp, scopes: Sequence[Scope], body: bytes) -> Case:
    """Return a case that goes on where its last slice ended, so that no request returns while it is remembered."""
    turn = itertools.cycle(scopes)

    async def run(count: int) -> None:
        for _ in range(count):
            await app({**next(turn), "state": {}}, Receive(body), drop)

    return run


def _look_up_alone(size: int) -> Case:
    """Return a case that finds one of so many path prefixes, with no request around it."""
    index = MatchIndex([[Match(path_prefix=(f"/tenant-{number}/v1",)) for number in range(size)]])
    facts = Facts(f"/tenant-{size - 1}/v1/chat/completions", "POST", "", "*", lambda _: None)

    async def run(count: int) -> None:
        for _ in range(count):
            index.choose(facts)

    return run


def _growth(readings: Readings, sizes: Sequence[int], noun: str, suffix: str = "") -> list[Row]:
    """Return a row for each size, and one for the growth from the smallest to the largest."""
    rows = [Row.added(readings, f"{size:,} {noun}", f"{size}{suffix}") for size in sizes]
    least, most = sizes[0], sizes[-1]
    factor = readings.growth(f"{most}{suffix}", f"{least}{suffix}")
    rows.append(
        Row(f"growth from {least:,} to {most:,}", factor, unit="x", target=Target(f"x {GROWTH}", GROWTH, factor))
    )
    return rows


async def bodies(lab: Lab) -> Section:
    """The AI stack by the size of the request's body."""
    sizes = lab.effort.sizes(BODIES)
    made = ai_stack()
    gateway = Gateway(chat, made.config, made.plugins)
    small_body = chat_body()
    cases = peers.yardstick(scope(headers(small_body)), small_body)
    for size in sizes:
        body = chat_body(size)
        request = scope(headers(body, token=token()))
        await expect(gateway, request, body)
        cases[f"bare {size}"] = asgi_case(chat, request, body)
        cases[f"stack {size}"] = asgi_case(gateway, request, body)
    readings = await lab.compare(cases)
    rows = [Row.added(readings, f"{size // 1_000:,} kB", f"stack {size}", over=f"bare {size}") for size in sizes]
    small, large = sizes[0], sizes[-1]
    per_kilobyte = readings.slopes({"each": (f"stack {large}", f"stack {small}", (large - small) // 1_000)})
    rows.append(Row("each further kB", per_kilobyte.median("each"), least=per_kilobyte.least("each")))
    return Section("body", "the AI stack by the size of the request's body", rows, [made.note])


async def concurrent(lab: Lab) -> Section:
    """The AI stack by the number of requests that are served at a time."""
    sizes = lab.effort.sizes(TASKS)
    body = chat_body()
    request = scope(headers(body, token=token()))
    made = ai_stack()
    gateway = Gateway(yielding_chat, made.config, made.plugins)
    apps: dict[str, ASGIApp] = {
        "bare": yielding_chat,
        "stack": gateway,
        "unread": unread_chat,
        "peer": peers.passing(unread_chat),
    }
    cases = {
        f"{name} {tasks}": concurrent_case(app, request, body, tasks)
        for tasks, (name, app) in itertools.product(sizes, apps.items())
    }
    readings = (await lab.compare(cases)).each({name: int(name.split()[1]) for name in cases})
    rows = [
        Row.added(
            readings,
            f"{tasks} at a time",
            f"stack {tasks}",
            over=f"bare {tasks}",
            peer=f"peer {tasks}",
            peer_over=f"unread {tasks}",
        )
        for tasks in sizes
    ]
    return Section("concurrent", "the AI stack by the number of requests at a time, a task each", rows, [made.note])


async def plugins(lab: Lab) -> Section:
    """The pipeline by the number of plug-ins and by what they do."""
    body = chat_body()
    request = scope(headers(body, token=token()))
    shapes: dict[str, tuple[str, ...]] = {
        "on_request": ("on_request",),
        "on_request and on_response": ("on_request", "on_response"),
        "on_request, on_response and on_complete": ("on_request", "on_response", "on_complete"),
        "on_request and on_request_body": ("on_request", "on_request_body"),
        "all of these and on_response_body": (
            "on_request",
            "on_request_body",
            "on_response",
            "on_response_body",
            "on_complete",
        ),
    }
    counts = (1, 12, 50)
    cases: dict[str, Case] = {BARE: asgi_case(chat, request, body), **peers.yardstick(request, body)}
    for (what, hooks), count in itertools.product(shapes.items(), counts):
        made = [sketch(f"no-op-{number}", hooks, priority=number) for number in range(count)]
        cases[f"{count} {what}"] = asgi_case(Gateway(chat, plugins=made), request, body)
    readings = await lab.compare(cases)
    rows = [
        Row.added(readings, f"{count} with {what}", f"{count} {what}")
        for what, count in itertools.product(shapes, counts)
    ]
    return Section("plugins", "plug-ins that do nothing, by their number and hooks", rows)
