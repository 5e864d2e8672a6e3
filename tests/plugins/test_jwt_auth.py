"""jwt-auth: which tokens are good, whose they are, what the service and the caller are told, what is refused at load."""

import asyncio
import builtins
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from aigw_middleware import ConfigError, Gateway, JwtAuth
from aigw_middleware.exchange import Refusal
from aigw_middleware.plugins.auth import jwt_auth
from aigw_middleware.plugins.auth.jwt_encoding import base64url
from aigw_middleware.plugins.auth.jwt_key_set import read_key_set
from aigw_middleware.plugins.auth.jwt_keys import KeySet
from aigw_middleware.plugins.auth.jwt_rules import canonical, field_value
from aigw_middleware.plugins.auth.jwt_token import HeaderCache, MalformedToken, Token
from aigw_middleware.plugins.auth.jwt_verdicts import Verdict, Verdicts
from aigw_middleware.testing.clock import VirtualClock
from tests.plugins.service import Gated, Service
from tests.plugins.tokens import ISSUER, NOW, Signer, b64, key_set, signer

MISSING, INVALID = (401, "jwt_is_missing"), (401, "jwt_verification_fails")
EXPIRED, EARLY = (401, "jwt_is_expired"), (401, "jwt_not_yet_valid")
DENIED, SCOPE = (403, "access_denied"), (403, "insufficient_scope")
ALL = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
ALL += ["EdDSA", "Ed25519", "Ed448"]
KEYS = key_set(signer("HS256").jwk())
ALICE = {"name": "alice", "issuer": ISSUER, "jwks": KEYS}
TOKEN = signer("HS256").token()


def one(**changes: Any) -> dict[str, Any]:
    """A configuration with one consumer, alice, and changes to her credential."""
    return {"consumers": [{**ALICE, **changes}]}


def outcome(gated: Gated, token: str | None = None, path: str = "/", **headers: str) -> object:
    """Whom the service was told of; or status and code of the refusal, and that the service was not asked."""
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if token is not None:
        fields.append(("authorization", f"Bearer {token}"))
    before = gated.service.calls
    exchange = gated.ask("GET", path, fields)
    if exchange.status == 200:
        return gated.service.header("x-mse-consumer")
    assert gated.service.calls == before
    return exchange.status, exchange.json()["code"]


def problems(config: Mapping[str, Any], **top: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "jwt-auth", "config": dict(config)}], **top})
    return [str(problem) for problem in caught.value.problems]


def verified(keys: KeySet, token: str) -> bool:
    """Whether one of the keys has signed it, whatever it says."""
    headers = HeaderCache()
    return Token(token.encode(), headers).verified(keys, headers) is not None


# ---------------------------------------------------------------------- algorithms and keys


