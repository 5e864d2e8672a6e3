"""IP addresses: read them as proxies write them, hold large sets of networks, find the client behind trusted proxies.

    trusted = AddressSet(["10.0.0.0/8", "fd00::/8"])
    reported_address(["203.0.113.9, 10.0.0.3"], trusted)   # "203.0.113.9"

Addresses are `bytes` in network order, 4 or 16 long ("packed"); an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) is the
IPv4 address that it stands for, so that no rule is passed by the other spelling.

Source: RFC 7239, section 6 (nodes and their ports), RFC 4291 (IPv6 addresses), RFC 6874 (zone ids).
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from socket import AF_INET, AF_INET6, inet_ntoa, inet_ntop, inet_pton
from typing import Final, TypeAlias

_MAPPED: Final = bytes(10) + b"\xff\xff"
_LOW_HALF: Final = (1 << 64) - 1
_SPACE: Final = " \t"
_MANY_BOUNDARIES: Final = 8192
_MANY_PROBLEMS: Final = 20
MAX_HOPS: Final = 32
"""So many proxies one behind the other are believed, unless told otherwise; nobody has more."""
_PORT: Final = re.compile(r"[0-9]{1,5}|_[A-Za-z0-9._-]+")  # RFC 7239, 6.3: a node's port may be obfuscated


def parse_address(text: str) -> bytes | None:
    """Return the packed address that `text` holds, or None.

    Understood: surrounding spaces and double quotes, `[2001:db8::1]`, a port behind either family (an IPv6 address
    with a port needs its brackets), a zone id, which is dropped. Not an address: names, `unknown`, obfuscated
    identifiers (`_gazonk`), abbreviated IPv4 and octets with leading zeros, which some systems read as octal.
    """
    text = text.strip(_SPACE)
    if '"' in text:
        if len(text) < 2 or text[0] != '"' or text[-1] != '"':
            return None
        text = text[1:-1].strip(_SPACE)
    if ":" not in text:
        return _packed_v4(text)
    colon = text.find(":")
    if text[0] == "[":
        address, bracket, port = text[1:].partition("]")
        return _packed_v6(address) if bracket and (not port or _is_port(port)) else None
    if text.find(":", colon + 1) < 0:
        return _packed_v4(text[:colon]) if _is_port(text[colon:]) else None
    return _packed_v6(text)


def format_address(packed: bytes) -> str:
    """Return the usual spelling of a packed address (IPv6: RFC 5952). Raises ValueError unless 4 or 16 bytes long."""
    if len(packed) == 4:
        return inet_ntoa(packed)
    if len(packed) == 16 and packed[:12] == _MAPPED:
        return inet_ntoa(packed[12:])
    return inet_ntop(AF_INET6, packed)


Network: TypeAlias = tuple[bytes, int]
"""A packed address and the length of the prefix in bits."""


def parse_network(text: str) -> Network | None:
    """Return the network that `text` holds, or None: an address or `address/prefix length`, and nothing around it.

    What is written as an IPv4-mapped IPv6 network is the IPv4 network it stands for. Host bits may be set.
    """
    address, slash, length = text.strip(_SPACE).partition("/")
    v6 = ":" in address
    packed = None if "%" in address else _packed_v6(address) if v6 else _packed_v4(address)
    if packed is None:
        return None
    bits = 128 if v6 else 32
    if slash:
        if not (length.isascii() and length.isdigit() and len(length) <= 3 and int(length) <= bits):
            return None
        bits = int(length)
    if v6 and len(packed) == 4:  # written as IPv4-mapped
        if bits >= 96:
            return packed, bits - 96
        packed = _MAPPED + packed
    return packed, bits


class AddressSet:
    """The union of networks and addresses of both families.

    An entry is an address or `address/prefix length`; host bits that are set are ignored, so `10.1.2.3/8` is
    `10.0.0.0/8`. IPv6 entries match IPv6 addresses only (`::/0` is not everything), except those inside
    `::ffff:0:0/96`, which are IPv4. Raises ValueError that lists the entries which are neither, 20 of them at most.

    `len` is the number of separate ranges left after the union. Immutable; a look-up grows with its logarithm. A range
    takes 8 bytes (IPv4) or 32 (IPv6).
    """

    __slots__ = ("_v4", "_v4_starts", "_v6", "_v6_low")

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        networks: list[Network] = []
        bad: list[str] = []
        for cidr in cidrs:
            network = parse_network(cidr)
            if network is None:
                bad.append(repr(cidr))
            else:
                networks.append(network)
        if bad:
            more = [f"and {len(bad) - _MANY_PROBLEMS} more"] if len(bad) > _MANY_PROBLEMS else []
            raise ValueError(f"not an IP address or network: {', '.join([*bad[:_MANY_PROBLEMS], *more])}")
        self._fill(networks)

    @classmethod
    def of(cls, networks: Iterable[Network]) -> AddressSet:
        """Return the set of networks that `parse_network` returned."""
        made = cls.__new__(cls)
        made._fill(networks)
        return made

    def _fill(self, networks: Iterable[Network]) -> None:
        v4: list[tuple[int, int]] = []
        v6: list[tuple[int, int]] = []
        for packed, bits in networks:
            mask = (1 << len(packed) * 8 - bits) - 1
            first = int.from_bytes(packed) & ~mask
            (v4 if len(packed) == 4 else v6).append((first, first + mask + 1))
        self._v4 = array("I", _boundaries(v4, 32))
        # The first 64 bits of each boundary, and the others: most networks end where the others are zero.
        places = _boundaries(v6, 128)
        self._v6 = array("Q", [place >> 64 for place in places])
        self._v6_low = array("Q", [place & _LOW_HALF for place in places])
        # Of a large set, where the boundaries of each 16-bit prefix begin: saves most steps through memory that no cache
        # holds. IPv6 addresses in use share too few prefixes for it.
        self._v4_starts: array[int] | None = None
        if len(self._v4) >= _MANY_BOUNDARIES:
            self._v4_starts = array("I", [bisect_left(self._v4, prefix << 16) for prefix in range(1 << 16)])
            self._v4_starts.append(len(self._v4))

    def __contains__(self, address: bytes | str) -> bool:
        """Whether the set holds this address, packed or text; False for what is no address."""
        packed = parse_address(address) if isinstance(address, str) else address
        size = len(packed) if packed else 0
        if not packed or (size != 4 and size != 16):
            return False
        number = int.from_bytes(packed)
        if size == 16:
            high = number >> 64
            if high or (number >> 32) != 0xFFFF:
                behind = bisect_right(self._v6, high)
                if behind and self._v6[behind - 1] == high:
                    first = bisect_left(self._v6, high, 0, behind)
                    behind = bisect_right(self._v6_low, number & _LOW_HALF, first, behind)
                return behind & 1 == 1
            number &= 0xFFFFFFFF
        starts = self._v4_starts
        if starts is None:
            return bisect_right(self._v4, number) & 1 == 1
        prefix = number >> 16
        return bisect_right(self._v4, number, starts[prefix], starts[prefix + 1]) & 1 == 1

    def __len__(self) -> int:
        return (len(self._v4) + 1) // 2 + (len(self._v6) + 1) // 2

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)

    def __repr__(self) -> str:
        return f"<AddressSet of {len(self)} ranges>"


def reported_address(forwarded: Sequence[str], trusted: AddressSet, max_hops: int = MAX_HOPS) -> str | None:
    """Return the client's address as a trusted peer reports it; None when it names nobody.

    Walks back for as long as who reports the next hop is trusted. `forwarded` is what the proxies report, oldest first, as
    `forwarded.hops_of` returns it or as lines of comma-separated addresses. The first address that is not trusted is the
    client, or, where something else than an address comes first, or the hops end, the last trusted one. At most
    `max_hops` hops are believed.
    """
    found: tuple[str, bytes] | None = None
    believed = 0
    for line in reversed(forwarded if max_hops > 0 else ()):
        for hop in reversed(line.split(",")):
            if not hop.strip(_SPACE):
                continue  # RFC 9110, 5.6.1: empty list elements are ignored
            packed = parse_address(hop)
            if packed is None:
                return _spelled(*found) if found is not None else None
            found = hop, packed
            believed += 1
            if believed == max_hops or packed not in trusted:
                return _spelled(*found)
    return _spelled(*found) if found is not None else None


def usual_spelling(peer: str | None) -> str | None:
    """Return a peer's address in its usual spelling, and what is no address as it is; None for an empty text."""
    if not peer or ":" not in peer:  # IPv4 has only one
        return peer or None
    packed = parse_address(peer)
    return peer if packed is None else format_address(packed)


