"""Pitfalls of ASGI middleware: scopes, `receive` and `send`, one test for each way in which others have failed."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import copy
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route

import aigw_middleware
from aigw_middleware import Channel, Exchange, Gateway, Needs, Plugin, PluginConfig, Reply, WSGIGateway
from aigw_middleware.registry import BUILT_IN
from aigw_middleware.testing import VirtualClock, asgi_exchange, wsgi_exchange
from aigw_middleware.testing.matrix import Watcher

SSE = [(b"content-type", b"text/event-stream")]
ASK = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Texts(Plugin[PluginConfig]):
    """Reads the texts of LLM calls both ways, changes none."""

    name, needs = "texts", Needs.USAGE

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        return None


class Bodies(Plugin[PluginConfig]):
    """Reads both bodies, changes none."""

    name = "bodies"

    def on_request_body(self, exchange: Exchange) -> None:
        assert exchange.request.loaded

    def on_response_body(self, exchange: Exchange) -> None:
        assert exchange.response is not None


class Heads(Plugin[PluginConfig]):
    """Looks at the answer's fields, changes none."""

    name = "heads"

    def on_response(self, exchange: Exchange) -> None:
        assert exchange.response is not None
        exchange.response.headers.get("content-type")


class Server:
    """A server that fails a second reader of `receive`; the client leaves when a test says so, and `send` stays silent."""

    def __init__(self, body: bytes = ASK, spec_version: str = "2.3", path: str = "/v1/chat/completions") -> None:
        self.sent: list[Any] = []
        self.left = asyncio.Event()
        self.readers = 0
        self.most_readers = 0
        self._upload: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": spec_version},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "extensions": {},
        }

    async def receive(self) -> Any:
        self.readers += 1
        self.most_readers = max(self.most_readers, self.readers)
        try:
            if self.readers > 1:
                raise RuntimeError("receive has two readers")
            await asyncio.sleep(0)
            if self._upload:
                return self._upload.pop(0)
            await self.left.wait()
            return {"type": "http.disconnect"}
        finally:
            self.readers -= 1

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# ---------------------------------------------------------------------- 2, 4: receive


def test_a_body_read_by_us_is_there_for_an_application_that_never_reads() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    result = asyncio.run(asgi_exchange(Gateway(app, plugins=[Bodies()]), "POST", body=[b"a", b"b"]))
    assert (result.status, result.receive_calls) == (204, 2)


