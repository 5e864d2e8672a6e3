"""jwt-auth: whose token it is, where it stands, what the service and the caller are told."""

import asyncio
import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from aigw_middleware import Gateway, JwtAuth
from aigw_middleware.exchange import Refusal
from aigw_middleware.plugins.auth import jwt as jwt_auth
from aigw_middleware.testing.clock import VirtualClock
from tests.plugins.jwt_case import ALICE, DENIED, HS, INVALID, KEYS, MISSING, SCOPE, TOKEN, one, outcome, plugin_of
from tests.plugins.service import Gated, Service
from tests.plugins.tokens import ISSUER, NOW, Signer, key_set, signer


@pytest.mark.parametrize(
    ("config", "claims", "expected"),
    [
        ({"issuer": ""}, {"iss": "anybody"}, ["alice"]),
        ({"issuer": ""}, {"iss": None}, ["alice"]),
        ({"audiences": ["api", "web"]}, {"aud": "web"}, ["alice"]),
        ({"audiences": ["api", "web"]}, {"aud": ["x", "api"]}, ["alice"]),
        ({"audiences": "api"}, {"aud": "api"}, ["alice"]),
        ({"audiences": ["api"]}, {"aud": "api2"}, INVALID),
        ({"audiences": ["api"]}, {"aud": []}, INVALID),
        ({"audiences": ["api"]}, {}, INVALID),
        ({}, {"aud": "another"}, ["alice"]),
        ({"claims": {"sub": "alice"}}, {}, ["alice"]),
        ({"claims": {"sub": "alic"}}, {}, INVALID),
        ({"claims": {"sub": "Alice"}}, {}, INVALID),
        ({"claims": {"admin": True}}, {"admin": True}, ["alice"]),
        ({"claims": {"admin": True}}, {"admin": 1}, INVALID),
        ({"claims": {"admin": True}}, {"admin": "true"}, INVALID),
        ({"claims": {"level": 3}}, {"level": 3.0}, ["alice"]),
        ({"claims": {"level": 3}}, {"level": "3"}, INVALID),
        ({"claims": {"level": 3}}, {}, INVALID),
        ({"claims": {"none": None}}, {}, INVALID),
        ({"claims": {"roles": ["a", "b"]}}, {"roles": ["a", "b"]}, ["alice"]),
        ({"claims": {"roles": ["a", "b"]}}, {"roles": ["b", "a"]}, INVALID),
        ({"claims": {"roles": "a"}}, {"roles": ["a"]}, INVALID),
        ({"claims": {"x": {"a": 1, "b": 2}}}, {"x": {"b": 2, "a": 1}}, ["alice"]),
        ({"claims": {"sub": "alice", "t": "x"}}, {"t": "x"}, ["alice"]),
        ({"claims": {"sub": "alice", "t": "x"}}, {"t": "y"}, INVALID),
        ({"algorithms": ["HS256"]}, {}, ["alice"]),
        ({"algorithms": ["HS384", "RS256"]}, {}, INVALID),
        ({"scopes": ["read"]}, {"scope": "read write"}, ["alice"]),
        ({"scopes": "read"}, {"scope": "write read"}, ["alice"]),
        ({"scopes": ["read", "write"]}, {"scp": ["write", "read", 1]}, ["alice"]),
        ({"scopes": ["read", "write"]}, {"scope": "read"}, SCOPE),
        ({"scopes": "read write"}, {"scope": "write read"}, ["alice"]),
        ({"scopes": "read write"}, {"scope": "write"}, SCOPE),
        ({"scopes": ["read"]}, {"scope": "reader"}, SCOPE),
        ({"scopes": ["read"]}, {"scope": ["read"]}, ["alice"]),
        ({"scopes": ["read"]}, {"scope": 1}, SCOPE),
        ({"scopes": ["read"]}, {}, SCOPE),
    ],
)
def test_what_a_token_must_say(config: dict[str, Any], claims: dict[str, Any], expected: object) -> None:
    gated = Gated("jwt-auth", one(**config))
    token = HS.token(**claims)
    assert outcome(gated, token) == expected
    assert outcome(gated, token) == expected


