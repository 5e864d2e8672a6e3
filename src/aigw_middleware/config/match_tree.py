"""The tree that rules hang in: each node divides its rules by the keys that tell them apart best.

Every rule hangs on one of its keys: the one that the fewest other rules of the node share a value of. Rules that share
it all the same are divided by their other keys in the same way, one level down.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final, NamedTuple

from aigw_middleware.config.match_probes import (
    PREFIX,
    PRESENT,
    REGEX,
    SUFFIX,
    Check,
    Key,
    Probe,
    Token,
    check_of,
    probe_names,
    probe_of,
)

KEYS: Final = ("path", "path_prefix", "route", "domain", "header", "service", "route_prefix", "method", "path_regex")
"""In order of preference where equally many rules share them: what tells more and costs less comes first."""

_RANK_OF_KIND: Final = dict.fromkeys((PREFIX, SUFFIX, PRESENT), KEYS.index("route_prefix")) | {REGEX: len(KEYS)}
_FEW: Final = 4  # so many rules are verified one by one
_MANY_NAMES: Final = 8  # so many different headers are asked for one by one
_ROOM: Final = 5  # values that the nodes may hold, in multiples of those that the rules have


class Rule(NamedTuple):
    """One match of one group. Rules are numbered in the order of groups, and in a group of positions."""

    number: int
    group: int
    position: int
    conditions: Mapping[Key, frozenset[Token]]


class Candidate(NamedTuple):
    """A rule that may apply: `checks` are what is left to verify."""

    group: int
    position: int
    checks: tuple[Check, ...]


class Node:
    """Rules that share what led here: `leaf` to verify now, and `probes` that lead to those which share more."""

    __slots__ = ("leaf", "probes")

    def __init__(self) -> None:
        self.leaf: list[Candidate] = []
        self.probes: list[Probe] = []


def build_tree(rules: list[Rule]) -> Node:
    """Return the root of the tree over rules that all have conditions.

    The largest nodes are divided first, and only while there is room: with many values in many keys of many rules,
    dividing to the end would take their product.
    """
    room = _ROOM * sum(len(tokens) for rule in rules for tokens in rule.conditions.values())
    checks: dict[tuple[Key, frozenset[Token]], Check] = {}
    nodes: dict[tuple[frozenset[Key], tuple[int, ...]], Node] = {}
    root = Node()
    waiting = [(-len(rules), 0, root, rules, frozenset[Key]())]
    while waiting:
        *_, node, rules, known = heapq.heappop(waiting)
        anchors = _anchors(rules, known) if len(rules) > _FEW and room > 0 else {}
        room -= sum(len(rule.conditions[anchors[rule.number]]) for rule in rules if rule.number in anchors)
        tables: dict[tuple[Key, str], dict[str, list[Rule]]] = {}
        for rule in rules:
            key = anchors.get(rule.number)
            if key is None:
                node.leaf.append(_candidate(rule, known, checks))
                continue
            for kind, text in rule.conditions[key]:
                tables.setdefault((key, kind), {}).setdefault(text, []).append(rule)
        by_name: dict[str, list[Probe]] = {}
        for (key, kind), table in tables.items():
            known_below = known | {key}
            below: dict[str, Node] = {}
            for text, sharing in table.items():
                sharing = reachable(sharing, known_below)
                same = known_below, tuple(rule.number for rule in sharing)
                if same not in nodes:
                    nodes[same] = Node()
                    heapq.heappush(waiting, (-len(sharing), len(nodes), nodes[same], sharing, known_below))
                below[text] = nodes[same]
            by_name.setdefault(key[1], []).append(probe_of(key, kind, below))
        node.probes += by_name.pop("", [])
        if len(by_name) > _MANY_NAMES:
            node.probes.append(probe_names(by_name))
        else:
            node.probes += chain.from_iterable(by_name.values())
    return root


def reachable(rules: Iterable[Rule], known: frozenset[Key]) -> list[Rule]:
    """Return the rules without those behind one of the same group that always applies once the keys `known` hold."""
    kept: list[Rule] = []
    closed: set[int] = set()
    for rule in rules:
        if rule.group not in closed:
            kept.append(rule)
            if rule.conditions.keys() <= known:
                closed.add(rule.group)
    return kept


def _anchors(rules: Iterable[Rule], known: frozenset[Key]) -> dict[int, Key]:
    """Return by number the key that each rule hangs on; nothing for rules that have no key left."""
    sharing = Counter(
        (key, token)
        for rule in rules
        for key, tokens in rule.conditions.items()
        if key not in known
        for token in tokens
    )

    def cost(condition: tuple[Key, frozenset[Token]]) -> tuple[int, int, Key]:
        key, tokens = condition
        return max(_FEW, *(sharing[key, token] for token in tokens)), _rank(key, tokens), key

    anchors = {}
    for rule in rules:
        left = [condition for condition in rule.conditions.items() if condition[0] not in known]
        if left:
            anchors[rule.number], _ = left[0] if len(left) == 1 else min(left, key=cost)
    return anchors


def _rank(key: Key, tokens: frozenset[Token]) -> int:
    return max(KEYS.index(key[0]), *(_RANK_OF_KIND.get(kind, 0) for kind, _ in tokens))


def _candidate(rule: Rule, known: frozenset[Key], checks: dict[tuple[Key, frozenset[Token]], Check]) -> Candidate:
    left = [(key, tokens) for key, tokens in rule.conditions.items() if key not in known]
    if len(left) > 1:
        left.sort(key=lambda condition: _rank(*condition))  # cheap checks first
    for condition in left:
        if condition not in checks:
            checks[condition] = check_of(*condition)
    return Candidate(rule.group, rule.position, tuple(checks[condition] for condition in left))
