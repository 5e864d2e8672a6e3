"""IP addresses: read them as proxies write them, hold large sets of networks, find the client behind trusted proxies.

    trusted = AddressSet(["10.0.0.0/8", "fd00::/8"])
    client_address("10.0.0.7", hops_of("x-forwarded-for", ["203.0.113.9, 10.0.0.3"]), trusted)   # "203.0.113.9"

Addresses are `bytes` in network order, 4 or 16 long ("packed"); an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) is the
IPv4 address that it stands for, so that no rule is passed by the other spelling.

Source: RFC 7239 (Forwarded), RFC 9110 5.6 (lists, quoted strings), RFC 6874 (zone ids).
"""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from socket import AF_INET, AF_INET6, inet_ntoa, inet_ntop, inet_pton
from typing import Final

_MAPPED: Final = bytes(10) + b"\xff\xff"
_SPACE: Final = " \t"
_MANY_BOUNDARIES: Final = 8192
_PORT: Final = re.compile(r"[0-9]{1,5}|_[A-Za-z0-9._-]+")  # RFC 7239, 6.3: a node's port may be obfuscated

# One element of `Forwarded`, written backwards: an element that a proxy appended is whole at the right end of the line,
# whatever a client left open before it.
_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED: Final = (
    r'"(?:\\\\)*+(?!\\)(?:[^"\\]\\*+|"\\(?:\\\\)*+(?!\\))*+"'  # a quote inside has an odd number of backslashes
)
_VALUE: Final = rf'(?:[^\s",;=\\]++|{_QUOTED})'  # addresses with colons are often left unquoted
_PAIR: Final = rf"{_VALUE}={_NAME}"
_ELEMENT: Final = re.compile(rf"[ \t]*+((?:{_PAIR})?(?:[ \t]*+;[ \t]*+(?:{_PAIR})?)*+)[ \t]*+(?:,|\Z)")
_PARAMETER: Final = re.compile(rf"({_VALUE})=({_NAME})")
_UNKNOWN: Final = "unknown"  # RFC 7239, 6.2


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


class AddressSet:
    """The union of networks and addresses of both families.

    An entry is an address or `address/prefix length`; host bits that are set are ignored, so `10.1.2.3/8` is
    `10.0.0.0/8`. IPv6 entries match IPv6 addresses only (`::/0` is not everything), except those inside
    `::ffff:0:0/96`, which are IPv4. Raises ValueError that lists every entry which is neither.

    `len` is the number of separate ranges left after the union. Immutable; a look-up grows with its logarithm.
    """

    __slots__ = ("_v4", "_v4_starts", "_v6")

    def __init__(self, cidrs: Iterable[str] = ()) -> None:
        v4: list[tuple[int, int]] = []
        v6: list[tuple[int, int]] = []
        bad: list[str] = []
        for cidr in cidrs:
            network = _network(cidr)
            if network is None:
                bad.append(cidr)
                continue
            packed, bits = network
            mask = (1 << len(packed) * 8 - bits) - 1
            first = int.from_bytes(packed) & ~mask
            (v4 if len(packed) == 4 else v6).append((first, first + mask + 1))
        if bad:
            raise ValueError(f"not an IP address or network: {', '.join(map(repr, bad))}")
        self._v4 = _boundaries(v4, 4)
        self._v6 = _boundaries(v6, 16)
        # Of a large set, where the boundaries of each 16-bit prefix begin: saves half of the steps through memory that
        # no cache holds. IPv6 addresses in use share too few prefixes for it.
        self._v4_starts: array[int] | None = None
        if len(self._v4) >= _MANY_BOUNDARIES:
            prefixes = (prefix.to_bytes(2) for prefix in range(1 << 16))
            self._v4_starts = array("L", [bisect_left(self._v4, prefix) for prefix in prefixes])
            self._v4_starts.append(len(self._v4))

    def __contains__(self, address: bytes | str) -> bool:
        """Whether the set holds this address, packed or text; False for what is no address."""
        packed = parse_address(address) if isinstance(address, str) else address
        size = len(packed) if packed else 0
        if not packed or (size != 4 and size != 16):
            return False
        if size == 16:
            if packed[:12] != _MAPPED:
                return bisect_right(self._v6, packed) & 1 == 1
            packed = packed[12:]
        starts = self._v4_starts
        if starts is None:
            return bisect_right(self._v4, packed) & 1 == 1
        prefix = packed[0] << 8 | packed[1]
        return bisect_right(self._v4, packed, starts[prefix], starts[prefix + 1]) & 1 == 1

    def __len__(self) -> int:
        return (len(self._v4) + len(self._v6)) // 2

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)

    def __repr__(self) -> str:
        return f"<AddressSet of {len(self)} ranges>"


