"""The host matrix: one scripted exchange, every host, one canonical transcript.

    script = Script(path="/v1/things", answer=Scripted(chunks=[b"one", b"two"]))
    transcripts = run_everywhere(script, lambda: [MyPlugin(...)])
    assert_same(transcripts)

Plug-ins' tests use it, so that what holds on ASGI holds on WSGI, Django and in client transports.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..consumers import Consumer
from ..exchange import Exchange
from ..plugin import INBOUND, OUTBOUND, Plugin, PluginConfig, Stage

Pairs = Sequence[tuple[str, str]]

INBOUND_HOSTS = ("asgi", "wsgi", "django", "django-async")
OUTBOUND_HOSTS = ("httpx", "httpx-async", "httpx2", "httpx2-async")
HOSTS = (*INBOUND_HOSTS, *OUTBOUND_HOSTS)


@dataclass(frozen=True)
class Scripted:
    """The answer of the service: `chunks` as it sends them; `fails_after` chunks it raises; `streams`: not in one piece."""

    status: int = 200
    headers: Pairs = (("content-type", "text/plain"),)
    chunks: Sequence[bytes] = (b"hello",)
    streams: bool = True
    fails_before: bool = False
    fails_after: int | None = None


@dataclass(frozen=True)
class Script:
    """One exchange. `chunked` sends the request's body without a length; `leave_after` chunks the caller closes."""

    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: Pairs = ()
    body: Sequence[bytes] = ()
    chunked: bool = False
    answer: Scripted = Scripted()
    leave_after: int | None = None


@dataclass
class Seen:
    """What the service got."""

    method: str
    path: str
    query: str
    headers: dict[str, list[str]]
    body: bytes


@dataclass
class Transcript:
    """What one host made of the exchange, in the words common to all."""

    status: int = 0
    headers: dict[str, list[str]] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    raised: str = ""

    @property
    def body(self) -> bytes:
        """The body as the caller got it."""
        return b"".join(self.chunks)

    def as_dict(self) -> dict[str, Any]:
        """Return the transcript as plain data."""
        return dataclasses.asdict(self)


class Watcher(Plugin[PluginConfig]):
    """Records how exchanges ended; part of every matrix run."""

    name, stage, priority = "watcher", Stage.ROUTER, -1_000

    def compile(self) -> None:
        self.outcomes: list[str] = []
        self.consumers: list[Consumer] = []

    def on_complete(self, exchange: Exchange) -> None:
        self.outcomes.append(exchange.outcome)
        self.consumers.append(exchange.consumer)


_HOST_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "user-agent", "accept", "accept-encoding"}
)


def grouped(pairs: Iterable[tuple[str, str]], besides: frozenset[str] = frozenset()) -> dict[str, list[str]]:
    """Return a header multimap with lower-case names, order of values kept."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name.lower() not in besides:
            found.setdefault(name.lower(), []).append(value)
    return dict(sorted(found.items()))


def seen_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return what the service got, without the fields that hosts and clients add by themselves."""
    return grouped(pairs, _HOST_HEADERS)


def run_everywhere(
    script: Script,
    plugins: Callable[[], Sequence[Plugin[Any]]],
    *,
    config: dict[str, Any] | None = None,
    hosts: Sequence[str] | None = None,
    clock: Callable[[], Any] | None = None,
) -> dict[str, Transcript]:
    """Run the script on every host (or those whose direction all plug-ins have); `plugins` makes fresh ones for each."""
    from .matrix_hosts import RUNNERS

    if hosts is None:
        made = list(plugins())
        hosts = [
            *(INBOUND_HOSTS if all(INBOUND in plugin.directions for plugin in made) else ()),
            *(OUTBOUND_HOSTS if all(OUTBOUND in plugin.directions for plugin in made) else ()),
        ]
    transcripts = {}
    for host in hosts:
        watcher = Watcher()
        transcript = Transcript()
        chosen = {"config": config, "plugins": [*plugins(), watcher], "clock": clock() if clock is not None else None}
        if config is not None and host in OUTBOUND_HOSTS:
            chosen["config"] = {
                **{key: value for key, value in config.items() if key != "plugins"},
                "outgoing": config.get("plugins", []),
            }
        RUNNERS[host](script, transcript, chosen)
        transcript.outcomes = watcher.outcomes
        transcripts[host] = transcript
    return transcripts


def assert_same(transcripts: dict[str, Transcript], *, chunks: bool = True) -> Transcript:
    """Assert that all hosts agree, and return the transcript. `chunks`: boundaries too, not only the bytes."""
    reference_host, reference = next(iter(transcripts.items()))
    for host, transcript in transcripts.items():
        left, right = reference.as_dict(), transcript.as_dict()
        if not chunks:
            left["chunks"], right["chunks"] = reference.body, transcript.body
        differences = {key: (left[key], right[key]) for key in left if left[key] != right[key]}
        assert not differences, f"{host} differs from {reference_host}: {differences}"
    return reference