@pytest.mark.parametrize("algorithm", ALL)
def test_each_algorithm_with_its_own_key(algorithm: str) -> None:
    someone = signer(algorithm, "k1")
    for jwk in (someone.jwk(), someone.jwk(alg=algorithm, use="sig", key_ops=["verify"]), someone.jwk(kid=None)):
        gated = Gated("jwt-auth", one(jwks=key_set(jwk)))
        assert outcome(gated, someone.token()) == ["alice"]
        assert outcome(gated, someone.token({"kid": None})) == ["alice"]
        message, _, signature = someone.token().rpartition(".")
        broken = bytearray(base64url(signature.encode()))
        broken[len(broken) // 2] ^= 1
        assert outcome(gated, f"{message}.{b64(bytes(broken)).decode()}") == INVALID
        assert outcome(gated, f"{message}.") == INVALID


def test_a_key_verifies_nothing_but_what_it_is_for() -> None:
    for named in ALL:
        key = signer(named)
        own = {"HS": ALL[:3], "RS": ALL[3:9], "PS": ALL[3:9]}.get(named[:2], [named])
        if named in ("EdDSA", "Ed25519"):
            own = ["EdDSA", "Ed25519"]
        if named == "Ed448":
            own = ["EdDSA", "Ed448"]
        keys = read_key_set(key_set(key.jwk()).encode())
        assert sorted(name for name in ALL if keys.candidates(name, None)) == sorted(own)
        narrow = read_key_set(key_set(key.jwk(alg=named)).encode())
        assert [name for name in ALL if narrow.candidates(name, None)] == [named]


def _forged(header: dict[str, Any] | bytes, secret: bytes) -> str:
    """A token of alice's whose MAC is made with `secret`."""
    import hmac

    claims = {"iss": ISSUER, "sub": "alice", "exp": NOW + 60}
    message = b64(header) + b"." + b64(claims)
    digest = str((header if isinstance(header, dict) else {}).get("alg", "")).endswith("512") and "sha512" or "sha256"
    return (message + b"." + b64(hmac.digest(secret, message, digest))).decode()


def _public_forms(algorithm: str) -> list[bytes]:
    """Everything of a public key that somebody might take for a shared secret."""
    someone = signer(algorithm, "k1")
    public = type(someone.key).import_key(someone.jwk())
    pem = public.as_pem(private=False)
    jwk = json.dumps(someone.jwk())
    return [
        pem,
        pem.strip(),
        public.as_der(),
        jwk.encode(),
        someone.jwk().get("n", someone.jwk().get("x", "")).encode(),
    ]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_no_shared_secret(algorithm: str) -> None:
    gated = Gated("jwt-auth", one(jwks=key_set(signer(algorithm, "k1").jwk())))
    for secret in _public_forms(algorithm):
        for name in ("HS256", "HS512"):
            for kid in ("k1", None):
                header = {"alg": name, **({"kid": kid} if kid else {})}
                assert outcome(gated, _forged(header, secret)) == INVALID


NONES = [
    "none",
    "None",
    "NONE",
    "nOnE",
    "noNe",
    "none ",
    " none",
    "none\0",
    "",
    "null",
    "ｎｏｎｅ",
    None,
    False,
    0,
    [],
    {},
]


@pytest.mark.parametrize("spelling", NONES)
def test_no_signature_is_no_signature(spelling: object) -> None:
    gated = Gated("jwt-auth", one())
    claims = b64({"iss": ISSUER, "sub": "alice"}).decode()
    header = b64({"alg": spelling}).decode()
    signature = TOKEN.rpartition(".")[2]
    for token in (
        f"{header}.{claims}.",
        f"{header}.{claims}",
        f"{header}.{claims}.{signature}",
        f"{header}.{claims}.AA",
    ):
        assert outcome(gated, token) == INVALID


HS = signer("HS256")
ES = signer("ES256", "k1")
GOOD_CLAIMS = json.dumps({"iss": ISSUER, "sub": "alice"})
ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "alg is missing": (HS.jwk(), HS.token({"alg": None})),
    "alg in another case": (HS.jwk(), HS.token({"alg": "hs256"})),
    "alg of another size": (HS.jwk(), HS.token({"alg": "HS512"})),
    "alg of encryption": (HS.jwk(), HS.token({"alg": "dir", "enc": "A128GCM"})),
    "a curve that ES256 has not": (signer("ES384", "k1").jwk(), signer("ES384", "k1").token({"alg": "ES256"})),
    "ES384 by a key of P-256": (ES.jwk(), ES.token({"alg": "ES384"})),
    "PS256 for RS256": (signer("RS256").jwk(alg="RS256"), signer("PS256").token()),
    "the key's alg is another": (HS.jwk(alg="HS384"), HS.token()),
    "the key is for encryption": (HS.jwk(use="enc"), HS.token()),
    "the key only signs": (HS.jwk(key_ops=["sign"]), HS.token()),
    "the key has another id": (ES.jwk(kid="k2"), ES.token()),
    "the id is no text": (HS.jwk(), HS.token({"kid": 1})),
    "its own key is in it": (ES.jwk(), signer("ES256", "evil").token({"jwk": signer("ES256", "evil").jwk(), "kid": "k1"})),
    "its key's address is in it": (ES.jwk(), signer("ES256", "evil").token({"jku": "https://evil.example", "kid": "k1"})),
    "its certificate's address is in it": (ES.jwk(), signer("ES256", "e").token({"x5u": "https://evil.example", "kid": "k1"})),
    "its certificate is in it": (ES.jwk(), signer("ES256", "e").token({"x5c": ["MIIB"], "kid": "k1"})),
    "crit that nobody knows": (HS.jwk(), HS.token({"crit": ["exp"], "exp": 1})),
    "crit with b64": (HS.jwk(), HS.token({"crit": ["b64"], "b64": True})),
    "crit that is empty": (HS.jwk(), HS.token({"crit": []})),
    "crit that is null": (HS.jwk(), HS.raw('{"alg":"HS256","crit":null}', GOOD_CLAIMS)),
    "a payload that is not encoded": (HS.jwk(), HS.token({"b64": False})),
    "typ that is no text": (HS.jwk(), HS.token({"typ": 1})),
    "a name twice in the header": (HS.jwk(), HS.raw('{"alg":"HS256","alg":"HS256"}', GOOD_CLAIMS)),
    "a name twice, once escaped": (HS.jwk(), HS.raw('{"alg":"HS256","\\u0061lg":"none"}', GOOD_CLAIMS)),
    "a name twice in the payload": (HS.jwk(), HS.raw(HS.header(), f'{{"sub":"bob",{GOOD_CLAIMS[1:]}')),
    "a name twice inside": (HS.jwk(), HS.raw(HS.header(), GOOD_CLAIMS[:-1] + ',"a":{"b":1,"b":1}}')),
    "the header is no object": (HS.jwk(), HS.raw('["alg"]', GOOD_CLAIMS)),
    "the header is no JSON": (HS.jwk(), HS.raw("alg=HS256", GOOD_CLAIMS)),
    "the header is not UTF-8": (HS.jwk(), HS.raw(b'{"alg":"HS256","x":"\xff"}', GOOD_CLAIMS)),
    "the header has a byte order mark": (HS.jwk(), HS.raw("\ufeff" + json.dumps(HS.header()), GOOD_CLAIMS)),
    "the payload is no object": (HS.jwk(), HS.raw(HS.header(), '"alice"')),
    "the payload is no JSON": (HS.jwk(), HS.raw(HS.header(), "alice")),
    "the payload is empty": (HS.jwk(), HS.raw(HS.header(), b"")),
    "the payload has more behind it": (HS.jwk(), HS.raw(HS.header(), GOOD_CLAIMS + "{}")),
    "the payload is a bomb of lists": (HS.jwk(), HS.raw(HS.header(), '{"a":' + "[" * 5_000 + "]" * 5_000 + "}")),
    "the payload has a number of 5,000 digits": (HS.jwk(), HS.raw(HS.header(), GOOD_CLAIMS[:-1] + ',"exp":' + "9" * 5_000 + "}")),
    "the issuer is no text": (HS.jwk(), HS.token(iss=[ISSUER])),
    "another issuer": (HS.jwk(), HS.token(iss=ISSUER + "/")),
    "no issuer": (HS.jwk(), HS.token(iss=None)),
    "the subject is no text": (HS.jwk(), HS.token(sub=1)),
    "the audience is no text": (HS.jwk(), HS.token(aud=1)),
    "an audience is no text": (HS.jwk(), HS.token(aud=["a", 1])),
    "the id is a number": (HS.jwk(), HS.token(jti=1)),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks(attack: str) -> None:
    jwk, token = ATTACKS[attack]
    spare = signer("ES512", "spare").jwk()  # a configuration without any key for signatures is refused at load
    assert outcome(Gated("jwt-auth", one(jwks=key_set(jwk, spare))), token) == INVALID


def test_what_a_header_may_say_besides() -> None:
    gated = Gated("jwt-auth", one())
    for typ in ("JWT", "jwt", "at+jwt", "application/at+jwt"):
        assert outcome(gated, HS.token({"typ": typ})) == ["alice"]
    for extra in ({"jku": "https://evil.example"}, {"x5c": ["MIIB"]}, {"jwk": ES.jwk()}, {"b64": True}, {"nonce": 1}):
        assert outcome(gated, HS.token(extra)) == ["alice"]
    assert outcome(gated, HS.token({"kid": "unknown"})) == ["alice"]  # the key has no id


@pytest.mark.parametrize(
    "spelled",
    [
        "{}=",
        "{}==",
        "{} ",
        "{}\t",
        "{}.",
        ".{}",
        "{}.{}",
        "{}%00",
        "{}%0a",
        "{}~",
        "{},{}",
        '"{}"',
        "é{}",
        "{}A",
        "{}AAA",
    ],
)
def test_one_spelling_only(spelled: str) -> None:
    gated = Gated("jwt-auth", one())
    assert outcome(gated, path="/?access_token=" + TOKEN) == ["alice"]
    assert outcome(gated, path="/?access_token=" + spelled.replace("{}", TOKEN).replace(" ", "%20")) == INVALID


def test_every_segment_is_canonical() -> None:
    head, payload, signature = TOKEN.split(".")
    gated = Gated("jwt-auth", one())
    for segments in (
        (head + "=", payload, signature),
        (head, payload + "==", signature),
        (head, payload, signature + "="),
        (head, payload, signature[:-1] + chr(ord(signature[-1]) + 1)),  # bits that encode nothing
        (head, payload[:5] + " " + payload[5:], signature),
        (head, payload[:5] + "\n" + payload[5:], signature),
        (" " + head, payload, signature),
    ):
        token = ".".join(segments)
        assert outcome(gated, path="/?access_token=" + token.replace(" ", "%20").replace("\n", "%0A")) == INVALID
    for text in (
        b"A",
        b"AB",
        b"AAB",
        b"AA==",
        b"A+",
        b"A/",
        b"AA\n",
        b"A A",
        b"AAAAA",
        b"\xc3\xa9",
        b"AA%",
        b"Zh",
        b"Zm9=",
    ):
        with pytest.raises(ValueError, match="not base64url"):
            base64url(text)
    assert base64url(b"") == b""
    assert base64url(b"_-8") == b"\xff\xef"


@given(st.binary(max_size=70))
def test_base64url_round_trip(data: bytes) -> None:
    assert base64url(b64(data)) == data


@given(st.text("AB-_+/=. \n", max_size=9).map(str.encode))
def test_what_is_read_is_written_the_same(text: bytes) -> None:
    try:
        data = base64url(text)
    except ValueError:
        return
    assert b64(data) == text


BITS = {name: signer(name, "k1").token() for name in ("HS256", "RS256", "PS256", "ES256", "EdDSA")}
BIT_KEYS = {name: read_key_set(key_set(signer(name, "k1").jwk()).encode()) for name in BITS}


@settings(max_examples=300)
@given(st.sampled_from(sorted(BITS)), st.data())
def test_a_token_with_any_bit_changed_is_refused(name: str, data: st.DataObject) -> None:
    token, keys = BITS[name], BIT_KEYS[name]
    assert verified(keys, token)
    changed = bytearray(token.encode())
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    headers = HeaderCache()
    try:
        claims = Token(bytes(changed), headers).verified(keys, headers)
    except MalformedToken:
        return
    assert claims is None


def test_every_bit_of_one_token() -> None:
    keys = BIT_KEYS["HS256"]
    text = BITS["HS256"].encode()
    headers = HeaderCache()
    assert Token(text, headers).verified(keys, headers)  # its header is remembered from now on
    good = 0
    for bit in range(8 * len(text)):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            good += Token(bytes(changed), headers).verified(keys, headers) is not None
        except MalformedToken:
            continue
    assert good == 0


@given(st.one_of(st.binary(max_size=80), st.text('ey.J-_A0{}" ', max_size=60).map(str.encode)))
def test_no_bytes_raise_anything_else(text: bytes) -> None:
    try:
        Token(text, HeaderCache())
    except MalformedToken:
        return


@given(st.dictionaries(st.text(max_size=5), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8)))  # fmt: skip
def test_any_claims_become_a_header_or_none(values: dict[str, Any]) -> None:
    for value in values.values():
        field = field_value(value)
        assert field is None or not set(field) & {0, 10, 13}
        if field is not None and isinstance(value, (list, dict)):
            assert json.loads(field) == value
        assert canonical(value) == canonical(json.loads(json.dumps(value)))


