"""What a server knows about HTTP, as far as the in-process clients need it.

Sources: ASGI HTTP specification 2.4; RFC 9110, sections 8.6 (Content-Length) and 9.3.2 (HEAD).
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from starlette.types import Message, Scope

HeaderPairs: TypeAlias = Iterable[tuple[str | bytes, str | bytes]]
RawHeaders: TypeAlias = list[tuple[bytes, bytes]]


class ClientLeftError(OSError):
    """Raised by `send` once the client is gone, as ASGI 2.4 has it."""


class ResponseOrder:
    """What an app has answered so far. Out of turn, a message is a RuntimeError, as servers do; unknown ones pass."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: RawHeaders = []
        self.trailers: RawHeaders = []
        self.ended = False
        """The last message of the response was sent: the last body, or the last trailers where some were promised."""
        self._body_ended = False
        self._trailers_promised = False

    def accept(self, message: Message) -> bytes:
        """Take note of a message and return the bytes of the body that it carries."""
        match message["type"]:
            case "http.response.start":
                if self.status is not None:
                    raise RuntimeError("http.response.start was sent twice")
                self.status = message["status"]
                self.headers = _copy(message.get("headers"))
                self._trailers_promised = bool(message.get("trailers", False))
            case "http.response.body":
                if self.status is None:
                    raise RuntimeError("http.response.body was sent before http.response.start")
                if self._body_ended:
                    raise RuntimeError("http.response.body was sent after the last one")
                self._body_ended = not message.get("more_body", False)
                self.ended = self._body_ended and not self._trailers_promised
                return bytes(message.get("body", b""))
            case "http.response.trailers":
                if not self._body_ended or not self._trailers_promised or self.ended:
                    raise RuntimeError("http.response.trailers was sent out of turn")
                self.trailers += _copy(message.get("headers"))
                self.ended = not message.get("more_trailers", False)
        return b""


class BodyLength:
    """Holds a response to its own Content-Length, which a client on a socket would trust."""

    def __init__(self, method: str, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        declared = [value for name, value in headers if name.lower() == b"content-length"]
        bodiless = method == "HEAD" or status < 200 or status in (204, 304)
        self._declared = int(declared[0]) if declared and declared[0].isdigit() and not bodiless else None
        self._seen = 0

    def problem(self, chunk: bytes, *, ended: bool = False) -> str | None:
        """What is wrong after this chunk, or at the end; None if nothing."""
        self._seen += len(chunk)
        if self._declared is None or self._seen == self._declared or (self._seen < self._declared and not ended):
            return None
        return f"the response declares a body of {self._declared} bytes and has {self._seen}"


def raw_headers(headers: HeaderPairs) -> RawHeaders:
    """Header names and values as bytes, text as latin-1."""
    return [(_latin_1(name), _latin_1(value)) for name, value in headers]


def request_headers(headers: HeaderPairs, body: Sequence[bytes], *, chunked: bool) -> RawHeaders:
    """Headers as a client sends them: with a host, and for a body with its length or the word that it is chunked."""
    raw = raw_headers(headers)
    names = {name.lower() for name, _ in raw}
    if b"host" not in names:
        raw.insert(0, (b"host", b"testserver"))
    if body and not names & {b"content-length", b"transfer-encoding"}:
        length = sum(map(len, body))
        raw.append((b"transfer-encoding", b"chunked") if chunked else (b"content-length", b"%d" % length))
    return raw


def split_target(target: str | bytes) -> tuple[bytes, str, bytes]:
    """A request target as raw path, decoded path and query string."""
    raw = target.encode("utf-8") if isinstance(target, str) else target
    raw_path, _, query = raw.partition(b"?")
    return raw_path, unquote_to_bytes(raw_path).decode("utf-8", "replace"), query


def http_scope(
    method: str,
    target: str | bytes,
    headers: RawHeaders,
    *,
    spec_version: str,
    http_version: str,
    client: tuple[str, int] | None,
    root_path: str,
    scheme: str = "http",
    server: tuple[str, int] = ("testserver", 80),
) -> dict[str, Any]:
    """The scope of an HTTP exchange; `root_path` is a prefix of the path in `target`, as ASGI has it."""
    raw_path, path, query = split_target(target)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": http_version,
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root_path,
        "headers": [(name.lower(), value) for name, value in headers],
        "client": client,
        "server": server,
    }


def signals_lost_client(scope: Scope) -> bool:
    """Whether `send` fails after the client left: since ASGI 2.4; before, it is silent."""
    version = str(scope.get("asgi", {}).get("spec_version", "2.0"))
    return tuple(int(part) for part in version.split(".")) >= (2, 4)


def _copy(headers: Iterable[tuple[bytes, bytes]] | None) -> RawHeaders:
    return [(bytes(name), bytes(value)) for name, value in headers or ()]


def _latin_1(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
