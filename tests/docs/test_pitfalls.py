"""The table of pitfalls is complete, and every test that it names exists."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = tomllib.loads((ROOT / "docs" / "pitfalls.toml").read_text(encoding="utf-8"))["chapter"]
ITEMS: list[dict[str, Any]] = [item for chapter in CHAPTERS for item in chapter["pitfall"]]
UNTESTED: set[int] = set()
"""Numbers of the pitfalls that apply and have no test. A new test for one of them takes its number away."""


def named_by(item: dict[str, Any]) -> list[str]:
    """The tests that an item names."""
    return [test for test in ([item["test"]] if isinstance(item["test"], str) else item["test"]) if test]


@cache
def defined_in(path: str) -> set[str]:
    """The test functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


def test_no_pitfall_is_left_out() -> None:
    assert [item["number"] for item in ITEMS] == list(range(1, 63))


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item["number"]))
def test_each_names_tests_that_exist_or_says_why_it_does_not_apply(item: dict[str, Any]) -> None:
    assert item.keys() <= {"number", "pitfall", "test", "note"}
    assert item["pitfall"].endswith(".")
    assert item.get("note", ".").endswith(".")
    for test in named_by(item):
        path, _, name = test.partition("::")
        assert name in defined_in(path), f"{path} has no {name}"


def test_those_without_a_test_are_known() -> None:
    assert {item["number"] for item in ITEMS if not named_by(item) and "note" not in item} == UNTESTED