def test_the_first_consumer_that_fits_and_may_enter() -> None:
    consumers = [
        {**ALICE, "name": "admins", "claims": {"sub": "alice", "admin": True}},
        {**ALICE, "name": "alice", "claims": {"sub": "alice"}},
        {**ALICE, "name": "anybody"},
    ]
    gated = Gated("jwt-auth", {"consumers": consumers})
    admin = HS.token(admin=True)
    for _ in range(2):
        assert outcome(gated, admin) == ["admins"]
        assert outcome(gated, TOKEN) == ["alice"]
        assert outcome(gated, HS.token(sub="bob")) == ["anybody"]
    backwards = Gated("jwt-auth", {"consumers": consumers[::-1]})
    assert outcome(backwards, admin) == ["anybody"]
    allowed = Gated("jwt-auth", {"consumers": consumers, "allow": ["anybody"]})
    assert outcome(allowed, admin) == outcome(allowed, admin) == ["anybody"]
    nobody = Gated("jwt-auth", {"consumers": consumers, "allow": []})
    assert outcome(nobody, admin) == DENIED
    assert outcome(nobody, HS.token(iss="x")) == INVALID
    assert outcome(nobody) == MISSING


def test_tolerances_of_several_consumers() -> None:
    consumers = [
        {**ALICE, "name": "strict", "claims": {"sub": "alice"}, "clock_skew_seconds": 0},
        {**ALICE, "name": "lenient", "clock_skew_seconds": 100},
    ]
    gated = Gated("jwt-auth", {"consumers": consumers})
    token = HS.token(nbf=NOW + 50)
    assert outcome(gated, token) == ["lenient"]
    gated.clock.advance(50)
    assert outcome(gated, token) == ["strict"]


def test_many_consumers_of_one_issuer() -> None:
    consumers = [{"name": f"c{number}", "claims": {"sub": f"s{number}"}} for number in range(1_000)]
    gated = Gated("jwt-auth", {"issuer": ISSUER, "jwks": KEYS, "consumers": consumers})
    for number in (0, 500, 999):
        assert outcome(gated, HS.token(sub=f"s{number}")) == [f"c{number}"]
    assert outcome(gated, HS.token(sub="s1000")) == INVALID


def test_what_consumers_do_not_say_is_as_the_plug_in_says() -> None:
    other = signer("ES256", "k1")
    config = {
        "issuer": ISSUER,
        "jwks": KEYS,
        "audiences": ["api"],
        "from_headers": [{"name": "x-token"}],
        "scopes": ["read"],
        "consumers": [
            {"name": "alice", "claims": {"sub": "alice"}},
            {"name": "bob", "claims": {"sub": "bob"}, "audiences": [], "scopes": ["write"]},
            {"name": "carol", "issuer": "other", "jwks": key_set(other.jwk()), "from_cookies": ["t"]},
        ],
    }
    gated = Gated("jwt-auth", config)
    assert outcome(gated, x_token=HS.token(aud="api", scope="read")) == ["alice"]
    assert outcome(gated, x_token=HS.token(scope="read")) == INVALID
    assert outcome(gated, x_token=HS.token(sub="bob", scope="write")) == SCOPE
    assert outcome(gated, x_token=HS.token(sub="bob", scope="read write")) == ["bob"]
    carol = other.token(iss="other", aud="api", scope="read")
    assert outcome(gated, x_token=carol) == INVALID
    assert outcome(gated, cookie=f"t={carol}") == ["carol"]
    assert outcome(gated, HS.token(aud="api", scope="read")) == MISSING


DECLARED = [
    {
        "name": "alice",
        "groups": ["staff"],
        "tier": "gold",
        "credentials": {"jwt-auth": {**ALICE, "claims": {"sub": "alice"}}},
    },
    {
        "name": "bob",
        "credentials": {"jwt-auth": [{"issuer": ISSUER, "claims": {"sub": "bob"}, "jwks": json.loads(KEYS)}]},
    },
    {"name": "carol"},
]
DECLARED[0]["credentials"]["jwt-auth"].pop("name")  # type: ignore[index]


