"""`http-real-ip`: whom every plug-in takes a request to come from, whatever the client sends in front of it."""

from typing import Any

import pytest

from aigw_middleware import ConfigError, Gateway, HttpRealIp, Plugin, PluginConfig, Stage
from aigw_middleware.cli.suspicions import suspicions
from aigw_middleware.exchange import Exchange
from tests.plugins.chat import example, problems
from tests.plugins.clients import Called
from tests.plugins.service import Service

PROXIES = ["10.0.0.0/8", "fd00::/8"]
XFF = "x-forwarded-for"


def entry(header: str = XFF, *, rules: Any = (), **config: Any) -> dict[str, Any]:
    """The entry of a configuration."""
    return {
        "name": "http-real-ip",
        "config": {"real_ip_from": PROXIES, "real_ip_header": header, **config},
        "rules": list(rules),
    }


# What a client may send through a proxy that appends whom it saw, which was 192.0.2.1.
SPOOFS = [
    "10.0.0.9",
    "127.0.0.1, 10.0.0.9",
    "unknown",
    "_hidden, 10.0.0.9",
    "::ffff:10.0.0.9",
    "[::ffff:10.0.0.9]:80",
    '"10.0.0.9',
    '"10.0.0.9\\"',
    "for=10.0.0.9",
    "10.0.0.9;",
    "0x0a.0.0.9",
    "0x0a000009",
    "167772169",
    "010.0.0.9",
    "012.0.0.011",
    "10.9",
    "fd00::1%eth0",
    "10.0.0.9%00",
    "10.0.0.9\t10.0.0.8",
    ",,, ,",
    "a" * 5_000,
    "10.0.0.9, " * 100,
    "\u0661\u0660.0.0.9",
    "\u00ff\u00fe",
]


@pytest.mark.parametrize("sent", SPOOFS)
def test_what_a_client_sends_in_front_does_not_count(sent: str) -> None:
    called = Called(entry())
    called.ask("10.0.0.1", [(XFF, f"{sent}, 192.0.2.1")])
    assert called.client == "192.0.2.1"
    called.ask("10.0.0.1", [(XFF, sent), (XFF, "192.0.2.1, 10.0.0.2")])
    assert called.client == "192.0.2.1"
    called.ask("198.51.100.7", [(XFF, sent)])
    assert called.client == "198.51.100.7"


