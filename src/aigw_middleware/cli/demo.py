"""`aigw demo`: hands over to the demo, whose libraries are an extra of the distribution."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING

from .outcome import USAGE, Failed

if TYPE_CHECKING:
    from ..registry import Registry
    from .terminal import Terminal

INSTALL = "pip install 'aigw-middleware[demo]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--keep", action="store_true", help="keep serving, and print curl lines")
    parser.add_argument("--port", type=_port, default=0, help="port to serve on (default: a free one)")


def run(arguments: argparse.Namespace, output: Terminal, registry: Registry | None) -> int:
    """Run the demo. Raises Failed when its libraries are not installed."""
    argv = ["--keep"] if arguments.keep else []
    if arguments.port:
        argv += ["--port", str(arguments.port)]
    if arguments.json:
        argv.append("--json")
    try:
        demo = importlib.import_module("aigw_middleware.demo")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("aigw_middleware"):
            raise
        raise Failed(USAGE, f"the demo needs {error.name}, which is not installed", INSTALL) from None
    return int(demo.main(argv))


def _port(text: str) -> int:
    if text.isdigit() and 0 <= int(text) < 65_536:
        return int(text)
    raise argparse.ArgumentTypeError("should be a number from 0 to 65535")
