"""What the in-process client for ASGI apps shows of an app that fails, breaks off, or does not end."""

from collections.abc import AsyncIterator

import httpx
import httpx2
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aigw_middleware.testing.clients import client

from .apps import LENGTH_3, START, TRAILED, body, failing, sending


@pytest.mark.anyio
async def test_a_client_whose_own_body_fails_is_told_and_the_app_sees_it_leave() -> None:
    types: list[str] = []

    async def upload() -> AsyncIterator[bytes]:
        yield b"a"
        raise KeyError("mine")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            types.append((await receive())["type"])

    async with client(app) as http:
        with pytest.raises(KeyError, match="mine"):
            await http.post("/", content=upload())
    assert types == ["http.request", "http.disconnect", "http.disconnect"]


@pytest.mark.anyio
@pytest.mark.parametrize("messages", [[], [START], [START, body(b"x")], [START, body(b"x", more=False)]])
async def test_what_the_app_raises_reaches_the_client(messages: list[Message]) -> None:
    async with client(failing(*messages)) as http:
        with pytest.raises(LookupError, match="app"):
            await http.get("/")


@pytest.mark.anyio
async def test_or_the_client_sees_what_it_would_see_of_a_server() -> None:
    async with client(failing(), raise_app_exceptions=False) as http:
        assert (await http.get("/")).status_code == 500
    async with client(failing(START, body(b"x")), raise_app_exceptions=False) as http:
        with pytest.raises(httpx.RemoteProtocolError, match="before the end"):
            await http.get("/")
    async with client(failing(START, body(b"x", more=False)), raise_app_exceptions=False) as http:
        assert (await http.get("/")).text == "x"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("messages", "error", "says"),
    [
        ([], RuntimeError, "without a response"),
        ([body(b"x")], RuntimeError, "before http.response.start"),
        ([START, START], RuntimeError, "twice"),
        ([START, body(b"", more=False), body(b"x")], RuntimeError, "after the last"),
        ([START, body(b"x")], httpx2.RemoteProtocolError, "before the end"),
        ([TRAILED, body(b"x", more=False)], httpx2.RemoteProtocolError, "before the end"),
        ([START, {"type": "http.response.trailers"}], RuntimeError, "out of turn"),
        ([LENGTH_3, body(b"12", more=False)], httpx2.RemoteProtocolError, "3 bytes and has 2"),
        ([LENGTH_3, body(b"12"), body(b"34", more=False)], httpx2.RemoteProtocolError, "3 bytes and has 4"),
    ],
)
async def test_broken_responses_do_not_pass(messages: list[Message], error: type[Exception], says: str) -> None:
    async with client(sending(*messages), library="httpx2") as http:
        with pytest.raises(error, match=says):
            await http.get("/")


@pytest.mark.anyio
async def test_the_read_timeout_is_kept() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/slow":
            await send(START)
            await send(body(b"x"))
        types.append((await receive())["type"])

    types: list[str] = []
    async with client(app, library="httpx2", timeout=0.01) as http:
        for path in ("/", "/slow"):
            with pytest.raises(httpx2.ReadTimeout):
                await http.get(path)
        assert types == ["http.disconnect"] * 2


@pytest.mark.anyio
async def test_head_has_the_length_of_get_and_no_body_and_trailers_end_a_response() -> None:
    async with client(sending(LENGTH_3, body(b"123", more=False))) as http:
        assert (await http.get("/")).content == b"123"
        head = await http.head("/")
        assert (head.headers["content-length"], head.content) == ("3", b"")
    trailers = {"type": "http.response.trailers", "headers": [(b"x", b"1")], "more_trailers": False}
    async with client(sending(TRAILED, body(b"x", more=False), trailers)) as http:
        assert (await http.get("/")).text == "x"


@pytest.mark.anyio
async def test_it_is_raised_where_the_body_is_read() -> None:
    async with client(failing(START, body(b"x"))) as http, http.stream("GET", "/") as response:
        with pytest.raises(LookupError, match="app"):
            await response.aread()


@pytest.mark.anyio
async def test_a_timeout_of_the_app_is_not_ours() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("app")

    async with client(app) as http:
        with pytest.raises(TimeoutError, match="app"):
            await http.get("/")


def translating(*, group: bool) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"0"))
        try:
            await send(body(b"1"))
        except OSError as error:
            if group:
                raise ExceptionGroup("several", [KeyError(), error]) from None
            raise LookupError("while the client left") from error

    return app


@pytest.mark.anyio
@pytest.mark.parametrize("group", [False, True])
async def test_what_only_says_that_the_client_left_is_not_told_to_it(group: bool) -> None:
    async with client(translating(group=group), spec_version="2.4") as http, http.stream("GET", "/") as response:
        assert await anext(response.aiter_raw()) == b"0"


@pytest.mark.anyio
async def test_what_goes_wrong_after_leaving_is_told_when_closing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"0"))
        try:
            await send(body(b"1"))
        except OSError:
            unknown: dict[str, int] = {}
        unknown["cleaning up"] += 1

    async with client(app, spec_version="2.4") as http:
        response = await http.send(http.build_request("GET", "/"), stream=True)
        assert await anext(response.aiter_raw()) == b"0"
        with pytest.raises(KeyError, match="cleaning up"):
            await response.aclose()