def test_declared_consumers() -> None:
    gated = Gated("jwt-auth", consumers=DECLARED)
    assert outcome(gated, TOKEN) == ["alice"]
    assert (gated.service.consumer.tier, gated.service.consumer.groups) == ("gold", {"staff"})
    assert outcome(gated, HS.token(sub="bob")) == ["bob"]
    assert outcome(gated, HS.token(sub="carol")) == INVALID
    staff = Gated("jwt-auth", {"allow": ["group:staff"]}, consumers=DECLARED)
    assert outcome(staff, TOKEN) == ["alice"]
    assert outcome(staff, HS.token(sub="bob")) == DENIED


def test_inline_consumers_add_to_declared_ones() -> None:
    config = {"consumers": [{"name": "alice", "issuer": "second", "jwks": KEYS}]}
    gated = Gated("jwt-auth", config, consumers=DECLARED)
    for issuer in ("second", ISSUER):
        assert outcome(gated, HS.token(iss=issuer)) == ["alice"]
        assert gated.service.consumer.tier == "gold"
    assert outcome(gated, HS.token(sub="bob")) == INVALID


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWKS", KEYS)
    monkeypatch.setenv("KEY", HS.jwk()["k"])
    nested = {"keys": [{"kty": "oct", "k": "env:KEY"}]}
    for jwks in ("env:JWKS", nested):
        gated = Gated("jwt-auth", one(jwks=jwks))
        assert outcome(gated, TOKEN) == ["alice"]
        plugin = plugin_of(gated)
        for text in (repr(plugin.config), plugin.config.model_dump_json(), repr(vars(plugin))):
            assert HS.jwk()["k"] not in text
        declared = [{"name": "alice", "credentials": {"jwt-auth": {"jwks": jwks}}}]
        assert outcome(Gated("jwt-auth", consumers=declared), TOKEN) == ["alice"]


def test_keys_without_consumers_let_in_without_a_name() -> None:
    gated = Gated("jwt-auth", {"jwks": KEYS, "issuer": ISSUER, "allow": ["alice"]})
    assert outcome(gated, TOKEN, x_mse_consumer="root") == []
    assert outcome(gated, HS.token(iss="x")) == INVALID
    assert outcome(gated) == MISSING


def test_nobody_has_a_token() -> None:
    for config in ({}, None):
        gated = Gated("jwt-auth", config)
        assert outcome(gated) == MISSING
        assert outcome(gated, TOKEN) == INVALID


# ---------------------------------------------------------------------- where tokens stand


PLACES = {
    "from_headers": [{"name": "x-jwt"}, {"name": "x-auth", "value_prefix": "Token "}],
    "from_params": ["jwt", "token"],
    "from_cookies": ["session"],
}


@pytest.mark.parametrize(
    ("config", "headers", "path", "expected"),
    [
        ({}, {"authorization": f"Bearer {TOKEN}"}, "/", ["alice"]),
        ({}, {"authorization": f"bEARER   {TOKEN}"}, "/", ["alice"]),
        ({}, {"authorization": f"Bearer{TOKEN}"}, "/", MISSING),
        ({}, {"authorization": f"Basic Bearer {TOKEN}"}, "/", MISSING),
        ({}, {"authorization": TOKEN}, "/", MISSING),
        ({}, {"authorization": "Bearer "}, "/", MISSING),
        ({}, {"authorization": "Basic YTpi"}, f"/?access_token={TOKEN}", ["alice"]),
        ({}, {}, f"/?a=b&access_token={TOKEN}&c", ["alice"]),
        ({}, {}, f"/?access%5Ftoken={TOKEN.replace('.', '%2E')}", ["alice"]),
        ({}, {}, f"/?Access_Token={TOKEN}", MISSING),
        ({}, {}, "/?access_token=", MISSING),
        ({}, {"cookie": f"access_token={TOKEN}"}, "/", MISSING),
        (PLACES, {"authorization": f"Bearer {TOKEN}"}, f"/?access_token={TOKEN}", MISSING),
        (PLACES, {"x-jwt": TOKEN}, "/", ["alice"]),
        (PLACES, {"x-jwt": f"Bearer {TOKEN}"}, "/", INVALID),
        (PLACES, {"x-auth": f"TOKEN {TOKEN}"}, "/", ["alice"]),
        (PLACES, {"x-auth": TOKEN}, "/", MISSING),
        (PLACES, {}, f"/?token={TOKEN}", ["alice"]),
        (PLACES, {"cookie": f"a=b; session={TOKEN}; session2=x"}, "/", ["alice"]),
        (PLACES, {"cookie": f"mysession={TOKEN}"}, "/", MISSING),
        # several tokens: all must be good, and for one consumer
        ({}, {"authorization": f"Bearer {TOKEN}"}, f"/?access_token={TOKEN}", ["alice"]),
        ({}, {"authorization": f"Bearer {TOKEN}"}, "/?access_token=x", INVALID),
        ({}, {"authorization": "Bearer x"}, f"/?access_token={TOKEN}", INVALID),
        ({}, {}, f"/?access_token={TOKEN}&access_token=x.y.z", INVALID),
        ({}, {"authorization": f"Bearer {TOKEN}"}, f"/?access_token={HS.token(jti='2')}", ["alice"]),
        (PLACES, {"cookie": f"session={TOKEN}; session=x.y.z"}, "/", INVALID),
    ],
)
def test_where_tokens_stand(config: dict[str, Any], headers: dict[str, str], path: str, expected: object) -> None:
    assert outcome(Gated("jwt-auth", one(**config)), None, path, **headers) == expected


