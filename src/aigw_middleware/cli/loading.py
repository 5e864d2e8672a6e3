"""From the file on the command line to a snapshot, without opening a store or running a plug-in."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .outcome import PROBLEMS, USAGE, Failed, counted

if TYPE_CHECKING:
    from ..registry import Registry
    from ..snapshot import Snapshot


def add_file(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what to load."""
    parser.add_argument("file", metavar="FILE", help="configuration: YAML, TOML or JSON")
    add_import(parser)


def add_import(parser: argparse.ArgumentParser) -> None:
    """Add the option that makes plug-ins known which no installed distribution announces."""
    parser.add_argument(
        "--import",
        dest="modules",
        metavar="MODULE",
        action="append",
        default=[],
        help="import a module first that registers plug-ins of your own; may be repeated",
    )


def registry_for(arguments: argparse.Namespace, registry: Registry | None) -> Registry:
    """Return the registry to look plug-ins up in, after the modules of `--import`. Raises Failed."""
    if arguments.modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a console script starts without it, unlike `python -m`
    for module in arguments.modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise Failed(USAGE, f"module {module} cannot be imported: {reason}") from error
    from ..registry import REGISTRY

    return registry if registry is not None else REGISTRY


def load(file: str, registry: Registry) -> tuple[Snapshot, list[str]]:
    """Return the snapshot of a file, both directions, and what plug-ins warned of while they were made.

    Raises Failed (2) when the file is not there, ConfigError for what is wrong in it.
    """
    from ..building import Builder
    from ..config.loading import Source
    from ..plugin import INBOUND

    path = Path(file)
    try:
        with path.open("rb"):
            source = Source(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "`aigw init` writes one" if isinstance(error, FileNotFoundError) else ""
        raise Failed(USAGE, f"{file}: {reason}", hint, file=file) from None
    with _heard() as warnings:
        config, problems = source.read_with_problems()
        builder = Builder(config, source.name, str(source.directory), registry, None, problems)
        return builder.build({}, {INBOUND}), list(dict.fromkeys(warnings))


def load_or_fail(file: str, registry: Registry) -> Snapshot:
    """Return the snapshot of a file, for sub-commands that need a sound one. Raises Failed with every problem."""
    try:
        return load(file, registry)[0]
    except ConfigError as error:
        count = counted(len(error.problems), "problem")
        raise Failed(PROBLEMS, f"{file}: {count}", f"aigw check {file}", file=file, problems=error.problems) from None


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what the package logs as warnings, instead of having it printed between the lines of the output."""
    heard: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("aigw_middleware")
    propagate = logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.propagate = propagate
        logger.removeHandler(listener)
