"""The hand-made other side: requests as a server would hand them over, and cases that serve them again and again."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Scope

from aigw_middleware.hosts.asgi import Gateway
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.json import encode

from .measure import Case

PATH = "/v1/chat/completions"
API_KEY = "key-of-consumer-500-0123456789abcdef"
CLIENT = "203.0.113.7"
PROXY = "10.1.2.3"
ORIGIN = "https://app.example.com"
KILOBYTE = 1_000

Headers = list[tuple[bytes, bytes]]


def chat_body(size: int = KILOBYTE, *, stream: bool = False) -> bytes:
    """Return a chat completion request of about `size` bytes."""
    sentence = "The quick brown fox jumps over the lazy dog while the sun is going down behind the hills. "
    question = {"role": "user", "content": "What is going on in this scene?"}
    body: dict[str, Any] = {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "You are a helpful assistant."}, question],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    missing = max(0, size - len(encode(body)))
    question["content"] += (sentence * (missing // len(sentence) + 1))[:missing]
    return encode(body)


def headers(body: bytes, *, token: str = "", key: str = API_KEY) -> Headers:
    """Return what an SDK behind a proxy sends; `token` is a bearer token, `key` an API key."""
    fields = [
        (b"host", b"api.example.com"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"gzip, deflate, br"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"origin", ORIGIN.encode()),
        (b"x-forwarded-for", CLIENT.encode()),
        (b"x-forwarded-proto", b"https"),
    ]
    if key:
        fields.append((b"x-api-key", key.encode()))
    if token:
        fields.append((b"authorization", b"Bearer " + token.encode()))
    return fields


def scope(fields: Headers, path: str = PATH, method: str = "POST") -> Scope:
    """Return an HTTP scope as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": fields,
        "client": (PROXY, 40_000),
        "server": ("10.0.0.1", 8_000),
    }


class Receive:
    """The server's `receive`: the whole body at once, then nothing until the client leaves, which it does not."""

    __slots__ = ("_body", "_given")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._given = False

    async def __call__(self) -> Message:
        if not self._given:
            self._given = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        waiting: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await waiting


async def drop(message: Message) -> None:
    """The server's `send`, for a client that takes everything at once."""


def asgi_case(app: ASGIApp, scopes: Scope | Sequence[Scope], body: bytes) -> Case:
    """Return a case that serves a request, or several in turn, through an ASGI application."""
    several = scopes if isinstance(scopes, Sequence) else [scopes]

    async def run(count: int) -> None:
        length = len(several)
        for number in range(count):
            await app({**several[number % length], "state": {}}, Receive(body), drop)

    return run


def concurrent_case(app: ASGIApp, request: Scope, body: bytes, tasks: int) -> Case:
    """Return a case that serves requests in so many tasks at a time; its count is in rounds of one request each."""

    async def one() -> None:
        await app({**request, "state": {}}, Receive(body), drop)

    async def run(count: int) -> None:
        for _ in range(count):
            await asyncio.gather(*[one() for _ in range(tasks)])

    return run


WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def environ(fields: Headers, path: str = PATH, method: str = "POST") -> dict[str, Any]:
    """Return a WSGI environ as a server makes it, but for the body."""
    values: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "RAW_URI": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "10.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": PROXY,
        "REMOTE_PORT": "40000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in fields:
        key = name.decode().upper().replace("-", "_")
        values[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value.decode("latin-1")
    return values


def wsgi_case(app: WsgiApp, request: dict[str, Any], body: bytes) -> Case:
    """Return a case that serves a request through a WSGI application, as a server does: iterate, then close."""

    def start_response(status: str, fields: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        return _ignore

    async def run(count: int) -> None:
        for _ in range(count):
            iterable = app({**request, "wsgi.input": io.BytesIO(body)}, start_response)
            for _piece in iterable:
                pass
            close = getattr(iterable, "close", None)
            if close is not None:
                close()

    return run


def _ignore(data: bytes) -> None:
    """WSGI's `write`, for a client that takes everything at once."""


class Unexpected(RuntimeError):
    """An application did not answer as a case expects, or a plug-in broke: there is nothing to measure then."""


async def expect(app: ASGIApp, request: Scope, body: bytes, status: int = 200) -> None:
    """Serve one request. Raises Unexpected when the status is another one, or a plug-in of a gateway failed."""
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    await app({**request, "state": {}}, Receive(body), keep)
    found = sent[0].get("status") if sent else None
    if found != status:
        text = b"".join(message.get("body", b"") for message in sent)
        raise Unexpected(f"status {found} instead of {status}: {text[:300].decode(errors='replace')}")
    if isinstance(app, Gateway):
        _no_failure(app.core.runtime(asyncio.get_running_loop()).counts)


def expect_wsgi(app: WSGIGateway, request: dict[str, Any], body: bytes) -> None:
    """Serve one request on WSGI. Raises Unexpected when it is not answered with 200, or a plug-in failed."""
    found: list[str] = []
    iterable = app(
        {**request, "wsgi.input": io.BytesIO(body)}, lambda status, fields, exc_info=None: found.append(status)
    )
    text = b"".join(iterable)
    close = getattr(iterable, "close", None)
    if close is not None:
        close()
    if not found or not found[0].startswith("200"):
        raise Unexpected(f"status {found} instead of 200: {text[:300].decode(errors='replace')}")
    _no_failure(app.core.process_runtime().counts)


def _no_failure(counts: Mapping[tuple[str, str], int]) -> None:
    for (plugin, decision), count in counts.items():
        if count and decision in ("failed", "uncovered", "store failed"):
            raise Unexpected(f"plug-in {plugin}: {decision}")
