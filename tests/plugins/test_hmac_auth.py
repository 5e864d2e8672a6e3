"""hmac-auth: what is signed and what that is worth, who is let in, what attackers try, what is refused at load."""

import asyncio
import base64
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import ConfigError, Exchange, Gateway, HmacAuth, Plugin, PluginConfig, Stage
from aigw_middleware.plugins.auth import hmac as hmac_auth
from aigw_middleware.plugins.auth.hmac.claims import is_digest_of, is_md5_of
from aigw_middleware.plugins.auth.hmac.signing import Parameters, signature_of, signature_string, x_ca_string
from aigw_middleware.state import MemoryStore, StoreError
from aigw_middleware.testing import HmacSigner, VirtualClock, asgi_exchange
from tests.plugins.service import Service
from tests.plugins.signed import BrokenStore, Guarded, WaitingStore, ask_all

SECRET, OTHER = "secret-of-alice-0123", "secret-of-bob-456789"
BOTH = [{"name": "alice", "key": "alice-key", "secret": SECRET}, {"name": "bob", "key": "bob-key", "secret": OTHER}]
DIALECTS = ("signature", "x-ca")
JSON = [("content-type", "application/json")]
FORM = [("content-type", "application/x-www-form-urlencoded")]
WRONG, USED = (401, "invalid_signature"), (401, "nonce_used")


def guarded(config: Mapping[str, Any] | None = None, **options: Any) -> Guarded:
    return Guarded("hmac-auth", {"consumers": BOTH, **(config or {})}, **options)


def changed(headers: list[tuple[str, str]], **fields: str | None) -> list[tuple[str, str]]:
    """The headers with some replaced, or, for None, taken away; a `_` in a name stands for `-`."""
    new = {name.replace("_", "-"): value for name, value in fields.items()}
    kept = [field for field in headers if field[0] not in new]
    return [*kept, *((name, value) for name, value in new.items() if value is not None)]


# ---------------------------------------------------------------------- the worked examples of both dialects

SIGN = "/Third/Tools/checkSign"
SIGNED = {
    b"accept": b"application/json",
    b"content-type": b"application/json",
    b"x-ca-key": b"appKey",
    b"x-ca-nonce": b"787dd0c2-7bd8-41cd-9c19-62c05ea524a2",
    b"x-ca-timestamp": b"1646365291734",
}
LISTED = [b"x-ca-key", b"x-ca-nonce", b"x-ca-timestamp"]


@pytest.mark.parametrize(
    ("fields", "listed", "algorithm", "expected"),
    [
        (SIGNED, LISTED, "hmac-sha256", "EdJSFAMOWyXZOpXhevZnjuS0ZafnwnCqaSk5hz+tXo8="),
        (SIGNED, LISTED, "hmac-sha1", "gr6OOcKuuL0badPOkKpEbWOzVwQ="),
        ({b"accept": b"application/json"}, [], "hmac-sha256", "ZpJhkHdtjLTJiR6CJWHL8ikLtPB2z6CoztG21wG3PT4="),
    ],
)
def test_x_ca_strings(fields: dict[bytes, bytes], listed: list[bytes], algorithm: str, expected: str) -> None:
    text = x_ca_string("GET", fields, listed, SIGN.encode())
    assert signature_of(b"appSecret", text, algorithm) == expected.encode()


def vector(key: str, stamp: str, nonce: str, signature: str, **more: str) -> list[tuple[str, str]]:
    fields = {"x-ca-key": key, "x-ca-timestamp": stamp, "x-ca-nonce": nonce, "x-ca-signature": signature}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    fields.setdefault("x-ca-signature-headers", "x-ca-key,x-ca-nonce,x-ca-timestamp")
    return list(fields.items())


GET_VECTOR = vector(
    "appKey",
    "1646365291734",
    "787dd0c2-7bd8-41cd-9c19-62c05ea524a2",
    "EdJSFAMOWyXZOpXhevZnjuS0ZafnwnCqaSk5hz+tXo8=",
    accept="application/json",
    content_type="application/json",
)
FORM_VECTOR = vector(
    "appKey",
    "1646646682418",
    "ca5a6753-b76c-4fff-a9d9-e5bb643e8cdf",
    "gmf9xq0hc95Hmt+7G+OocS009ka3v1v0rvfshKzYc3w=",
    accept="application/json",
    content_type="application/x-www-form-urlencoded",
)
FORM_BODY = b"nickname=nickname&room_id=6893&uuid=uuid&photo=photo"
DATE_VECTOR = vector(
    "203753385",
    "1525872629832",
    "c9f15cbf-f4ac-4a6c-b54d-f51abf4b5b44",
    "FJbhmAFYz9zfl1FrThxzxBt79BvaHQIzy8Wpctn+xXE=",
    accept="application/json; charset=utf-8",
    content_type="application/x-www-form-urlencoded; charset=utf-8",
    date="Wed, 09 May 2018 13:30:29 GMT+00:00",
    x_ca_signature_method="HmacSHA256",
    x_ca_signature_headers="x-ca-timestamp,x-ca-key,x-ca-nonce,x-ca-signature-method",
)
DATE_TARGET, DATE_BODY = "/http2test/test?param1=test", b"username=xiaoming&password=123456789"
APP = {"consumers": [{"name": "app", "key": "appKey", "secret": "appSecret"}]}
APP_2018 = {"consumers": [{"name": "app", "key": "203753385", "secret": "123456"}]}


@pytest.mark.parametrize(
    ("config", "start", "request_"),
    [
        (APP, 1646365291, ("GET", SIGN, GET_VECTOR)),
        (APP, 1646646682, ("POST", "/Third/User/getNyAccessToken", FORM_VECTOR, FORM_BODY)),
        (APP_2018, 1525872629, ("POST", DATE_TARGET, DATE_VECTOR, DATE_BODY)),
    ],
)
def test_worked_examples_of_x_ca(config: dict[str, Any], start: float, request_: tuple[Any, ...]) -> None:
    assert Guarded("hmac-auth", config, start=start).outcome(*request_) == ["app"]
    assert Guarded("hmac-auth", config, start=start).outcome_wsgi(*request_) == ["app"]
    other = {"consumers": [{**config["consumers"][0], "secret": "another"}]}
    assert Guarded("hmac-auth", other, start=start).outcome(*request_) == WRONG


@pytest.mark.parametrize(
    ("now", "offset", "accepted"),
    [
        (1525876230, 3600, False),
        (1525869027, 3600, False),
        (1525869029, 3600, True),
        (1525876229, 3600, True),
        (1525872629 + 300, None, True),
        (1525872629 + 301, None, False),
        (1, 0, True),
        (1, -1, True),
    ],
)
def test_date_offset(now: float, offset: int | None, accepted: bool) -> None:
    gated = Guarded("hmac-auth", {**APP_2018, "date_offset": offset}, start=now)
    expected = ["app"] if accepted else (400, "invalid_date")
    assert gated.outcome("POST", DATE_TARGET, DATE_VECTOR, DATE_BODY) == expected


APISIX_SECRET = "2bda943c-ba2b-11ec-ba07-00163e1250b5"
APISIX = {"consumers": [{"access_key": "consumer1-key", "secret_key": APISIX_SECRET, "name": "consumer1"}]}


def apisix(date: str, signature: str, headers: str = "@request-target date", **more: str) -> list[tuple[str, str]]:
    parameters = f'keyId="consumer1-key",algorithm="hmac-sha256",headers="{headers}",signature="{signature}"'
    fields = {"authorization": f"Signature {parameters}", "date": date}
    return [*fields.items(), *((name.replace("_", "-"), value) for name, value in more.items())]


APISIX_DATE = "Fri, 12 Sep 2025 23:53:18 GMT"
APISIX_VECTOR = apisix(APISIX_DATE, "746z4VISwZehUwZdzTV486ZMMbBtakmMHKPfs/A4RdU=")
APISIX_CUSTOM = apisix(
    "Sat, 13 Sep 2025 00:04:34 GMT",
    "KoOlbkDIR/JzlKK47eURewnIpmhpkQU+KIyBUhqVfmo=",
    "@request-target date x-custom-header-a x-custom-header-b",
    x_custom_header_a="test1",
    x_custom_header_b="test2",
)