def _racing_app(order: list[str]) -> Any:
    """Streams, and waits for the disconnect beside it, as Starlette does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

        async def listen() -> None:
            order.append((await receive())["type"])

        if "late" not in scope["path"]:
            listener = asyncio.ensure_future(listen())
            await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        if "late" in scope["path"]:
            listener = asyncio.ensure_future(listen())
        for _ in range(5):
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await send({"type": "http.response.body", "body": DONE, "more_body": False})
        await listener

    return app


@pytest.mark.parametrize("moment", ["early", "late"])
@pytest.mark.parametrize("plugins", [lambda: [Texts()], lambda: [Watcher()], lambda: [Texts(), Bodies()]])
def test_receive_never_has_two_readers(plugins: Callable[[], list[Plugin[Any]]], moment: str) -> None:
    order: list[str] = []

    async def run() -> Server:
        server = Server(path=f"/{moment}/v1/chat/completions")
        gateway = Gateway(_racing_app(order), plugins=plugins())
        task = asyncio.ensure_future(gateway(server.scope, server.receive, server.send))
        await turns(60)
        server.left.set()
        await task
        return server

    server = asyncio.run(run())
    assert server.most_readers == 1
    assert server.body == EVENT * 5 + DONE
    assert order == ["http.disconnect"]


# ---------------------------------------------------------------------- 7: the client leaves, `send` stays silent


class Provider:
    """A stream whose chunks are made one by one, when a test lets it."""

    def __init__(self) -> None:
        self.produced = 0
        self.closed = False
        self.go = asyncio.Event()

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            while self.produced < 4:
                self.produced += 1
                yield EVENT
                await self.go.wait()
            yield DONE
        finally:
            self.closed = True


@pytest.mark.parametrize("framework", ["starlette", "plain"])
@pytest.mark.parametrize(
    ("policy", "produced", "outcome"), [("cancel", 1, "aborted"), ("drain", 4, "aborted"), ("ignore", 4, "completed")]
)
def test_a_client_that_leaves_in_a_stream_is_seen_though_send_is_silent(
    framework: str, policy: str, produced: int, outcome: str
) -> None:
    if (framework, policy) == ("starlette", "ignore"):
        produced, outcome = 1, "aborted"  # Starlette listens by itself, and nobody keeps the word from it
    watcher = Watcher()
    told: list[str] = []

    async def run() -> tuple[Server, Provider]:
        server, provider = Server(), Provider()

        async def plain(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": SSE})
            chunks = provider()
            try:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except OSError as error:
                told.append(type(error).__name__)
                raise
            finally:
                await chunks.aclose()  # type: ignore[attr-defined]
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def endpoint(request: Any) -> StreamingResponse:
            await request.body()
            return StreamingResponse(provider(), media_type="text/event-stream")

        starlette = Starlette(routes=[Route("/v1/chat/completions", endpoint, methods=["POST"])])
        app = plain if framework == "plain" else starlette
        gateway = Gateway(app, {"on_disconnect": policy}, plugins=[Texts(), watcher])
        task = asyncio.ensure_future(gateway(server.scope, server.receive, server.send))
        await turns(60)
        assert provider.produced == 1
        server.left.set()
        await turns(60)
        provider.go.set()
        await task
        return server, provider

    server, provider = asyncio.run(run())
    assert provider.produced == produced
    assert provider.closed
    assert server.most_readers == 1
    assert watcher.outcomes == [outcome]
    assert told == []


@pytest.mark.parametrize("swallows", [False, True])
def test_an_application_that_waits_for_its_provider_is_cancelled_once_and_the_server_is_not(swallows: bool) -> None:
    seen: list[str] = []
    watcher = Watcher()

    async def run() -> int:
        server = Server()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": SSE})
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                if not swallows:
                    raise

        async def serve() -> int:
            await Gateway(app, plugins=[Texts(), watcher])(server.scope, server.receive, server.send)
            await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        task = asyncio.ensure_future(serve())
        await turns(40)
        server.left.set()
        return await task

    assert asyncio.run(run()) == 0
    assert seen == ["cancelled"]
    assert watcher.outcomes == ["aborted"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_route_may_ask_to_watch_over_any_answer(asked: bool) -> None:
    seen: list[str] = []

    async def run() -> None:
        server = Server(path="/report", body=b"plain")
        server.scope["headers"] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        config = {"routes": [{"name": "report", "path_prefix": "/report", "watch_disconnect": asked}]}
        task = asyncio.ensure_future(Gateway(app, config)(server.scope, server.receive, server.send))
        await turns(40)
        server.left.set()
        await turns(40)
        assert task.done() is asked
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(run())
    assert seen == ["cancelled"]


def test_the_applications_receive_gets_the_disconnect_that_the_watcher_saw() -> None:
    got: list[str] = []

    async def run() -> None:
        server = Server()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": SSE})
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
            got.append((await receive())["type"])
            got.append((await receive())["type"])

        task = asyncio.ensure_future(
            Gateway(app, plugins=[Texts(), Bodies()])(server.scope, server.receive, server.send)
        )
        await turns(40)
        assert got == []
        server.left.set()
        await task

    asyncio.run(run())
    assert got == ["http.disconnect"] * 2


def test_no_watcher_where_send_tells_of_a_lost_client() -> None:
    async def run() -> int:
        server = Server(spec_version="2.4")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            before = len(asyncio.all_tasks())
            await send({"type": "http.response.start", "status": 200, "headers": SSE})
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
            server.scope["tasks"] = len(asyncio.all_tasks()) - before
            await send({"type": "http.response.body", "body": DONE})

        await Gateway(app, plugins=[Texts(), Bodies()])(server.scope, server.receive, server.send)
        return int(server.scope["tasks"])

    assert asyncio.run(run()) == 0


# ---------------------------------------------------------------------- 5, 8, 9: wrappers, scopes and tokens over yields

SOURCES = sorted(Path(aigw_middleware.__file__).parent.rglob("*.py"))


def _names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]


def test_nothing_is_made_of_base_http_middleware() -> None:
    assert len(SOURCES) > 50
    assert [path.name for path in SOURCES if "BaseHTTPMiddleware" in set(_names(path))] == []


def test_hosts_hold_no_cancel_scope_or_task_group() -> None:
    forbidden = {"TaskGroup", "create_task_group", "CancelScope", "move_on_after", "fail_after", "timeout_at"}
    hosts = [path for path in SOURCES if path.parent.name == "hosts" or path.name in ("around.py", "pipeline.py")]
    assert hosts
    assert {path.name: forbidden & set(_names(path)) for path in hosts if forbidden & set(_names(path))} == {}


def test_context_variables_of_the_endpoint_are_seen_at_the_end() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    class Last(Plugin[PluginConfig]):
        name = "last"

        def on_complete(self, exchange: Exchange) -> None:
            seen.append(variable.get())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        variable.set("set by the endpoint")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    asyncio.run(asgi_exchange(Gateway(app, plugins=[Last()])))
    assert seen == ["set by the endpoint"]


def test_a_wsgi_answer_may_be_read_and_closed_in_other_contexts() -> None:
    class Quiet(Plugin[PluginConfig]):
        name = "quiet"

        def on_complete(self, exchange: Exchange) -> None:
            pass

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        yield b"two"

    for plugins in ([], [Quiet()]):
        environ = wsgi_exchange(app).environ
        contexts = [contextvars.Context() for _ in range(4)]
        body: Any = contexts[0].run(WSGIGateway(app, plugins=plugins), environ, lambda *_: None)
        assert contexts[1].run(next, body) == b"one"
        assert contexts[2].run(next, body) == b"two"
        contexts[3].run(body.close)


# ---------------------------------------------------------------------- 14, 15: messages

_BYTES: st.SearchStrategy[Any] = st.binary(max_size=20).flatmap(
    lambda data: st.sampled_from([data, bytearray(data), memoryview(data)])
)
_NAME = st.sampled_from([b"X-One", b"x-two", b"Set-Cookie", b"Content-Type", b"ETag"])
_FIELDS = st.lists(st.tuples(_NAME, st.binary(max_size=5).map(lambda value: value.hex().encode())), max_size=4)
_SHAPES: list[Callable[[Any], Any]] = [list, tuple, lambda fields: [list(field) for field in fields]]


@st.composite
def _answers(draw: Any) -> tuple[list[dict[str, Any]], list[tuple[bytes, bytes]], bytes, bool]:
    """Draw a legal answer: its messages, its fields, its body, and whether the fields are a generator."""
    start: dict[str, Any] = {"type": "http.response.start", "status": draw(st.sampled_from([200, 201, 404, 500]))}
    fields = draw(_FIELDS)
    generator = draw(st.booleans())
    if fields or draw(st.booleans()):
        start["headers"] = fields if generator else draw(st.sampled_from(_SHAPES))(fields)
    else:
        generator = False
    messages = [start]
    body = b""
    for chunk in draw(st.lists(_BYTES, max_size=4)):
        messages.append({"type": "http.response.body", "body": chunk, "more_body": True})
        body += bytes(chunk)
    last: dict[str, Any] = {"type": "http.response.body"}
    if draw(st.booleans()):
        last["body"] = draw(_BYTES)
        body += bytes(last["body"])
    if draw(st.booleans()):
        last["more_body"] = False
    return [*messages, last], fields, body, generator


@given(_answers(), st.sampled_from(["nothing", "heads", "bodies", "mark", "usage"]))
def test_legal_odd_messages_pass_and_are_not_changed(answer: Any, kind: str) -> None:
    messages, fields, body, generator = answer
    before = copy.deepcopy([{**message, "body": bytes(message.get("body", b""))} for message in messages])

    class Mark(Plugin[PluginConfig]):
        name = "mark"

        def on_response(self, exchange: Exchange) -> None:
            assert exchange.response is not None
            exchange.response.headers.set("x-mark", "1")

    plugins: dict[str, list[Plugin[Any]]] = {
        "nothing": [],
        "heads": [Heads()],
        "bodies": [Heads(), Bodies()],
        "mark": [Mark(), Bodies()],
        "usage": [Texts(), Watcher()],
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            if generator and message is messages[0]:
                message = {**message, "headers": (field for field in fields)}
            await send(message)

    result = asyncio.run(asgi_exchange(Gateway(app, plugins=plugins[kind])))
    assert result.exception is None
    assert result.body == body
    got = [(name.lower(), value) for name, value in result.headers]
    assert got == [(name.lower(), value) for name, value in fields] + ([(b"x-mark", b"1")] if kind == "mark" else [])
    assert [{**message, "body": bytes(message.get("body", b""))} for message in messages] == before


@given(st.lists(_BYTES, max_size=5), st.booleans(), st.booleans())
def test_legal_odd_request_messages_are_read(chunks: list[Any], absent: bool, split: bool) -> None:
    incoming: list[Any] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    incoming.append({"type": "http.request"} if absent else {"type": "http.request", "body": b"", "more_body": False})
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append(await receive())
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def run() -> None:
        async def receive() -> Any:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            pass

        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": iter([(b"host", b"x")])}
        if not split:
            scope["headers"] = ((b"host", b"x"),)
        await Gateway(app, plugins=[Bodies()])(scope, receive, send)

    asyncio.run(run())
    assert got == [{"type": "http.request", "body": b"".join(bytes(chunk) for chunk in chunks), "more_body": False}]
    assert type(got[0]["body"]) is bytes


@pytest.mark.parametrize("plugins", [list, lambda: [Watcher()], lambda: [Bodies()], lambda: [Heads()]])
def test_extension_messages_pass_unchanged_and_in_order(plugins: Callable[[], list[Plugin[Any]]]) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
    push = {"type": "http.response.push", "path": "/a", "headers": []}
    unknown = {"type": "http.response.debug", "info": object()}
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in (hint, start, push, unknown, {"type": "http.response.body", "body": b"x"}, trailers):
            await send(message)

    async def run() -> None:
        server = Server(body=b"{}", path="/")

        async def send(message: Any) -> None:
            sent.append(message)

        await Gateway(app, plugins=plugins())(server.scope, server.receive, send)

    asyncio.run(run())
    assert sent[0] is hint
    assert sent[-1] is trailers
    middle = sent[1:-1]
    assert [message for message in middle if message is push or message is unknown] == [push, unknown]
    assert b"".join(message["body"] for message in middle if message["type"] == "http.response.body") == b"x"
    assert not any(name == b"content-length" for name, _ in next(m for m in middle if "status" in m)["headers"])


@pytest.mark.parametrize(
    ("plugins", "kept"),
    [(list, True), (lambda: [Watcher()], True), (lambda: [Bodies()], False), (lambda: [Texts()], True)],
)
@pytest.mark.parametrize("extension", ["http.response.pathsend", "http.response.zerocopysend"])
def test_sending_past_the_hooks_is_offered_unless_a_hook_needs_the_body(
    plugins: Callable[[], list[Plugin[Any]]], kept: bool, extension: str
) -> None:
    offered: list[set[str]] = []
    watcher = Watcher()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        offered.append(set(scope["extensions"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if extension in scope["extensions"]:
            await send({"type": extension, "path": "/file", "file": 3})
        else:
            await send({"type": "http.response.body", "body": b"x"})

    async def run() -> list[str]:
        server = Server(path="/file", body=b"{}")
        server.scope["extensions"] = {extension: {}, "tls": {}}
        await Gateway(app, plugins=[*plugins(), watcher])(server.scope, server.receive, server.send)
        assert set(server.scope["extensions"]) == {extension, "tls"}
        return [message["type"] for message in server.sent]

    types = asyncio.run(run())
    assert offered == [{extension, "tls"} if kept else {"tls"}]
    assert types == ["http.response.start", extension if kept else "http.response.body"]
    assert watcher.outcomes == ["completed"]


@pytest.mark.parametrize("edited", [True, False])
def test_an_answer_with_trailers_gets_no_length_and_ends_with_them(edited: bool) -> None:
    class Edit(Plugin[PluginConfig]):
        name = "edit"

        def on_response_body(self, exchange: Exchange) -> None:
            if edited and exchange.response is not None:
                exchange.response.body = b"edited"

        def on_complete(self, exchange: Exchange) -> None:
            ended.append(len(sent))

    ended: list[int] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": fields, "trailers": True})
        await send({"type": "http.response.body", "body": b"whole"})
        await send({"type": "http.response.trailers", "headers": [(b"x", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x", b"2")]})

    async def run() -> None:
        server = Server(path="/", body=b"{}")

        async def send(message: Any) -> None:
            sent.append(message)

        await Gateway(app, plugins=[Edit()])(server.scope, server.receive, send)

    asyncio.run(run())
    assert sent[0]["trailers"] is True
    assert not any(name == b"content-length" for name, _ in sent[0]["headers"])
    assert sent[1]["body"] == (b"edited" if edited else b"whole")
    assert [message["headers"] for message in sent[2:]] == [[(b"x", b"1")], [(b"x", b"2")]]
    assert ended == [4]


# ---------------------------------------------------------------------- 6: a server whose `send` raises


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
def test_a_lost_client_is_no_error_in_the_log_and_its_account_is_kept(
    fails_at: int, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    accounts: list[tuple[str, int]] = []
    raised: list[bool] = []

    class Account(Texts):
        name = "account"

        def on_complete(self, exchange: Exchange) -> None:
            accounts.append((exchange.outcome, exchange.meter.produced_bytes))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": SSE})
            for _ in range(5):
                await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        except OSError:
            raised.append(True)
            raise

    headers = [("content-type", "application/json")]
    gateway = Gateway(app, plugins=[Account()])
    result = asyncio.run(
        asgi_exchange(
            gateway,
            "POST",
            "/v1/chat/completions",
            headers=headers,
            body=[ASK],
            send_fails_at=fails_at,
            spec_version=version,
        )
    )
    assert isinstance(result.exception, OSError)
    assert raised == [True]
    assert accounts == [("aborted", fails_at)]
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


# ---------------------------------------------------------------------- 10, 17, 28: streams


@pytest.mark.parametrize("plugins", [list, lambda: [Texts()], lambda: [Texts(), Bodies(), Heads(), Watcher()]])
def test_an_event_stream_starts_in_the_turn_it_comes_and_each_chunk_leaves_before_the_next(
    plugins: Callable[[], list[Plugin[Any]]],
) -> None:
    turn = [0]
    log: list[tuple[str, int]] = []

    async def run() -> None:
        server = Server()

        async def clock() -> None:
            while True:
                turn[0] += 1
                await asyncio.sleep(0)

        async def send(message: Any) -> None:
            log.append((message["type"], turn[0]))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            messages = [
                {"type": "http.response.start", "status": 200, "headers": SSE},
                {"type": "http.response.body", "body": EVENT, "more_body": True},
                {"type": "http.response.body", "body": EVENT, "more_body": True},
                {"type": "http.response.body", "body": DONE, "more_body": False},
            ]
            for number, message in enumerate(messages):
                assert len(log) == number
                now = turn[0]
                await send(message)
                assert log[-1] == (message["type"], now)
                await asyncio.sleep(0)

        ticking = asyncio.ensure_future(clock())
        await asyncio.sleep(0)
        await Gateway(app, plugins=plugins())(server.scope, server.receive, send)
        ticking.cancel()

    asyncio.run(run())
    assert len(log) == 4


def test_a_streamed_reply_is_closed_in_the_task_that_made_it() -> None:
    tasks: list[Any] = []

    class Streaming(Plugin[PluginConfig]):
        name = "streaming"

        def on_request(self, exchange: Exchange) -> Reply:
            async def pieces() -> AsyncIterator[bytes]:
                tasks.append(asyncio.current_task())
                try:
                    yield b"one"
                    yield b"two"
                finally:
                    tasks.append(asyncio.current_task())

            return Reply(200, [], pieces(), content_type="text/plain")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("not reached")

    asyncio.run(asgi_exchange(Gateway(app, plugins=[Streaming()]), send_fails_at=2))
    assert len(tasks) == 2
    assert tasks[0] is tasks[1]


# ---------------------------------------------------------------------- 18: state of one exchange on the plug-in

CONFIGURED: dict[str, dict[str, Any]] = {
    "ai-context-limit": {"models": {"m1": 10, "m2*": 1000}, "max_context_tokens": 12},
    "ai-data-masking": {"deny_words": ["secret"]},
    "ai-prompt-template": {"templates": [{"name": "t", "template": {"messages": []}}]},
    "ai-prompt-decorator": {"prepend": [{"role": "system", "content": "Be brief."}]},
    "ai-statistics": {"use_default_attributes": True},
    "basic-auth": {
        "consumers": [{"name": "alice", "credential": "alice:open:sesame"}],
        "global_auth": False,  # nobody has a password here
    },
    "bot-detect": {"mode": "label", "categories": {"crawler": "block"}},
    "cors": {"allow_origin_patterns": ["https://*.example"], "allow_credentials": True},
    "custom-response": {"status_code": 203, "body": "own", "enable_on_status": ["404"]},
    "http-real-ip": {"real_ip_from": ["127.0.0.1"]},
    "ip-access-control": {"deny": ["192.0.2.0/24"]},
    "ip-restriction": {"allow": ["127.0.0.1"]},
    "hmac-auth": {
        "consumers": [{"name": "alice", "key": "k", "secret": "s" * 16}],
        "anonymous_consumer": "guest",  # nobody signs here
    },
    "jwt-auth": {"enable_headers": ["x-token"]},  # nobody has one here
    "key-auth": {
        "keys": ["x-key"],
        "consumers": [{"name": f"c{number}", "credential": f"key-of-caller-{number:04}"} for number in range(50)],
    },
    "key-rate-limit": {"limit_by_header": "x-key", "limit_keys": [{"key": "*", "query_per_day": 1000}]},
    "model-mapper": {"model_mapping": {"m1*": "one", "m2": "two", "*": ""}},
    "model-router": {
        "model_to_header": "x-model",
        "auto_routing": {"enable": True, "rules": [{"pattern": "secret", "model": "vault"}]},
    },
    "replay-protection": {"nonce_header": "x-key"},
    "request-block": {"block_bodies": ["secret"]},
    "timeout": {"total": 1_000},
}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_interleaved_exchanges_of_a_built_in_plug_in_are_those_of_a_quiet_one(name: str) -> None:
    assert name in CONFIGURED, f"{name} needs a row in CONFIGURED"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = dict(scope["headers"])
        body = (await receive())["body"]
        for _ in range(int(fields[b"x-turns"])):
            await asyncio.sleep(0)
        status = 404 if int(fields[b"x-turns"]) == 3 else 200
        await send({"type": "http.response.start", "status": status, "headers": SSE})
        for piece in (body[:9], b"a ", b"sec", b"ret", fields.get(b"x-mse-consumer", b""), fields[b"origin"]):
            data = json.dumps({"choices": [{"index": 0, "delta": {"content": piece.decode()}, "finish_reason": None}]})
            await send({"type": "http.response.body", "body": b"data: " + data.encode() + b"\n\n", "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": DONE})

    async def one(gateway: Gateway, number: int) -> Any:
        headers = [("content-type", "application/json"), ("x-turns", str(number % 7))]
        headers += [("x-key", f"key-of-caller-{number:04}"), ("origin", f"https://o{number}.example")]
        text = "secret" if number % 5 == 0 else "hi"
        asked = {"model": f"m{number % 4}", "stream": True, "messages": [{"role": "user", "content": text}]}
        result = await asgi_exchange(
            gateway, "POST", "/v1/chat/completions", headers=headers, body=[json.dumps(asked).encode()]
        )
        assert result.exception is None
        stable = re.sub(rb'"(id|created)":[^,]*', b"", result.body)
        return result.status, sorted(result.headers), stable

    async def run(*, together: bool) -> list[Any]:
        gateway = Gateway(app, {"plugins": [{"name": name, "config": CONFIGURED[name]}]}, clock=VirtualClock())
        plugins = list(gateway.core.snapshot.plugins)
        before = [repr(vars(plugin)) for plugin in plugins]
        if together:
            results = await asyncio.gather(*(one(gateway, number) for number in range(50)))
        else:
            results = [await one(gateway, number) for number in range(50)]
        assert plugins
        assert [repr(vars(plugin)) for plugin in plugins] == before
        return results

    apart = asyncio.run(run(together=False))
    assert asyncio.run(run(together=True)) == apart
    assert len({str(result) for result in apart}) >= 40  # some are answered alike


# ---------------------------------------------------------------------- 20, 21: paths


class Guard(Plugin[PluginConfig]):
    """Says which path it judged."""

    name, path_matching = "guard", True

    def on_response(self, exchange: Exchange) -> None:
        assert exchange.response is not None
        exchange.response.headers.set("x-path", exchange.request.path)


async def _fine(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _fine_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b""]


@pytest.mark.parametrize(
    ("root", "path", "judged"),
    [
        ("", "/sub/chat", "/sub/chat"),
        ("/sub", "/sub/chat", "/chat"),
        ("/sub", "/subway/chat", "/subway/chat"),
        ("/sub", "/sub", "/"),
        ("/sub/", "/sub/chat", "/chat"),
        ("/a/b", "/a/b/c", "/c"),
    ],
)
def test_the_path_judged_is_that_without_the_mount(root: str, path: str, judged: str) -> None:
    gateway = Gateway(_fine, plugins=[Guard()])
    assert asyncio.run(asgi_exchange(gateway, path=path, root_path=root)).header("x-path") == judged
    if path.startswith(root.rstrip("/") + "/") or not root:
        rest = path[len(root.rstrip("/")) :]
        environ = {"SCRIPT_NAME": root.rstrip("/"), "PATH_INFO": rest}
        assert wsgi_exchange(WSGIGateway(_fine_wsgi, plugins=[Guard()]), environ=environ).header("x-path") == judged


def test_the_same_path_is_judged_outside_and_inside_a_mount() -> None:
    inner = Gateway(_fine, plugins=[Guard()])
    mounted = Starlette(routes=[Mount("/api", app=Starlette(routes=[Mount("/v1", app=inner)]))])
    assert asyncio.run(asgi_exchange(mounted, path="/api/v1/chat")).header("x-path") == "/chat"
    assert (
        asyncio.run(asgi_exchange(mounted, path="/front/api/v1/chat", root_path="/front")).header("x-path") == "/chat"
    )


@pytest.mark.parametrize(
    "raw",
    [
        *(
            b"//api",
            b"/api//x",
            b"/x/../api",
            b"/./api",
            b"/%2e%2e/api",
            b"/..%2fapi",
            b"/x%2Fapi",
            b"/api;x",
            b"/api%3bx",
        ),
        *(b"/api%00", b"/api%", b"/api%zz", b"/\xff", b"/%ff", b"/api%5c", b"/api\\x", b"http://host/api"),
    ],
)
def test_paths_with_two_readings_are_refused_where_paths_are_judged(raw: bytes) -> None:
    scope = {"raw_path": raw, "path": raw.decode("latin-1")}
    result = asyncio.run(asgi_exchange(Gateway(_fine, plugins=[Guard()]), scope=scope, forbid_receive=True))
    assert (result.status, result.json()["code"]) == (400, "ambiguous_path")
    assert asyncio.run(asgi_exchange(Gateway(_fine, plugins=[Heads()]), scope=scope)).status == 200
    environ = {"RAW_URI": raw.decode("latin-1"), "PATH_INFO": "/api"}
    if not raw.startswith(b"http"):
        assert wsgi_exchange(WSGIGateway(_fine_wsgi, plugins=[Guard()]), environ=environ).status == 400


@pytest.mark.parametrize(
    ("raw", "path", "judged"),
    [
        (b"/%61pi", "/api", "/api"),
        (b"/API", "/API", "/API"),
        (b"/api/", "/api/", "/api/"),
        (b"/caf%C3%A9", "/caf\u00e9", "/caf\u00e9"),
        (None, "/api", "/api"),
        (b"", "/api", "/api"),
        ("absent", "/api", "/api"),
    ],
)
def test_the_form_judged_is_the_one_the_router_sees(raw: Any, path: str, judged: str) -> None:
    scope: dict[str, Any] = {"path": path, "raw_path": raw}

    async def run() -> Any:
        async def without(inner: Any, receive: Any, send: Any) -> None:
            if raw == "absent":
                del inner["raw_path"]
            await Gateway(_fine, plugins=[Guard()])(inner, receive, send)

        return await asgi_exchange(without, scope=scope)

    result = asyncio.run(run())
    assert result.status == 200
    assert dict(result.headers)[b"x-path"].decode("latin-1") == judged


def test_dot_segments_are_refused_where_the_server_gives_no_raw_path() -> None:
    result = asyncio.run(asgi_exchange(Gateway(_fine, plugins=[Guard()]), scope={"raw_path": None, "path": "/a/../b"}))
    assert result.status == 400
