"""The table of what hosts cannot express: every row is a real difference, on the hosts that it names and on no other."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django.urls import re_path

from aigw_middleware import Exchange, Gateway, Needs, Plugin, PluginConfig, Reply, Stage, WSGIGateway
from aigw_middleware.gateway import Core
from aigw_middleware.hosts.django import GatewayMiddleware
from aigw_middleware.testing import VirtualClock, asgi_exchange, wsgi_exchange
from aigw_middleware.testing.differences import DIFFERENCES, Difference
from aigw_middleware.testing.matrix import HOSTS, Transcript, Watcher, run_everywhere

LENGTH = 15
"""A new row needs more than a new number here: a reason why the host's own protocol leaves no other way."""

SCRIPTED = {row.scenario: row for row in DIFFERENCES if row.script is not None}
WITNESSES: dict[str, Callable[[], None]] = {}
"""Tests of the rows that no script can show, by their scenario."""


def witness(scenario: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register the test of a row."""

    def register(test: Callable[[], None]) -> Callable[[], None]:
        WITNESSES[scenario] = test
        return test

    return register


def test_the_table_keeps_its_length_and_every_row_is_shown() -> None:
    assert len(DIFFERENCES) == LENGTH
    assert {*SCRIPTED, *WITNESSES} == {row.scenario for row in DIFFERENCES}
    assert not SCRIPTED.keys() & WITNESSES.keys()
    for row in DIFFERENCES:
        assert set(row.hosts) < set(HOSTS)
        assert all((row.where, row.difference, row.why))


@pytest.mark.parametrize("scenario", SCRIPTED)
def test_a_scripted_row_differs_where_it_says_and_nowhere_else(scenario: str) -> None:
    row: Difference = SCRIPTED[scenario]
    assert row.script is not None
    transcripts = run_everywhere(row.script, row.plugins)
    reference = transcripts["asgi"]
    assert {host for host in transcripts if transcripts[host] != reference} == set(row.hosts)
    different = {_comparable(transcripts[host]) for host in row.hosts}
    assert len(different) == 1, "hosts of one row differ from each other"


def _comparable(transcript: Transcript) -> str:
    return repr(transcript.as_dict())


@pytest.mark.parametrize("scenario", sorted(row.scenario for row in DIFFERENCES if row.script is None))
def test_a_row_without_a_script_differs_too(scenario: str) -> None:
    WITNESSES[scenario]()


# ---------------------------------------------------------------------- rows that no script can show


async def broken_app(scope: Any, receive: Any, send: Any) -> None:
    raise LookupError("broken")


def broken_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    raise LookupError("broken")


@witness("A view raises.")
def django_turns_exceptions_into_responses_itself() -> None:
    asked: list[str] = []

    class Answers(Plugin[PluginConfig]):
        name = "answers"

        def on_error(self, exchange: Exchange, error: Exception) -> Reply:
            asked.append(type(error).__name__)
            return Reply(503)

        def on_response(self, exchange: Exchange) -> None:
            assert exchange.response is not None
            exchange.response.headers.set("x-passed", "yes")

    watcher = Watcher()
    assert asyncio.run(asgi_exchange(Gateway(broken_app, plugins=[Answers(), watcher]))).status == 503
    assert (asked, watcher.outcomes) == (["LookupError"], ["completed"])

    asked.clear()
    watcher = Watcher()
    response = _through_django([Answers(), watcher], broken_wsgi)
    assert response.status_code == 500
    assert response.headers["x-passed"] == "yes"
    assert (asked, watcher.outcomes) == ([], ["completed"])


def _through_django(plugins: list[Plugin[Any]], view: Callable[..., Any]) -> Any:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], USE_I18N=False, SECRET_KEY="tests")

    class Middleware(GatewayMiddleware):
        def make_core(self) -> Core:
            return Core(None, plugins)

    def respond(request: HttpRequest) -> Any:
        return view(request.META, None)

    urls = ModuleType("urls")
    vars(urls).update(urlpatterns=[re_path("", respond)], handler500=_page)
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[], DEBUG=False, DEBUG_PROPAGATE_EXCEPTIONS=False):
        handler = BaseHandler()
        handler.load_middleware()
        middleware = convert_exception_to_response(Middleware(convert_exception_to_response(handler._get_response)))
        return middleware(RequestFactory().get("/"))


def _page(request: HttpRequest) -> Any:
    return HttpResponse(b"the project's own page", status=500)


@witness("The service raises before its response started.")
def the_server_of_asgi_learns_what_was_raised() -> None:
    pushed = asyncio.run(asgi_exchange(Gateway(broken_app, plugins=[Watcher()])))
    pulled = wsgi_exchange(WSGIGateway(broken_wsgi, plugins=[Watcher()]))
    assert (pushed.status, pulled.status) == (500, 500)
    assert type(pushed.exception) is LookupError
    assert pulled.exception is None


@witness("A response is streamed.")
def the_end_of_a_response_is_a_message_on_asgi() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"

    assert asyncio.run(asgi_exchange(Gateway(app, plugins=[Watcher()]))).chunks == [b"one", b""]
    assert wsgi_exchange(WSGIGateway(wsgi, plugins=[Watcher()])).chunks == [b"one"]


class Deadline(Plugin[PluginConfig]):
    """Waits a thousandth of a second for the first byte."""

    name, stage = "deadline", Stage.ROUTER

    async def on_upstream(self, exchange: Exchange, call: Any) -> Reply | None:
        outcome = await call(first_byte=0.001)
        return Reply(504) if outcome.error is not None else None


@witness("A deadline passes while the service or the provider works.")
def a_blocking_call_ends_before_its_deadline_is_looked_at() -> None:
    clock = VirtualClock()
    finished: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()
        finished.append("asgi")

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        clock.advance(10)
        finished.append("wsgi")
        start_response("200 OK", [])
        return [b"late"]

    assert asyncio.run(asgi_exchange(Gateway(app, plugins=[Deadline()]))).status == 504
    assert wsgi_exchange(WSGIGateway(wsgi, plugins=[Deadline()], clock=clock)).status == 504
    assert finished == ["wsgi"]


CHAT: dict[str, Any] = {
    "method": "POST",
    "path": "/v1/chat/completions",
    "headers": [("content-type", "application/json")],
    "body": [b'{"model": "m", "stream": true, "messages": []}'],
}
EVENTS = [b'data: {"choices": [], "n": %d}\n\n' % number for number in range(5)]


class Usage(Plugin[PluginConfig]):
    """Observes LLM calls."""

    name, needs = "usage", Needs.USAGE


@witness("The client leaves in the middle of an LLM stream; `on_disconnect: drain`.")
def only_asgi_has_somebody_to_read_the_rest() -> None:
    made: list[int] = []
    config = {"on_disconnect": "drain"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number, event in enumerate(EVENTS):
            made.append(number)
            await send({"type": "http.response.body", "body": event, "more_body": True})
            for _ in range(5):
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("content-type", "text/event-stream")])
        for number, event in enumerate(EVENTS):
            made.append(number)
            yield event

    pushed = asyncio.run(asgi_exchange(Gateway(app, config, [Usage(), Watcher()]), disconnect_after=2, **CHAT))
    assert made == [0, 1, 2, 3, 4]
    assert len(pushed.messages) == 2
    made.clear()
    watcher = Watcher()
    wsgi_exchange(WSGIGateway(wsgi, config, [Usage(), watcher]), close_after=1, **CHAT)
    assert made == [0]
    assert watcher.outcomes == ["aborted"]


@witness("A path has an encoded slash, and the server passes no `RAW_URI` or `REQUEST_URI`.")
def a_decoded_path_does_not_tell_what_it_was() -> None:
    config = {"routes": [{"name": "admin", "path_prefix": "/admin"}]}
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the service was reached")

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return []

    pushed = asyncio.run(asgi_exchange(Gateway(app, config), path="/a%2Fb"))
    assert (pushed.status, pushed.json()["code"]) == (400, "ambiguous_path")
    gateway = WSGIGateway(wsgi, config)
    assert wsgi_exchange(gateway, path="/a%2Fb").status == 200
    assert seen == ["/a/b"]
    assert wsgi_exchange(gateway, path="/a%2Fb", environ={"RAW_URI": "/a%2Fb"}).status == 400


@witness("A plug-in asks for the caller's address.")
def an_outgoing_call_comes_from_nowhere() -> None:
    class Notice(Plugin[PluginConfig]):
        name = "notice"

        def compile(self) -> None:
            self.clients: list[str | None] = []

        def on_request(self, exchange: Exchange) -> None:
            self.clients.append(exchange.client)

    notice = Notice()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    asyncio.run(asgi_exchange(Gateway(app, plugins=[notice]), client=("192.0.2.1", 4)))
    transport = importlib.import_module("aigw_middleware.httpx").GatewayTransport(
        httpx.MockTransport(lambda request: httpx.Response(200)), {"outgoing": []}, [notice]
    )
    with httpx.Client(transport=transport) as http:
        http.get("http://provider/")
    assert notice.clients == ["192.0.2.1", None]
