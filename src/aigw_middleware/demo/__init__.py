"""`aigw demo`: a chat service behind its gateway, a fake provider and an official client, all on this machine.

What is served is the FastAPI example: `app.py` and `aigw.yaml` here are links to it, and files of their own in a wheel.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from ..cli.demo import add_arguments
from ..errors import ConfigError

if TYPE_CHECKING:
    from .show import Show

NEEDED: Final = ("fastapi", "httpx2", "openai", "uvicorn")
INSTALL: Final = "pip install 'aigw-middleware[demo]'"
BETWEEN_WORDS: Final = 0.04  # seconds, so that a person sees them come


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo. Returns 0 when every step went as expected, else 1, with the reason on standard error."""
    begun = time.monotonic()
    arguments = _parser().parse_args(argv)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return _fail(f"needs {', '.join(missing)}, not installed here: {INSTALL}")
    try:
        failed = _run(arguments, begun)
    except (ConfigError, RuntimeError) as error:
        return _fail(str(error))
    return _fail(f"not as expected: {'; '.join(failed)}") if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aigw demo", description="Run a service, a fake provider and an official client on this machine."
    )
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def _fail(reason: str) -> int:
    sys.stderr.write(f"aigw demo: {reason}\n")
    return 1


def _run(arguments: argparse.Namespace, begun: float) -> list[str]:
    """Serve, drive, show. Returns the steps that did not go as expected. Raises ConfigError, RuntimeError."""
    from ..testing import Answer, FakeProvider
    from .app import create_app
    from .recorded import Recorder
    from .serving import Server
    from .show import ForMachines, ForPeople
    from .steps import Visitor, books

    show: Show = ForMachines() if arguments.json else ForPeople()
    provider = FakeProvider(default=Answer(delay_between=BETWEEN_WORDS))
    with Recorder() as recorder, Server(create_app(provider), arguments.port) as server:
        show.welcome(server.url)
        with contextlib.closing(Visitor(server.url, provider, show.watcher)) as visitor:
            steps = list(visitor.steps())
        recorded = recorder.recorded(visitor.calls)
        steps.append(books(recorded, visitor.calls))
        show.result(steps, recorded, time.monotonic() - begun)
        if arguments.keep:
            show.keeping(server.url)
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()
            show.closing(recorder.recorded())
    return [step.step for step in steps if not step.ok]