@pytest.mark.parametrize(("start", "headers"), [(1757721198, APISIX_VECTOR), (1757721874, APISIX_CUSTOM)])
def test_worked_examples_of_signature(start: float, headers: list[tuple[str, str]]) -> None:
    assert Guarded("hmac-auth", APISIX, start=start).outcome("POST", "/foo", headers) == ["consumer1"]
    assert Guarded("hmac-auth", APISIX, start=start).outcome_wsgi("POST", "/foo", headers) == ["consumer1"]
    assert Guarded("hmac-auth", APISIX, start=start).outcome("POST", "/bar", headers) == WRONG
    for late in (301, -301):
        refused = (401, "clock_skew_exceeded")
        assert Guarded("hmac-auth", APISIX, start=start + late).outcome("POST", "/foo", headers) == refused


def test_worked_digests() -> None:
    assert is_md5_of(b"kAFQmDzST7DWlj99KOF/cg==", b"abc")
    assert is_digest_of(b"SHA-256=RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=", b"{}")


# ---------------------------------------------------------------------- strings

Pairs = list[tuple[bytes, bytes]]


@pytest.mark.parametrize(
    ("query", "form", "expected"),
    [
        (b"", b"", [b"/p"]),
        (b"b=2&a=1", b"", [b"/p?a=1&b=2"]),
        (b"b=2", b"a=1&c=3", [b"/p?a=1&b=2&c=3"]),
        (b"a=%C3%A9&b=x+y", b"", [b"/p?a=\xc3\xa9&b=x+y"]),
        (b"a=&b=1", b"", [b"/p?a=&b=1", b"/p?a&b=1"]),
        (b"a&b=1", b"", [b"/p?a=&b=1", b"/p?a&b=1"]),
        (b"a=b=c", b"", [b"/p?a=b=c"]),
        (b"a=1&a=2", b"", [b"/p?a=1"]),
        (b"a=1", b"a=2&b=3", [b"/p?a=1&b=3"]),
        (b"B=1&a=2&A=3", b"", [b"/p?A=3&B=1&a=2"]),
    ],
)
def test_parameters_in_x_ca_strings(query: bytes, form: bytes, expected: list[bytes]) -> None:
    assert list(Parameters(query, form).targets(b"/p")) == expected


AMBIGUOUS = [b"a=1&a=2", b"a=1%26b=2", b"a%3D1=2", b"a=1&&b=2", b"a=%zz", b"a=1&", b"a=%", b"&".join([b"a=1"] * 1001)]


@pytest.mark.parametrize("query", AMBIGUOUS)
def test_ambiguous_parameters_are_told(query: bytes) -> None:
    assert Parameters(query).ambiguous
    assert Parameters(b"", query).ambiguous


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_two_queries_with_one_string_have_the_same_parameters(one: bytes, two: bytes) -> None:
    first, second = Parameters(one), Parameters(two)
    if first.ambiguous or second.ambiguous or not set(first.targets(b"/p")) & set(second.targets(b"/p")):
        return
    assert first.sorted == second.sorted


NAMES = st.sampled_from([b"a", b"b", b"a=", b"b&a", b"%61", b"", b"a%26", b"%3d", b"+"])


@given(st.lists(st.tuples(NAMES, NAMES), max_size=4), st.lists(st.tuples(NAMES, NAMES), max_size=4))
def test_likely_queries_with_one_string_have_the_same_parameters(one: Pairs, two: Pairs) -> None:
    first, second = (Parameters(b"&".join([name + b"=" + value for name, value in pairs])) for pairs in (one, two))
    if not first.ambiguous and not second.ambiguous and set(first.targets(b"")) & set(second.targets(b"")):
        assert first.sorted == second.sorted


def test_the_order_of_the_list_is_the_callers_in_one_dialect_only() -> None:
    fields = {b"a": b"1", b"b": b"2"}
    assert x_ca_string("GET", fields, [b"b", b"a"], b"/") == b"GET\n\n\n\n\na:1\nb:2\n/"
    assert signature_string(b"k", "GET", fields, [b"B", b"a", b"no"], b"/") == b"k\nB: 2\na: 1\n"


