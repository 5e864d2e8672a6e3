"""request-block: each list on its own, the spellings of a URL, headers, bodies, configuration errors."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from aigw_middleware import ConfigError, Gateway
from aigw_middleware.plugins.security import request_block
from aigw_middleware.plugins.security.normalisation import MAX_ROUNDS, canonical_target, decoded, forms_of
from tests.plugins.service import Gated, Service

JSON = [("content-type", "application/json")]
FORM = [("content-type", "application/x-www-form-urlencoded")]


def blocked(config: dict[str, Any], target: str = "/", **options: Any) -> bool:
    gated = Gated("request-block", config)
    exchange = gated.ask(options.pop("method", "POST"), target, **options)
    assert exchange.status in (200, 403)
    assert gated.service.calls == (exchange.status == 200)
    return exchange.status == 403


# ---------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("config", "target", "expected"),
    [
        ({"block_urls": ["?foo=bar", "swagger.html"]}, "/?foo=BAR", False),
        ({"block_urls": ["?foo=bar", "swagger.html"]}, "/?foo=bar", True),
        ({"block_urls": ["?foo=bar", "swagger.html"]}, "/swagger.html?foo=BAR", True),
        ({"block_urls": ["?foo=bar", "swagger.html"], "case_sensitive": False}, "/?foo=BAR", True),
        ({"block_urls": ["?FOO=bar"], "case_sensitive": False}, "/?foo=BAR", True),
        ({"block_urls": ["Swagger"]}, "/swagger.html", False),
        ({"blockUrls": ["swagger"]}, "/x/swagger", True),
        ({"block_exact_urls": ["/admin"]}, "/admin", True),
        ({"block_exact_urls": ["/admin"]}, "/admin?x=1", False),
        ({"block_exact_urls": ["/admin"]}, "/admin/", False),
        ({"block_exact_urls": ["/admin"]}, "/Admin", False),
        ({"block_exact_urls": ["/admin?x=1"], "case_sensitive": False}, "/Admin?X=1", True),
        ({"block_exact_urls": ["/a%20b"]}, "/a%20b", True),
        ({"block_exact_urls": ["/a%20b"]}, "/%61%20b", True),
        ({"block_urls": ["%7Bx%7D"]}, "/%7bx%7d", True),
        ({"block_regexp_urls": [r"/api/v\d+/blocked"]}, "/api/v12/blocked/x", True),
        ({"block_regexp_urls": [r"/api/v\d+/blocked"]}, "/api/vx/blocked", False),
        ({"block_regexp_urls": [r"/API/v\d+"], "case_sensitive": False}, "/api/v1", True),
        ({"block_regexp_urls": [r"/api/v\D"], "case_sensitive": False}, "/api/v1", False),  # \D stays \D
        ({"block_regexp_urls": ["/api"], "regexp_full_match": True}, "/api/x", False),
        ({"block_regexp_urls": [".*api.*"], "regexp_full_match": True}, "/v1/api/x", True),
        ({"block_regexp_urls": ["^/admin$"]}, "/x/../%61dmin", True),
        ({"block_urls": [f"/page{n}" for n in range(100)]}, "/x/page77", True),
        ({"block_urls": [f"/page{n}." for n in range(100)]}, "/x/page777.", False),
        ({"block_urls": ["/ü"], "case_sensitive": False}, "/%C3%9C", True),
    ],
)
def test_urls(config: dict[str, Any], target: str, expected: bool) -> None:
    assert blocked(config, target) is expected


TRICKS = [
    "/admin/users",
    "/%61dmin/users",
    "/%2561dmin/users",
    "/%25252561dmin/users",
    "/%u0061dmin/users",
    "/%%361dmin/users",
    "//admin/users",
    "/admin//users",
    "/./admin/users",
    "/x/../admin/users",
    "/x/%2e%2e/admin/users",
    "/x/.%2e/admin/users",
    "/x%2f..%2fadmin%2fusers",
    "/x/..;/admin/users",
    "/x;a=1/..;b=2/admin/users",
    "/admin;jsessionid=1/users",
    "/admin/users;x",
    "/admin/;x/users",
    "/admin%3b/users",
    "/x\\..\\admin\\users",
    "/x%5c..%5cadmin%5cusers",
    "/%c0%ae%c0%ae/admin/users",
    "/x/%c0%ae%c0%ae%c0%afadmin/users",
    "/x/%e0%80%ae%e0%80%ae/admin/users",
    "/x/%f0%80%80%ae./admin%f0%80%80%afusers",
    "/%e1%81%a1dmin/../admin/users",
    "/%c1%a1dmin/users",
    "/%ef%bd%81dmin/users",
    "/admin%ef%bc%8fusers",
    "/adm%00in/users",
    "/ad%0amin/users",
    "/ad%09min/users",
    "/admin/./users/",
    "/admin/x/../users",
    "/../../admin/users",
    "/x%3f/../admin/users",
]


@pytest.mark.parametrize("target", TRICKS)
@pytest.mark.parametrize(
    "config",
    [{"block_urls": ["/admin/users"]}, {"block_regexp_urls": ["^/admin/users/?$"]}],
    ids=["text", "pattern"],
)
def test_spellings_of_a_path(config: dict[str, Any], target: str) -> None:
    gated = Gated("request-block", config)
    assert (gated.ask(scope={"raw_path": target.encode()}).status, gated.service.calls) == (403, 0)


@pytest.mark.parametrize(
    "target",
    ["/administration", "/x/admin", "/admin/user", "/admin/users2", "/admin;users", "/a/dmin/users", "/x?/admin/"],
)
def test_other_paths(target: str) -> None:
    assert not blocked({"block_exact_urls": ["/admin/users"], "block_urls": ["/admin/users/x"]}, target)


@pytest.mark.parametrize(
    "query", ["id=1+union+select", "id=1%20union%20select", "id=1%2bunion%2Bselect", "id=1%2520UNION select"]
)
def test_spellings_of_a_query(query: str) -> None:
    config = {"block_urls": ["union select"], "case_sensitive": False}
    gated = Gated("request-block", config)
    assert gated.ask(path="/", scope={"query_string": query.encode()}).status == 403


def test_what_is_decoded_is_looked_at_before_dot_segments_are_resolved_too() -> None:
    assert blocked({"block_urls": ["/secret/"]}, "/%73ecret/%2e%2e/public")


def test_endless_encoding_is_refused() -> None:
    target = b"/%41"
    for _ in range(MAX_ROUNDS + 2):  # the last digit anew each time, so that no round undoes two
        target = target[:-1] + b"%%3%x" % (target[-1] - 0x30)
    assert forms_of(target) is None
    assert blocked({"block_urls": ["/admin"]}, target.decode())
    assert not blocked({"block_headers": ["x-admin"]}, target.decode())  # nobody looks at URLs here


def test_many_layers_of_an_encoded_percent_are_one_look() -> None:
    assert decoded(b"/%" + b"25" * 4_000 + b"41") == b"/A"


PIECES = [
    *("/", "//", ".", "..", ";", "?", "+", "\\", "a", "admin", "5", "2f", "é", "\xc0", "\xae"),
    *("%", "%2", "%25", "%2f", "%5c", "%2e", "%3f", "%3b", "%00", "%61", "%c0%af", "%c0%ae", "%u002f", "%ef%bc%8f"),
]
TARGETS = st.lists(st.sampled_from(PIECES), max_size=14).map(lambda pieces: "".join(pieces).encode("latin-1"))


@given(TARGETS | st.binary(max_size=40))
@example(b"/%3f+")
@example(b"/%;x41")
@example(b"/\xc0%2541")
def test_canonical_targets_are_their_own_form(target: bytes) -> None:
    for form_of in (decoded, canonical_target):
        form = form_of(target)
        assert form is None or form_of(form) == form
    canonical = canonical_target(target)
    if canonical is not None:
        path = canonical.partition(b"?")[0]
        assert path.startswith(b"/")
        assert not {b".", b".."} & set(path.split(b"/"))
        assert b"//" not in path
        assert forms_of(canonical) in ((canonical,), None) or canonical in (forms_of(canonical) or ())


@given(TARGETS)
def test_no_target_raises(target: bytes) -> None:
    scope = {"raw_path": target, "path": "/", "query_string": target}
    assert ALL.ask(path="/", scope=scope, headers=[("x", target.replace(b"\0", b""))]).status in (200, 403)


ALL = Gated(
    "request-block",
    {"block_urls": ["/admin"], "block_exact_urls": ["/x"], "block_regexp_urls": ["é"], "case_sensitive": False},
)


# ---------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    ("config", "headers", "expected"),
    [
        (["example-key", "example-value"], [("example-key", "123")], True),
        (["example-key", "example-value"], [("my-header", "an example-value here")], True),
        (["example-key", "example-value"], [("my-header", "value")], False),
        (["Example-Key"], [("example-key", "123")], True),  # names have no case
        (["headerValue"], [("abc", "headervalue")], False),
        (["headerValue"], [("abc", "headerValue")], True),
        (["X-Role\nadmin"], [("x-role", "admin")], True),
        (["x-role\nadmin"], [("x-role", "user"), ("x-other", "admin")], False),
        (["1"], [("x-role", "user"), ("x-role", "1")], True),
    ],
)
def test_headers(config: list[str], headers: list[tuple[str, str]], expected: bool) -> None:
    assert blocked({"block_headers": config}, headers=headers) is expected


def test_headers_in_any_case() -> None:
    config = {"block_headers": ["headerKey", "headerValue"], "case_sensitive": False}
    assert blocked(config, headers=[("headerkey", "123")])
    assert blocked(config, headers=[("abc", "HEADERVALUE")])
    assert not blocked(config, headers=[("abc", "123")])


# ---------------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("config", "headers", "body", "expected"),
    [
        ({"block_bodys": ["Hello World"]}, [], b"Hello World", True),
        ({"block_bodies": ["Hello World"]}, [], b"hello world", False),
        ({"block_bodies": ["Hello World"], "case_sensitive": False}, [], b"say hello world", True),
        ({"blockBodies": ["hello"]}, JSON, rb'{"a":"\u0068el\u006Co"}', True),
        ({"block_bodies": ["</script>"]}, JSON, rb'{"a":"<\/script>"}', True),
        ({"block_bodies": ["a\nb"]}, JSON, json.dumps({"a": "a\nb"}).encode(), True),
        ({"block_bodies": ["😀"]}, JSON, json.dumps({"a": "😀"}).encode(), True),
        ({"block_bodies": ["\ufffd"]}, JSON, rb'{"a":"\ud800"}', True),
        ({"block_bodies": ["hello"]}, [("content-type", "application/octet-stream")], rb"\u0068ello", False),
        ({"block_bodies": ["hello world"]}, FORM, b"q=%68ello+world", True),
        ({"block_bodies": ["hello world"]}, FORM, b"q=%2568ello%20world", True),
        ({"block_bodies": ["привет"], "case_sensitive": False}, [], "ПРИВЕТ".encode(), True),
        ({"block_bodies": ["x"], "case_sensitive": False}, [], b"\xff\xfeX", True),
        ({"block_bodies": ["hello"]}, [], b"", False),
    ],
)
def test_bodies(config: dict[str, Any], headers: list[tuple[str, str]], body: bytes, expected: bool) -> None:
    assert blocked(config, headers=headers, body=[body]) is expected


def test_a_body_in_pieces_is_found_whole() -> None:
    assert blocked({"block_bodies": ["hello world"]}, body=[b"hel", b"lo wo", b"rld"])


def test_bodies_are_read_only_where_bodies_are_looked_at() -> None:
    for config, status in (({"block_urls": ["/admin"]}, 200), ({"block_bodies": ["hello"]}, 413)):
        gated = Gated("request-block", config, max_body_bytes=4)
        assert gated.ask("POST", body=[b"hello world"]).status == status


@pytest.mark.parametrize(("policy", "status"), [(None, 400), ("deny", 400), ("allow", 200)])
def test_a_body_that_cannot_be_read(policy: str | None, status: int) -> None:
    entry: dict[str, Any] = {"name": "request-block", "config": {"block_bodies": ["hello"]}}
    gated = Gated("cors", plugins=[entry | ({"on_uncovered": policy} if policy else {})])
    assert gated.ask("POST", headers=[("content-encoding", "gzip")], body=[b"\x1f\x8b"]).status == status
    assert gated.ask("POST", headers=[("content-encoding", "identity")], body=[b"fine"]).status == 200


# ---------------------------------------------------------------------- the answer


def test_the_answer_is_the_operators() -> None:
    config = {"block_urls": ["/admin"], "blocked_code": 404, "blocked_message": "nothing here"}
    exchange = Gated("request-block", config).ask(path="/admin")
    assert (exchange.status, exchange.body) == (404, b"nothing here")
    assert exchange.header("content-type") == "text/plain; charset=utf-8"
    exchange = Gated("request-block", {**config, "blocked_message": '{"a": 1}'}).ask(path="/admin")
    assert (exchange.body, exchange.header("content-type")) == (b'{"a": 1}', "application/json")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"path": "/admin"}, "url_blocked"),
        ({"headers": [("x-evil", "1")]}, "header_blocked"),
        ({"body": [b"hello"]}, "body_blocked"),
    ],
)
def test_an_answer_without_a_message_says_what_was_blocked(options: dict[str, Any], code: str) -> None:
    config = {"block_exact_urls": ["/admin"], "block_headers": ["x-evil"], "block_bodies": ["hello"]}
    exchange = Gated("request-block", config).ask("POST", **options)
    assert (exchange.status, json.loads(exchange.body)["code"]) == (403, code)
    compatible = Gated("request-block", config, error_format="upstream").ask("POST", **options)
    assert (compatible.status, compatible.body, compatible.header("content-type")) == (403, b"", None)


def test_on_wsgi() -> None:
    gated = Gated("request-block", {"block_urls": ["/admin"]})
    assert gated.ask_wsgi(path="/x/..;/%61dmin").status == 403
    assert gated.ask_wsgi(path="/x").status == 200
    assert gated.service.calls == 1


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ": names nothing to block: give one of block_urls"),
        ({"block_urls": []}, ": names nothing to block"),
        ({"block_urls": ["a", ""]}, ".block_urls: an empty text is in every request"),
        ({"block_bodies": [""]}, ".block_bodies: an empty text is in every request"),
        ({"block_regexp_urls": ["("]}, ".block_regexp_urls: is no RE2 pattern: "),
        ({"block_regexp_urls": ["(?=x)"]}, ".block_regexp_urls: is no RE2 pattern: "),
        ({"block_urls": ["a"], "blocked_code": 99}, ".blocked_code: should be greater than or equal to 200"),
        ({"block_urls": ["a"], "block_url": ["b"]}, ".block_url: unknown key (did you mean 'block_urls'?)"),
    ],
)
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "request-block", "config": config}]})
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"plugins[0].config{expected}")


def test_the_example_of_the_documentation() -> None:
    (entry,) = yaml.safe_load((request_block.__doc__ or "").split("\n\n")[1])["plugins"]
    for path, status in (("/Swagger.html", 403), ("/x/..;/metrics", 403), ("/a/.git/config", 403), ("/", 200)):
        assert Gated(entry["name"], entry["config"]).ask(path=path).status == status
    spoofed = [("x-forwarded-host", "evil.example")]
    assert Gated(entry["name"], entry["config"]).ask(headers=spoofed).status == 403
