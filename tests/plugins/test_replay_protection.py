"""replay-protection: what a nonce must look like, whose it is, what happens when it comes again."""

import asyncio
import logging
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import ConfigError, Gateway
from aigw_middleware.plugins.security import replay_protection
from aigw_middleware.state import MemoryStore, StoreError
from tests.plugins.service import Service
from tests.plugins.signed import BrokenStore, Guarded, WaitingStore, ask_all

NONCE, OTHER = "d2f1c0a9b8e7f6a5", "00000000ffffffff"
ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"
KEYS = {
    "name": "key-auth",
    "config": {
        "keys": ["x-key"],
        "consumers": [{"name": "alice", "credential": ALICE}, {"name": "bob", "credential": BOB}],
    },
}
USED, MISSING, INVALID = (429, "replay_attack_detected"), (400, "missing_required_header"), (400, "invalid_nonce")


def protected(config: dict[str, Any] | None = None, **options: Any) -> Guarded:
    return Guarded("replay-protection", config or {}, **options)


def fields(nonce: str | None = NONCE, key: str | None = None) -> list[tuple[str, str]]:
    given = [("x-higress-nonce", nonce), ("x-key", key)]
    return [(name, value) for name, value in given if value is not None]


# ---------------------------------------------------------------------- what a nonce looks like


@pytest.mark.parametrize(
    ("config", "nonce", "expected"),
    [
        ({}, NONCE, []),
        ({}, None, MISSING),
        ({"force_nonce": False}, None, []),
        ({"force_nonce": False}, "", INVALID),
        ({}, "", INVALID),
        ({}, "1234567", INVALID),
        ({}, "12345678", []),
        ({}, "n" * 128, []),
        ({}, "n" * 129, INVALID),
        ({}, "1234 5678", INVALID),
        ({}, "1234\t5678", INVALID),
        ({}, "\xe9" * 10, INVALID),
        ({"nonce_min_length": 1, "nonce_max_length": 2}, "ab", []),
        ({"nonce_min_length": 1, "nonce_max_length": 2}, "abc", INVALID),
        ({"validate_base64": True}, "bm9uY2Utb25l", []),
        ({"validate_base64": True}, "bm9uY2Utb25lIQ==", []),
        ({"validate_base64": True}, "bm9uY2Utb25lIQ", []),
        ({"validate_base64": True}, "__--__--", []),
        ({"validate_base64": True}, "++//++//", []),
        ({"validate_base64": True}, "++//__--", INVALID),  # two alphabets
        ({"validate_base64": True}, "bm9uY2Utb25lIQ=", INVALID),
        ({"validate_base64": True}, "bm9uY2Utb25lI", INVALID),
        ({"validate_base64": True}, "bm9uY2U=b25l", INVALID),
        ({"validate_base64": True}, "========", INVALID),
        ({"validate_base64": True}, "not.base64", INVALID),
    ],
)
def test_what_a_nonce_looks_like(config: dict[str, Any], nonce: str | None, expected: object) -> None:
    assert protected(config).outcome("GET", "/", fields(nonce)) == expected
    if nonce is not None and nonce == nonce.strip():
        assert protected(config).outcome_wsgi("GET", "/", fields(nonce)) == expected


def test_a_nonce_that_is_there_twice_is_none() -> None:
    gated = protected()
    assert gated.outcome("GET", "/", [*fields(), *fields(OTHER)]) == INVALID
    assert gated.outcome("GET", "/", [*fields(), *fields()]) == INVALID
    assert gated.outcome("GET", "/", [*fields(), ("x-a", "1"), ("x-a", "2")]) == []


def test_another_header() -> None:
    gated = protected({"nonceHeader": "X-Nonce"})
    assert gated.outcome("GET", "/", fields()) == MISSING
    assert gated.outcome("GET", "/", [("X-NONCE", NONCE)]) == []
    assert gated.outcome("GET", "/", [("x-nonce", NONCE)]) == USED


@given(st.binary(max_size=140))
def test_any_nonce_is_answered(nonce: bytes) -> None:
    exchange = FUZZED.ask(headers=[("x-higress-nonce", nonce)])
    assert exchange.status in (200, 400, 429)
    assert FUZZED.ask(headers=[("x-higress-nonce", nonce)]).status in (400, 429)


FUZZED = protected()


# ---------------------------------------------------------------------- whose it is, and for how long


