"""What WSGI middleware gets wrong (PEP 3333): close, file wrappers, late and second starts, write(), threads, Flask."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import flask
import pytest

from aigw_middleware import (
    ConfigError,
    Exchange,
    Needs,
    Plugin,
    PluginConfig,
    Refusal,
    Reply,
    Stage,
    WSGIGateway,
    current_exchange,
)
from aigw_middleware.testing import VirtualClock, wsgi_exchange
from aigw_middleware.testing.matrix import Watcher

TEXT = [("Content-Type", "text/plain")]
JSON = [("content-type", "application/json")]


def made(name: str, **members: Any) -> Plugin[Any]:
    plugin: Plugin[Any] = type("Made", (Plugin,), {"name": name, "stage": Stage.DEFAULT, "priority": 1, **members})()
    return plugin


def mark(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.headers.add("x-mark", str(exchange.response.status))


def note_request(self: Any, exchange: Exchange) -> None:
    exchange.request.headers.set("x-seen", "1")


def edit_answer(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.edit()["added"] = True


def refuse(self: Any, exchange: Exchange) -> Refusal:
    return Refusal(403, "no", "No.")


async def around(self: Any, exchange: Exchange, call: Any) -> None:
    await call()


class Counted:
    """An iterable that counts how often it was closed, and may fail where it is told."""

    def __init__(self, *chunks: bytes, fails: bool = False, close_fails: bool = False) -> None:
        self.chunks = list(chunks)
        self.fails = fails
        self.close_fails = close_fails
        self.closed = 0
        self.iterated = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.iterated += 1
        if self.chunks:
            return self.chunks.pop(0)
        if self.fails:
            raise LookupError("the application failed")
        raise StopIteration

    def close(self) -> None:
        self.closed += 1
        if self.close_fails:
            raise LookupError("close failed")


def answering(iterable: Any, headers: Any = TEXT, status: str = "200 OK") -> Callable[..., Any]:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return iterable

    return app


WATCHES: dict[str, Callable[[], list[Plugin[Any]]]] = {
    "silent": lambda: [made("quiet", on_request=note_request)],
    "watched": lambda: [Watcher()],
    "headers": lambda: [made("marks", on_response=mark), Watcher()],
    "held": lambda: [made("edits", on_response_body=lambda self, exchange: None), Watcher()],
    "around": lambda: [made("around", on_upstream=around), Watcher()],
}
ENDINGS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "exhausted": ({}, {}, "completed"),
    "left": ({}, {"close_after": 1}, "aborted"),
    "never iterated": ({}, {"never_iterate": True}, "aborted"),
    "fails": ({"fails": True}, {}, "failed"),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("watch", WATCHES)
def test_the_inner_iterable_is_closed_exactly_once(watch: str, ending: str) -> None:
    making, driving, outcome = ENDINGS[ending]
    inner = Counted(b"one", b"two", **making)
    plugins = WATCHES[watch]()
    result = wsgi_exchange(WSGIGateway(answering(inner), plugins=plugins), **driving)
    assert inner.closed == 1
    assert result.closed == 1
    assert current_exchange() is None
    for watcher in plugins:
        if isinstance(watcher, Watcher):
            # A held answer was read to its end before a byte left, and leaves in one piece.
            assert watcher.outcomes == ["completed" if (watch, ending) == ("held", "left") else outcome]
    if (watch, ending) == ("held", "fails"):
        assert (result.status, result.exception) == (500, None)
    if ending == "never iterated" and watch != "held":
        assert inner.iterated == 0


@pytest.mark.parametrize("watch", WATCHES)
def test_closing_twice_closes_once(watch: str) -> None:
    inner = Counted(b"one")
    gateway = WSGIGateway(answering(inner), plugins=WATCHES[watch]())
    result: Any = gateway(wsgi_exchange(gateway).environ, lambda status, headers, exc_info=None: lambda data: None)
    before = inner.closed
    result.close()
    if watch != "silent":  # the silent path hands the server's calls through, as many as there are
        result.close()
    assert inner.closed - before <= 1
    assert inner.closed <= 2


@pytest.mark.parametrize("watch", ["watched", "headers", "around"])
def test_a_close_that_fails_still_completes_the_exchange(watch: str) -> None:
    drivings: list[dict[str, Any]] = [{}, {"close_after": 1}]
    for driving in drivings:
        inner = Counted(b"one", b"two", close_fails=True)
        plugins = WATCHES[watch]()
        result = wsgi_exchange(WSGIGateway(answering(inner), plugins=plugins), **driving)
        assert isinstance(result.exception, LookupError)
        assert inner.closed == 1
        assert [len(watcher.outcomes) for watcher in plugins if isinstance(watcher, Watcher)] == [1]


def test_a_server_that_refuses_the_headers_leaves_nothing_open() -> None:
    inner = Counted(b"one")
    watcher = Watcher()

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        raise ValueError("the server takes no such header")

    environ = wsgi_exchange(answering([])).environ
    with pytest.raises(ValueError, match="no such header"):
        WSGIGateway(answering(inner), plugins=[watcher])(environ, start_response)
    assert inner.closed == 1
    assert len(watcher.outcomes) == 1


def test_an_application_that_raises_after_its_start_is_answered_once() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        raise LookupError("secret-value")

    watcher = Watcher()
    result = wsgi_exchange(WSGIGateway(app, plugins=[watcher]))
    assert (result.status, result.starts, result.exception) == (500, 1, None)
    assert b"secret-value" not in result.body
    assert watcher.outcomes == ["failed"]


def test_a_refused_request_never_reaches_the_application() -> None:
    inner = Counted(b"one")
    result = wsgi_exchange(WSGIGateway(answering(inner), plugins=[made("refuses", on_request=refuse)]))
    assert (result.status, inner.iterated, inner.closed) == (403, 0, 0)


def test_an_answer_replaced_by_a_hook_is_closed() -> None:
    inner = Counted(b"one")
    result = wsgi_exchange(WSGIGateway(answering(inner), plugins=[made("refuses", on_response=refuse)]))
    assert (result.status, inner.iterated, inner.closed) == (403, 0, 1)


# ---------------------------------------------------------------------- identity where nothing needs wrapping


class OpaqueWrapper:
    """What a server's own file wrapper returns: to be recognised by the server, and by nobody else."""

    def __init__(self, file: Any, size: int = 8_192) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("a server sends the file itself")

    def close(self) -> None:
        self.file.close()


