"""`aigw plugins [NAME]`: the known plug-ins in the default order, or the page of one."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigError, nearest
from .loading import add_import, registry_for
from .outcome import OK, USAGE, Failed, counted
from .terminal import Column, Row

if TYPE_CHECKING:
    from ..plugin import Plugin
    from ..registry import Registry
    from .fields import FieldRow
    from .terminal import Terminal

COLUMNS: Final = (
    Column("plug-in", style="bold"),
    Column("stage"),
    Column("priority", right=True),
    Column("origin"),
    Column("for"),
    Column("extra"),
    Column("what it does", prose=True),
)
FIELD_COLUMNS: Final = (Column("key", style="bold"), Column("type"), Column("default"), Column("meaning", prose=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="show the page of this plug-in")
    add_import(parser)


def run(arguments: argparse.Namespace, output: Terminal, registry: Registry | None) -> int:
    """List the plug-ins, or show one. Raises Failed when none has the name, or when it cannot be loaded."""
    known = registry_for(arguments, registry)
    if arguments.name:
        return _page(arguments.name, known, output, as_json=arguments.json)
    rows = listing(known)
    if arguments.json:
        output.json({"ok": True, "plugins": rows})
        return OK
    output.table(COLUMNS, [_row(facts) for facts in rows])
    output.line()
    output.line(f"{counted(len(rows), 'plug-in')} in the default order. `aigw plugins NAME`: the page of one.", "dim")
    return OK


# ---------------------------------------------------------------------- the table


def _row(facts: Mapping[str, Any]) -> Row:
    directions = " ".join(direction.removesuffix("bound") for direction in facts["directions"])
    priority = "" if facts["priority"] is None else facts["priority"]
    what = facts["description"] or facts["problem"]
    return Row((facts["name"], facts["stage"], priority, facts["origin"], directions, facts["extra"], what))


def listing(registry: Registry) -> list[dict[str, Any]]:
    """Return what is known of every plug-in, in the default order; those that cannot be loaded come last."""
    from ..order import ranks

    rank = {stage.value: place for stage, place in ranks().items()}
    rows = [_facts(name, registry) for name in dict.fromkeys(registry.names())]
    return sorted(rows, key=lambda row: (rank.get(row["stage"], len(rank)), -(row["priority"] or 0), row["name"]))


def _facts(name: str, registry: Registry) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": name,
        "stage": "",
        "priority": None,
        "origin": registry.origin(name),
        "directions": [],
        "extra": "",
        "description": "",
        "problem": "",
    }
    try:
        cls = registry.get(name)
    except ConfigError as error:
        problem = error.problems[0]
        return {**facts, "problem": f"{problem.message}{f' ({problem.hint})' if problem.hint else ''}"}
    return {
        **facts,
        "stage": cls.stage.value,
        "priority": cls.priority,
        "directions": sorted(direction.value for direction in cls.directions),
        "extra": cls.extra,
        "description": inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " "),
    }


# ---------------------------------------------------------------------- one page


def _page(name: str, registry: Registry, output: Terminal, *, as_json: bool) -> int:
    names = list(registry.names())
    if name not in names:
        raise Failed(USAGE, f"no plug-in is named {name!r}", nearest(name, names) or "`aigw plugins` lists them")
    facts = _facts(name, registry)
    if facts["problem"]:
        raise Failed(USAGE, facts["problem"])
    from ..plugin import HOOKS, Plugin
    from .fields import rows_of

    cls = registry.get(name)
    hooks = [hook for hook in HOOKS if getattr(cls, hook) is not getattr(Plugin, hook)]
    manual = _manual(cls)
    rows = list(rows_of(cls.Config))
    if as_json:
        about = {"class": f"{cls.__module__}.{cls.__qualname__}", "hooks": hooks, "on_failure": cls.on_failure}
        output.json({"ok": True, "plugin": {**facts, **about, "manual": manual, "fields": list(map(asdict, rows))}})
        return OK
    output.line(name, "bold")
    output.prose(manual)
    output.pairs(
        [
            ("stage", facts["stage"]),
            ("priority", str(facts["priority"])),
            ("directions", ", ".join(facts["directions"])),
            ("if it fails", f"{cls.on_failure}, unless the entry says `on_failure`"),
            ("origin", facts["origin"]),
            ("class", f"{cls.__module__}.{cls.__qualname__}"),
            ("hooks", ", ".join(hooks) or "none"),
            *([("extra", f"pip install 'aigw-middleware[{cls.extra}]'")] if cls.extra else []),
        ]
    )
    output.title("config")
    if not rows:
        output.line("Takes no configuration.")
        return OK
    output.table(FIELD_COLUMNS, [Row((row.name, row.type, row.default, _meaning(row))) for row in rows])
    return OK


def _meaning(row: FieldRow) -> str:
    return f"{row.description} Also written {', '.join(row.aliases)}.".strip() if row.aliases else row.description


def _manual(cls: type[Plugin[Any]]) -> str:
    """Return what is written about a plug-in: its class, and its module where it is the only one in it."""
    from ..plugin import Plugin

    module = sys.modules[cls.__module__]
    defined = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Plugin) and value.__module__ == module.__name__
    ]
    whole = inspect.cleandoc(module.__doc__ or "") if defined == [cls] else ""
    return "\n\n".join(text for text in (inspect.cleandoc(cls.__doc__ or ""), whole) if text)
