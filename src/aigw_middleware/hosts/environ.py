"""A request as CGI describes it, which WSGI and Django share: read from the environ, written back to it (RFC 3875)."""

from __future__ import annotations

import functools
import http
import io
from typing import Any

from ..exchange import Request
from ..headers import Headers, RawHeaders
from ..lazy import lazy

Environ = dict[str, Any]
_CHUNK = 65_536
_OTHERS = {"CONTENT_TYPE": b"content-type", "CONTENT_LENGTH": b"content-length"}


class WsgiRequest(Request):
    """The request of a WSGI environ."""

    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        self.method = environ.get("REQUEST_METHOD", "GET")
        self.headers = Headers(load=self._load_headers)

    def _load_headers(self) -> RawHeaders:
        raw: RawHeaders = []
        for key, value in self.environ.items():
            if key[:5] == "HTTP_":
                name = _name_of(key)
                if name:
                    raw.append((name, value.encode("latin-1", "replace")))
            elif key in _OTHERS and value:
                raw.append((_OTHERS[key], value.encode("latin-1", "replace")))
        return raw

    @lazy
    def path(self) -> str:
        raw = _bytes(self.environ.get("PATH_INFO", "")) or b"/"
        return raw.decode("utf-8", "surrogateescape")

    @lazy
    def root_path(self) -> str:
        return _bytes(self.environ.get("SCRIPT_NAME", "")).decode("utf-8", "surrogateescape")

    @lazy
    def raw_path(self) -> bytes | None:
        target = self.environ.get("RAW_URI") or self.environ.get("REQUEST_URI")
        if not target:
            return None
        raw = _bytes(target).partition(b"?")[0]
        if raw[:7].lower() in (b"http://", b"https:/"):
            raw = b"/" + raw.split(b"//", 1)[-1].partition(b"/")[2]
        return raw

    @lazy
    def query(self) -> bytes:
        return _bytes(self.environ.get("QUERY_STRING", ""))

    @lazy
    def scheme(self) -> str:
        return self.environ.get("wsgi.url_scheme", "http")  # type: ignore[no-any-return]

    @lazy
    def http_version(self) -> str:
        return self.environ.get("SERVER_PROTOCOL", "HTTP/1.1").rpartition("/")[2]  # type: ignore[no-any-return]

    @lazy
    def peer(self) -> str | None:
        return self.environ.get("REMOTE_ADDR") or None

    @lazy
    def domain(self) -> str:
        host = self.environ.get("HTTP_HOST") or self.environ.get("SERVER_NAME", "")
        host = host.strip().lower()
        if host.startswith("["):
            return host[1:].partition("]")[0]  # type: ignore[no-any-return]
        return host.partition(":")[0].rstrip(".")  # type: ignore[no-any-return]


@functools.lru_cache(2_048)  # clients send few names; the bound is for made-up ones
def _name_of(key: str) -> bytes:
    """Return the header that a member of the environ holds; empty for two that it holds under another name."""
    if key in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
        return b""
    return key[5:].lower().replace("_", "-").encode("latin-1")


@functools.lru_cache(2_048)
def _key_of(name: bytes) -> str:
    """Return the member of the environ that holds a header."""
    return "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def write_environ(request: Request, environ: Environ) -> None:
    """Write changed header fields, another query and an edited body back."""
    if request.requeried:
        environ["QUERY_STRING"] = query = request.query.decode("latin-1")
        for key in ("REQUEST_URI", "RAW_URI"):
            if key in environ:
                path = environ[key].partition("?")[0]
                environ[key] = f"{path}?{query}" if query else path
    if request.loaded:
        body = request.wire
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ["wsgi.input_terminated"] = True
    if not request.headers.changed:
        return
    for key in [key for key in environ if key.startswith("HTTP_")]:
        del environ[key]
    for name, value in request.headers.raw:
        text = value.decode("latin-1")
        if name == b"content-type":
            environ["CONTENT_TYPE"] = text
            continue
        if name == b"content-length":
            continue
        key = _key_of(name)
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text


def read_body(environ: Environ, limit: int) -> bytes | None:
    """Read the request's body, counting; None when it has more than `limit` bytes."""
    stream = environ["wsgi.input"]
    declared = environ.get("CONTENT_LENGTH") or ""
    chunked = environ.get("wsgi.input_terminated") or "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    if declared.isascii() and declared.isdigit() and not environ.get("wsgi.input_terminated"):
        remaining = int(declared)
        if remaining > limit:
            return None
    elif chunked:
        remaining = limit + 1
    else:
        return b""
    chunks: list[bytes] = []
    size = 0
    while remaining > 0:
        chunk = stream.read(min(_CHUNK, remaining))
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
        remaining -= len(chunk)
        if size > limit:
            return None
    return b"".join(chunks)


@functools.lru_cache(maxsize=2_048)
def title(name: bytes) -> str:
    """Write a header name as WSGI servers and HTTP/1.1 readers expect: `content-type` as `Content-Type`."""
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))


def phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