# ---------------------------------------------------------------------- a round trip, and everything that breaks it


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("algorithm", ["hmac-sha1", "hmac-sha256"])
@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        ("GET", "/", [], b""),
        ("GET", "/a%20b/%C3%A9?b=2&a=%C3%A9&c=", [("accept", "*/*"), ("x-tenant", "blue")], b""),
        ("POST", "/v1/things?x", JSON, b'{"a": 1}'),
        ("POST", "/form?q=1", FORM, b"a=1&b=%26amp".replace(b"%26", b"%25")),
        ("POST", "/empty", JSON, b""),
        ("DELETE", "/v1/things/1", [], b""),
        ("POST", "/multi", [*JSON, ("x-tenant", "a"), ("x-tenant", "b")], b"[]"),
    ],
)
def test_signed_requests_enter_on_both_kinds_of_host(
    dialect: str, algorithm: str, method: str, target: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    gated = guarded()
    signer = gated.signer("alice-key", SECRET, dialect=dialect, algorithm=algorithm, signed_headers=["x-tenant"])
    for ask in (gated.outcome, gated.outcome_wsgi):
        signed = signer.signed(method, target, headers, body)
        if ask == gated.outcome_wsgi:  # servers put repeated fields together before an application sees them
            signed = [field for field in signed if field != ("x-tenant", "b")]
            signed = [(name, "a, b" if (name, value) == ("x-tenant", "a") else value) for name, value in signed]
        assert ask(method, target, signed, body) == ["alice"]
        assert ask(method, target, signed, body) == USED
        assert ask(method, target + "z", signer.signed(method, target, headers, body), body) != ["alice"]


TARGET, BODY = "/v1/things?b=2&a=1", b'{"a": 1}'
GIVEN = [*JSON, ("accept", "*/*"), ("x-tenant", "blue")]
ATTACKS: list[tuple[str, dict[str, Any], object, object]] = [
    ("nothing", {}, ["alice"], ["alice"]),
    ("method", {"method": "PUT"}, WRONG, WRONG),
    ("method case", {"method": "post"}, WRONG, WRONG),
    ("path", {"target": "/v1/thingz?b=2&a=1"}, WRONG, WRONG),
    ("path escape", {"target": "/v1/%74hings?b=2&a=1"}, WRONG, WRONG),
    ("query value", {"target": "/v1/things?b=2&a=2"}, WRONG, WRONG),
    ("query order", {"target": "/v1/things?a=1&b=2"}, WRONG, ["alice"]),  # sorted there
    ("query added", {"target": TARGET + "&c=3"}, WRONG, WRONG),
    ("query repeated", {"target": TARGET + "&a=2"}, WRONG, (400, "ambiguous_parameters")),
    ("query joined", {"target": "/v1/things?a=1%26b=2"}, WRONG, (400, "ambiguous_parameters")),
    ("query empty part", {"target": TARGET + "&"}, WRONG, (400, "ambiguous_parameters")),
    ("signed header", {"x-tenant": "green"}, WRONG, WRONG),
    ("signed header gone", {"x-tenant": None}, WRONG, WRONG),
    ("signed header twice", {"+": ("x-tenant", "green")}, WRONG, WRONG),
    ("unsigned header", {"x-other": "1"}, ["alice"], ["alice"]),
    ("nonce", {"x-ca-nonce": "another"}, WRONG, WRONG),
    ("nonce twice", {"+": ("x-ca-nonce", "another")}, WRONG, WRONG),
    ("content type", {"content-type": "text/plain"}, ["alice"], WRONG),
    ("content type twice", {"+": ("content-type", "text/plain")}, WRONG, WRONG),
    ("accept", {"accept": "text/plain"}, ["alice"], WRONG),
    ("body", {"body": b'{"a": 2}'}, (401, "invalid_digest"), (400, "invalid_content_md5")),
    ("body gone", {"body": b""}, (401, "invalid_digest"), (400, "invalid_content_md5")),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("attack", "change", "signature", "x_ca"), ATTACKS)
def test_what_a_change_of_a_signed_request_gives(
    dialect: str, attack: str, change: dict[str, Any], signature: object, x_ca: object
) -> None:
    gated = guarded()
    signer = gated.signer("alice-key", SECRET, dialect=dialect, signed_headers=["x-tenant"])
    headers = signer.signed("POST", TARGET, GIVEN, BODY)
    change = dict(change)
    method, target, body = change.pop("method", "POST"), change.pop("target", TARGET), change.pop("body", BODY)
    extra = [change.pop("+")] if "+" in change else []
    headers = [*changed(headers, **change), *extra]
    if attack == "body gone" and dialect == "signature":  # a digest of something, and nothing
        assert gated.outcome(method, target, headers, body) == (401, "invalid_digest")
        return
    assert gated.outcome(method, target, headers, body) == (signature if dialect == "signature" else x_ca)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_attacks_on_the_credential(dialect: str) -> None:
    gated = guarded()
    signer = gated.signer("alice-key", SECRET, dialect=dialect)

    def signed() -> list[tuple[str, str]]:
        return signer.signed("GET", TARGET)

    def swapped(old: str, new: str) -> list[tuple[str, str]]:
        return [(name, value.replace(old, new)) for name, value in signed()]

    assert gated.outcome("GET", TARGET, swapped("alice-key", "bob-key")) == WRONG  # the key id of another consumer
    assert gated.outcome("GET", TARGET, swapped("alice-key", "eve-key")) == WRONG
    for known, unknown in (("SHA256", "SHA3"), ("SHA256", "MD5"), ("SHA256", "")):
        old, new = (
            (f"Hmac{known}", f"Hmac{unknown}") if dialect == "x-ca" else (f"hmac-{known.lower()}", unknown.lower())
        )
        status, code = gated.outcome("GET", TARGET, swapped(old, new))  # type: ignore[misc]
        assert status == 401
        assert code in ("invalid_algorithm", "missing_algorithm")
    other = ("HmacSHA256", "HmacSHA1") if dialect == "x-ca" else ("hmac-sha256", "hmac-sha512")
    assert gated.outcome("GET", TARGET, swapped(*other)) == WRONG
    headers = signed()
    name = "x-ca-signature" if dialect == "x-ca" else "authorization"
    (value,) = (value for key, value in headers if key == name)
    assert gated.outcome("GET", TARGET, [*headers, (name, value)]) == WRONG  # twice, even if alike
    if dialect == "x-ca":
        assert gated.outcome("GET", TARGET, changed(headers, x_ca_signature="")) == (401, "empty_signature")
        assert gated.outcome("GET", TARGET, changed(headers, x_ca_key=None)) == (401, "missing_key")
        assert gated.outcome("GET", TARGET, [*headers, ("x-ca-key", "bob-key")]) == WRONG
        assert gated.outcome("GET", TARGET, [*headers, ("authorization", "Bearer x")]) == ["alice"]
        return
    both = [*headers, *gated.signer("bob-key", OTHER, dialect="x-ca").signed("GET", TARGET)[1:]]
    assert gated.outcome("GET", TARGET, both) == WRONG  # whose request would it be?
    assert gated.outcome("GET", TARGET, headers) == ["alice"]


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Signature", (401, "missing_key")),  # no credential of ours
        ("Bearer abc", (401, "missing_key")),
        ("Signature ", (401, "missing_keyid_or_signature")),
        ('Signature keyId="alice-key"', (401, "missing_keyid_or_signature")),
        ('Signature keyId="alice-key",signature="x"', (401, "missing_algorithm")),
        ('Signature keyId="alice-key",algorithm="none",signature="x"', (401, "invalid_algorithm")),
        ('Signature keyId="alice-key",algorithm="hmac-sha256",signature="x"', (401, "headers_missing")),
        ('Signature keyId="alice-key",keyId="bob-key",signature="x"', WRONG),
        ("Signature keyId=alice-key", WRONG),
        ('Signature keyId="alice-key" signature="x"', WRONG),
        ('Signature keyId="alice-key",algorithm="hmac-sha256",headers="a:b",signature="x"', WRONG),
        (f'Signature keyId="{"k" * 9_000}",signature="x"', WRONG),
        (
            'Signature keyId="k",algorithm="hmac-sha256",headers="' + " ".join(["date"] * 65) + '",signature="x"',
            WRONG,
        ),
        (
            'Signature keyId="k",algorithm="hmac-sha256",headers="date",signature="x"',
            (401, "expected_header_missing_in_signing"),
        ),
        (
            'Signature keyId="k",algorithm="hmac-sha256",headers="@request-target date",signature="x"',
            (401, "missing_date_header"),
        ),
        (
            'SIGNATURE keyId="k",algorithm="hmac-sha256",headers="@request-target",signature="x"',
            (401, "expected_header_missing_in_signing"),
        ),
    ],
)
def test_what_authorization_must_say(authorization: str, expected: tuple[int, str]) -> None:
    assert guarded().outcome("GET", "/", [("authorization", authorization)]) == expected


@pytest.mark.parametrize(
    ("config", "signed_headers", "drop", "expected"),
    [
        ({}, [], (), ["alice"]),
        ({}, [], ("x-ca-timestamp",), (400, "invalid_date")),  # a time that anybody can change does not count
        ({"date_offset": 0}, [], ("x-ca-timestamp",), ["alice"]),
        ({"require_coverage": False}, [], ("x-ca-timestamp",), ["alice"]),
        ({"signed_headers": ["X-Tenant"]}, [], (), (401, "expected_header_missing_in_signing")),
        ({"signed_headers": ["X-Tenant"]}, ["x-tenant"], (), ["alice"]),
        ({"signed_headers": ["Date", "accept", "@request-target"]}, [], (), ["alice"]),  # always covered
        ({"require_nonce": True}, [], (), ["alice"]),
        ({"require_nonce": True}, [], ("x-ca-nonce",), (401, "missing_nonce")),
        ({"allowed_algorithms": ["hmac-sha1"]}, [], (), (401, "invalid_algorithm")),
    ],
)
def test_signatures_over_fewer_headers_than_enforced(
    config: dict[str, Any], signed_headers: list[str], drop: tuple[str, ...], expected: object
) -> None:
    gated = guarded(config)
    headers = gated.signer("alice-key", SECRET, dialect="x-ca", signed_headers=signed_headers).signed("GET", "/")
    fields = dict(headers)
    listed = [name for name in fields["x-ca-signature-headers"].split(",") if name not in drop]
    raw = {name.encode(): value.encode() for name, value in headers}
    text = x_ca_string("GET", raw, [name.encode() for name in listed], b"/")
    signature = signature_of(SECRET.encode(), text, "hmac-sha256").decode()
    headers = changed(headers, x_ca_signature_headers=",".join(listed), x_ca_signature=signature)
    assert gated.outcome("GET", "/", headers) == expected


@pytest.mark.parametrize(
    ("config", "listed", "expected"),
    [
        ({}, "@request-target date", ["alice"]),
        ({}, "date", (401, "expected_header_missing_in_signing")),
        ({}, "@request-target", (401, "expected_header_missing_in_signing")),
        ({}, "@request-target DATE", ["alice"]),
        ({"clock_skew": 0}, "@request-target", ["alice"]),
        ({"require_coverage": False}, "date", ["alice"]),
        ({"require_coverage": False}, "", ["alice"]),
        ({"require_coverage": False, "signed_headers": ["x-a"]}, "", (401, "headers_missing")),
        ({"signed_headers": ["Host"]}, "@request-target date", (401, "expected_header_missing_in_signing")),
        ({"signed_headers": ["Host"]}, "@request-target date host", ["alice"]),
        ({"require_nonce": True}, "@request-target date", (401, "missing_nonce")),
    ],
)
def test_what_the_other_dialect_must_list(config: dict[str, Any], listed: str, expected: object) -> None:
    gated = guarded(config)
    fields = {b"date": b"Tue, 14 Nov 2023 22:13:20 GMT", b"host": b"testserver", b"x-ca-nonce": b"unlisted"}
    names = [name.encode() for name in listed.split()]
    text = signature_string(b"alice-key", "GET", fields, names, b"/")
    signature = signature_of(SECRET.encode(), text, "hmac-sha256").decode()
    value = f'Signature keyId="alice-key",algorithm="hmac-sha256",headers="{listed}",signature="{signature}"'
    headers = [(name.decode(), text.decode()) for name, text in fields.items()]
    assert gated.outcome("GET", "/", [*headers, ("authorization", value)]) == expected