@pytest.mark.parametrize("wsgi", [False, True])
def test_a_nonce_belongs_to_consumer_method_and_path(wsgi: bool) -> None:
    gated = protected(plugins=[KEYS])
    ask = gated.outcome_wsgi if wsgi else gated.outcome
    assert ask("GET", "/a", fields(key=ALICE)) == ["alice"]
    assert ask("GET", "/a", fields(key=ALICE)) == USED
    assert ask("GET", "/a?b=1", fields(key=ALICE)) == USED  # a query makes it no other request
    assert ask("GET", "/a", fields(key=BOB)) == ["bob"]
    assert ask("POST", "/a", fields(key=ALICE)) == ["alice"]
    assert ask("GET", "/a/", fields(key=ALICE)) == ["alice"]
    assert ask("GET", "/a", fields(OTHER, ALICE)) == ["alice"]
    for method, path, key in (("GET", "/a", BOB), ("POST", "/a", ALICE), ("GET", "/a/", ALICE)):
        assert ask(method, path, fields(key=key)) == USED


def test_who_may_not_enter_uses_up_no_nonce() -> None:
    gated = protected(plugins=[KEYS])
    for key in (None, "wrong"):
        assert gated.outcome("GET", "/", fields(key=key))[0] == 401  # type: ignore[index]
    assert gated.outcome("POST", "/", fields(key="wrong"), b"body", forbid_receive=True)[0] == 401  # type: ignore[index]
    assert gated.outcome("GET", "/", fields(key=ALICE)) == ["alice"]


def test_a_nonce_is_remembered_for_its_time() -> None:
    for config, seconds in (({}, 900), ({"nonce_ttl": 0}, 900), ({"nonce_ttl": 60}, 60)):
        gated = protected(config)
        assert gated.outcome("GET", "/", fields()) == []
        gated.clock.advance(seconds - 1)
        assert gated.outcome("GET", "/", fields()) == USED
        gated.clock.advance(2)
        assert gated.outcome("GET", "/", fields()) == []


def test_a_nonce_stays_used_over_a_reload_and_under_another_rule() -> None:
    rules = [{"match": {"domain": ["a.example.com"]}, "config": {"reject_code": 409}}]
    gated = protected(rules=rules)
    assert gated.outcome("GET", "/", [*fields(), ("host", "b.example.com")]) == []
    gated.gateway.reload()
    assert gated.outcome("GET", "/", [*fields(), ("host", "a.example.com")]) == (409, "replay_attack_detected")


def test_two_entries_do_not_meet() -> None:
    second = {"name": "replay-protection", "id": "second"}
    gated = protected(plugins=[second])
    assert gated.outcome("GET", "/", fields()) == []
    assert gated.outcome("GET", "/", fields()) == USED


def test_the_body_passes_untouched() -> None:
    gated = protected()
    assert gated.outcome("POST", "/", fields(), b"\x00body") == []
    exchange = gated.ask("POST", "/", fields(OTHER), body=[b"x" * 600, b"y"], chunked=True)
    assert exchange.status == 200


def test_beside_hmac_auth_a_nonce_cannot_be_changed() -> None:
    hmac = {"name": "hmac-auth", "config": {"consumers": [{"name": "alice", "key": "k", "secret": "s" * 16}]}}
    gated = protected(plugins=[hmac])
    signer = gated.signer("k", "s" * 16, signed_headers=["x-higress-nonce"], nonce_header="x-higress-nonce")
    headers = dict(signer.signed("POST", "/", body=b"{}")) | {"x-ca-nonce": "unsigned"}
    assert headers["x-higress-nonce"] == "nonce-1"
    changed = headers | {"x-higress-nonce": "nonce-22"}
    assert gated.outcome("POST", "/", headers.items(), b"{}") == INVALID  # 7 characters
    gated = protected({"nonce_min_length": 7}, plugins=[hmac])
    assert gated.outcome("POST", "/", changed.items(), b"{}") == (401, "invalid_signature")
    assert gated.outcome("POST", "/", headers.items(), b"{}") == ["alice"]
    assert gated.outcome("POST", "/", headers.items(), b"{}") == (
        401,
        "nonce_used",
    )  # hmac-auth signed it, and knows it


def test_a_websocket_handshake_is_protected() -> None:
    accepted: list[str] = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        accepted.append(scope["path"])
        await send({"type": "websocket.accept"})

    gateway = Gateway(service, {"plugins": [{"name": "replay-protection"}]})
    sent: list[str] = []

    async def handshake(nonce: bytes | None) -> None:
        headers = [] if nonce is None else [(b"x-higress-nonce", nonce)]
        scope = {"type": "websocket", "path": "/ws", "headers": headers, "query_string": b"", "extensions": {}}

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await gateway(scope, receive, send)

    async def all_of_them() -> None:
        for nonce in (b"one-nonce", b"one-nonce", None):
            await handshake(nonce)

    asyncio.run(all_of_them())
    assert sent == ["websocket.accept", "websocket.close", "websocket.close"]
    assert accepted == ["/ws"]