def test_a_header_that_is_there_twice() -> None:
    gated = Gated("jwt-auth", one())
    for second, status in ((TOKEN, 200), (TOKEN[:-5], 401), ("", 200)):
        for pair in ((TOKEN, second), (second, TOKEN)):
            headers = [("authorization", f"Bearer {token}") for token in pair]
            assert gated.ask(headers=headers).status == status


def test_a_request_has_few_tokens() -> None:
    gated = Gated("jwt-auth", one())
    for count, expected in ((4, ["alice"]), (5, INVALID)):
        query = "&".join(f"access_token={HS.token(jti=str(number))}" for number in range(count))
        assert outcome(gated, path=f"/?{query}") == expected


def test_tokens_of_two_consumers_are_nobodys() -> None:
    consumers = [{**ALICE, "name": name, "claims": {"sub": name}} for name in ("alice", "bob")]
    gated = Gated("jwt-auth", {"consumers": consumers})
    assert outcome(gated, TOKEN, f"/?access_token={HS.token(sub='bob')}") == INVALID


@pytest.mark.parametrize(
    ("headers", "path", "left"),
    [
        ({"authorization": f"Bearer {TOKEN}", "x": "1"}, "/", {"x": ["1"]}),
        ({"authorization": "Basic YTpi", "x-jwt": TOKEN}, "/", {"authorization": ["Basic YTpi"], "x-jwt": []}),
        ({"cookie": f"a=1; t={TOKEN};b=2; t2={TOKEN}"}, "/", {"cookie": [f"a=1; b=2; t2={TOKEN}"]}),
        ({"cookie": f"t={TOKEN}"}, "/", {"cookie": []}),
    ],
)
def test_the_token_is_taken_away(headers: dict[str, str], path: str, left: dict[str, list[str]]) -> None:
    places = {
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}, {"name": "x-jwt"}],
        "from_cookies": ["t"],
    }
    kept, taken = (Gated("jwt-auth", one(**places, keep_token=keep)) for keep in (True, False))
    for _ in range(2):
        assert outcome(kept, None, path, **headers) == outcome(taken, None, path, **headers) == ["alice"]
        assert {name: kept.service.header(name) for name in headers} == {
            name: [value] for name, value in headers.items()
        }
        assert {name: taken.service.header(name) for name in {**headers, **left}} == {
            **{name: [] for name in headers},
            **left,
        }


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (f"access_token={TOKEN}", ""),
        (f"a=1&access_token={TOKEN}&b=%2F&c", "a=1&b=%2F&c"),
        (f"a=1&%61ccess_token={TOKEN}", "a=1"),
    ],
)
def test_the_token_is_taken_out_of_the_query(query: str, left: str) -> None:
    for keep in (True, False):
        gated = Gated("jwt-auth", one(keep_token=keep))
        result = gated.ask("GET", "/", scope={"query_string": query.encode()})
        assert result.status == 200
        assert gated.service.query == (query if keep else left)


