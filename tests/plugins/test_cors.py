"""cors: which origins, methods and headers are allowed, what preflights and responses carry, and that refusals carry it too."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.middleware.cors import CORSMiddleware

from aigw_middleware import ConfigError, Cors, Gateway
from aigw_middleware.plugins.security import cors
from aigw_middleware.plugins.security.origins import OriginPattern, canonical_origin
from aigw_middleware.plugins.security.preflights import MAX_ANSWERS, MAX_ASKED_BYTES, PreflightAnswers
from aigw_middleware.testing.asgi import AsgiExchange
from aigw_middleware.testing.wsgi import WsgiExchange
from tests.plugins.service import Gated, Service

APP = "https://app.example.com"
LISTED = {"allow_origins": [APP]}
VARY_PREFLIGHT = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


def fields(exchange: AsgiExchange | WsgiExchange) -> dict[str, str]:
    """The fields of CORS on a response, each of which is there once, without their common prefix."""
    found: dict[str, str] = {}
    for name, value in exchange.headers:
        text = (name.decode() if isinstance(name, bytes) else name).lower()
        if text.startswith("access-control-"):
            assert text not in found
            found[text.removeprefix("access-control-")] = value.decode() if isinstance(value, bytes) else value
    return found


def preflight(
    gated: Gated, origin: str = APP, method: str = "PUT", headers: str | None = None, **more: str
) -> AsgiExchange:
    asked = [("origin", origin), ("access-control-request-method", method), *more.items()]
    if headers is not None:
        asked.append(("access-control-request-headers", headers))
    exchange = gated.ask("OPTIONS", headers=asked)
    assert (exchange.status, exchange.body, gated.service.calls) == (204, b"", 0)
    assert exchange.header("vary") == VARY_PREFLIGHT
    return exchange


def allowed(config: Mapping[str, Any], origin: str) -> bool:
    """Whether an origin may read a response, which a preflight must agree with."""
    gated = Gated("cors", config)
    announced = fields(preflight(gated, origin)).get("allow-origin")
    answer = fields(gated.ask(headers=[("origin", origin)])).get("allow-origin")
    assert announced == answer
    assert answer in (None, origin)
    return answer is not None


# ---------------------------------------------------------------------- origins


@pytest.mark.parametrize(
    ("config", "origin", "expected"),
    [
        ({}, APP, True),
        ({}, "http://localhost:3000", True),
        ({}, "chrome-extension://abcdefgh", True),
        ({}, "file://", True),
        ({}, "null", False),
        ({}, "no origin at all", False),
        ({}, "https://a.example/path", False),
        ({"allow_origins": ["*"]}, APP, True),
        ({"allow_origins": ["*"]}, "null", False),
        ({"allow_origins": ["*", "null"]}, "null", True),
        ({"allow_origins": []}, APP, False),
        ({"allow_credentials": True}, APP, False),
        (LISTED, APP, True),
        (LISTED, "https://APP.example.com", True),
        (LISTED, APP + ":443", True),
        (LISTED, APP + ":8443", False),
        (LISTED, APP + ":65979", False),  # no port: it would be 443 in 16 bits
        ({**LISTED, "allow_origin_regex": None}, APP, True),
        (LISTED, "http://app.example.com", False),
        (LISTED, "null", False),
        (LISTED, APP + ".evil.com", False),
        (LISTED, "https://evilapp.example.com", False),
        (LISTED, "https://app.example.com@evil.com", False),
        (LISTED, "https://appxexample.com", False),
        (LISTED, "https://evil.com", False),
        ({"allow_origins": ["https://App.Example.com:443/"]}, APP, True),
        ({"allow_origins": [APP, "http://[::1]:8080"]}, "http://[::1]:8080", True),
        ({"allow_origins": ["file://", "capacitor://localhost"]}, "file://", True),
        ({"allow_origins": ["capacitor://localhost"]}, "capacitor://localhost", True),
        ({"allow_origins": ["capacitor://localhost"]}, "file://", False),
        (LISTED, "https://", False),
        ({"allow_origin_patterns": ["https://*.example.com"]}, APP, True),
        ({"allow_origin_patterns": ["https://*.example.com/"]}, APP.upper(), True),
        ({"allow_origin_patterns": ["https://*.example.com"]}, "https://a.b.example.com", True),
        ({"allow_origin_patterns": ["https://*.example.com"]}, "https://example.com", False),
        ({"allow_origin_patterns": ["https://*.example.com"]}, "http://app.example.com", False),
        ({"allow_origin_patterns": ["https://*.example.com"]}, APP + ".evil.com", False),
        ({"allow_origin_patterns": ["https://*.example.com"]}, APP + ":8443", False),
        ({"allow_origin_patterns": ["https://*.example.com"]}, "https://evil.com/.example.com", False),
        ({"allow_origin_patterns": ["https://*.example.com"]}, "https://evil.com#.example.com", False),
        ({"allow_origin_patterns": ["https://*.example.com"]}, "xhttps://app.example.com", False),
        ({"allow_origin_patterns": ["https://*.example.com"]}, "null", False),
        ({"allow_origin_patterns": ["*"]}, "null", False),
        ({"allow_origin_patterns": ["*"], "allow_credentials": True}, "https://any.where:1", True),
        ({"allow_origin_patterns": ["*.example.com"]}, "http://x.example.com", True),
        ({"allow_origin_patterns": ["http*://localhost:[*]"]}, "http://localhost", True),
        ({"allow_origin_patterns": ["http*://localhost:[*]"]}, "https://localhost:5173", True),
        ({"allow_origin_patterns": ["http*://localhost:[*]"]}, "https://localhost.evil.com:5173", False),
        ({"allow_origin_patterns": ["http://*.a.b:[8080, 9090]"]}, "http://x.a.b:9090", True),
        ({"allow_origin_patterns": ["http://*.a.b:[8080,9090]"]}, "http://x.a.b", False),
        ({"allow_origin_patterns": ["http://*.a.b:[8080,9090]"]}, "http://x.a.b:80", False),
        ({"allow_origin_patterns": ["http://*.a.b:[8080,9090]"]}, "http://x.a.b:80809090", False),
        ({"allow_origin_patterns": ["https://*.a.b:[443,8443]"]}, "https://x.a.b", True),  # its port is 443
        ({"allow_origin_patterns": ["https://*.a.b:443"]}, "https://x.a.b", True),
        ({"allow_origin_patterns": ["https://x-*-y-*-z.a"]}, "https://x-1-y-2-z.a", True),
        ({"allow_origin_patterns": ["https://x-*-y-*-z.a"]}, "https://x-1-y-z.a", False),
        ({"allow_origin_patterns": ["https://a*a.b"]}, "https://a.b", False),  # the two do not share a letter
        ({"allow_origin_patterns": ["http://localhost:8080"]}, "http://localhost:8080", True),
        ({"allow_origin_regex": r"https://[a-z]+\.example\.com"}, APP, True),
        ({"allow_origin_regex": r"https://[a-z]+\.example\.com"}, APP + ".evil.com", False),
        ({"allow_origin_regex": r"https://[a-z]+\.example\.com"}, "xhttps://app.example.com", False),
        ({"allow_origin_regex": ".*"}, "null", False),
        ({"allowOriginPatterns": ["https://*.example.com"], "allowCredentials": True}, APP, True),
    ],
)
def test_origins(config: dict[str, Any], origin: str, expected: bool) -> None:
    assert allowed(config, origin) is expected


@pytest.mark.parametrize(
    ("host", "scheme", "origin", "cross"),
    [
        ("app.example.com", "https", APP, False),
        ("APP.example.com:443", "https", APP, False),
        ("app.example.com", "https", APP + ":443", False),
        ("app.example.com", "http", APP, True),
        ("app.example.com:8443", "https", APP, True),
        ("api.example.com", "https", APP, True),
        ("example.com", "https", APP, True),
        ("[::1]:8080", "http", "http://[::1]:8080", False),
        ("[::1]:8080", "http", "http://[::1]", True),
        ("", "https", APP, True),
    ],
)
def test_a_services_own_origin_is_not_cross_origin(host: str, scheme: str, origin: str, cross: bool) -> None:
    gated = Gated("cors")
    exchange = gated.ask(headers=[("host", host), ("origin", origin)], scope={"scheme": scheme})
    assert ("allow-origin" in fields(exchange)) is cross
    assert exchange.header("vary") == "Origin"
    asked = [("host", host), ("origin", origin), ("access-control-request-method", "PUT")]
    assert (gated.ask("OPTIONS", headers=asked, scope={"scheme": scheme}).status == 204) is cross


# ---------------------------------------------------------------------- preflight requests

DEFAULT_HEADERS = (
    "DNT, X-CustomHeader, Keep-Alive, User-Agent, X-Requested-With, If-Modified-Since, Cache-Control, Content-Type, "
    "Authorization"
)


@pytest.mark.parametrize(
    ("config", "asked", "expected"),
    [
        (
            {},
            {"method": "PUT", "headers": "authorization,content-type"},
            {
                "allow-origin": APP,
                "allow-methods": "GET, PUT, POST, DELETE, PATCH, OPTIONS",
                "allow-headers": DEFAULT_HEADERS,
                "max-age": "86400",
            },
        ),
        ({}, {"method": "PURGE"}, {}),
        ({}, {"headers": "x-unknown"}, {}),
        ({}, {"headers": "content-type, x-unknown"}, {}),
        ({}, {"origin": "null"}, {}),
        (
            {
                **LISTED,
                "allow_credentials": True,
                "max_age": 600,
                "allow_methods": ["get", "put"],
                "allow_headers": ["X-A"],
            },
            {"headers": " X-a ,, "},
            {
                "allow-origin": APP,
                "allow-credentials": "true",
                "allow-methods": "GET, PUT",
                "allow-headers": "X-A",
                "max-age": "600",
            },
        ),
        (
            {"allow_methods": ["*"], "allow_headers": ["*"], "max_age": -1},
            {"method": "PURGE", "headers": "authorization,x-any"},
            {"allow-origin": APP, "allow-methods": "PURGE", "allow-headers": "authorization, x-any", "max-age": "-1"},
        ),
        (
            {"allow_methods": "*", "allow_headers": "*"},
            {"method": "PUT"},
            {"allow-origin": APP, "allow-methods": "PUT", "max-age": "86400"},
        ),
        ({"allow_methods": "*"}, {"method": "NO METHOD"}, {}),
        ({"allow_headers": "*"}, {"headers": "x-a, b\u00e9"}, {}),
        ({"allow_methods": ["GET"]}, {"method": "HEAD"}, {"allow-methods": "GET"}),
        ({"allow_methods": ["POST"]}, {"method": "GET"}, {}),
        ({"allow_headers": ["X-A"]}, {"headers": "content-type,x-a"}, {"allow-headers": "X-A, content-type"}),
        ({"allow_headers": []}, {"headers": "accept"}, {"allow-headers": "accept"}),
        ({"allow_headers": []}, {"headers": "authorization"}, {}),
    ],
)
def test_preflight(config: dict[str, Any], asked: dict[str, str], expected: dict[str, str]) -> None:
    found = fields(preflight(Gated("cors", config), **asked))
    assert expected.items() <= found.items()
    assert bool(found) is bool(expected)
    if "max-age" in expected:
        assert found == expected


@pytest.mark.parametrize(("allow", "expected"), [(False, None), (True, "true")])
def test_private_networks(allow: bool, expected: str | None) -> None:
    gated = Gated("cors", {"allow_private_network": allow})
    asked = {"access-control-request-private-network": "true"}
    assert fields(preflight(gated, **asked)).get("allow-private-network") == expected
    assert "allow-private-network" not in fields(preflight(gated))


def test_other_options_requests_reach_the_service() -> None:
    gated = Gated("cors")
    gated.ask("OPTIONS", headers=[("origin", APP)])
    gated.ask("OPTIONS", headers=[("access-control-request-method", "PUT")])
    gated.ask("GET", headers=[("origin", APP), ("access-control-request-method", "PUT")])
    assert gated.service.calls == 3


def test_a_preflight_needs_no_credential() -> None:
    gated = Gated("cors", plugins=[{"name": "key-auth", "config": {"keys": ["x-api-key"]}}])
    assert "allow-origin" in fields(preflight(gated))


def test_answers_are_remembered_by_all_that_was_asked_and_bounded() -> None:
    asked: list[tuple[bytes, ...]] = []

    def answer(*key: Any) -> tuple[tuple[bytes, bytes], ...]:
        asked.append(key)
        return ((b"x", key[0]),)

    answers = PreflightAnswers(answer)
    keys = [
        (b"o", b"GET", b"", False),
        (b"o", b"GET", b"", True),
        (b"o", b"GET", b"x", False),
        (b"p", b"GET", b"", False),
    ]
    for key in keys * 3:
        assert answers.find(*key) == ((b"x", key[0]),)
    assert asked == keys
    answers.find(b"o", b"GET", b"x" * MAX_ASKED_BYTES, False)
    assert len(answers) == len(keys)
    for number in range(2 * MAX_ANSWERS):
        answers.find(b"%d" % number, b"GET", b"", False)
    assert len(answers) == MAX_ANSWERS


def test_what_was_asked_in_several_lines() -> None:
    gated = Gated("cors", {"allow_headers": ["x-a", "x-b"]})
    asked = [("origin", APP), ("access-control-request-method", "PUT"), ("access-control-request-headers", "x-a")]
    for last, allowed_there in (("x-b", True), ("x-c", False)):
        exchange = gated.ask("OPTIONS", headers=[*asked, ("access-control-request-headers", last)])
        assert ("allow-origin" in fields(exchange)) is allowed_there


# ---------------------------------------------------------------------- responses


def test_an_allowed_response_is_marked() -> None:
    config = {**LISTED, "allow_credentials": True, "expose_headers": ["X-A", "X-B"]}
    exchange = Gated("cors", config).ask(headers=[("origin", APP)])
    assert fields(exchange) == {"allow-origin": APP, "allow-credentials": "true", "expose-headers": "X-A, X-B"}
    assert exchange.header("vary") == "Origin"


@pytest.mark.parametrize(
    ("method", "methods", "marked"),
    [
        ("POST", ["GET"], False),
        ("HEAD", ["GET"], True),
        ("GET", ["GET"], True),
        ("PURGE", ["*"], True),
        ("HEAD", ["POST"], False),
    ],
)
def test_what_is_not_allowed_reaches_the_service_and_is_not_marked(
    method: str, methods: list[str], marked: bool
) -> None:
    gated = Gated("cors", {"allow_methods": methods})
    exchange = gated.ask(method, headers=[("origin", APP)])
    assert (exchange.status, gated.service.calls) == (200, 1)
    assert ("allow-origin" in fields(exchange)) is marked
    assert exchange.header("vary") == "Origin"


@pytest.mark.parametrize("origin", [APP, "https://evil.com", None])
def test_what_the_service_says_of_cors_is_replaced(origin: str | None) -> None:
    sent = [
        ("Access-Control-Allow-Origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Secret"),
        ("X-Cors-Version", "1"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ]
    gated = Gated("cors", LISTED, Service(headers=sent))
    exchange = gated.ask(headers=[("origin", origin)] if origin else [])
    assert fields(exchange) == ({"allow-origin": APP} if origin == APP else {})
    assert exchange.header("x-cors-version") is None
    assert exchange.header("set-cookie") == "a=1, b=2"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], "Origin"),
        (["Accept-Encoding"], "Accept-Encoding, Origin"),
        (["Accept", "Cookie"], "Accept, Cookie, Origin"),
        (["origin, Accept"], "origin, Accept"),
        (["*"], "*"),
    ],
)
@pytest.mark.parametrize("origin", [APP, "https://evil.com", None])
def test_vary_is_merged_whoever_asks(origin: str | None, sent: list[str], expected: str) -> None:
    gated = Gated("cors", LISTED, Service(headers=[("Vary", value) for value in sent]))
    exchange = gated.ask(headers=[("origin", origin)] if origin else [])
    assert exchange.header("vary") == expected


def test_every_refusal_and_error_is_marked() -> None:
    limit = {"limit_by_header": "x-k", "limit_keys": [{"key": "*", "query_per_day": 1}]}
    others = [
        {"name": "key-auth", "config": {"keys": ["x-api-key"], "credentials": ["k" * 20], "allow": []}},
        {"name": "key-rate-limit", "config": limit},
    ]
    gated = Gated("cors", {**LISTED, "expose_headers": ["Retry-After"]}, plugins=others, max_body_bytes=3)
    right = [("origin", APP), ("x-api-key", "k" * 20), ("x-k", "1")]
    expected = {"allow-origin": APP, "expose-headers": "Retry-After"}
    for status, headers in ((401, right[:1]), (200, right), (429, right)):
        exchange = gated.ask(headers=headers)
        assert (exchange.status, fields(exchange)) == (status, expected)
        assert exchange.header("vary") == "Origin"
    broken = Gated("cors", LISTED, Service(fails=True)).ask(headers=[("origin", APP)])
    assert (broken.status, fields(broken)) == (500, {"allow-origin": APP})
    ambiguous = Gated("cors", LISTED, rules=[{"match": {"path": "/x"}, "config": LISTED}])
    exchange = ambiguous.ask(path="/a//b", headers=[("origin", APP)])
    assert (exchange.status, fields(exchange)) == (400, {"allow-origin": APP})


def test_on_wsgi() -> None:
    gated = Gated("cors", LISTED)
    exchange = gated.ask_wsgi(headers=[("origin", APP)])
    assert (exchange.status, fields(exchange), exchange.header("vary")) == (200, {"allow-origin": APP}, "Origin")
    asked = [("origin", APP), ("access-control-request-method", "PUT")]
    answer = gated.ask_wsgi("OPTIONS", headers=asked)
    assert (answer.status, fields(answer)["allow-origin"], gated.service.calls) == (204, APP, 1)


# ---------------------------------------------------------------------- trace


@pytest.mark.parametrize(
    ("origin", "method", "headers", "reason"),
    [
        (APP, "PUT", "x-a", None),
        ("https://evil.com", "PUT", "x-a", "the origin is not allowed"),
        (APP, "POST", "x-a", "the method is not allowed"),
        (APP, "PUT", "x-b", "a header is not allowed"),
    ],
)
def test_trace_says_why(origin: str, method: str, headers: str, reason: str | None) -> None:
    config = {**LISTED, "allow_methods": ["PUT"], "allow_headers": ["x-a"], "trace": True}
    exchange = preflight(Gated("cors", config), origin, method, headers)
    assert (exchange.header("x-cors-version"), exchange.header("x-cors-trace")) == ("2.0.1", reason)
    silent = preflight(Gated("cors", {**config, "trace": False}), origin, method, headers)
    assert (silent.header("x-cors-version"), silent.header("x-cors-trace")) == (None, None)
    if reason != "a header is not allowed":  # of those only a preflight tells
        actual = Gated("cors", config).ask(method, headers=[("origin", origin)])
        assert (actual.header("x-cors-version"), actual.header("x-cors-trace")) == ("2.0.1", reason)


# ---------------------------------------------------------------------- hostile input


@given(st.binary(max_size=60), st.binary(max_size=20), st.binary(max_size=40))
def test_any_preflight_is_answered(origin: bytes, method: bytes, headers: bytes) -> None:
    asked = [("origin", origin), ("access-control-request-method", method), ("access-control-request-headers", headers)]
    exchange = FUZZED.ask("OPTIONS", headers=asked)
    assert exchange.status == (204 if origin and method else 200)
    for name, value in exchange.headers:
        assert not {10, 13, 0} & {*name, *value}


FUZZED = Gated("cors", {"allow_origins": ["*"], "allow_methods": "*", "allow_headers": "*"})

LABEL = st.text("abc", min_size=1, max_size=3)


@given(st.lists(LABEL, min_size=1, max_size=4), LABEL, st.sampled_from(["http", "https"]))
def test_a_pattern_never_matches_another_site(labels: list[str], evil: str, scheme: str) -> None:
    origin = canonical_origin(f"{scheme}://{'.'.join(labels)}.example.com".encode())
    other = canonical_origin(f"{scheme}://{'.'.join(labels)}.example.com.{evil}".encode())
    assert origin is not None
    assert other is not None
    pattern = OriginPattern(f"{scheme}://*.example.com")
    assert pattern.matches(origin)
    assert not pattern.matches(other)
    assert canonical_origin(origin.text) == origin


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"allow_origins": ["*"], "allow_credentials": True},
            ": allow_origins: * cannot be used with allow_credentials",
        ),
        ({"allow_origins": ["https://*.a.b"]}, ".allow_origins: 'https://*.a.b' is no origin such as https://example"),
        ({"allow_origins": ["https://a.b:65536"]}, ".allow_origins: 'https://a.b:65536' is no origin"),
        ({"allow_origins": ["app.example.com"]}, ".allow_origins: 'app.example.com' is no origin"),
        ({"allow_origins": [APP + "/path"]}, ".allow_origins: 'https://app.example.com/path' is no origin"),
        ({"allow_origin_patterns": ["example.com"]}, ".allow_origin_patterns: 'example.com' matches no origin"),
        ({"allow_origin_patterns": ["https://*.a:[80"]}, ".allow_origin_patterns: 'https://*.a:[80' matches no origin"),
        ({"allow_origin_patterns": ["https://*/x"]}, ".allow_origin_patterns: 'https://*/x' matches no origin"),
        ({"allow_origin_regex": "(?=x)"}, ".allow_origin_regex: is no RE2 pattern: "),
        ({"allow_methods": ["GE T"]}, ".allow_methods: 'GE T' is not a header name"),
        ({"expose_headers": ["a\nb"]}, ".expose_headers: 'a\\nb' is not a header name"),
        ({"max_age": -2}, ".max_age: should be greater than or equal to -1"),
        ({"allow_origin": APP}, ".allow_origin: unknown key (did you mean 'allow_origins'?)"),
    ],
)
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "cors", "config": config}]})
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"plugins[0].config{expected}")


def test_in_the_place_of_starlettes_middleware() -> None:
    gated = Gated("cors")
    gated.gateway = Cors(
        gated.service,
        allow_origins=["https://other.example"],
        allow_origin_regex="https://.*[.]example[.]com",
        allow_methods=["*"],
        allow_headers=["X-Token"],
        allow_credentials=True,
        allow_private_network=True,
        expose_headers=("X-A",),
        max_age=600,
    )._gateway
    found = fields(preflight(gated, headers="content-type,x-token"))
    assert found["allow-origin"] == APP
    assert {"content-type", "x-token"} <= {name.strip().lower() for name in found["allow-headers"].split(",")}


# ---------------------------------------------------------------------- as browsers see it, beside Starlette's

ORIGINS = [APP, "https://other.example", "https://a.example.com:8443", "http://app.example.com", "null"]
METHODS = ["GET", "POST", "PUT", "DELETE", "PURGE"]
NAMES = ["content-type", "accept", "x-a", "X-B", "authorization"]
CONFIGS = st.fixed_dictionaries(
    {
        "allow_origins": st.just(["*"]) | st.lists(st.sampled_from(ORIGINS), max_size=3),
        "allow_methods": st.just(["*"]) | st.lists(st.sampled_from(METHODS), max_size=4),
        "allow_headers": st.just(["*"]) | st.lists(st.sampled_from(NAMES), max_size=3),
        "allow_credentials": st.booleans(),
        "expose_headers": st.lists(st.sampled_from(["X-A", "X-B"]), max_size=2),
        "max_age": st.integers(0, 600),
    },
    optional={
        "allow_origin_regex": st.sampled_from([r"https://.*\.example\.com(:\d+)?", "https://app.*", "http://.*"])
    },
).filter(lambda config: not (config["allow_credentials"] and "*" in config["allow_origins"]))


def readable(exchange: AsgiExchange, origin: str, cookies: bool) -> bool:
    """Fetch, section 4.10: the CORS check."""
    found = fields(exchange)
    allowed_origin = found.get("allow-origin")
    if allowed_origin == "*" and not cookies:
        return True
    return allowed_origin == origin and (not cookies or found.get("allow-credentials") == "true")


def preflight_passes(exchange: AsgiExchange, origin: str, method: str, names: list[str], cookies: bool) -> bool:
    """Fetch, section 4.8: the CORS-preflight fetch."""
    found = fields(exchange)
    methods = [part.strip() for part in found.get("allow-methods", "").split(",")]
    headers = [part.strip().lower() for part in found.get("allow-headers", "").split(",")]
    any_method, any_header = "*" in methods and not cookies, "*" in headers and not cookies
    return (
        readable(exchange, origin, cookies)
        and 200 <= (exchange.status or 0) <= 299
        and (method in methods or method in ("GET", "HEAD", "POST") or any_method)
        and all(name in headers or (any_header and name != "authorization") for name in names)
    )


@given(
    CONFIGS,
    st.sampled_from(ORIGINS),
    st.sampled_from(METHODS),
    st.lists(st.sampled_from(["content-type", "x-a", "x-b", "authorization"]), max_size=3, unique=True),
    st.booleans(),
)
def test_browsers_decide_as_behind_starlettes_middleware(
    config: dict[str, Any], origin: str, method: str, names: list[str], cookies: bool
) -> None:
    every = "*" in config["allow_methods"]
    assume(origin != "null" or "*" not in config["allow_origins"])  # there `*` is everybody, `null` too
    assume(method != "PURGE" or not every)  # there `*` is seven methods, here it is any
    ours = Gated("cors", config)
    theirs = Gated("cors")
    theirs.gateway = CORSMiddleware(Service(), **config)  # type: ignore[assignment]
    actual = [("origin", origin), *([("cookie", "a=1")] if cookies else [])]
    asked = [("origin", origin), ("access-control-request-method", method)]
    if names:
        asked.append(("access-control-request-headers", ",".join(names)))
    here, there = ours.ask("OPTIONS", headers=asked), theirs.ask("OPTIONS", headers=asked, scope=STATE)
    passes = preflight_passes(there, origin, method, names, cookies)
    assert preflight_passes(here, origin, method, names, cookies) is passes
    here, there = ours.ask(method, headers=actual), theirs.ask(method, headers=actual, scope=STATE)
    assert fields(here).get("max-age") is None
    if passes or config["allow_methods"] == ["*"] or method in config["allow_methods"]:
        assert readable(here, origin, cookies) is readable(there, origin, cookies)
        if readable(here, origin, cookies):
            assert fields(here).get("expose-headers") == fields(there).get("expose-headers")


class Somebody:
    """What the service looks for in the scope."""

    consumer = None


STATE = {"state": {"aigw": Somebody()}}


def test_the_example_of_the_documentation() -> None:
    (entry,) = yaml.safe_load((cors.__doc__ or "").split("\n\n")[1])["plugins"]
    exchange = Gated(entry["name"], entry["config"]).ask(headers=[("origin", "https://x.example.org:9090")])
    assert fields(exchange) == {
        "allow-origin": "https://x.example.org:9090",
        "allow-credentials": "true",
        "expose-headers": "X-Request-Id",
    }
