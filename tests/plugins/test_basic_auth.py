"""basic-auth: who is let in, what the service and the caller are told, what is remembered, what is refused at load."""

import asyncio
import gc
import logging
import sys
import threading
import types
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import BasicAuth, ConfigError, Gateway
from aigw_middleware.plugins.auth import basic as basic_auth
from aigw_middleware.plugins.auth.basic.passwords import PasswordHash
from aigw_middleware.plugins.auth.basic.users import MAX_CREDENTIALS, Account, Login, presented
from aigw_middleware.ports import OffloadFull
from aigw_middleware.testing.asgi import asgi_exchange
from tests.plugins.service import Gated, outcome, problems_of

MISSING, INVALID, FORBIDDEN = (
    (401, "no_basic_authentication_information_found"),
    (401, "invalid_username_or_password"),
    (403, "unauthorized_consumer"),
)
ALICE, BOB = "alice:open:sesame", "bob:pw-of-bob"
USERS = {"consumers": [{"name": "alice", "credential": ALICE}, {"name": "bob", "credential": BOB}]}
BCRYPT = "$2b$04$SwxQqROCBuJvC8x.vL1m2.iZ/Cvk6ekpIn1xuHS73E.2Ke50XJ8Nq"  # of "correct horse"
SCRYPT = "$scrypt$ln=1,r=4,p=2$yhnD+J+Tci4lZCwFgHCuVQ$fAsEWmxSHuC0cHKMwKVFPzrQukgvK09Sj+NueTSxKds"  # of "nacl"
ARGON2 = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"  # of "password"
APR1, SHA = "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE="  # of "myPassword"
DES = "rqXexS6ZhobKA"  # of "myPasswo..."


def basic(login: str | bytes, scheme: str = "Basic ") -> dict[str, str]:
    data = login if isinstance(login, bytes) else login.encode()
    return {"authorization": scheme + b64encode(data).decode()}


def problems(config: Mapping[str, Any], **top: Any) -> list[str]:
    return problems_of("basic-auth", config, **top)