@pytest.mark.parametrize("spelling", [0, 1])
@pytest.mark.parametrize("query", ["a=&b=1", "a&b=1", "b=1&a="])
def test_both_spellings_of_the_empty_value(query: str, spelling: int) -> None:
    gated = guarded()
    headers = dict(gated.signer("alice-key", SECRET, dialect="x-ca").signed("GET", f"/p?{query}"))
    raw = {name.encode(): value.encode() for name, value in headers.items()}
    target = (b"/p?a=&b=1", b"/p?a&b=1")[spelling]
    text = x_ca_string("GET", raw, raw[b"x-ca-signature-headers"].split(b","), target)
    headers["x-ca-signature"] = signature_of(SECRET.encode(), text, "hmac-sha256").decode()
    assert gated.outcome("GET", f"/p?{query}", headers.items()) == ["alice"]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("x-ca-key, x-ca-timestamp", WRONG),
        ("x-a:b", WRONG),
        ("@request-target", WRONG),
        (",", WRONG),
        ("a," * 70, WRONG),
    ],
)
def test_what_is_no_header_name_cannot_be_signed(listed: str, expected: object) -> None:
    gated = guarded()
    headers = gated.signer("alice-key", SECRET, dialect="x-ca").signed("GET", "/")
    assert gated.outcome("GET", "/", changed(headers, x_ca_signature_headers=listed)) == expected


@pytest.mark.parametrize(
    ("stamp", "date", "accepted"),
    [
        ("1700000000", None, True),
        ("1700000000000", None, True),
        ("1700000300999", None, False),
        ("1699999699", None, False),
        ("1700000000.0", None, False),
        ("+1700000000", None, False),
        ("9" * 40, None, False),
        ("", None, False),
        (None, None, False),
        ("1", "Tue, 14 Nov 2023 22:13:20 GMT", True),  # the date counts first
        ("1700000000", "Tue, 14 Nov 2023 21:13:20 GMT", False),
        (None, "Tuesday, 14-Nov-23 22:13:20 GMT", True),
        (None, "Tue Nov 14 22:13:20 2023", True),
        (None, "Sun Nov  5 22:13:20 2023", False),
        (None, "Tue, 14 Nov 2023 22:13:20 GMT+00:00", True),
        (None, "Tue, 14 Nov 2023 22:13:20 GMT+01:00", False),
        (None, "Tue, 31 Feb 2023 22:13:20 GMT", False),
        (None, "Tue, 14 Abc 2023 22:13:20 GMT", False),
        (None, "2023-11-14T22:13:20Z", False),
        (None, "Tuesday, 14-Nov-99 22:13:20 GMT", False),
    ],
)
def test_shifted_and_unreadable_times(stamp: str | None, date: str | None, accepted: bool) -> None:
    gated = guarded()
    fields = {b"x-ca-key": b"alice-key", b"x-ca-signature-headers": b"x-ca-timestamp"}
    if stamp is not None:
        fields[b"x-ca-timestamp"] = stamp.encode()
    if date is not None:
        fields[b"date"] = date.encode()
    text = x_ca_string("GET", fields, [b"x-ca-timestamp"], b"/")
    fields[b"x-ca-signature"] = signature_of(SECRET.encode(), text, "hmac-sha256")
    headers = [(name.decode(), value.decode()) for name, value in fields.items()]
    assert gated.outcome("GET", "/", headers) == (["alice"] if accepted else (400, "invalid_date"))


def test_only_one_form_of_date_in_the_other_dialect() -> None:
    gated = guarded()
    for date in ("Tue, 14 Nov 2023 22:13:20 GMT+00:00", "Tuesday, 14-Nov-23 22:13:20 GMT", "yesterday"):
        text = signature_string(b"alice-key", "GET", {b"date": date.encode()}, [b"@request-target", b"date"], b"/")
        signature = signature_of(SECRET.encode(), text, "hmac-sha256").decode()
        value = f'keyId="alice-key",algorithm="hmac-sha256",headers="@request-target date",signature="{signature}"'
        headers = [("date", date), ("authorization", f"Signature {value}")]
        assert gated.outcome("GET", "/", headers) == (401, "invalid_gmt_format_time")


# ---------------------------------------------------------------------- properties

OPEN = guarded({"refuse_replays": False})
PARTS = ("method", "raw_path", "query_string", "body", "x-tenant", "x-ca-nonce", "credential")


def with_byte(data: bytes, place: int, by: int) -> bytes:
    edited = bytearray(data)
    edited[place % len(data)] ^= by
    return bytes(edited)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("part", PARTS)
@given(place=st.integers(0, 500), by=st.integers(1, 255))
def test_any_changed_byte_of_a_signed_part_is_refused(dialect: str, part: str, place: int, by: int) -> None:
    signer = OPEN.signer("alice-key", SECRET, dialect=dialect, signed_headers=["x-tenant"])
    headers = dict(signer.signed("POST", "/v1/things?b=two&a=one", GIVEN, BODY))
    scope: dict[str, Any] = {"raw_path": b"/v1/things", "query_string": b"b=two&a=one"}
    body, method = BODY, "POST"
    raw = {name: value.encode() for name, value in headers.items()}
    if part == "credential":
        part = (
            "authorization" if dialect == "signature" else ("x-ca-signature", "x-ca-key", "x-ca-timestamp")[place % 3]
        )
    if part in scope:
        scope[part] = with_byte(scope[part], place, by)
    elif part == "body":
        body = with_byte(body, place, by)
    elif part == "method":
        method = with_byte(b"POST", place, by).decode("latin-1")
    else:
        raw[part] = with_byte(raw[part], place, by)
        if part == "authorization" and raw[part].lower() == headers[part].lower().encode():
            return  # the scheme, and names of headers in the list, are spelled in any case
    before = OPEN.service.calls
    exchange = OPEN.ask(method, "/v1/things", list(raw.items()), body=[body], scope=scope)
    assert OPEN.service.calls == before
    assert exchange.status in (400, 401)


@given(st.binary(max_size=80))
def test_any_authorization_is_answered(value: bytes) -> None:
    for text in (value, b"Signature " + value, b'Signature keyId="alice-key",' + value):
        assert OPEN.ask(headers=[("authorization", text)]).status == 401


@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("x-ca-key", "x-ca-signature", "x-ca-signature-method", "x-ca-signature-headers", "x-ca-timestamp"),
                *("date", "content-md5", "digest", "content-type", "x-ca-nonce", "authorization"),
            ]
        ),
        st.one_of(
            st.binary(max_size=30), st.sampled_from([b"alice-key", b"HmacSHA256", b"1700000000", b"x-ca-timestamp"])
        ),
    ),
    st.binary(max_size=40),
    st.binary(max_size=20),
)
def test_any_request_is_answered(headers: dict[str, bytes], query: bytes, body: bytes) -> None:
    exchange = OPEN.ask("POST", "/", list(headers.items()), body=[body], scope={"query_string": query})
    assert exchange.status in (400, 401)


# ---------------------------------------------------------------------- the body


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_needs_a_digest(dialect: str) -> None:
    missing = (401, "invalid_digest") if dialect == "signature" else (400, "invalid_content_md5")
    for config, body, chunked, expected in (
        ({}, BODY, False, missing),
        ({}, BODY, True, missing),
        ({}, b"", True, ["alice"]),
        ({"validate_request_body": False}, BODY, False, ["alice"]),
        ({"require_coverage": False}, BODY, False, ["alice"]),
        ({"require_coverage": False, "validate_request_body": True}, BODY, False, missing),
    ):
        gated = guarded(config)
        headers = gated.signer("alice-key", SECRET, dialect=dialect).signed("POST", "/", JSON)
        before = gated.service.calls
        exchange = gated.ask("POST", "/", headers, body=[body], chunked=chunked)
        assert gated._told(exchange, before) == expected