# ---------------------------------------------------------------------- what the service is told


CLAIMS: list[tuple[Any, str | None]] = [
    ("alice", "alice"),
    ("", None),
    ("a b", "a b"),
    ("爱丽丝", "爱丽丝".encode().decode("latin-1")),
    ("a\r\nx-evil: 1", None),
    ("a\0", None),
    ("a\tb", None),
    (" alice", None),
    ("x" * 9_000, None),
    (7, "7"),
    (-7, "-7"),
    (1.5, "1.5"),
    (10**30, str(10**30)),
    (True, "true"),
    (False, "false"),
    (None, None),
    ([], "[]"),
    (["a", 1, None, True], '["a",1,null,true]'),
    (["é\n\x7f"], '["\\u00e9\\n\\u007f"]'),
    ({"a": {"b": [1.5]}}, '{"a":{"b":[1.5]}}'),
]


@pytest.mark.parametrize(("value", "expected"), CLAIMS)
def test_claims_become_headers(value: Any, expected: str | None) -> None:
    gated = Gated("jwt-auth", one(claims_to_headers=[{"claim": "c", "header": "X-Claim"}]))
    token = HS.raw(HS.header(), {"iss": ISSUER, "c": value})
    for _ in range(2):
        assert outcome(gated, token, x_claim="forged") == ["alice"]
        assert gated.service.header("x-claim") == ([] if expected is None else [expected])
    assert outcome(gated, HS.token(), X_Claim="forged") == ["alice"]
    assert gated.service.header("x-claim") == []


def test_several_claims_for_one_header() -> None:
    mapping = [
        {"claim": "sub", "header": "x-who"},
        {"claim": "iss", "header": "x-who", "override": False},
        {"claim": "missing", "header": "x-who"},
        {"claim": "exp", "header": "x-exp"},
    ]
    gated = Gated("jwt-auth", one(claimsToHeaders=mapping))
    assert outcome(gated, TOKEN) == ["alice"]
    assert gated.service.header("x-who") == ["alice", ISSUER]
    assert gated.service.header("x-exp") == [str(NOW + 3_600)]
    mapping[1]["override"] = True
    gated = Gated("jwt-auth", one(claims_to_headers=mapping))
    assert outcome(gated, TOKEN) == ["alice"]
    assert gated.service.header("x-who") == [ISSUER]


@pytest.mark.parametrize("spelling", ["x-claim", "X_Claim", "x-mse-consumer", "X_Mse_Consumer"])
def test_no_caller_sets_an_identity_header(spelling: str) -> None:
    mapping = [{"claim": "role", "header": "x-claim"}]
    for config in (one(claims_to_headers=mapping), {**one(claims_to_headers=mapping), "global_auth": False}):
        gated = Gated("jwt-auth", config)
        gated.ask(headers=[(spelling, "forged"), ("authorization", f"Bearer {TOKEN}")])
        assert "forged" not in {value for _, value in gated.service.headers}
        assert gated.service.calls == 1


# ---------------------------------------------------------------------- what the caller is told


def test_refusals() -> None:
    gated = Gated("jwt-auth", {**one(scopes=["read"]), "realm": 'my "realm"'})
    bearer = 'Bearer realm="my \\"realm\\""'
    for token, text, challenge in (
        (None, "Jwt is missing", bearer),
        ("x.y.z", "Jwt verification fails", f'{bearer}, error="invalid_token"'),
        (HS.token(iss="x"), "Jwt verification fails", f'{bearer}, error="invalid_token"'),
        (HS.token(exp=1), "Jwt is expired", f'{bearer}, error="invalid_token"'),
        (HS.token(nbf=NOW + 100), "Jwt not yet valid", f'{bearer}, error="invalid_token"'),
        (TOKEN, "Access Denied", f'{bearer}, error="insufficient_scope"'),
    ):
        headers = [] if token is None else [("authorization", f"Bearer {token}")]
        exchange = gated.ask(headers=headers)
        assert exchange.header("www-authenticate") == challenge
        assert exchange.json()["detail"] == text
        upstream = Gated("jwt-auth", one(scopes=["read"]), error_format="upstream").ask(headers=headers)
        assert (upstream.body, upstream.header("content-type")) == (text.encode(), "text/plain")
    # nobody learns from a forged token whether its dates would have been right
    assert outcome(gated, signer("HS256", "other").token(exp=1)) == INVALID


