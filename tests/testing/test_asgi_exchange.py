"""The exchange driven by hand: what it records, and the endings it can bring about."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aigw_middleware.testing.asgi import asgi_exchange
from aigw_middleware.testing.http_messages import ClientLeftError

MESSAGES: list[Message] = [
    {"type": "http.response.start", "status": 201, "headers": [(b"X-A", b"1"), (b"x-a", b"2"), (b"x-b", b"\xe9")]},
    {"type": "http.response.body", "body": b"{", "more_body": True},
    {"type": "http.response.body", "more_body": True},
    {"type": "http.response.body", "body": bytearray(b"}")},
]


def sending(messages: list[Message]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.anyio
async def test_messages_are_recorded_themselves() -> None:
    exchange = await asgi_exchange(sending(MESSAGES))
    assert all(got is sent for got, sent in zip(exchange.messages, MESSAGES, strict=True))
    assert (exchange.status, exchange.chunks, exchange.body) == (201, [b"{", b"", b"}"], b"{}")
    assert (exchange.json(), exchange.complete, exchange.exception, exchange.lost) == ({}, True, None, [])
    assert exchange.headers == [(b"X-A", b"1"), (b"x-a", b"2"), (b"x-b", b"\xe9")]
    assert (exchange.header("X-a"), exchange.header("x-b"), exchange.header("x-c")) == ("1, 2", "\xe9", None)
    assert exchange.receive_calls == 0


@given(st.lists(st.binary(max_size=3), max_size=4), st.booleans())
def test_the_body_arrives_in_its_chunks_and_then_receive_waits_for_the_end(chunks: list[bytes], breaks: bool) -> None:
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            got.append(message)
            if not message["more_body"]:
                waiting = asyncio.create_task(_until(receive))
                await asyncio.sleep(0)
                assert not waiting.done()
                for answer in MESSAGES:
                    await send(answer)
                assert await waiting == "http.disconnect"
                return
        got.append(message)

    exchange = asyncio.run(asgi_exchange(app, "POST", body=chunks, upload_breaks=breaks))
    assert exchange.exception is None
    assert [one["body"] for one in got if one["type"] == "http.request"] == (chunks or [b""])
    assert [one["type"] for one in got].count("http.disconnect") == breaks
    assert (exchange.receive_calls, exchange.complete) == (len(got) + (not breaks), not breaks)


async def _until(receive: Receive) -> str:
    return str((await receive())["type"])


@pytest.mark.anyio
@pytest.mark.parametrize("after", range(5))
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_the_client_leaves_after_so_many_messages(after: int, spec_version: str) -> None:
    exchange = await asgi_exchange(sending(MESSAGES), disconnect_after=after, spec_version=spec_version)
    assert exchange.messages == MESSAGES[:after]
    if spec_version == "2.3":
        assert (exchange.lost, exchange.exception) == (MESSAGES[after:], None)
    else:
        assert exchange.lost == MESSAGES[after : after + 1]
        assert isinstance(exchange.exception, ClientLeftError) == (after < 4)


@pytest.mark.anyio
@pytest.mark.parametrize("at", range(4))
async def test_a_send_fails_and_all_after_it(at: int) -> None:
    types: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        types.append((await receive())["type"])
        for message in MESSAGES:
            try:
                await send(message)
            except OSError:
                types.append((await receive())["type"])

    exchange = await asgi_exchange(app, send_fails_at=at)
    assert (exchange.messages, exchange.lost) == (MESSAGES[:at], MESSAGES[at:])
    assert types == ["http.request"] + ["http.disconnect"] * (4 - at)


@pytest.mark.anyio
async def test_a_client_that_left_has_sent_its_body() -> None:
    types: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            types.append((await receive())["type"])

    await asgi_exchange(app, "POST", body=[b"x"], disconnect_after=0)
    assert types == ["http.request", "http.disconnect"]


@pytest.mark.anyio
async def test_forbidden_and_concurrent_reading_are_errors() -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def reads_twice_at_once(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.create_task(_until(receive))
        await asyncio.sleep(0)
        try:
            await receive()
        finally:
            waiting.cancel()

    forbidden = await asgi_exchange(reads, forbid_receive=True)
    assert isinstance(forbidden.exception, AssertionError)
    assert forbidden.receive_calls == 1
    assert isinstance((await asgi_exchange(reads_twice_at_once)).exception, RuntimeError)


@pytest.mark.anyio
@pytest.mark.parametrize("messages", [MESSAGES[1:], [MESSAGES[0]] * 2, [*MESSAGES, MESSAGES[1]]])
async def test_messages_out_of_order_are_errors_of_the_app(messages: list[Message]) -> None:
    assert isinstance((await asgi_exchange(sending(messages))).exception, RuntimeError)


@pytest.mark.anyio
async def test_unknown_messages_pass() -> None:
    strange = [{"type": "http.response.debug"}, *MESSAGES, {"type": "x-late"}]
    exchange = await asgi_exchange(sending(strange))
    assert (exchange.messages, exchange.exception) == (strange, None)


@pytest.mark.anyio
async def test_the_scope_is_what_a_server_makes_of_the_request() -> None:
    async def seen(**options: Any) -> dict[str, Any]:
        return (await asgi_exchange(sending(MESSAGES), "POST", "/a%20b?c=%20", **options)).scope

    scope = await seen(headers=[("X-Tag", "\xe9")], body=[b"ab", b"c"], scope={"extensions": {"x": {}}})
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c=%20")
    assert scope["headers"] == [(b"host", b"testserver"), (b"x-tag", b"\xe9"), (b"content-length", b"3")]
    assert (scope["extensions"], scope["asgi"]["spec_version"]) == ({"x": {}}, "2.3")
    chunked = await seen(headers=[(b"host", b"h")], body=[b"ab"], chunked=True, client=None)
    assert chunked["headers"] == [(b"host", b"h"), (b"transfer-encoding", b"chunked")]
    assert chunked["client"] is None
    lying = await seen(headers=[("content-length", "1")], body=[b"ab"])
    assert lying["headers"][1:] == [(b"content-length", b"1")]


def test_no_task_is_made() -> None:
    class Loop(asyncio.SelectorEventLoop):
        made = 0

        def create_task(self, *args: Any, **options: Any) -> Any:
            self.made += 1
            return super().create_task(*args, **options)

    loop = Loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(asgi_exchange(sending(MESSAGES), disconnect_after=2)).status == 201
        assert loop.made == 1
