"""Client transports: identity carried inward, connections let go, attempts counted, official SDKs as callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import httpx2
import openai
import pytest

from aigw_middleware import (
    ConfigError,
    Consumer,
    Exchange,
    Gateway,
    Plugin,
    PluginConfig,
    Refusal,
    Stage,
    WSGIGateway,
)
from aigw_middleware.exchange import detached
from aigw_middleware.httpx import AsyncGatewayTransport, GatewayTransport
from aigw_middleware.httpx2 import AsyncGatewayTransport as AsyncGatewayTransport2
from aigw_middleware.httpx2 import GatewayTransport as GatewayTransport2
from aigw_middleware.plugin import INBOUND
from aigw_middleware.testing import Answer, FakeProvider, VirtualClock, asgi_exchange, client, wsgi_exchange

NOTHING: dict[str, Any] = {"outgoing": []}


class Identify(Plugin[PluginConfig]):
    """Believes a header; for tests only."""

    name, stage, priority, identifies = "identify", Stage.AUTHENTICATION, 310, True
    directions = frozenset({INBOUND})

    def on_request(self, exchange: Exchange) -> None:
        exchange.consumer = Consumer(exchange.request.headers.get("x-who") or "")
        exchange.attributes["geo-city"] = "Bern"


class Notice(Plugin[PluginConfig]):
    """Notes who calls out."""

    name, stage, priority = "notice", Stage.DEFAULT, 1

    def compile(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def on_request(self, exchange: Exchange) -> None:
        self.seen.append((exchange.consumer.name, exchange.attributes.get("geo-city")))


async def answer(request: Any) -> httpx.Response:
    return httpx.Response(200, content=b"fine")


def test_an_outgoing_call_inherits_the_caller() -> None:
    notice = Notice()
    later: list[asyncio.Task[None]] = []
    clock = VirtualClock()

    async def run() -> None:
        transport = AsyncGatewayTransport(httpx.MockTransport(answer), NOTHING, [notice], clock=clock)
        async with httpx.AsyncClient(transport=transport) as http:

            async def call() -> None:
                await http.get("http://llm/")

            async def outliving() -> None:
                for _ in range(20):
                    await asyncio.sleep(0)
                await call()
                clock.advance(1_000)
                await call()
                with detached():
                    await call()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                await call()
                await asyncio.ensure_future(call())
                with detached():
                    await call()
                later.append(asyncio.ensure_future(outliving()))
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})

            await asgi_exchange(Gateway(app, plugins=[Identify()], clock=clock), headers=[(b"x-who", b"alice")])
            assert notice.seen == [("alice", "Bern"), ("alice", "Bern"), ("", None)]
            notice.seen.clear()
            await later[0]
            assert notice.seen == [("alice", "Bern"), ("", None), ("", None)]

    asyncio.run(run())


def test_identity_is_inherited_in_wsgi_iteration_too() -> None:
    notice = Notice()
    transport = GatewayTransport(httpx.MockTransport(lambda request: httpx.Response(200)), NOTHING, [notice])
    http = httpx.Client(transport=transport)

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        http.get("http://llm/")
        yield b"one"
        http.get("http://llm/")

    class Quiet(Plugin[PluginConfig]):
        name = "quiet"

        def on_complete(self, exchange: Exchange) -> None:
            pass

    for plugins in ([Identify()], [Identify(), Quiet()]):
        wsgi_exchange(WSGIGateway(app, plugins=plugins), headers=[(b"x-who", b"bob")])
    http.get("http://llm/")
    http.close()
    assert notice.seen == [("bob", "Bern")] * 4 + [("", None)]


class Refuse(Plugin[PluginConfig]):
    """Refuses answers after their headers came."""

    name = "refuse"

    def on_response(self, exchange: Exchange) -> Refusal:
        return Refusal(502, "bad_answer", "Bad.")


class Held(httpx.AsyncByteStream):
    """A body that knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d" % number

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("ending", ["refused", "closed early", "exhausted"])
def test_connections_are_let_go(ending: str) -> None:
    stream = Held()
    outcomes: list[str] = []

    class Outcomes(Plugin[PluginConfig]):
        name = "outcomes"

        def on_complete(self, exchange: Exchange) -> None:
            outcomes.append(exchange.outcome)

    async def respond(request: Any) -> httpx.Response:
        return httpx.Response(200, stream=stream)

    async def run() -> None:
        plugins: list[Plugin[Any]] = [Outcomes(), *([Refuse()] if ending == "refused" else [])]
        transport = AsyncGatewayTransport(httpx.MockTransport(respond), NOTHING, plugins)
        async with httpx.AsyncClient(transport=transport) as http, http.stream("GET", "http://llm/") as response:
            if ending == "closed early":
                async for _ in response.aiter_raw():
                    break
            else:
                await response.aread()

    asyncio.run(run())
    assert stream.closed
    assert outcomes == [{"refused": "refused", "closed early": "aborted", "exhausted": "completed"}[ending]]


