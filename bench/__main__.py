"""Runs the benchmark and prints its table.

python -m bench [--smoke] [--json FILE] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from . import (
    cases_growth,
    cases_identity,
    cases_import,
    cases_llm,
    cases_memory,
    cases_plugins,
    cases_stack,
    cases_stream,
    cases_tokens,
)
from .measure import SMOKE, THOROUGH, Lab
from .table import Section, markdown, render, summary

GROUPS: dict[str, Callable[[Lab], Awaitable[Section]]] = {
    "P1": cases_stack.stack,
    "parts": cases_stack.parts,
    "P2": cases_plugins.nothing,
    "plugins": cases_growth.plugins,
    "peers": cases_plugins.beside,
    "P3": cases_stream.events,
    "chunks": cases_stream.lengths,
    "dialects": cases_llm.dialects,
    "P4": cases_stack.refusal,
    "consumers": cases_growth.consumers,
    "keys": cases_memory.keys,
    "addresses": cases_growth.addresses,
    "routes": cases_growth.routes,
    "tokens": cases_identity.tokens,
    "api-keys": cases_identity.keys,
    "edge": cases_identity.edge,
    "P8": cases_stack.wsgi,
    "garbage": cases_memory.garbage,
    "in-flight": cases_memory.in_flight,
    "resident": cases_memory.flat,
    "P11": cases_import.imports,
    "P13": cases_tokens.counting,
    "body": cases_growth.bodies,
    "concurrent": cases_growth.concurrent,
}
TARGET_OF = {
    "P5": ("consumers", "keys", "addresses", "routes"),
    "P10": ("garbage", "in-flight", "resident"),
}
"""Targets that several groups measure."""


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What the gateway costs, beside what others cost."
    )
    parser.add_argument("--smoke", action="store_true", help="a quick look: few rounds, smaller sizes, rough figures")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to a file")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="also write the table as Markdown")
    names = [*GROUPS, *TARGET_OF]
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", choices=names, help=f"measure only these: {', '.join(names)}"
    )
    return parser.parse_args()


def chosen(only: list[str] | None) -> list[str]:
    """Return the names of the groups to measure, in order."""
    wanted = {group for name in only or GROUPS for group in TARGET_OF.get(name, (name,))}
    return [name for name in GROUPS if name in wanted]


async def measure(lab: Lab, names: list[str]) -> list[Section]:
    """Measure group by group."""
    sections = []
    for name in names:
        lab.begin(name)
        sections.append(await GROUPS[name](lab))
        lab.end()
    return sections


def loop_factory() -> tuple[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the event loop that servers use where it is installed: uvloop."""
    try:
        import uvloop
    except ImportError:
        return "asyncio", asyncio.new_event_loop
    return "uvloop", uvloop.new_event_loop


def main() -> None:
    """Measure, print, write."""
    options = arguments()
    logging.disable(logging.WARNING)  # made-up configurations are warned about
    name, factory = loop_factory()
    machine = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "loop": name,
    }
    effort = SMOKE if options.smoke else THOROUGH
    begun = time.monotonic()
    with asyncio.Runner(loop_factory=factory) as runner:
        sections = runner.run(measure(Lab(effort), chosen(options.only)))
    print(
        f"{machine['python']}, {machine['system']}, {machine['processors']} processors, {name}, {effort.rounds} rounds"
    )
    print("CPU time added to one request, unless said otherwise; median and least of the rounds.")
    print("BHM: what one BaseHTTPMiddleware that does nothing adds in the same run.\n")
    for line in [*render(sections), *summary(sections)]:
        print(line)
    print(f"\nMeasured in {time.monotonic() - begun:.0f} s.", file=sys.stderr)
    if options.markdown is not None:
        options.markdown.write_text("\n".join(markdown(sections)), encoding="utf-8")
    if options.json is not None:
        document: dict[str, Any] = {"machine": machine, "rounds": effort.rounds}
        document["sections"] = [section.as_dict() for section in sections]
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
