"""jwt-auth: which tokens are good: algorithms and keys, attacks, encodings."""

import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigw_middleware.plugins.auth.jwt.encoding import base64url
from aigw_middleware.plugins.auth.jwt.key_set import read_key_set
from aigw_middleware.plugins.auth.jwt.rules import canonical, field_value
from aigw_middleware.plugins.auth.jwt.token import HeaderCache, MalformedToken, Token
from tests.plugins.jwt_case import (
    HS,
    INVALID,
    TOKEN,
    one,
    outcome,
    verified,
)
from tests.plugins.service import Gated
from tests.plugins.tokens import ISSUER, NOW, Signer, b64, key_set, signer

ALL = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
ALL += ["EdDSA", "Ed25519", "Ed448"]


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


def _forged(header: dict[str, Any], secret: bytes) -> str:
    """A token of alice's whose MAC is made with `secret`."""
    claims = {"iss": ISSUER, "sub": "alice", "exp": NOW + 60}
    message = b64(header) + b"." + b64(claims)
    digest = "sha512" if header["alg"] == "HS512" else "sha256"
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


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_any_claims_become_a_header_or_none(values: dict[str, Any]) -> None:
    for value in values.values():
        field = field_value(value)
        assert field is None or not set(field) & {0, 10, 13}
        if field is not None and isinstance(value, (list, dict)):
            assert json.loads(field) == value
        assert canonical(value) == canonical(json.loads(json.dumps(value)))


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
