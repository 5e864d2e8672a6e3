"""key-auth: where keys are found, who is let in, what the service and the caller are told, what is refused at load."""

import gc
import hashlib
import logging
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import ConfigError, Gateway, KeyAuth
from aigw_middleware.config.secrets import Keyring
from aigw_middleware.consumers import Consumer
from aigw_middleware.plugins.auth import key as key_auth
from aigw_middleware.plugins.auth.key.api_keys import ApiKey, keyed_digest, query_value
from tests.plugins.service import Gated, Service, outcome, problems_of

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"
BOTH = [{"name": "alice", "credential": ALICE}, {"name": "bob", "credential": BOB}]
KEYS = {"keys": ["x-api-key"], "consumers": BOTH}
MISSING, INVALID, FORBIDDEN = (
    (401, "no_key_authentication_information_found"),
    (401, "invalid_api_key"),
    (403, "unauthorized_consumer"),
)
SECRET = "s" * 32


def sha(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def problems(config: Mapping[str, Any], **top: Any) -> list[str]:
    return problems_of("key-auth", config, **top)


# ---------------------------------------------------------------------- where a key is found


@pytest.mark.parametrize(
    ("config", "headers", "path", "expected"),
    [
        (KEYS, {"x-api-key": ALICE}, "/", ["alice"]),
        (KEYS, {"X-API-Key": BOB}, "/", ["bob"]),
        (KEYS, {}, "/", MISSING),
        (KEYS, {"x-api-key": ""}, "/?x-api-key=", MISSING),
        (KEYS, {"x-api-key": "wrong"}, "/", INVALID),
        (KEYS, {"x-api-key": ALICE[:-1]}, "/", INVALID),
        (KEYS, {"x-api-key": ALICE + " "}, "/", INVALID),
        (KEYS, {"x-api-key": ALICE.upper()}, "/", INVALID),
        (KEYS, {"x-other": ALICE}, "/", MISSING),
        (KEYS, {"x-api-key": f"Bearer {ALICE}"}, "/", ["alice"]),
        (KEYS, {"x-api-key": f"bEARER   {ALICE}"}, "/", ["alice"]),
        (KEYS, {"x-api-key": f"Basic {ALICE}"}, "/", INVALID),
        (KEYS, {"x-api-key": f"Bearer{ALICE}"}, "/", INVALID),
        (KEYS, {"x-api-key": "Bearer "}, "/", INVALID),
        (KEYS, {}, f"/?a=b&x-api-key={ALICE}", ["alice"]),
        (KEYS, {}, f"/?X-Api-Key={ALICE}", MISSING),
        (KEYS, {}, f"/?x%2Dapi-key={ALICE.replace('-', '%2d')}", ["alice"]),
        (KEYS, {}, f"/?x-api-key=Bearer%20{ALICE}", INVALID),
        (KEYS, {}, f"/?x-api-key=wrong&x-api-key={ALICE}", INVALID),  # of a name, the first counts
        (KEYS, {"x-api-key": "wrong"}, f"/?x-api-key={ALICE}", ["alice"]),  # the first known one decides
        (KEYS, {"x-api-key": ALICE}, f"/?x-api-key={BOB}", ["alice"]),
        (KEYS, {"cookie": f"x-api-key={ALICE}"}, "/", MISSING),
        (KEYS, {"x-hi-original-auth": f"Bearer {ALICE}"}, "/", ["alice"]),
        (KEYS, {"x-hi-original-auth": ALICE, "x-api-key": BOB}, "/", ["bob"]),
        ({**KEYS, "in_query": False}, {}, f"/?x-api-key={ALICE}", MISSING),
        ({**KEYS, "in_header": False}, {"x-api-key": ALICE, "x-hi-original-auth": ALICE}, "/", MISSING),
        ({**KEYS, "in_header": False}, {}, f"/?x-api-key={ALICE}", ["alice"]),
        ({**KEYS, "in_cookie": True}, {"cookie": f"a=b; x-api-key={ALICE}"}, "/", ["alice"]),
        ({**KEYS, "in_cookie": True}, {"cookie": "x-api-key=wrong"}, "/", INVALID),
        ({**KEYS, "inQuery": False}, {}, f"/?x-api-key={ALICE}", MISSING),
        ({**KEYS, "keys": "authorization"}, {"authorization": f"Bearer {BOB}"}, "/", ["bob"]),
        ({**KEYS, "keys": ["a", "b"]}, {"a": ALICE, "b": BOB}, "/", ["alice"]),
        ({**KEYS, "keys": ["a", "b"]}, {"a": "wrong", "b": BOB}, "/", ["bob"]),
        ({**KEYS, "keys": ["a", "b"]}, {"b": ALICE}, f"/?a={BOB}", ["bob"]),  # name by name, not place by place
    ],
)
def test_where_keys_are_found(config: dict[str, Any], headers: dict[str, str], path: str, expected: object) -> None:
    assert outcome(Gated("key-auth", config), headers, path) == expected


def test_the_credential_may_contain_the_scheme() -> None:
    literal = "Bearer 0123456789abcdef"
    gated = Gated("key-auth", {"keys": ["authorization"], "consumers": [{"name": "alice", "credential": literal}]})
    assert outcome(gated, {"authorization": literal}) == ["alice"]
    assert outcome(gated, {"authorization": literal.removeprefix("Bearer ")}) == INVALID


def test_a_plus_in_a_query_stands_for_itself() -> None:
    key = "a+b/c=" + "0" * 16
    gated = Gated("key-auth", {"keys": ["k"], "consumers": [{"name": "alice", "credential": key}]})
    assert outcome(gated, path=f"/?k={key}") == ["alice"]
    assert outcome(gated, path="/?k=" + key.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")) == ["alice"]


def test_places_of_one_consumer_are_not_those_of_another() -> None:
    gated = Gated(
        "key-auth",
        {
            "keys": ["x-api-key"],
            "consumers": [
                {"name": "alice", "credential": ALICE},
                {"name": "bob", "credential": BOB, "keys": ["x-bob"], "in_query": False, "in_cookie": True},
            ],
        },
    )
    assert outcome(gated, {"x-api-key": ALICE}) == ["alice"]
    assert outcome(gated, {"x-api-key": BOB}) == INVALID
    assert outcome(gated, {"x-bob": ALICE}) == INVALID
    assert outcome(gated, {"x-bob": BOB}) == ["bob"]
    assert outcome(gated, {"cookie": f"x-bob={BOB}"}) == ["bob"]
    assert outcome(gated, path=f"/?x-bob={BOB}") == MISSING
    assert outcome(gated, {"x-hi-original-auth": BOB}) == ["bob"]


# ---------------------------------------------------------------------- keys and their owners


def test_keys_are_kept_as_digests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(BOB + "\n")
    monkeypatch.setenv("ALICE_KEY", ALICE)
    consumers = [
        {"name": "alice", "credentials": ["env:ALICE_KEY", sha("another-0123456789abcdef")]},
        {"name": "bob", "credentials": f"file:{tmp_path / 'key'}"},
    ]
    gated = Gated("key-auth", {"keys": ["x-api-key"], "consumers": consumers})
    assert outcome(gated, {"x-api-key": ALICE}) == ["alice"]
    assert outcome(gated, {"x-api-key": "another-0123456789abcdef"}) == ["alice"]
    assert outcome(gated, {"x-api-key": BOB}) == ["bob"]
    assert outcome(gated, {"x-api-key": sha("another-0123456789abcdef")}) == INVALID
    (plugin,) = gated.gateway.core.snapshot.plugins
    texts = reachable_texts(plugin)
    assert "alice" in texts
    assert texts.isdisjoint({ALICE, BOB})
    assert ALICE not in repr(plugin.config)
    assert "env:ALICE_KEY" in repr(plugin.config)
    dumped = plugin.config.model_dump_json()
    assert ALICE not in dumped
    assert sha(ALICE) not in dumped
    assert len({ApiKey.of(ALICE), ApiKey.of(sha(ALICE)), ApiKey.of(BOB)}) == 2


def reachable_texts(start: object) -> set[str]:
    """Every string that can be reached from an object."""
    seen: set[int] = set()
    texts: set[str] = set()
    waiting = [start]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (type, types.FunctionType, types.ModuleType)):
            continue
        seen.add(id(item))
        if isinstance(item, str):
            texts.add(item)
        waiting.extend(gc.get_referents(item))
    return texts


def test_keyed_digests_follow_the_secret() -> None:
    keyring, older = Keyring([SECRET.encode()]), Keyring([b"o" * 32])
    consumers = [
        {"name": "alice", "credential": keyed_digest(ALICE, keyring)},
        {"name": "bob", "credential": keyed_digest(BOB, older)},
        {"name": "carol", "credential": "carol-0123456789abcdef"},
    ]
    config = {"keys": ["x-api-key"], "consumers": consumers}
    gated = Gated("key-auth", config, secret=SECRET, previous_secrets=["o" * 32])
    assert outcome(gated, {"x-api-key": f"Bearer {ALICE}"}) == ["alice"]
    assert outcome(gated, {"x-api-key": BOB}) == ["bob"]
    assert outcome(gated, {"x-api-key": "carol-0123456789abcdef"}) == ["carol"]
    assert outcome(Gated("key-auth", config, secret=SECRET), {"x-api-key": BOB}) == INVALID
    assert problems(config) == [
        "plugins[0].config: `hmac-sha256:` credentials need the secret they were made with (secret: env:AIGW_SECRET)"
    ]


DECLARED = [
    {"name": "alice", "groups": ["staff"], "tier": "gold", "credentials": {"key-auth": [ALICE]}},
    {"name": "bob", "credentials": {"key-auth": sha(BOB)}},
    {"name": "carol"},
]


def test_declared_consumers_are_used_without_inline_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROL_KEY", "carol-0123456789abcdef")
    carol = {"name": "carol", "credentials": {"key-auth": ["env:CAROL_KEY"]}}
    gated = Gated("key-auth", {"keys": ["x-api-key"]}, consumers=[*DECLARED[:2], carol])
    assert outcome(gated, {"x-api-key": ALICE}) == ["alice"]
    assert outcome(gated, {"x-api-key": BOB}) == ["bob"]
    assert outcome(gated, {"x-api-key": "carol-0123456789abcdef"}) == ["carol"]


def test_inline_consumers_add_to_declared_ones() -> None:
    inline = [{"name": "alice", "credential": "second-0123456789abcdef"}, {"name": "dave", "credential": "d" * 20}]
    config = {"keys": ["x-api-key"], "consumers": inline, "allow": ["group:staff"]}
    gated = Gated("key-auth", config, consumers=DECLARED)
    assert outcome(gated, {"x-api-key": "second-0123456789abcdef"}) == ["alice"]
    assert outcome(gated, {"x-api-key": ALICE}) == ["alice"]
    assert outcome(gated, {"x-api-key": "d" * 20}) == FORBIDDEN
    assert outcome(gated, {"x-api-key": BOB}) == INVALID


def test_anonymous_keys_let_in_and_name_nobody() -> None:
    gated = Gated("key-auth", {"keys": ["x-api-key"], "credentials": [ALICE, BOB], "allow": ["alice"]})
    assert outcome(gated, {"x-api-key": ALICE, "x-mse-consumer": "root"}) == []
    assert outcome(gated, {"x-api-key": "wrong"}) == INVALID


def test_nobody_has_a_key() -> None:
    gated = Gated("key-auth", {"keys": ["x-api-key"]})
    assert outcome(gated) == MISSING
    assert outcome(gated, {"x-api-key": "anything"}) == INVALID


# ---------------------------------------------------------------------- what is told


@pytest.mark.parametrize("spelling", ["x-mse-consumer", "X_Mse_Consumer", "x-mse_consumer"])
@pytest.mark.parametrize("key", [{"x-api-key": ALICE}, {"x-api-key": "wrong"}, {}])
def test_the_callers_own_identity_header_is_gone(spelling: str, key: dict[str, str]) -> None:
    gated = Gated("key-auth", {**KEYS, "global_auth": True})
    asked = outcome(gated, {spelling: "root", **key})
    assert asked == (["alice"] if key == {"x-api-key": ALICE} else MISSING if not key else INVALID)
    open_to_all = Gated("key-auth", {**KEYS, "global_auth": False})
    assert outcome(open_to_all, {spelling: "root", **key}) == []
    assert not {"root"} & {value for _, value in open_to_all.service.headers}


def test_the_exchange_knows_the_consumer_and_the_header_is_configurable() -> None:
    gated = Gated("key-auth", {"keys": ["x-api-key"]}, consumers=DECLARED, identity_header="X-Caller")
    gated.ask(headers=[("x-api-key", ALICE)])
    known = gated.service.consumer
    assert (known.name, known.tier, known.groups) == ("alice", "gold", {"staff"})
    assert gated.service.header("x-caller") == ["alice"]
    assert gated.service.header("x-mse-consumer") == []


def test_names_beyond_latin_1_are_told_in_utf_8() -> None:
    gated = Gated("key-auth", {"keys": ["x-api-key"], "consumers": [{"name": "爱丽丝", "credential": ALICE}]})
    assert outcome(gated, {"x-api-key": ALICE}) == ["爱丽丝".encode().decode("latin-1")]


def test_refusals_tell_how_to_authenticate_and_no_more() -> None:
    gated = Gated("key-auth", {**KEYS, "realm": 'my "realm"', "allow": ["bob"]})
    missing, invalid = gated.ask(), gated.ask(headers=[("x-api-key", "wrong")])
    forbidden = gated.ask(headers=[("x-api-key", ALICE)])
    for exchange in (missing, invalid, forbidden):
        assert exchange.header("www-authenticate") == 'Key realm="my \\"realm\\""'
        assert ALICE.encode() not in exchange.body
    assert missing.json()["detail"] == invalid.json()["detail"] == "Request denied by Key Auth check. Invalid API key"
    assert forbidden.json()["detail"] == "Request denied by Key Auth check. Unauthorized consumer"


def test_upstream_format_has_no_body() -> None:
    gated = Gated("key-auth", KEYS, error_format="upstream")
    exchange = gated.ask()
    assert (exchange.status, exchange.body, exchange.header("content-type")) == (401, b"", None)
    assert exchange.header("www-authenticate") == 'Key realm="MSE Gateway"'


def test_an_llm_route_gets_its_dialects_error() -> None:
    exchange = Gated("key-auth", KEYS).ask("POST", "/v1/chat/completions", body=[b"{}"], forbid_receive=True)
    assert exchange.json()["error"]["code"] == "no_key_authentication_information_found"


@pytest.mark.parametrize(
    ("hide", "headers", "path", "seen"),
    [
        (True, {"x-api-key": ALICE}, "/", []),
        (True, {"x-api-key": "wrong", "authorization": f"Bearer {ALICE}"}, "/", ["x-api-key"]),
        (False, {"x-api-key": ALICE}, "/", ["x-api-key"]),
        (True, {}, f"/?x-api-key={ALICE}", []),
        (True, {"cookie": f"x-api-key={ALICE}; a=b"}, "/", ["cookie"]),
    ],
)
def test_hiding_the_key(hide: bool, headers: dict[str, str], path: str, seen: list[str]) -> None:
    config = {**KEYS, "keys": ["x-api-key", "authorization"], "in_cookie": True, "hide_credentials": hide}
    gated = Gated("key-auth", config)
    assert outcome(gated, headers, path) == ["alice"]
    names = {"x-api-key", "authorization", "cookie"}
    assert [name for name, _ in gated.service.headers if name in names] == seen
    assert gated.service.query == path.partition("?")[2]


# ---------------------------------------------------------------------- rules, other identities


def test_upstream_rules_let_pass_what_none_of_them_matches() -> None:
    rules = [{"_match_domain_": ["staff.example.com"], "allow": ["alice"]}]
    for global_auth, elsewhere in ((None, []), (False, []), (True, MISSING)):
        gated = Gated("key-auth", {**KEYS, "global_auth": global_auth, "_rules_": rules})
        assert outcome(gated, {"host": "other.example.com"}) == elsewhere
        assert outcome(gated, {"host": "staff.example.com"}) == MISSING
        assert outcome(gated, {"host": "staff.example.com", "x-api-key": BOB}) == FORBIDDEN
        assert outcome(gated, {"host": "staff.example.com", "x-api-key": ALICE}) == ["alice"]


def test_rules_follow_the_truth_table() -> None:
    rules = [
        {"match": {"path_prefix": "/staff"}, "config": {"allow": ["alice"]}},
        {"match": {"path_prefix": "/own"}, "config": {"consumers": [{"name": "eve", "credential": "e" * 20}]}},
        {"match": {"path_prefix": "/nobody"}, "config": {"allow": []}},
        {"match": {"path_prefix": "/open"}, "enabled": False},
    ]
    for global_auth, elsewhere in ((None, MISSING), (False, []), (True, MISSING)):
        gated = Gated("key-auth", {**KEYS, "global_auth": global_auth}, rules=rules)
        assert outcome(gated, path="/") == elsewhere
        assert outcome(gated, path="/open") == []
        assert outcome(gated, path="/staff") == MISSING
        assert outcome(gated, {"x-api-key": BOB}, "/staff") == FORBIDDEN
        assert outcome(gated, {"x-api-key": ALICE}, "/staff") == ["alice"]
        assert outcome(gated, {"x-api-key": ALICE}, "/nobody") == FORBIDDEN
        assert outcome(gated, {"x-api-key": ALICE}, "/own") == INVALID
        assert outcome(gated, {"x-api-key": "e" * 20}, "/own") == ["eve"]


def test_upstream_rules_load_unchanged() -> None:
    config = {
        "consumers": [{"name": "alice", "credential": ALICE}, {"name": "bob", "credential": BOB}],
        "keys": ["x-api-key"],
        "_rules_": [
            {"_match_domain_": ["*.example.com"], "allow": ["alice"]},
            {"_match_route_": ["free"], "_disable_": True},
        ],
    }
    routes = [{"name": "free", "path_prefix": "/free"}]
    gated = Gated("key-auth", config, routes=routes)
    assert outcome(gated, {"host": "api.example.com", "x-api-key": BOB}) == FORBIDDEN
    assert outcome(gated, {"host": "api.example.com", "x-api-key": ALICE}) == ["alice"]
    assert outcome(gated, {"host": "example.com"}) == []
    assert outcome(gated, path="/free") == []


def test_a_trusted_gateway_in_front_has_identified_the_caller() -> None:
    top = {"trust_identity_from": ["127.0.0.1/32"], "consumers": DECLARED}
    gated = Gated("key-auth", {"keys": ["x-api-key"], "allow": ["alice", "bob"]}, **top)
    assert outcome(gated, {"x-mse-consumer": "alice"}) == ["alice"]
    assert outcome(gated, {"x-mse-consumer": "mallory"}) == FORBIDDEN
    assert outcome(gated, {"x-mse-consumer": "alice", "x-api-key": BOB}) == ["bob"]  # one name, not two
    exchange = gated.ask(headers=[("x-mse-consumer", "alice")], client=("192.0.2.1", 1))
    assert exchange.status == 401


def test_a_websocket_handshake_is_authenticated() -> None:
    gated = Gated("key-auth", KEYS)
    scope = {"type": "websocket", "subprotocols": [], "extensions": {}}
    refused = gated.ask(headers=[("x-api-key", "wrong")], scope=scope | {"path": "/ws"}, body=[b""])
    assert gated.service.calls == 0
    assert [message["type"] for message in refused.messages] == ["websocket.close"]


def test_on_wsgi() -> None:
    gated = Gated("key-auth", KEYS)
    allowed = gated.ask_wsgi(headers=[("x-api-key", ALICE), ("x-mse-consumer", "root")])
    assert (allowed.status, gated.service.header("x-mse-consumer")) == (200, ["alice"])
    refused = gated.ask_wsgi(headers=[("x-api-key", "wrong")])
    assert (refused.status, refused.json()["code"]) == INVALID


# ---------------------------------------------------------------------- hostile input


@pytest.mark.parametrize(
    "attack", ["' OR 1=1--", "\0", "k" * 65_536, "\u202e".encode().decode("latin-1"), "\xff\xfe", "%", "%%2"]
)
def test_hostile_keys_are_refused(attack: str) -> None:
    gated = Gated("key-auth", {**KEYS, "in_cookie": True})
    for headers in ({"x-api-key": attack}, {"x-api-key": f"Bearer {attack}"}, {"cookie": f"x-api-key={attack}"}):
        assert outcome(gated, headers) == INVALID
    scope = {"query_string": b"x-api-key=" + attack.encode("latin-1")}
    assert gated.ask(scope=scope).json()["code"] == "invalid_api_key"


@given(st.binary(max_size=40), st.binary(max_size=60))
def test_any_header_and_query_is_answered(value: bytes, query: bytes) -> None:
    exchange = FUZZED.ask(headers=[("x-api-key", value), ("cookie", value)], scope={"query_string": query})
    assert exchange.status == 401


FUZZED = Gated("key-auth", {**KEYS, "in_cookie": True})


@given(st.integers(0, len(ALICE) * 8 - 1))
def test_one_wrong_bit_is_enough(bit: int) -> None:
    changed = bytearray(ALICE.encode())
    changed[bit // 8] ^= 1 << bit % 8
    assert FUZZED.ask(headers=[("x-api-key", bytes(changed))]).status == 401


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=5)), max_size=5), st.text(min_size=1, max_size=3))
def test_query_values_are_read_as_written(pairs: list[tuple[str, str]], name: str) -> None:
    query = "&".join(f"{quote(key)}={quote(value)}" for key, value in pairs).encode()
    first = next((value.encode() for key, value in pairs if key == name), None)
    assert query_value(query, name.encode()) == first