def test_wsgi_judges_the_same() -> None:
    gated = Gated("jwt-auth", one(keep_token=False, claims_to_headers=[{"claim": "sub", "header": "x-sub"}]))
    assert gated.ask_wsgi(headers=[("authorization", f"Bearer {TOKEN}"), ("x-sub", "forged")]).status == 200
    assert gated.service.header("x-mse-consumer") == gated.service.header("x-sub") == ["alice"]
    assert gated.service.header("authorization") == []
    for headers in ([], [("authorization", "Bearer x")], [("authorization", f"Bearer {TOKEN}")] * 2):
        assert gated.ask_wsgi(headers=headers).status == 401


def test_the_class_is_a_middleware_of_its_own() -> None:
    plugin = JwtAuth(consumers=[ALICE])
    assert plugin.identity_headers == ()
    assert isinstance(plugin._missing, Refusal)


def test_check_only_with_certain_headers(caplog: pytest.LogCaptureFixture) -> None:
    gated = Gated("jwt-auth", {**one(), "enable_headers": ["X-Check", "x-other"]})
    assert outcome(gated) == []
    assert outcome(gated, x_other="1") == MISSING
    assert outcome(gated, TOKEN, x_check="") == ["alice"]


def test_rules_follow_the_truth_table() -> None:
    rules = [
        {"match": {"path_prefix": "/staff"}, "config": {"allow": ["bob"]}},
        {"match": {"path_prefix": "/write"}, "config": {"scopes": ["write"]}},
        {"match": {"path_prefix": "/open"}, "enabled": False},
    ]
    gated = Gated("jwt-auth", {**one(), "global_auth": False}, rules=rules)
    assert outcome(gated) == []
    assert outcome(gated, TOKEN, "/staff") == DENIED
    assert outcome(gated, None, "/write") == MISSING
    assert outcome(gated, TOKEN, "/write") == SCOPE
    assert outcome(gated, HS.token(scope="write"), "/write") == ["alice"]
    assert outcome(gated, "x", "/open") == []


def test_the_example_of_the_docstring() -> None:
    example = yaml.safe_load(str(jwt_auth.__doc__).split("\n\n")[1])
    gateway = Gateway(Service(), example, clock=VirtualClock())
    gated = Gated("jwt-auth", example["plugins"][0]["config"])
    gated.gateway, gated.service = gateway, gateway.app  # type: ignore[assignment]
    # The private half of that key stands in RFC 8037, appendix A.1.
    private = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    }
    someone = Signer("EdDSA", OKPKey.import_key(private))
    assert outcome(gated, someone.token(aud="api", roles=["admin", "dev"])) == ["alice"]
    assert gated.service.header("x-roles") == ['["admin","dev"]']
    assert outcome(gated, someone.token(aud="web")) == INVALID


def test_any_headers_queries_and_cookies() -> None:
    gated = Gated("jwt-auth", one(**{**PLACES, "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}]}))

    async def ask(headers: list[tuple[str, bytes]], query: bytes) -> int | None:
        from aigw_middleware.testing.asgi import asgi_exchange

        exchange = await asgi_exchange(gated.gateway, headers=headers, scope={"query_string": query})
        assert exchange.exception is None
        return exchange.status

    @settings(max_examples=50)
    @given(st.lists(st.binary(max_size=40), min_size=2, max_size=2), st.binary(max_size=40))
    def fuzz(values: list[bytes], query: bytes) -> None:
        headers = [("authorization", b"Bearer " + values[0]), ("cookie", b"session=" + values[1])]
        assert asyncio.run(ask(headers, b"jwt=" + query)) == 401

    fuzz()
