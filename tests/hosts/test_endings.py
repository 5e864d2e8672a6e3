"""`on_complete` runs exactly once for every exchange, whatever its end, and says how it ended."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from aigw_middleware import Exchange, Gateway, Needs, Plugin, PluginConfig, Refusal, Reply, Stage, current_exchange
from aigw_middleware.testing.matrix import Watcher

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
ONE = {"type": "http.response.body", "body": b"one", "more_body": True}
TWO = {"type": "http.response.body", "body": b"two", "more_body": True}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


def scope(**changes: Any) -> dict[str, Any]:
    made = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    made.update(changes)
    return made


class Waiting(Plugin[PluginConfig]):
    """A hook that waits for ever."""

    name, stage, priority = "waiting", Stage.DEFAULT, 1

    async def on_request(self, exchange: Exchange) -> None:
        await asyncio.Event().wait()


class Reading(Plugin[PluginConfig]):
    """Needs the request's and the response's body."""

    name, stage, priority = "reading", Stage.DEFAULT, 2

    def on_request_body(self, exchange: Exchange) -> None:
        assert exchange.request.loaded

    def on_response_body(self, exchange: Exchange) -> None:
        assert exchange.response is not None


class Failing(Plugin[PluginConfig]):
    """Raises where it is told to."""

    name, stage, priority, on_failure = "failing", Stage.DEFAULT, 3, "deny"
    where = ""

    def on_request(self, exchange: Exchange) -> None:
        if self.where == "request":
            raise ValueError("hidden")

    def on_response(self, exchange: Exchange) -> None:
        if self.where == "response":
            raise ValueError("hidden")

    def on_complete(self, exchange: Exchange) -> None:
        if self.where == "complete":
            raise ValueError("hidden")


class Ending:
    """One way for an exchange to go: what the application sends, what the server does, what is expected."""

    def __init__(self, sends: list[Any], outcome: str, **options: Any) -> None:
        self.sends = sends
        self.outcome = outcome
        self.plugins = options.get("plugins", [])
        self.body = options.get("body", [{"type": "http.request", "body": b"{}", "more_body": False}])
        self.raises_at = options.get("raises_at")
        self.send_fails_at = options.get("send_fails_at")
        self.raised = options.get("raised")
        self.reads = options.get("reads", 0)


def failing(where: str) -> Failing:
    plugin = Failing()
    plugin.where = where
    return plugin


ENDINGS = {
    "finished": Ending([START, ONE, LAST], "completed"),
    "finished, body read": Ending([START, ONE, LAST], "completed", plugins=[Reading()], reads=1),
    "nothing sent": Ending([], "failed"),
    "stopped after start": Ending([START], "failed"),
    "stopped in the body": Ending([START, ONE], "failed"),
    "raises first": Ending([], "failed", raises_at=0, raised=RuntimeError),
    "raises after start": Ending([START], "failed", raises_at=1, raised=RuntimeError),
    "raises in the body": Ending([START, ONE, TWO], "failed", raises_at=2, raised=RuntimeError),
    "raises after the end": Ending([START, ONE, LAST], "completed", raises_at=3, raised=RuntimeError),
    "client gone at start": Ending([START, ONE, LAST], "aborted", send_fails_at=0, raised=OSError),
    "client gone in the body": Ending([START, ONE, TWO, LAST], "aborted", send_fails_at=2, raised=OSError),
    "client gone at the last": Ending([START, ONE, LAST], "aborted", send_fails_at=2, raised=OSError),
    "client gone, body held": Ending(
        [START, ONE, LAST], "aborted", send_fails_at=0, raised=OSError, plugins=[Reading()]
    ),
    "client gone while sending": Ending(
        [START, ONE, LAST],
        "aborted",
        plugins=[Reading()],
        body=[{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}],
    ),
    "application sees the client go": Ending([START, ONE], "aborted", body=[{"type": "http.disconnect"}], reads=1),
    "request hook fails": Ending([START, LAST], "refused", plugins=[failing("request")]),
    "response hook fails": Ending([START, LAST], "refused", plugins=[failing("response")]),
    "complete hook fails": Ending([START, LAST], "completed", plugins=[failing("complete")]),
}


def run(ending: Ending, *, cancel: bool = False) -> tuple[Watcher, list[Any], BaseException | None]:
    watcher = Watcher()
    sent: list[Any] = []
    incoming = list(ending.body)

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if ending.send_fails_at == len(sent):
            raise OSError("gone")
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(ending.reads):
            await receive()
        for number, message in enumerate(ending.sends):
            if ending.raises_at == number:
                raise RuntimeError("the service failed")
            await send(message)
        if ending.raises_at == len(ending.sends):
            raise RuntimeError("the service failed")

    async def exchange() -> BaseException | None:
        gateway = Gateway(app, plugins=[*ending.plugins, watcher])
        try:
            await gateway(scope(), receive, send)
        except Exception as error:
            return error
        return None

    return watcher, sent, asyncio.run(exchange())


@pytest.mark.parametrize("name", ENDINGS)
def test_completes_exactly_once(name: str) -> None:
    ending = ENDINGS[name]
    watcher, _, error = run(ending)
    assert watcher.outcomes == [ending.outcome]
    if ending.raised is None:
        assert error is None
    else:
        assert isinstance(error, ending.raised)


@pytest.mark.parametrize("place", ["hook", "application", "mid-stream"])
def test_cancelled_is_aborted_once_and_stays_cancelled(place: str) -> None:
    watcher = Watcher()
    reached = contextvars.ContextVar("reached", default=False)
    del reached

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if place == "mid-stream":
            await send(START)
            await send(ONE)
        await asyncio.Event().wait()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    async def exchange() -> None:
        gateway = Gateway(app, plugins=[watcher, *([Waiting()] if place == "hook" else [])])
        task = asyncio.ensure_future(gateway(scope(), receive, send))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(exchange())
    assert watcher.outcomes == ["aborted"]


def test_no_second_start_after_a_hook_failed_late() -> None:
    class Late(Plugin[PluginConfig]):
        name, stage, priority, on_failure = "late", Stage.DEFAULT, 3, "deny"
        needs = Needs.NOTHING

        def on_event(self, exchange: Exchange, event: Any) -> None:
            raise ValueError("hidden")

    events = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    body = {"type": "http.response.body", "body": b"data: x\n\n", "more_body": True}
    watcher, sent, error = run(Ending([events, body, body, LAST], "failed", plugins=[Late()]))
    assert [message["type"] for message in sent].count("http.response.start") == 1
    assert sent[-1]["more_body"] is False
    assert watcher.outcomes == ["failed"]
    assert error is None


def test_error_before_the_start_is_answered_and_raised() -> None:
    _, sent, error = run(ENDINGS["raises first"])
    assert sent[0]["status"] == 500
    assert isinstance(error, RuntimeError)
    assert b"the service failed" not in sent[1]["body"]


def test_complete_runs_before_background_work_and_context_reaches_the_application() -> None:
    order: list[str] = []

    class Last(Plugin[PluginConfig]):
        name = "last"

        def on_complete(self, exchange: Exchange) -> None:
            order.append("complete")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert current_exchange() is scope["state"]["aigw"]
        await send(START)
        await send(LAST)
        order.append("background")

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        order.append(message["type"])

    async def exchange() -> None:
        await Gateway(app, plugins=[Last()])(scope(), receive, send)
        assert current_exchange() is None

    asyncio.run(exchange())
    assert order == ["http.response.start", "http.response.body", "complete", "background"]


def test_completion_waits_for_trailers() -> None:
    start = {**START, "trailers": True}
    trailers = {"type": "http.response.trailers", "headers": [], "more_trailers": False}
    watcher, sent, _ = run(Ending([start, ONE, LAST, trailers], "completed"))
    assert sent[-1] is trailers
    assert watcher.outcomes == ["completed"]
    assert run(Ending([start, ONE, LAST], "failed"))[0].outcomes == ["failed"]


def test_a_streamed_reply_is_closed_when_the_client_leaves() -> None:
    closed: list[bool] = []

    class Streaming(Plugin[PluginConfig]):
        name = "streaming"

        def on_request(self, exchange: Exchange) -> Reply:
            async def pieces() -> Any:
                try:
                    for _ in range(10):
                        yield b"piece"
                finally:
                    closed.append(True)

            return Reply(200, [], pieces(), content_type="text/plain")

    watcher, sent, _ = run(Ending([], "aborted", plugins=[Streaming()], send_fails_at=3))
    assert watcher.outcomes == ["aborted"]
    assert closed == [True]
    assert len(sent) == 3


def test_refusal_after_the_start_of_nothing_is_not_sent_twice() -> None:
    class Two(Plugin[PluginConfig]):
        name = "two"

        def on_response(self, exchange: Exchange) -> Refusal:
            return Refusal(451, "law", "Not here.")

    watcher, sent, _ = run(Ending([START, ONE, LAST], "refused", plugins=[Two()]))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 451
    assert watcher.outcomes == ["refused"]
