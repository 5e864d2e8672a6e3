"""Makes what the documentation takes from the code: `python docs/generate.py` writes, `--check` only says what is out of date.

Pages that consist of it are not under version control: `configuration.md` and one page for each plug-in. In other pages
it stands between two comments, so that they can be read without building anything:

    <!-- generated: order -->
    <!-- end of generated -->
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))

from exchanges import ExampleFailed, check_example, load_exchanges, run_exchange

from aigw_middleware.cli.fields import FieldRow, rows_of
from aigw_middleware.config.models import GatewayConfig
from aigw_middleware.order import DEFAULT_ORDER, ranks
from aigw_middleware.plugin import HOOKS, Direction, Plugin
from aigw_middleware.registry import BUILT_IN, REGISTRY
from aigw_middleware.testing.differences import DIFFERENCES

DOCS = Path(__file__).parent
NOTICE = "\n<!-- Made by docs/generate.py: do not edit. -->\n"
SECTION = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end of generated -->)", re.S)


def main(arguments: Sequence[str]) -> int:
    """Write what is out of date, or with `--check` name it and return 1."""
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(DOCS.parent)} is out of date: run `python docs/generate.py`")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(made[path], encoding="utf-8")
    for path in set((DOCS / "plugins").glob("*.md")) - made.keys():
        path.unlink()
    print(f"{len(made)} pages, {len(stale)} of them written")
    return 0


def pages() -> dict[Path, str]:
    """Return every page that is made, or has a section that is, with its text. Raises ConfigError, ExampleFailed."""
    found = {DOCS / "configuration.md": _filled((DOCS / "configuration.md.in").read_text(encoding="utf-8")) + NOTICE}
    for plugin in _plugins():
        found[DOCS / "plugins" / f"{plugin.name}.md"] = plugin_page(plugin) + NOTICE
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if path not in found and SECTION.search(text):
            found[path] = _filled(text)
    return found


def _filled(text: str) -> str:
    return SECTION.sub(lambda match: f"{match[1]}\n{SECTIONS[match[2]]()}\n\n{match[3]}", text)


def _plugins() -> list[type[Plugin[Any]]]:
    """Return the built-in classes in the order in which a request meets them."""
    rank = ranks()
    classes = [REGISTRY.get(name) for name in BUILT_IN]
    return sorted(classes, key=lambda plugin: (rank[plugin.stage], -plugin.priority, plugin.name))


# ---------------------------------------------------------------------- the page of a plug-in


def plugin_page(plugin: type[Plugin[Any]]) -> str:
    """Return the page of one plug-in: its docstring, its place, its keys, its example at work."""
    module = inspect.getmodule(plugin)
    manual, examples = prose(inspect.cleandoc(getattr(module, "__doc__", "") or ""))
    if not examples:
        raise ExampleFailed(f"{plugin.name}: its docstring has no example")
    for example in examples:
        check_example(plugin, example)
    exchanges = [run_exchange(plugin.name, examples[0], wanted) for wanted in load_exchanges().get(plugin.name, ())]
    if not exchanges:
        raise ExampleFailed(f"{plugin.name}: exchanges.toml has no request for it")
    parts = [
        f"# {plugin.name}",
        manual,
        "\n".join(f"* **{label}**: {text}" for label, text in _facts(plugin)),
        "## Configuration",
        _field_table(plugin.Config),
    ]
    return "\n\n".join([*parts, "## The example at work", *exchanges]) + "\n"


def _facts(plugin: type[Plugin[Any]]) -> Iterator[tuple[str, str]]:
    directions = {Direction.INBOUND: "around the service (`plugins`)", Direction.OUTBOUND: "around calls (`outgoing`)"}
    hooks = [hook for hook in HOOKS if getattr(plugin, hook) is not getattr(Plugin, hook)]
    yield "Class", f"`from aigw_middleware import {plugin.__name__}`"
    yield "Place", f"stage `{plugin.stage.value}`, priority {plugin.priority}"
    yield "Runs", ", ".join(text for direction, text in directions.items() if direction in plugin.directions)
    yield "Hooks", ", ".join(f"`{hook}`" for hook in hooks)
    yield "If it breaks", f"`on_failure: {plugin.on_failure}`, unless the entry says otherwise"
    if overridden_any(plugin, ("on_text", "on_request_body", "on_response_body", "on_event")):
        yield "What it cannot read", f"`on_uncovered: {plugin.on_uncovered}`, unless the entry says otherwise"
    if not plugin.shadowable:
        yield "Shadow", "not possible: without effect it has no meaning"
    if plugin.extra:
        yield "Needs", f"`pip install 'aigw-middleware[{plugin.extra}]'`"


def overridden_any(plugin: type[Plugin[Any]], hooks: Iterable[str]) -> bool:
    """Whether a class has one of these hooks."""
    return any(getattr(plugin, hook) is not getattr(Plugin, hook) for hook in hooks)


def prose(docstring: str) -> tuple[str, list[dict[str, Any]]]:
    """Return a docstring as Markdown, its indented blocks fenced, and those of them that are configurations."""
    parts: list[str] = []
    examples: list[dict[str, Any]] = []
    for indented, lines in _runs(docstring.splitlines()):
        text = textwrap.dedent("\n".join(lines)).strip("\n")
        if not indented:
            parts.append(text)
            continue
        loaded = yaml.safe_load(text) if text.startswith(("plugins:", "outgoing:")) else None
        parts.append(f"```{'yaml' if loaded else 'text'}\n{text}\n```")
        if loaded:
            examples.append(loaded)
    return "\n\n".join(part for part in parts if part), examples


def _runs(lines: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
    """Yield runs of lines that are all indented, or all not; a blank line belongs to the run before it."""
    run: list[str] = []
    state = False
    for line in lines:
        indented = line.startswith("    ") if line.strip() else state
        if indented != state:
            yield state, run
            run, state = [], indented
        run.append(line)
    yield state, run


# ---------------------------------------------------------------------- tables


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _field_table(model: Any) -> str:
    rows = list(rows_of(model))
    return _fields(rows) if rows else "It has no keys."


def _fields(rows: Iterable[FieldRow], prefix: str = "") -> str:
    return _table(
        ("Key", "Type", "Default", "Meaning"),
        [(f"`{row.name.removeprefix(prefix)}`", _type(row), _default(row), _meaning(row)) for row in rows],
    )


def _type(row: FieldRow) -> str:
    listed, _, choices = row.type.rpartition(" of ")
    if "|" not in choices:
        return row.type
    return f"{f'{listed} of ' if listed else ''}{', '.join(f'`{value}`' for value in choices.split('|'))}"


def _default(row: FieldRow) -> str:
    return row.default if row.default in ("required", "unset", "computed") else f"`{row.default}`"


def _meaning(row: FieldRow) -> str:
    also = f" Also written {', '.join(f'`{alias}`' for alias in row.aliases)}." if row.aliases else ""
    return row.description + also


def configuration_fields() -> str:
    """Return the keys of the configuration, a table for each map of it; equal maps have one table."""
    rows = list(rows_of(GatewayConfig))
    tables: dict[str, list[FieldRow]] = {}
    for row in rows:
        tables.setdefault(row.name.rpartition(".")[0], []).append(row)
    about = {row.name: row.description for row in rows}
    places: dict[str, list[str]] = {}
    for place, fields in tables.items():
        places.setdefault(_fields(fields, f"{place}." if place else ""), []).append(place)
    parts = []
    for table, names in places.items():
        shown = [name for name in names if not any(name.startswith(f"{other}.") for other in ("outgoing[]",))] or names
        where = [re.sub(r"\[\]$", "", name) for name in shown]
        parts.append("### " + (", ".join(f"`{name}`" for name in shown) if shown != [""] else "The file"))
        parts += [" ".join(dict.fromkeys(about[name] for name in where if name in about)), table]
    return "\n\n".join(part for part in parts if part)


def order_table() -> str:
    """Return the default order, with a link to the page of each plug-in that exists."""
    rank = ranks()
    rows = sorted(DEFAULT_ORDER, key=lambda row: (rank[row[1]], -row[2], row[0]))
    return _table(
        ("Stage", "Priority", "Plug-in"),
        [(stage.value, str(priority), _linked(name) if name in BUILT_IN else name) for name, stage, priority in rows],
    )


def plugin_table() -> str:
    """Return the plug-ins that exist, in the default order."""
    described = [(plugin, inspect.cleandoc(plugin.__doc__ or "").partition("\n\n")[0]) for plugin in _plugins()]
    return _table(
        ("Plug-in", "What it does"), [(_linked(plugin.name), " ".join(text.split())) for plugin, text in described]
    )


def _linked(name: str) -> str:
    return f"[{name}](plugins/{name}.md)"


def differences_table() -> str:
    """Return what hosts cannot express."""
    return _table(
        ("Host", "When", "What is different", "Why"),
        [(row.where, row.scenario, row.difference, row.why) for row in DIFFERENCES],
    )


def pitfalls_table() -> str:
    """Return the pitfalls by chapter, each with the tests that cover it or the reason why it does not apply."""
    chapters = tomllib.loads((DOCS / "pitfalls.toml").read_text(encoding="utf-8"))["chapter"]
    parts = []
    for chapter in chapters:
        rows = [(str(item["number"]), item["pitfall"], _covered(item)) for item in chapter["pitfall"]]
        parts += [f"## {chapter['title']}", _table(("No.", "Pitfall", "Covered by"), rows)]
    return "\n\n".join(parts)


def _covered(item: dict[str, Any]) -> str:
    tests = [item["test"]] if isinstance(item["test"], str) else item["test"]
    named = [f"`{test.rpartition('::')[2]}`" for test in tests if test]
    return ". ".join(part for part in (", ".join(named), item.get("note", "")) if part) or "No test yet."


SECTIONS = {
    "configuration": configuration_fields,
    "differences": differences_table,
    "order": order_table,
    "pitfalls": pitfalls_table,
    "plugins": plugin_table,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
