"""The rule index against a matcher that tries every rule, and the number of rules it verifies as they grow."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from aigw_middleware.config import match_probes, match_tree
from aigw_middleware.config.matching import Facts, Match, MatchIndex, problems


def facts(
    path: str = "/",
    method: str = "GET",
    domain: str = "",
    route: str = "*",
    service: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
    named: bool = False,
) -> Facts:
    return Facts(path, method, domain, route, headers.get, service, headers.keys if named else None)


def with_values(key: str, *values: str) -> Match:
    keys: dict[str, Any] = {key: values}
    return Match(**keys)


# ---------------------------------------------------------------------- the naive matcher


def applies(match: Match, facts: Facts) -> bool:
    path, domain, service = facts.path, facts.domain.lower(), facts.service

    def prefix_holds(prefix: str) -> bool:
        return path.startswith(prefix) if prefix.endswith("/") else path == prefix or path.startswith(prefix + "/")

    def domain_holds(pattern: str) -> bool:
        pattern = pattern.lower()
        if pattern == "*":
            return True
        if pattern.startswith("*"):
            return domain.endswith(pattern[1:])
        return domain.startswith(pattern[:-1]) if pattern.endswith("*") else domain == pattern

    def header_holds(value: str | None, pattern: str) -> bool:
        if value is None:
            return False
        if pattern == "*":
            return True
        if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
            return bool(re2.search(pattern[1:-1], value))
        return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern

    keys: list[tuple[Sequence[str], Callable[[str], bool]]] = [
        (match.route, lambda value: value == facts.route),
        (match.route_prefix, lambda value: facts.route.startswith(value)),
        (match.domain, domain_holds),
        (match.path, lambda value: value == path),
        (match.path_prefix, prefix_holds),
        (match.path_regex, lambda value: bool(re2.search(value, path))),
        (match.method, lambda value: value.upper() == facts.method.upper()),
        (match.service, lambda value: value == service or (":" not in value and service.startswith(value + ":"))),
    ]
    names = {name.lower() for name, _ in match.header}
    return all(not values or any(map(holds, values)) for values, holds in keys) and all(
        any(header_holds(facts.header(name), pattern) for other, pattern in match.header if other.lower() == name)
        for name in names
    )


def choose(groups: Iterable[Iterable[Match]], facts: Facts) -> tuple[int, ...]:
    return tuple(next((i for i, match in enumerate(group) if applies(match, facts)), -1) for group in groups)


# ---------------------------------------------------------------------- differential test


def values(*choices: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Mostly one value or none, so that something matches."""
    return st.lists(st.sampled_from(choices), max_size=2).map(tuple) | st.just(())


PATHS = ("/", "/v1", "/v1/", "/v1/chat", "/v1/chat/", "/v1/chat/x", "/v1/chatter", "/v2/chat", "//", "/v1//chat")
DOMAINS = ("example.com", "a.example.com", "A.Example.COM", "b.example.org", "localhost", "", ".example.com", "::1")
HEADERS = ("a", "ab", "abc", "", "/", "//", "B", "é")

matches = st.builds(
    Match,
    route=values("chat", "chat-a", "embed", "*"),
    route_prefix=values("c", "chat", "chat-", "embed"),
    domain=values(
        "example.com", "*.example.com", "*example.com", "*.COM", "A*", "a.example.*", "*", "localhost", "::1"
    ),
    path=values(*PATHS),
    path_prefix=values(*PATHS),
    path_regex=values("^/v1", "chat$", "c.a", "^/v[12]/chat$", "x|y", "^$"),
    method=values("GET", "post", "Post", "DELETE"),
    service=values("llm", "llm:80", "llm.default:80", "llm.default"),
    header=st.lists(
        st.tuples(
            st.sampled_from(["x-a", "X-A", "x-b"]),
            st.sampled_from(["a", "ab", "a*", "ab*", "*", "/b/", "/^a.?$/", "//", "/", ""]),
        ),
        max_size=2,
    ).map(tuple)
    | st.just(()),
)
requests = st.builds(
    facts,
    path=st.sampled_from(PATHS),
    method=st.sampled_from(["GET", "POST", "post", "PUT"]),
    domain=st.sampled_from(DOMAINS),
    route=st.sampled_from(["chat", "chat-a", "chat-b", "embed", "*"]),
    service=st.sampled_from(["", "llm", "llm:80", "llm:81", "llm.default:80"]),
    named=st.booleans(),
    headers=st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.sampled_from(HEADERS)),
)


