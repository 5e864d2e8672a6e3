"""What proxies report about the way of a request: the hops in `Forwarded`, `X-Forwarded-For`, `X-Real-IP` and their like.

    hops_of("forwarded", ['for=192.0.2.9;proto=https, for="[2001:db8::1]:4711"'])  # ["192.0.2.9", "[2001:db8::1]:4711"]

Source: RFC 7239 (Forwarded), RFC 9110 5.6 (lists, quoted strings).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_SPACE: Final = " \t"

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


def hops_of(header_name: str, lines: Sequence[str]) -> list[str]:
    """Return the hops that the lines of one header report, oldest first, for `reported_address`.

    `forwarded` is read by RFC 7239; a hop that does not say `for`, and everything to the left of the first malformed
    place (counted from the right), is `unknown`. `x-real-ip` is one address, and the last one wins. Any other header
    is a list as `x-forwarded-for` is. Hops keep their ports and quotes: `parse_address` reads them.
    """
    name = header_name.lower()
    if name == "forwarded":
        return [hop for line in lines for hop in _forwarded_hops(line)]
    hops = [hop for line in lines for item in line.split(",") if (hop := item.strip(_SPACE))]
    return hops[-1:] if name == "x-real-ip" else hops


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