@pytest.mark.parametrize("kind", ["wsgiref", "opaque", "function"])
def test_the_servers_file_wrapper_comes_back_as_the_very_object(kind: str) -> None:
    file = io.BytesIO(b"content")
    handed: list[Any] = []

    def sendfile(content: Any, size: int = 8_192) -> Any:
        return content  # as uWSGI's does: it compares what the application returns with what it was given

    wrapper: Any = {"wsgiref": FileWrapper, "opaque": OpaqueWrapper, "function": sendfile}[kind]

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        handed.append(environ["wsgi.file_wrapper"](file))
        return handed[0]

    gateway = WSGIGateway(app, plugins=WATCHES["silent"]())
    result = wsgi_exchange(gateway, environ={"wsgi.file_wrapper": wrapper}, never_iterate=True)
    assert result.result is handed[0]


@pytest.mark.parametrize("chunks", [[b"whole"], (b"whole",), [], [b"a", b"", b"b"]])
def test_a_list_comes_back_as_the_very_list(chunks: Any) -> None:
    result = wsgi_exchange(WSGIGateway(answering(chunks), plugins=WATCHES["silent"]()))
    assert result.result is chunks  # servers derive Content-Length from a list of one


@pytest.mark.parametrize("watch", ["silent", "watched", "headers", "around"])
def test_chunks_are_neither_merged_nor_fetched_ahead_and_empty_ones_stay(watch: str) -> None:
    order: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for chunk in (b"one", b"", b"two", b""):
            order.append(f"made {chunk!r}")
            yield chunk

    gateway = WSGIGateway(app, plugins=WATCHES[watch]())
    environ = wsgi_exchange(answering([])).environ
    result: Any = gateway(environ, lambda status, headers, exc_info=None: lambda data: None)
    for chunk in result:
        order.append(f"sent {chunk!r}")
    result.close()
    assert order == [f"{step} {chunk!r}" for chunk in (b"one", b"", b"two", b"") for step in ("made", "sent")]


# ---------------------------------------------------------------------- start_response and write()