@pytest.mark.parametrize(
    ("few", "many_names", "room", "lengths"), [(4, 8, 5, 8), (0, 0, 5, 0), (0, 8, 100, 8), (1, 1, 2, 1), (0, 8, 1, 2)]
)
@settings(max_examples=50)
@given(groups=st.lists(st.lists(matches, max_size=12), max_size=4), asked=st.lists(requests, min_size=1, max_size=6))
def test_the_same_choice_as_trying_every_rule(
    few: int, many_names: int, room: int, lengths: int, groups: list[list[Match]], asked: list[Facts]
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # small bounds, so that small examples reach what large ones would
        patch.setattr(match_tree, "_FEW", few)
        patch.setattr(match_tree, "_MANY_NAMES", many_names)
        patch.setattr(match_probes, "_FEW_LENGTHS", lengths)
        patch.setattr(match_tree, "_ROOM", room)
        index = MatchIndex(groups)
    for request in asked:
        assert index.choose(request) == choose(groups, request)


@given(
    st.text(st.sampled_from("/ab"), max_size=12).map(lambda text: "/" + text),
    st.lists(st.text(st.sampled_from("/ab"), max_size=6).map(lambda text: "/" + text), min_size=1, max_size=12),
)
def test_prefixes_end_at_slashes(path: str, prefixes: list[str]) -> None:
    groups = [
        [Match(path_prefix=(prefix,)) for prefix in prefixes],
        *([Match(path_prefix=(prefix,))] for prefix in prefixes),
    ]
    assert MatchIndex(groups).choose(facts(path)) == choose(groups, facts(path))


# ---------------------------------------------------------------------- the semantics, by example


@pytest.mark.parametrize(
    ("match", "yes", "no"),
    [
        (Match(), [facts()], []),
        (Match(path=("/v1",)), [facts("/v1")], [facts("/v1/"), facts("/v1/x"), facts("/V1"), facts("/")]),
        (
            Match(path_prefix=("/v1/chat",)),
            [facts("/v1/chat"), facts("/v1/chat/"), facts("/v1/chat/x/y")],
            [facts("/v1/chatter"), facts("/v1")],
        ),
        (Match(path_prefix=("/v1/",)), [facts("/v1/"), facts("/v1/x")], [facts("/v1"), facts("/v1x")]),
        (Match(path_prefix=("/",)), [facts("/"), facts("/x")], []),
        (Match(path_regex=("chat",)), [facts("/v1/chat/x")], [facts("/v1")]),
        (Match(path_regex=("^/v1$",)), [facts("/v1")], [facts("/v1/"), facts("/x/v1")]),
        (Match(domain=("Example.com",)), [facts(domain="example.COM")], [facts(domain="a.example.com"), facts()]),
        (Match(domain=("*.example.com",)), [facts(domain="a.b.Example.com")], [facts(domain="example.com")]),
        (Match(domain=("api.*",)), [facts(domain="api.example.com")], [facts(domain="xapi.example.com")]),
        (Match(domain=("*",)), [facts(domain="a"), facts(domain="")], []),
        (
            Match(domain=("[::1]", "example.org.")),
            [facts(domain="::1"), facts(domain="example.org")],
            [facts(domain="[::1]")],
        ),
        (Match(route=("chat",)), [facts(route="chat")], [facts(route="chat-a")]),
        (Match(route_prefix=("chat",)), [facts(route="chat"), facts(route="chat-a")], [facts(route="cha")]),
        (Match(method=("post",)), [facts(method="POST"), facts(method="Post")], [facts()]),
        (Match(service=("llm",)), [facts(service="llm"), facts(service="llm:80")], [facts(service="llm2"), facts()]),
        (Match(service=("llm:80",)), [facts(service="llm:80")], [facts(service="llm"), facts(service="llm:8080")]),
        (
            Match(header=(("X-A", "b"),)),
            [facts(headers={"x-a": "b"})],
            [facts(headers={"x-a": "bc"}), facts(headers={"x-a": "B"}), facts()],
        ),
        (
            Match(header=(("x-a", "b*"),)),
            [facts(headers={"x-a": "b"}), facts(headers={"x-a": "bc"})],
            [facts(headers={"x-a": "ab"}), facts()],
        ),
        (Match(header=(("x-a", "*"),)), [facts(headers={"x-a": ""})], [facts()]),
        (Match(header=(("x-a", "/b$/"),)), [facts(headers={"x-a": "ab"})], [facts(headers={"x-a": "ba"}), facts()]),
        (Match(header=(("x-a", ""),)), [facts(headers={"x-a": ""})], [facts(headers={"x-a": "a"}), facts()]),
        (
            Match(path=("/a", "/b"), method=("GET", "PUT")),
            [facts("/a"), facts("/b", "PUT")],
            [facts("/c"), facts("/a", "POST")],
        ),
        (
            Match(header=(("x-a", "a"), ("x-b", "*"))),
            [facts(headers={"x-a": "a", "x-b": "c"})],
            [facts(headers={"x-a": "a"})],
        ),
        (
            Match(header=(("x-a", "a"), ("X-A", "b"))),
            [facts(headers={"x-a": "a"}), facts(headers={"x-a": "b"})],
            [facts(headers={"x-a": "c"})],
        ),
        (Match(path=("/a",), path_prefix=("/b",)), [], [facts("/a"), facts("/b")]),
    ],
    ids=str,
)
@pytest.mark.parametrize("lengths", [8, 0])
def test_what_a_match_covers(
    match: Match, yes: list[Facts], no: list[Facts], lengths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match_probes, "_FEW_LENGTHS", lengths)
    crowd = [Match(path=(f"/crowd/{n}",)) for n in range(10)]  # so that the match is not alone in its node
    for index in (MatchIndex([[match]]), MatchIndex([[match], crowd])):
        assert [index.choose(request)[0] for request in yes] == [0] * len(yes)
        assert [index.choose(request)[0] for request in no] == [-1] * len(no)


def test_the_first_match_of_each_group_wins() -> None:
    chat, v1, anything = Match(path_prefix=("/v1/chat",)), Match(path_prefix=("/v1",)), Match()
    index = MatchIndex([[chat, v1, anything], [v1, chat], [anything, chat], [chat], []])
    assert index.choose(facts("/v1/chat/x")) == (0, 0, 0, 0, -1)
    assert index.choose(facts("/v1/x")) == (1, 0, 0, -1, -1)
    assert index.choose(facts("/x")) == (2, -1, 0, -1, -1)
    assert MatchIndex([]).choose(facts()) == ()


def test_which_facts_matter() -> None:
    assert MatchIndex([[Match(), Match(path=("/a",))]]).facts == frozenset()  # the second is never reached
    assert MatchIndex([[Match(domain=("*",))]]).facts == frozenset()
    for key in ("path", "path_prefix", "path_regex"):
        index = MatchIndex([[with_values(key, "/a")], [Match(method=("GET",))]])
        assert index.facts == {"path", "method"}
    index = MatchIndex([[Match(header=(("x-a", "*"),), route_prefix=("a",), domain=("a",), service=("b",))]])
    assert index.facts == {"header", "route", "domain", "service"}


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        (Match(path_regex=("ok", "a(")), "path_regex: 'a(' is no RE2 pattern: missing )"),
        (Match(path_regex=("a(?=b)",)), "path_regex: 'a(?=b)' is no RE2 pattern: invalid perl operator: (?="),
        (Match(path_regex=("\udcff",)), r"path_regex: '\udcff' is not Unicode text"),
        (Match(header=(("X-A", "/[/"),)), "header x-a: '/[/' is no RE2 pattern: missing ]"),
        (Match(header=(("", "a"),)), "header: 'a' has no header name"),
        (Match(path=("v1",)), "path: 'v1' does not begin with a slash"),
        (Match(path_prefix=("v1/",)), "path_prefix: 'v1/' does not begin with a slash"),
        (Match(domain=("*a*",)), "domain: '*a*' has a `*` that is neither"),
        (Match(domain=("a.*.b",)), "domain: 'a.*.b' has a `*` that is neither"),
        (Match(domain=("example.com:80",)), "domain: 'example.com:80' has a port"),
        *(
            (with_values(key, ""), f"{key}: '' is empty")
            for key in Match.__dataclass_fields__
            if key not in ("header", "path_regex")
        ),
    ],
)
def test_bad_values_are_named(match: Match, problem: str) -> None:
    (found,) = problems(match)
    assert found.startswith(problem)
    with pytest.raises(ValueError, match=r"'no-slash' does not begin with a slash.*; domain: '\*\*' has") as caught:
        MatchIndex([[Match()], [Match(), match, Match(path=("no-slash",), domain=("**",)), match]])
    assert str(caught.value).count(found) == 1
    assert not problems(Match(path=("/a",), header=(("x-a", ""), ("x-b", "/a/"))))


