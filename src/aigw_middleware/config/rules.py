"""Entries of a configuration as variants: one plug-in for every route, one for each rule, and when each applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import Problem, nearest
from .matching import Match
from .models import MatchModel, PluginEntry, RuleModel

UPSTREAM_RULES = "_rules_"
_UPSTREAM_MATCH = {
    "_match_route_": "route",
    "_match_domain_": "domain",
    "_match_service_": "service",
    "_match_route_prefix_": "route_prefix",
}
_UPSTREAM_PRECEDENCE = (("route", "service"), ("domain",), ("service",), ("route_prefix",))
_DISABLE = "_disable_"


@dataclass(frozen=True, slots=True)
class Late:
    """The keys of a rule that are known only at the plug-in's turn."""

    consumer: frozenset[str] = frozenset()
    group: frozenset[str] = frozenset()
    model: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.consumer or self.group or self.model)


@dataclass(frozen=True, slots=True)
class Variant:
    """One configuration of an entry, and what it applies to. `config` None: the plug-in is off."""

    path: str
    config: Mapping[str, Any] | None = field(repr=False)  # may hold secrets
    match: Match | None
    """None: whatever no rule matches."""
    late: Late = Late()
    number: int = -1

    @property
    def label(self) -> str:
        """What chose it, for records and explanations."""
        return "config" if self.match is None else f"rules[{self.number}]"


def match_of(model: MatchModel) -> Match:
    """Return the early keys of a match."""
    return Match(
        route=model.route,
        route_prefix=model.route_prefix,
        domain=model.domain,
        path=model.path,
        path_prefix=model.path_prefix,
        path_regex=model.path_regex,
        method=tuple(method.upper() for method in model.method),
        service=model.service,
        header=tuple((name.lower(), value) for name, value in model.header.items()),
    )


def late_of(model: MatchModel) -> Late:
    """Return the late keys of a match."""
    return Late(frozenset(model.consumer), frozenset(model.group), model.model)


def variants(entry: PluginEntry, path: str, fields: Mapping[str, str], inherit: bool) -> Iterator[Variant | Problem]:
    """Yield the variants of an entry in the order they are tried, and what is wrong with it.

    `fields` maps every accepted spelling of the plug-in's keys to its name; `inherit` says that upstream's `_rules_`
    start from a copy of the global configuration.
    """
    config = {fields.get(key, key): value for key, value in entry.config.items() if key != UPSTREAM_RULES}
    upstream = entry.config.get(UPSTREAM_RULES)
    number = 0
    for number, rule in enumerate(entry.rules):
        yield _rule(rule, config, fields, f"{path}.rules[{number}]", number)
    if upstream is not None:
        yield from _upstream_rules(
            upstream, config, fields, f"{path}.config.{UPSTREAM_RULES}", inherit, len(entry.rules)
        )
    only_rules = not config and (upstream or (entry.rules and "config" not in entry.model_fields_set))
    if not only_rules:
        yield Variant(f"{path}.config", config, None)


def _rule(
    rule: RuleModel, config: Mapping[str, Any], fields: Mapping[str, str], path: str, number: int
) -> Variant | Problem:
    match, late = match_of(rule.match), late_of(rule.match)
    if not late and not any(getattr(match, name) for name in Match.__dataclass_fields__):
        return Problem(
            f"{path}.match", "matches nothing: give it at least one key", f"keys: {', '.join(MatchModel.model_fields)}"
        )
    own = {fields.get(key, key): value for key, value in rule.config.items()}
    merged = None if not rule.enabled else own if rule.replace else {**config, **own}
    return Variant(f"{path}.config", merged, match, late, number)


def _upstream_rules(
    rules: Any, config: Mapping[str, Any], fields: Mapping[str, str], path: str, inherit: bool, first: int
) -> Iterator[Variant | Problem]:
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        yield Problem(path, "should be a list of rules")
        return
    for number, rule in enumerate(rules):
        where = f"{path}[{number}]"
        keys: dict[str, tuple[str, ...]] = {}
        own: dict[str, Any] = {}
        disabled = False
        for key, value in rule.items():
            if key in _UPSTREAM_MATCH:
                values = [value] if isinstance(value, str) else value
                if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
                    yield Problem(f"{where}.{key}", "should be a list of names")
                    continue
                if values:
                    keys[_UPSTREAM_MATCH[key]] = tuple(values)
            elif key == _DISABLE:
                disabled = value is True
            elif key.startswith("_match_"):
                yield Problem(f"{where}.{key}", "unknown key", nearest(key, _UPSTREAM_MATCH))
            else:
                own[fields.get(key, key)] = value
        chosen = next((group for group in _UPSTREAM_PRECEDENCE if group[0] in keys), None)
        if chosen is None:
            yield Problem(where, "matches nothing", f"give it one of {', '.join(_UPSTREAM_MATCH)}")
            continue
        matched = {name: keys.get(name, ()) if name in chosen else () for name in _UPSTREAM_MATCH.values()}
        match = Match(
            route=matched["route"],
            route_prefix=matched["route_prefix"],
            domain=matched["domain"],
            service=matched["service"],
        )
        merged = None if disabled else {**config, **own} if inherit else own
        yield Variant(where, merged, match, number=first + number)
