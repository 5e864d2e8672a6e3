"""Addresses as proxies write them, sets of networks against `ipaddress`, and the walk to the client."""

import ipaddress
import random
import socket
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.addresses import (
    AddressSet,
    format_address,
    parse_address,
    parse_network,
    reported_address,
    usual_spelling,
)
from tests.forwarding import client_address

V4 = bytes([192, 0, 2, 1])
V6 = bytes.fromhex("20010db8000000000000000000000001")


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("192.0.2.1", V4),
        (" \t192.0.2.1 ", V4),
        ("192.0.2.1:443", V4),
        ("192.0.2.1:_hidden", V4),
        ('"192.0.2.1:443"', V4),
        ('" 192.0.2.1 "', V4),
        ("::ffff:192.0.2.1", V4),
        ("::ffff:c000:201", V4),
        ("[::ffff:192.0.2.1]:1", V4),
        ("2001:db8::1", V6),
        ("2001:DB8:0::1", V6),
        ("[2001:db8::1]", V6),
        ("[2001:db8::1]:4711", V6),
        ('"[2001:db8::1]:4711"', V6),
        ('"[2001:db8::1]:_x.y-z"', V6),
        ("2001:db8::1%eth0", V6),
        ("[2001:db8::1%25eth0]:80", V6),
        ("::", bytes(16)),
        ("::192.0.2.1", bytes(12) + V4),
        ("0.0.0.0", bytes(4)),
    ],
)
def test_addresses(text: str, packed: bytes) -> None:
    assert parse_address(text) == packed


NOT_ADDRESSES = """
    unknown _gazonk _ - localhost proxy.example for=192.0.2.1 192.0.2.1, 192.0.2.1/32
    192.0.2 1 192.0.2.256 192.0.2.1.1 010.0.0.1 192.0.2.01 0x7f.0.0.1 192.0.2.1%eth0 +1.2.3.4
    192.0.2.1: 192.0.2.1:x 192.0.2.1:65536 192.0.2.1:123456 192.0.2.1:_ :80 : " "" "192.0.2.1
    ١.٢.٣.٤ 192.0.2.1:٨٠ 192。0。2。1
    [192.0.2.1] [192.0.2.1]:80 [2001:db8::1 2001:db8::1] [2001:db8::1]80 [2001:db8::1]: [] []:80 [::]x:1
    2001:db8::1% 2001:db8:::1 2001:db8::g ::ffff:010.0.2.1 ::ffff:192.0.2 12345::
"""


@pytest.mark.parametrize(
    "text",
    ["", " ", "192.0.2.1\n", "192.0.2.1\0", "192.0.2.1 :80", "192.0.2.1:_a b", "\udcff", *NOT_ADDRESSES.split()],
)
def test_not_addresses(text: str) -> None:
    assert parse_address(text) is None


def test_octets_with_leading_zeros_are_refused_where_the_platform_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(family: int, text: str) -> bytes:
        return socket.inet_pton(family, text.replace("010.", "8."))

    monkeypatch.setattr("aigw_middleware.addresses.inet_pton", lenient)
    assert parse_address("8.0.0.1") is not None
    assert parse_address("010.0.0.1") is None
    assert parse_address("::ffff:010.0.0.1") is None


def test_format_address() -> None:
    assert format_address(V4) == "192.0.2.1"
    assert format_address(V6) == "2001:db8::1"
    assert format_address(bytes(10) + b"\xff\xff" + V4) == "192.0.2.1"
    for wrong in (b"", b"12345", bytes(10) + b"\xff\xff"):
        with pytest.raises(ValueError, match="invalid length"):
            format_address(wrong)


addresses = st.ip_addresses()
# Close together, so that networks overlap and touch.
near = st.tuples(
    st.sampled_from(["10.0.{}.{}", "255.255.{}.{}", "2001:db8::{:x}{:02x}", "ffff:{0:x}ff::{1:x}"]),
    *[st.integers(0, 255)] * 2,
).map(lambda parts: ipaddress.ip_address(parts[0].format(*parts[1:])))
networks = (addresses | near).flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(
        lambda bits: ipaddress.ip_network(f"{address}/{bits}", strict=False)
    )
)