@pytest.mark.parametrize("dialect", DIALECTS)
def test_only_what_could_be_accepted_has_its_body_read(dialect: str) -> None:
    gated = guarded()
    signer = gated.signer("alice-key", SECRET, dialect=dialect)
    unsigned = signer.signed("POST", "/", JSON)
    wrong = gated.signer("alice-key", OTHER, dialect=dialect).signed("POST", "/", JSON, BODY)
    for headers in (unsigned, wrong, []):
        assert gated.ask("POST", "/", headers, body=[BODY], forbid_receive=True).status in (400, 401)
    assert gated.ask("GET", "/", signer.signed("GET", "/"), forbid_receive=True).status == 200


def test_a_get_by_http_2_may_have_a_body() -> None:
    gated = guarded()
    headers = gated.signer("alice-key", SECRET).signed("GET", "/")
    refused = gated.ask(
        "GET", "/", headers, body=[b"x"], chunked=True, http_version="2", scope={"headers": encoded(headers)}
    )
    assert (refused.status, refused.json()["code"]) == (401, "invalid_digest")
    headers = gated.signer("bob-key", OTHER).signed("GET", "/")
    assert gated.ask("GET", "/", headers, http_version="2").status == 200


def encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def test_a_digest_that_is_not_signed_is_none() -> None:
    gated = guarded()
    headers = gated.signer("alice-key", SECRET).signed("POST", "/", JSON)
    digest = "SHA-256=" + base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    assert gated.outcome("POST", "/", [*headers, ("digest", digest)], BODY) == (401, "invalid_digest")


def test_the_bytes_received_are_what_counts() -> None:
    gated = guarded(plugins=[{"name": "model-mapper", "config": {"model_mapping": {"*": "other"}}}])
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    target = "/v1/chat/completions"
    headers = gated.signer("alice-key", SECRET).signed("POST", target, JSON, body)
    assert gated.outcome("POST", target, headers, body) == ["alice"]


@pytest.mark.parametrize(
    ("digest", "right"),
    [
        ("SHA-256={256}", True),
        ("sha-256={256}", True),
        ("SHA-512={512}", True),
        ("SHA-256={256},SHA-512={512}", True),
        ("SHA-256={256}, unixsum=30637", True),
        ("SHA-256={512}", False),
        ("SHA-256={256},SHA-512={256}", False),
        ("MD5=kAFQmDzST7DWlj99KOF/cg==", False),
        ("{256}", False),
        ("", False),
    ],
)
def test_digests(digest: str, right: bool) -> None:
    hashes = {str(size): base64.b64encode(hashlib.new(f"sha{size}", b"abc").digest()).decode() for size in (256, 512)}
    for size, value in hashes.items():
        digest = digest.replace(f"{{{size}}}", value)
    assert is_digest_of(digest.encode(), b"abc") is right
    assert not is_digest_of(digest.encode(), b"abd")


def test_a_content_md5_without_a_body() -> None:
    gated = guarded()
    headers = gated.signer("alice-key", SECRET, dialect="x-ca").signed(
        "GET", "/", [("content-md5", "kAFQmDzST7DWlj99KOF/cg==")]
    )
    assert gated.outcome("GET", "/", headers) == (400, "invalid_content_md5")


# ---------------------------------------------------------------------- forms, whose signature waits for the body


@pytest.mark.parametrize(
    ("target", "body", "expected"),
    [
        ("/form?q=1", b"a=1&b=2", ["alice"]),
        ("/form?q=1", b"b=2&a=1", ["alice"]),
        ("/form?q=1", b"a=1&b=3", WRONG),
        ("/form?q=1", b"a=1&b=2&c=3", WRONG),
        ("/form?q=1", b"a=1&b=2&a=9", (400, "ambiguous_parameters")),
        ("/form?q=1", b"a=1&b=2&q=9", (400, "ambiguous_parameters")),  # the query's would be signed, the form's read
        ("/form?q=1", b"a=1%26b=2", (400, "ambiguous_parameters")),
        ("/form?q=1", b"", WRONG),
    ],
)
def test_forms_are_signed_by_their_parameters(target: str, body: bytes, expected: object) -> None:
    gated = guarded()
    signer = gated.signer("alice-key", SECRET, dialect="x-ca")
    assert gated.outcome("POST", target, signer.signed("POST", "/form?q=1", FORM, b"a=1&b=2"), body) == expected
    signed = signer.signed("POST", "/form?q=1", FORM, b"a=1&b=2")
    assert gated.outcome_wsgi("POST", target, signed, body) == expected


def test_ambiguous_parameters_may_be_allowed() -> None:
    gated = guarded({"ambiguous_parameters": "allow"})
    signer = gated.signer("alice-key", SECRET, dialect="x-ca")
    assert gated.outcome("GET", "/?a=1&a=2", signer.signed("GET", "/?a=1&a=2")) == ["alice"]
    assert gated.outcome("GET", "/?a=1&a=3", signer.signed("GET", "/?a=1&a=2")) == ["alice"]  # only the first counts
    assert gated.outcome("GET", "/?a=2&a=1", signer.signed("GET", "/?a=1&a=2")) == WRONG


def test_the_exact_query() -> None:
    gated = guarded({"exact_query": True})
    signer = gated.signer("alice-key", SECRET, dialect="x-ca", exact_query=True)
    target = "/?b=2&a=%2B&a=1%26"
    assert gated.outcome("GET", target, signer.signed("GET", target)) == ["alice"]
    assert gated.outcome("GET", "/?b=2&a=%2b&a=1%26", signer.signed("GET", target)) == WRONG
    assert gated.outcome("POST", target, signer.signed("POST", target, FORM, b"a=1"), b"a=1") == ["alice"]
    changed_form = gated.outcome("POST", target, signer.signed("POST", target, FORM, b"a=1"), b"a=2")
    assert changed_form == (400, "invalid_content_md5")


def test_a_form_may_have_a_content_md5_too() -> None:
    gated = guarded()
    signer = gated.signer("alice-key", SECRET, dialect="x-ca")
    md5 = base64.b64encode(hashlib.md5(b"a=1&b=2", usedforsecurity=False).digest()).decode()
    given = [*FORM, ("content-md5", md5)]
    assert gated.outcome("POST", "/", signer.signed("POST", "/", given, b"a=1&b=2"), b"a=1&b=2") == ["alice"]
    assert gated.outcome("POST", "/", signer.signed("POST", "/", given, b"a=1&b=2"), b"b=2&a=1") == (
        400,
        "invalid_content_md5",
    )


def test_who_may_not_enter_is_told_after_the_form_is_verified() -> None:
    gated = guarded({"allow": ["bob"]})
    right = gated.signer("alice-key", SECRET, dialect="x-ca").signed("POST", "/", FORM, b"a=1")
    wrong = gated.signer("alice-key", OTHER, dialect="x-ca").signed("POST", "/", FORM, b"a=1")
    assert gated.outcome("POST", "/", wrong, b"a=1") == WRONG
    assert gated.outcome("POST", "/", right, b"a=1") == (403, "unauthorized_consumer")
    bob = gated.signer("bob-key", OTHER, dialect="x-ca").signed("POST", "/", FORM, b"a=1")
    assert gated.outcome("POST", "/", bob, b"a=1") == ["bob"]


class Accepts(Plugin[PluginConfig]):
    """Changes a header that was signed, before the body is here."""

    name, stage, priority = "accepts", Stage.AUTHENTICATION, 100

    def on_request(self, exchange: Exchange) -> None:
        exchange.request.headers.set_trusted(b"accept", b"text/plain")


def test_what_others_change_until_the_body_is_here_was_not_signed() -> None:
    clock, service = VirtualClock(), Service()
    plugin = HmacAuth(credentials=[{"key": "k", "secret": SECRET}])
    gateway = Gateway(service, plugins=[plugin, Accepts()], clock=clock)
    headers = HmacSigner("k", SECRET, clock, dialect="x-ca").signed("POST", "/", [*FORM, ("accept", "*/*")], b"a=1")
    exchange = asyncio.run(asgi_exchange(gateway, "POST", "/", headers=headers, body=[b"a=1"]))
    assert (exchange.status, service.header("accept")) == (200, ["text/plain"])


