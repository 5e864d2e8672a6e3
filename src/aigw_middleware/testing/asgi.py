"""One ASGI exchange driven by hand: no task, no client, every message seen, every ending within reach.

    exchange = await asgi_exchange(app, "POST", "/v1/chat/completions", body=[b"{", b"}"], disconnect_after=3)
    assert exchange.receive_calls == 2

Source: ASGI HTTP specification 2.4.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message

from .http_messages import (
    ClientLeftError,
    HeaderPairs,
    RawHeaders,
    ResponseOrder,
    http_scope,
    request_headers,
    signals_lost_client,
)


@dataclass(slots=True, eq=False)
class AsgiExchange:
    """What an app did with one request."""

    scope: dict[str, Any]
    messages: list[Message] = field(default_factory=list)
    """The messages that reached the client, the objects themselves."""
    lost: list[Message] = field(default_factory=list)
    """The messages sent after the client had left, and those whose `send` failed."""
    chunks: list[bytes] = field(default_factory=list)
    """The body of each `http.response.body` in `messages`, empty ones too."""
    exception: Exception | None = None
    """What the app raised."""
    receive_calls: int = 0
    response: ResponseOrder = field(default_factory=ResponseOrder)

    @property
    def status(self) -> int | None:
        """None: no response was started."""
        return self.response.status

    @property
    def headers(self) -> RawHeaders:
        """As the app sent them."""
        return self.response.headers

    @property
    def complete(self) -> bool:
        """Whether the client got the last message of the response."""
        return self.response.ended

    @property
    def body(self) -> bytes:
        """All chunks."""
        return b"".join(self.chunks)

    def json(self) -> Any:
        """The decoded body. Raises ValueError."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The value of a response header, several joined with `, `; None if absent."""
        wanted = name.lower().encode("latin-1")
        values = [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]
        return ", ".join(values) if values else None


async def asgi_exchange(
    app: ASGIApp,
    method: str = "GET",
    path: str | bytes = "/",
    *,
    headers: HeaderPairs = (),
    body: Sequence[bytes] = (),
    chunked: bool = False,
    upload_breaks: bool = False,
    disconnect_after: int | None = None,
    send_fails_at: int | None = None,
    forbid_receive: bool = False,
    spec_version: str = "2.3",
    http_version: str = "1.1",
    client: tuple[str, int] | None = ("127.0.0.1", 50000),
    root_path: str = "",
    scope: Mapping[str, Any] | None = None,
) -> AsgiExchange:
    """Run `app` on one request and say what it did; what it raises is in the record, not raised here.

    `path` is the request target, percent-encoded and with its query. `body` comes in these chunks, `chunked` without a
    Content-Length; with `upload_breaks` the client leaves after them instead of finishing. `scope` replaces members.

    `disconnect_after`: having sent its body, the client leaves when it got so many messages; further ones are lost,
    silently before ASGI 2.4 and with `ClientLeftError` since. `send_fails_at`: the send with this number, the first is
    0, and all after it raise `ClientLeftError`, whatever the version. Either way `receive` tells of it from then on.

    `forbid_receive`: a call of `receive` raises AssertionError in the app. A second reader while one waits is a
    RuntimeError. A body read to its end, `receive` waits until the client left or the response has ended.
    """
    built = http_scope(
        method,
        path,
        request_headers(headers, body, chunked=chunked),
        spec_version=spec_version,
        http_version=http_version,
        client=client,
        root_path=root_path,
    )
    exchange = AsgiExchange(built | dict(scope or {}))
    server = _Server(exchange, _upload(body, breaks=upload_breaks), disconnect_after, send_fails_at, forbid_receive)
    try:
        await app(exchange.scope, server.receive, server.send)
    except Exception as error:
        exchange.exception = error
    return exchange


class _Server:
    def __init__(
        self,
        exchange: AsgiExchange,
        upload: list[Message],
        disconnect_after: int | None,
        send_fails_at: int | None,
        forbid_receive: bool,
    ) -> None:
        self._exchange = exchange
        self._upload = upload
        self._disconnect_after = disconnect_after
        self._send_fails_at = send_fails_at
        self._forbid_receive = forbid_receive
        self._receiving = False
        self._sends = 0
        self._left = False
        self._over = asyncio.Event()
        if disconnect_after == 0:
            self._leave()

    async def receive(self) -> Message:
        self._exchange.receive_calls += 1
        if self._forbid_receive:
            raise AssertionError("receive was called, which this exchange forbids")
        if self._receiving:
            raise RuntimeError("receive was called while another call of it waits")
        self._receiving = True
        try:
            return await self._next_message()
        finally:
            self._receiving = False

    async def send(self, message: Message) -> None:
        number, self._sends = self._sends, self._sends + 1
        fails = self._send_fails_at is not None and number >= self._send_fails_at
        if fails:
            self._leave()
        if self._left:
            self._exchange.lost.append(message)
            if fails or signals_lost_client(self._exchange.scope):
                raise ClientLeftError("the client has left")
            return
        chunk = self._exchange.response.accept(message)
        self._exchange.messages.append(message)
        if message["type"] == "http.response.body":
            self._exchange.chunks.append(chunk)
        if self._exchange.complete:
            self._over.set()
        if len(self._exchange.messages) == self._disconnect_after:
            self._leave()

    async def _next_message(self) -> Message:
        if self._upload and not self._exchange.complete:
            message = self._upload.pop(0)
            if message["type"] == "http.disconnect":
                self._leave()
            return message
        await self._over.wait()
        return {"type": "http.disconnect"}

    def _leave(self) -> None:
        self._left = True
        self._over.set()


def _upload(chunks: Sequence[bytes], *, breaks: bool) -> list[Message]:
    parts = chunks or [b""]
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if breaks:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1]["more_body"] = False
    return messages
