"""What client transports get wrong: connections that stay busy, bodies consumed, errors wrapped, headers merged."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from aigw_middleware import Exchange, Needs, Plugin, PluginConfig, Refusal, Reply, Stage
from aigw_middleware.hosts.client import transport_classes
from aigw_middleware.testing.matrix import Watcher

NOTHING: dict[str, Any] = {"outgoing": []}
CHUNKS = (b"one", b"two", b"three")
JSON = [(b"content-type", b"application/json")]

FLAVORS = pytest.mark.parametrize(
    ("library", "asynchronous"),
    [("httpx", False), ("httpx", True), ("httpx2", False), ("httpx2", True)],
    ids=["httpx", "httpx-async", "httpx2", "httpx2-async"],
)


def made(name: str, **members: Any) -> Plugin[Any]:
    plugin: Plugin[Any] = type("Made", (Plugin,), {"name": name, "stage": Stage.DEFAULT, "priority": 1, **members})()
    return plugin


def mark(self: Any, exchange: Exchange) -> None:
    assert exchange.response is not None
    exchange.response.headers.set("x-mark", "1")


def refuse(self: Any, exchange: Exchange) -> Refusal:
    return Refusal(403, "no", "No.")


def nothing(self: Any, exchange: Exchange) -> None:
    return None


class InnerError(Exception):
    """Raised by the inner transport; must arrive as it is."""


class Service:
    """What the inner transport answers, and what it saw: a pool that counts busy connections."""

    def __init__(
        self,
        *answers: tuple[int, list[tuple[bytes, bytes]], tuple[bytes, ...]],
        fails_before: bool = False,
        fails_after: int | None = None,
        reads: bool = True,
    ) -> None:
        self.answers = list(answers) or [(200, [], CHUNKS)]
        self.fails_before = fails_before
        self.fails_after = fails_after
        self.reads = reads
        self.error = InnerError("from the inner transport")
        self.opened = 0
        self.closed = 0
        self.transport_closed = 0
        self.iterating = 0
        self.left_iterating = 0
        self.requests: list[Any] = []
        self.bodies: list[bytes] = []

    def answer(self) -> tuple[int, list[tuple[bytes, bytes]], tuple[bytes, ...]]:
        if self.fails_before:
            raise self.error
        self.opened += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def chunks(self, chunks: tuple[bytes, ...]) -> Iterator[bytes]:
        for number, chunk in enumerate(chunks):
            if number == self.fails_after:
                raise self.error
            yield chunk


def inner(service: Service, library: str, asynchronous: bool) -> Any:
    """Return a transport of `library` that answers for `service`."""
    module = importlib.import_module(library)

    class Stream(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, chunks: tuple[bytes, ...]) -> None:
            self.chunks = chunks
            self.open = True

        def __iter__(self) -> Iterator[bytes]:
            return service.chunks(self.chunks)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            service.iterating += 1
            try:
                for chunk in service.chunks(self.chunks):
                    await asyncio.sleep(0)
                    yield chunk
            finally:
                service.iterating -= 1

        def close(self) -> None:
            service.left_iterating += service.iterating
            service.closed += self.open
            self.open = False

        async def aclose(self) -> None:
            await asyncio.sleep(0)
            self.close()

    def respond() -> Any:
        status, headers, chunks = service.answer()
        return module.Response(status, headers=headers, stream=Stream(chunks), extensions={"from": "inner"})

    class Blocking(module.BaseTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            service.requests.append(request)
            if service.reads:
                service.bodies.append(b"".join(request.stream))
            return respond()

        def close(self) -> None:
            service.transport_closed += 1

    class Asynchronous(module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            service.requests.append(request)
            if service.reads:
                service.bodies.append(b"".join([chunk async for chunk in request.stream]))
            return respond()

        async def aclose(self) -> None:
            service.transport_closed += 1

    return Asynchronous() if asynchronous else Blocking()


def talk(
    service: Service,
    library: str,
    asynchronous: bool,
    plugins: list[Plugin[Any]],
    use: Callable[[Any], Any],
    **options: Any,
) -> Any:
    """Make a client around the gateway's transport and return what `use(client)` returns; awaited where it waits."""
    module = importlib.import_module(library)
    made_inner = inner(service, library, asynchronous)
    blocking, waiting = transport_classes(library)
    if not asynchronous:
        with module.Client(transport=blocking(made_inner, NOTHING, plugins), **options) as client:
            return use(client)

    async def run() -> Any:
        async with module.AsyncClient(transport=waiting(made_inner, NOTHING, plugins), **options) as client:
            result = use(client)
            return await result if inspect.isawaitable(result) else result

    return asyncio.run(run())


