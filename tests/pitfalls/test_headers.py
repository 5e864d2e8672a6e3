"""Pitfalls of header fields: framing and injection, cookies, case, bytes, spoofed spellings, floods, forwarded addresses."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Exchange, Gateway, Plugin, Refusal, Reply, WSGIGateway
from aigw_middleware.headers import Headers, InvalidHeader
from aigw_middleware.plugins.security.cors import Cors
from aigw_middleware.testing import asgi_exchange, wsgi_exchange
from aigw_middleware.testing.matrix import Script, Scripted, assert_same, run_everywhere

TEXT = ("content-type", "text/plain")


def plugin(**members: Any) -> Plugin[Any]:
    return type("Made", (Plugin,), {"name": "made", **members})()


def touch(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.headers.set("x-touched", "1")


def touch_request(self: Any, exchange: Exchange) -> None:
    exchange.request.headers.set("x-touched", "1")


def hold(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.body = exchange.response.body + b"!"


# ---------------------------------------------------------------------- 34: framing, hop-by-hop fields, injection

INJECTIONS = [
    ("x-a", "b\r\nset-cookie: c=d"),
    ("x-a", "b\nc"),
    ("x-a", "b\rc"),
    ("x-a", "b\0"),
    ("x-a", "\u20ac"),
    ("x-a\r\nx-b", "c"),
    ("x a", "b"),
    ("x:a", "b"),
    ("", "b"),
    ("\u00e9", "b"),
]
FRAMING = [
    ("transfer-encoding", "chunked"),
    ("Transfer-Encoding", "identity"),
    ("content-length", "1"),
    ("connection", "x-secret"),
    ("keep-alive", "timeout=5"),
    ("te", "trailers"),
    ("trailer", "x-sum"),
    ("upgrade", "h2c"),
    ("proxy-connection", "close"),
]


@pytest.mark.parametrize("write", ["set", "add", "setdefault"])
@pytest.mark.parametrize("field", INJECTIONS + FRAMING)
def test_what_would_change_the_message_is_not_written(field: tuple[str, str], write: str) -> None:
    headers = Headers([])
    with pytest.raises(InvalidHeader):
        getattr(headers, write)(*field)
    assert headers.raw == []


@pytest.mark.parametrize(("policy", "status"), [("deny", 503), ("allow", 200)])
@pytest.mark.parametrize("place", ["request", "response", "reply", "refusal"])
@pytest.mark.parametrize("field", INJECTIONS[:2] + INJECTIONS[5:7])
def test_header_injection_by_a_plug_in_is_contained_by_its_policy(
    field: tuple[str, str], place: str, policy: str, status: int
) -> None:
    def on_request(self: Any, exchange: Exchange) -> Any:
        if place == "request":
            exchange.request.headers.add(*field)
        return {"reply": Reply, "refusal": Refusal}[place](
            *((200, [field]) if place == "reply" else (403, "no", "No.", [field]))
        )

    def on_response(self: Any, exchange: Exchange) -> None:
        assert exchange.response is not None
        exchange.response.headers.set(*field)

    hooks: dict[str, Any] = {"on_response": on_response} if place == "response" else {"on_request": on_request}
    transcript = assert_same(run_everywhere(Script(), lambda: [plugin(**hooks, on_failure=policy)]))
    assert transcript.status == status
    assert not any(name.startswith(("x-a", "x-b", "set-cookie", "x a")) for name in transcript.headers)
    assert b"set-cookie" not in transcript.body
    if transcript.seen:
        assert not any(name.startswith(("x-a", "x-b", "x a")) for name in transcript.seen[0].headers)


def test_a_refusal_hook_that_injects_still_sends_the_refusal() -> None:
    def on_refusal(self: Any, exchange: Exchange, response: Any) -> None:
        response.headers.set("x-a", "b\r\nc: d")

    stack = lambda: [  # noqa: E731
        plugin(on_request=lambda self, exchange: Refusal(403, "no", "No."), on_refusal=on_refusal, on_failure="deny")
    ]
    transcript = assert_same(run_everywhere(Script(), stack))
    assert (transcript.status, transcript.headers.get("x-a")) == (403, None)


@pytest.mark.parametrize("kind", ["reply", "refusal"])
@pytest.mark.parametrize("field", FRAMING)
def test_an_answer_of_a_plug_in_has_our_framing_only(field: tuple[str, str], kind: str) -> None:
    def on_request(self: Any, exchange: Exchange) -> Any:
        fields = [field, ("x-kept", "1")]
        return Reply(200, fields, b"hello") if kind == "reply" else Refusal(429, "slow", "Slow down.", fields)

    asgi = asyncio.run(asgi_exchange(Gateway(_cookies, plugins=[plugin(on_request=on_request)])))
    wsgi = wsgi_exchange(WSGIGateway(_cookies_wsgi, plugins=[plugin(on_request=on_request)]))
    for fields, body in (
        ([(name.decode(), value.decode()) for name, value in asgi.headers], asgi.body),
        ([(name.lower(), value) for name, value in wsgi.headers], wsgi.body),
    ):
        assert [value for name, value in fields if name == "content-length"] == [str(len(body))]
        assert ("x-kept", "1") in fields
        assert {name for name, _ in fields} <= {"content-length", "content-type", "x-kept"}


# ---------------------------------------------------------------------- 35, 36: cookies

COOKIES = [b"a=1; Path=/", b"b=2; Path=/", b"a=3"]


async def _cookies(scope: Any, receive: Any, send: Any) -> None:
    fields = [(b"content-type", b"text/plain"), *((b"set-cookie", value) for value in COOKIES)]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"x"})


def _cookies_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [TEXT, *(("Set-Cookie", value.decode()) for value in COOKIES)])
    return [b"x"]


@pytest.mark.parametrize(
    "hooks", [{}, {"on_response": touch}, {"on_response_body": hold}, {"on_request": touch_request}]
)
def test_every_set_cookie_survives_in_order(hooks: dict[str, Any]) -> None:
    fields = [TEXT, *(("set-cookie", value.decode()) for value in COOKIES[:2])]
    transcript = assert_same(run_everywhere(Script(answer=Scripted(headers=fields)), lambda: [plugin(**hooks)]))
    assert transcript.headers["set-cookie"] == [value.decode() for value in COOKIES[:2]]
    asgi = asyncio.run(asgi_exchange(Gateway(_cookies, plugins=[plugin(**hooks)])))
    assert [value for name, value in asgi.headers if name == b"set-cookie"] == COOKIES
    wsgi = wsgi_exchange(WSGIGateway(_cookies_wsgi, plugins=[plugin(**hooks)]))
    assert [value.encode() for name, value in wsgi.headers if name.lower() == "set-cookie"] == COOKIES


def test_cookies_over_several_lines_are_one_set_of_cookies() -> None:
    seen: list[Any] = []

    def note(self: Any, exchange: Exchange) -> None:
        seen.append(exchange.request.cookies)
        exchange.request.headers.set("x-touched", "1")

    lines = [(b"cookie", b"a=1"), (b"cookie", b"b=2; a=9"), (b"accept", b"x"), (b"accept", b"y")]
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend(scope["headers"])
        await _cookies(scope, receive, send)

    asyncio.run(asgi_exchange(Gateway(app, plugins=[plugin(on_request=note)]), headers=lines, http_version="2"))
    assert seen == [{"a": "1", "b": "2"}]
    assert [field for field in got if field[0] in (b"cookie", b"accept")] == lines


def test_on_wsgi_lines_are_joined_by_what_their_field_needs() -> None:
    def add(self: Any, exchange: Exchange) -> None:
        for name, value in (("cookie", "c=3"), ("accept", "z")):
            exchange.request.headers.add(name, value)

    environs: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environs.append(environ)
        return _cookies_wsgi(environ, start_response)

    environ = {"HTTP_COOKIE": "a=1; b=2", "HTTP_ACCEPT": "x, y"}
    wsgi_exchange(WSGIGateway(app, plugins=[plugin(on_request=add)]), environ=environ)
    assert environs[0]["HTTP_COOKIE"] == "a=1; b=2; c=3"
    assert environs[0]["HTTP_ACCEPT"].replace(" ", "") == "x,y,z"


# ---------------------------------------------------------------------- 37, 38: case and bytes


@pytest.mark.parametrize("hooks", [{}, {"on_response": touch}, {"on_response_body": hold}])
def test_names_of_any_case_are_found_and_not_doubled(hooks: dict[str, Any]) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"Content-Type", b"text/plain"), (b"Content-LENGTH", b"1"), (b"X-Touched", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"x"})

    def look(self: Any, exchange: Exchange) -> None:
        assert exchange.response is not None
        seen.append(exchange.response.headers.get("CONTENT-type"))
        exchange.response.headers.set("Content-Type", "text/html")

    stack = [plugin(**hooks), plugin(priority=1, on_response=look)]
    result = asyncio.run(asgi_exchange(Gateway(app, plugins=stack)))
    assert seen == ["text/plain"]
    names = [name for name, _ in result.headers]
    assert names == [name.lower() for name in names]
    assert len(names) == len(set(names))
    assert result.header("content-length") == str(len(result.body))


@given(
    st.binary(min_size=1, max_size=12).filter(lambda value: not set(value) & set(b"\r\n\0") and value == value.strip())
)
def test_every_byte_of_a_value_makes_the_round_trip(value: bytes) -> None:
    text = value.decode("latin-1")
    script = Script(headers=[("x-in", text)], answer=Scripted(headers=[TEXT, ("x-out", text)]))

    def look(self: Any, exchange: Exchange) -> None:
        assert exchange.request.headers.get("x-in") == text
        exchange.request.headers.set("x-again", text)

    stack = lambda: [plugin(on_request=look, on_response=touch, on_failure="deny")]  # noqa: E731
    transcript = assert_same(run_everywhere(script, stack, hosts=("asgi", "wsgi")))
    assert transcript.status == 200
    assert transcript.headers["x-out"] == [text]
    assert transcript.seen[0].headers["x-in"] == transcript.seen[0].headers["x-again"] == [text]


def test_names_that_are_no_token_are_left_alone_and_break_nothing() -> None:
    odd = [(b"\xe9\xff", b"1"), (b"x y", b"2"), (b"", b"3"), (b"x-fine", b"4")]
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend(scope["headers"])
        await _cookies(scope, receive, send)

    gateway = Gateway(
        app, plugins=[plugin(on_request=touch_request, on_failure="deny"), plugin(priority=1, on_response=touch)]
    )
    result = asyncio.run(asgi_exchange(gateway, scope={"headers": odd}))
    assert result.status == 200
    assert got == [*odd, (b"x-touched", b"1")]


# ---------------------------------------------------------------------- 39, 40: CORS


@pytest.mark.parametrize("answer", ["service", "refused", "failed"])
@pytest.mark.parametrize("origin", [None, "https://a.example", "https://evil.example"])
def test_vary_names_the_origin_whenever_the_policy_depends_on_it(origin: str | None, answer: str) -> None:
    def on_request(self: Any, exchange: Exchange) -> Refusal | None:
        return Refusal(401, "no", "No.") if answer == "refused" else None

    def stack() -> list[Plugin[Any]]:
        cors = Cors(allow_origins=["https://a.example"], allow_credentials=True)
        return [cors, plugin(on_request=on_request)]

    script = Script(headers=[("origin", origin)] if origin else [], answer=Scripted(fails_before=answer == "failed"))
    for host in ("asgi", "wsgi"):
        transcript = run_everywhere(script, stack, hosts=[host])[host]
        assert transcript.status == {"service": 200, "refused": 401, "failed": 500}[answer]
        assert "origin" in transcript.headers["vary"][0].lower()
        allowed = transcript.headers.get("access-control-allow-origin")
        assert allowed == (["https://a.example"] if origin == "https://a.example" else None)


# ---------------------------------------------------------------------- 41: one field, several spellings


@pytest.mark.parametrize(
    "name", ["x-mse-consumer", "x_mse_consumer", "x-mse_consumer", "X-MSE-Consumer", "X_Mse-consumer"]
)
def test_a_spoofed_identity_is_removed_in_every_spelling(name: str) -> None:
    def identify(self: Any, exchange: Exchange) -> None:
        exchange.local[self] = exchange.request.headers.get("x-mse-consumer")

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append([field for field in scope["headers"] if b"consumer" in field[0]])
        await _cookies(scope, receive, send)

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        seen.append([key for key in environ if "CONSUMER" in key])
        return _cookies_wsgi(environ, start_response)

    members = {"on_request": identify, "identifies": True}
    spoofed = [(name, "root"), (name, "admin")]
    asyncio.run(asgi_exchange(Gateway(app, plugins=[plugin(**members)]), headers=spoofed))
    environ = {"HTTP_" + name.upper().replace("-", "_"): "root,admin"}
    wsgi_exchange(WSGIGateway(wsgi, plugins=[plugin(**members)]), environ=environ)
    assert seen == [[], []]


# ---------------------------------------------------------------------- 42: who the client is

FORWARDED = [
    ([], "1.2.3.4", "1.2.3.4"),
    (["6.6.6.6"], "1.2.3.4", "1.2.3.4"),
    (["6.6.6.6"], "10.0.0.1", "6.6.6.6"),
    (["6.6.6.6, 7.7.7.7"], "10.0.0.1", "7.7.7.7"),
    (["6.6.6.6, 7.7.7.7, 10.0.0.2"], "10.0.0.1", "7.7.7.7"),
    (["6.6.6.6", "7.7.7.7"], "10.0.0.1", "7.7.7.7"),
    (["6.6.6.6, 2001:db8::1"], "10.0.0.1", "2001:db8::1"),
]


@pytest.mark.parametrize(("lines", "peer", "client"), FORWARDED)
def test_the_client_is_found_from_the_right_on_every_inbound_host(lines: list[str], peer: str, client: str) -> None:
    seen: list[str | None] = []
    stack = lambda: [plugin(on_request=lambda self, exchange: seen.append(exchange.client))]  # noqa: E731
    config = {"trusted_proxies": ["10.0.0.0/8"]}
    headers = [("x-forwarded-for", line) for line in lines]
    asyncio.run(asgi_exchange(Gateway(_cookies, config, stack()), headers=headers, client=(peer, 1)))
    joined = [("x-forwarded-for", ",".join(lines))] if lines else []
    wsgi_exchange(WSGIGateway(_cookies_wsgi, config, stack()), headers=joined, client=(peer, 1))
    asyncio.run(asgi_exchange(Gateway(_cookies, plugins=stack()), headers=headers, client=(peer, 1)))
    assert seen == [client, client, peer]


# ---------------------------------------------------------------------- 43: floods


class Steps:
    """Counts the lines of Python that run in a block: a measure of work that no machine changes."""

    def __init__(self) -> None:
        self.count = 0

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "line"
        return self._trace

    def __enter__(self) -> Steps:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *arguments: Any) -> None:
        sys.settrace(self._before)


def busy(self: Any, exchange: Exchange) -> None:
    headers = exchange.request.headers
    for name in ("x-a", "x-b", "cookie", "x-forwarded-for"):
        headers.get(name)
        headers.get_all(name)
    assert exchange.client
    assert exchange.request.cookies is not None
    headers.add("x-new", "1")
    headers.remove("x-a")


FLOODS: dict[str, Callable[[int], list[tuple[bytes, bytes]]]] = {
    "one name": lambda count: [(b"x-a", b"1")] * count,
    "cookies": lambda count: [(b"cookie", b"a=1")] * count,
    "forwarded": lambda count: [(b"x-forwarded-for", b"10.0.0.1")] * count,
    "different names": lambda count: [(b"x-%d" % number, b"1") for number in range(count)],
}


@pytest.mark.parametrize("flood", FLOODS)
def test_work_for_a_flood_of_fields_is_linear(flood: str) -> None:
    def steps(count: int) -> int:
        gateway = Gateway(_cookies, {"trusted_proxies": ["10.0.0.0/8"]}, [plugin(on_request=busy, identifies=True)])
        fields = FLOODS[flood](count)
        with Steps() as counted:
            result = asyncio.run(asgi_exchange(gateway, scope={"headers": fields, "client": ("10.0.0.9", 1)}))
        assert result.status == 200
        return counted.count

    first, second, fourth = steps(300), steps(600), steps(1_200)
    assert fourth - second <= 2.2 * (second - first) + 300


def test_a_hundred_thousand_fields_of_one_name() -> None:
    gateway = Gateway(_cookies, plugins=[plugin(on_request=busy, on_response=touch)])
    result = asyncio.run(asgi_exchange(gateway, scope={"headers": [(b"x-a", b"1")] * 100_000}))
    assert (result.status, result.header("x-touched")) == (200, "1")