# ---------------------------------------------------------------------- stores


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("config", "error", "expected"),
    [
        ({}, None, [200, 429, 200]),
        ({}, "away", [503, 503, 503]),
        ({"on_store_failure": "allow"}, "away", [200, 200, 200]),
        ({"on_store_failure": "allow"}, "full", [200, 429, 503]),
        ({}, "full", [200, 429, 503]),
    ],
)
def test_stores(waits: bool, config: dict[str, Any], error: str | None, expected: list[int]) -> None:
    gated = protected(config)
    store: Any = BrokenStore() if error == "away" else MemoryStore(max_keys=1 if error == "full" else 10)
    if waits:
        store = WaitingStore(store, StoreError("away") if error == "away" else None)
    requests = [("GET", "/", fields(nonce)) for nonce in (NONCE, NONCE, OTHER)]
    assert ask_all(gated, store, requests) == expected


def test_of_two_at_once_one_passes() -> None:
    gated = protected()
    store = WaitingStore(MemoryStore())

    async def both() -> list[int | None]:
        from aigw_middleware.testing import asgi_exchange

        gated.gateway.core.runtime(asyncio.get_running_loop()).ports.store = store  # type: ignore[assignment]
        asked = (asgi_exchange(gated.gateway, headers=fields()) for _ in range(5))
        return [exchange.status for exchange in await asyncio.gather(*asked)]

    assert sorted(status or 0 for status in asyncio.run(both())) == [200, 429, 429, 429, 429]


# ---------------------------------------------------------------------- what is told, and configuration


def test_the_refusal_is_configurable() -> None:
    gated = protected({"reject_code": 409, "reject_msg": "seen before"})
    gated.ask(headers=fields())
    refused = gated.ask(headers=fields())
    assert (refused.status, refused.body) == (409, b"seen before")
    upstream = protected(error_format="upstream")
    upstream.ask(headers=fields())
    assert upstream.ask(headers=fields()).body == b"Replay Attack Detected"
    assert upstream.ask().body == b"Missing Required Header"
    assert upstream.ask(headers=fields("short")).body == b"Invalid Nonce"
    assert protected().ask().json()["detail"] == "Missing Required Header"


def test_configurations_of_compatible_gateways_load_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    redis = {
        "service_name": "redis.dns",
        "service_port": 6379,
        "username": "",
        "password": "canary-0123",
        "timeout": 500,
    }
    config = {
        "force_nonce": True,
        "nonce_ttl": 900,
        "nonce_header": "X-Higress-Nonce",
        "nonce_min_length": 8,
        "nonce_max_length": 128,
        "validate_base64": False,
        "reject_code": 429,
        "reject_msg": "Replay Attack Detected",
        "redis": {**redis, "database": 0, "key_prefix": "replay-protection"},
    }
    with caplog.at_level(logging.WARNING):
        gated = protected(config)
    assert {record.getMessage() for record in caplog.records} == {
        "replay-protection: `redis` is not used: name the store in `stores`, as `default`"
    }
    (plugin,) = gated.gateway.core.snapshot.plugins
    assert "canary" not in repr(plugin.config) + plugin.config.model_dump_json()
    assert gated.outcome("GET", "/", fields()) == []
    protected({"redis": {"service_name": "r", "password": ""}})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"nonce_ttl": -1}, ".config.nonce_ttl: should be greater than or equal to 0"),
        ({"nonce_min_length": 9, "nonce_max_length": 8}, ".config: `nonce_min_length` should not exceed"),
        ({"nonce_min_length": 0}, ".config.nonce_min_length: should be greater than or equal to 1"),
        ({"nonce_header": "a b"}, ".config.nonce_header: 'a b' is not a header name"),
        ({"reject_code": 200}, ".config.reject_code: should be greater than or equal to 400"),
        ({"on_store_failure": "local"}, ".config.on_store_failure: should be 'deny' or 'allow'"),
        ({"nonce_tll": 1}, ".config.nonce_tll: unknown key (did you mean 'nonce_ttl'?)"),
        ({"redis": {"host": "x"}}, ".config.redis.host: unknown key"),
    ],
)
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "replay-protection", "config": config}]})
    (problem,) = [str(problem) for problem in caught.value.problems]
    assert problem.startswith(f"plugins[0]{expected}")


def test_the_example_of_the_documentation() -> None:
    (entry,) = yaml.safe_load((replay_protection.__doc__ or "").split("\n\n")[1])["plugins"]
    gated = Guarded(entry["name"], entry["config"])
    assert gated.outcome("GET", "/", fields("only-fifteen-ch")) == INVALID
    assert gated.outcome("GET", "/", fields()) == []
    assert gated.outcome("GET", "/", fields()) == USED