def _spelled(text: str, packed: bytes) -> str:
    """Return the usual spelling of what was read from `text`: IPv4 without port and quotes has only one."""
    return format_address(packed) if ":" in text or '"' in text else text.strip(_SPACE)


def _boundaries(ranges: list[tuple[int, int]], bits: int) -> list[int]:
    """Return start, end, start, end, ... of the union, ends excluded: an address is inside behind an odd number.

    The end of a range that reaches the last address is left out.
    """
    joined: list[int] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1]:
            joined[-1] = max(joined[-1], end)
        else:
            joined += start, end
    if joined and joined[-1] >> bits:
        joined.pop()
    return joined


def _is_port(text: str) -> bool:
    return text[0] == ":" and _PORT.fullmatch(text, 1) is not None and (text[1] == "_" or int(text[1:]) <= 65535)


def _packed_v4(text: str) -> bytes | None:
    try:
        packed = inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return None
    # Some platforms accept leading zeros; the one spelling that inet_ntoa writes has none.
    suspect = text[0] == "0" or ".0" in text
    return None if suspect and inet_ntoa(packed) != text else packed


def _packed_v6(text: str) -> bytes | None:
    if "%" in text:
        text, _, zone = text.partition("%")
        if not zone:
            return None
    try:
        packed = inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return None
    if "." in text and _packed_v4(text[text.rfind(":") + 1 :]) is None:
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed
