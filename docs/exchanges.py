"""Runs the example of a plug-in's docstring: a request goes through it to the fake provider, and what came back is shown.

What is run stands in `exchanges.toml`. Time is virtual and ids are constant, so the same is printed every time.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aigw_middleware import WSGIGateway
from aigw_middleware.gateway import Core
from aigw_middleware.plugin import OUTBOUND, Plugin
from aigw_middleware.testing import Answer, FakeProvider, VirtualClock, wsgi_exchange

FILE = Path(__file__).with_name("exchanges.toml")
AI_LOG = "aigw_middleware.ai_log"
MAX_WIDTH = 110  # characters of a line that is written as it is; longer JSON is laid out
KEYS = frozenset(
    {
        *("title", "method", "path", "headers", "json", "status", "times"),
        *("stream_pieces", "delay", "service", "brief", "logs"),
    }
)


class ExampleFailed(Exception):
    """An example does not load, or does not do what the page says."""


def load_exchanges() -> dict[str, list[dict[str, Any]]]:
    """Return the exchanges to run, by plug-in. Raises ExampleFailed for a key that does not exist."""
    exchanges: dict[str, list[dict[str, Any]]] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    for name, items in exchanges.items():
        for item in items:
            if not item.keys() <= KEYS:
                raise ExampleFailed(f"{name}: unknown keys {sorted(item.keys() - KEYS)}")
    return exchanges


@contextmanager
def environment_of(text: str) -> Iterator[None]:
    """Set every environment variable that a configuration refers to, as an operator would have done."""
    names = set(re.findall(r"\benv:(\w+)", text))
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: f"made-up-value-of-{name}-{'0' * 16}" for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def check_example(plugin: type[Plugin[Any]], example: Mapping[str, Any]) -> None:
    """Load an example in each direction that the plug-in has. Raises ConfigError."""
    with environment_of(json.dumps(example)):
        for direction in plugin.directions:
            other = {"outgoing": example["plugins"]} if direction is OUTBOUND else example
            Core(other, direction=direction)


def run_exchange(name: str, example: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Run one exchange and return it as Markdown. Raises ExampleFailed when it ends with another status."""
    clock = VirtualClock()
    scripted = Answer(chunks=wanted.get("stream_pieces", ()), delay_response=float(wanted.get("delay", 0)))
    provider = FakeProvider(default=scripted, clock=clock)
    with environment_of(json.dumps(example)):
        gateway = WSGIGateway(provider.wsgi, example, clock=clock)
    gateway.core.process_runtime().random_id = lambda: "0" * 32  # type: ignore[method-assign]
    body = [json.dumps(wanted["json"]).encode()] if "json" in wanted else []
    headers = [*wanted.get("headers", {}).items(), *([("content-type", "application/json")] if body else [])]
    method, path = wanted.get("method", "POST" if body else "GET"), wanted.get("path", "/v1/chat/completions")
    with _captured_log() as lines:
        for _ in range(wanted.get("times", 1)):
            answer = wsgi_exchange(gateway, method, path, headers=headers, body=body)
    gateway.close()
    if answer.exception is not None:
        raise ExampleFailed(f"{name}, {wanted['title']!r}: {answer.exception!r}")
    if answer.status != wanted["status"]:
        raise ExampleFailed(f"{name}, {wanted['title']!r}: status {answer.status}, not {wanted['status']}")
    asked = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in wanted.get("headers", {}).items())]
    sent = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{key.lower()}: {value}" for key, value in answer.headers)]
    parts = [f"### {wanted['title']}", _message(asked, body[0] if body else b"")]
    for shown in wanted.get("service", ()):
        parts += [f"The service gets, as {'its body' if shown == 'body' else 'a header'}:", _seen(provider, shown)]
    parts += ["The caller gets:", _message(sent, b"" if wanted.get("brief") else answer.body)]
    if wanted.get("logs"):
        parts += ["In the log:", _fenced("json", _laid_out(lines[-1]))]
    return "\n\n".join(parts)


def _seen(provider: FakeProvider, shown: str) -> str:
    """Return one thing of the request that reached the provider."""
    request = provider.requests[-1]
    if shown == "body":
        return _fenced("json", _laid_out(request.body.decode()))
    return _fenced("text", f"{shown}: {request.header(shown)}")


def _message(head: list[str], body: bytes) -> str:
    return _fenced("http", "\n".join([*head, "", _laid_out(body.decode())]).rstrip("\n"))


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _laid_out(text: str) -> str:
    """Return JSON that is too long for one line over several lines, everything else as it is."""
    if len(text) <= MAX_WIDTH or text[:1] not in "{[":
        return text.rstrip("\n")
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


@contextmanager
def _captured_log() -> Iterator[list[str]]:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == AI_LOG:
                lines.append(record.getMessage())

    logger, handler = logging.getLogger("aigw_middleware"), Keep()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
