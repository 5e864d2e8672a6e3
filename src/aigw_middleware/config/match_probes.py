"""From what a request has to the rules that ask for it: one probe for each way to compare.

A probe enumerates what of the request could stand in a rule (each prefix of the path that ends at a slash, the endings
of the domain in the lengths that rules have, ...) and looks it up. All regular expressions of a probe are one RE2 set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from aigw_middleware.config.match_tree import Node
    from aigw_middleware.config.matching import Facts

EXACT: Final = "exact"
PRESENT: Final = "present"
PREFIX: Final = "prefix"
SUFFIX: Final = "suffix"
UNDER: Final = "under"  # a path, and what follows it behind a slash
BELOW: Final = "below"  # what follows a path that ends with a slash
ANY_PORT: Final = "any port"  # the name of a service without its port
REGEX: Final = "regex"

FACT_OF_KEY: Final = {"path_prefix": "path", "path_regex": "path", "route_prefix": "route"}
"""The attribute of `Facts` that a key of `Match` looks at, where it has another name."""

_FEW_LENGTHS: Final = 8  # so many lengths of prefixes are tried one by one; of more, only those where a segment ends
_PATTERN_MEMORY: Final = 8 << 20  # bytes that RE2 may use for one pattern, its own default
_SET_MEMORY: Final = 64 << 20  # bytes that RE2 may use for a set, before it asks for more
_MAX_SET_MEMORY: Final = 2 << 30

Key: TypeAlias = tuple[str, str]
"""A key of `Match` and, for `header`, the name."""
Token: TypeAlias = tuple[str, str]
"""How a value is compared, and the text it is compared with."""
Check: TypeAlias = Callable[["Facts"], bool]
Probe: TypeAlias = Callable[["Facts", "list[Any]"], None]
"""Appends the nodes of the rules that ask for what a request has."""
_Read: TypeAlias = Callable[["Facts"], "str | None"]
_Table: TypeAlias = Mapping[str, "Node | bool"]


def probe_of(key: Key, kind: str, table: _Table) -> Probe:
    """Return the probe for the values of one key that are compared in one way. The table may not be empty."""
    return _PROBES[kind](_reader(key, kind), table)


def check_of(key: Key, tokens: Iterable[Token]) -> Check:
    """Return a function that says whether a request has one of the tokens."""
    tables: dict[str, dict[str, bool]] = {}
    for kind, text in tokens:
        tables.setdefault(kind, {})[text] = True
    if tables.keys() == {EXACT}:
        read, values = _reader(key, EXACT), frozenset(tables[EXACT])
        return lambda facts: read(facts) in values
    probes = [probe_of(key, kind, table) for kind, table in tables.items()]

    def check(facts: Facts) -> bool:
        found: list[bool] = []
        for probe in probes:
            probe(facts, found)
        return bool(found)

    return check


def probe_names(by_name: Mapping[str, Sequence[Probe]]) -> Probe:
    """Return one probe for those of many headers: only headers that the request has are looked at, if it says which."""

    def probe(facts: Facts, nodes: list[Any]) -> None:
        names = by_name if facts.header_names is None else by_name.keys() & facts.header_names()
        for name in names:
            for value_probe in by_name[name]:
                value_probe(facts, nodes)

    return probe


def pattern_problem(pattern: str) -> str | None:
    """Return why RE2 does not accept a pattern, or None."""
    import re2

    try:
        re2.compile(pattern, _options(_PATTERN_MEMORY))
    except UnicodeEncodeError:
        return "is not Unicode text"
    except re2.error as error:
        return f"is no RE2 pattern: {error.args[0].decode()}"
    return None


def _reader(key: Key, kind: str) -> _Read:
    name, header = key
    if name == "header":
        return lambda facts: facts.header(header)
    if name == "domain":
        return lambda facts: facts.domain.lower()
    if name == "method":
        return lambda facts: facts.method.upper()
    if kind == ANY_PORT:
        return lambda facts: facts.service.partition(":")[0]
    read: _Read = attrgetter(FACT_OF_KEY.get(name, name))
    return read


def _exact(read: _Read, table: _Table) -> Probe:
    get: Any = table.get  # a header that is absent is None, which no table has

    def probe(facts: Facts, nodes: list[Any]) -> None:
        node = get(read(facts))
        if node is not None:
            nodes.append(node)

    return probe


def _present(read: _Read, table: _Table) -> Probe:
    (node,) = table.values()

    def probe(facts: Facts, nodes: list[Any]) -> None:
        if read(facts) is not None:
            nodes.append(node)

    return probe


def _prefix(read: _Read, table: _Table) -> Probe:
    get, lengths = table.get, sorted({len(prefix) for prefix in table})

    def probe(facts: Facts, nodes: list[Any]) -> None:
        text = read(facts)
        if text is None:
            return
        size = len(text)
        for length in lengths:
            if length > size:
                break
            node = get(text[:length])
            if node is not None:
                nodes.append(node)

    return probe


def _suffix(read: _Read, table: _Table) -> Probe:
    def backwards(facts: Facts) -> str | None:
        text = read(facts)
        return None if text is None else text[::-1]

    return _prefix(backwards, {suffix[::-1]: node for suffix, node in table.items()})


def _under(_: _Read, table: _Table) -> Probe:
    get, lengths = table.get, sorted({len(prefix) for prefix in table})
    if len(lengths) > _FEW_LENGTHS:
        return _under_many(table, lengths[0], lengths[-1])

    def probe(facts: Facts, nodes: list[Any]) -> None:
        path = facts.path + "/"  # so that every prefix ends at one
        last = len(path) - 1
        for length in lengths:
            if length > last:
                break
            if path[length] == "/":
                node = get(path[:length])
                if node is not None:
                    nodes.append(node)

    return probe


def _under_many(table: _Table, shortest: int, longest: int) -> Probe:
    get = table.get

    def probe(facts: Facts, nodes: list[Any]) -> None:
        path = facts.path
        if len(path) <= longest:
            node = get(path)
            if node is not None:
                nodes.append(node)
        end = path.find("/", shortest)
        while 0 < end <= longest:
            node = get(path[:end])
            if node is not None:
                nodes.append(node)
            end = path.find("/", end + 1)

    return probe


def _below(_: _Read, table: _Table) -> Probe:
    get, longest = table.get, max(map(len, table))

    def probe(facts: Facts, nodes: list[Any]) -> None:
        path = facts.path
        end = path.find("/") + 1
        while 0 < end <= longest:
            node = get(path[:end])
            if node is not None:
                nodes.append(node)
            end = path.find("/", end) + 1

    return probe


def _regex(read: _Read, table: _Table) -> Probe:
    search, found = _search(tuple(table)), tuple(table.values())

    def probe(facts: Facts, nodes: list[Any]) -> None:
        text = read(facts)
        if text is not None:
            for number in search(text):
                nodes.append(found[number])

    return probe


_PROBES: Final[Mapping[str, Callable[[_Read, _Table], Probe]]] = {
    EXACT: _exact,
    ANY_PORT: _exact,
    PRESENT: _present,
    PREFIX: _prefix,
    SUFFIX: _suffix,
    UNDER: _under,
    BELOW: _below,
    REGEX: _regex,
}


def _search(patterns: Sequence[str]) -> Callable[[str], Iterable[int]]:
    """Return a function that gives the numbers of the patterns found in a text, all in one pass over it."""
    together = _compiled_set(patterns)
    always = len(patterns)
    one_by_one: tuple[Any, ...] = ()

    def search(text: str) -> Iterable[int]:
        nonlocal one_by_one
        encoded = text.encode("utf-8", "surrogateescape")
        found = together.Match(encoded)
        if found:
            found.remove(always)
            return found  # type: ignore[no-any-return]
        # RE2 ran out of memory, which it reports as no match: a rule that denies must not be passed by that.
        one_by_one = one_by_one or tuple(_compiled_set([pattern]) for pattern in patterns)
        return [number for number, pattern in enumerate(one_by_one) if 0 in (pattern.Match(encoded) or ())]

    return search


def _compiled_set(patterns: Iterable[str]) -> Any:
    """Return the patterns as one RE2 set, with one more at its end that every text matches."""
    import re2

    memory = _SET_MEMORY
    while memory <= _MAX_SET_MEMORY:
        together = re2.Set.SearchSet(_options(memory))
        for pattern in (*patterns, ""):
            together.Add(pattern)
        try:
            together.Compile()
        except re2.error:
            memory *= 4
        else:
            return together
    raise ValueError(f"the regular expressions of one key need more than {_MAX_SET_MEMORY} bytes together")


def _options(memory: int) -> Any:
    import re2

    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = memory
    return options