# What may stand in the last place, where a trusted proxy writes.
LAST = [
    ("192.0.2.1", "192.0.2.1"),
    (" 192.0.2.1 ", "192.0.2.1"),
    ("192.0.2.1:8080", "192.0.2.1"),
    ("192.0.2.1:_port", "192.0.2.1"),
    ('"192.0.2.1:8080"', "192.0.2.1"),
    ("2001:db8::1", "2001:db8::1"),
    ("2001:DB8:0:0::1", "2001:db8::1"),
    ("[2001:db8::1]", "2001:db8::1"),
    ("[2001:db8::1]:8080", "2001:db8::1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("::ffff:c000:201", "192.0.2.1"),
    ("fe80::1%eth0", "fe80::1"),
    ("[fe80::1%25eth0]:1", "fe80::1"),
    # No addresses: nobody is named, so the proxy itself is all that is known.
    ("unknown", "10.0.0.1"),
    ("unknown:80", "10.0.0.1"),
    ("_hidden", "10.0.0.1"),
    ("-", "10.0.0.1"),
    ("localhost", "10.0.0.1"),
    ("192.0.2.1.", "10.0.0.1"),
    ("192.0.2.1:", "10.0.0.1"),
    ("192.0.2.1:99999", "10.0.0.1"),
    ("192.0.2.1/32", "10.0.0.1"),
    ("192.0.2.256", "10.0.0.1"),
    ("192.0.2", "10.0.0.1"),
    ("3221225985", "10.0.0.1"),
    ("0xc0000201", "10.0.0.1"),
    ("0300.0.2.1", "10.0.0.1"),
    ("192.0.2.01", "10.0.0.1"),
    ("[192.0.2.1]", "10.0.0.1"),
    ("[2001:db8::1", "10.0.0.1"),
    ("[2001:db8::1]x", "10.0.0.1"),
    ("::ffff:192.0.2.01", "10.0.0.1"),
    ("::8:8:8:8:8:8:8:8:8", "10.0.0.1"),
    ("192.0.2.1%eth0", "10.0.0.1"),
]


@pytest.mark.parametrize(("named", "client"), LAST)
def test_every_spelling_of_who_is_named(named: str, client: str) -> None:
    called = Called(entry())
    called.ask("10.0.0.1", [(XFF, f"198.51.100.7, {named}")])
    assert called.client == client
    called.ask_wsgi("10.0.0.1", [(XFF, f"198.51.100.7, {named}")])
    assert called.client == client


# Peer, lines, whom the walk finds, whom the last address alone names. What other projects' tables have in common.
WALKS = [
    ("10.0.0.1", [], "10.0.0.1", "10.0.0.1"),
    ("10.0.0.1", [""], "10.0.0.1", "10.0.0.1"),
    ("10.0.0.1", [" , ,"], "10.0.0.1", "10.0.0.1"),
    ("203.0.113.1", ["192.0.2.1"], "203.0.113.1", "203.0.113.1"),
    ("10.0.0.1", ["192.0.2.1"], "192.0.2.1", "192.0.2.1"),
    ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1", "192.0.2.1"),
    ("fd00::1", ["2001:db8::1, fd00::2"], "2001:db8::1", "fd00::2"),
    ("10.0.0.1", ["198.51.100.1, 192.0.2.1"], "192.0.2.1", "192.0.2.1"),
    ("10.0.0.1", ["10.0.0.3, 192.0.2.1, 10.0.0.2"], "192.0.2.1", "10.0.0.2"),
    ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3", "10.0.0.2"),
    ("10.0.0.1", ["10.0.0.3", "192.0.2.1", "10.0.0.2"], "192.0.2.1", "10.0.0.2"),
    ("10.0.0.1", ["192.0.2.1", "10.0.0.4, 10.0.0.2"], "192.0.2.1", "10.0.0.2"),
    ("10.0.0.1", ["192.0.2.1,10.0.0.2"], "192.0.2.1", "10.0.0.2"),
    ("10.0.0.1", ["router, 10.0.0.3, proxy"], "10.0.0.1", "10.0.0.1"),
    ("10.0.0.1", ["router, 10.0.0.3"], "10.0.0.3", "10.0.0.3"),
    ("10.0.0.1", ["192.0.2.1, , ,10.0.0.2, "], "192.0.2.1", "10.0.0.2"),
    ("testclient", ["192.0.2.1"], "testclient", "testclient"),
    (None, ["192.0.2.1"], None, None),
]


@pytest.mark.parametrize(("peer", "lines", "walked", "last"), WALKS)
def test_the_walk_and_the_last_address(
    peer: str | None, lines: list[str], walked: str | None, last: str | None
) -> None:
    headers = [(XFF, line) for line in lines]
    for key, value, client in (
        ("recursive", True, walked),
        ("recursive", False, last),
        ("real_ip_recursive", False, last),
        ("realIpRecursive", True, walked),
    ):
        called = Called(entry(**{key: value}))
        called.ask(peer, headers)
        assert called.client == client


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_no_more_hops_than_configured(hops: int) -> None:
    called = Called(entry(max_hops=hops, real_ip_from=["0.0.0.0/0"]))
    called.ask("10.0.0.1", [(XFF, "192.0.2.4, 192.0.2.3, 192.0.2.2, 192.0.2.1")])
    assert called.client == f"192.0.2.{hops}"


FORWARDED = [
    (["for=192.0.2.1"], "192.0.2.1"),
    (["For=192.0.2.1;Proto=https;By=10.0.0.1;Host=example.com"], "192.0.2.1"),
    (['for="192.0.2.1:4711"'], "192.0.2.1"),
    (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
    (['for="[2001:db8:cafe::17]:_port"'], "2001:db8:cafe::17"),
    (['proto=https ; for="192.0.2.1" ; by=_gateway'], "192.0.2.1"),
    (['for="192\\.0.2.1"'], "192.0.2.1"),
    (["for=192.0.2.1, for=10.0.0.2"], "192.0.2.1"),
    (["for=198.51.100.1", "for=192.0.2.1, for=10.0.0.2"], "192.0.2.1"),
    (["for=192.0.2.1;x=a, for=10.0.0.2"], "192.0.2.1"),
    (["for=192.0.2.1, for=unknown"], "10.0.0.1"),
    (["for=192.0.2.1, for=_gazonk, for=10.0.0.2"], "10.0.0.2"),
    (["for=192.0.2.1, proto=https"], "10.0.0.1"),
    (["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1"),
    (["192.0.2.1"], "10.0.0.1"),
    (["for=192.0.2.1, for"], "10.0.0.1"),
    (['for="192.0.2.1'], "10.0.0.1"),
    (['for="192.0.2.1, 192.0.2.2"'], "10.0.0.1"),
    (["for=''"], "10.0.0.1"),
    (["iam=anattacker;metoo, I will crash you!!P;m,xx"], "10.0.0.1"),
    # A client that leaves a quote open, or escapes the one that a proxy writes, hides nothing that comes after.
    (['for="10.0.0.9, for=192.0.2.1'], "192.0.2.1"),
    (['for="10.0.0.9, for="192.0.2.1:80"'], "192.0.2.1"),
    (['for="10.0.0.9\\", for="[2001:db8::1]"'], "2001:db8::1"),
    (['for=10.0.0.9;host="a, for=10.0.0.8", for=192.0.2.1'], "192.0.2.1"),
    (["for=10.0.0.9\\, for=192.0.2.1"], "192.0.2.1"),
]


@pytest.mark.parametrize(("lines", "client"), FORWARDED)
def test_forwarded(lines: list[str], client: str) -> None:
    called = Called(entry("Forwarded"))
    called.ask("10.0.0.1", [("Forwarded", line) for line in lines])
    assert called.client == client
    called.ask("203.0.113.5", [("Forwarded", line) for line in lines])
    assert called.client == "203.0.113.5"


def test_other_headers_do_not_count() -> None:
    sent = [(XFF, "192.0.2.1"), ("x-real-ip", "192.0.2.2"), ("forwarded", "for=192.0.2.3"), ("cf-connecting-ip", "::1")]
    sent += [("x_forwarded_for", "192.0.2.9"), ("x-forwarded", "192.0.2.9"), ("x-client-ip", "192.0.2.9")]
    found = {}
    for header in (XFF, "X-Real-IP", "Forwarded", "CF-Connecting-IP", "true-client-ip"):
        called = Called(entry(header))
        called.ask("10.0.0.1", sent)
        found[header] = called.client
    assert list(found.values()) == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "::1", "10.0.0.1"]


def test_of_x_real_ip_the_last_one_counts() -> None:
    called = Called(entry("x-real-ip"))
    called.ask("10.0.0.1", [("X-Real-IP", "198.51.100.1"), ("X-Real-IP", "192.0.2.1")])
    assert called.client == "192.0.2.1"
    called.ask("10.0.0.1", [("X-Real-IP", "192.0.2.1"), ("X-Real-IP", "garbage")])
    assert called.client == "10.0.0.1"


def test_a_unix_socket() -> None:
    called = Called(entry(real_ip_from=["unix:"]))
    called.ask(None, [(XFF, "192.0.2.1")])
    assert called.client == "192.0.2.1"
    called.ask("10.0.0.1", [(XFF, "192.0.2.1")])
    assert called.client == "10.0.0.1"


# ---------------------------------------------------------------------- where it applies


def test_it_takes_the_place_of_the_keys_at_the_top() -> None:
    headers = [(XFF, "192.0.2.1"), ("x-real-ip", "192.0.2.2")]
    top = {"trusted_proxies": ["10.0.0.0/8"], "client_header": "x-real-ip"}
    clients = []
    for entries in ((), (entry(),), (entry(real_ip_from=["172.16.0.0/12"]),), ({**entry(), "enabled": False},)):
        called = Called(*entries, **top)
        called.ask("10.0.0.1", headers)
        clients.append(called.client)
    assert clients == ["192.0.2.2", "192.0.2.1", "10.0.0.1", "192.0.2.2"]


RULES = [
    {"match": {"path_prefix": "/direct"}, "enabled": False},
    {"match": {"path_prefix": "/cdn"}, "config": {"real_ip_header": "cf-connecting-ip"}},
]


@pytest.mark.parametrize("again", [1, 3])  # the second time the route is remembered
def test_rules_choose_whom_to_believe(again: int) -> None:
    called = Called(entry(rules=RULES), trusted_proxies=["172.16.0.0/12"])
    headers = [(XFF, "192.0.2.1"), ("cf-connecting-ip", "192.0.2.2")]
    for path, peer, client in (
        ("/", "10.0.0.1", "192.0.2.1"),
        ("/cdn/x", "10.0.0.1", "192.0.2.2"),
        ("/direct/x", "10.0.0.1", "10.0.0.1"),
        ("/direct/x", "172.16.0.1", "192.0.2.1"),
        ("/cdn/x", "172.16.0.1", "172.16.0.1"),
    ):
        for _ in range(again):
            called.ask(peer, headers, path=path)
            assert called.client == client


def test_the_rules_of_compatible_gateways() -> None:
    rule = {"_match_domain_": ["*.example.com"], "real_ip_from": ["10.0.0.0/8"], "real_ip_header": "x-real-ip"}
    called = Called({"name": "http-real-ip", "config": {"_rules_": [rule]}})
    for host, client in (("api.example.com", "192.0.2.1"), ("example.org", "10.0.0.1")):
        called.ask("10.0.0.1", [("host", host), ("x-real-ip", "192.0.2.1")])
        assert called.client == client


def test_plug_ins_given_in_code() -> None:
    called = Called()
    assert called.gateway.core.snapshot.edge.forwarding.max_hops == 32
    gateway = Gateway(called.service, plugins=[HttpRealIp(real_ip_from=["10.0.0.1"], max_hops=3), called.first])
    assert gateway.core.snapshot.edge.forwarding.max_hops == 3
    called.gateway = gateway
    called.ask("10.0.0.1", [(XFF, "192.0.2.1")])
    assert called.first.seen == ["192.0.2.1"]


def test_a_websocket_comes_from_its_client_too() -> None:
    called = Called(entry())
    called.ask("10.0.0.1", [(XFF, "192.0.2.1")], scope={"type": "websocket", "subprotocols": []})
    assert called.first.seen == ["192.0.2.1"]


class Rewrite(Plugin[PluginConfig]):
    """Changes the header between http-real-ip and whoever asks."""

    name, stage, priority = "rewrite", Stage.AUTHENTICATION, 900

    def on_request(self, exchange: Exchange) -> None:
        exchange.request.headers.set(XFF, "198.51.100.7")


def test_the_client_stays_when_a_plug_in_changes_the_header() -> None:
    called = Called()
    called.gateway = Gateway(called.service, {"plugins": [entry()]}, plugins=[Rewrite(), called.last])
    called.ask("10.0.0.1", [(XFF, "192.0.2.1")])
    assert called.service.header(XFF) == ["198.51.100.7"]
    assert called.last.seen == ["192.0.2.1"]


def test_the_record_says_it_when_asked() -> None:
    for debug, lines in ((True, [("http-real-ip", "changed", "the client is 192.0.2.1")]), (False, [])):
        called = Called(entry(), debug=debug)
        called.ask("10.0.0.1", [(XFF, "192.0.2.1")])
        assert [line for line in called.records if line[1] == "changed"] == lines


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ("plugins[0].config.real_ip_from", "is required")),
        (
            {"real_ip_from": []},
            ("plugins[0].config.real_ip_from", "should name the proxies that are believed, for example [10.0.0.0/8]"),
        ),
        (
            {"real_ip_from": ["10.0.0.0/8", "*", "proxy.example.com"]},
            ("plugins[0].config.real_ip_from", "not an IP address or network: '*', 'proxy.example.com'"),
        ),
        (
            {"real_ip_from": ["10.0.0.1"], "real_ip_header": "x forwarded"},
            ("plugins[0].config.real_ip_header", "'x forwarded' is not a header name"),
        ),
        (
            {"real_ip_from": ["10.0.0.1"], "max_hops": 0},
            ("plugins[0].config.max_hops", "should be greater than or equal to 1"),
        ),
        ({"real_ip_from": ["10.0.0.1"], "recursion": True}, ("plugins[0].config.recursion", "unknown key")),
    ],
)
def test_problems(config: dict[str, Any], expected: tuple[str, str]) -> None:
    assert problems({"name": "http-real-ip", "config": config}) == [expected]