def get(client: Any) -> Any:
    return client.get("http://llm/")


# ---------------------------------------------------------------------- connections are let go


async def around(self: Any, exchange: Exchange, call: Any) -> None:
    await call()


async def throw_away(self: Any, exchange: Exchange, call: Any) -> Reply:
    outcome = await call(hold=lambda status, headers: True)
    assert outcome.held
    return Reply(203, [], b"instead")


async def fail_after_call(self: Any, exchange: Exchange, call: Any) -> None:
    await call()
    raise ValueError("hidden")


STACKS: dict[str, tuple[dict[str, Any], int]] = {
    "watched": ({}, 200),
    "marks": ({"on_response": mark}, 200),
    "held": ({"on_response_body": nothing}, 200),
    "around": ({"on_upstream": around}, 200),
    "refused on its headers": ({"on_response": refuse}, 403),
    "refused on its body": ({"on_response_body": refuse}, 403),
    "thrown away": ({"on_upstream": throw_away}, 203),
    "fails around": ({"on_upstream": fail_after_call, "on_failure": "deny"}, 200),
}
TEXT = [(b"content-type", b"text/plain")]


@FLAVORS
@pytest.mark.parametrize("stack", STACKS)
def test_no_connection_stays_busy(stack: str, library: str, asynchronous: bool) -> None:
    members, status = STACKS[stack]
    for leave in (False, True):
        service = Service((200, TEXT, CHUNKS))
        watcher = Watcher()

        def use(client: Any, leave: bool = leave) -> Any:
            request = client.build_request("GET", "http://llm/")
            if not asynchronous:
                response = client.send(request, stream=True)
                for _ in response.iter_raw():
                    if leave:
                        break
                response.close()
                return response.status_code

            async def run() -> int:
                response = await client.send(request, stream=True)
                async for _ in response.aiter_raw():
                    if leave:
                        break
                await response.aclose()
                return int(response.status_code)

            return run()

        assert talk(service, library, asynchronous, [made("tested", **members), watcher], use) == status
        assert (service.opened, service.closed, service.transport_closed) == (1, 1, 1)
        assert service.left_iterating == 0
        assert len(watcher.outcomes) == 1


@FLAVORS
def test_a_response_never_read_is_let_go(library: str, asynchronous: bool) -> None:
    service, watcher = Service(), Watcher()

    def use(client: Any) -> Any:
        request = client.build_request("GET", "http://llm/")
        if not asynchronous:
            client.send(request, stream=True).close()
            return None

        async def run() -> None:
            await (await client.send(request, stream=True)).aclose()

        return run()

    talk(service, library, asynchronous, [watcher], use)
    assert (service.opened, service.closed, watcher.outcomes) == (1, 1, ["aborted"])


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("where", ["response hook", "held body", "stream"])
def test_a_cancelled_call_lets_its_connection_go(where: str, library: str) -> None:
    waiting = asyncio.Event()

    class Endless(Service):
        def chunks(self, chunks: tuple[bytes, ...]) -> Iterator[bytes]:
            while True:  # the stream of this service waits a turn before each piece
                yield b"more"

    async def wait(self: Any, exchange: Exchange) -> None:
        waiting.set()
        await asyncio.Event().wait()

    members: dict[str, Any] = {"on_response": wait} if where == "response hook" else {}
    if where == "held body":
        members = {"on_response_body": nothing}
    service, watcher = Endless((200, TEXT, ())), Watcher()
    _, transport = transport_classes(library)

    async def run() -> None:
        module = importlib.import_module(library)
        outer = transport(inner(service, library, True), NOTHING, [made("tested", **members), watcher])
        async with module.AsyncClient(transport=outer) as client:
            task = asyncio.ensure_future(client.get("http://llm/"))
            for _ in range(20):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert (service.opened, service.closed, watcher.outcomes) == (1, 1, ["aborted"])


# ---------------------------------------------------------------------- errors


@FLAVORS
@pytest.mark.parametrize("fails", ["before", "in the body", "before, with on_error", "while held", "before, around"])
def test_errors_of_the_inner_transport_arrive_as_they_are(fails: str, library: str, asynchronous: bool) -> None:
    before = fails.startswith("before")
    service = Service((200, TEXT, CHUNKS), fails_before=before, fails_after=1)
    stacks: dict[str, dict[str, Any]] = {
        "before, with on_error": {"on_error": lambda self, exchange, error: None},
        "while held": {"on_response_body": nothing},
        "before, around": {"on_upstream": around},
    }
    members = stacks.get(fails, {})
    watcher = Watcher()
    with pytest.raises(InnerError) as caught:
        talk(service, library, asynchronous, [made("tested", **members), watcher], get)
    assert caught.value is service.error
    assert caught.value.__cause__ is None
    assert (service.opened, service.closed) == ((0, 0) if before else (1, 1))
    assert watcher.outcomes == ["failed"]


