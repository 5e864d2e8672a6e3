"""Runs a page of the documentation as a reader would: its blocks one after the other, in one folder and one namespace.

* A block with a title is a file of that name; a Python one is imported too, and its names are there afterwards.
* What stands behind `print(...)  # ` is what is printed. Functions named `test_...` are called.
* YAML is loaded as a configuration, in both directions if it has `outgoing`.
* `$ aigw ...` lines run, and where output stands below one, it is that command's.
* A block below `<!-- compiled, not run: why -->` is compiled.

`python pages.py PAGE` runs one page in the current folder.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FENCE = re.compile(
    r"^(?:<!-- (?P<compiled>compiled, not run): (?P<why>[^\n]+) -->\n)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$",
    re.M | re.S,
)
LANGUAGES = {"python", "yaml", "console", "http", "json", "text", "toml"}
EXPECTED = re.compile(r"#\s(.*)\Z")
KEYS = {"ALICE_KEY": "the-key-of-alice-0123", "BOB_KEY": "the-key-of-bob-4567", "AIGW_SECRET": "s" * 32}
"""What the pages call the keys of made-up callers."""


@dataclass(frozen=True)
class Block:
    """A fenced block, and the line of the page on which its code begins."""

    language: str
    title: str
    code: str
    line: int
    compiled_only: bool


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page. Raises ValueError for one whose opening line is not understood."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            match["language"],
            match["title"] or "",
            match["code"],
            text.count("\n", 0, match.start("code")) + 1,
            match["compiled"] is not None,
        )
        for match in FENCE.finditer(text)
    ]
    if 2 * len(found) != len(re.findall(r"^```", text, re.M)):
        raise ValueError(f"{page.name} has a fence that is not understood")
    return found


class Runner:
    """One page on its way through its blocks."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.names: dict[str, Any] = {"__name__": "__page__", **KEYS}

    def run(self) -> None:
        """Run every block. Raises whatever goes wrong, with the page's own line numbers."""
        for block in blocks_of(self.page):
            if block.language == "yaml":
                self._configuration(block)
            elif block.language == "python":
                self._python(block)
            elif block.language == "console":
                self._console(block)

    def _configuration(self, block: Block) -> None:
        from aigw_middleware.gateway import Core
        from aigw_middleware.plugin import INBOUND, OUTBOUND

        configuration = yaml.safe_load(block.code)
        for direction in (INBOUND, OUTBOUND) if "outgoing" in configuration else (INBOUND,):
            Core(configuration, direction=direction)
        if block.title:
            Path(block.title).write_text(block.code, encoding="utf-8")

    def _python(self, block: Block) -> None:
        code = "\n" * (block.line - 1) + block.code  # so that tracebacks point into the page
        compiled = compile(code, str(self.page), "exec")
        if block.compiled_only:
            return
        before = dict(self.names)
        if block.title:
            Path(block.title).write_text(block.code, encoding="utf-8")
            importlib.invalidate_caches()
            sys.modules.pop(Path(block.title).stem, None)
            self.names |= vars(importlib.import_module(Path(block.title).stem))
        else:
            with _checked_prints(code, self.names):
                exec(compiled, self.names)
        for name, value in list(self.names.items()):
            if name.startswith("test_") and before.get(name) is not value and callable(value):
                result = value()
                if inspect.iscoroutine(result):
                    asyncio.run(result)

    def _console(self, block: Block) -> None:
        from aigw_middleware.cli import main

        command, output = "", ""
        for line in [*block.code.splitlines(), "$ "]:
            if not line.startswith("$ "):
                output += line.rstrip() + "\n"
                continue
            words = shlex.split(command, comments=True)
            if words[:1] == ["aigw"] and words[1] != "demo":
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    code = main(words[1:])
                assert code == 0, f"{command}: exit code {code}"
                shown = "".join(f"{text.rstrip()}\n" for text in printed.getvalue().splitlines())
                assert not output.strip() or output.strip() == shown.strip(), f"{command} prints:\n{shown}"
            command, output = line.removeprefix("$ "), ""


@contextlib.contextmanager
def _checked_prints(code: str, names: dict[str, Any]) -> Iterator[None]:
    """Compare what each commented `print` prints with its comment; each has to print at least once."""
    lines = code.splitlines()
    expected: dict[int, str] = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            rest = lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset :].decode()
            if match := EXPECTED.search(rest):
                expected[node.lineno] = match[1]
    printed: set[int] = set()

    def checked(*values: object, **options: Any) -> None:
        text = str(options.get("sep", " ")).join(map(str, values))
        line = sys._getframe(1).f_lineno
        if line in expected:
            assert text == expected[line], f"line {line} prints {text!r}, not {expected[line]!r}"
            printed.add(line)

    names["print"] = checked
    try:
        yield
    finally:
        del names["print"]
    assert printed == expected.keys(), f"lines that print nothing: {sorted(expected.keys() - printed)}"


if __name__ == "__main__":
    os.environ.update(KEYS, COLUMNS="100", NO_COLOR="1")
    sys.path.insert(0, "")
    Runner(Path(sys.argv[1])).run()
