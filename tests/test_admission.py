"""What a request finds is remembered for those alike: never another choice than a look-up, never a growing memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Exchange, Plugin, PluginConfig, Registry, snapshot
from aigw_middleware.building import Builder
from aigw_middleware.config.loading import parse
from aigw_middleware.exchange import Request
from aigw_middleware.headers import Headers
from aigw_middleware.hosts.asgi import AsgiRequest
from aigw_middleware.plugin import INBOUND
from aigw_middleware.snapshot import ANY_ROUTE, Snapshot

Asked = tuple[str, str, str, bytes | None]


class MarkConfig(PluginConfig):
    value: str = ""


class Mark(Plugin[MarkConfig]):
    """Tells by its configuration which rule chose it."""

    name = "mark"

    def on_request(self, exchange: Exchange) -> None:
        return None


def built(config: Mapping[str, Any]) -> Snapshot:
    registry = Registry()
    registry.register(Mark)
    return Builder(parse(config), "configuration", str(Path()), registry, None).build({}, {INBOUND})


def rule(value: str, **match: Any) -> dict[str, Any]:
    return {"match": match, "config": {"value": value}}


def admitted(of: Snapshot, asked: Asked, **headers: str) -> tuple[str, Sequence[str], str]:
    """Return the route, the values that the chosen rules gave, and why the request is refused."""
    method, domain, path, raw_path = asked
    exchange = Exchange()
    exchange.snapshot, exchange.route, exchange.request = of, ANY_ROUTE, Request()
    request = exchange.request
    request.method, request.path, request.raw_path = method, path, raw_path
    request.headers = Headers([(name.encode(), value.encode()) for name, value in {"host": domain, **headers}.items()])
    stack, refusal = of.admit(exchange, of.inbound)
    return exchange.route.name, [plugin.config.value for plugin in stack.plugins], refusal.text if refusal else ""


CONFIGS: list[dict[str, Any]] = [
    {
        "routes": [{"name": "chat", "path_prefix": "/v1/chat"}, {"name": "tenant", "domain": "*.a.com"}],
        "plugins": [
            {"name": "mark", "id": "one", "rules": [rule("chat", route="chat"), rule("get", method="GET")]},
            {"name": "mark", "id": "two", "rules": [rule("v1", path_prefix="/v1"), rule("x", domain="x.a.com")]},
        ],
    },
    {"routes": [{"name": "chat", "path": ["/v1/chat", "/a b"]}], "plugins": [{"name": "mark"}]},
    {"plugins": [{"name": "mark", "rules": [rule("v1", path_regex="^/v1"), rule("any", domain="*")]}]},
    {"plugins": [{"name": "mark", "rules": [rule("v1", path="/v1/chat")]}], "ambiguous_paths": "allow"},
    {"plugins": [{"name": "mark", "rules": [rule("get", method="GET"), rule("a", domain="a.com")]}]},
    {"plugins": [{"name": "mark"}]},
]
PATHS = [("/v1/chat", b"/v1/chat"), ("/v1/chat", b"/v1%2fchat"), ("/v1/chat", b"/x/../v1/chat"), ("/v1/chat", None)]
PATHS += [("/v1", b"/v1"), ("/v1", b"/v1/chat"), ("/a b", b"/a%20b"), ("//v1", None), ("/", b"/"), ("/x", b"/x")]
requests = st.builds(
    lambda method, domain, paths: (method, domain, *paths),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["a.com", "x.a.com", "b.org", ""]),
    st.sampled_from(PATHS),
)


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
@given(asked=st.lists(requests, max_size=20))
def test_the_same_choice_as_one_that_remembers_nothing(config: dict[str, Any], asked: list[Asked]) -> None:
    remembering, forgetful = built(config), built(config)
    forgetful.inbound.known_by = None
    for request in asked + asked:
        assert admitted(remembering, request) == admitted(forgetful, request)


def test_a_request_alike_is_not_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    of = built(CONFIGS[0])
    request = "GET", "x.a.com", "/v1/chat", b"/v1/chat"
    found = admitted(of, request)
    monkeypatch.delattr(snapshot.Stacks, "find")
    assert admitted(of, request) == found == ("chat", ["chat", "v1"], "")


def test_nothing_is_remembered_where_headers_choose() -> None:
    of = built({"plugins": [{"name": "mark", "rules": [rule("a", path_prefix="/v1", header={"x-a": "a"})]}]})
    request = "GET", "", "/v1", b"/v1"
    assert [admitted(of, request, **{"x-a": value})[1] for value in "aba"] == [["a"], [], ["a"]]
    assert not of.inbound.known


def test_what_is_refused_or_long_is_not_remembered() -> None:
    of = built(CONFIGS[0])
    long = "x" * snapshot.MAX_KNOWN_LENGTH
    for request in (
        ("GET", "", "/v1/chat", b"/v1%2fchat"),
        ("GET", "", f"/v1/{long}", b"/v1"),
        ("GET", "", "/v1", f"/v1/{long}".encode()),
        ("GET", f"{long}.a.com", "/v1", b"/v1"),
        (long, "", "/v1", None),
    ):
        admitted(of, request)
        assert not of.inbound.known


def test_a_flood_of_paths_does_not_grow_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_KNOWN", 10)
    of = built(CONFIGS[0])
    sizes = set()
    for number in range(35):
        path = f"/v1/chat/{number}"
        assert admitted(of, ("GET", "", path, path.encode())) == ("chat", ["chat", "v1"], "")
        sizes.add(len(of.inbound.known))
    assert max(sizes) == 10
    assert len(of.inbound.known) == 5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"path": "/a/chat", "root_path": ""}, {"path": "/a/chat", "root_path": "/a"}),
        ({"path": "/a/chat", "root_path": "/a"}, {"path": "/b/chat", "root_path": "/b", "raw_path": b"/b/chat"}),
        ({"path": "/a/../x", "raw_path": b"/x"}, {"path": "/a/../x", "raw_path": b"/a/../x"}),
        ({"path": "/x", "raw_path": b"/x?a=1"}, {"path": "/x", "raw_path": b"/%78?a=1"}),
    ],
)
def test_scopes_that_look_alike_are_told_apart(first: dict[str, Any], second: dict[str, Any]) -> None:
    """What a choice is remembered by must hold all that the paths of an ASGI request follow from."""
    by_scope = [AsgiRequest({"type": "http", "method": "GET", "headers": [], **scope}) for scope in (first, second)]
    seen = [(request.path, request.raw_path) for request in by_scope]
    assert (by_scope[0].paths == by_scope[1].paths) <= (seen[0] == seen[1])


def test_the_query_is_not_part_of_what_is_remembered() -> None:
    scope = {"type": "http", "method": "GET", "headers": [], "path": "/x", "root_path": ""}
    one, other = (AsgiRequest({**scope, "raw_path": raw}) for raw in (b"/x?a=1", b"/x?b=2"))
    assert one.paths == other.paths