@FLAVORS
def test_errors_pass_the_silent_path_too(library: str, asynchronous: bool) -> None:
    service = Service(fails_before=True)
    with pytest.raises(InnerError) as caught:
        talk(service, library, asynchronous, [made("quiet", on_request=nothing)], get)
    assert caught.value is service.error


@FLAVORS
def test_a_failure_while_held_can_be_retried(library: str, asynchronous: bool) -> None:
    class Once(Service):
        def chunks(self, chunks: tuple[bytes, ...]) -> Iterator[bytes]:
            self.fails_after = 1 if self.opened == 1 else None
            return super().chunks(chunks)

    errors: list[Any] = []

    async def retry(self: Any, exchange: Exchange, call: Any) -> None:
        outcome = await call()
        errors.append(outcome.error)
        if outcome.error is not None and not outcome.started:
            errors.append((await call()).error)

    plugins = [made("held", on_response_body=nothing), made("retry", on_upstream=retry, needs=Needs.REPLAY)]
    service = Once((200, TEXT, CHUNKS))
    assert talk(service, library, asynchronous, plugins, get).content == b"onetwothree"
    assert errors == [service.error, None]
    assert (service.opened, service.closed) == (2, 2)


# ---------------------------------------------------------------------- request bodies


@FLAVORS
@pytest.mark.parametrize("attempts", [2, 3])
def test_a_retry_sends_the_whole_body_again(attempts: int, library: str, asynchronous: bool) -> None:
    async def retry(self: Any, exchange: Exchange, call: Any) -> None:
        for _ in range(attempts):
            outcome = await call(hold=lambda status, headers: status == 503)
            if not outcome.held:
                return

    busy: tuple[int, list[tuple[bytes, bytes]], tuple[bytes, ...]] = (503, [], (b"busy",))
    service = Service(*[busy] * (attempts - 1), (200, [], CHUNKS))
    plugins = [made("retry", on_upstream=retry, needs=Needs.REPLAY)]

    def use(client: Any) -> Any:
        return client.post("http://llm/", content=_content(asynchronous), headers={"content-type": "text/plain"})

    response = talk(service, library, asynchronous, plugins, use)
    assert (response.status_code, response.content) == (200, b"onetwothree")
    assert service.bodies == [b"first second"] * attempts
    assert service.opened == service.closed == attempts


def _content(asynchronous: bool) -> Any:
    """A body that can be read only once."""
    if not asynchronous:
        return iter([b"first ", b"second"])

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first "
        yield b"second"

    return chunks()


@FLAVORS
@pytest.mark.parametrize("hook", ["on_request", "on_response", "on_complete"])
def test_a_streamed_request_body_is_left_alone_when_nobody_needs_it(
    hook: str, library: str, asynchronous: bool
) -> None:
    consumed: list[str] = []

    def blocking() -> Iterator[bytes]:
        consumed.append("read")
        yield b"streamed"

    async def waiting() -> AsyncIterator[bytes]:
        consumed.append("read")
        yield b"streamed"

    service = Service(reads=False)
    plugins = [made("tested", **{hook: nothing}), made("header", on_request=_set_header)]

    def use(client: Any) -> Any:
        return client.post("http://llm/", content=waiting() if asynchronous else blocking())

    assert talk(service, library, asynchronous, plugins, use).status_code == 200
    assert consumed == []
    assert service.requests[0].headers["x-added"] == "1"
    assert service.requests[0].headers["transfer-encoding"] == "chunked"


def _set_header(self: Any, exchange: Exchange) -> None:
    exchange.request.headers.set("x-added", "1")


@FLAVORS
def test_an_edited_streamed_body_leaves_with_its_length(library: str, asynchronous: bool) -> None:
    def replace(self: Any, exchange: Exchange) -> None:
        exchange.request.body = exchange.request.body.upper()

    service = Service()

    def use(client: Any) -> Any:
        return client.post("http://llm/", content=_content(asynchronous))

    talk(service, library, asynchronous, [made("upper", on_request_body=replace)], use)
    assert service.bodies == [b"FIRST SECOND"]
    headers = service.requests[0].headers
    assert headers["content-length"] == "12"
    assert "transfer-encoding" not in headers


