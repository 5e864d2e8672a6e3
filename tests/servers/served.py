"""What the servers of `test_servers.py` run: one small service, as ASGI and as WSGI, behind our gateway.

A streamed answer follows the test over a control connection: it says `sent 1`, waits for a line, sends the next event,
and so on; `end` ends it. When it is stopped instead, it says `left`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from aigw_middleware import Channel, Exchange, Gateway, Needs, Plugin, PluginConfig, Refusal, Stage, WSGIGateway

CHAT = "/v1/chat/completions"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Door(Plugin[PluginConfig]):
    """Refuses callers of `/closed` by their header fields."""

    name, stage, priority = "door", Stage.AUTHENTICATION, 310

    def on_request(self, exchange: Exchange) -> Refusal | None:
        if exchange.request.path != "/closed":
            return None
        return Refusal(401, "invalid_key", "No valid key.", [("www-authenticate", "Key")])


class Edit(Plugin[PluginConfig]):
    """Changes both bodies of `/echo`."""

    name, priority = "edit", 200

    def wants_body(self, exchange: Exchange) -> bool:
        return exchange.request.path == "/echo"

    def on_request_body(self, exchange: Exchange) -> None:
        exchange.request.body = exchange.request.body + b" asked"

    def on_response_body(self, exchange: Exchange) -> None:
        if exchange.request.path == "/echo" and exchange.response is not None:
            exchange.response.body = exchange.response.body + b" answered"


class Texts(Plugin[PluginConfig]):
    """Reads the texts of streams."""

    name, priority, needs = "texts", 100, Needs.USAGE

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> None:
        return None


def _control() -> tuple[str, int]:
    return "127.0.0.1", int(os.environ["AIGW_TEST_CONTROL"])


async def _body(receive: Any) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = await _body(receive)
    if scope["path"] == CHAT:
        await _asgi_stream(send)
        return
    answer = body if scope["path"] == "/echo" else b"hello " + scope["query_string"]
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": answer})


async def _asgi_stream(send: Any) -> None:
    reader, writer = await asyncio.open_connection(*_control())
    number = 0
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        line = b""
        while line != b"end\n":
            number += 1
            await send({"type": "http.response.body", "body": EVENT % number, "more_body": True})
            writer.write(b"sent %d\n" % number)
            line = await reader.readline()
        await send({"type": "http.response.body", "body": DONE})
    except BaseException:
        writer.write(b"left\n")
        raise
    finally:
        writer.close()


def _wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] == CHAT:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return _wsgi_stream()
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length else b""
    answer = body if environ["PATH_INFO"] == "/echo" else b"hello " + environ["QUERY_STRING"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


def _wsgi_stream() -> Iterator[bytes]:
    with socket.create_connection(_control(), timeout=5) as connection, connection.makefile("rb") as lines:
        number = 0
        line = b""
        try:
            while line != b"end\n":
                number += 1
                yield EVENT % number
                connection.sendall(b"sent %d\n" % number)
                line = lines.readline()
            yield DONE
        except BaseException:
            connection.sendall(b"left\n")
            raise


asgi = Gateway(_asgi, plugins=[Door(), Edit(), Texts()])
wsgi = WSGIGateway(_wsgi, plugins=[Door(), Edit(), Texts()])
