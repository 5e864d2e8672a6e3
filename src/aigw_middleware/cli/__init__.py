"""The command line: `aigw check`, `explain`, `plugins`, `init`, `tokens`, `demo`.

Exit codes: 0 fine, 1 problems in the configuration, 2 wrong usage or a file that is not there. Every sub-command takes
`--json`, which prints one JSON document to standard output, unless the arguments themselves are wrong. A sub-command is
imported when it runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from .outcome import INTERRUPTED, PIPE_CLOSED, USAGE, Failed

if TYPE_CHECKING:
    from ..registry import Registry

COMMANDS: Final[dict[str, str]] = {
    "check": "look for problems in a configuration, and say what it configures",
    "explain": "show the sorted stack for a request, and the reason of each place",
    "plugins": "list the plug-ins, or show the page of one",
    "init": "write a commented starter configuration",
    "tokens": "say how tokens are counted here, or fetch what counts them exactly",
    "demo": "run a service, a fake provider and an official client on this machine",
}
"""Each has a module of its name with `add_arguments(parser)` and `run(arguments, registry) -> int`."""


def main(argv: list[str] | None = None, *, registry: Registry | None = None) -> int:
    """Run the command line and return its exit code. `registry` takes the place of the one that gateways use."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        code = _code(arguments, registry)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the output stopped, as `head` does. What is left must not be flushed at exit: it would complain.
        _discard_output()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED


def _code(arguments: Sequence[str], registry: Registry | None) -> int:
    try:
        return _run(arguments, registry)
    except SystemExit as end:  # argparse ends so: with 0 for --help, 2 for what it does not understand
        return end.code if isinstance(end.code, int) else USAGE


def _run(argv: Sequence[str], registry: Registry | None) -> int:
    name = next((argument for argument in argv if not argument.startswith("-")), "")
    parser = _parser(name)
    arguments = parser.parse_args(argv)
    if not arguments.command:
        parser.print_help(sys.stderr)
        return USAGE
    from .terminal import Terminal

    output = Terminal.of(sys.stdout)
    try:
        return int(_module(arguments.command).run(arguments, output, registry))
    except Failed as failure:
        failure.show(output if arguments.json else Terminal.of(sys.stderr), as_json=arguments.json)
        return failure.code


def _parser(wanted: str) -> argparse.ArgumentParser:
    """Return the parser; only the sub-command that is `wanted` is imported for its arguments."""
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="aigw",
        description="An AI gateway as middleware: look at a configuration before it serves.",
        epilog="Exit codes: 0 fine, 1 problems in the configuration, 2 wrong usage or a file that is not there.",
    )
    parser.add_argument("--version", action="version", version=f"aigw-middleware {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == wanted:
            _module(name).add_arguments(command)
            command.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")


def _discard_output() -> None:
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