def plugin_of(gated: Gated) -> BasicAuth:
    (plugin,) = gated.gateway.core.snapshot.plugins
    assert isinstance(plugin, BasicAuth)
    return plugin


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every password that is compared with a hash, in order."""
    seen: list[bytes] = []
    matches = PasswordHash.matches

    def watched(self: PasswordHash, password: bytes) -> bool:
        seen.append(password)
        return matches(self, password)

    monkeypatch.setattr(PasswordHash, "matches", watched)
    return seen


# ---------------------------------------------------------------------- who is let in


GATED = Gated("basic-auth", USERS)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, MISSING),
        (basic(ALICE), ["alice"]),  # the password has a colon
        (basic(BOB), ["bob"]),
        (basic(ALICE, "basic "), ["alice"]),
        (basic(ALICE, "BASIC   "), ["alice"]),
        (basic(ALICE, "Basic"), MISSING),
        (basic(ALICE, "Bearer "), MISSING),
        (basic(ALICE, "Basic\t"), MISSING),
        ({"authorization": ""}, MISSING),
        ({"authorization": "Basic"}, MISSING),
        ({"authorization": "Basic "}, INVALID),
        ({"authorization": "Basic alice:open:sesame"}, INVALID),
        ({"authorization": basic(ALICE)["authorization"] + " x"}, INVALID),
        ({"authorization": basic(ALICE)["authorization"].rstrip("=")}, INVALID),  # its padding is missing
        ({"authorization": basic(ALICE)["authorization"] + "===="}, INVALID),
        ({"proxy-authorization": basic(ALICE)["authorization"]}, MISSING),
        (basic("alice"), INVALID),
        (basic("alice:"), INVALID),
        (basic(":open:sesame"), INVALID),
        (basic("alice:open"), INVALID),
        (basic("alice:open:sesame "), INVALID),
        (basic("alice:open:sesame\n"), INVALID),
        (basic("alice:open:sesame\0"), INVALID),
        (basic("ALICE:open:sesame"), INVALID),
        (basic("bob:open:sesame"), INVALID),
        (basic("eve:open:sesame"), INVALID),
    ],
)
def test_who_is_let_in(headers: dict[str, str], expected: object) -> None:
    assert outcome(GATED, headers) == expected


@pytest.mark.parametrize(
    ("written", "password"),
    [
        (BCRYPT, "correct horse"),
        (SCRYPT, "nacl"),
        (ARGON2, "password"),
        (APR1, "myPassword"),
        ("{PLAIN}pa:ss", "pa:ss"),
        ("$ecret", "$ecret"),
    ],
)
def test_a_hash_lets_in_whose_password_it_is_of(written: str, password: str) -> None:
    gated = Gated("basic-auth", {"consumers": [{"name": "one", "credential": f"u:{written}"}]})
    assert outcome(gated, basic(f"u:{password}")) == ["one"]
    if written != password:
        assert outcome(gated, basic(f"u:{written}")) == INVALID  # what is kept is no password


def test_the_kept_hash_of_a_plain_password_is_no_password() -> None:
    (account,) = plugin_of(GATED)._users._in_a_row[:1]
    (made,) = account.hashes
    assert outcome(GATED, basic(f"alice:{made._text}")) == INVALID
    assert outcome(GATED, basic(b"alice:" + bytes.fromhex(made._text))) == INVALID


def test_credentials_may_be_base64_as_upstream_has_them() -> None:
    gated = Gated("basic-auth", {"consumers": [{"name": "alice", "credential": b64encode(ALICE.encode()).decode()}]})
    assert outcome(gated, basic(ALICE)) == ["alice"]


def test_several_passwords_of_one_user_and_several_users_of_one_consumer() -> None:
    one = {"name": "one", "credentials": ["a:old", "a:new", "b:other", "a:new"]}
    gated = Gated("basic-auth", {"consumers": [one]})
    for login, expected in [("a:old", ["one"]), ("a:new", ["one"]), ("b:other", ["one"]), ("a:other", INVALID)]:
        assert outcome(gated, basic(login)) == expected


def test_anonymous_credentials_let_in_and_name_nobody() -> None:
    gated = Gated("basic-auth", {"credentials": [ALICE, BOB], "allow": ["alice"]})
    assert outcome(gated, {**basic(ALICE), "x-mse-consumer": "root"}) == []
    assert outcome(gated, basic("alice:wrong")) == INVALID


def test_nobody_has_a_password() -> None:
    gated = Gated("basic-auth", {})
    assert outcome(gated) == MISSING
    assert outcome(gated, basic(ALICE)) == INVALID


def test_names_and_passwords_beyond_ascii() -> None:
    consumers = [{"name": "z", "credential": "zoë:größe"}, {"name": "c", "credential": "爱丽丝:口令"}]
    gated = Gated("basic-auth", {"consumers": consumers})
    assert outcome(gated, basic("zoë:größe")) == ["z"]
    assert outcome(gated, basic("zoë:größe".encode("latin-1"))) == ["z"]  # older clients
    assert outcome(gated, basic("zoe\u0308:gro\u0308ße")) == ["z"]  # letters and marks apart (RFC 7617: NFC)
    assert outcome(gated, basic("爱丽丝:口令")) == ["c"]
    assert outcome(gated, basic("zoë:grosse")) == INVALID
    assert outcome(gated, basic(b"zo\xc3:gr\xff")) == INVALID


# ---------------------------------------------------------------------- declared consumers, files


DECLARED = [
    {"name": "alice", "groups": ["staff"], "tier": "gold", "credentials": {"basic-auth": [f"alice:{BCRYPT}"]}},
    {"name": "bob", "credentials": {"basic-auth": "robert:pw-of-bob"}},
    {"name": "carol", "credentials": {"basic-auth": ["env:CAROL_LOGIN"]}},
]


def test_declared_consumers_are_used_without_inline_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROL_LOGIN", "carol:pw-of-carol")
    gated = Gated("basic-auth", {}, consumers=DECLARED)
    assert outcome(gated, basic("alice:correct horse")) == ["alice"]
    assert (gated.service.consumer.tier, gated.service.consumer.groups) == ("gold", {"staff"})
    assert outcome(gated, basic("robert:pw-of-bob")) == ["bob"]
    assert outcome(gated, basic("bob:pw-of-bob")) == INVALID
    assert outcome(gated, basic("carol:pw-of-carol")) == ["carol"]


def test_inline_consumers_add_to_declared_ones(tmp_path: Path) -> None:
    (tmp_path / "login").write_text("dave:pw-of-dave\n")
    inline = [
        {"name": "alice", "credential": "alice:second"},
        {"name": "dave", "credential": f"file:{tmp_path / 'login'}"},
    ]
    gated = Gated("basic-auth", {"consumers": inline, "allow": ["group:staff"]}, consumers=DECLARED[:2])
    assert outcome(gated, basic("alice:second")) == ["alice"]
    assert outcome(gated, basic("alice:correct horse")) == ["alice"]
    assert outcome(gated, basic("dave:pw-of-dave")) == FORBIDDEN
    assert outcome(gated, basic("robert:pw-of-bob")) == INVALID


HTPASSWD = f"""\ufeff# who may enter
alice:{APR1}

  bob:{SCRYPT}:a comment