def started_late(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("202 Accepted", TEXT)
    yield b"late"


def replaced_before_the_first_byte(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    try:
        raise LookupError("no data")
    except LookupError:
        start_response("500 Broken", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    yield b"error page"


def replaced_before_returning(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    try:
        raise LookupError("no data")
    except LookupError:
        start_response("500 Broken", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    return [b"error page"]


@pytest.mark.parametrize("watch", WATCHES)
def test_start_response_as_late_as_the_first_step(watch: str) -> None:
    result = wsgi_exchange(WSGIGateway(started_late, plugins=WATCHES[watch]()))
    assert (result.status, result.reason, result.body, result.starts) == (202, "Accepted", b"late", 1)
    if watch == "headers":
        assert result.header("x-mark") == "202"


@pytest.mark.parametrize("app", [replaced_before_the_first_byte, replaced_before_returning])
@pytest.mark.parametrize("watch", WATCHES)
def test_a_second_start_with_exc_info_replaces_the_first(app: Any, watch: str) -> None:
    result = wsgi_exchange(WSGIGateway(app, plugins=WATCHES[watch]()))
    assert (result.status, result.reason, result.header("x-second"), result.body) == (
        500,
        "Broken",
        "yes",
        b"error page",
    )
    if watch == "headers":
        assert result.header("x-mark") == "500"  # response hooks saw the start that took effect, once


class LazyFailure:
    """Starts when called, fails before its first chunk, and starts again: the server has sent nothing by then."""

    def __init__(self, start_response: Any) -> None:
        self.start_response = start_response
        self.chunks = iter([b"error ", b"page"])
        self.failed = False

    def __iter__(self) -> LazyFailure:
        return self

    def __next__(self) -> bytes:
        if not self.failed:
            self.failed = True
            try:
                raise LookupError("no data")
            except LookupError:
                self.start_response("500 Broken", [*TEXT, ("X-Second", "yes")], sys.exc_info())
        return next(self.chunks)


def lazy_failure(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", TEXT)
    return LazyFailure(start_response)


@pytest.mark.parametrize("watch", WATCHES)
def test_a_second_start_before_any_byte_left_replaces_the_first(watch: str) -> None:
    plugins = WATCHES[watch]()
    result = wsgi_exchange(WSGIGateway(lazy_failure, plugins=plugins))
    assert result.exception is None
    assert (result.status, result.reason, result.header("x-second"), result.body) == (
        500,
        "Broken",
        "yes",
        b"error page",
    )
    if watch == "headers":
        assert result.header("x-mark") == "500"
    assert [watcher.outcomes for watcher in plugins if isinstance(watcher, Watcher)] in ([], [["completed"]])


@pytest.mark.parametrize("watch", ["silent", "watched", "headers", "around"])
def test_a_second_start_after_bytes_left_raises_the_original_error(watch: str) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        try:
            raise LookupError("in the middle")
        except LookupError:
            start_response("500 Broken", TEXT, sys.exc_info())
        yield b"never"

    plugins = WATCHES[watch]()
    result = wsgi_exchange(WSGIGateway(app, plugins=plugins))
    assert isinstance(result.exception, LookupError)
    assert (result.status, result.body) == (200, b"one")
    assert [watcher.outcomes for watcher in plugins if isinstance(watcher, Watcher)] in ([], [["failed"]])


@pytest.mark.parametrize("watch", WATCHES)
def test_write_goes_out_first_and_through_the_hooks(watch: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", JSON)
        write(b'{"a":')
        write(b"1")
        return [b"}"]

    result = wsgi_exchange(WSGIGateway(app, plugins=WATCHES[watch]()))
    assert (result.status, result.body) == (200, b'{"a":1}')
    edited = wsgi_exchange(WSGIGateway(app, plugins=[made("edits", on_response_body=edit_answer)]))
    assert edited.json() == {"a": 1, "added": True}
    assert edited.header("content-length") == str(len(edited.body))


def test_write_during_iteration_keeps_its_place() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"1")
        yield b"2"
        write(b"3")
        yield b"4"
        write(b"5")

    result = wsgi_exchange(WSGIGateway(app, plugins=[Watcher()]))
    assert result.body == b"12345"


def test_an_application_that_never_starts_is_a_failure_with_an_answer() -> None:
    watcher = Watcher()
    inner = Counted(b"one")
    result = wsgi_exchange(WSGIGateway(lambda environ, start_response: inner, plugins=[watcher]))
    assert result.status == 500
    assert inner.closed == 1
    assert watcher.outcomes == ["failed"]


# ---------------------------------------------------------------------- the standard library's own judge


def reading(environ: Any, start_response: Any) -> Any:
    data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "application/json"), ("X-Read", str(len(data)))])
    return [data or b"{}"]


def streaming(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"one"
    yield b"two"


def heading(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*TEXT, ("Content-Length", "12")])
    return []


def empty(environ: Any, start_response: Any) -> Any:
    start_response("204 No Content", [])
    return []


def failing(environ: Any, start_response: Any) -> Any:
    raise LookupError("the application failed")


def edit_request(self: Any, exchange: Exchange) -> None:
    if exchange.request.body:
        exchange.request.edit()["added"] = True


def reply(self: Any, exchange: Exchange) -> Reply:
    async def pieces() -> Any:
        yield b"from "
        yield b"the cache"

    return Reply(200, [("x-cache", "hit")], pieces(), content_type="text/plain")


POST: dict[str, Any] = {"method": "POST", "headers": JSON, "body": [b'{"a":1}']}
VALIDATED: dict[str, tuple[Any, list[Plugin[Any]], dict[str, Any], int]] = {
    "pass": (reading, [made("quiet", on_request=note_request)], {}, 200),
    "pass, posted": (reading, [made("quiet", on_request=note_request)], POST, 200),
    "watched": (reading, [Watcher()], POST, 200),
    "request edited": (reading, [made("edits", on_request_body=edit_request)], POST, 200),
    "request edited, chunked": (reading, [made("edits", on_request_body=edit_request)], {**POST, "chunked": True}, 200),
    "answer edited": (reading, [made("edits", on_response_body=edit_answer)], POST, 200),
    "refused": (reading, [made("refuses", on_request=refuse)], POST, 403),
    "refused, HEAD": (heading, [made("refuses", on_request=refuse)], {"method": "HEAD"}, 403),
    "HEAD": (heading, [made("marks", on_response=mark)], {"method": "HEAD"}, 200),
    "204": (empty, [made("marks", on_response=mark)], {}, 204),
    "streamed": (streaming, [made("marks", on_response=mark)], {}, 200),
    "streamed, left": (streaming, [made("marks", on_response=mark)], {"close_after": 1}, 200),
    "streamed, silent": (streaming, [made("quiet", on_request=note_request)], {}, 200),
    "replied": (reading, [made("replies", on_request=reply)], {}, 200),
    "around": (streaming, [made("around", on_upstream=around, needs=Needs.REPLAY)], POST, 200),
    "fails": (failing, [Watcher()], {}, 500),
    "refused on the answer": (streaming, [made("refuses", on_response=refuse)], {}, 403),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", VALIDATED)
def test_both_sides_satisfy_the_validator(case: str) -> None:
    app, plugins, driving, status = VALIDATED[case]
    outer = validator(WSGIGateway(validator(app), plugins=plugins))
    result = wsgi_exchange(outer, **driving)
    assert result.exception is None
    assert result.status == status


# ---------------------------------------------------------------------- waiting without an event loop


class Suspends(Plugin[PluginConfig]):
    """Waits for the event loop where it is told to."""

    name, stage, priority, on_failure = "suspends", Stage.DEFAULT, 1, "deny"
    where = ""

    async def on_request(self, exchange: Exchange) -> None:
        if self.where == "on_request":
            await asyncio.sleep(0)

    async def on_upstream(self, exchange: Exchange, call: Any) -> None:
        if self.where == "on_upstream":
            await asyncio.sleep(0)
        await call()

    async def on_response(self, exchange: Exchange) -> None:
        if self.where == "on_response":
            await asyncio.sleep(0)


@pytest.mark.parametrize("where", ["on_request", "on_upstream", "on_response"])
def test_a_hook_that_suspends_is_named_and_the_request_refused(where: str, caplog: pytest.LogCaptureFixture) -> None:
    plugin = Suspends()
    plugin.where = where
    inner = Counted(b"one")
    records: list[str] = []

    def record(self: Any, exchange: Exchange) -> None:
        records.extend(f"{line.plugin} {line.decision} {line.reason}" for line in exchange.records)

    watcher = made("record", on_complete=record)
    with caplog.at_level(logging.ERROR, "aigw_middleware"):
        result = wsgi_exchange(WSGIGateway(answering(inner), plugins=[plugin, watcher]))
    assert (result.status, result.exception) == (503, None)
    assert f"plug-in suspends failed in {where}" in caplog.text
    assert any(line.startswith("suspends failed Suspended") for line in records), records
    assert inner.closed == (1 if where == "on_response" else 0)


def test_asyncio_only_is_refused_at_start_up_by_name() -> None:
    class NeedsLoop(Plugin[PluginConfig]):
        name, asyncio_only = "needs-loop", True

    with pytest.raises(ConfigError, match="needs-loop needs asyncio"):
        WSGIGateway(answering([]), plugins=[NeedsLoop()])


# ---------------------------------------------------------------------- threads

THREADS = 8
REQUESTS = 500


def hammer(gateway: WSGIGateway, headers: list[tuple[str, str]]) -> list[int]:
    """Return the statuses of THREADS x REQUESTS exchanges made at once."""
    statuses: list[list[int]] = [[] for _ in range(THREADS)]
    begin = threading.Barrier(THREADS)

    def work(mine: list[int]) -> None:
        begin.wait()
        for _ in range(REQUESTS):
            mine.append(wsgi_exchange(gateway, headers=headers).status or 0)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in statuses]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return [status for mine in statuses for status in mine]


def test_threads_share_a_limit_exactly() -> None:
    allowed = 1_000
    config = {
        "plugins": [
            {
                "name": "key-rate-limit",
                "config": {
                    "limit_by_header": "x-api-key",
                    "limit_keys": [{"key": "*", "query_per_day": allowed}],
                },
            }
        ]
    }
    watcher = Watcher()
    gateway = WSGIGateway(answering([b"ok"]), config, [watcher], clock=VirtualClock())
    statuses = hammer(gateway, [("x-api-key", "one")])
    assert statuses.count(200) == allowed
    assert statuses.count(429) == THREADS * REQUESTS - allowed
    assert watcher.outcomes.count("completed") == allowed
    assert watcher.outcomes.count("refused") == THREADS * REQUESTS - allowed


def test_threads_never_see_each_others_exchange() -> None:
    wrong: list[str] = []

    class Own(Plugin[PluginConfig]):
        name, stage, priority = "own", Stage.DEFAULT, 1

        def on_request(self, exchange: Exchange) -> None:
            exchange.local[self] = exchange.request.headers.get("x-name")

        def on_response(self, exchange: Exchange) -> None:
            assert exchange.response is not None
            exchange.response.headers.set("x-name", exchange.local[self])

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for _ in range(2):
            current = current_exchange()
            name = current.request.headers.get("x-name") if current is not None else None
            if name != environ["HTTP_X_NAME"]:
                wrong.append(f"{name} in {environ['HTTP_X_NAME']}")
            yield b"x"

    own = Own()
    gateway = WSGIGateway(app, plugins=[own])
    before = dict(vars(own))
    begin = threading.Barrier(THREADS)

    def work(number: int) -> None:
        begin.wait()
        for turn in range(100):
            name = f"{number}-{turn}"
            if wsgi_exchange(gateway, headers=[("x-name", name)]).header("x-name") != name:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert vars(own) == before


# ---------------------------------------------------------------------- order


@pytest.mark.parametrize("nesting", ["one list", "reversed list", "nested", "nested the other way"])
def test_the_order_is_that_of_the_stages_however_gateways_are_put_together(nesting: str) -> None:
    order: list[str] = []

    def note(self: Any, exchange: Exchange) -> None:
        order.append(self.name)

    def plugin(name: str, stage: Stage) -> Plugin[Any]:
        members = {"name": name, "stage": stage, "on_request": note, "on_response": note}
        noting: Plugin[Any] = type("Noting", (Plugin,), members)()
        return noting

    first, second, third = plugin("a", Stage.RBAC), plugin("b", Stage.AUTHENTICATION), plugin("c", Stage.DEFAULT)
    app = answering([b"ok"])
    gateway = {
        "one list": lambda: WSGIGateway(app, plugins=[first, second, third]),
        "reversed list": lambda: WSGIGateway(app, plugins=[third, second, first]),
        "nested": lambda: WSGIGateway(WSGIGateway(app, plugins=[second]), plugins=[first, third]),
        "nested the other way": lambda: WSGIGateway(WSGIGateway(app, plugins=[third, first]), plugins=[second]),
    }[nesting]()
    assert wsgi_exchange(gateway).status == 200
    assert order == ["a", "b", "c", "c", "b", "a"]


# ---------------------------------------------------------------------- Flask


def flask_app(plugins: list[Plugin[Any]] | None) -> tuple[flask.Flask, list[str]]:
    app = flask.Flask(__name__)
    events: list[str] = []

    @app.get("/")
    def index() -> str:
        return "hello"

    @app.get("/broken")
    def broken() -> str:
        raise LookupError("secret-value")

    @app.get("/stream")
    def stream() -> Any:
        def pieces() -> Iterator[str]:
            for _ in range(3):
                yield f"{flask.request.path} "
            events.append("finished")

        return flask.Response(flask.stream_with_context(pieces()), mimetype="text/plain")

    @app.post("/echo")
    def echo() -> Any:
        return flask.jsonify(flask.request.get_json())

    @app.get("/cookies")
    def cookies() -> Any:
        response = flask.Response("ok")
        response.set_cookie("one", "1")
        response.set_cookie("two", "2", path="/a")
        return response

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        events.append("teardown")

    if plugins is not None:
        app.wsgi_app = WSGIGateway(app.wsgi_app, plugins=plugins)  # type: ignore[method-assign]
    return app, events


def test_flasks_test_client_passes_through_the_gateway() -> None:
    watcher = Watcher()
    app, _ = flask_app([watcher, made("marks", on_response=mark)])
    app.logger.disabled = True
    client = app.test_client()
    assert client.get("/", buffered=True).headers["x-mark"] == "200"
    assert client.get("/missing", buffered=True).headers["x-mark"] == "404"
    broken = client.get("/broken", buffered=True)
    assert (broken.status_code, broken.headers["x-mark"]) == (500, "500")
    assert b"secret-value" not in broken.data
    assert watcher.outcomes == ["completed"] * 3


def stream_through_flask(plugins: list[Plugin[Any]] | None, *, leave: bool) -> list[str]:
    """Return what Flask went through, the client's own steps among it; None: without a gateway."""
    app, events = flask_app(plugins)
    response = app.test_client().get("/stream", buffered=False)
    events.append("started")
    if leave:
        assert next(response.iter_encoded()) == b"/stream "
    else:
        assert response.data == b"/stream /stream /stream "
    events.append("read")
    response.close()
    return events


@pytest.mark.parametrize("leave", [False, True])
def test_flask_streams_with_its_context_and_tears_down_as_without_us(leave: bool) -> None:
    watcher = Watcher()
    bare = stream_through_flask(None, leave=leave)
    assert stream_through_flask([watcher, made("marks", on_response=mark)], leave=leave) == bare
    assert stream_through_flask([made("quiet", on_request=note_request)], leave=leave) == bare
    assert ("finished" in bare) is not leave
    assert watcher.outcomes == ["aborted" if leave else "completed"]


def test_flask_sees_edited_bodies_and_keeps_its_cookies() -> None:
    app, _ = flask_app([made("edits", on_request_body=edit_request), made("marks", on_response=mark)])
    client = app.test_client()
    assert client.post("/echo", json={"a": 1}).get_json() == {"a": 1, "added": True}
    cookies = client.get("/cookies").headers.getlist("Set-Cookie")
    assert cookies == ["one=1; Path=/", "two=2; Path=/a"]


def test_a_refusal_in_flask_opens_no_request_context() -> None:
    app, events = flask_app([made("refuses", on_request=refuse)])
    response = app.test_client().get("/")
    assert response.status_code == 403
    assert response.get_json()["code"] == "no"
    assert events == []


@pytest.mark.parametrize("outermost", [True, False])
def test_an_exception_is_answered_or_goes_on_outward(outermost: bool) -> None:
    """Debuggers and tests stand outside and want the exception; a server wants an answer that passed the plug-ins."""
    ended: list[str] = []

    def broken(environ: Any, start_response: Any) -> Any:
        raise LookupError("broken")

    def note(self: Any, exchange: Exchange) -> None:
        ended.append(exchange.outcome)

    def add(self: Any, exchange: Exchange, response: Any) -> None:
        response.headers.add("x-seen", "yes")

    gateway = WSGIGateway(broken, plugins=[made("watch", on_refusal=add, on_complete=note)], outermost=outermost)
    result = wsgi_exchange(gateway)
    if outermost:
        assert result.exception is None
        assert (result.status, result.header("x-seen")) == (500, "yes")
    else:
        assert isinstance(result.exception, LookupError)
    assert ended == ["failed"]