# ---------------------------------------------------------------------- replays


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_nonce_is_good_once(dialect: str) -> None:
    gated = guarded()
    signer = gated.signer("alice-key", SECRET, dialect=dialect)
    first = signer.signed("GET", "/")
    assert gated.outcome("GET", "/", first) == ["alice"]
    gated.clock.advance(299)
    assert gated.outcome("GET", "/", first) == USED
    again = HmacAgain(gated, dialect)
    assert gated.outcome("GET", "/other", again.signed("GET", "/other")) == USED  # nonce-1 of alice, elsewhere
    bob = gated.signer("bob-key", OTHER, dialect=dialect)
    assert gated.outcome("GET", "/", bob.signed("GET", "/")) == ["bob"]  # nonce-1 of bob
    gated.clock.advance(302)
    assert gated.outcome("GET", "/", first)[0] in (400, 401)  # type: ignore[index]
    assert gated.outcome("GET", "/", HmacAgain(gated, dialect).signed("GET", "/")) == ["alice"]


def HmacAgain(gated: Guarded, dialect: str) -> Any:  # noqa: N802 - reads as the class whose numbers start anew
    return gated.signer("alice-key", SECRET, dialect=dialect)


def test_another_header_for_the_nonce() -> None:
    gated = guarded({"nonce_header": "X-Once", "require_nonce": True})
    assert gated.outcome("GET", "/", gated.signer("alice-key", SECRET).signed("GET", "/")) == (401, "missing_nonce")
    headers = gated.signer("alice-key", SECRET, nonce_header="X-Once").signed("GET", "/")
    assert gated.outcome("GET", "/", headers) == ["alice"]
    gated.clock.advance(1)  # another date, so another signature
    again = gated.signer("alice-key", SECRET, nonce_header="X-Once").signed("GET", "/")
    assert dict(again)["x-once"] == dict(headers)["x-once"]
    assert gated.outcome("GET", "/", again) == USED


def test_without_a_nonce_the_signature_is_good_once() -> None:
    gated = Guarded("hmac-auth", APISIX, start=1757721198)
    assert gated.outcome("POST", "/foo", APISIX_VECTOR) == ["consumer1"]
    assert gated.outcome("POST", "/foo", APISIX_VECTOR) == USED
    unsigned = [*APISIX_VECTOR, ("x-ca-nonce", "made up by who repeats it")]
    assert gated.outcome("POST", "/foo", unsigned) == USED
    again = Guarded("hmac-auth", {**APISIX, "refuse_replays": False}, start=1757721198)
    for _ in range(2):
        assert again.outcome("POST", "/foo", APISIX_VECTOR) == ["consumer1"]


def test_a_nonce_outlives_the_window_it_can_be_used_in() -> None:
    gated = guarded()
    ahead = gated.signer("alice-key", SECRET)
    gated.clock.advance(300)
    headers = ahead.signed("GET", "/")
    behind = guarded()  # its clock is 300 s behind the caller's
    assert behind.outcome("GET", "/", headers) == ["alice"]
    behind.clock.advance(600)
    assert behind.outcome("GET", "/", headers) == USED
    behind.clock.advance(0.5)
    assert behind.outcome("GET", "/", headers) == (401, "clock_skew_exceeded")


def test_another_rule_makes_no_nonce_new() -> None:
    rules = [{"match": {"domain": ["staff.example.com"]}, "config": {"allow": ["alice"]}}]
    gated = guarded(rules=rules)
    headers = gated.signer("alice-key", SECRET).signed("GET", "/")
    assert gated.outcome("GET", "/", [*headers, ("host", "example.com")]) == ["alice"]
    assert gated.outcome("GET", "/", [*headers, ("host", "staff.example.com")]) == USED


def test_a_refused_body_uses_up_no_nonce() -> None:
    gated = guarded()
    headers = gated.signer("alice-key", SECRET).signed("POST", "/", JSON, BODY)
    assert gated.outcome("POST", "/", headers, b'{"a": 2}') == (401, "invalid_digest")
    assert gated.outcome("POST", "/", headers, BODY) == ["alice"]


def test_a_nonce_stays_used_over_a_reload() -> None:
    gated = guarded()
    headers = gated.signer("alice-key", SECRET).signed("GET", "/")
    assert gated.outcome("GET", "/", headers) == ["alice"]
    gated.gateway.reload()
    assert gated.outcome("GET", "/", headers) == USED


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("config", "error", "expected"),
    [
        ({}, None, [200, 401, 200]),
        ({}, "away", [503, 503, 503]),
        ({"on_store_failure": "allow"}, "away", [200, 200, 200]),
        ({"on_store_failure": "allow"}, "full", [200, 401, 503]),  # what restricts is never forgotten for room
        ({}, "full", [200, 401, 503]),
    ],
)
def test_stores(waits: bool, config: dict[str, Any], error: str | None, expected: list[int]) -> None:
    gated = guarded(config)
    signer = gated.signer("alice-key", SECRET)
    first, second = (("GET", "/", signer.signed("GET", "/")) for _ in range(2))
    store: Any = BrokenStore() if error == "away" else MemoryStore(max_keys=1 if error == "full" else 10)
    if waits:
        store = WaitingStore(store, StoreError("away") if error == "away" else None)
    assert ask_all(gated, store, [first, first, second]) == expected


# ---------------------------------------------------------------------- who is let in


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"allow": ["alice"]}, ["alice"]),
        ({"allow": ["bob"]}, (403, "unauthorized_consumer")),
        ({"allow": []}, (403, "unauthorized_consumer")),
        ({"global_auth": True}, ["alice"]),
        ({"global_auth": False}, []),
    ],
)
def test_who_may_enter(config: dict[str, Any], expected: object) -> None:
    gated = guarded(config)
    headers = [*gated.signer("alice-key", SECRET).signed("GET", "/"), ("x-mse-consumer", "root")]
    assert gated.outcome("GET", "/", headers) == expected


def test_anonymous_credentials_and_anonymous_consumers() -> None:
    gated = Guarded("hmac-auth", {"credentials": [{"key": "k", "secret": SECRET}], "allow": ["nobody"]})
    assert gated.outcome("GET", "/", gated.signer("k", SECRET).signed("GET", "/")) == []
    guests = guarded({"anonymous_consumer": "guest"})
    assert guests.outcome("GET", "/") == ["guest"]
    assert guests.outcome("GET", "/", [("authorization", 'Signature keyId="x"')])[0] == 401  # type: ignore[index]
    assert guests.outcome("GET", "/", guests.signer("alice-key", OTHER).signed("GET", "/")) == WRONG
    assert guests.outcome("GET", "/", guests.signer("alice-key", SECRET).signed("GET", "/")) == ["alice"]
    shut = guarded({"anonymous_consumer": "guest", "allow": ["alice"]})
    assert shut.outcome("GET", "/") == (403, "unauthorized_consumer")
    trusting = guarded({"anonymous_consumer": "guest"}, trust_identity_from=["127.0.0.1"])
    assert trusting.outcome("GET", "/", [("x-mse-consumer", "known-in-front")]) == ["known-in-front"]


def test_an_anonymous_consumer_may_still_be_somebody() -> None:
    key = "key-of-carol-0123456789"
    keys = {"name": "key-auth", "config": {"keys": ["x-api-key"], "consumers": [{"name": "carol", "credential": key}]}}
    gated = guarded({"anonymous_consumer": "guest"}, plugins=[keys])
    assert gated.outcome("GET", "/", [("x-api-key", key)]) == ["carol"]
    assert gated.outcome("GET", "/") == ["guest"]