def test_each_redirect_is_an_exchange_and_extensions_stay() -> None:
    notice = Notice()

    def respond(request: Any) -> httpx.Response:
        if request.url.path == "/old":
            return httpx.Response(302, headers={"location": "/new"})
        return httpx.Response(200, text=str(request.extensions.get("timeout", {}).get("read")))

    transport = GatewayTransport(httpx.MockTransport(respond), NOTHING, [notice])
    with httpx.Client(transport=transport, follow_redirects=True, timeout=7) as http:
        assert http.get("http://llm/old").text == "7"
    assert len(notice.seen) == 2


def test_a_file_without_outgoing_is_refused() -> None:
    with pytest.raises(ConfigError, match="outgoing"):
        GatewayTransport(None, {"plugins": []})


def test_the_gateways_snapshot_and_stores_are_shared() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    gateway = Gateway(app, {"plugins": [], "outgoing": []})
    transport = gateway.transport(httpx.AsyncHTTPTransport())
    assert transport.core is gateway.core
    assert gateway.transport(module="httpx2", sync=True).core is gateway.core


class Limited(Plugin[PluginConfig]):
    """Refuses everything with a delay to wait."""

    name, status, code = "limited", 429, "rate_limit_exceeded"

    def on_request(self, exchange: Exchange) -> Refusal:
        return Refusal(self.status, self.code, "Not now.", [("retry-after", "1"), ("retry-after-ms", "1")])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (413, openai.APIStatusError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_sdk_raises_the_right_error(status: int, error: type[Exception], stream: bool) -> None:
    plugin = Limited()
    plugin.status = status

    async def run() -> None:
        http = client(Gateway(FakeProvider(), plugins=[plugin]), library="httpx2")
        sdk = openai.AsyncOpenAI(api_key="x" * 20, base_url="http://testserver/v1", http_client=http, max_retries=0)
        with pytest.raises(error) as caught:
            await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=stream)
        assert getattr(caught.value, "code", None) == "rate_limit_exceeded"
        assert "Not now." in str(caught.value)
        await sdk.close()

    asyncio.run(run())


def test_the_sdk_retries_after_the_refusals_delay() -> None:
    class Twice(Limited):
        def compile(self) -> None:
            self.calls = 0

        def on_request(self, exchange: Exchange) -> Refusal | None:  # type: ignore[override]
            self.calls += 1
            return super().on_request(exchange) if self.calls < 3 else None

    plugin = Twice()

    def run() -> str:
        provider = FakeProvider([Answer(text="at last")])
        inner = httpx2.WSGITransport(app=provider.wsgi)
        http = httpx2.Client(transport=GatewayTransport2(inner, NOTHING, [plugin]))
        with openai.OpenAI(api_key="x" * 20, base_url="http://testserver/v1", http_client=http, max_retries=2) as sdk:
            answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
            return answer.choices[0].message.content or ""

    assert run() == "at last"
    assert plugin.calls == 3


def test_the_openai_sdk_streams_through_an_outgoing_transport() -> None:
    async def run() -> list[str]:
        provider = FakeProvider([Answer(text="one two three")])
        inner = client(provider, library="httpx2")._transport
        http = httpx2.AsyncClient(transport=AsyncGatewayTransport2(inner, NOTHING, [Notice()]))
        async with openai.AsyncOpenAI(api_key="x" * 20, base_url="http://testserver/v1", http_client=http) as sdk:
            stream = await sdk.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            return [
                chunk.choices[0].delta.content
                async for chunk in stream
                if chunk.choices and chunk.choices[0].delta.content
            ]

    assert "".join(asyncio.run(run())) == "one two three"


class Touch(Plugin[PluginConfig]):
    """Changes a header, so that the request is made anew."""

    name, priority = "touch", 1

    def on_request(self, exchange: Exchange) -> None:
        exchange.request.headers.set("x-added", "yes")


@pytest.mark.parametrize(
    ("module", "transport"), [(httpx, GatewayTransport), (httpx2, GatewayTransport2)], ids=["httpx", "httpx2"]
)
def test_a_changed_request_keeps_the_spelling_of_its_header_names(module: Any, transport: Any) -> None:
    """Names are case-insensitive, and yet some servers and recorded exchanges look at their case."""
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.extend(request.headers.raw)
        return module.Response(200)

    with module.Client(transport=transport(module.MockTransport(answer), NOTHING, plugins=[Touch()])) as sdk:
        sdk.get("http://provider.test/", headers={"X-Api-Key": "k", "X-Stainless-OS": "Linux"})
    names = [name for name, _ in seen]
    assert {b"X-Api-Key", b"X-Stainless-OS", b"x-added"} <= set(names)


def test_a_transport_is_entered_and_left_as_the_client_is() -> None:
    events: list[str] = []

    class Inner(httpx.BaseTransport, httpx.AsyncBaseTransport):
        def __enter__(self) -> Any:
            events.append("enter")
            return self

        def __exit__(self, *raised: Any) -> None:
            events.append("exit")

        async def __aenter__(self) -> Any:
            events.append("enter")
            return self

        async def __aexit__(self, *raised: Any) -> None:
            events.append("exit")

    with httpx.Client(transport=GatewayTransport(Inner(), NOTHING)):
        events.append("in use")

    async def run() -> None:
        async with httpx.AsyncClient(transport=AsyncGatewayTransport(Inner(), NOTHING)):
            events.append("in use")

    asyncio.run(run())
    assert events == ["enter", "in use", "exit"] * 2