# ---------------------------------------------------------------------- published vectors

JOE = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
JOE_KEYS = {
    "7515 A.1": {"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
    "7515 A.2": {"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
    "7515 A.3": {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
}  # fmt: skip
JOE_TOKENS = {
    "7515 A.1": f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    "7515 A.2": f"eyJhbGciOiJSUzI1NiJ9.{JOE}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    "7515 A.3": f"eyJhbGciOiJFUzI1NiJ9.{JOE}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
}  # fmt: skip


@pytest.mark.parametrize("name", JOE_TOKENS)
def test_tokens_of_rfc_7515(name: str) -> None:
    config = {"consumers": [{"name": "joe", "issuer": "joe", "jwks": key_set(JOE_KEYS[name])}]}
    gated = Gated("jwt-auth", config)
    assert outcome(gated, JOE_TOKENS[name]) == EXPIRED  # which is told after the signature was found good
    gated.gateway = Gateway(gated.service, gated.config, clock=VirtualClock(1_300_819_379))
    assert outcome(gated, JOE_TOKENS[name]) == ["joe"]
    claim = {"consumers": [{**config["consumers"][0], "claims": {"http://example.com/is_root": True}}]}
    gated.gateway = Gateway(
        gated.service, {"plugins": [{"name": "jwt-auth", "config": claim}]}, clock=VirtualClock(1_300_819_379)
    )
    assert outcome(gated, JOE_TOKENS[name]) == ["joe"]
    for other in set(JOE_KEYS) - {name}:
        with_other = {"consumers": [{"name": "joe", "issuer": "joe", "jwks": key_set(JOE_KEYS[other])}]}
        assert outcome(Gated("jwt-auth", with_other), JOE_TOKENS[name]) == INVALID


FRODO = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"  # noqa: E501
BILBO = "bilbo.baggins@hobbiton.example"
BILBO_RSA = {"kty": "RSA", "kid": BILBO, "use": "sig", "e": "AQAB", "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"}  # fmt: skip # noqa: E501
COOKBOOK: list[tuple[str, dict[str, Any], str, str]] = [
    ("RS256", BILBO_RSA, "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9", "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"),
    ("PS384", BILBO_RSA, "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9", "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"),
    ("ES512", {"kty": "EC", "kid": BILBO, "use": "sig", "crv": "P-521", "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt", "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"}, "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9", "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2"),
    ("HS256", {"kty": "oct", "kid": "018c0ae5-4d9b-471b-bfd6-eef314bc7037", "use": "sig", "alg": "HS256", "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"}, "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9", "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"),
]  # fmt: skip
ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


@pytest.mark.parametrize(("algorithm", "jwk", "header", "signature"), COOKBOOK)
def test_signatures_of_rfc_7520(algorithm: str, jwk: dict[str, Any], header: str, signature: str) -> None:
    keys = read_key_set(key_set(*(key for _, key, _, _ in COOKBOOK[1:]), signer("ES256").jwk()).encode())
    (key,) = (key for key in keys.candidates(algorithm, jwk["kid"]) if key.kid is not None)
    message = f"{header}.{FRODO}".encode()
    assert key.verify(algorithm, message, base64url(signature.encode()))
    assert not key.verify(algorithm, message + b"A", base64url(signature.encode()))
    with pytest.raises(MalformedToken):  # which is prose, and no token
        Token(message + b"." + signature.encode(), HeaderCache())


def test_the_signature_of_rfc_8037() -> None:
    message, _, signature = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR"
        "4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    ).rpartition(".")
    (key,) = read_key_set(key_set(ED25519).encode()).candidates("EdDSA", None)
    assert key.verify("EdDSA", message.encode(), base64url(signature.encode()))
    assert not key.verify("EdDSA", message.encode() + b"A", base64url(signature.encode()))


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
    jwk = {"kty": "oct", "kid": "123", "alg": "HS256", "k": "hM0k3AbXBPpKOGg__Ql2Obcq7s60myWDpbHXzgKUQdYo7YCRp0gUqkCnbGSvZ2rGEl4YFkKqIqW7mTHdj-bcqXpNr-NOznEyMpVPOIlqG_NWVC3dydBgcsIZIdD-MR2AQceEaxriPA_VmiUCwfwL2Bhs6_i7eolXoY11EapLQtutz0BV6ZxQQ4dYUmct--7PLNb4BWJyQeWu0QfbIthnvhYllyl2dgeLTEJT58wzFz5HeNMNz8ohY5K0XaKAe5cepryqoXLhA-V-O1OjSG8lCNdKS09OY6O0fkyweKEtuDfien5tHHSsHXoAxYEHPFcSRL4bFPLZ0orTt1_4zpyfew"}  # fmt: skip # noqa: E501
    token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IjEyMyJ9.eyJpc3MiOiJhYmNkIiwic3ViIjoidGVzdCIsImlhdCI6MTY2NTY2MDUyNywiZXhwIjoxODY1NjczODE5fQ.-vBSV0bKeDwQcuS6eeSZN9dLTUnSnZVk8eVCXdooCQ4"  # noqa: E501
    gated = Gated("jwt-auth", {"consumers": [{"name": "consumer1", "issuer": "abcd", "jwks": key_set(jwk)}]})
    assert outcome(gated, token) == ["consumer1"]


# ---------------------------------------------------------------------- dates


@pytest.mark.parametrize(
    ("claims", "config", "expected"),
    [
        ({"exp": NOW + 1}, {}, ["alice"]),
        ({"exp": NOW - 59}, {}, ["alice"]),
        ({"exp": NOW - 60}, {}, EXPIRED),  # on or after, says RFC 7519
        ({"exp": NOW - 1}, {"clock_skew_seconds": 0}, EXPIRED),
        ({"exp": NOW}, {"clock_skew_seconds": 0}, EXPIRED),
        ({"exp": NOW + 0.5}, {"clock_skew_seconds": 0}, ["alice"]),
        ({"exp": 0}, {}, EXPIRED),
        ({"exp": None}, {}, ["alice"]),
        ({"exp": None}, {"require_exp": True}, INVALID),
        ({"exp": NOW + 1}, {"require_exp": True}, ["alice"]),
        ({"nbf": NOW + 60}, {}, ["alice"]),
        ({"nbf": NOW + 61}, {}, EARLY),
        ({"nbf": 0}, {}, ["alice"]),
        ({"iat": NOW + 61}, {}, EARLY),
        ({"iat": NOW + 1}, {"clockSkewSeconds": 0}, EARLY),
        ({"iat": None}, {}, ["alice"]),
        ({"exp": 253_402_300_799}, {}, ["alice"]),
        *(
            ({name: value}, {}, INVALID)
            for name in ("exp", "nbf", "iat")
            for value in (
                str(NOW + 60),
                "",
                True,
                False,
                [],
                [NOW],
                {},
                -1,
                1e300,
                (NOW + 60) * 1_000,
                10**30,
                -(10**30),
            )
        ),
    ],
)
def test_dates(claims: dict[str, Any], config: dict[str, Any], expected: object) -> None:
    gated = Gated("jwt-auth", one(**config))
    token = HS.token(**claims)
    assert outcome(gated, token) == expected
    assert outcome(gated, token) == expected


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "null", "0x10", "1_0", "+1", "01"]
)
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_numbers_that_are_none(name: str, number: str) -> None:
    gated = Gated("jwt-auth", one())
    assert outcome(gated, HS.raw(HS.header(), f'{GOOD_CLAIMS[:-1]},"{name}":{number}}}')) == INVALID


def test_a_remembered_token_ages() -> None:
    gated = Gated("jwt-auth", one(clock_skew_seconds=10))
    token = HS.token(exp=NOW + 100, nbf=NOW + 5)
    assert outcome(gated, token) == ["alice"]
    gated.clock.advance(109)
    assert outcome(gated, token) == ["alice"]
    gated.clock.advance(1)
    assert outcome(gated, token) == EXPIRED


# ---------------------------------------------------------------------- remembered tokens


def plugin_of(gated: Gated) -> Any:
    (plugin,) = gated.gateway.core.snapshot.plugins
    return plugin


def count_judgements(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is verified from now on."""
    verifier = type(plugin_of(gated)._verifier)
    judged: list[bytes] = []
    original = verifier.judge

    def judge(self: Any, text: bytes, *arguments: Any, **options: Any) -> Any:
        judged.append(text)
        return original(self, text, *arguments, **options)

    monkeypatch.setattr(verifier, "judge", judge)
    return judged


def test_only_good_tokens_are_remembered_for_300_seconds_and_no_longer_than_they_are_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gated = Gated("jwt-auth", one())
    judged = count_judgements(gated, monkeypatch)
    long, short = HS.token(), HS.token(exp=NOW + 100)
    for _ in range(3):
        assert outcome(gated, long) == outcome(gated, short) == ["alice"]
    assert len(judged) == 2
    for bad in (HS.token(exp=NOW - 60), HS.token(iss="x"), signer("HS256", "other").token()):
        judged.clear()
        assert outcome(gated, bad) == outcome(gated, bad) != ["alice"]
        assert len(judged) == 2
    judged.clear()
    gated.clock.advance(99)
    assert outcome(gated, short) == ["alice"]
    assert not judged
    gated.clock.advance(1)
    assert outcome(gated, short) == ["alice"]  # within the tolerance, but looked at again
    gated.clock.advance(199)
    assert outcome(gated, long) == ["alice"]
    assert len(judged) == 1
    gated.clock.advance(1)
    assert outcome(gated, long) == ["alice"]
    assert len(judged) == 2


def test_a_clock_that_is_set_back_makes_tokens_be_looked_at_again() -> None:
    gated = Gated("jwt-auth", one(clock_skew_seconds=0))
    token = HS.token(iat=NOW + 50)
    gated.clock.advance(60)
    plugin = plugin_of(gated)
    assert outcome(gated, token) == ["alice"]
    gated.clock._elapsed = 40 * 10**9
    assert outcome(gated, token) == EARLY
    assert len(plugin._verifier.verdicts) == 1


def test_tokens_with_one_beginning_are_told_apart() -> None:
    consumers = [{**ALICE, "name": name, "claims": {"sub": name}} for name in ("alice", "bob")]
    gated = Gated("jwt-auth", {"consumers": consumers})
    filler = {"a": "x" * 2_000, "iss": ISSUER}
    alice, bob = (HS.raw(HS.header(), {**filler, "sub": name}) for name in ("alice", "bob"))
    assert alice[:2_000] == bob[:2_000]
    for _ in range(2):
        assert outcome(gated, alice) == ["alice"]
        assert outcome(gated, bob) == ["bob"]
    swapped = alice.rpartition(".")[0] + "." + bob.rpartition(".")[2]
    assert outcome(gated, swapped) == INVALID


def test_the_memory_of_tokens_is_bounded_and_holds_none_of_them() -> None:
    verdicts = Verdicts(10)
    verdict = Verdict((), 0, 1, [])
    for number in range(100):
        verdicts.keep(b"%d" % number, verdict)
        assert verdicts.get(b"0") is verdict  # asked for again and again, it stays
        assert len(verdicts) <= 10
    assert verdicts.get(b"99") is verdict
    assert verdicts.get(b"50") is None
    gated = Gated("jwt-auth", one())
    assert outcome(gated, TOKEN) == ["alice"]
    (digest,) = plugin_of(gated)._verifier.verdicts._young
    assert len(digest) == 32
    assert digest not in TOKEN.encode()


def test_tokens_of_an_older_configuration_are_not_remembered() -> None:
    gated = Gated("jwt-auth", one())
    assert outcome(gated, TOKEN) == ["alice"]
    core = gated.gateway.core
    core.source._given = {"plugins": [{"name": "jwt-auth", "config": one(claims={"sub": "bob"})}]}
    gated.gateway.reload()
    assert outcome(gated, TOKEN) == INVALID


def test_long_tokens_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    from aigw_middleware.plugins.auth import jwt_verifier

    gated = Gated("jwt-auth", {**one(), "max_token_bytes": len(TOKEN)})
    assert outcome(gated, TOKEN) == ["alice"]

    def never(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(jwt_verifier, "Token", never)
    monkeypatch.setattr(jwt_verifier, "sha256", never)
    assert outcome(gated, TOKEN + "A") == INVALID


# ---------------------------------------------------------------------- whose token it is


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
            **dict.fromkeys(headers, []),
            **left,
        }


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


# ---------------------------------------------------------------------- configuration errors


def keys_error(*keys: dict[str, Any]) -> dict[str, Any]:
    return one(jwks=key_set(*keys))


ES_JWK = signer("ES256", "k1").jwk()
RSA_JWK = signer("RS256").jwk()
JWKS = "plugins[0].config: consumers[0].jwks "
SMALL = b64(((1 << 1_023) + 1).to_bytes(128, "big")).decode()
ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"consumers": [{"name": "alice"}]}, "plugins[0].config: consumers[0] has no keys (jwks: env:JWKS, or remote_jwks: {url: https://...})"),
    (one(jwks="{"), f"{JWKS}is not a JWK Set: not valid JSON: "),
    (one(jwks="[]"), f"{JWKS}is not a JWK Set: not a JSON object"),
    (one(jwks='{"keys":[],"keys":[]}'), f"{JWKS}is not a JWK Set: a member name occurs twice"),
    (one(jwks="{}"), f"{JWKS}should have a list `keys` of at most 100 keys"),
    (one(jwks=key_set(*[ES_JWK] * 101)), f"{JWKS}should have a list `keys` of at most 100 keys"),
    (keys_error(), f"{JWKS}has no key that verifies signatures"),
    (one(jwks='{"keys":[1]}'), f"{JWKS}keys[0] should be an object"),
    (keys_error({}), f"{JWKS}keys[0] should have `kty` as a text"),
    (keys_error({"kty": "oct"}), f"{JWKS}keys[0] should have `k` as a text"),
    (keys_error({"kty": "oct", "k": ""}), f"{JWKS}keys[0] `k` has not the length it should have"),
    (keys_error({"kty": "oct", "k": "a+b="}), f"{JWKS}keys[0] `k`: not base64url"),
    (keys_error({"kty": "oct", "k": "éé"}), f"{JWKS}keys[0] `k`: not base64url"),
    (keys_error({"kty": "oct", "k": b64("-----BEGIN PUBLIC KEY-----\nMFkw").decode()}), f"{JWKS}keys[0] has a public or private key as its shared secret"),
    (keys_error({"kty": "oct", "k": b64("ssh-ed25519 AAAA").decode()}), f"{JWKS}keys[0] has a public or private key as its shared secret"),
    (keys_error({**RSA_JWK, "n": SMALL}), f"{JWKS}keys[0] should have a modulus of 2048 to 8192 bits (RFC 7518, section 3.3)"),
    (keys_error({**RSA_JWK, "e": "AQ"}), f"{JWKS}keys[0] has a modulus or an exponent that no RSA key has"),
    (keys_error({**RSA_JWK, "e": "Ag"}), f"{JWKS}keys[0] has a modulus or an exponent that no RSA key has"),
    (keys_error({**ES_JWK, "x": ES_JWK["y"]}), f"{JWKS}keys[0] is not a point of its curve"),
    (keys_error({**ES_JWK, "x": ES_JWK["x"][:-3]}), f"{JWKS}keys[0] `x` "),
    (keys_error({**ES_JWK, "crv": "P-384"}), f"{JWKS}keys[0] `x` has not the length it should have"),
    (keys_error({**ES_JWK, "crv": "secp256k1"}), f"{JWKS}has no key that verifies signatures: keys[0] has a type or curve that no supported algorithm uses"),
    (keys_error({"kty": "OKP", "crv": "X25519", "x": ED25519["x"]}), f"{JWKS}has no key that verifies signatures: keys[0] has a type or curve"),
    (keys_error({**ED25519, "x": ED25519["x"][:-3]}), f"{JWKS}keys[0] `x` "),
    (keys_error({**ES_JWK, "kid": 1}), f"{JWKS}keys[0] should have `kid` as a text"),
    (keys_error({**ES_JWK, "alg": 1}), f"{JWKS}keys[0] should have `alg` as a text"),
    (keys_error({**ES_JWK, "alg": "RS256"}), f"{JWKS}has no key that verifies signatures: keys[0] has a type that its `alg` does not go with"),
    (keys_error({**RSA_JWK, "alg": "HS256"}), f"{JWKS}has no key that verifies signatures: keys[0] has a type that its `alg` does not go with"),
    (keys_error({**RSA_JWK, "alg": "RSA-OAEP"}), f"{JWKS}has no key that verifies signatures: keys[0] is for another algorithm"),
    (keys_error({**ES_JWK, "use": "enc"}), f"{JWKS}has no key that verifies signatures: keys[0] is for another use than signatures"),
    (keys_error({**ES_JWK, "key_ops": "verify"}), f"{JWKS}keys[0] has `key_ops` that is no list of texts"),
    (keys_error({**ES_JWK, "key_ops": ["verify", "verify"]}), f"{JWKS}keys[0] has an operation twice in `key_ops`"),
    (keys_error({**ES_JWK, "key_ops": ["sign"]}), f"{JWKS}has no key that verifies signatures: keys[0] is not for verifying"),
    (keys_error({"kty": "AKP"}), f"{JWKS}has no key that verifies signatures: keys[0] has a type or curve"),
    (one(remote_jwks={"url": "https://x.example/"}), "plugins[0].config.consumers[0]: should have either `jwks` or `remote_jwks`"),
    ({"remote_jwks": {}}, "plugins[0].config.remote_jwks: should have either `url` or `service_name`"),
    ({"remote_jwks": {"url": "https://x/", "service_name": "x"}}, "plugins[0].config.remote_jwks: should have either `url` or `service_name`"),
    ({"remote_jwks": {"service_name": "id.static"}}, "plugins[0].config.remote_jwks: `service_name` is known to a gateway's registry only"),
    ({"remote_jwks": {"url": "file:///etc/passwd"}}, "plugins[0].config.remote_jwks: `url` should be an http or https address"),
    ({"remote_jwks": {"url": "https://a:b@x.example/"}}, "plugins[0].config.remote_jwks: `url` should be an http or https address"),
    ({"remote_jwks": {"service_name": "x", "path": "jwks"}}, "plugins[0].config.remote_jwks: `path` should begin with /"),
    ({"jwks_cache_duration": 29}, "plugins[0].config.jwks_cache_duration: should be greater than or equal to 30"),
    ({"jwks_fetch_timeout": 10_001}, "plugins[0].config.jwks_fetch_timeout: should be less than or equal to 10000"),
    (one(algorithms=["none"]), "plugins[0].config.consumers[0].algorithms[0]: should be 'HS256'"),
    (one(claims_to_headers=[{"claim": "a", "header": "Authorization"}]), "plugins[0].config.consumers[0].claims_to_headers[0]: `header` should not be Authorization"),
    (one(claims_to_headers=[{"claim": "a", "header": "x-jwt"}], from_headers=[{"name": "X-Jwt"}]), "plugins[0].config: claims_to_headers: x-jwt carries tokens, so no claim can be put there"),
    (one(claims_to_headers=[{"claim": "a", "header": "a b"}]), "plugins[0].config.consumers[0].claims_to_headers[0]: 'a b' is not a header name"),
    (one(from_headers=[{"name": "é"}]), "plugins[0].config.consumers[0].from_headers[0]: 'é' is not a header name"),
    (one(isuer="x"), "plugins[0].config.consumers[0].isuer: unknown key (did you mean 'issuer'?)"),
    (one(name="a\nb"), "plugins[0].config.consumers[0]: a header value has a line break or a NUL"),
    ({"consumers": [ALICE, {**ALICE, "name": "bob"}]}, "plugins[0].config: consumers 'alice' and 'bob' have the same credential (tell them apart by `claims`)"),
    ({"enable_headers": ["a b"]}, "plugins[0].config: 'a b' is not a header name"),
    ({"realm": "a\nb"}, "plugins[0].config.realm: a header value has a line break or a NUL"),
]  # fmt: skip


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


def test_the_example_of_the_docstring() -> None:
    example = yaml.safe_load(str(jwt_auth.__doc__).split("\n\n")[1])
    gateway = Gateway(Service(), example, clock=VirtualClock())
    gated = Gated("jwt-auth", example["plugins"][0]["config"])
    gated.gateway, gated.service = gateway, gateway.app  # type: ignore[assignment]
    # The private half of that key stands in RFC 8037, appendix A.1.
    private = {**ED25519, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}
    someone = Signer("EdDSA", OKPKey.import_key(private))
    assert outcome(gated, someone.token(aud="api", roles=["admin", "dev"])) == ["alice"]
    assert gated.service.header("x-roles") == ['["admin","dev"]']
    assert outcome(gated, someone.token(aud="web")) == INVALID


def test_verified_claims_come_from_verification_only() -> None:
    token = Token(TOKEN.encode(), HeaderCache())
    assert not any(isinstance(getattr(token, name, None), dict) for name in dir(token) if not name.startswith("_"))
    assert repr(token) == "<Token HS256>"
    assert token.verified(read_key_set(key_set(signer("HS256", "other").jwk(kid=None)).encode()), HeaderCache()) is None


def test_a_token_without_key_id_is_not_tried_with_many_keys() -> None:
    keys = [signer("ES256", f"k{number}") for number in range(9)]
    gated = Gated("jwt-auth", one(jwks=key_set(*(key.jwk() for key in keys))))
    assert outcome(gated, keys[0].token()) == ["alice"]
    assert outcome(gated, keys[0].token({"kid": None})) == INVALID
    fewer = Gated("jwt-auth", one(jwks=key_set(*(key.jwk() for key in keys[:8]))))
    assert outcome(fewer, keys[7].token({"kid": None})) == ["alice"]


def test_two_keys_of_one_id() -> None:
    old, new = signer("ES256", "k1"), signer("EdDSA", "k1")
    newer = Signer("ES256", signer("ES256", "other").key, "k1")
    gated = Gated("jwt-auth", one(jwks=key_set(old.jwk(), new.jwk(), newer.jwk())))
    for someone in (old, new, newer):
        assert outcome(gated, someone.token()) == ["alice"]


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
