"""What a host cannot express: where one exchange does not give the same transcript everywhere, and why.

The host matrix asks for equal transcripts. Each row here is an exception, shown by its script, or, where a script has no
words for it, by a test of its own. The documentation prints this table; a row is added only when the host's own protocol
leaves no other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..exchange import Exchange, Reply
from ..plugin import Plugin, PluginConfig
from .matrix import INBOUND_HOSTS, OUTBOUND_HOSTS, Script, Scripted

CGI = ("wsgi", "django", "django-async")
"""Hosts that see a request through the variables of the Common Gateway Interface (RFC 3875, section 4.1.18)."""
DJANGO = ("django", "django-async")
SYNCHRONOUS = ("wsgi", "django", "httpx", "httpx2")
PULLING = tuple(host for host in (*INBOUND_HOSTS, *OUTBOUND_HOSTS) if host != "asgi")
"""Hosts that ask for each piece of the response, rather than being sent it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that some hosts do in another way than ASGI."""

    hosts: tuple[str, ...]
    """Those that differ, by their names in the matrix."""
    where: str
    """The same in words."""
    scenario: str
    difference: str
    why: str
    script: Script | None = None
    """An exchange whose transcript differs on these hosts and on no other. None: a test of its own shows it."""
    plugins: Callable[[], Sequence[Plugin[Any]]] = list


class RepeatsFields(Plugin[PluginConfig]):
    """Answers with a field that occurs twice."""

    name = "repeats-fields"

    def on_request(self, exchange: Exchange) -> Reply:
        return Reply(200, [("x-part", "1"), ("x-part", "2")], b"repeated")


class RepeatsCookies(Plugin[PluginConfig]):
    """Answers with two cookies of one name, for two paths."""

    name = "repeats-cookies"

    def on_request(self, exchange: Exchange) -> Reply:
        return Reply(200, [("set-cookie", "seen=1; Path=/one"), ("set-cookie", "seen=1; Path=/two")], b"repeated")


class WaitsForTheLoop(Plugin[PluginConfig]):
    """Waits for something that is no port."""

    name, on_failure = "waits-for-the-loop", "deny"

    async def on_request(self, exchange: Exchange) -> None:
        await asyncio.sleep(0)


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        CGI,
        "WSGI, Django",
        "A request header occurs twice.",
        "Plug-ins and the service see one value, joined by a comma.",
        "CGI has one variable per name, and the server joined them before the gateway runs.",
        Script(headers=[("x-part", "1"), ("x-part", "2")]),
    ),
    Difference(
        CGI,
        "WSGI, Django",
        "`Cookie` comes in several lines, as HTTP/2 allows.",
        "They are one line, joined by a semicolon.",
        "The same; RFC 9113, section 8.2.3, names the separator.",
        Script(headers=[("cookie", "one=1"), ("cookie", "two=2")]),
    ),
    Difference(
        CGI,
        "WSGI, Django",
        "A request header is spelled with `_`.",
        "It is the one spelled with `-`.",
        "CGI turns both into the same variable. Headers that carry identity are removed in every spelling.",
        Script(headers=[("x_part", "1"), ("x-part", "2")]),
    ),
    Difference(
        DJANGO,
        "Django",
        "A plug-in's answer has a header twice.",
        "It is sent once, its values joined by a comma. `Set-Cookie` is not concerned.",
        "A Django response keeps one value per name.",
        Script(),
        lambda: [RepeatsFields()],
    ),
    Difference(
        DJANGO,
        "Django",
        "A plug-in's answer sets two cookies of one name for different paths.",
        "The last one is sent.",
        "A Django response keeps one cookie per name.",
        Script(),
        lambda: [RepeatsCookies()],
    ),
    Difference(
        DJANGO,
        "Django on WSGI",
        "A request's body has no length, and no plug-in reads it.",
        "The view sees an empty body. Where a plug-in reads the body, the view sees it too.",
        "Without a `Content-Length` Django reads nothing; the gateway asks the server where the body ends.",
        Script(method="POST", body=[b"one", b"two"], chunked=True),
    ),
    Difference(
        DJANGO,
        "Django",
        "A view raises.",
        "`on_error` is not called; the 500 page passes the response hooks, and the outcome is `completed`.",
        "Django turns exceptions into responses between any two layers, so no middleware sees one.",
    ),
    Difference(
        OUTBOUND_HOSTS,
        "client transports",
        "The inner transport raises before the response started, and no `on_error` answers.",
        "The exception reaches the caller, where a service is answered with a 500.",
        "A client library and its retries expect a connection error, not a response that nobody sent.",
        Script(answer=Scripted(fails_before=True)),
    ),
    Difference(
        ("asgi",),
        "ASGI",
        "The service raises before its response started.",
        "The 500 is sent, and the exception goes on to the server.",
        "Servers and outer middleware log it there. WSGI has one way to say so, and there it is logged.",
    ),
    Difference(
        ("asgi",),
        "ASGI",
        "A response is streamed.",
        "An empty last message follows the last piece.",
        "ASGI marks the end with a message; the others end their iteration.",
    ),
    Difference(
        SYNCHRONOUS,
        "WSGI, Django and client transports, synchronous",
        "A hook waits for something that is no port.",
        "The plug-in has failed, and its `on_failure` decides. With `asyncio_only` it is refused at start-up.",
        "There is no event loop to wait in.",
        Script(),
        lambda: [WaitsForTheLoop()],
    ),
    Difference(
        SYNCHRONOUS,
        "WSGI, Django and client transports, synchronous",
        "A deadline passes while the service or the provider works.",
        "It is noticed when that call returns, not when it passes.",
        "A blocking call cannot be interrupted: deadlines are checked before and after each one.",
    ),
    Difference(
        PULLING,
        "every host but ASGI",
        "The client leaves in the middle of an LLM stream; `on_disconnect: drain`.",
        "The answer is cut off, as with `cancel`.",
        "The reader closes the iteration, and nobody is left to read the rest.",
    ),
    Difference(
        ("wsgi", "django"),
        "WSGI, Django on WSGI",
        "A path has an encoded slash, and the server passes no `RAW_URI` or `REQUEST_URI`.",
        "The path is not refused as ambiguous: it is read as the service reads it.",
        "`PATH_INFO` is decoded, so that the slash looks like any other.",
    ),
    Difference(
        OUTBOUND_HOSTS,
        "client transports",
        "A plug-in asks for the caller's address.",
        "`exchange.client` is None.",
        "The call begins here. Who asked for it is `exchange.consumer`.",
    ),
)
"""The whole table; a test holds it to its length."""
