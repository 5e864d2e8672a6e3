"""The strings that HMAC signatures cover, in both dialects; the plug-in and whoever signs requests make them here.

`x-ca`, of Alibaba Cloud API Gateway: method, four headers, the headers that the caller lists, path and parameters.
`signature`, of APISIX (after draft-cavage-http-signatures): key id, then the headers that the caller lists, one of which
may be `@request-target`.

In the first, parameters are decoded and sorted, so several requests can have one string: `a=1&b=2` and `a=1%26b=2`, or
`a=1` and `a=1&a=2`, of whose repeated parameter only the first value is covered. `Parameters.ambiguous` tells them.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias
from urllib.parse import quote_from_bytes, unquote_to_bytes

from ....exchange import Request

Algorithm: TypeAlias = Literal["hmac-sha1", "hmac-sha256", "hmac-sha512"]
Dialect: TypeAlias = Literal["x-ca", "signature"]
Fields: TypeAlias = Mapping[bytes, bytes]
"""Header fields by lower-case name; several of one name are joined by `, ` (RFC 9110, 5.3)."""

HASHES: Final[Mapping[str, str]] = {"hmac-sha1": "sha1", "hmac-sha256": "sha256", "hmac-sha512": "sha512"}
X_CA_METHODS: Final[Mapping[bytes, Algorithm]] = {b"HmacSHA1": "hmac-sha1", b"HmacSHA256": "hmac-sha256"}
REQUEST_TARGET: Final = b"@request-target"
ALWAYS_COVERED: Final = (b"accept", b"content-md5", b"content-type", b"date")
"""The headers that every x-ca string has, listed or not."""
FORM: Final = b"application/x-www-form-urlencoded"
MAX_PARAMETERS: Final = 1_000  # of query and form together; more are not read, so that nobody makes us sort a book

_NOT_LISTED: Final = frozenset({b"x-ca-signature", b"x-ca-signature-headers", *ALWAYS_COVERED})
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PATH_CHARACTERS: Final = "/:@!$&'()*+,;=~"  # RFC 3986, section 3.3; what is not quoted in a path


class Parameters:
    """The parameters of a query and a form body, decoded as x-ca strings have them: `+` stays, a first value wins."""

    __slots__ = ("ambiguous", "sorted")

    def __init__(self, query: bytes, form: bytes = b"") -> None:
        self.ambiguous = False
        """Whether another query or form, with another meaning, has the same string, or not all of it was read."""
        found: dict[bytes, bytes] = {}
        for name, value in self._pairs(query, form):
            if name in found:
                self.ambiguous = True
            else:
                found[name] = value
        self.sorted = sorted(found.items())

    def _pairs(self, query: bytes, form: bytes) -> Iterator[tuple[bytes, bytes]]:
        for text in (query, form):
            if not text:
                continue
            parts = text.split(b"&", MAX_PARAMETERS)
            if len(parts) > MAX_PARAMETERS:
                self.ambiguous = True
                del parts[MAX_PARAMETERS:]
            escaped = b"%" in text
            if escaped and _BROKEN_ESCAPE.search(text):
                self.ambiguous = True
            for part in parts:
                name, _, value = part.partition(b"=")
                if escaped:
                    name, value = unquote_to_bytes(name), unquote_to_bytes(value)
                    if b"=" in name or b"&" in name or b"&" in value:
                        self.ambiguous = True
                if not part:
                    self.ambiguous = True
                    continue
                yield name, value

    def targets(self, path: bytes) -> tuple[bytes, ...]:
        """Return path and parameters as one string, in both spellings where a value is empty: `k=` and `k`."""
        if not self.sorted:
            return (path,)
        full = path + b"?" + b"&".join([name + b"=" + value for name, value in self.sorted])
        if all(value for _, value in self.sorted):
            return (full,)
        bare = b"&".join([name + b"=" + value if value else name for name, value in self.sorted])
        return full, path + b"?" + bare


def x_ca_string(method: str, fields: Fields, listed: Iterable[bytes], target: bytes) -> bytes:
    """Return the string to sign: `listed` are lower-case names, `target` is path and parameters."""
    lines = [method.encode("latin-1", "replace"), *(fields.get(name, b"") for name in ALWAYS_COVERED)]
    lines += [name + b":" + fields.get(name, b"") for name in sorted(set(listed) - _NOT_LISTED)]
    return b"\n".join([*lines, target])


def signature_string(key_id: bytes, method: str, fields: Fields, listed: Sequence[bytes], target: bytes) -> bytes:
    """Return the string to sign: `listed` are names as the caller spells them; those of absent headers are left out."""
    lines = [key_id]
    for name in listed:
        if name == REQUEST_TARGET:
            lines.append(method.encode("latin-1", "replace") + b" " + target)
            continue
        value = fields.get(name.lower())
        if value is not None:
            lines.append(name + b": " + value)
    return b"\n".join([*lines, b""])


def signature_of(secret: bytes, text: bytes, algorithm: str) -> bytes:
    """Return the HMAC of a string to sign, in base64 (RFC 2104, RFC 4648)."""
    return b64encode(hmac.digest(secret, text, HASHES[algorithm]))


def joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return header fields with lower-case names as `Fields`; cookies, which HTTP/2 splits, are joined by `; `."""
    fields: dict[bytes, bytes] = {}
    for name, value in raw:
        known = fields.get(name)
        fields[name] = value if known is None else known + (b"; " if name == b"cookie" else b", ") + value
    return fields


def path_of(request: Request) -> bytes:
    """Return the path as sent; where the host knows only the decoded one, as callers usually encode that."""
    if request.raw_path is not None:
        return request.raw_path
    path = request.path if not request.root_path else request.root_path.rstrip("/") + request.path
    return quote_from_bytes(path.encode("utf-8", "surrogateescape"), _PATH_CHARACTERS).encode()


def is_form(fields: Fields) -> bool:
    """Whether the body is a form, whose parameters are part of x-ca strings."""
    content_type = fields.get(b"content-type")
    return content_type is not None and FORM in content_type.lower()
