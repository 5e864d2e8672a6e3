"""jwt-auth: what is refused and what is warned about when a configuration is loaded."""

import builtins
import logging
from typing import Any

import pytest

from tests.plugins.jwt_case import ALICE, HS, TOKEN, one, outcome, problems
from tests.plugins.service import Gated
from tests.plugins.tokens import b64, key_set, signer


def keys_error(*keys: dict[str, Any]) -> dict[str, Any]:
    return one(jwks=key_set(*keys))


ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ES_JWK = signer("ES256", "k1").jwk()
RSA_JWK = signer("RS256").jwk()
AT = "plugins[0].config"
ALICES = f"{AT}.consumers[0]"
JWKS = f"{AT}: consumers[0].jwks "
NONE = f"{JWKS}has no key that verifies signatures"
NO_CLAIM = "claims_to_headers: x-jwt carries tokens, so no claim can be put there"
SMALL = b64(((1 << 1_023) + 1).to_bytes(128, "big")).decode()
HINT = "(jwks: env:JWKS, or remote_jwks: {url: https://...})"
ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"consumers": [{"name": "alice"}]}, f"{AT}: consumers[0] has no keys {HINT}"),
    (one(jwks="{"), f"{JWKS}is not a JWK Set: not valid JSON: "),
    (one(jwks="[]"), f"{JWKS}is not a JWK Set: not a JSON object"),
    (one(jwks='{"keys":[],"keys":[]}'), f"{JWKS}is not a JWK Set: a member name occurs twice"),
    (one(jwks="{}"), f"{JWKS}should have a list `keys` of at most 100 keys"),
    (one(jwks=key_set(*[ES_JWK] * 101)), f"{JWKS}should have a list `keys` of at most 100 keys"),
    (keys_error(), NONE),
    (one(jwks='{"keys":[1]}'), f"{JWKS}keys[0] should be an object"),
    (keys_error({}), f"{JWKS}keys[0] should have `kty` as a text"),
    (keys_error({"kty": "oct"}), f"{JWKS}keys[0] should have `k` as a text"),
    (keys_error({"kty": "oct", "k": ""}), f"{JWKS}keys[0] `k` has not the length it should have"),
    (keys_error({"kty": "oct", "k": "a+b="}), f"{JWKS}keys[0] `k`: not base64url"),
    (keys_error({"kty": "oct", "k": "éé"}), f"{JWKS}keys[0] `k`: not base64url"),
    (
        keys_error({"kty": "oct", "k": b64("-----BEGIN PUBLIC KEY-----\nMFkw").decode()}),
        f"{JWKS}keys[0] has a public or private key as its shared secret",
    ),
    (
        keys_error({"kty": "oct", "k": b64("ssh-ed25519 AAAA").decode()}),
        f"{JWKS}keys[0] has a public or private key as its shared secret",
    ),
    (
        keys_error({**RSA_JWK, "n": SMALL}),
        f"{JWKS}keys[0] should have a modulus of 2048 to 8192 bits (RFC 7518, section 3.3)",
    ),
    (keys_error({**RSA_JWK, "e": "AQ"}), f"{JWKS}keys[0] has a modulus or an exponent that no RSA key has"),
    (keys_error({**RSA_JWK, "e": "Ag"}), f"{JWKS}keys[0] has a modulus or an exponent that no RSA key has"),
    (keys_error({**ES_JWK, "x": ES_JWK["y"]}), f"{JWKS}keys[0] is not a point of its curve"),
    (keys_error({**ES_JWK, "x": ES_JWK["x"][:-3]}), f"{JWKS}keys[0] `x` "),
    (keys_error({**ES_JWK, "crv": "P-384"}), f"{JWKS}keys[0] `x` has not the length it should have"),
    (
        keys_error({**ES_JWK, "crv": "secp256k1"}),
        f"{NONE}: keys[0] has a type or curve that no supported algorithm uses",
    ),
    (keys_error({"kty": "OKP", "crv": "X25519", "x": ED25519["x"]}), f"{NONE}: keys[0] has a type or curve"),
    (keys_error({**ED25519, "x": ED25519["x"][:-3]}), f"{JWKS}keys[0] `x` "),
    (keys_error({**ES_JWK, "kid": 1}), f"{JWKS}keys[0] should have `kid` as a text"),
    (keys_error({**ES_JWK, "alg": 1}), f"{JWKS}keys[0] should have `alg` as a text"),
    (keys_error({**ES_JWK, "alg": "RS256"}), f"{NONE}: keys[0] has a type that its `alg` does not go with"),
    (keys_error({**RSA_JWK, "alg": "HS256"}), f"{NONE}: keys[0] has a type that its `alg` does not go with"),
    (keys_error({**RSA_JWK, "alg": "RSA-OAEP"}), f"{NONE}: keys[0] is for another algorithm"),
    (keys_error({**ES_JWK, "use": "enc"}), f"{NONE}: keys[0] is for another use than signatures"),
    (keys_error({**ES_JWK, "key_ops": "verify"}), f"{JWKS}keys[0] has `key_ops` that is no list of texts"),
    (keys_error({**ES_JWK, "key_ops": ["verify", "verify"]}), f"{JWKS}keys[0] has an operation twice in `key_ops`"),
    (keys_error({**ES_JWK, "key_ops": ["sign"]}), f"{NONE}: keys[0] is not for verifying"),
    (keys_error({"kty": "AKP"}), f"{NONE}: keys[0] has a type or curve"),
    (one(remote_jwks={"url": "https://x.example/"}), f"{ALICES}: should have either `jwks` or `remote_jwks`"),
    ({"remote_jwks": {}}, f"{AT}.remote_jwks: should have either `url` or `service_name`"),
    (
        {"remote_jwks": {"url": "https://x/", "service_name": "x"}},
        f"{AT}.remote_jwks: should have either `url` or `service_name`",
    ),
    (
        {"remote_jwks": {"service_name": "id.static"}},
        f"{AT}.remote_jwks: `service_name` is known to a gateway's registry only",
    ),
    ({"remote_jwks": {"url": "file:///etc/passwd"}}, f"{AT}.remote_jwks: `url` should be an http or https address"),
    ({"remote_jwks": {"url": "https://a:b@x.example/"}}, f"{AT}.remote_jwks: `url` should be an http or https address"),
    ({"remote_jwks": {"service_name": "x", "path": "jwks"}}, f"{AT}.remote_jwks: `path` should begin with /"),
    ({"jwks_cache_duration": 29}, f"{AT}.jwks_cache_duration: should be greater than or equal to 30"),
    ({"jwks_fetch_timeout": 10_001}, f"{AT}.jwks_fetch_timeout: should be less than or equal to 10000"),
    (one(algorithms=["none"]), f"{ALICES}.algorithms[0]: should be 'HS256'"),
    (
        one(claims_to_headers=[{"claim": "a", "header": "Authorization"}]),
        f"{ALICES}.claims_to_headers[0]: `header` should not be Authorization",
    ),
    (one(claims_to_headers=[{"claim": "a", "header": "x-jwt"}], from_headers=[{"name": "X-Jwt"}]), f"{AT}: {NO_CLAIM}"),
    (
        one(claims_to_headers=[{"claim": "a", "header": "a b"}]),
        f"{ALICES}.claims_to_headers[0]: 'a b' is not a header name",
    ),
    (one(from_headers=[{"name": "é"}]), f"{ALICES}.from_headers[0]: 'é' is not a header name"),
    (one(isuer="x"), f"{ALICES}.isuer: unknown key (did you mean 'issuer'?)"),
    (one(name="a\nb"), f"{ALICES}: a header value has a line break or a NUL"),
    ({"consumers": [ALICE, {**ALICE, "name": "bob"}]}, f"{AT}: consumers 'alice' and 'bob' have the same credential"),
    ({"enable_headers": ["a b"]}, f"{AT}: 'a b' is not a header name"),
    ({"realm": "a\nb"}, f"{AT}.realm: a header value has a line break or a NUL"),
]