@FLAVORS
def test_a_body_over_the_limit_is_refused_while_it_is_read(library: str, asynchronous: bool) -> None:
    taken: list[int] = []

    def blocking() -> Iterator[bytes]:
        for number in range(1_000):
            taken.append(number)
            yield b"x" * 65_536

    async def waiting() -> AsyncIterator[bytes]:
        for chunk in blocking():
            yield chunk

    service = Service()
    blocking_class, waiting_class = transport_classes(library)
    module = importlib.import_module(library)
    config = {**NOTHING, "max_body_bytes": 100_000}
    plugins = [made("reads", on_request_body=nothing)]
    if asynchronous:

        async def run() -> Any:
            transport = waiting_class(inner(service, library, True), config, plugins)
            async with module.AsyncClient(transport=transport) as client:
                return await client.post("http://llm/", content=waiting())

        response = asyncio.run(run())
    else:
        with module.Client(transport=blocking_class(inner(service, library, False), config, plugins)) as client:
            response = client.post("http://llm/", content=blocking())
    assert response.status_code == 413
    assert len(taken) == 2
    assert service.requests == []


# ---------------------------------------------------------------------- what comes back

GZIP = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]


@FLAVORS
@pytest.mark.parametrize("hook", ["on_response", "on_response_body", "on_text"])
def test_compressed_answers_are_read_decoded_and_pass_as_they_came(hook: str, library: str, asynchronous: bool) -> None:
    packed = gzip.compress(b'{"choices":[]}')
    service = Service((200, [*GZIP, (b"content-length", b"%d" % len(packed))], (packed[:9], packed[9:])))
    seen: list[bytes] = []

    def look(self: Any, exchange: Exchange, *more: Any) -> None:
        assert exchange.response is not None
        seen.append(exchange.response.body)

    response = talk(service, library, asynchronous, [made("looks", **{hook: look})], get)
    assert response.json() == {"choices": []}
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["content-length"] == str(len(packed))
    assert [body for body in seen if body] == ([b'{"choices":[]}'] if hook == "on_response_body" else [])


@FLAVORS
@pytest.mark.parametrize("stack", ["silent", "marks", "held"])
def test_repeated_headers_credentials_and_extensions_survive(stack: str, library: str, asynchronous: bool) -> None:
    headers = [
        (b"content-type", b"text/plain"),
        (b"set-cookie", b"one=1; Path=/"),
        (b"set-cookie", b"two=2; Path=/a"),
        (b"x-bytes", b"caf\xe9"),
    ]
    service = Service((200, headers, CHUNKS))
    members: dict[str, Any] = {
        "silent": {"on_request": nothing},
        "marks": {"on_request": _set_header, "on_response": mark},
        "held": {"on_request_body": nothing, "on_response_body": nothing},
    }[stack]

    def use(client: Any) -> Any:
        return client.post("http://llm/", content=b"{}", headers={"authorization": "Bearer secret"})

    response = talk(service, library, asynchronous, [made("tested", **members)], use)
    assert response.headers.get_list("set-cookie") == ["one=1; Path=/", "two=2; Path=/a"]
    assert (b"x-bytes", b"caf\xe9") in [(name.lower(), value) for name, value in response.headers.raw]
    assert response.extensions["from"] == "inner"
    assert service.requests[0].headers.get_list("authorization") == ["Bearer secret"]
    assert service.requests[0].extensions["timeout"]
    assert service.bodies == [b"{}"]
    assert response.request.url == "http://llm/"


@FLAVORS
def test_credentials_are_not_carried_to_another_origin(library: str, asynchronous: bool) -> None:
    service = Service((302, [(b"location", b"http://elsewhere/")], ()), (200, [], CHUNKS))

    class Count(Plugin[PluginConfig]):
        name = "count"

        def compile(self) -> None:
            self.seen: list[tuple[str, bool]] = []

        def on_request(self, exchange: Exchange) -> None:
            headers = exchange.request.headers
            self.seen.append((exchange.request.domain, "authorization" in headers))
            headers.set("x-count", "1")

    count = Count()

    def use(client: Any) -> Any:
        return client.get("http://llm/", headers={"authorization": "Bearer secret"})

    assert talk(service, library, asynchronous, [count], use, follow_redirects=True).status_code == 200
    assert count.seen == [("llm", True), ("elsewhere", False)]
    assert "authorization" not in service.requests[1].headers