# ---------------------------------------------------------------------- configuration


def consumer(**fields: Any) -> dict[str, Any]:
    return {"keys": ["k"], "consumers": [{"name": "alice", "credential": ALICE, **fields}]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ".config: `keys` is required, for example [x-api-key], unless every consumer has its own"),
        ({"consumers": BOTH}, ".config: `keys` is required"),
        ({"consumers": [{**BOTH[0], "keys": ["a"]}, BOTH[1]]}, ".config: `keys` is required"),
        ({**KEYS, "credentials": ["x" * 20]}, ".config: should have either `consumers` or `credentials`"),
        ({**KEYS, "in_header": False, "in_query": False}, ".config: one of `in_header`, `in_query` and `in_cookie`"),
        (consumer(in_header=False, in_query=False), ".config: one of `in_header`, `in_query` and `in_cookie`"),
        ({"keys": ["two words"]}, ".config: 'two words' is not a header name"),
        (consumer(credentials=[BOB]), ".config.consumers[0]: consumer 'alice' should have either `credential` or"),
        ({"keys": ["k"], "consumers": [{"name": "alice"}]}, ".config.consumers[0]: consumer 'alice' should have"),
        (consumer(credential="sha256:abc"), ".config.consumers[0].credential: should have 64 hexadecimal digits"),
        (consumer(credential=7), ".config.consumers[0].credential: should be a key, `env:NAME`"),
        (consumer(credential=""), ".config.consumers[0].credential: a secret must not be empty"),
        (consumer(credential="env:NOT_SET_ANYWHERE"), ".config.consumers[0].credential: environment variable NOT_SET"),
        (consumer(name="a\nb"), ".config.consumers[0]: a header value has a line break"),
        (consumer(key="x"), ".config.consumers[0].key: unknown key (did you mean 'keys'?)"),
        ({"keys": ["k"], "credentials": [ALICE, {}]}, ".config.credentials[1]: should be a key, `env:NAME`"),
        ({**KEYS, "realm": "a\r\nb"}, ".config.realm: a header value has a line break"),
        (
            {"keys": ["k"], "consumers": [BOTH[0], {"name": "eve", "credential": sha(ALICE)}]},
            ".config: consumers 'alice' and 'eve' have the same credential",
        ),
    ],
)
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    (problem,) = problems(config)
    assert problem.startswith(f"plugins[0]{expected}")
    assert ALICE not in problem


