"""Plug-ins of every kind that the command line tells apart, and a way to run it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aigw_middleware.cli import main
from aigw_middleware.plugin import INBOUND, Field, Needs, Plugin, PluginConfig, Stage
from aigw_middleware.registry import Registry


class PageRules(Plugin[PluginConfig]):
    """Tell browsers what they may do."""

    name, stage, priority = "page-rules", Stage.AUTHORIZATION, 340
    directions = frozenset({INBOUND})

    def on_request(self, exchange):
        return None

    def on_refusal(self, exchange, response):
        return None


class TokenCheckConfig(PluginConfig):
    allow: tuple[str, ...] = Field((), description="Consumers that may pass.")


class TokenCheck(Plugin[TokenCheckConfig]):
    """Tell who calls."""

    name, stage, priority = "token-check", Stage.AUTHENTICATION, 310
    directions = frozenset({INBOUND})
    identifies = True
    on_failure = "deny"

    def on_request(self, exchange):
        return None


class DigestCheck(Plugin[PluginConfig]):
    """Compare the body with its digest."""

    name, stage, priority = "digest-check", Stage.AUTHENTICATION, 330

    def on_request_body(self, exchange):
        return None


class TeamHeaderConfig(PluginConfig):
    header: str = Field("x-team", description="Request header that receives the team.")


class TeamHeader(Plugin[TeamHeaderConfig]):
    """Copy the caller's team into a header."""

    name, stage, priority = "team-header", Stage.DEFAULT, 120

    def on_request(self, exchange):
        return None


class PromptEdit(Plugin[PluginConfig]):
    """Change the prompt of LLM calls."""

    name, stage, priority = "prompt-edit", Stage.DEFAULT, 450
    needs = Needs.LLM

    def on_request_body(self, exchange):
        return None


class TokenCount(Plugin[PluginConfig]):
    """Count tokens."""

    name, stage, priority = "token-count", Stage.DEFAULT, 990
    needs = Needs.USAGE

    def on_complete(self, exchange):
        return None


class Bare(Plugin[PluginConfig]):
    name, priority = "bare", 5


PLUGINS = (PageRules, TokenCheck, DigestCheck, TeamHeader, PromptEdit, TokenCount, Bare)


@pytest.fixture
def registry() -> Registry:
    """A registry that knows the plug-ins of this file."""
    found = Registry()
    for plugin in PLUGINS:
        found.register(plugin)
    return found


@dataclass(frozen=True)
class Ran:
    """What a run of the command line left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as one JSON document."""
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def aigw(registry: Registry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `aigw` with the arguments given, `columns` cells wide; None: into a pipe."""

    def run(*arguments: str, columns: int | None = None) -> Ran:
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        code = main([str(argument) for argument in arguments], registry=registry)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a configuration to `aigw.yaml` in a folder of its own, and go there."""
    monkeypatch.chdir(tmp_path)

    def write_text(text: str, name: str = "aigw.yaml") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write_text
