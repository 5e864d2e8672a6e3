"""key-rate-limit: whom it counts, what it lets through over time, what it tells, and what happens without a store."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import ConfigError, Gateway
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.plugins.traffic import key_rate_limit
from aigw_middleware.state import Limit, MemoryStore, Store, StoreError, Taken
from aigw_middleware.testing.asgi import AsgiExchange, asgi_exchange
from aigw_middleware.testing.wsgi import wsgi_exchange
from tests.plugins.service import Gated, Service


def limited(limit_keys: Sequence[Mapping[str, Any]], **config: Any) -> Gated:
    if not any(name.startswith("limit_by_") for name in config):
        config["limit_by_header"] = "x-key"
    service = config.pop("service", None)
    return Gated("key-rate-limit", {"limit_keys": limit_keys, **config}, service)


def passes(gated: Gated, key: str | None = "a", times: int = 1) -> int:
    """How many of some requests in a row pass."""
    headers = [] if key is None else [("x-key", key)]
    statuses = [gated.ask(headers=headers).status for _ in range(times)]
    assert set(statuses) <= {200, 429}
    return statuses.count(200)


# ---------------------------------------------------------------------- what is the key


def headers(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"headers": pairs}


@pytest.mark.parametrize(
    ("by", "first", "second", "other"),
    [
        ("header: X-Key", headers(("x-key", "a")), headers(("X-KEY", "a")), headers(("x-key", "A"))),
        ("param: k", {"path": "/?x=1&k=a"}, {"path": "/b?%6b=%61&k=b"}, {"path": "/?k=b"}),
        ("cookie: k", headers(("cookie", "x=1; k=a")), headers(("cookie", "k=a")), headers(("cookie", "k=b"))),
    ],
)
def test_what_names_the_key(by: str, first: dict[str, Any], second: dict[str, Any], other: dict[str, Any]) -> None:
    kind, _, name = by.partition(": ")
    config = {"limit_by_header": None, f"limit_by_{kind}": name}
    gated = limited([{"key": "a", "query_per_day": 1}], **config)
    assert gated.ask(**first).status == 200
    assert gated.ask(**second).status == 429
    assert [gated.ask(**other).status for _ in range(3)] == [200] * 3
    assert [gated.ask().status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("by", [True, ""])
def test_the_consumer_is_the_key(by: object) -> None:
    keys = [{"name": name, "credential": name * 16} for name in "ab"]
    gated = Gated(
        "key-rate-limit",
        {"limit_by_consumer": by, "limit_keys": [{"key": "*", "query_per_day": 1}]},
        plugins=[{"name": "key-auth", "config": {"keys": ["x-api-key"], "consumers": keys}}],
    )
    asked = [gated.ask(headers=[("x-api-key", name * 16), ("x-mse-consumer", "c")]).status for name in "aabb"]
    assert asked == [200, 429, 200, 429]


def test_who_is_nobody_passes() -> None:
    gated = limited([{"key": "*", "query_per_day": 1}], limit_by_consumer=True)
    assert [gated.ask().status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("exact", 1),
        ("prefix-1", 2),
        ("prefix-exact", 1),
        ("digits-7", 3),
        ("prefix-9", 2),  # both patterns fit: the one written first
        ("else", 5),
        ("*", 5),
    ],
)
def test_exact_keys_then_patterns_then_the_rest(key: str, allowed: int) -> None:
    limits = [
        {"key": "*", "query_per_day": 5},
        {"key": "prefix-*", "query_per_day": 2},
        {"key": r"regexp:\d$", "query_per_day": 3},
        {"key": "exact", "query_per_day": 1},
        {"key": "prefix-exact", "query_per_day": 1},
    ]
    gated = limited(limits)
    assert passes(gated, key, 8) == allowed
    assert passes(gated, None, 8) == 8
    assert passes(gated, "", 8) == 8


def test_each_value_of_a_pattern_has_a_bucket_of_its_own() -> None:
    gated = limited([{"key": "*", "query_per_day": 2}])
    assert [passes(gated, key, 3) for key in "abc"] == [2, 2, 2]
    assert passes(limited([{"key": "a", "query_per_day": 2}]), "b", 9) == 9


# ---------------------------------------------------------------------- over time


def test_it_refills_continuously_and_not_all_at_once() -> None:
    gated = limited([{"key": "a", "query_per_minute": 6}])
    assert passes(gated, times=10) == 6
    gated.clock.advance(9)
    assert passes(gated) == 0
    gated.clock.advance(1)
    assert passes(gated, times=3) == 1
    gated.clock.advance(20)
    assert passes(gated, times=5) == 2
    gated.clock.advance(3_600)
    assert passes(gated, times=10) == 6


@given(st.integers(1, 20), st.lists(st.floats(0, 40), max_size=30))
def test_never_more_than_a_bucket_and_what_flowed_in(capacity: int, pauses: list[float]) -> None:
    gated = limited([{"key": "a", "query_per_minute": capacity}])
    passed = passes(gated, times=1)
    for pause in pauses:
        gated.clock.advance(pause)
        passed += passes(gated, times=2)
        assert passed <= capacity + gated.clock.monotonic() * capacity / 60 + 1e-6


def test_several_units_hold_together_and_a_refused_request_is_charged_to_none() -> None:
    gated = limited([{"key": "a", "query_per_second": 2, "query_per_hour": 5}])
    assert passes(gated, times=50) == 2  # the 48 others cost the hour nothing
    gated.clock.advance(1)
    assert passes(gated, times=50) == 2
    gated.clock.advance(1)
    assert passes(gated, times=50) == 1
    gated.clock.advance(10)
    assert passes(gated, times=50) == 0


def test_an_exhausted_limit_stays_exhausted_over_reloads_and_new_thresholds() -> None:
    gated = limited([{"key": "a", "query_per_day": 2}])
    assert passes(gated, times=3) == 2
    gated.gateway.reload()
    assert passes(gated) == 0
    gated.gateway.core.source._given["plugins"][0]["config"]["limit_keys"][0]["query_per_day"] = 1
    gated.gateway.reload()
    assert passes(gated) == 0


def test_rules_have_buckets_of_their_own() -> None:
    keys = {"limit_by_header": "x-key", "limit_keys": [{"key": "a", "query_per_day": 1}]}
    gated = Gated("key-rate-limit", keys, rules=[{"match": {"path_prefix": "/b"}, "config": {}}])
    asked = [gated.ask(path=path, headers=[("x-key", "a")]).status for path in ("/", "/", "/b", "/b")]
    assert asked == [200, 429, 200, 429]


# ---------------------------------------------------------------------- what is told


def told(exchange: AsgiExchange) -> tuple[str | None, ...]:
    return tuple(exchange.header(name) for name in ("ratelimit-policy", "ratelimit", "retry-after"))


def test_a_refusal_says_when_to_come_back() -> None:
    gated = limited([{"key": "a", "query_per_second": 3, "query_per_minute": 4}])
    assert passes(gated, times=3) == 3
    policy = '"second";q=3;w=1, "minute";q=4;w=60'
    exchange = gated.ask(headers=[("x-key", "a")])
    assert (exchange.status, exchange.json()["code"], exchange.json()["detail"]) == (
        429,
        "rate_limited",
        "Too many requests",
    )
    assert told(exchange) == (policy, '"second";r=0;t=1, "minute";r=1;t=45', "1")
    gated.clock.advance(1)
    assert passes(gated) == 1
    assert told(gated.ask(headers=[("x-key", "a")])) == (policy, '"second";r=2;t=1, "minute";r=0;t=14', "14")
    gated.clock.advance(13)
    assert passes(gated) == 0
    gated.clock.advance(1)
    assert passes(gated) == 1


def test_the_longest_wait_counts() -> None:
    gated = limited([{"key": "a", "query_per_second": 2, "query_per_minute": 2}])
    assert passes(gated, times=2) == 2
    assert told(gated.ask(headers=[("x-key", "a")]))[1:] == ('"second";r=0;t=1, "minute";r=0;t=30', "30")


def test_answers_say_what_is_left_where_that_is_wanted() -> None:
    keys = [{"key": "a", "query_per_minute": 2}]
    shown = limited(keys, show_limit_quota_header=True, service=Service(headers=[("x-service", "1")]))
    exchange = shown.ask(headers=[("x-key", "a")])
    assert told(exchange) == ('"minute";q=2;w=60', '"minute";r=1;t=30', None)
    assert exchange.header("x-service") == "1"
    assert told(shown.ask()) == (None, None, None)
    assert told(limited(keys).ask(headers=[("x-key", "a")])) == (None, None, None)


@pytest.mark.parametrize(
    ("config", "top", "status", "content_type", "body"),
    [
        ({"rejected_msg": '{"slow": "down"}'}, {}, 429, "text/plain; charset=utf-8", b'{"slow": "down"}'),
        ({"rejected_msg": ""}, {}, 429, "text/plain; charset=utf-8", b""),
        ({"rejectedCode": 503, "rejected_msg": "x"}, {}, 503, "text/plain; charset=utf-8", b"x"),
        ({}, {"error_format": "upstream"}, 429, "text/plain", b"rate_limited"),
    ],
)
def test_refusals_as_configured(
    config: dict[str, Any], top: dict[str, Any], status: int, content_type: str, body: bytes
) -> None:
    keys = {"limit_by_header": "x-key", "limit_keys": [{"key": "a", "query_per_day": 1}]}
    gated = Gated("key-rate-limit", {**keys, **config}, **top)
    gated.ask(headers=[("x-key", "a")])
    exchange = gated.ask(headers=[("x-key", "a")])
    assert (exchange.status, exchange.header("content-type"), exchange.body) == (status, content_type, body)
    assert told(exchange) == ('"day";q=1;w=86400', '"day";r=0;t=86400', "86400")


def test_on_wsgi() -> None:
    gated = limited([{"key": "a", "query_per_day": 1}], show_limit_quota_header=True)
    gateway = WSGIGateway(gated.service.wsgi, gated.config, clock=gated.clock)
    first, second = (wsgi_exchange(gateway, headers=[("x-key", "a")]) for _ in range(2))
    assert (first.status, first.header("ratelimit")) == (200, '"day";r=0;t=86400')
    assert (second.status, second.header("retry-after")) == (429, "86400")


# ---------------------------------------------------------------------- stores


class Waiting:
    """A store that is not immediate, and that fails while `broken`."""

    immediate = False

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.broken = False
        self.keys: list[str] = []

    async def take_all(self, requests: Sequence[tuple[str, Limit, int]]) -> list[Taken]:
        await asyncio.sleep(0)
        if self.broken:
            raise StoreError("the store is away")
        self.keys += [key for key, _, _ in requests]
        return self._store.take_all_now(requests)


class Broken(MemoryStore):
    """An immediate store that fails."""

    def take_now(self, key: str, limit: Limit, cost: int = 1) -> Taken:
        raise StoreError("no room")


def ask_with(gated: Gated, store: Store, times: int) -> list[int | None]:
    """Statuses of requests in a row with a store of their own; in one event loop, so in one runtime."""

    async def all_of_them() -> list[int | None]:
        gated.gateway.core.runtime(asyncio.get_running_loop()).ports.store = store
        statuses = []
        for _ in range(times):
            exchange = await asgi_exchange(gated.gateway, headers=[("x-key", "secret-key")])
            statuses.append(exchange.status)
        return statuses

    return asyncio.run(all_of_them())


def test_a_store_that_makes_wait_gives_the_same_answers() -> None:
    gated = limited([{"key": "*", "query_per_minute": 2, "query_per_day": 10}])
    store = Waiting(MemoryStore(now=gated.clock.now))
    assert ask_with(gated, store, 3) == [200, 200, 429]  # type: ignore[arg-type]
    minute, day = store.keys[:2]
    assert minute.removesuffix("minute") == day.removesuffix("day")
    assert minute.startswith("{inbound:key-rate-limit:")
    assert minute.endswith("}:minute")
    assert "secret-key" not in minute


@pytest.mark.parametrize(
    ("policy", "statuses"),
    [
        ({}, [200, 200, 200]),
        ({"on_store_failure": "deny"}, [503] * 3),
        ({"on_store_failure": "local"}, [200, 429, 429]),
    ],
)
@pytest.mark.parametrize("immediate", [True, False])
def test_without_a_store(policy: dict[str, str], statuses: list[int], immediate: bool) -> None:
    gated = limited([{"key": "*", "query_per_day": 1}], **policy)
    store: Any = Broken()
    if not immediate:
        store = Waiting(MemoryStore())
        store.broken = True
    assert ask_with(gated, store, 3) == statuses


# ---------------------------------------------------------------------- configuration

ONE = {"limit_keys": [{"key": "a", "query_per_second": 1}]}
NAMES = "limit_by_header, limit_by_param, limit_by_cookie, limit_by_consumer"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ONE, f": should have exactly one of {NAMES}"),
        ({**ONE, "limit_by_header": "a", "limit_by_param": "b"}, f": should have exactly one of {NAMES}"),
        ({**ONE, "limit_by_header": "a b"}, ".limit_by_header: 'a b' is not a header name"),
        ({"limit_by_header": "a"}, ".limit_keys: is required"),
        ({"limit_by_header": "a", "limit_keys": []}, ".limit_keys: tuple should have at least 1 item"),
        ({"limit_by_header": "a", "limit_keys": [{"key": "a"}]}, ".limit_keys[0]: needs query_per_second, query_per_minute"),
        ({"limit_by_header": "a", "limit_keys": [{"key": "a", "query_per_day": 0}]}, ".limit_keys[0].query_per_day: should"),
        ({"limit_by_header": "a", "limit_keys": ONE["limit_keys"] * 2}, ": `limit_keys` should have each key once"),
        (
            {"limit_by_header": "a", "limit_keys": [{"key": "regexp:(", "query_per_day": 1}]},
            ".limit_keys[0].key: is no RE2 pattern: missing ): (",
        ),
        ({**ONE, "limit_by_header": "a", "rejected_code": 200}, ".rejected_code: should be greater than or equal to 400"),
        ({**ONE, "limit_by_header": "a", "on_store_failure": "ask"}, ".on_store_failure: should be 'deny', 'allow' or 'local'"),
        ({**ONE, "limit_by_headers": "a"}, ".limit_by_headers: unknown key (did you mean 'limit_by_header'?)"),
    ],
)  # fmt: skip
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "key-rate-limit", "config": config}]})
    assert any(str(problem).startswith(f"plugins[0].config{expected}") for problem in caught.value.problems)


def test_the_example_of_the_documentation() -> None:
    (entry,) = yaml.safe_load((key_rate_limit.__doc__ or "").split("\n\n")[1])["plugins"]
    gated = Gated(entry["name"], entry["config"])
    for key, allowed in (("9a342114-ba8a-11ec-b1bf-00163e1250b5", 10), ("trial-1", 6), ("another", 60)):
        statuses = [gated.ask(headers=[("x-api-key", key)]).status for _ in range(allowed + 1)]
        assert statuses == [200] * allowed + [429]
