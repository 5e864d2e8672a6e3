"""The default order: the whole of it, from any order of adding."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from aigw_middleware import Plugin, Stage
from aigw_middleware.order import DEFAULT_ORDER, in_order, ranks
from aigw_middleware.registry import BUILT_IN, REGISTRY

TABLE = Path(__file__).parent / "data" / "priority-table.csv"
RENAMED = {"ai-network-search": "ai-search"}
BEYOND_THE_TABLE = {"custom-response", "replay-protection", "ai-context-limit", "timeout"}


def published() -> list[dict[str, str]]:
    with TABLE.open() as file:
        return list(csv.DictReader(file))


def test_every_published_plug_in_stands_at_its_published_place() -> None:
    ours = {name: (stage, priority) for name, stage, priority in DEFAULT_ORDER}
    for row in published():
        stage, priority = ours[RENAMED.get(row["name"], row["name"])]
        assert stage is Stage(row["stage"])
        assert priority == int(row["priority"] or 0)
    assert set(ours) == {RENAMED.get(row["name"], row["name"]) for row in published()} | BEYOND_THE_TABLE


def test_the_list_reads_in_the_order_it_states() -> None:
    rank = ranks()
    keys = [(rank[stage], -priority, name) for name, stage, priority in DEFAULT_ORDER]
    assert keys == sorted(keys)


def test_built_in_classes_agree_with_the_list() -> None:
    ours = {name: (stage, priority) for name, stage, priority in DEFAULT_ORDER}
    for name in BUILT_IN:
        plugin = REGISTRY.get(name)
        assert (plugin.stage, plugin.priority) == ours[name]
        assert plugin.name == name


def made(name: str, stage: Stage, priority: int) -> Plugin[Any]:
    return type("Made", (Plugin,), {"name": name, "stage": stage, "priority": priority})()


def test_adding_order_does_not_matter() -> None:
    plugins = [made(*row) for row in DEFAULT_ORDER]
    expected = [name for name, _, _ in DEFAULT_ORDER]
    for seed in range(20):
        random.Random(seed).shuffle(plugins)
        assert [plugin.name for plugin in in_order(plugins)] == expected


def test_stage_order_can_put_authentication_first() -> None:
    order = (Stage.AUTHENTICATION, Stage.AUTHORIZATION, Stage.STATISTICS, Stage.DEFAULT)
    plugins = in_order([made(*row) for row in DEFAULT_ORDER], order)
    names = [plugin.name for plugin in plugins]
    assert names.index("key-auth") < names.index("cors")
    assert names[0] == "ip-access-control"
    assert names[-1] == "route-policy"