# ---------------------------------------------------------------------- growth

SHAPES: dict[str, tuple[Callable[[int], Match], Callable[[int], Facts]]] = {
    "path": (lambda n: Match(path=(f"/a/{n}",)), lambda n: facts(f"/a/{n}")),
    "path_prefix": (lambda n: Match(path_prefix=(f"/a/{n}",)), lambda n: facts(f"/a/{n}/x")),
    "path_prefix of many lengths": (
        lambda n: Match(path_prefix=(f"/a/{n}{'x' * (n % 20)}",)),
        lambda n: facts(f"/a/{n}{'x' * (n % 20)}/x"),
    ),
    "path_prefix of one slash": (lambda n: Match(path_prefix=(f"/a/{n}/",)), lambda n: facts(f"/a/{n}/x")),
    "path_regex": (lambda n: Match(path_regex=(f"^/a/{n}$",)), lambda n: facts(f"/a/{n}")),
    "route": (lambda n: Match(route=(f"r{n}",)), lambda n: facts(route=f"r{n}")),
    "route_prefix": (lambda n: Match(route_prefix=(f"r{n}-",)), lambda n: facts(route=f"r{n}-x")),
    "domain": (lambda n: Match(domain=(f"d{n}.example.com",)), lambda n: facts(domain=f"d{n}.example.com")),
    "domain suffix": (lambda n: Match(domain=(f"*.d{n}.com",)), lambda n: facts(domain=f"x.d{n}.com")),
    "domain prefix": (lambda n: Match(domain=(f"d{n}.*",)), lambda n: facts(domain=f"d{n}.com")),
    "service": (lambda n: Match(service=(f"s{n}:80",)), lambda n: facts(service=f"s{n}:80")),
    "service of any port": (lambda n: Match(service=(f"s{n}",)), lambda n: facts(service=f"s{n}:80")),
    "method": (lambda n: Match(method=(f"M{n}",)), lambda n: facts(method=f"M{n}")),
    "header": (lambda n: Match(header=(("x-a", f"{n}"),)), lambda n: facts(headers={"x-a": f"{n}"})),
    "header prefix": (lambda n: Match(header=(("x-a", f"{n}-*"),)), lambda n: facts(headers={"x-a": f"{n}-b"})),
    "header regex": (lambda n: Match(header=(("x-a", f"/^{n}$/"),)), lambda n: facts(headers={"x-a": f"{n}"})),
    "header name": (lambda n: Match(header=((f"x-{n}", "*"),)), lambda n: facts(headers={f"x-{n}": "a"}, named=True)),
    "one domain, many headers": (
        lambda n: Match(domain=("a.com",), header=(("x-a", f"{n}"),)),
        lambda n: facts(domain="a.com", headers={"x-a": f"{n}"}),
    ),
    "one prefix, many methods": (
        lambda n: Match(path_prefix=("/v1",), method=(f"M{n}",)),
        lambda n: facts("/v1/x", f"M{n}"),
    ),
    "each value of two keys in a hundred rules": (
        lambda n: Match(domain=(f"d{n % 100}.com",), header=(("x-a", f"{n // 100}"),)),
        lambda n: facts(domain=f"d{n % 100}.com", headers={"x-a": f"{n // 100}"}),
    ),
    "each value of three keys in hundreds": (
        lambda n: Match(route=(f"r{n % 22}",), path_prefix=(f"/{n // 22 % 22}",), header=(("x-a", f"{n // 484}-*"),)),
        lambda n: facts(f"/{n // 22 % 22}/x", route=f"r{n % 22}", headers={"x-a": f"{n // 484}-x"}),
    ),
    "one prefix, many patterns": (
        lambda n: Match(path_prefix=("/v1",), path_regex=(f"/{n}$",)),
        lambda n: facts(f"/v1/{n}"),
    ),
    "many values each": (
        lambda n: Match(path=(f"/{n}", f"/x/{n}"), method=("GET", "PUT", "POST"), domain=("a.com", "*.a.com")),
        lambda n: facts(f"/x/{n}", domain="a.com"),
    ),
    "all the same": (lambda _: Match(path_prefix=("/v1",), method=("GET",)), lambda _: facts("/v1/x")),
    "without keys": (lambda _: Match(), lambda _: facts()),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_few_rules_are_verified_however_many_there_are(shape: str) -> None:
    rule, request = SHAPES[shape]
    same = shape in ("all the same", "without keys")
    for size in (10, 10_000):
        index = MatchIndex([[rule(n) for n in range(size)], [Match(path=("/other",)), rule(3)]])
        for n in {0, 3, size // 3, size - 1}:
            asked = request(n)
            assert index.choose(asked) == (0 if same else n, 1 if same or n == 3 else -1)
            assert len(index.candidates(asked)) <= 9
        assert len(index.candidates(facts("/nothing", "NONE", "none.invalid", "none", headers={"x-a": "none"}))) <= 4


def test_rules_hang_on_the_key_that_the_fewest_share() -> None:
    """One step to the rule, past the domain that all share and the header that two of three share."""
    rules = [Match(domain=("a.com",), header=(("x-a", f"{n % 3}"), ("x-b", f"{n}"))) for n in range(100)]
    index = MatchIndex([rules])
    request = facts(domain="a.com", headers={"x-a": "1", "x-b": "7"})
    assert index.choose(request) == (7,)
    assert len(index._reached(request)) == 2


def test_of_many_header_names_only_those_of_the_request_are_looked_up() -> None:
    looked_up = []

    def header(name: str) -> str | None:
        looked_up.append(name)
        return "a"

    index = MatchIndex([[Match(header=((f"x-{n}", "a"),)) for n in range(100)]])
    request = Facts("/", "GET", "", "*", header, header_names=lambda: ["accept", "x-7"])
    assert index.choose(request) == (7,)
    assert looked_up == ["x-7"]


def test_many_groups_of_few_rules() -> None:
    """A gateway of many plug-ins with a rule each: one look-up for all of them."""
    index = MatchIndex([[Match(route=(f"r{n}",))] for n in range(2000)])
    chosen = index.choose(facts(route="r7"))
    assert [n for n, position in enumerate(chosen) if position == 0] == [7]
    assert len(index.candidates(facts(route="r7"))) == 1


def test_probes_do_not_grow_with_a_long_path() -> None:
    """Only prefixes as long as those in rules are looked up, so a hostile path costs no more than a long rule."""
    looked_up = 0

    class Path(str):
        __slots__ = ()

        def __getitem__(self, place: object) -> str:
            nonlocal looked_up
            looked_up += 1
            return super().__getitem__(place)  # type: ignore[index]

    index = MatchIndex(
        [[Match(path_prefix=(f"/a/{n}",)) for n in range(5)] + [Match(path_prefix=(f"/b/{n}/",)) for n in range(5)]]
    )
    assert index.choose(facts(Path("/a" * 50_000))) == (-1,)
    assert looked_up <= 6


def test_values_multiply_only_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules with many values in many keys: what the tree holds stays in proportion to what the rules say."""
    held = 0

    def counted(key: match_probes.Key, kind: str, table: dict[str, match_tree.Node]) -> match_probes.Probe:
        nonlocal held
        held += len(table)
        return match_probes.probe_of(key, kind, table)

    monkeypatch.setattr(match_tree, "probe_of", counted)
    chance = random.Random(1)
    rules = [
        Match(
            route=tuple(f"r{i}" for i in chance.sample(range(31), 12)),
            domain=tuple(f"d{i}.com" for i in chance.sample(range(31), 12)),
            service=tuple(f"s{i}:1" for i in chance.sample(range(31), 12)),
            header=tuple(("x-a", f"{i}") for i in chance.sample(range(31), 12)),
        )
        for _ in range(60)
    ]
    index = MatchIndex([rules])
    assert held <= 5 * 60 * 48  # divided to the end, it would be 25 times
    for n in range(31):
        asked = facts(route=f"r{n}", domain=f"d{n}.com", service=f"s{n}:1", headers={"x-a": f"{n}"})
        assert index.choose(asked) == choose([rules], asked)


# ---------------------------------------------------------------------- RE2


def test_a_set_that_runs_out_of_memory_is_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """RE2 reports that as no match; the patterns are then tried one by one."""
    match = re2.Set.Match
    sizes = []

    def exhausted(self: re2.Set, text: bytes) -> list[int] | None:
        found: list[int] = match(self, text)
        sizes.append(max(found))
        return found if max(found) <= 1 else None

    monkeypatch.setattr(re2.Set, "Match", exhausted)
    index = MatchIndex([[Match(path_regex=(f"^/{n}$",)) for n in range(6)]])
    assert [index.choose(facts(f"/{n}"))[0] for n in (0, 5, 6)] == [0, 5, -1]
    assert max(sizes) == 6


def test_a_set_gets_the_memory_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_probes, "_SET_MEMORY", 1 << 10)
    index = MatchIndex([[Match(path_regex=(f"^/{n}/[a-z]+$",)) for n in range(100)]])
    assert index.choose(facts("/99/x")) == (99,)
    monkeypatch.setattr(match_probes, "_MAX_SET_MEMORY", 1 << 12)
    with pytest.raises(ValueError, match="regular expressions of one key need more than 4096 bytes"):
        MatchIndex([[Match(path_regex=(f"^/{n}/[a-z]+$",)) for n in range(100)]])


def test_text_that_is_no_unicode_is_searched_too() -> None:
    index = MatchIndex([[Match(path_regex=("b$",))]])
    assert index.choose(facts("/\udcff/b")) == (0,)
    assert index.choose(facts("/\udcff")) == (-1,)


def test_re2_is_imported_only_for_patterns() -> None:
    code = """
import sys
from aigw_middleware.config.matching import Facts, Match, MatchIndex
MatchIndex([[Match(path=("/a",), header=(("x-a", "b*"),))]]).choose(Facts("/a", "GET", "", "*", {}.get))
assert "re2" not in sys.modules
MatchIndex([[Match(path_regex=("a",))]])
assert "re2" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