@pytest.mark.parametrize(("config", "expected"), ERRORS)
def test_configuration_errors(config: dict[str, Any], expected: str) -> None:
    (problem,) = problems(config)
    assert problem.startswith(expected)
    assert HS.jwk()["k"] not in problem


def test_errors_of_declared_credentials() -> None:
    declared = [
        {"name": "alice", "credentials": {"jwt-auth": {"isuer": "x"}}},
        {"name": "bob", "credentials": {"jwt-auth": ["text", {"issuer": "y"}]}},
    ]
    assert problems({}, consumers=declared) == [
        "consumers: 'alice', credentials.jwt-auth[0].isuer: unknown key (did you mean 'issuer'?)",
        "consumers: 'bob', credentials.jwt-auth[0]: should be a valid dictionary or instance of Credential",
        "consumers: 'bob', credentials.jwt-auth[1] has no keys (jwks: env:JWKS, or remote_jwks: {url: https://...})",
    ]


def test_the_same_name_may_have_several_tokens() -> None:
    gated = Gated("jwt-auth", {"consumers": [ALICE, ALICE, {**ALICE, "issuer": "second"}]})
    assert outcome(gated, TOKEN) == outcome(gated, HS.token(iss="second")) == ["alice"]


def test_warnings(caplog: pytest.LogCaptureFixture) -> None:
    short = {"kty": "oct", "k": b64("my-secret-key").decode()}
    with caplog.at_level(logging.WARNING, "aigw_middleware"):
        Gated("jwt-auth", one(jwks=key_set(short, {"kty": "AKP"})))
        Gated("jwt-auth", {"remote_jwks": {"url": "http://id.example.com/keys"}})
    text = caplog.text
    assert "consumers[0] has a shared secret of less than 32 bytes: it can be guessed" in text
    assert "of the keys of consumers[0], keys[1] has a type or curve that no supported algorithm uses" in text
    assert "the plug-in fetches keys without TLS" in text
    assert "my-secret-key" not in text


def test_a_missing_library_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("joserfc"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert problems(one()) == [
        "plugins[0].config: jwt-auth needs joserfc, which is missing (pip install 'aigw-middleware[jwt]')"
    ]