def test_declared_consumers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bob").write_text(OTHER + "\n")
    monkeypatch.setenv("S", SECRET)
    declared = [
        {"name": "alice", "groups": ["staff"], "credentials": {"hmac-auth": [{"key": "k", "secret": "env:S"}]}},
        {"name": "bob", "credentials": {"hmac-auth": {"key": "b", "secret": f"file:{tmp_path}/bob"}}},
        {"name": "eve", "credentials": {"key-auth": ["e" * 20]}},
    ]
    gated = Guarded("hmac-auth", {"allow": ["group:staff"]}, consumers=declared)
    assert gated.outcome("GET", "/", gated.signer("k", SECRET).signed("GET", "/")) == ["alice"]
    assert gated.service.consumer.groups == {"staff"}
    assert gated.outcome("GET", "/", gated.signer("b", OTHER).signed("GET", "/")) == (403, "unauthorized_consumer")
    inline = Guarded(
        "hmac-auth", {"consumers": [{"name": "alice", "key": "second", "secret": OTHER}]}, consumers=declared
    )
    assert inline.outcome("GET", "/", inline.signer("k", SECRET).signed("GET", "/")) == ["alice"]
    assert inline.outcome("GET", "/", inline.signer("second", OTHER).signed("GET", "/")) == ["alice"]
    assert inline.service.consumer.groups == {"staff"}
    assert inline.outcome("GET", "/", inline.signer("b", OTHER).signed("GET", "/")) == WRONG


def test_beside_another_way_to_identify_oneself() -> None:
    key = "key-of-carol-0123456789"
    keys = {"name": "key-auth", "config": {"keys": ["x-api-key"], "consumers": [{"name": "carol", "credential": key}]}}
    gated = guarded(plugins=[keys])
    headers = gated.signer("alice-key", SECRET).signed("GET", "/")
    assert gated.outcome("GET", "/", headers) == ["alice"]
    assert gated.outcome("GET", "/", headers)[0] == 401  # type: ignore[index] - a replay is nobody's
    assert gated.outcome("GET", "/", [("x-api-key", key)]) == ["carol"]
    assert gated.outcome("GET", "/")[0] == 401  # type: ignore[index]
    assert gated.outcome("POST", "/", [("x-api-key", key)], BODY) == ["carol"]
    form = gated.signer("alice-key", OTHER, dialect="x-ca").signed("POST", "/", FORM, b"a=1")
    assert gated.outcome("POST", "/", form, b"a=1") == WRONG


def test_hidden_credentials() -> None:
    for dialect, gone in (("signature", "authorization"), ("x-ca", "x-ca-signature")):
        for hides, body in ((False, b""), (True, b""), (True, BODY)):
            gated = guarded({"hide_credentials": hides})
            headers = gated.signer("bob-key", OTHER, dialect=dialect).signed("POST", "/", JSON, body)
            assert gated.outcome("POST", "/", headers, body) == ["bob"]
            assert (gated.service.header(gone) == []) is hides


def test_a_websocket_handshake_is_authenticated() -> None:
    gated = guarded()
    scope = {"type": "websocket", "subprotocols": [], "extensions": {}, "path": "/ws", "raw_path": b"/ws"}
    for headers in ([], gated.signer("alice-key", OTHER).signed("GET", "/ws")):
        refused = gated.ask(headers=headers, scope=scope, body=[b""])
        assert [message["type"] for message in refused.messages] == ["websocket.close"]
    assert gated.service.calls == 0
    for dialect in DIALECTS:
        gated = guarded()
        headers = gated.signer("alice-key", SECRET, dialect=dialect).signed("GET", "/ws", JSON)
        exchange = asyncio.run(asgi_exchange(gated.gateway, headers=headers, scope=scope, forbid_receive=True))
        assert (gated.service.calls, gated.service.header("x-mse-consumer")) == (1, ["alice"])
        assert asyncio.run(asgi_exchange(gated.gateway, headers=headers, scope=scope)).messages != exchange.messages
        assert gated.service.calls == 1  # a handshake is good once, too


def test_only_the_dialects_that_are_configured_are_read() -> None:
    for dialect, other in (("x-ca", "signature"), ("signature", "x-ca")):
        gated = guarded({"dialects": [dialect]})
        assert gated.outcome("GET", "/", gated.signer("alice-key", SECRET, dialect=dialect).signed("GET", "/")) == [
            "alice"
        ]
        code = "missing_key" if dialect == "x-ca" else "missing_authorization_header"
        refused = gated.ask("GET", "/", gated.signer("alice-key", SECRET, dialect=other).signed("GET", "/"))
        assert (refused.status, refused.json()["code"]) == (401, code)
        scheme = "HMAC" if dialect == "x-ca" else "Signature"
        assert dict(refused.headers)[b"www-authenticate"] == f'{scheme} realm="MSE Gateway"'.encode()


# ---------------------------------------------------------------------- what is told


def test_the_store_is_told_no_key_ids_and_no_nonces() -> None:
    class Watched(MemoryStore):
        def set_if_absent_now(self, key: str, value: bytes, ttl: float | None = None) -> bool:
            asked.append((key, value, ttl))
            return super().set_if_absent_now(key, value, ttl)

    asked: list[tuple[str, bytes, float | None]] = []
    gated = guarded({"date_offset": 60, "clock_skew": 0})
    for dialect in DIALECTS:
        headers = gated.signer("alice-key", SECRET, dialect=dialect).signed("GET", "/" + dialect)
        ask_all(gated, Watched(), [("GET", "/" + dialect, headers)])
    assert [ttl for _, _, ttl in asked] == [900, 121]  # what no time limits, and twice the window
    for key, value, _ in asked:
        assert key.startswith("inbound:hmac-auth:")
        assert (value, len(key.rpartition(":")[2])) == (b"1", 32)


def test_nothing_tells_an_unknown_key_from_a_wrong_secret() -> None:
    for dialect in DIALECTS:
        gated = guarded()
        answers = []
        for key, secret in (("alice-key", OTHER), ("nobody", SECRET)):
            refused = gated.ask("GET", "/", gated.signer(key, secret, dialect=dialect).signed("GET", "/"))
            answers.append((refused.status, sorted(refused.headers), refused.body))
        assert answers[0] == answers[1]
        assert answers[0][0] == 401


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_string_to_sign_is_told_in_debug_only(dialect: str) -> None:
    for debug in (False, True):
        gated = guarded({"debug": debug, "ambiguous_parameters": "allow"})
        headers = gated.signer("alice-key", OTHER, dialect=dialect).signed("GET", "/?a=%0d%0ax:%201")
        refused = gated.ask("GET", "/?a=%0d%0ax:%201", headers)
        told = dict(refused.headers).get(b"x-ca-error-message", b"").decode()
        assert refused.status == 401
        assert b"www-authenticate" in dict(refused.headers)
        assert told.startswith("Server StringToSign:`") is debug
        if debug:
            assert told.endswith("/?a=%0d%0ax:%201#x-ca-nonce: nonce-1#date: Tue, 14 Nov 2023 22:13:20 GMT#`") or (
                told.startswith("Server StringToSign:`GET#####x-ca-key:alice-key#") and told.endswith("/?a=?#x: 1`")
            )


def test_debug_in_the_words_of_compatible_gateways() -> None:
    gated = guarded({"dialects": ["x-ca"], "debug": True}, error_format="upstream")
    refused = gated.ask("GET", "/", gated.signer("alice-key", OTHER, dialect="x-ca").signed("GET", "/"))
    told = dict(refused.headers)
    assert (refused.status, refused.body, b"www-authenticate" in told) == (400, b"Invalid Signature", False)
    assert told[b"x-ca-error-message"].startswith(b"Server StringToSign:`GET#####x-ca-key:alice-key#")


@pytest.mark.parametrize(
    ("dialect", "config", "sign", "status", "body"),
    [
        ("x-ca", {}, None, 401, b"Invalid Key"),
        ("x-ca", {}, ("nobody", SECRET), 401, b"Invalid Key"),
        ("x-ca", {}, ("alice-key", OTHER), 400, b"Invalid Signature"),
        ("x-ca", {"allow": ["bob"]}, ("alice-key", SECRET), 403, b"Unauthorized Consumer"),
        ("signature", {}, None, 401, b'{"message":"client request can\'t be validated: missing Authorization header"}'),
        ("signature", {}, ("nobody", SECRET), 401, b'{"message":"client request can\'t be validated: Invalid keyId"}'),
        (
            "signature",
            {},
            ("alice-key", OTHER),
            401,
            b'{"message":"client request can\'t be validated: Invalid signature"}',
        ),
        (
            *("signature", {"allow": ["bob"]}, ("alice-key", SECRET), 401),
            b'{"message":"client request can\'t be validated: consumer \'alice\' is not allowed"}',
        ),
        (
            *("signature", {"signed_headers": ["X-A"]}, ("alice-key", SECRET), 401),
            b'{"message":"client request can\'t be validated: expected header "x-a" missing in signing"}',
        ),
    ],
)
def test_the_answers_of_compatible_gateways(
    dialect: str, config: dict[str, Any], sign: tuple[str, str] | None, status: int, body: bytes
) -> None:
    gated = guarded({"dialects": [dialect], **config}, error_format="upstream")
    headers = gated.signer(*sign, dialect=dialect).signed("GET", "/") if sign else []
    refused = gated.ask("GET", "/", headers)
    assert (refused.status, refused.body) == (status, body)


