"""`aigw check FILE`: the problems of a configuration with their paths; without any, what is suspicious in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import ConfigError, Problem
from .loading import add_file, load, registry_for
from .outcome import OK, PROBLEMS, as_dicts, counted, lines_of
from .terminal import Column, Row

if TYPE_CHECKING:
    from ..registry import Registry
    from ..snapshot import Snapshot
    from .terminal import Terminal

NAME = Column("name", style="bold")
PLUGIN_COLUMNS = (
    Column("plug-in", style="bold"),
    Column("stage"),
    Column("priority", right=True),
    Column("rules", right=True),
    Column("if it fails"),
    Column(""),
)
CONSUMER_COLUMNS = (NAME, Column("groups"), Column("tier"), Column("credentials for"))
ROUTE_COLUMNS = (NAME, Column("matches"), Column("llm"), Column("policies"))
STORE_COLUMNS = (NAME, Column("where"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    parser.add_argument("--strict", action="store_true", help="warnings count as problems")


def run(arguments: argparse.Namespace, output: Terminal, registry: Registry | None) -> int:
    """Check the file. Returns 0, or 1 when it has problems."""
    known = registry_for(arguments, registry)
    file = arguments.file
    problems: tuple[Problem, ...] = ()
    warnings: list[Problem] = []
    summary: dict[str, Any] = {}
    try:
        snapshot, logged = load(file, known)
    except ConfigError as error:
        problems = error.problems
    else:
        from .suspicions import suspicions

        warnings = [*suspicions(snapshot), *(Problem("", message) for message in logged)]
        summary = summary_of(snapshot)
    code = PROBLEMS if problems or (arguments.strict and warnings) else OK
    if arguments.json:
        found = {"problems": as_dicts(problems), "warnings": as_dicts(warnings)}
        output.json({"ok": code == OK, "file": file, **found, "summary": summary})
        return code
    for line in lines_of(file, problems):
        output.line(line)
    for warning in warnings:
        where = f"{file}: {warning.path}" if warning.path else file
        output.line(f"{where}: warning: {warning.message}{f' ({warning.hint})' if warning.hint else ''}")
    if problems:
        output.line(f"{counted(len(problems), 'problem')}.", "bold red")
        return code
    verdict = f"{counted(len(warnings), 'warning')}{' (problems, by --strict)' if code else ''}" if warnings else "Fine"
    output.line(f"{verdict}: {_totals(summary)}.", "bold green" if not warnings else "bold yellow")
    _show(summary, output)
    return code


# ---------------------------------------------------------------------- what is configured


def summary_of(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a configuration configures, without any secret."""
    from ..choices import describe
    from ..explain_facts import route_match

    config = snapshot.config
    return {
        "plugins": list(_plugins(snapshot, "plugins")),
        "outgoing": list(_plugins(snapshot, "outgoing")) if config.outgoing is not None else None,
        "consumers": [
            {
                "name": consumer.name,
                "groups": sorted(consumer.groups),
                "tier": consumer.tier,
                "credentials": sorted(consumer.credentials),
            }
            for consumer in snapshot.consumers
        ],
        "routes": [
            {
                "name": route.name,
                "match": list(describe(route_match(route))),
                "llm": route.llm,
                "policies": [name for name, policy in route.policies if policy is not None],
            }
            for route in config.routes
        ],
        "stores": {"default": "memory, of this process", **{name: _store(url) for name, url in config.stores.items()}},
    }


def _plugins(snapshot: Snapshot, where: str) -> Iterator[dict[str, Any]]:
    """Yield the entries in the order in which requests pass them, switched-off ones last."""
    from ..order import in_order
    from ..plugin import INBOUND, OUTBOUND

    entries = getattr(snapshot.config, where) or ()
    stacks = snapshot.sides.get(INBOUND if where == "plugins" else OUTBOUND)
    running = {entry.path: entry for entry in stacks.entries} if stacks is not None else {}
    owners = {plugin: entry for entry in running.values() for plugin in entry.plugins[::-1] if plugin is not None}
    first = {entry.path: plugin for plugin, entry in owners.items()}
    for plugin in in_order(first.values(), snapshot.config.stage_order):
        entry = owners[plugin]
        yield {
            "name": entry.name,
            "path": entry.path,
            "stage": plugin.stage.value,
            "priority": plugin.priority,
            "rules": sum(variant.match is not None for variant in entry.variants),
            "on_failure": plugin.on_failure,
            "shadow": plugin.settings.shadow,
            "off": "",
        }
    for number, model in enumerate(entries):
        path = f"{where}[{number}]"
        off = "enabled: false" if not model.enabled else "no configuration applies"
        if not model.enabled or all(plugin is None for plugin in running[path].plugins):
            blank = {"stage": "", "priority": None, "rules": len(model.rules), "on_failure": "", "shadow": model.shadow}
            yield {"name": model.name, "path": path, **blank, "off": off}


def _store(url: str) -> str:
    """Return a store's URL without what it may hold of secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _totals(summary: Mapping[str, Any]) -> str:
    outgoing = summary["outgoing"] or []
    rules = sum(entry["rules"] for entry in [*summary["plugins"], *outgoing])
    parts = [counted(len(summary["plugins"]), "plug-in")]
    if summary["outgoing"] is not None:
        parts.append(f"{len(outgoing)} for outgoing calls")
    for number, name in ((rules, "rule"), (len(summary["consumers"]), "consumer"), (len(summary["routes"]), "route")):
        parts.append(counted(number, name))
    return ", ".join(parts)


def _show(summary: Mapping[str, Any], output: Terminal) -> None:
    for key, title in (("plugins", "Plug-ins around the service"), ("outgoing", "Plug-ins around outgoing calls")):
        if summary[key]:
            output.title(title)
            output.table(PLUGIN_COLUMNS, [_row(entry) for entry in summary[key]])
    if summary["consumers"]:
        output.title("Consumers")
        rows = [
            Row((item["name"], ", ".join(item["groups"]), item["tier"], ", ".join(item["credentials"])))
            for item in summary["consumers"]
        ]
        output.table(CONSUMER_COLUMNS, rows)
    if summary["routes"]:
        output.title("Routes")
        rows = [
            Row((item["name"], ", ".join(item["match"]) or "everything", item["llm"], ", ".join(item["policies"])))
            for item in summary["routes"]
        ]
        output.table(ROUTE_COLUMNS, rows)
    output.title("Stores")
    output.table(STORE_COLUMNS, [Row(pair) for pair in summary["stores"].items()])


def _row(entry: Mapping[str, Any]) -> Row:
    remark = entry["off"] or ("shadow: decides nothing" if entry["shadow"] else "")
    priority = "" if entry["priority"] is None else entry["priority"]
    return Row((entry["name"], entry["stage"], priority, entry["rules"] or "", entry["on_failure"], remark))
