"""custom-response: at once, by status, by rules; and what is refused at load."""

from typing import Any

import pytest
import yaml

from aigw_middleware import ConfigError, Gateway
from aigw_middleware.plugins.transport import custom_response
from aigw_middleware.testing.asgi import AsgiExchange
from tests.plugins.service import Gated, Service

OURS = b"ours"


def answer(config: dict[str, Any], status: int = 200, method: str = "GET") -> AsgiExchange:
    return Gated("custom-response", config, Service(status, [("x-service", "1"), ("etag", '"e"')])).ask(method)


# ---------------------------------------------------------------------- at once


@pytest.mark.parametrize(
    ("config", "status", "content_type", "body"),
    [
        ({}, 200, None, b""),
        ({"status_code": 404}, 404, None, b""),
        ({"body": "hello"}, 200, "text/plain; charset=utf-8", b"hello"),
        ({"body": '{"hello": "世界"}'}, 200, "application/json; charset=utf-8", '{"hello": "世界"}'.encode()),
        ({"body": "[1, 2]"}, 200, "application/json; charset=utf-8", b"[1, 2]"),
        ({"body": "{hello}"}, 200, "text/plain; charset=utf-8", b"{hello}"),
        ({"body": "<p>", "headers": ["Content-Type=text/html"]}, 200, "text/html", b"<p>"),
        ({"body": "x", "headers": ["content-length=99"]}, 200, "text/plain; charset=utf-8", b"x"),
        ({"statusCode": 503, "body": "x"}, 503, "text/plain; charset=utf-8", b"x"),
        ({"rules": [{"body": "first"}, {"body": "second"}]}, 200, "text/plain; charset=utf-8", b"first"),
    ],
)
def test_an_answer_at_once(config: dict[str, Any], status: int, content_type: str | None, body: bytes) -> None:
    gated = Gated("custom-response", config)
    exchange = gated.ask("POST", body=[b"never read"], forbid_receive=True)
    assert (exchange.status, exchange.header("content-type"), exchange.body) == (status, content_type, body)
    assert exchange.header("content-length") == str(len(body))
    assert gated.service.calls == 0


def test_headers_are_sent_in_order_and_may_repeat() -> None:
    headers = ["Set-Cookie=a=1; Path=/", "Set-Cookie=b=2", "X-Empty=", "Location=https://a.example/?b=c"]
    exchange = Gated("custom-response", {"status_code": 302, "headers": headers}).ask()
    assert exchange.headers[:4] == [
        (b"set-cookie", b"a=1; Path=/"),
        (b"set-cookie", b"b=2"),
        (b"x-empty", b""),
        (b"location", b"https://a.example/?b=c"),
    ]


def test_it_answers_before_callers_are_authenticated_and_after_cors() -> None:
    others = [{"name": "key-auth", "config": {"keys": ["x-api-key"]}}, {"name": "cors"}]
    gated = Gated("custom-response", {"body": "down"}, plugins=others)
    exchange = gated.ask(headers=[("origin", "https://a.example")])
    assert (exchange.status, exchange.body) == (200, b"down")
    assert exchange.header("access-control-allow-origin") == "https://a.example"


# ---------------------------------------------------------------------- by status


RULES = [
    {"enable_on_status": ["4xx"], "body": "4xx"},
    {"enable_on_status": ["40x", "x1x"], "body": "40x"},  # for 40x the earlier pattern stands first
    {"enable_on_status": [404, "418"], "body": "exact"},
    {"enable_on_status": ["51X"], "body": "51x"},
]
DEFAULT = {"body": "default", "status_code": 299}


