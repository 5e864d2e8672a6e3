"""A gateway in front of the fake provider, whose streams arrive in pieces of any size, on ASGI and on WSGI."""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import yaml

from aigw_middleware import ConfigError, Gateway, Plugin, PluginConfig, Stage
from aigw_middleware.exchange import Exchange
from aigw_middleware.gateway import Core
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.testing.asgi import AsgiExchange, asgi_exchange
from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.http_messages import HeaderPairs
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import Answer, Scripted
from aigw_middleware.testing.wsgi import WsgiExchange, wsgi_exchange

PATH = "/v1/chat/completions"
TURNS = 50  # of the event loop, after which everybody waits for the clock
CUTS = pytest.mark.parametrize("size", [1, 7, 0], ids=["1 byte", "7 bytes", "uncut"])
"""In what pieces a stream arrives; 0: one event each."""


class Probe(Plugin[PluginConfig]):
    """Keeps every exchange that ended."""

    name, stage = "probe", Stage.RBAC

    def compile(self) -> None:
        self.ended: list[Exchange] = []

    def on_complete(self, exchange: Exchange) -> None:
        self.ended.append(exchange)


class Chat:
    """A configuration of plug-ins around a provider that answers as scripted, in virtual time."""

    def __init__(
        self,
        *plugins: Mapping[str, Any],
        answers: Iterable[Scripted] = (),
        size: int = 0,
        inner: Any = None,
        **top: Any,
    ) -> None:
        self.clock = VirtualClock()
        self.clock.advance(100)  # monotonic time 0.0 stands for "did not happen"
        self.provider = FakeProvider(answers, clock=self.clock)
        self.config = {"plugins": list(plugins), **top}
        self.size = size
        self.probe = Probe()
        self.app = _cut(inner or self.provider, size)
        self.gateway = Gateway(self.app, self.config, plugins=[self.probe], clock=self.clock)
        self.wsgi = WSGIGateway(self.provider.wsgi, self.config, plugins=[self.probe], clock=self.clock)

    @property
    def exchange(self) -> Exchange:
        """The last exchange that ended."""
        return self.probe.ended[-1]

    @property
    def records(self) -> list[tuple[str, str, str]]:
        """Plug-in, decision and reason of each line of its record."""
        return [(line.plugin, line.decision, line.reason) for line in self.exchange.records]

    @property
    def received(self) -> Any:
        """The JSON that last reached the provider."""
        return self.provider.requests[-1].json

    def ask(self, body: Any = None, *, path: str = PATH, headers: HeaderPairs = (), **options: Any) -> AsgiExchange:
        """One call through ASGI; `body` is JSON, bytes are sent as they are."""
        return asyncio.run(self.asked(body, path=path, headers=headers, **options))

    async def asked(
        self, body: Any = None, *, path: str = PATH, headers: HeaderPairs = (), method: str = "POST", **options: Any
    ) -> AsgiExchange:
        """The same in a running loop."""
        return await asgi_exchange(self.gateway, method, path, headers=_typed(headers), body=[_bytes(body)], **options)

    def ask_while(self, steps: Iterable[float], body: Any = None, **options: Any) -> AsgiExchange:
        """One call, while time passes in steps of so many seconds; the loop's own timers move along with it.

        A call that still waits when they have passed is cancelled: CancelledError.
        """

        async def asking() -> AsgiExchange:
            loop = asyncio.get_running_loop()
            loop.time = self.clock.monotonic  # type: ignore[method-assign]
            task = asyncio.create_task(self.asked(body, **options))
            for step in [*steps, 0]:
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                self.clock.advance(step)
            if not task.done():
                task.cancel()
            return await task

        return asyncio.run(asking())

    def ask_wsgi(self, body: Any = None, *, headers: HeaderPairs = (), **options: Any) -> WsgiExchange:
        """One call through WSGI."""
        return wsgi_exchange(self.wsgi, "POST", PATH, headers=_typed(headers), body=[_bytes(body)], **options)


def question(text: str = "Hello?", *, stream: bool = False, **members: Any) -> dict[str, Any]:
    """A chat completion request."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **members}
    return {**body, "stream": True} if stream else body


def events(body: bytes) -> list[Any]:
    """The events of a stream: decoded JSON, or the bytes of what is none."""
    found: list[Any] = []
    for block in body.split(b"\n\n"):
        if block:
            data = block.removeprefix(b"data: ")
            found.append(json.loads(data) if data[:1] == b"{" else data)
    return found


def said(body: bytes, kind: str = "content", index: int = 0) -> str:
    """What a stream says in one field of one choice."""
    deltas = [
        choice["delta"].get(kind)
        for event in events(body)
        if isinstance(event, dict)
        for choice in event.get("choices", ())
        if choice["index"] == index
    ]
    return "".join(delta for delta in deltas if delta)


def finishes(body: bytes) -> list[str]:
    """The finish reasons of a stream, in order."""
    choices = [choice for event in events(body) if isinstance(event, dict) for choice in event.get("choices", ())]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def problems(*plugins: Mapping[str, Any], **top: Any) -> list[tuple[str, str]]:
    """Path and message of each problem of a configuration."""
    with pytest.raises(ConfigError) as caught:
        Core({"plugins": list(plugins), **top})
    return [(problem.path, problem.message) for problem in caught.value.problems]


def example(plugin: type[Plugin[Any]]) -> dict[str, Any]:
    """The configuration in the docstring of a plug-in's module."""
    text = inspect.cleandoc(sys.modules[plugin.__module__].__doc__ or "")
    start = text.index("    plugins:\n")
    found: dict[str, Any] = yaml.safe_load(text[start : text.index("\n\n", start)])
    return found


def spoken(text: str, **options: Any) -> Answer:
    """An answer whose stream comes character by character."""
    return Answer(chunks=list(text), **options)


def _cut(app: Any, size: int) -> Callable[..., Any]:
    async def cutting(scope: Any, receive: Any, send: Any) -> None:
        async def cut(message: Any) -> None:
            data = message.get("body", b"")
            if message["type"] != "http.response.body" or not size or len(data) <= size:
                await send(message)
                return
            for start in range(0, len(data), size):
                last = start + size >= len(data)
                piece = {**message, "body": data[start : start + size]}
                await send(piece if last else {**piece, "more_body": True})

        await app(scope, receive, cut)

    return cutting


def _typed(headers: HeaderPairs) -> list[tuple[str | bytes, str | bytes]]:
    given = list(headers)
    typed = any(name == "content-type" for name, _ in given)
    return given if typed else [("content-type", "application/json"), *given]


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
