"""The official SDKs before the fake provider, with plug-ins between them in each place where plug-ins can stand.

A conversation is written once, as a coroutine function of the SDK client. For a synchronous client nothing in it ever
waits, so it runs there without an event loop, as the synchronous SDK does for its users.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import anthropic
import httpx2
import openai
import pytest

from aigw_middleware import Exchange, Gateway, Plugin, PluginConfig, Stage, WSGIGateway
from aigw_middleware.httpx2 import AsyncGatewayTransport, GatewayTransport
from aigw_middleware.ports.drive import finish
from aigw_middleware.testing.clients import asgi_transport_class, wsgi_transport_class
from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.provider import FakeProvider
from aigw_middleware.testing.script import Scripted

T = TypeVar("T")
Conversation = Callable[[Any], Coroutine[Any, Any, T]]

OUTGOING = ("outgoing-async", "outgoing-sync")
INBOUND = ("asgi", "wsgi")
PLACES = (*OUTGOING, *INBOUND)
KEY = "alice-example-key-0123"
TURNS = 200  # of the event loop, after which everybody waits for the clock
ASKED_MODEL, MODEL = "acme/alias", "real-model"
KIND = "You are kind."

EVERYTHING: tuple[Mapping[str, Any], ...] = (
    {"name": "model-router", "config": {"add_provider_header": "x-provider", "model_to_header": "x-model"}},
    {"name": "model-mapper", "config": {"model_mapping": {"alias": MODEL}}},
    {
        "name": "ai-prompt-template",
        "config": {
            "templates": [
                {
                    "name": "greet",
                    "template": {
                        "model": ASKED_MODEL,
                        "messages": [{"role": "user", "content": "Say {{word}} to me."}],
                    },
                }
            ]
        },
    },
    {"name": "ai-prompt-decorator", "config": {"prepend": [{"role": "system", "content": KIND}]}},
    {"name": "ai-statistics", "config": {"use_default_attributes": True, "enable_path_suffixes": ["*"]}},
    {"name": "ai-data-masking", "config": {"deny_words": ["xylophone"]}},
    {"name": "ai-context-limit", "config": {"max_context_tokens": 128_000}},
)
"""Every plug-in of LLM calls, none of which has a reason to change an answer."""


class Probe(Plugin[PluginConfig]):
    """Keeps every exchange that ended."""

    name, stage = "probe", Stage.RBAC

    def compile(self) -> None:
        self.ended: list[Exchange] = []

    def on_complete(self, exchange: Exchange) -> None:
        self.ended.append(exchange)


class Setting:
    """A provider with a script, plug-ins before it, and the SDKs before these."""

    def __init__(
        self,
        place: str,
        plugins: Iterable[Mapping[str, Any]] = (),
        *,
        answers: Iterable[Scripted] = (),
        own: Sequence[Plugin[Any]] = (),
        **top: Any,
    ) -> None:
        """`place`: one of PLACES, or `direct` and `direct-sync`, with nothing before the provider."""
        self.clock = VirtualClock()
        self.clock.advance(100)  # monotonic time 0.0 stands for "did not happen"
        self.provider = FakeProvider(answers, clock=self.clock)
        self.probe = Probe()
        self.place = place
        self.is_async = place in ("asgi", "outgoing-async", "direct")
        self.direct = "direct" if self.is_async else "direct-sync"
        """The place of the same kind with nothing before the provider."""
        self._own = [*own, self.probe]
        self._config = {"outgoing" if place in OUTGOING else "plugins": list(plugins), **top}

    @property
    def exchange(self) -> Exchange:
        """The last exchange that ended."""
        return self.probe.ended[-1]

    def http(self) -> Any:
        """The HTTP client that an SDK is given."""
        options: dict[str, Any] = {"timeout": None, "trust_env": False}
        inbound: dict[str, Any] = {"plugins": self._own, "clock": self.clock}
        provider = self.provider
        to_asgi, to_wsgi = asgi_transport_class("httpx2"), wsgi_transport_class("httpx2")
        transport: Any
        match self.place:
            case "outgoing-async":
                transport = AsyncGatewayTransport(to_asgi(provider), self._config, self._own, clock=self.clock)
            case "outgoing-sync":
                transport = GatewayTransport(to_wsgi(provider.wsgi), self._config, self._own, clock=self.clock)
            case "asgi":
                transport = to_asgi(Gateway(provider, self._config, **inbound))
            case "wsgi":
                transport = to_wsgi(WSGIGateway(provider.wsgi, self._config, **inbound))
            case "direct":
                transport = to_asgi(provider)
            case _:
                transport = to_wsgi(provider.wsgi)
        client = httpx2.AsyncClient if self.is_async else httpx2.Client
        return client(transport=transport, **options)

    def sdk(self, maker: str, *, strict: bool = False, **options: Any) -> Any:
        """The client of `openai` or `anthropic`; `strict`: what comes is held to the SDK's own types.

        `http`: the HTTP client itself.
        """
        if maker == "http":
            return self.http()
        classes: dict[tuple[str, bool], Any] = {
            ("openai", True): openai.AsyncOpenAI,
            ("openai", False): openai.OpenAI,
            ("anthropic", True): anthropic.AsyncAnthropic,
            ("anthropic", False): anthropic.Anthropic,
        }
        base_url = "http://testserver" + ("/v1" if maker == "openai" else "")
        return classes[maker, self.is_async](
            http_client=self.http(),
            _strict_response_validation=strict,
            **{"api_key": KEY, "base_url": base_url, "max_retries": 0, **options},
        )

    def talk(self, maker: str, conversation: "Conversation[T]", *, passing: Iterable[float] = (), **options: Any) -> T:
        """Have a conversation with a new SDK client and close it.

        `passing`: seconds that pass meanwhile, in steps; where nothing waits, they pass as the provider blocks.
        """

        async def talking() -> T:
            async with entered(self.sdk(maker, **options)) as sdk:
                return await conversation(sdk)

        async def while_time_passes() -> T:
            loop = asyncio.get_running_loop()
            loop.time = self.clock.monotonic  # type: ignore[method-assign]
            task = asyncio.create_task(talking())
            for seconds in passing:
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                self.clock.advance(seconds)
            return await task

        if self.is_async:
            return asyncio.run(while_time_passes() if passing else talking())
        return finish(talking(), "the conversation")


async def settled(value: Any) -> Any:
    """What an SDK's method returned, waited for where it is the asynchronous one."""
    return await value if inspect.isawaitable(value) else value


async def listed(stream: Any, seen: list[Any] | None = None) -> list[Any]:
    """Everything that a stream of either kind says; put into `seen` as it comes."""
    found = [] if seen is None else seen
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            found.append(item)  # what came before an exception is kept
    else:
        for item in stream:
            found.append(item)
    return found


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Be inside of a context manager of either kind."""
    if hasattr(manager, "__aenter__"):
        async with manager as inside:
            yield inside
    else:
        with manager as inside:
            yield inside


class Log(logging.Handler):
    """What `ai-statistics` logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(record.getMessage()))


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """The lines that are logged meanwhile."""
    handler, logger = Log(), logging.getLogger("aigw_middleware.ai_log")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


EVERY_PLACE = pytest.mark.parametrize("place", PLACES)
