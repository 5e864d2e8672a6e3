"""Whom to believe about the client: peers, sockets, what is remembered, and that nothing sent makes it more."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.addresses import AddressSet, parse_address
from aigw_middleware.config.models import GatewayConfig
from aigw_middleware.edge import UNIX, Edge, Forwarding
from aigw_middleware.exchange import Request
from aigw_middleware.forwarded import hops_of
from aigw_middleware.headers import Headers
from tests.forwarding import client_address

TRUSTED = ["10.0.0.0/8", "fd00::/8"]
HEADERS = ["x-forwarded-for", "forwarded", "x-real-ip", "x-original-forwarded-for"]


def request(peer: str | None, *lines: str, header: str = "x-forwarded-for") -> Request:
    made = Request()
    made.peer = peer
    made.headers = Headers([(header.encode(), line.encode("utf-8", "surrogatepass")) for line in lines], owned=True)
    return made


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        (None, "192.0.2.1"),
        ("", "192.0.2.1"),
        ("/run/app.sock", "192.0.2.1"),
        ("unix:/run/app.sock", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1"),
        ("203.0.113.1", "203.0.113.1"),
        ("testclient", "testclient"),
        ("unixoid", "unixoid"),
    ],
)
def test_who_connects_over_a_socket_is_believed_where_it_says_so(peer: str | None, client: str) -> None:
    assert Forwarding(["10.0.0.0/8", UNIX]).client(request(peer, "192.0.2.1")) == client
    without = Forwarding(["10.0.0.0/8"]).client(request(peer, "192.0.2.1"))
    assert without == ("192.0.2.1" if peer == "10.0.0.1" else peer or None)


def test_sockets_alone() -> None:
    assert Forwarding([UNIX])
    assert Forwarding([UNIX]).client(request(None, "192.0.2.1, 10.0.0.1")) == "10.0.0.1"
    assert Forwarding([UNIX]).client(request(None)) is None
    assert not Forwarding([])
    assert Forwarding([]).client(request("::ffff:192.0.2.7", "192.0.2.1")) == "192.0.2.7"


@pytest.mark.parametrize("proxies", [["*"], ["unix"], ["unix:/run/app.sock"], ["localhost"], ["10.0.0.0/8,fd00::/8"]])
def test_what_is_no_proxy(proxies: list[str]) -> None:
    with pytest.raises(ValueError, match="not an IP address or network"):
        Forwarding(proxies)


def test_another_header_and_nobody_named() -> None:
    forwarding = Forwarding(TRUSTED)
    named = request("10.0.0.1", "192.0.2.1", header="x-client")
    assert (forwarding.named(named), forwarding.named(named, "X-Client")) == (None, "192.0.2.1")
    assert forwarding.named(request("10.0.0.1", "unknown")) is None
    assert forwarding.named(request("203.0.113.1", "192.0.2.1")) is None
    assert Forwarding([]).named(request("10.0.0.1", "192.0.2.1")) is None


def test_the_edge_takes_what_is_supplied_in_place_of_the_configuration() -> None:
    config = GatewayConfig(trusted_proxies=("10.0.0.0/8",), client_header="X-Real-IP")
    asked = request("10.0.0.1", "192.0.2.1", header="x-real-ip")
    assert Edge(config, ()).client(asked) == "192.0.2.1"
    assert Edge(config, (), Forwarding(["10.0.0.0/8"])).client(asked) == "10.0.0.1"
    assert Edge(config, (), Forwarding([])).client(asked) == "10.0.0.1"


hops = st.sampled_from(
    [
        "192.0.2.1",
        "10.0.0.2",
        "10.0.0.3:80",
        "[fd00::5]:1",
        '"[2001:db8::1]:4711"',
        "unknown",
        "_x",
        "010.0.0.1",
        " ",
        "x",
    ]
)
lines = st.lists(st.lists(hops, max_size=5).map(",".join) | st.text(max_size=20), max_size=3)
peers = st.sampled_from([None, "", "10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "192.0.2.9", "/s", "x"])


@given(peers, lines, st.sampled_from(HEADERS), st.integers(1, 4))
def test_what_is_remembered_is_what_is_found(peer: str | None, sent: list[str], header: str, max_hops: int) -> None:
    forwarding, trusted = Forwarding(TRUSTED, header, max_hops), AddressSet(TRUSTED)
    asked = request(peer, *sent, header=header)
    expected = client_address(peer, hops_of(header, asked.headers.get_all(header)), trusted, max_hops)
    assert [forwarding.client(asked) for _ in range(2)] == [expected, expected]


chain = st.lists(st.ip_addresses(v=4) | st.ip_addresses(v=6), min_size=1, max_size=6)


@given(chain, st.integers(0, 6), st.integers(1, 6), st.lists(hops, max_size=4))
def test_no_more_hops_are_believed_than_configured(
    way: list[ipaddress.IPv4Address | ipaddress.IPv6Address], proxies: int, max_hops: int, sent: list[str]
) -> None:
    """The client, then proxies that each append whom they saw; the client may send anything in front."""
    texts = list(map(str, way))
    trusted = texts[1:][len(texts[1:]) - min(proxies, len(texts) - 1) :]
    forwarding = Forwarding(trusted, max_hops=max_hops)
    asked = request(texts[-1], ",".join([*sent, *texts[:-1]]))
    known = {parse_address(text) for text in trusted}
    appended = [parse_address(text) for text in reversed(texts)]
    expected = appended[0]
    for believed, address in enumerate(appended[1:]):
        if believed == max_hops or expected not in known:
            break
        expected = address
    else:
        if expected in known and len(appended) <= max_hops:
            return  # the client is one of the proxies, and what it sends counts
    found = forwarding.client(asked)
    assert found is not None
    assert parse_address(found) == expected


@given(st.binary(max_size=60), st.sampled_from(HEADERS), peers)
def test_garbage_is_never_more_than_no_address(sent: bytes, header: str, peer: str | None) -> None:
    asked = Request()
    asked.peer = peer
    asked.headers = Headers([(header.encode(), sent), (header.encode(), sent)], owned=True)
    client = Forwarding(TRUSTED, header).client(asked)
    assert client is None or client == peer or parse_address(client) is not None


def test_long_lines_are_read_and_not_remembered() -> None:
    forwarding = Forwarding(TRUSTED)
    long = "198.51.100.1, " * 1_000 + "192.0.2.1, 10.0.0.2"
    assert forwarding.client(request("10.0.0.1", long)) == "192.0.2.1"
    assert forwarding.client(request("10.0.0.1", "192.0.2.1")) == "192.0.2.1"
    assert forwarding._known.cache_info().currsize == 1
