"""Which rules apply to a request, found without trying them one by one.

    index = MatchIndex([[Match(path_prefix=("/v1/chat",), method=("POST",)), Match(domain=("*.example.com",))]])
    index.choose(Facts("/v1/chat/completions", "POST", "api.example.com", "chat", headers.get))   # (0,)

Rules hang in a tree (`match_tree`) on the keys that tell them apart; a request looks up there what it has
(`match_probes`) and verifies the few rules found. A look-up costs what the request and the kinds of keys in use cost;
it does not grow with the number of rules.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from aigw_middleware.config.match_probes import (
    ANY_PORT,
    BELOW,
    EXACT,
    FACT_OF_KEY,
    PREFIX,
    PRESENT,
    REGEX,
    SUFFIX,
    UNDER,
    Key,
    Token,
    pattern_problem,
)
from aigw_middleware.config.match_tree import KEYS, Candidate, Node, Rule, build_tree, reachable

_ANYTHING: Final[Token] = (PRESENT, "")


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule applies to: every key that is given must hold; of a key's values any may.

    * `path` is exact; `path_prefix` ends at a `/`: `/v1` covers `/v1` and `/v1/chat`, not `/v1x`; `/v1/` covers only
      what begins with it. `path_regex` is an RE2 pattern searched in the path: anchors are the operator's.
    * `domain` is exact, `*suffix`, `prefix*` or `*`, and ignores case as host names do (RFC 9110, 4.2.3). No port.
    * `method` is compared in upper case. `route` is exact, `route_prefix` begins a route's name.
    * `service` is a name, which matches with any port, or `name:port`.
    * `header` pairs a name with an exact value, `prefix*`, `*` (present), or an RE2 pattern between slashes, searched
      in the value. Pairs of one name are values of one key, pairs of different names are different keys.
    """

    route: tuple[str, ...] = ()
    route_prefix: tuple[str, ...] = ()
    domain: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    path_prefix: tuple[str, ...] = ()
    path_regex: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    header: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Facts:
    """What a request is matched by. `domain` has no port; `header` returns the value of a lower-case name.

    `header_names` may return the lower-case names of the request's headers. Where rules ask for many different headers,
    it keeps the cost from growing with their number.
    """

    path: str
    method: str
    domain: str
    route: str
    header: Callable[[str], str | None]
    service: str = ""
    header_names: Callable[[], Iterable[str]] | None = None


class MatchIndex:
    """Chooses in each group of matches the first that applies. Immutable; threads may share it.

    Raises ValueError that lists every bad value of every match (see `problems`), or that RE2 cannot hold all patterns.
    """

    __slots__ = ("_default", "_root", "facts")

    def __init__(self, groups: Sequence[Sequence[Match]]) -> None:
        rules: list[Rule] = []
        bad: dict[str, None] = {}
        for group, matches in enumerate(groups):
            for position, match in enumerate(matches):
                values = _values(match)
                bad |= dict.fromkeys(_problems(values))
                rules.append(Rule(len(rules), group, position, _conditions(values)))
        if bad:
            raise ValueError("; ".join(bad))
        self._default = [-1] * len(groups)
        conditional = []
        for rule in reachable(rules, frozenset()):
            if rule.conditions:
                conditional.append(rule)
            else:
                self._default[rule.group] = rule.position
        self.facts = frozenset(FACT_OF_KEY.get(key, key) for rule in conditional for key, _ in rule.conditions)
        """The attributes of `Facts` that the outcome depends on."""
        self._root: Node = build_tree(conditional)

    def choose(self, facts: Facts) -> tuple[int, ...]:
        """Return for each group the position of its first match that applies, or -1."""
        best = self._default.copy()
        nodes = [self._root]
        for node in nodes:  # it grows meanwhile
            for probe in node.probes:
                probe(facts, nodes)
            for group, position, checks in node.leaf:
                if position < best[group] or best[group] < 0:
                    for check in checks:
                        if not check(facts):
                            break
                    else:
                        best[group] = position
        return tuple(best)

    def candidates(self, facts: Facts) -> list[Candidate]:
        """Return the rules that `choose` verifies: all that apply, except those that apply to everything."""
        return [candidate for node in self._reached(facts) for candidate in node.leaf]

    def _reached(self, facts: Facts) -> list[Node]:
        nodes = [self._root]
        for node in nodes:  # it grows meanwhile
            for probe in node.probes:
                probe(facts, nodes)
        return nodes


def problems(match: Match) -> list[str]:
    """Return what is wrong with the values of a match, each text with its key and value; empty when nothing is."""
    return _problems(_values(match))


def _problems(values: Iterable[tuple[Key, str]]) -> list[str]:
    found = []
    for (key, name), value in values:
        problem = "has no header name" if key == "header" and not name else _problem(key, value)
        if problem:
            found.append(f"{key}{f' {name}' if name else ''}: {value!r} {problem}")
    return found


def _problem(key: str, value: str) -> str | None:
    kind, text = _token(key, value)
    if not value and key != "header":
        return "is empty"
    if kind == REGEX:
        return pattern_problem(text)
    if key in ("path", "path_prefix") and value[0] != "/":
        return "does not begin with a slash, as every path does"
    if key == "domain" and "*" in text:
        return "has a `*` that is neither its beginning nor its end"
    if key == "domain" and text.count(":") == 1:
        return "has a port; domains are compared without it"
    return None


def _values(match: Match) -> list[tuple[Key, str]]:
    values = [((key, ""), value) for key in KEYS if key != "header" for value in getattr(match, key)]
    return values + [(("header", name.lower()), value) for name, value in match.header]


def _conditions(values: Iterable[tuple[Key, str]]) -> dict[Key, frozenset[Token]]:
    conditions: dict[Key, set[Token]] = {}
    for key, value in values:
        conditions.setdefault(key, set()).add(_token(key[0], value))
    return {
        key: frozenset(tokens)
        for key, tokens in conditions.items()
        if key[0] != "domain" or _ANYTHING not in tokens  # every request has a domain, if an empty one
    }


def _token(key: str, value: str) -> Token:
    if key == "path_regex":
        return REGEX, value
    if key == "path_prefix":
        return (BELOW if value.endswith("/") else UNDER), value
    if key == "route_prefix":
        return PREFIX, value
    if key == "method":
        return EXACT, value.upper()
    if key == "service":
        return (EXACT if ":" in value else ANY_PORT), value
    if key == "domain":
        value = value.lower().strip("[]").rstrip(".")
    if key == "header" and len(value) > 1 and value[0] == value[-1] == "/":
        return REGEX, value[1:-1]
    if key in ("domain", "header"):
        if value == "*":
            return _ANYTHING
        if key == "domain" and value[:1] == "*":
            return SUFFIX, value[1:]
        if value[-1:] == "*":
            return PREFIX, value[:-1]
    return EXACT, value