MAPPED = ipaddress.ip_network("::ffff:0:0/96")


def is_mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address in MAPPED


@given(addresses | near)
def test_every_spelling_of_an_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    packed = (mapped or address).packed
    spellings = [str(address), address.exploded, f' "{address}" ']
    spellings += [f"{address}:80"] if address.version == 4 else [f"[{address}]", f"[{address}]:80", f"{address}%eth0"]
    assert [parse_address(spelling) for spelling in spellings] == [packed] * len(spellings)
    assert parse_address(format_address(packed)) == packed
    assert format_address(address.packed) == format_address(packed)


@given(st.text() | st.text('0123456789abcdef:.[]%"_ /'))
def test_any_text_is_an_address_or_none(text: str) -> None:
    packed = parse_address(text)
    if packed is not None:
        assert parse_address(format_address(packed)) == packed
        assert ipaddress.ip_address(format_address(packed)).packed == packed


@pytest.mark.parametrize("many", [8192, 1])  # with 1, every set has the index of a large one
@given(st.lists(networks, max_size=12), st.lists(addresses | near, max_size=8), st.randoms(use_true_random=False))
def test_membership_is_that_of_ipaddress(
    many: int,
    members: list[ipaddress.IPv4Network | ipaddress.IPv6Network],
    others: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
    chance: random.Random,
) -> None:
    members = [network for network in members if not is_mapped(network[0])]
    cidrs = [str(network) for network in members]
    chance.shuffle(cidrs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aigw_middleware.addresses._MANY_BOUNDARIES", many)
        known = AddressSet(cidrs)
    edges = [edge for network in members for edge in (network[0], network[-1])]
    beside = [
        type(edge)(number)
        for edge in edges
        for number in (int(edge) - 1, int(edge) + 1)
        if 0 <= number < 1 << edge.max_prefixlen
    ]
    for address in [*edges, *beside, *others]:
        if is_mapped(address):
            continue  # they are IPv4: see the next test
        expected = any(address in network for network in members)
        assert (address.packed in known) is expected
        assert (str(address) in known) is expected
    assert bool(known) is bool(members)
    assert len(known) == len(union(members, 4)) + len(union(members, 6))


def union(members: list[ipaddress.IPv4Network | ipaddress.IPv6Network], version: int) -> list[list[int]]:
    """Ranges that neither overlap nor touch, the slow way."""
    out: list[list[int]] = []
    for first, last in sorted((int(network[0]), int(network[-1])) for network in members if network.version == version):
        if out and first <= out[-1][1] + 1:
            out[-1][1] = max(out[-1][1], last)
        else:
            out.append([first, last])
    return out


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_mapped_addresses_are_ipv4(network: ipaddress.IPv4Address, bits: int, address: ipaddress.IPv4Address) -> None:
    plain, mapped = AddressSet([f"{network}/{bits}"]), AddressSet([f"::ffff:{network}/{bits + 96}"])
    expected = address in ipaddress.ip_network(f"{network}/{bits}", strict=False)
    for known in (plain, mapped):
        for spelling in (
            str(address),
            f"::ffff:{address}",
            address.packed,
            ipaddress.ip_address(f"::ffff:{address}").packed,
        ):
            assert (spelling in known) is expected


def test_families_do_not_mix() -> None:
    assert "192.0.2.1" not in AddressSet(["::/0"])
    assert "192.0.2.1" not in AddressSet(["::ffff:0:0/95"])
    assert "::fffe:0:1" in AddressSet(["::ffff:0:0/95"])
    assert "::1" not in AddressSet(["0.0.0.0/0"])
    assert "255.255.255.255" in AddressSet(["0.0.0.0/0"])
    assert "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" in AddressSet(["::/0"])


def test_no_address_is_in_no_set() -> None:
    everything = AddressSet(["0.0.0.0/0", "::/0"])
    assert "unknown" not in everything
    assert b"12345" not in everything
    assert not AddressSet()
    assert "10.0.0.1" not in AddressSet()


def test_a_large_set() -> None:
    known = AddressSet(f"{n >> 16}.{n >> 8 & 255}.{n & 255}.{n % 7 * 16}/28" for n in range(1 << 16, 1 << 23, 97))
    assert len(known) > 8192
    for n in range(1 << 16, 1 << 23, 97 * 11):
        start = int(ipaddress.ip_address(f"{n >> 16}.{n >> 8 & 255}.{n & 255}.{n % 7 * 16}"))
        inside = [(start + offset).to_bytes(4) in known for offset in (-1, 0, 15, 16)]
        assert inside == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", (V4, 32)),
        (" 192.0.2.1/24 ", (V4, 24)),
        ("2001:db8::1/48", (V6, 48)),
        ("::ffff:192.0.2.1/120", (V4, 24)),
        ("::ffff:0:0/95", (bytes(10) + b"\xff\xff" + bytes(4), 95)),
        ("192.0.2.1/33", None),
        ("192.0.2.1:80", None),
        ("[2001:db8::1]", None),
        ("fe80::1%eth0", None),
        ("", None),
    ],
)
def test_networks(text: str, network: tuple[bytes, int] | None) -> None:
    assert parse_network(text) == network


