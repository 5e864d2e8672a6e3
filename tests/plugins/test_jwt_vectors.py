"""jwt-auth: examples of the RFCs and of a compatible gateway."""

import json
from pathlib import Path
from typing import Any

import pytest

from aigw_middleware import Gateway
from aigw_middleware.plugins.auth.jwt.encoding import base64url
from aigw_middleware.plugins.auth.jwt.key_set import read_key_set
from aigw_middleware.plugins.auth.jwt.token import HeaderCache, MalformedToken, Token
from aigw_middleware.testing.clock import VirtualClock
from tests.plugins.jwt_case import EXPIRED, INVALID, MISSING, outcome
from tests.plugins.service import Gated
from tests.plugins.tokens import ISSUER, NOW, Signer, key_set, signer

VECTORS: dict[str, Any] = json.loads(Path(__file__).parents[1].joinpath("data", "jose_vectors.json").read_text())


def named(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["source"] for vector in vectors])


@named(VECTORS["tokens"])
def test_tokens_of_rfc_7515(vector: dict[str, Any]) -> None:
    consumer = {"name": "joe", "issuer": "joe", "jwks": key_set(vector["key"])}
    gated = Gated("jwt-auth", {"consumers": [consumer]})
    assert outcome(gated, vector["token"]) == EXPIRED  # which is told after the signature was found good
    for claims, expected in (({}, ["joe"]), ({"http://example.com/is_root": True}, ["joe"]), ({"x": True}, INVALID)):
        config = {"plugins": [{"name": "jwt-auth", "config": {"consumers": [{**consumer, "claims": claims}]}}]}
        gated.gateway = Gateway(gated.service, config, clock=VirtualClock(1_300_819_379))
        assert outcome(gated, vector["token"]) == expected
    for other in VECTORS["tokens"]:
        if other is not vector:
            with_other = {"consumers": [{**consumer, "jwks": key_set(other["key"])}]}
            assert outcome(Gated("jwt-auth", with_other), vector["token"]) == INVALID


@named(VECTORS["signatures"])
def test_signatures_of_rfc_7520_and_8037(vector: dict[str, Any]) -> None:
    keys = read_key_set(key_set(vector["key"], signer("ES256").jwk()).encode())
    message, _, signature = vector["compact"].encode().rpartition(b".")
    (key,) = keys.candidates(vector["algorithm"], vector["key"].get("kid"))
    assert key.verify(vector["algorithm"], message, base64url(signature))
    assert not key.verify(vector["algorithm"], message + b"A", base64url(signature))
    with pytest.raises(MalformedToken):  # what was signed is prose, and no claims
        Token(vector["compact"].encode(), HeaderCache())


@pytest.mark.parametrize("someone", [signer("ES256", "p256"), signer("RS256", "rsa")], ids=["EC", "RSA"])
def test_a_configuration_of_a_compatible_gateway_loads_unchanged(someone: Signer) -> None:
    same = {"issuer": ISSUER, "jwks": key_set(signer("ES256", "p256").jwk(), signer("RS256", "rsa").jwk())}
    consumers = [
        {"name": "consumer1", **same},
        {"name": "consumer_header", **same, "from_headers": [{"name": "jwt", "value_prefix": "Bearer "}]},
        {"name": "consumer_params", **same, "from_params": ["jwt_token"]},
        {"name": "consumer_cookies", **same, "from_cookies": ["jwt_token"]},
    ]
    rules = [{"_match_domain_": ["foo.com"], "allow": [consumer["name"] for consumer in consumers]}]
    gated = Gated("jwt-auth", {"consumers": consumers, "global_auth": False, "_rules_": rules})
    token = someone.token({"kid": None}, aud=["foo", "bar"], nbf=NOW)
    assert outcome(gated, host="foo.com") == MISSING
    assert outcome(gated, token, host="foo.com") == ["consumer1"]
    assert outcome(gated, path=f"/?access_token={token}", host="foo.com") == ["consumer1"]
    assert outcome(gated, host="foo.com", jwt=f"Bearer {token}") == ["consumer_header"]
    assert outcome(gated, path=f"/?jwt_token={token}", host="foo.com") == ["consumer_params"]
    assert outcome(gated, host="foo.com", cookie=f"jwt_token={token}") == ["consumer_cookies"]
    assert outcome(gated, host="elsewhere.com") == []


def test_a_shared_secret_of_a_compatible_gateways_manual() -> None:
    vector = VECTORS["manual"]
    gated = Gated("jwt-auth", {"consumers": [{"name": "consumer1", "issuer": "abcd", "jwks": key_set(vector["key"])}]})
    assert outcome(gated, vector["token"]) == ["consumer1"]
