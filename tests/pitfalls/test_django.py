"""What Django middleware gets wrong: thread hops, streams of the wrong kind, cookies, bodies read twice, error pages."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.test import AsyncClient, Client

from aigw_middleware import Exchange, Plugin, PluginConfig, Refusal, Reply, Stage
from aigw_middleware.hosts.django_checks import check_settings
from aigw_middleware.testing import asgi_exchange, wsgi_exchange
from aigw_middleware.testing.matrix import Watcher
from tests.pitfalls import django_settings
from tests.pitfalls.django_settings import EVENTS, configured, through

ROOT = Path(__file__).parents[2]
JSON = "application/json"


@pytest.fixture(autouse=True)
def _no_events() -> None:
    EVENTS.clear()


def made(name: str, **members: Any) -> Plugin[Any]:
    plugin: Plugin[Any] = type("Made", (Plugin,), {"name": name, "stage": Stage.DEFAULT, "priority": 1, **members})()
    return plugin


def mark(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.headers.set("x-mark", str(exchange.response.status))


def refuse(self: Any, exchange: Exchange) -> Refusal:
    return Refusal(403, "no", "No.")


def edit_request(self: Any, exchange: Exchange) -> None:
    exchange.request.edit()["added"] = "é"


def replace_form(self: Any, exchange: Exchange) -> None:
    exchange.request.body = b"one=2&three=4"


def get(path: str, *, asynchronous: bool, **options: Any) -> Any:
    """Return the response to a GET, streamed bodies joined in `body`."""
    if not asynchronous:
        response: Any = Client(raise_request_exception=False).get(path, **options)
        response.body = b"".join(response.streaming_content) if response.streaming else response.content
        return response

    async def exchange() -> Any:
        response: Any = await AsyncClient(raise_request_exception=False).get(path, **options)
        if response.streaming:
            response.body = b"".join([chunk async for chunk in response.streaming_content])
        else:
            response.body = response.content
        return response

    return asyncio.run(exchange())


SIDES = pytest.mark.parametrize("asynchronous", [False, True], ids=["wsgi", "asgi"])


# ---------------------------------------------------------------------- the setting as users write it


@SIDES
def test_the_middleware_runs_what_the_settings_say(asynchronous: bool) -> None:
    config = {"plugins": [{"name": "cors", "config": {"allow_origins": ["https://app.example"]}}]}
    path = "/exchange-async" if asynchronous else "/exchange"
    with configured(AIGW=config):
        headers = {"origin": "https://app.example"}
        response = get(path, asynchronous=asynchronous, headers=headers)
        assert response.json() == {"consumer": "", "path": path}
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        missing = get("/missing", asynchronous=asynchronous, headers=headers)
        assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, "https://app.example")


def test_settings_that_are_missing_or_wrong_are_refused_at_start_up() -> None:
    class NeedsLoop(Plugin[PluginConfig]):
        name, asyncio_only = "needs-loop", True

    with configured(), pytest.raises(ImproperlyConfigured, match="AIGW is missing"):
        Client().get("/plain")
    with through([NeedsLoop()]), pytest.raises(ImproperlyConfigured, match="needs-loop needs asyncio"):
        Client().get("/plain")
    with through([NeedsLoop()]):
        assert get("/plain-async", asynchronous=True).status_code == 200


# ---------------------------------------------------------------------- no hop between threads and loop


@SIDES
def test_no_handler_is_adapted_in_a_stack_of_one_kind(asynchronous: bool, caplog: pytest.LogCaptureFixture) -> None:
    objects, blocking = (f"tests.pitfalls.django_settings.{name}" for name in ("Objects", "blocking_only"))
    for middleware, adapts in (([objects, objects], False), ([objects, blocking], asynchronous)):
        caplog.clear()
        with (
            through([made("marks", on_response=mark)]),
            configured(MIDDLEWARE=middleware, DEBUG=True),
            caplog.at_level(logging.DEBUG, "django.request"),
        ):
            response = get("/plain-async" if asynchronous else "/plain", asynchronous=asynchronous)
        assert response.status_code == 200
        assert any("adapted" in record.getMessage() for record in caplog.records) is adapts


def test_hooks_run_in_the_thread_of_the_loop() -> None:
    seen: dict[str, int] = {}

    class Where(Plugin[PluginConfig]):
        name, stage, priority = "where", Stage.DEFAULT, 1

        async def on_request(self, exchange: Exchange) -> None:
            await asyncio.sleep(0)
            seen["on_request"] = threading.get_ident()

        async def on_upstream(self, exchange: Exchange, call: Any) -> None:
            await call()
            await asyncio.sleep(0)  # a port that waits, after the answer has ended
            seen["on_upstream"] = threading.get_ident()

        def on_response(self, exchange: Exchange) -> None:
            seen["on_response"] = threading.get_ident()

        def on_complete(self, exchange: Exchange) -> None:
            seen["on_complete"] = threading.get_ident()

    for path in ("/plain-async", "/stream/async/async"):
        seen.clear()
        with through([Where()]):
            assert get(path, asynchronous=True).status_code == 200
        assert seen == dict.fromkeys(("on_request", "on_upstream", "on_response", "on_complete"), threading.get_ident())


def test_one_middleware_serves_several_loops_and_threads() -> None:
    loops: list[int] = []

    class Waits(Plugin[PluginConfig]):
        name, stage, priority = "waits", Stage.DEFAULT, 1

        async def on_request(self, exchange: Exchange) -> None:
            async with exchange.ports.locks("one"):
                await asyncio.sleep(0)
            loops.append(id(asyncio.get_running_loop()))

    with through([Waits()]):
        handler = ASGIHandler()

        async def several() -> list[int | None]:
            headers = [(b"host", b"testserver")]
            results = await asyncio.gather(
                *(asgi_exchange(handler, path="/plain-async", headers=headers) for _ in range(5))
            )
            return [result.status for result in results]

        statuses: list[list[int | None]] = []
        statuses += [asyncio.run(several()), asyncio.run(several())]
        threads = [threading.Thread(target=lambda: statuses.append(asyncio.run(several()))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [[200] * 5] * 4
    assert len(loops) == 20


def test_a_blocking_iterator_never_runs_in_the_loop() -> None:
    with through([Watcher()]):
        response = get("/threads", asynchronous=True)
    first, second = response.body.split()
    assert first == second
    assert int(first) != threading.get_ident()


# ---------------------------------------------------------------------- streams

STREAMS = ["/stream/sync/sync", "/stream/sync/async", "/stream/async/sync", "/stream/async/async"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("plugin", ["watched", "marked"])
@pytest.mark.parametrize("path", STREAMS)
def test_streams_of_every_kind_leave_piece_by_piece_under_wsgi(path: str, plugin: str) -> None:
    watcher = Watcher()
    with through([watcher, *([made("marks", on_response=mark)] if plugin == "marked" else [])]):
        response: Any = Client().get(path)
        for number, chunk in enumerate(response.streaming_content):
            assert chunk == b"%d" % number
            assert f"made {number + 1}" not in EVENTS
        assert watcher.outcomes == ["completed"]
        response.close()
    assert EVENTS[:4] == ["made 0", "made 1", "made 2", "finished"]
    assert EVENTS[4:] != []
    assert set(EVENTS[4:]) == {"closed"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("path", STREAMS)
def test_streams_of_every_kind_leave_piece_by_piece_under_asgi(path: str) -> None:
    watcher = Watcher()
    made_when_sent: list[list[str]] = []

    async def exchange() -> Any:
        handler = ASGIHandler()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def noting(message: Any) -> None:
                if message.get("body"):
                    made_when_sent.append([event for event in EVENTS if event.startswith("made")])
                await send(message)

            await handler(scope, receive, noting)

        return await asgi_exchange(app, path=path, headers=[(b"host", b"testserver")])

    with through([watcher, made("marks", on_response=mark)]):
        result = asyncio.run(exchange())
    assert (result.status, result.body, result.exception) == (200, b"012", None)
    assert [len(made) for made in made_when_sent] == [1, 2, 3]
    assert watcher.outcomes == ["completed"]
    assert EVENTS == ["made 0", "made 1", "made 2", "finished", "closed"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_that_is_left_is_finished_and_closed_under_wsgi(path: str) -> None:
    watcher = Watcher()
    with through([watcher]):
        result = wsgi_exchange(WSGIHandler(), path=path, headers=[("host", "testserver")], close_after=1)
    assert (result.status, result.body, result.exception) == (200, b"0", None)
    assert watcher.outcomes == ["aborted"]
    assert sorted(EVENTS) == ["closed", "finished", "made 0"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_whose_client_leaves_is_finished_and_closed_under_asgi(path: str) -> None:
    watcher = Watcher()
    gone = asyncio.Event()

    async def receive_after(pending: list[Any]) -> Any:
        if pending:
            return pending.pop(0)
        await gone.wait()
        return {"type": "http.disconnect"}

    async def exchange() -> None:
        pending: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def send(message: Any) -> None:
            if message.get("body"):
                gone.set()
                await asyncio.Event().wait()  # a client that reads nothing more; Django cancels when it leaves

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"testserver")],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        await ASGIHandler()(scope, lambda: receive_after(pending), send)

    completed_in: list[int] = []

    def complete(self: Any, exchange: Exchange) -> None:
        completed_in.append(threading.get_ident())

    with through([watcher, made("completes", on_complete=complete)]):
        asyncio.run(exchange())
    assert watcher.outcomes == ["aborted"]
    assert completed_in == [threading.get_ident()]  # though Django closes the response in a thread of its own
    assert sorted(EVENTS) == ["closed", "finished", "made 0"]


@SIDES
def test_a_streamed_reply_of_a_plugin(asynchronous: bool) -> None:
    def reply(self: Any, exchange: Exchange) -> Reply:
        async def chunks() -> Any:
            yield b"from "
            yield b"a plug-in"

        return Reply(200, [("x-cache", "hit")], chunks(), content_type="text/plain")

    watcher = Watcher()
    with through([made("replies", on_request=reply), watcher]):
        response = get("/plain", asynchronous=asynchronous)
    assert (response.status_code, response.body, response.headers["x-cache"]) == (200, b"from a plug-in", "hit")
    assert (watcher.outcomes, EVENTS) == (["completed"], [])


# ---------------------------------------------------------------------- responses are closed


@SIDES
@pytest.mark.parametrize("path", ["/plain", "/plain-async"])
def test_the_views_response_is_closed_once(path: str, asynchronous: bool) -> None:
    with through([made("marks", on_response=mark)]):
        if asynchronous:
            result: Any = asyncio.run(asgi_exchange(ASGIHandler(), path=path, headers=[(b"host", b"testserver")]))
        else:
            result = wsgi_exchange(WSGIHandler(), path=path, headers=[("host", "testserver")])
    assert (result.status, result.body, EVENTS) == (200, b"hello", ["closed"])


@SIDES
@pytest.mark.parametrize("hook", ["on_response", "on_response_body"])
@pytest.mark.parametrize("path", ["/plain", "/stream/sync/sync"])
def test_a_response_that_a_hook_replaced_is_closed(path: str, hook: str, asynchronous: bool) -> None:
    with through([made("refuses", **{hook: refuse})]):
        response = get(path, asynchronous=asynchronous)
    assert response.status_code == 403
    assert EVENTS.count("closed") == 1


@SIDES
def test_responses_thrown_away_by_a_retry_are_closed(asynchronous: bool) -> None:
    async def twice(self: Any, exchange: Exchange, call: Any) -> None:
        outcome = await call(hold=lambda status, headers: True)
        assert outcome.held
        await call()

    with through([made("twice", on_upstream=twice)]):
        response = get("/plain", asynchronous=asynchronous)
    assert (response.status_code, response.body) == (200, b"hello")
    # The first by us, the second by the client.
    assert EVENTS == ["closed", "closed"]


# ---------------------------------------------------------------------- headers and cookies

VIEWS_COOKIES = ["one=1; HttpOnly; Path=/; SameSite=Lax", 'two="a b"; Path=/a']


@SIDES
@pytest.mark.parametrize("hook", ["nothing", "header", "cookie"])
def test_cookies_of_the_view_stay_and_those_of_plugins_are_added(hook: str, asynchronous: bool) -> None:
    def add(self: Any, exchange: Exchange) -> None:
        assert exchange.response is not None
        if hook == "header":
            exchange.response.headers.set("x-more", "1")
        if hook == "cookie":
            exchange.response.headers.add("set-cookie", "mine=x; Path=/; Secure; Partitioned")

    with through([made("adds", on_response=add)]):
        if asynchronous:
            result = asyncio.run(asgi_exchange(ASGIHandler(), path="/cookies", headers=[(b"host", b"testserver")]))
            fields = [(name.decode().lower(), value.decode()) for name, value in result.headers]
        else:
            answer = wsgi_exchange(WSGIHandler(), path="/cookies", headers=[("host", "testserver")])
            fields = [(name.lower(), value) for name, value in answer.headers]
    found = [value.strip() for name, value in fields if name == "set-cookie"]
    assert found == [*VIEWS_COOKIES, *(["mine=x; Path=/; Secure; Partitioned"] if hook == "cookie" else [])]
    assert ("x-more", "1") in fields or hook != "header"


# ---------------------------------------------------------------------- bodies


@SIDES
@pytest.mark.parametrize("path", ["/body", "/body-async", "/read"])
def test_views_read_the_edited_body(path: str, asynchronous: bool) -> None:
    with through([made("edits", on_request_body=edit_request)]):
        response = _post(path, b'{"a":1}', JSON, asynchronous)
    assert response.json() == {"body": '{"a":1,"added":"é"}', "length": "20"}


@SIDES
def test_views_read_a_body_that_was_only_looked_at(asynchronous: bool) -> None:
    with through([made("looks", on_request_body=lambda self, exchange: None)]):
        assert _post("/read", b'{"a" :1}', JSON, asynchronous).json() == {"body": '{"a" :1}', "length": "8"}
        form = _post("/form", b"one=1&one=2", "application/x-www-form-urlencoded", asynchronous)
    assert form.json() == {"post": {"one": ["1", "2"]}, "again": "one=1&one=2"}


@SIDES
def test_views_parse_the_replaced_form(asynchronous: bool) -> None:
    with through([made("replaces", on_request_body=replace_form)]):
        form = _post("/form", b"one=1", "application/x-www-form-urlencoded", asynchronous)
    assert form.json() == {"post": {"one": ["2"], "three": ["4"]}, "again": "one=2&three=4"}


@SIDES
def test_a_changed_content_type_reaches_the_view(asynchronous: bool) -> None:
    def convert(self: Any, exchange: Exchange) -> None:
        exchange.request.headers.set("content-type", JSON)
        exchange.request.body = b'{"converted": true}'

    with through([made("converts", on_request_body=convert)]):
        response = _post("/json", b"whatever", "text/plain", asynchronous)
    assert response.json() == {"json": {"converted": True}, "type": JSON}


def _post(path: str, body: bytes, content_type: str, asynchronous: bool) -> Any:
    if not asynchronous:
        return Client().post(path, data=body, content_type=content_type)

    async def exchange() -> Any:
        return await AsyncClient().post(path, data=body, content_type=content_type)

    return asyncio.run(exchange())


# ---------------------------------------------------------------------- errors


@SIDES
@pytest.mark.parametrize("path", ["/broken", "/broken-async"])
def test_djangos_error_page_passes_through_and_completes_once(
    path: str, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    statuses: list[int] = []

    def complete(self: Any, exchange: Exchange) -> None:
        assert exchange.response is not None
        statuses.append(exchange.response.status)

    with (
        through([made("marks", on_response=mark), made("completes", on_complete=complete)]),
        caplog.at_level(logging.CRITICAL),
    ):
        response = get(path, asynchronous=asynchronous)
    assert (response.status_code, response.headers["x-mark"]) == (500, "500")
    assert b"secret-value" not in response.body
    assert statuses == [500]


@SIDES
def test_a_refusal_reaches_no_view(asynchronous: bool) -> None:
    watcher = Watcher()
    with through([made("refuses", on_request=refuse), watcher]):
        response = get("/plain", asynchronous=asynchronous)
    assert (response.status_code, response.json()["code"], EVENTS) == (403, "no", [])
    assert watcher.outcomes == ["refused"]


# ---------------------------------------------------------------------- system checks


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({"AIGW": {"plugins": [{"name": "cors", "config": {}}]}}, []),
        ({}, ["aigw.E001"]),
        ({"AIGW": {"plugins": [{"name": "corse"}]}}, ["aigw.E002"]),
        ({"AIGW": {"plugins": [{"name": "corse"}, {"name": "key-aut"}]}}, ["aigw.E002", "aigw.E002"]),
        ({"AIGW": {"plugins": []}}, ["aigw.W002"]),
        (
            {
                "AIGW": {"plugins": [{"name": "cors", "config": {}}]},
                "MIDDLEWARE": [*django_settings.MIDDLEWARE[1:], django_settings.MIDDLEWARE[0]],
            },
            ["aigw.W001"],
        ),
        ({"AIGW": "no such file.yaml"}, ["aigw.E002"]),
        ({"MIDDLEWARE": []}, []),
    ],
)
def test_system_checks(changes: dict[str, Any], ids: list[str]) -> None:
    import aigw_middleware.django  # noqa: F401 - what names the middleware in MIDDLEWARE registers the checks

    with configured(**changes):
        found = run_checks(tags=["aigw"])
        assert [message.id for message in found] == ids
        assert found == check_settings(None)


def test_manage_py_check_finds_what_is_wrong() -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.pitfalls.django_settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "django", "check"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "(aigw.E001) AIGW is missing from the settings." in done.stderr
