"""Why a plug-in runs with the configuration it runs with: the rules of an entry, tried on one request, in words.

This is for people who ask. The exchange itself never tries rules one by one (`config.matching`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .config.matching import Facts, Match, MatchIndex

if TYPE_CHECKING:
    from .config.rules import Late, Variant
    from .plugin import Plugin
    from .snapshot import Entry

Fate: TypeAlias = Literal["chosen", "may be chosen", "does not match", "not reached"]

_FACTS = {
    "route": "route",
    "route_prefix": "route",
    "domain": "domain",
    "path": "path",
    "path_prefix": "path",
    "path_regex": "path",
    "method": "method",
}


@dataclass(frozen=True, slots=True)
class Considered:
    """One variant of an entry's configuration, and what came of it for the request."""

    label: str
    """`config`, or `rules[2]`."""
    path: str
    """Where it stands in the file."""
    condition: str
    """What it asks for (`route=chat, consumer=alice|bob`); empty: nothing."""
    fate: Fate
    why: str
    """What the request has instead, for one that does not match; the late keys, for one that may be chosen."""
    off: bool
    """Whether it switches the plug-in off."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for one entry."""

    label: str
    """`config`, `rules[2]`, or empty: decided at the plug-in's turn, or nothing applies."""
    why: str
    """What chose it, in words."""
    considered: tuple[Considered, ...]
    late: bool = False
    """Whether the variant is chosen at the plug-in's turn."""


def choice_of(entry: Entry, plugin: Plugin[Any] | None, facts: Facts) -> Choice:
    """Return what was chosen for an entry, in words. `plugin` is what the snapshot chose; None: it does not run."""
    candidates: Sequence[tuple[Late, Plugin[Any] | None]] | None = getattr(plugin, "candidates", None)
    found: list[Considered] = []
    over = False
    for variant, own in zip(entry.variants, entry.plugins, strict=True):
        lacking = list(_lacking(variant.match, facts)) if variant.match is not None else []
        late = [] if lacking else list(describe_late(variant.late))
        fate: Fate
        if over:
            fate, why = "not reached", ""
        elif lacking:
            fate, why = "does not match", "; ".join(lacking)
        elif late:
            fate, why = "may be chosen", f"by {', '.join(late)}"
        else:
            fate, why, over = ("may be chosen" if candidates else "chosen"), "", True
        found.append(Considered(variant.label, variant.path, condition(variant), fate, why, own is None))
    return Choice(*_summary(entry, found, plugin), tuple(found), candidates is not None)


def _summary(entry: Entry, considered: Sequence[Considered], plugin: Plugin[Any] | None) -> tuple[str, str]:
    if getattr(plugin, "candidates", None) is not None:
        return "", _decided_later([item for item in considered if item.fate == "may be chosen"])
    chosen = next((item for item in considered if item.fate == "chosen"), None)
    if plugin is None:
        if chosen is not None:
            return chosen.label, f"{chosen.label} switches it off: {chosen.condition}"
        if any(item.fate == "may be chosen" for item in considered):
            return "", "every rule that could apply switches it off"
        return "", "no rule matches, and there is no `config` for the rest"
    label = entry.variants[next(number for number, own in enumerate(entry.plugins) if own is plugin)].label
    if chosen is not None and chosen.condition:
        return label, chosen.condition
    return label, "no rule matches" if len(considered) > 1 else "for every exchange"


def _decided_later(candidates: Sequence[Considered]) -> str:
    turns = []
    rest = "else it does not run"
    for item in candidates:
        off = ", off" if item.off else ""
        if item.why:
            turns.append(f"{item.why} ({item.label}{off})")
        else:
            rest = f"else {item.label}{off}"
    return f"decided at its turn {'; '.join([*turns, rest])}"


def condition(variant: Variant) -> str:
    """Return what a variant asks for: early keys, then late ones; empty when it asks for nothing."""
    return ", ".join([*(describe(variant.match) if variant.match is not None else ()), *describe_late(variant.late)])


def describe(match: Match) -> Iterator[str]:
    """Yield each key of a match with its values. Values of headers are left out: they may be secrets."""
    for key, names in _conditions(match):
        yield f"{key}={_values(names)}" if key != "header" else " ".join(f"header {name}" for name in names)


def describe_late(late: Late) -> Iterator[str]:
    """Yield each late key with its values."""
    for key in ("consumer", "group", "model"):
        values = getattr(late, key)
        if values:
            yield f"{key}={_values(values if key == 'model' else sorted(values))}"


def _conditions(match: Match) -> Iterator[tuple[str, tuple[str, ...]]]:
    for field in fields(match):
        values = getattr(match, field.name)
        if values:
            yield field.name, tuple(dict.fromkeys(name for name, _ in values)) if field.name == "header" else values


def _values(values: Sequence[str]) -> str:
    return "|".join(values)


def _lacking(match: Match, facts: Facts) -> Iterator[str]:
    """Yield for each key of a match that does not hold what the request has in its place."""
    for key, value in _single_keys(match):
        if MatchIndex([[value]]).choose(facts)[0] >= 0:
            continue
        if key == "header":
            name = value.header[0][0]
            yield f"header {name} is {'absent' if facts.header(name) is None else 'another'}"
        elif key == "service":
            yield "service never matches inside one service"
        else:
            has = getattr(facts, _FACTS[key])
            yield f"{_FACTS[key]} is {has}" if has else f"no {_FACTS[key]} is given"


def _single_keys(match: Match) -> Iterator[tuple[str, Match]]:
    """Yield a match for each key alone; each header name is a key of its own."""
    for field in fields(match):
        values = getattr(match, field.name)
        if field.name == "header":
            for name in dict.fromkeys(name for name, _ in values):
                yield "header", Match(header=tuple(pair for pair in values if pair[0] == name))
        elif values:
            yield field.name, Match(**{field.name: values})