def test_declared_credentials_are_checked_too() -> None:
    declared = [
        {"name": "alice", "credentials": {"key-auth": [ALICE, "sha256:xyz"]}},
        {"name": "bob", "credentials": {"key-auth": {"key": BOB}}},
        {"name": "eve", "credentials": {"key-auth": ALICE}},
    ]
    found = problems({"keys": ["k"]}, consumers=declared)
    assert found[0].startswith("consumers: 'alice', credentials.key-auth[1] should have 64 hexadecimal digits")
    assert found[1].startswith("consumers: 'bob', credentials.key-auth[0] should be a key")
    assert found[2] == "plugins[0].config: consumers 'alice' and 'eve' have the same credential"


def test_an_auth_plugin_is_for_inbound_exchanges_only() -> None:
    with pytest.raises(ConfigError, match="key-auth is for inbound exchanges only"):
        Gateway(Service(), {"outgoing": [{"name": "key-auth", "config": KEYS}]})


def test_short_keys_are_warned_about_once_and_without_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "aigw_middleware"):
        KeyAuth(keys=["k"], consumers=[{"name": "alice", "credentials": ["hunter2", "s3cret"]}, BOTH[1]])
    (record,) = caplog.records
    assert record.getMessage() == "key-auth: consumer 'alice' has a key of less than 16 characters"


