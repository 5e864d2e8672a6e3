"""Reload: atomic, on file change and by call; a bad file changes nothing; exchanges under way finish on the old one."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aigw_middleware import ConfigError, Exchange, Gateway, Plugin, PluginConfig, Refusal, Registry, Stage
from aigw_middleware.gateway import Core
from aigw_middleware.runtime import Runtime
from aigw_middleware.state.store import Limit
from aigw_middleware.testing import asgi_exchange


class MarkConfig(PluginConfig):
    value: str = "one"


EVENTS: list[str] = []


class Mark(Plugin[MarkConfig]):
    """Marks responses; tells when it is set up and torn down."""

    name, stage, priority = "mark", Stage.DEFAULT, 100

    def setup(self, runtime: Runtime) -> None:
        EVENTS.append(f"setup {self.config.value}")

    async def teardown(self, runtime: Runtime) -> None:
        EVENTS.append(f"teardown {self.config.value}")

    def on_response(self, exchange: Exchange) -> None:
        assert exchange.response is not None
        exchange.response.headers.set("x-mark", self.config.value)

    def on_complete(self, exchange: Exchange) -> None:
        assert exchange.snapshot.config.plugins[0].config["value"] == self.config.value  # never a mixture


class Once(Plugin[PluginConfig]):
    """Lets five requests pass, ever, and counts in its kept state too."""

    name, stage, priority = "once", Stage.DEFAULT, 90

    def on_request(self, exchange: Exchange) -> Refusal | None:
        kept: list[int] = exchange.runtime.state(self, "calls", list)
        kept.append(1)
        taken = exchange.ports.store.take_now(f"{self.context.entry}:all", Limit(5, 1e9))
        return None if taken.allowed else Refusal(429, "enough", f"Enough after {len(kept)}.")


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.register(Mark)
    made.register(Once)
    EVENTS.clear()
    return made


def write(path: Path, value: str, *, extra: str = "") -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(
        f"reload_interval: 0.000001\nplugins:\n  - {{name: mark, config: {{value: {value}}}}}\n{extra}"
    )
    os.replace(temporary, path)


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def mark_of(gateway: Gateway) -> tuple[int | None, str]:
    result = await asgi_exchange(gateway)
    return result.status, dict(result.headers).get(b"x-mark", b"").decode()


def wait_for_reload() -> None:
    for thread in threading.enumerate():
        if thread.name == "aigw-reload":
            thread.join(10)


def test_a_changed_file_is_taken_up_and_a_bad_one_is_not(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "aigw.yaml"
    write(path, "one")
    gateway = Gateway(app, path, registry=registry)

    async def run() -> None:
        assert await mark_of(gateway) == (200, "one")
        write(path, "two")
        await mark_of(gateway)
        wait_for_reload()
        assert await mark_of(gateway) == (200, "two")
        with caplog.at_level(logging.ERROR):
            write(path, "three", extra="plugin: []\n")
            await mark_of(gateway)
            wait_for_reload()
        assert await mark_of(gateway) == (200, "two")
        assert gateway.core.reload_error is not None
        assert "did you mean 'plugins'?" in caplog.text
        write(path, "four")
        await mark_of(gateway)
        wait_for_reload()
        assert await mark_of(gateway) == (200, "four")
        assert gateway.core.reload_error is None
        await gateway.aclose()

    asyncio.run(run())


def test_reload_by_call_raises_and_keeps_the_old(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "aigw.yaml"
    write(path, "one")
    core = Core(path, registry=registry)
    before = core.snapshot
    path.write_text("plugins: [{name: nobody}]")
    with pytest.raises(ConfigError):
        core.reload()
    assert core.snapshot is before


def test_what_did_not_change_is_carried_over_as_the_same_object(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "aigw.yaml"
    write(path, "one", extra="  - {name: once}\n")
    core = Core(path, registry=registry)
    before = {plugin.name: plugin for plugin in core.snapshot.plugins}
    write(path, "two", extra="  - {name: once, priority: 95}\n")
    after = {plugin.name: plugin for plugin in core.reload().plugins}
    assert after["mark"] is not before["mark"]
    write(path, "three", extra="  - {name: once, priority: 95}\n")
    again = {plugin.name: plugin for plugin in core.reload().plugins}
    assert again["once"] is after["once"]
    assert core.snapshot.generation == 3


def test_setup_once_and_teardown_when_nobody_uses_it_any_more(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "aigw.yaml"
    write(path, "one")
    gateway = Gateway(app, path, registry=registry)

    async def run() -> None:
        await asyncio.gather(*(mark_of(gateway) for _ in range(3)))
        assert EVENTS == ["setup one"]
        for value in ("two", "three"):
            write(path, value)
            gateway.reload()
            await mark_of(gateway)
        assert [event for event in EVENTS if event.startswith("setup")] == ["setup one", "setup two", "setup three"]
        assert EVENTS.index("teardown one") > EVENTS.index("setup two")
        await gateway.aclose()
        await gateway.aclose()
        assert sorted(event for event in EVENTS if event.startswith("teardown")) == [
            "teardown one",
            "teardown three",
            "teardown two",
        ]

    asyncio.run(run())


def test_fifty_reloads_a_second_break_no_stream_and_forget_nothing(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "aigw.yaml"
    write(path, "v0", extra="  - {name: once}\n")

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(50):
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def run() -> None:
        config = {"plugins": [{"name": "mark", "config": {"value": "v0"}}]}
        streams = Gateway(streaming, config, registry=registry)
        limited = Gateway(app, path, registry=registry)
        for _ in range(5):
            assert (await mark_of(limited))[0] == 200
        assert (await mark_of(limited))[0] == 429

        async def one() -> Any:
            return await asgi_exchange(streams)

        running = [asyncio.ensure_future(one()) for _ in range(200)]
        for number in range(50):
            write(path, f"v{number + 1}", extra="  - {name: once}\n")
            limited.reload()
            streams.core.source._given = {"plugins": [{"name": "mark", "config": {"value": f"v{number + 1}"}}]}
            streams.reload()
            assert (await mark_of(limited))[0] == 429
            await asyncio.sleep(0)
        results = await asyncio.gather(*running)
        expected = b"".join(b"data: %d\n\n" % number for number in range(50))
        assert all(result.body == expected and result.exception is None for result in results)
        refused = await asgi_exchange(limited)
        assert b"Enough after 57." in refused.body
        await streams.aclose()
        await limited.aclose()

    asyncio.run(run())
