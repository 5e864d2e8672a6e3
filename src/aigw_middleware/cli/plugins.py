"""`aigw plugins [NAME]`: the known plug-ins in the default order, or the page of one."""

from __future__ import annotations

import argparse
import inspect
import sys
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, nearest
from .loading import add_import, registry_for
from .outcome import OK, USAGE, Failed, counted
from .terminal import Column, Row

if TYPE_CHECKING:
    from ..plugin import Plugin
    from ..registry import Registry
    from .terminal import Terminal


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
    columns = (
        Column("plug-in", style="bold"),
        Column("stage"),
        Column("priority", right=True),
        Column("origin"),
        Column("directions"),
        Column("extra"),
        Column("what it does"),
    )
    output.table(
        columns,
        [
            Row(
                (
                    row["name"],
                    row["stage"],
                    "" if row["priority"] is None else row["priority"],
                    row["origin"],
                    " ".join(row["directions"]),
                    row["extra"],
                    row["description"] or row["problem"],
                )
            )
            for row in rows
        ],
    )
    output.line()
    output.line(f"{counted(len(rows), 'plug-in')}, in the default order. `aigw plugins NAME` shows the page of one.", "dim")
    return OK


# ---------------------------------------------------------------------- the table


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
        "description": (inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")) if _documented(cls) else "",
    }


def _documented(cls: type[Plugin[Any]]) -> bool:
    return "__doc__" in cls.__dict__ and bool(cls.__doc__)


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
        fields = [
            {
                "name": row.name,
                "type": row.type,
                "default": row.default,
                "description": row.description,
                "aliases": list(row.aliases),
            }
            for row in rows
        ]
        about = {"class": f"{cls.__module__}.{cls.__qualname__}", "hooks": hooks, "on_failure": cls.on_failure}
        output.json({"ok": True, "plugin": {**facts, **about, "manual": manual, "fields": fields}})
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
    columns = (Column("key", style="bold"), Column("type"), Column("default"), Column("meaning"))
    output.table(columns, [Row((row.name, row.type, row.default, _meaning(row.description, row.aliases))) for row in rows])
    return OK


def _meaning(description: str, aliases: tuple[str, ...]) -> str:
    return f"{description} Also written {', '.join(aliases)}.".strip() if aliases else description


def _manual(cls: type[Plugin[Any]]) -> str:
    """Return what is written about a plug-in: its class, and its module where it is the only one in it."""
    from ..plugin import Plugin

    own = inspect.cleandoc(cls.__doc__ or "") if _documented(cls) else ""
    module = sys.modules.get(cls.__module__)
    others = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Plugin) and value.__module__ == cls.__module__ and value is not cls
    ] if module is not None else []
    whole = inspect.cleandoc(module.__doc__ or "") if module is not None and not others else ""
    return "\n\n".join(text for text in (own, whole) if text)