def test_unmatched_requests_that_pass_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    Gated("key-auth", {**KEYS, "_rules_": [{"_match_domain_": ["a.example.com"], "allow": ["alice"]}]})
    assert [record.getMessage() for record in caplog.records] == [
        "key-auth: requests that no rule matches are not authenticated: set global_auth to true or to false"
    ]


def test_an_unchanged_entry_is_carried_over_a_reload() -> None:
    gated = Gated("key-auth", KEYS)
    before = gated.gateway.core.snapshot.plugins
    gated.gateway.reload()
    assert gated.gateway.core.snapshot.plugins == before


def test_as_an_ordinary_middleware_class() -> None:
    gated = Gated("key-auth", KEYS)
    gated.gateway = KeyAuth(gated.service, keys=["x-api-key"], consumers=BOTH)._gateway
    assert outcome(gated, {"x-api-key": BOB}) == ["bob"]


def test_all_keys_of_one_place_are_in_one_table() -> None:
    many = [Consumer(f"c{number}", credentials={"key-auth": [f"key-{number:016}"]}) for number in range(1_000)]
    index = key_auth.KeyIndex(
        ((one, ApiKey.of(one.credentials["key-auth"][0]), ((0, b"k"),)) for one in many), Keyring([b"x" * 32])
    )
    ((_, _, tables),) = index.places
    assert [len(table) for table in tables] == [1_000]
    assert index.find(b"key-0000000000000999", 0, tables) is many[999]


def test_the_example_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOB_KEY", BOB)
    monkeypatch.setenv("BOB_OLD_KEY", "old-0123456789abcdef")
    (entry,) = yaml.safe_load((key_auth.__doc__ or "").split("\n\n")[1])["plugins"]
    gated = Gated(entry["name"], entry["config"])
    assert outcome(gated, {"authorization": "Bearer old-0123456789abcdef"}) == ["bob"]
    assert outcome(gated, {"x-api-key": "alice-example-key-0123"}) == ["alice"]