def client_address(peer: str | None, forwarded: Sequence[str], trusted: AddressSet, max_hops: int = 32) -> str | None:
    """Return the address of the client: walk back from `peer` for as long as who reports the next hop is trusted.

    `peer` is the address of the connection; `forwarded` is what the proxies report, oldest first, as `hops_of`
    returns it or as lines of comma-separated addresses. The first address that is not trusted is the client, or, where
    something else than an address comes first, or the hops end, the last trusted one. At most `max_hops` hops are
    believed. A peer that is no address (a socket path, a test client) is never trusted, and returned as it is;
    None when there is none.
    """
    packed = parse_address(peer) if peer else None
    if not peer or packed is None:
        return peer or None
    client = peer
    believed = 0
    if trusted and max_hops > 0 and packed in trusted:
        for line in reversed(forwarded):
            for hop in reversed(line.split(",")):
                if not hop.strip(_SPACE):
                    continue  # RFC 9110, 5.6.1: empty list elements are ignored
                reported = parse_address(hop)
                if reported is None:
                    return _spelled(client, packed)
                client, packed = hop, reported
                believed += 1
                if believed == max_hops or packed not in trusted:
                    return _spelled(client, packed)
    return _spelled(client, packed)


def hops_of(header_name: str, lines: Sequence[str]) -> list[str]:
    """Return the hops that the lines of one header report, oldest first, for `client_address`.

    `forwarded` is read by RFC 7239; a hop that does not say `for`, and everything to the left of the first malformed
    place (counted from the right), is `unknown`. `x-real-ip` is one address, and the last one wins. Any other header
    is a list as `x-forwarded-for` is. Hops keep their ports and quotes: `parse_address` reads them.
    """
    name = header_name.lower()
    if name == "forwarded":
        return [hop for line in lines for hop in _forwarded_hops(line)]
    hops = [hop for line in lines for item in line.split(",") if (hop := item.strip(_SPACE))]
    return hops[-1:] if name == "x-real-ip" else hops


def _spelled(text: str, packed: bytes) -> str:
    """Return the usual spelling of what was read from `text`: IPv4 without port and quotes has only one."""
    return format_address(packed) if ":" in text or '"' in text else text.strip(_SPACE)


def _forwarded_hops(line: str) -> list[str]:
    backwards = line[::-1]
    hops: list[str] = []
    position, end = 0, len(backwards)
    while position < end:
        element = _ELEMENT.match(backwards, position)
        if element is None:
            hops.append(_UNKNOWN)
            break
        position = element.end()
        if element[1]:
            hops.append(_node(element[1]))
    hops.reverse()
    return hops


def _node(element: str) -> str:
    """Return the `for` value of an element that is written backwards."""
    nodes = [value[::-1] for value, name in _PARAMETER.findall(element) if name.lower() == "rof"]
    if len(nodes) != 1:
        return _UNKNOWN
    node = nodes[0]
    if node[0] == '"':
        node = re.sub(r"\\(.)", r"\1", node[1:-1], flags=re.DOTALL)
    # Nobody shall take a node with a comma for two, nor an empty one for none.
    return node if node.strip(_SPACE) and "," not in node else _UNKNOWN


def _network(text: str) -> tuple[bytes, int] | None:
    """Return the packed address and the prefix length of an entry."""
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


def _boundaries(ranges: list[tuple[int, int]], size: int) -> list[bytes]:
    """Return start, end, start, end, ... of the union, ends excluded: an address is inside behind an odd number."""
    joined: list[int] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1]:
            joined[-1] = max(joined[-1], end)
        else:
            joined += start, end
    beyond = b"\xff" * (size + 1)  # the end of a range that reaches the last address
    return [beyond if place >> size * 8 else place.to_bytes(size) for place in joined]


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
