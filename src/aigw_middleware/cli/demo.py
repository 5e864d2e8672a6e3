"""`aigw demo`: hands over to the demo."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..registry import Registry
    from .terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--keep", action="store_true", help="keep serving until Ctrl-C, and print curl lines")
    parser.add_argument("--port", type=_port, default=0, help="port to serve on (default: a free one)")


def run(arguments: argparse.Namespace, output: Terminal, registry: Registry | None) -> int:
    """Run the demo and return its exit code."""
    from ..demo import main

    argv = ["--keep"] if arguments.keep else []
    if arguments.port:
        argv += ["--port", str(arguments.port)]
    if arguments.json:
        argv.append("--json")
    return main(argv)


def _port(text: str) -> int:
    if text.isdigit() and int(text) < 65_536:
        return int(text)
    raise argparse.ArgumentTypeError("should be a number from 0 to 65535")
