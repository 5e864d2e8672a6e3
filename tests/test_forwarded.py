"""The hops that proxies report: lists, RFC 7239 with all its quoting, and lines that want to be misread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.forwarded import hops_of


@pytest.mark.parametrize(
    ("lines", "hops"),
    [
        ([], []),
        (["192.0.2.1"], ["192.0.2.1"]),
        (["192.0.2.1, 10.0.0.2", " 10.0.0.3 "], ["192.0.2.1", "10.0.0.2", "10.0.0.3"]),
        ([",192.0.2.1,, 10.0.0.2 ,", "", " "], ["192.0.2.1", "10.0.0.2"]),
        (['"[2001:db8::1]:4711", 10.0.0.2'], ['"[2001:db8::1]:4711"', "10.0.0.2"]),
    ],
)
def test_hops_of_lists(lines: list[str], hops: list[str]) -> None:
    assert hops_of("X-Forwarded-For", lines) == hops
    assert hops_of("x-real-ip", lines) == hops[-1:]


@pytest.mark.parametrize(
    ("lines", "hops"),
    [
        ([], []),
        ([""], []),
        (["for=192.0.2.1"], ["192.0.2.1"]),
        (['For="[2001:db8:cafe::17]:4711"'], ["[2001:db8:cafe::17]:4711"]),
        (["for=192.0.2.60;proto=http;by=203.0.113.43"], ["192.0.2.60"]),
        (["for=192.0.2.43, for=198.51.100.17"], ["192.0.2.43", "198.51.100.17"]),
        (["for=192.0.2.43", ' by=203.0.113.43 ; FOR="198.51.100.17:80" ,'], ["192.0.2.43", "198.51.100.17:80"]),
        (["for=192.0.2.43:80, for=[2001:db8::1]:80"], ["192.0.2.43:80", "[2001:db8::1]:80"]),  # quotes left out
        (["for=_gazonk, for=unknown"], ["_gazonk", "unknown"]),
        (['for="19\\2.0.2.1"'], ["192.0.2.1"]),
        (['host="a\\"b,c;d=\\\\";for=192.0.2.1, for=10.0.0.2'], ["192.0.2.1", "10.0.0.2"]),
        (['host=",";for=192.0.2.1'], ["192.0.2.1"]),
        (['for="", for=" "'], ["unknown", "unknown"]),
        # A hop that does not name the one before it is a hop all the same.
        (["for=192.0.2.1, proto=https"], ["192.0.2.1", "unknown"]),
        (["for=192.0.2.1;for=10.0.0.1"], ["unknown"]),
        (["for=192.0.2.1, ;"], ["192.0.2.1", "unknown"]),
        (['for="192.0.2.1,10.0.0.2"'], ["unknown"]),
        # Malformed: what stands to the right was added later and is kept.
        (["for=192.0.2.1, garbage, for=10.0.0.2"], ["unknown", "10.0.0.2"]),
        (['for="evil, for=192.0.2.1'], ["unknown", "192.0.2.1"]),
        (['for="evil, for="192.0.2.1:80"'], ["unknown", "192.0.2.1:80"]),
        (['for="evil\\", for="192.0.2.1:80", for=10.0.0.2'], ["unknown", "192.0.2.1:80", "10.0.0.2"]),
        (["for=1 2"], ["unknown"]),
        (["for = 192.0.2.1"], ["unknown"]),
        (["for=192.0.2.1;proto=a=b"], ["unknown"]),
        (['for="a\\'], ["unknown"]),
        (['for="a\\"'], ["unknown"]),
        (["x", "for=10.0.0.2"], ["unknown", "10.0.0.2"]),
        (["for=192.0.2.1,, ,for=10.0.0.2,"], ["192.0.2.1", "10.0.0.2"]),
    ],
)
def test_hops_of_forwarded(lines: list[str], hops: list[str]) -> None:
    assert hops_of("Forwarded", lines) == hops


names = st.sampled_from(["for", "FOR", "by", "host", "proto", "ext"])
values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=8) | st.sampled_from(
    ["192.0.2.1", "[::1]:80", "a,b", 'a"', "\\", ""]
)
elements = st.lists(
    st.tuples(names, values, st.sampled_from(['"{}"', " {} "])),
    min_size=1,
    max_size=3,
    unique_by=lambda pair: pair[0].lower(),
)


@given(st.text('for=";,\\ 1a'), st.lists(elements, min_size=1, max_size=4))
def test_what_proxies_append_is_read_whatever_the_client_sent(
    sent: str, appended: list[list[tuple[str, str, str]]]
) -> None:
    line, expected = sent, []
    for element in appended:
        pairs = []
        node = "unknown"
        for name, value, _ in element:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            pairs.append(f'{name}="{escaped}"')
            if name.lower() == "for" and "," not in value and value.strip(" "):
                node = value
        line += " , " + " ; ".join(pairs)
        expected.append(node)
    assert hops_of("forwarded", [line])[-len(expected) :] == expected


@pytest.mark.parametrize(
    "line",
    [
        " " * 200_000 + "x y",
        ";" * 200_000 + '"',
        'for="' + "\\" * 200_001 + '"',
        "a=b;" * 50_000 + "?",
        '"' * 200_001,
        "a" * 200_000 + " b",
    ],
)
def test_hostile_lines_end(line: str) -> None:
    """Backtracking over these would not end in a lifetime."""
    assert hops_of("forwarded", [line]) == ["unknown"]
    assert hops_of("forwarded", [line, "for=192.0.2.1"]) == ["unknown", "192.0.2.1"]