@pytest.mark.parametrize("header", ["proxy_protocol", "Proxy-Protocol"])
def test_the_proxy_protocol_is_for_the_server(header: str) -> None:
    [(path, message)] = problems(entry(header))
    assert path == "plugins[0].config.real_ip_header"
    assert message.startswith("proxy_protocol is spoken before HTTP, to the server")


def test_where_it_has_no_meaning() -> None:
    with pytest.raises(ConfigError, match="inbound exchanges only"):
        Gateway(Service(), {"outgoing": [entry()]})
    assert problems({**entry(), "shadow": True}) == [
        ("plugins[0].shadow", "http-real-ip has no effect to leave out: it cannot run in shadow")
    ]
    late = entry(rules=[{"match": {"group": "staff"}, "config": {"recursive": False}}])
    assert problems(late) == [
        ("plugins[0].rules[0].match", "http-real-ip says who the client is before consumer, group or model are known")
    ]


def test_one_alone_says_who_the_client_is() -> None:
    message = "another plug-in already says who the client is, for every request"
    assert problems(entry(), {**entry(), "id": "b"}) == [("plugins[1]", message)]
    some = {"name": "http-real-ip", "id": "c", "rules": [{"match": {"path": "/a"}, "config": entry()["config"]}]}
    assert problems(some, entry()) == [("plugins[1]", message)]
    with pytest.raises(ConfigError, match=message):
        Gateway(Service(), {"plugins": [entry()]}, plugins=[HttpRealIp(real_ip_from=["10.0.0.1"])])
    other = {**some, "id": "d", "rules": [{"match": {"path": "/b"}, "config": entry("x-real-ip")["config"]}]}
    called = Called(some, other)
    for path, client in (("/a", "192.0.2.1"), ("/b", "192.0.2.2"), ("/c", "10.0.0.1")):
        called.ask("10.0.0.1", [(XFF, "192.0.2.1"), ("x-real-ip", "192.0.2.2")], path=path)
        assert called.client == client


def test_the_example() -> None:
    called = Called(*example(HttpRealIp)["plugins"])
    assert called.ask("10.0.0.1", [(XFF, "192.0.2.1, 198.51.100.7, 10.0.0.2")]).status == 403
    assert called.ask("10.0.0.1", [(XFF, "198.51.100.7, 192.0.2.1, 10.0.0.2")]).status == 200
    assert called.ask("192.0.2.9", [(XFF, "198.51.100.7")]).status == 200
    assert list(suspicions(called.gateway.core.snapshot)) == []