def test_secrets_are_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    canary = "canary-secret-0123456789"
    with caplog.at_level(logging.DEBUG):
        gated = Guarded("hmac-auth", {"consumers": [{"name": "a", "key": "k", "secret": canary}], "debug": True})
        (plugin,) = gated.gateway.core.snapshot.plugins
        shown = [repr(plugin), repr(plugin.config), plugin.config.model_dump_json(), repr(vars(plugin)), caplog.text]
        for dialect in DIALECTS:
            refused = gated.ask("GET", "/", gated.signer("k", OTHER, dialect=dialect).signed("GET", "/"))
            shown.append(f"{refused.headers} {refused.body!r}")
    with pytest.raises(ConfigError) as caught:
        Guarded(
            "hmac-auth", {"consumers": [{"key": "k", "secret": canary}, {"key": "k", "name": "b", "secret": canary}]}
        )
    assert not any(canary in text for text in [*shown, str(caught.value)])


@pytest.mark.parametrize(
    ("config", "owner"),
    [(APP_2018, "consumer 'app'"), ({"credentials": [{"key": "z", "secret": "x"}]}, "an anonymous credential")],
)
def test_short_secrets_are_warned_about(config: dict[str, Any], owner: str, caplog: pytest.LogCaptureFixture) -> None:
    Gateway(Service(), {"plugins": [{"name": "hmac-auth", "config": config}]})
    expected = f"hmac-auth: {owner} has a secret of less than 16 characters"
    assert [record.getMessage() for record in caplog.records] == [expected]


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"consumers": [{"name": "a", "key": "k"}]}, ".config.consumers[0].secret: is required"),
        (
            {"consumers": [{"name": "a", "key": "k", "secret": ""}]},
            ".config.consumers[0].secret: a secret must not be empty",
        ),
        ({"consumers": [{"name": "a", "key": "", "secret": "s"}]}, ".config.consumers[0].key: string should have"),
        (
            {"consumers": [{"name": "a", "key": "k", "secret": "env:NOT_SET_ANYWHERE"}]},
            ".config.consumers[0].secret: environment variable NOT_SET_ANYWHERE is not set or empty",
        ),
        ({"consumers": [{"name": "a\n", "key": "k", "secret": "s"}]}, ".config.consumers[0]: a header value has"),
        (
            {"consumers": [BOTH[0], {**BOTH[0], "name": "eve"}]},
            ".config: consumers 'alice' and 'eve' have the same key",
        ),
        ({"consumers": [BOTH[0], {**BOTH[0], "secret": OTHER}]}, ".config: key 'alice-key' is there twice"),
        ({"credentials": [{"key": "k", "secret": SECRET}] * 2}, ".config: key 'k' is there twice"),
        (
            {"consumers": BOTH, "credentials": [{"key": "k", "secret": SECRET}]},
            ".config: should have either `consumers` or",
        ),
        ({"consumers": BOTH, "dialects": ["aws"]}, ".config.dialects[0]: should be 'x-ca' or 'signature'"),
        (
            {"consumers": BOTH, "allowed_algorithms": ["hmac-md5"]},
            ".config.allowed_algorithms[0]: should be 'hmac-sha1'",
        ),
        ({"consumers": BOTH, "allowed_algorithms": []}, ".config.allowed_algorithms: should name at least one"),
        ({"consumers": BOTH, "signed_headers": ["a b"]}, ".config.signed_headers: 'a b' is not a header name"),
        ({"consumers": BOTH, "nonce_header": "a b"}, ".config.nonce_header: 'a b' is not a header name"),
        ({"consumers": BOTH, "require_nonce": True, "refuse_replays": False}, ".config: `require_nonce` needs"),
        ({"consumers": BOTH, "clock_skw": 1}, ".config.clock_skw: unknown key (did you mean 'clock_skew'?)"),
    ],
)
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "hmac-auth", "config": config}]})
    (problem,) = [str(problem) for problem in caught.value.problems]
    assert problem.startswith(f"plugins[0]{expected}")
    assert SECRET not in problem


def test_declared_credentials_are_checked_too() -> None:
    declared = [
        {"name": "alice", "credentials": {"hmac-auth": [{"key": "k", "secret": SECRET}, {"key": "l", "secrt": "x"}]}},
        {"name": "bob", "credentials": {"hmac-auth": {"key": "k", "secret": OTHER}}},
        {"name": "eve", "credentials": {"hmac-auth": "just-a-key"}},
    ]
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"consumers": declared, "plugins": [{"name": "hmac-auth"}]})
    assert [str(problem) for problem in caught.value.problems] == [
        "consumers: 'alice', credentials.hmac-auth[1].secret: is required",
        "consumers: 'alice', credentials.hmac-auth[1].secrt: unknown key (did you mean 'secret'?)",
        "plugins[0].config: consumers 'alice' and 'bob' have the same key 'k'",
        "consumers: 'eve', credentials.hmac-auth[0]: should be a valid dictionary or instance of HmacCredential",
    ]


def test_configurations_of_compatible_gateways_load_unchanged() -> None:
    upstream = {
        "consumers": [{"access_key": "consumer1-key", "secret_key": APISIX_SECRET}],
        "global_auth": True,
        "allowed_algorithms": ["hmac-sha256"],
        "clock_skew": 60,
        "signed_headers": ["@request-target", "date"],
        "validate_request_body": True,
        "hide_credentials": True,
        "anonymous_consumer": "",
        "allow": ["consumer1-key"],
    }
    gated = Guarded("hmac-auth", upstream, start=1757721198)
    assert gated.outcome("POST", "/foo", APISIX_VECTOR) == ["consumer1-key"]  # unnamed: named by its key
    spelled = {"consumers": [{"accessKey": "k", "secretKey": SECRET}], "clockSkew": 60, "_rules_": []}
    Gateway(Service(), {"plugins": [{"name": "hmac-auth", "config": spelled}]})
    rules = {**APP, "date_offset": 3600, "_rules_": [{"_match_domain_": ["a.example.com"], "allow": ["app"]}]}
    gated = Guarded("hmac-auth", rules, start=1646365291)
    assert gated.outcome("GET", SIGN, [*GET_VECTOR, ("host", "b.example.com")]) == []
    assert gated.outcome("GET", SIGN, [*GET_VECTOR, ("host", "a.example.com")]) == ["app"]  # whom all rules know
    assert gated.outcome("GET", SIGN, [("host", "a.example.com")]) == (401, "missing_key")


def test_an_unchanged_entry_is_carried_over_a_reload() -> None:
    gated = guarded()
    before = gated.gateway.core.snapshot.plugins
    gated.gateway.reload()
    assert gated.gateway.core.snapshot.plugins == before


def test_the_example_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALICE_SECRET", SECRET)
    monkeypatch.setenv("BOB_SECRET", OTHER)
    (entry,) = yaml.safe_load((hmac_auth.__doc__ or "").split("\n\n")[1])["plugins"]
    gated = Guarded(entry["name"], entry["config"])
    for dialect in DIALECTS:
        signer = gated.signer("bob-key", OTHER, dialect=dialect, signed_headers=["x-tenant"])
        headers = signer.signed("GET", "/" + dialect, [("x-tenant", "blue")])
        if dialect == "x-ca":
            gated = Guarded(entry["name"], entry["config"])
        assert gated.outcome("GET", "/" + dialect, headers) == ["bob"]
        headers = gated.signer("alice-key", SECRET, dialect=dialect).signed("GET", "/")
        assert gated.outcome("GET", "/", headers) == (401, "expected_header_missing_in_signing")