def test_a_set_of_networks_is_that_of_their_texts() -> None:
    texts = ["10.0.0.0/8", "2001:db8::/32", "2001:db8::7", "192.0.2.1"]
    known = AddressSet.of(network for network in map(parse_network, texts) if network is not None)
    assert len(known) == 3
    assert [text in known for text in ("10.1.2.3", "2001:db8:1::", "192.0.2.1", "192.0.2.2")] == [True] * 3 + [False]


@pytest.mark.parametrize(("kind", "limit"), [("{}.{}.{}.0/24", 16), ("2001:{:x}:{:x}:{:x}::/64", 40)])
def test_a_network_takes_few_bytes(kind: str, limit: int) -> None:
    texts = [kind.format(n >> 10 & 127, n >> 2 & 255, n & 3) for n in range(1, 40_000, 2)]
    tracemalloc.start()
    known = AddressSet(texts)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    index = (1 << 18) if ":" not in kind else 0  # for the whole of a large set
    assert len(known) > 15_000
    assert (taken - index) / len(known) < limit


def test_host_bits_are_ignored_and_ranges_joined() -> None:
    known = AddressSet(["10.1.2.3/8", " 11.0.0.0/8 ", "11.5.0.0/16", "192.0.2.1", "2001:db8::7/32"])
    assert "10.255.0.1" in known
    assert "2001:db8:ffff::" in known
    assert "192.0.2.2" not in known
    assert len(known) == 3
    assert repr(known) == "<AddressSet of 3 ranges>"


def test_every_bad_entry_is_listed() -> None:
    bad = ["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/255.0.0.0", "10.0.0.0/٨", "example.com", ""]
    bad += [
        "10.0.0.1:80",
        "[::1]",
        "fe80::%eth0/10",
        "010.0.0.0/8",
        "10.0.0.0/8/8",
        '"10.0.0.1"',
        "10/8",
        "10.0.0.0/ 8",
    ]
    with pytest.raises(ValueError, match="not an IP address or network") as caught:
        AddressSet(["10.0.0.0/8", *bad, "::1"])
    for entry in bad:
        assert repr(entry) in str(caught.value)
    assert "'10.0.0.0/8'" not in str(caught.value)
    assert "'::1'" not in str(caught.value)


def test_of_many_bad_entries_twenty_are_listed() -> None:
    with pytest.raises(ValueError, match=r"'bad19', and 3 more$"):
        AddressSet(f"bad{number}" for number in range(23))