zoë:{ARGON2}
"""


def test_an_htpasswd_file_is_read_and_watched(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_bytes(HTPASSWD.replace("\n", "\r\n").encode())
    config = tmp_path / "aigw.yaml"
    entry = {"name": "basic-auth", "config": {"htpasswd_file": "users", "allow": ["alice", "bob"]}}
    config.write_text(yaml.safe_dump({"plugins": [entry], "consumers": DECLARED[:1]}))
    gated = Gated("basic-auth", USERS)
    gated.gateway = Gateway(gated.service, config, clock=gated.clock)
    assert outcome(gated, basic("alice:myPassword")) == ["alice"]
    assert gated.service.consumer.tier == "gold"
    assert outcome(gated, basic("alice:correct horse")) == ["alice"]  # what was declared counts too
    assert outcome(gated, basic("bob:nacl")) == ["bob"]
    assert outcome(gated, basic("zoë:password")) == FORBIDDEN
    before = gated.gateway.core.snapshot.plugins
    gated.gateway.reload()
    assert gated.gateway.core.snapshot.plugins == before
    users.write_text(f"alice:{SCRYPT}\n")
    gated.gateway.reload()
    assert outcome(gated, basic("alice:nacl")) == ["alice"]
    assert outcome(gated, basic("alice:myPassword")) == INVALID  # also forgotten: it was remembered
    assert outcome(gated, basic("bob:nacl")) == INVALID
    users.write_text("alice:nacl\n")
    with pytest.raises(ConfigError):
        gated.gateway.reload()
    assert outcome(gated, basic("alice:nacl")) == ["alice"]


def test_what_is_wrong_in_an_htpasswd_file_is_told_by_line(tmp_path: Path) -> None:
    users = tmp_path / "users"
    lines = [f"alice:{BCRYPT}", "bob", ":x", "carol:plain-password", f"dave:{DES}", "eve:$2b$04$short", f"frank:{SHA}"]
    users.write_bytes(
        "\n".join(lines).encode() + b"\nzo\xeb:x\nalice\x07:" + BCRYPT.encode() + b"\nrobert:" + APR1.encode()
    )
    config = {"htpasswd_file": str(users), "consumers": [{"name": "bob", "credential": "robert:second"}]}
    found = [problem.partition(f" of {users}: ")[::2] for problem in problems(config)]
    assert [where.removeprefix("plugins[0].config: htpasswd_file: ") for where, _ in found] == [
        f"line {number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 10)
    ]
    assert [what[:40] for _, what in found] == [
        "should read `user:<hash>`",
        "should read `user:<hash>`",
        "should have a hash after the colon, as `",
        "should have a hash after the colon, as `",
        "the hash after $2b$ should have a cost f",
        "user 'frank' has one of the {SHA} hashes",
        "is not UTF-8",
        "should have no control characters",
        "consumers 'bob' and 'robert' have the sa",
    ]
    users.write_text("wrong\n" * 1_000)
    assert len(problems(config)) == 20
    assert "cannot be read" in problems({"htpasswd_file": str(tmp_path / "none")})[0]


# ---------------------------------------------------------------------- what is told


def test_refusals_tell_how_to_authenticate_and_no_more() -> None:
    gated = Gated("basic-auth", {**USERS, "realm": 'my "realm"', "allow": ["bob"]})
    missing, wrong, unknown = gated.ask(), *(gated.ask(headers=basic(f"{u}:x").items()) for u in ("alice", "eve"))
    forbidden = gated.ask(headers=basic(ALICE).items())
    for exchange in (missing, wrong, unknown, forbidden):
        assert exchange.header("www-authenticate") == 'Basic realm="my \\"realm\\"", charset="UTF-8"'
    assert missing.json()["detail"].endswith("No Basic Authentication information found.")
    assert wrong.json()["detail"].endswith("Invalid username and/or password")
    assert (wrong.status, wrong.body, wrong.headers) == (unknown.status, unknown.body, unknown.headers)
    assert forbidden.json()["detail"].endswith("Unauthorized consumer")


def test_upstream_format_has_no_body() -> None:
    exchange = Gated("basic-auth", USERS, error_format="upstream").ask()
    assert (exchange.status, exchange.body, exchange.header("content-type")) == (401, b"", None)
    assert exchange.header("www-authenticate") == 'Basic realm="MSE Gateway", charset="UTF-8"'


@pytest.mark.parametrize(("hide", "seen"), [(True, []), (False, [basic(ALICE)["authorization"]])])
def test_hiding_the_password(hide: bool, seen: list[str]) -> None:
    gated = Gated("basic-auth", {**USERS, "hide_credentials": hide})
    for _ in range(2):  # the second time it is remembered
        assert outcome(gated, basic(ALICE)) == ["alice"]
        assert gated.service.header("authorization") == seen


def test_two_authorization_headers_let_nobody_in() -> None:
    gated = Gated("basic-auth", USERS)
    right, other = basic(ALICE)["authorization"], basic("root:x")["authorization"]
    for values in ([right, other], [right, right], [other, right], [right, "Bearer x"]):
        exchange = gated.ask(headers=[("authorization", value) for value in values])
        assert (exchange.status, exchange.json()["code"]) == INVALID
    assert gated.service.calls == 0


@pytest.mark.parametrize("headers", [basic(ALICE), basic("alice:x"), {}])
def test_the_callers_own_identity_header_is_gone(headers: dict[str, str]) -> None:
    open_to_all = Gated("basic-auth", {**USERS, "global_auth": False})
    assert outcome(open_to_all, {"x-mse-consumer": "root", **headers}) == []
    gated = Gated("basic-auth", USERS)
    assert outcome(gated, {"X_Mse_Consumer": "root", **headers}) in (["alice"], INVALID, MISSING)
    assert "root" not in {value for _, value in gated.service.headers}


def test_passwords_are_nowhere_to_be_seen(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("BOB_LOGIN", BOB)
    consumers = [
        USERS["consumers"][0],
        {"name": "bob", "credential": "env:BOB_LOGIN"},
        {"name": "c", "credential": f"c:{BCRYPT}"},
    ]
    gated = Gated("basic-auth", {"consumers": consumers})
    with caplog.at_level(logging.DEBUG):
        assert outcome(gated, basic(ALICE)) == ["alice"]
        assert outcome(gated, basic("bob:canary")) == INVALID
    plugin = plugin_of(gated)
    texts = reachable(plugin)
    assert any("alice" in text for text in texts)
    for secret in (
        "open:sesame",
        "pw-of-bob",
        "canary",
        basic(ALICE)["authorization"][6:],
        basic("bob:canary")["authorization"][6:],
    ):
        assert not any(secret in text for text in texts)
        assert secret not in caplog.text
    shown = repr(plugin.config) + plugin.config.model_dump_json() + repr(vars(plugin))
    assert "env:BOB_LOGIN" in shown
    for secret in ("sesame", "pw-of-bob", BCRYPT):
        assert secret not in shown


def reachable(start: object) -> set[str]:
    """Every string, and every bytes as latin-1, that can be reached from an object."""
    seen: set[int] = set()
    texts: set[str] = set()
    waiting = [start]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (type, types.FunctionType, types.ModuleType)):
            continue
        seen.add(id(item))
        if isinstance(item, (str, bytes)):
            texts.add(item if isinstance(item, str) else item.decode("latin-1"))
        waiting.extend(gc.get_referents(item))
    return texts


# ---------------------------------------------------------------------- what is remembered, and for how long


def test_a_right_password_is_checked_once_in_a_while(checks: list[bytes]) -> None:
    gated = Gated("basic-auth", USERS)
    for _ in range(3):
        assert outcome(gated, basic(ALICE)) == ["alice"]
    assert checks == [b"open:sesame"]
    gated.clock.advance(299)
    assert outcome(gated, basic(ALICE)) == ["alice"]
    assert len(checks) == 1
    gated.clock.advance(1)
    assert outcome(gated, basic(ALICE)) == ["alice"]
    assert len(checks) == 2


def test_a_wrong_password_is_checked_each_time(checks: list[bytes]) -> None:
    gated = Gated("basic-auth", USERS)
    for _ in range(3):
        assert outcome(gated, basic("alice:x")) == INVALID
    assert checks == [b"x"] * 3


@pytest.mark.parametrize(("seconds", "checked"), [(0, 3), ("1m", 1)])
def test_how_long_is_configurable(seconds: object, checked: int, checks: list[bytes]) -> None:
    gated = Gated("basic-auth", {**USERS, "remember": seconds})
    for _ in range(3):
        assert outcome(gated, basic(ALICE)) == ["alice"]
    assert len(checks) == checked


def test_no_more_are_remembered_than_fit(monkeypatch: pytest.MonkeyPatch, checks: list[bytes]) -> None:
    monkeypatch.setattr(basic_auth, "MAX_REMEMBERED", 2)
    logins = ["a:1", "b:2", "c:3"]
    gated = Gated("basic-auth", {"consumers": [{"name": "all", "credentials": logins}]})
    for login in [*logins, "c:3", "b:2", "a:1"]:
        assert outcome(gated, basic(login)) == ["all"]
    assert checks == [b"1", b"2", b"3", b"1"]
    assert len(plugin_of(gated)._remembered._entries) == 2


def test_who_is_checked_again_is_not_the_first_to_be_forgotten(
    monkeypatch: pytest.MonkeyPatch, checks: list[bytes]
) -> None:
    monkeypatch.setattr(basic_auth, "MAX_REMEMBERED", 2)
    gated = Gated("basic-auth", {"consumers": [{"name": "all", "credentials": ["a:1", "b:2", "c:3"]}]})
    assert [outcome(gated, basic(login)) for login in ("a:1", "b:2")] == [["all"], ["all"]]
    gated.clock.advance(300)
    assert [outcome(gated, basic(login)) for login in ("a:1", "c:3", "a:1")] == [["all"], ["all"], ["all"]]
    assert checks == [b"1", b"2", b"1", b"3"]


def test_a_change_of_the_configuration_forgets(checks: list[bytes]) -> None:
    gated = Gated("basic-auth", USERS)
    core = gated.gateway.core
    assert outcome(gated, basic(ALICE)) == ["alice"]
    gated.gateway.reload()  # nothing changed
    assert outcome(gated, basic(ALICE)) == ["alice"]
    assert len(checks) == 1
    changed = {"plugins": [{"name": "basic-auth", "config": {"consumers": USERS["consumers"][1:]}}]}
    core.source._given = changed
    gated.gateway.reload()
    assert outcome(gated, basic(ALICE)) == INVALID
    assert len(checks) == 2


def test_who_is_remembered_may_still_not_be_allowed() -> None:
    rules = [{"match": {"path_prefix": "/staff"}, "config": {"allow": ["bob"]}}]
    gated = Gated("basic-auth", {**USERS, "allow": ["alice"]}, rules=rules)
    for path, expected in [("/", ["alice"]), ("/staff", FORBIDDEN), ("/", ["alice"]), ("/staff", FORBIDDEN)]:
        assert outcome(gated, basic(ALICE), path) == expected


# ---------------------------------------------------------------------- beside the loop, and as long for everybody


def test_who_does_not_exist_is_refused_as_late_as_who_does(checks: list[bytes]) -> None:
    gated = Gated("basic-auth", USERS)
    for user in ("alice", "eve", "mallory", ""):
        assert outcome(gated, basic(f"{user}:x")) == INVALID
    assert checks == [b"x"] * 4


def test_who_does_not_exist_is_not_let_in_by_the_password_of_another() -> None:
    gated = Gated("basic-auth", {"consumers": [{"name": "alice", "credential": "alice:only"}]})
    for user in ("eve", "bob", "Alice", ""):
        assert outcome(gated, basic(f"{user}:only")) == INVALID


def test_for_one_name_it_is_always_the_same_account_and_for_many_all_of_them() -> None:
    gated = Gated("basic-auth", {"consumers": [{"name": "all", "credentials": [f"u{n}:{n}" for n in range(4)]}]})
    users = plugin_of(gated)._users
    assert users.account("nobody") == users.account("nobody")
    met = {id(users.account(f"nobody{number}")[0]) for number in range(200)}
    assert met == {id(account) for account in users._in_a_row}


def test_passwords_are_checked_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    matches = Account.matches

    def watched(self: Account, password: bytes) -> bool:
        threads.append(threading.current_thread().name)
        return matches(self, password)

    monkeypatch.setattr(Account, "matches", watched)
    gated = Gated("basic-auth", USERS)
    assert outcome(gated, basic(ALICE)) == ["alice"]
    assert threads[0].startswith("aigw-offload")
    assert gated.ask_wsgi(headers=basic(ALICE).items()).status == 200
    assert threads[1] == threading.current_thread().name  # a synchronous host has the thread already


def test_many_at_a_time_with_one_password_have_it_checked_once(checks: list[bytes]) -> None:
    gated = Gated("basic-auth", USERS)

    async def run() -> list[int | None]:
        asked = [asgi_exchange(gated.gateway, headers=basic(ALICE).items()) for _ in range(200)]
        return [exchange.status for exchange in await asyncio.gather(*asked)]

    assert set(asyncio.run(run())) == {200}
    assert len(checks) == 1


@pytest.mark.parametrize(("on_failure", "expected"), [("deny", (503, "plugin_failed")), ("allow", [])])
def test_more_than_can_be_checked_is_a_failure_and_who_is_known_still_enters(
    on_failure: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = Gated("basic-auth", USERS, plugins=[])
    gated.config["plugins"][0]["on_failure"] = on_failure
    gated.gateway = Gateway(gated.service, gated.config, clock=gated.clock)

    async def full(*_: Any) -> Any:
        raise OffloadFull("68 calls wait for a thread or run in one")

    async def run() -> list[object]:
        found: list[object] = []
        runtime = gated.gateway.core.runtime(asyncio.get_running_loop())
        for login, offload in [(ALICE, runtime.ports.offload), (BOB, full), (ALICE, full), ("eve:x", full)]:
            runtime.ports.offload = offload
            exchange = await asgi_exchange(gated.gateway, headers=basic(login).items())
            told = gated.service.header("x-mse-consumer")
            found.append(told if exchange.status == 200 else (exchange.status, exchange.json()["code"]))
        return found

    assert asyncio.run(run()) == [["alice"], expected, ["alice"], expected]


# ---------------------------------------------------------------------- rules, hosts


def test_upstream_configurations_load_unchanged() -> None:
    config = {
        "consumers": [
            {"name": "consumer1", "credential": "admin:123456"},
            {"name": "consumer2", "credential": "Z3Vlc3Q6YWJj"},
        ],
        "global_auth": False,
        "_rules_": [
            {"_match_domain_": ["*.example.com", "test.com"], "allow": ["consumer2"]},
            {"_match_route_": ["route-a"], "allow": ["consumer1"]},
        ],
    }
    gated = Gated("basic-auth", config, routes=[{"name": "route-a", "path_prefix": "/a"}])
    assert outcome(gated, {"host": "other.com"}) == []
    assert outcome(gated, {"host": "test.com", **basic("guest:abc")}) == ["consumer2"]
    assert outcome(gated, {"host": "test.com", **basic("admin:123456")}) == FORBIDDEN
    assert outcome(gated, {"host": "a.example.com"}) == MISSING
    assert outcome(gated, basic("admin:123456"), "/a/b") == ["consumer1"]


@pytest.mark.parametrize("written", [SHA, "{SSHA}98JUfJee5Wb13m5683sLku40P3Y2VjNX", APR1, "{PLAIN}myPassword"])
def test_encrypted_credentials_of_upstream(written: str, caplog: pytest.LogCaptureFixture) -> None:
    gated = Gated("basic-auth", {"encrypted": True, "consumers": [{"name": "one", "credential": f"u:{written}"}]})
    assert outcome(gated, basic("u:myPassword")) == ["one"]
    assert outcome(gated, basic(f"u:{written}")) == INVALID
    warnings = [record.getMessage() for record in caplog.records]
    kind = "{SSHA}" if "SSHA" in written else "{SHA}" if "SHA" in written else "$apr1$"
    assert all(warning.startswith(f"basic-auth: {kind} hashes") for warning in warnings)
    assert len(warnings) == (written[1:6] != "PLAIN")


def test_a_rule_has_its_own_users() -> None:
    rules = [{"match": {"path_prefix": "/own"}, "config": {"consumers": [{"name": "eve", "credential": "eve:e"}]}}]
    gated = Gated("basic-auth", USERS, rules=rules)
    assert outcome(gated, basic("eve:e"), "/own") == ["eve"]
    assert outcome(gated, basic(ALICE), "/own") == INVALID
    assert outcome(gated, basic("eve:e")) == INVALID


def test_who_is_known_already_needs_no_password_here() -> None:
    top = {"trust_identity_from": ["127.0.0.1/32"], "consumers": DECLARED[:1]}
    gated = Gated("basic-auth", {"allow": ["alice"]}, **top)
    assert outcome(gated, {"x-mse-consumer": "alice"}) == ["alice"]
    assert outcome(gated, {"x-mse-consumer": "mallory"}) == FORBIDDEN


def test_a_websocket_handshake_is_authenticated() -> None:
    gated = Gated("basic-auth", USERS)
    scope = {"type": "websocket", "subprotocols": [], "extensions": {}, "path": "/ws"}
    refused = gated.ask(headers=basic("alice:x").items(), scope=scope, body=[b""])
    assert gated.service.calls == 0
    assert [message["type"] for message in refused.messages] == ["websocket.close"]


def test_on_wsgi() -> None:
    gated = Gated("basic-auth", USERS)
    allowed = gated.ask_wsgi(headers=[*basic(ALICE).items(), ("x-mse-consumer", "root")])
    assert (allowed.status, gated.service.header("x-mse-consumer")) == (200, ["alice"])
    refused = gated.ask_wsgi(headers=basic("alice:x").items())
    assert (refused.status, refused.json()["code"]) == INVALID


def test_as_an_ordinary_middleware_class() -> None:
    gated = Gated("basic-auth", USERS)
    gateway = BasicAuth(gated.service, **USERS)._gateway
    assert isinstance(gateway, Gateway)
    gated.gateway = gateway
    assert outcome(gated, basic(BOB)) == ["bob"]


# ---------------------------------------------------------------------- hostile input


@pytest.mark.parametrize(
    "attack", ["' OR 1=1--", "\0", "k" * 65_536, "\u202e", "alice:" + "a" * 65_536, ":" * 1_000, "alice\r\n:x"]
)
def test_hostile_credentials_are_refused(attack: str) -> None:
    for login in (attack, f"alice:{attack}", f"{attack}:open:sesame", attack.encode("utf-16")):
        assert outcome(GATED, basic(login)) == INVALID


def test_what_is_too_long_is_refused_unread(checks: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(basic_auth, "presented", lambda value: seen.append(value) or presented(value))
    gated = Gated("basic-auth", USERS)
    assert outcome(gated, {"authorization": "Basic " + "A" * (MAX_CREDENTIALS + 4)}) == INVALID
    assert seen == []
    assert checks == []
    longest = b64encode(b"alice:".ljust(MAX_CREDENTIALS // 4 * 3, b"a"))
    assert len(longest) == MAX_CREDENTIALS
    assert outcome(gated, {"authorization": "Basic " + longest.decode()}) == INVALID
    assert len(checks) == 1


@given(st.binary(max_size=60))
def test_any_header_is_answered(value: bytes) -> None:
    for header in (value, b"Basic " + value, b"Basic " + b64encode(value)):
        exchange = GATED.ask(headers=[("authorization", header)])
        assert exchange.status == 401
        assert exchange.header("www-authenticate") is not None


@given(st.integers(0, len(ALICE) * 8 - 1))
def test_one_wrong_bit_is_enough(bit: int) -> None:
    changed = bytearray(ALICE.encode())
    changed[bit // 8] ^= 1 << bit % 8
    assert outcome(GATED, basic(bytes(changed))) == INVALID


@given(st.text(max_size=12), st.text(max_size=12))
def test_only_what_is_configured_is_let_in(user: str, password: str) -> None:
    try:
        login = f"{user}:{password}".encode()
    except UnicodeEncodeError:
        return
    right = (user, password) in {("alice", "open:sesame"), ("bob", "pw-of-bob")}
    assert (GATED.ask(headers=basic(login).items()).status == 200) == right


# ---------------------------------------------------------------------- configuration


def consumer(**fields: Any) -> dict[str, Any]:
    return {"consumers": [{"name": "alice", **fields}]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**USERS, "credentials": ["a:b"]}, ": should have either `credentials` or `consumers` and `htpasswd_file`"),
        ({"htpasswd_file": "x", "credentials": ["a:b"]}, ": should have either `credentials` or `consumers`"),
        (consumer(), ".consumers[0]: consumer 'alice' should have either `credential` or `credentials`"),
        (consumer(credential="a:b", credentials=["c:d"]), ".consumers[0]: consumer 'alice' should have either"),
        (consumer(credential="no-colon"), ".consumers[0].credential: should be `user:password`"),
        (consumer(credential="bm9jb2xvbg=="), ".consumers[0].credential: should be `user:password`"),
        (consumer(credential=":b"), ".consumers[0].credential: should be `user:password`"),
        (consumer(credential="a:"), ".consumers[0].credential: the password is empty"),
        (consumer(credential="a:hunter\n2"), ".consumers[0].credential: should have no control characters"),
        (consumer(credential="a:" + "b" * 1_535), ".consumers[0].credential: should have at most 1536 bytes"),
        (consumer(credential=7), ".consumers[0].credential: should be `user:password`"),
        (consumer(credential="env:NOT_SET_ANYWHERE"), ".consumers[0].credential: environment variable NOT_SET"),
        (consumer(credential="a:$2b$12$hunter2"), ".consumers[0].credential: the hash after $2b$ should have a cost"),
        (consumer(credential="a:$md5$hunter2"), ".consumers[0].credential: begins like a hash, but $md5$ is no form"),
        (consumer(credential=f"a:{SHA}"), ": user 'a' has one of the {SHA} hashes (SHA-1), which are as good as"),
        ({**consumer(credential=f"a:{DES}"), "encrypted": True}, ": user 'a' should have a hash, as `encrypted` says"),
        (consumer(name="a\nb", credential="a:b"), ".consumers[0]: a header value has a line break"),
        (consumer(credential="a:b", keys=[]), ".consumers[0].keys: unknown key"),
        ({"remember": 301}, ".remember: should be less than or equal to 300"),
        ({"realm": "a\r\nb"}, ".realm: a header value has a line break"),
        (
            {"consumers": [{"name": "alice", "credential": "u:1"}, {"name": "eve", "credential": "u:2"}]},
            ": consumers 'alice' and 'eve' have the same user name 'u'",
        ),
    ],
)
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    (problem,) = problems(config)
    assert problem.startswith(f"plugins[0].config{expected}")
    assert "hunter" not in problem
    assert SHA not in problem


def test_declared_credentials_are_checked_too() -> None:
    declared = [
        {"name": "alice", "credentials": {"basic-auth": ["u:one", "nothing"]}},
        {"name": "bob", "credentials": {"basic-auth": {"user": "u"}}},
        {"name": "eve", "credentials": {"basic-auth": "u:two"}},
    ]
    assert [problem.partition(", `user:<hash>`")[0] for problem in problems({}, consumers=declared)] == [
        "consumers: 'alice', credentials.basic-auth[1] should be `user:password`",
        "consumers: 'bob', credentials.basic-auth[0] should be `user:password`",
        "consumers: consumers 'alice' and 'eve' have the same user name 'u'",
    ]


def test_a_missing_extra_is_named_at_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    assert problems(consumer(credential=f"a:{BCRYPT}")) == [
        "plugins[0].config: basic-auth verifies bcrypt hashes with bcrypt, which is not installed "
        "(pip install 'aigw-middleware[passwords]')"
    ]
    Gated("basic-auth", consumer(credential=f"a:{SCRYPT}"))


def test_weak_hashes_are_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    BasicAuth(consumers=[{"name": "one", "credentials": [f"a:{APR1}", f"b:{APR1}", f"c:{BCRYPT}", f"d:{SCRYPT}"]}])
    assert [record.getMessage() for record in caplog.records] == [
        "basic-auth: $apr1$ hashes (MD5-crypt) are guessed fast; 2 users have one, such as 'a'",
        "basic-auth: bcrypt hashes of a cost below 10 are guessed fast; 1 users have one, such as 'c'",
    ]


def test_unmatched_requests_that_pass_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    Gated("basic-auth", {**USERS, "_rules_": [{"_match_domain_": ["a.example.com"], "allow": ["alice"]}]})
    assert [record.getMessage() for record in caplog.records] == [
        "basic-auth: requests that no rule matches are not authenticated: set global_auth to true or to false"
    ]


def test_logins_are_compared_and_not_shown() -> None:
    first, second = Login.of("a:secret"), Login.of("a:secret")
    assert first == second
    assert len({first, second, Login.of("b:secret"), Login.of("a:other")}) == 3
    assert Login.of("a:{PLAIN}secret") != first  # `encrypted` accepts the one and not the other
    assert repr(first) == "Login(***)"


def test_the_example_of_the_documentation() -> None:
    (entry,) = yaml.safe_load((basic_auth.__doc__ or "").split("\n\n")[1])["plugins"]
    gated = Gated(entry["name"], entry["config"])
    assert outcome(gated, basic("alice:alice-example-password")) == ["alice"]
    assert outcome(gated, basic("robert:another-password")) == ["bob"]
    assert outcome(gated, basic("bob:alice-example-password")) == INVALID