@pytest.mark.parametrize(
    ("config", "status", "body"),
    [
        ({"enable_on_status": [404], "body": "ours"}, 404, OURS),
        ({"enable_on_status": [404], "body": "ours"}, 403, None),
        ({"enable_on_status": 404, "body": "ours"}, 404, OURS),
        ({"enable_on_status": ["4xx", 500], "body": "ours"}, 499, OURS),
        ({"enable_on_status": ["4xx", 500], "body": "ours"}, 500, OURS),
        ({"enable_on_status": ["4xx", 500], "body": "ours"}, 501, None),
        ({"enable_on_status": ["4xx", 500], "body": "ours"}, 399, None),
        ({"enable_on_status": ["20x"], "body": "ours"}, 210, None),
        ({"enableOnStatus": ["xxx"], "body": "ours"}, 200, OURS),
        ({"rules": RULES}, 404, b"exact"),
        ({"rules": RULES}, 418, b"exact"),
        ({"rules": RULES}, 403, b"4xx"),
        ({"rules": RULES}, 512, b"40x"),
        ({"rules": RULES}, 500, None),
        ({"rules": [DEFAULT, *RULES]}, 404, b"exact"),
        ({"rules": [DEFAULT, *RULES]}, 500, b"default"),
        ({"rules": [*RULES, DEFAULT, {"body": "never"}]}, 200, b"default"),
    ],
)
def test_answers_of_the_service_are_replaced(config: dict[str, Any], status: int, body: bytes | None) -> None:
    exchange = answer(config, status)
    assert exchange.body == (b"from the service" if body is None else body)
    replaced = 299 if body == b"default" else 200
    assert exchange.status == (status if body is None else replaced)
    assert exchange.header("x-service") == ("1" if body is None else None)
    assert exchange.header("etag") == ('"e"' if body is None else None)


def test_a_head_request_gets_the_head() -> None:
    exchange = answer({"enable_on_status": [404], "body": "ours"}, 404, "HEAD")
    assert (exchange.status, exchange.body, exchange.header("content-length")) == (200, b"", "4")


def test_refusals_of_other_plugins_stay() -> None:
    others = [{"name": "key-auth", "config": {"keys": ["x-api-key"]}}]
    gated = Gated("custom-response", {"enable_on_status": [401], "body": "ours"}, plugins=others)
    assert gated.ask().status == 401


def test_rules_by_path() -> None:
    gated = Gated("custom-response", rules=[{"match": {"path_prefix": "/down"}, "config": {"status_code": 503}}])
    assert (gated.ask(path="/down/x").status, gated.ask(path="/").status) == (503, 200)


def test_on_wsgi() -> None:
    at_once = Gated("custom-response", {"status_code": 503, "body": "down"})
    exchange = at_once.ask_wsgi()
    assert (exchange.status, exchange.body, at_once.service.calls) == (503, b"down", 0)
    by_status = Gated("custom-response", {"rules": [*RULES, DEFAULT]}, Service(404))
    exchange = by_status.ask_wsgi()
    assert (exchange.status, exchange.body, exchange.header("content-length")) == (200, b"exact", "5")


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"enable_on_status": ["4x"]}, ".enable_on_status: '4x' is no status such as 404, 40x or 4xx"),
        ({"enable_on_status": [99]}, ".enable_on_status: '99' is no status"),
        ({"enable_on_status": ["xx"]}, ".enable_on_status: 'xx' is no status"),
        ({"enable_on_status": [True]}, ".enable_on_status[0]: should be a valid string"),
        ({"enable_on_status": [404, "404"]}, ": status 404 is named twice"),
        ({"rules": [{"enable_on_status": ["4xx"]}, {"enable_on_status": ["4XX"]}]}, ": status 4xx is named twice"),
        ({"rules": [{"body": "a"}], "body": "b"}, ": should have either `rules` or status_code, headers, body"),
        (
            {"rules": [{"headers": ["no separator"]}]},
            ".rules[0].headers: 'no separator' should be written as name=value",
        ),
        ({"headers": ["a b=c"]}, ".headers: 'a b' is not a header name"),
        ({"headers": ["a=b\r\nc: d"]}, ".headers: a header value has a line break or a NUL"),
        ({"headers": ["transfer-encoding=chunked"]}, ".headers: transfer-encoding is hop-by-hop"),
        ({"status_code": 204, "body": "x"}, ": a response of status 204 has no body"),
        ({"status_code": 99}, ".status_code: should be greater than or equal to 200"),
        ({"status": 404}, ".status: unknown key (did you mean 'status_code'?)"),
    ],
)
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "custom-response", "config": config}]})
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"plugins[0].config{expected}")


def test_the_example_of_the_documentation() -> None:
    (entry,) = yaml.safe_load((custom_response.__doc__ or "").split("\n\n")[1])["plugins"]
    exchange = answer(entry["config"], 404)
    assert (exchange.status, exchange.json()) == (200, {"items": []})
    exchange = answer(entry["config"], 502)
    assert (exchange.status, exchange.header("retry-after"), exchange.body) == (503, "30", b"Back in a moment.")