TRUSTED = AddressSet(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (None, ["192.0.2.1"], None),
        ("", ["192.0.2.1"], None),
        ("testclient", ["192.0.2.1"], "testclient"),
        ("/run/app.sock", ["192.0.2.1"], "/run/app.sock"),
        ("203.0.113.1", [], "203.0.113.1"),
        ("203.0.113.1", ["192.0.2.1"], "203.0.113.1"),
        ("::ffff:203.0.113.1", ["192.0.2.1"], "203.0.113.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.9", "192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.9", "192.0.2.1", "10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.9, 192.0.2.1", "10.0.0.2,10.0.0.3"], "192.0.2.1"),
        ("10.0.0.1", ["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.1", "unknown", "10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["192.0.2.1", "garbage"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1", "_hidden", "10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["192.0.2.1, , 10.0.0.2,,", " ", ""], "192.0.2.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("fd00::1", ['"[2001:DB8::1]:4711"'], "2001:db8::1"),
        ("10.0.0.1", ["192.0.2.1:8080"], "192.0.2.1"),
        ("10.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["192.0.2.1", "::ffff:10.0.0.9"], "192.0.2.1"),
        ("10.0.0.1", ["192.0.2.1", "010.0.0.9"], "10.0.0.1"),
    ],
)
def test_client_address(peer: str | None, forwarded: list[str], client: str | None) -> None:
    assert client_address(peer, forwarded, TRUSTED) == client


def test_nobody_is_trusted_by_default() -> None:
    assert client_address("10.0.0.1", ["192.0.2.1"], AddressSet()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("max_hops", "client"),
    [(-1, "10.0.0.1"), (0, "10.0.0.1"), (1, "10.0.0.2"), (2, "10.0.0.3"), (3, "192.0.2.1"), (4, "192.0.2.1")],
)
def test_no_more_hops_are_believed_than_configured(max_hops: int, client: str) -> None:
    forwarded = ["198.51.100.9, 192.0.2.1, 10.0.0.3", "10.0.0.2"]
    assert client_address("10.0.0.1", forwarded, TRUSTED, max_hops) == client


def test_a_long_chain_is_read_to_the_bound_only() -> None:
    assert client_address("10.0.0.1", ["192.0.2.1"] + ["10.0.0.2"] * 100_000, TRUSTED) == "10.0.0.2"
    assert client_address("10.0.0.1", ["192.0.2.1," + "," * 100_000], TRUSTED) == "192.0.2.1"


@given(
    st.lists(st.sampled_from(["192.0.2.1", "10.0.0.2", "10.0.0.3", "unknown", "2001:db8::1", "fd00::5", " "])),
    st.integers(0, 6),
)
def test_the_client_is_never_left_of_the_first_untrusted_hop(hops: list[str], max_hops: int) -> None:
    hops = [hop for hop in hops if hop != " "]
    expected = "10.0.0.1"
    for hop in hops[::-1][:max_hops]:
        if hop == "unknown":
            break
        expected = hop
        if not hop.startswith(("10.", "fd00")):
            break
    assert client_address("10.0.0.1", hops, TRUSTED, max_hops) == expected
    assert client_address("10.0.0.1", [" ,".join(hops)], TRUSTED, max_hops) == expected


@pytest.mark.parametrize(
    ("forwarded", "max_hops", "client"),
    [
        ([], 9, None),
        (["unknown"], 9, None),
        (["192.0.2.1", "garbage"], 9, None),
        ([" , "], 9, None),
        (["192.0.2.1"], 0, None),
        (["192.0.2.1"], 9, "192.0.2.1"),
        (["unknown", "10.0.0.2"], 9, "10.0.0.2"),
        (["192.0.2.1, 10.0.0.2"], 1, "10.0.0.2"),
    ],
)
def test_what_proxies_report_and_nobody_else(forwarded: list[str], max_hops: int, client: str | None) -> None:
    assert reported_address(forwarded, TRUSTED, max_hops) == client


@pytest.mark.parametrize(
    ("peer", "usual"),
    [
        (None, None),
        ("", None),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("testclient", "testclient"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ],
)
def test_usual_spelling(peer: str | None, usual: str | None) -> None:
    assert usual_spelling(peer) == usual
