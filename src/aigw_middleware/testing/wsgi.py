"""One WSGI exchange driven by hand: every chunk seen, every ending within reach.

    exchange = wsgi_exchange(app, "POST", "/v1/chat/completions", body=[b"{}"], close_after=2)
    assert exchange.closed == 1

Source: PEP 3333.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .http_messages import HeaderPairs, request_headers
from .wsgi_call import WsgiCall, WsgiInput, wsgi_environ

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


@dataclass(slots=True, eq=False)
class WsgiExchange:
    """What an app did with one request."""

    environ: dict[str, Any]
    status: int | None = None
    """None: `start_response` was not called."""
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    """What was written and iterated, empty ones too."""
    exception: Exception | None = None
    """What the app raised when called, iterated or closed; the first of them."""
    result: Iterable[bytes] | None = None
    """What the app returned, the object itself."""
    starts: int = 0
    """How many times `start_response` was called."""
    closed: int = 0
    """How many times the result was closed: 1, or 0 where it has no `close`."""
    complete: bool = False
    """Whether the result was iterated to its end."""
    input_reads: int = 0
    """How many times the request body was asked for more."""

    @property
    def body(self) -> bytes:
        """All chunks."""
        return b"".join(self.chunks)

    def json(self) -> Any:
        """The decoded body. Raises ValueError."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The value of a response header, several joined with `, `; None if absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


def wsgi_exchange(
    app: "WSGIApplication",
    method: str = "GET",
    path: str | bytes = "/",
    *,
    headers: HeaderPairs = (),
    body: Sequence[bytes] = (),
    chunked: bool = False,
    forbid_input: bool = False,
    close_after: int | None = None,
    never_iterate: bool = False,
    http_version: str = "1.1",
    client: tuple[str, int] | None = ("127.0.0.1", 50000),
    root_path: str = "",
    environ: Mapping[str, Any] | None = None,
) -> WsgiExchange:
    """Run `app` on one request and say what it did; what it raises is in the record, not raised here.

    `path` is the request target, percent-encoded and with its query. `body` comes in these chunks, with its
    CONTENT_LENGTH or, if `chunked`, with `wsgi.input_terminated`. `environ` replaces members.

    `close_after`: the client leaves when it got so many chunks that are not empty. `never_iterate`: the result is
    closed without being iterated. `forbid_input`: reading the body is an AssertionError in the app.
    """
    source = WsgiInput(body, forbidden=forbid_input)
    built = wsgi_environ(
        method,
        path,
        request_headers(headers, list(body), chunked=chunked),
        source.stream(),
        http_version=http_version,
        client=client,
        root_path=root_path,
        overrides=environ,
    )
    exchange = WsgiExchange(built)
    call = WsgiCall(app, built)
    try:
        call.run()
        if not never_iterate:
            _iterate(call, exchange, close_after)
    except Exception as error:
        exchange.exception = error
    try:
        call.close()
    except Exception as error:
        exchange.exception = exchange.exception or error
    exchange.status, exchange.reason, exchange.headers = call.status, call.reason, call.headers
    exchange.result, exchange.starts, exchange.closed = call.result, call.starts, call.closed
    exchange.input_reads = source.reads
    return exchange


def _iterate(call: WsgiCall, exchange: WsgiExchange, close_after: int | None) -> None:
    taken = 0
    while taken != close_after:
        chunk = call.chunk()
        if chunk is None:
            exchange.complete = True
            return
        exchange.chunks.append(chunk)
        if chunk:
            call.headers_sent = True
            taken += 1
