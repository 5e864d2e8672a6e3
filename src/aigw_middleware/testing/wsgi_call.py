"""The server's half of a WSGI exchange, pulled chunk by chunk. Source: PEP 3333."""

import io
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_to_bytes

from .http_messages import RawHeaders, split_target

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class WsgiCall:
    """One request inside a WSGI app; the caller pulls its chunks and closes it."""

    def __init__(self, app: "WSGIApplication", environ: dict[str, Any]) -> None:
        self.status: int | None = None
        self.reason = ""
        self.headers: list[tuple[str, str]] = []
        self.headers_sent = False
        """Set by the caller when the client has the headers; after that an error of the app cannot replace them."""
        self.result: Iterable[bytes] | None = None
        """What the app returned, the object itself."""
        self.starts = 0
        """How many times `start_response` was called."""
        self.closed = 0
        """How many times the result was closed."""
        self._app = app
        self._environ = environ
        self._at_hand: deque[bytes] = deque()
        self._chunks: Iterator[bytes] | None = None

    def run(self) -> None:
        """Call the app. Raises what it raises."""
        self.result = self._app(self._environ, self._start_response)

    def chunk(self) -> bytes | None:
        """The next chunk, what was given to `write()` first, empty ones too; None at the end.

        Raises what the app raises, AssertionError for a body without `start_response`, TypeError for a chunk that is
        not bytes.
        """
        if not self._at_hand:
            if self._chunks is None:
                self._chunks = iter(self.result if self.result is not None else ())
            try:
                chunk = next(self._chunks)
            except StopIteration:
                pass
            else:
                self._take(chunk)
        if self.status is None and (not self._at_hand or self._at_hand[0]):
            raise AssertionError("the app did not call start_response before its first chunk or its end")
        return self._at_hand.popleft() if self._at_hand else None

    def close(self) -> None:
        """Close what the app returned, once. Raises what it raises."""
        close = getattr(self.result, "close", None)
        if close is not None and not self.closed:
            self.closed += 1
            close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        self.starts += 1
        if exc_info is not None and exc_info[1] is not None:
            if self.headers_sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.status is not None:
            raise AssertionError("start_response was called again without exc_info")
        code, _, self.reason = status.partition(" ")
        self.status, self.headers = int(code), list(headers)
        return self._write

    def _write(self, data: bytes, /) -> None:
        self.headers_sent = True
        self._take(data)

    def _take(self, chunk: object) -> None:
        if not isinstance(chunk, bytes):
            raise TypeError(f"a WSGI app answers in bytes, not in {type(chunk).__name__}")
        self._at_hand.append(chunk)


class WsgiInput(io.RawIOBase):
    """`wsgi.input` over chunks that are made only when they are read.

    `reads` counts them; with `forbidden`, reading is an AssertionError in the app.
    """

    def __init__(self, chunks: Iterable[bytes], *, forbidden: bool = False) -> None:
        self.reads = 0
        self._chunks = iter(chunks)
        self._rest = b""
        self._forbidden = forbidden

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the next chunk; 0 at the end."""
        self.reads += 1
        if self._forbidden:
            raise AssertionError("wsgi.input was read, which this exchange forbids")
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def stream(self) -> IO[bytes]:
        """The file that apps read; its `read(n)` gives `n` bytes unless the body ends."""
        return io.BufferedReader(self)


class CountedBody:
    """A WSGI response body that counts how many of its chunks were taken and how many times it was closed."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.taken = 0
        self.closed = 0
        self._chunks = chunks

    def __iter__(self) -> "CountedBody":
        return self

    def __next__(self) -> bytes:
        if self.taken == len(self._chunks):
            raise StopIteration
        self.taken += 1
        return self._chunks[self.taken - 1]

    def close(self) -> None:
        """Count."""
        self.closed += 1


def wsgi_environ(
    method: str,
    target: str | bytes,
    headers: RawHeaders,
    body: IO[bytes],
    *,
    http_version: str,
    client: tuple[str, int] | None,
    root_path: str,
    scheme: str = "http",
    server: tuple[str, int] = ("testserver", 80),
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The environ of a request. `root_path` becomes SCRIPT_NAME and leaves the path, if the path lies below it."""
    raw_path, _, query = split_target(target)
    path = unquote_to_bytes(raw_path).decode("latin-1")
    script_name = root_path.encode("utf-8").decode("latin-1")
    if path == script_name or path.startswith(f"{script_name}/"):
        path = path[len(script_name) :]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": script_name,
        "PATH_INFO": path,
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if client is not None:
        environ |= {"REMOTE_ADDR": client[0], "REMOTE_PORT": str(client[1])}
    for name, value in headers:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
        if key == "HTTP_TRANSFER_ENCODING" and text.lower() == "chunked":
            environ["wsgi.input_terminated"] = True
    return environ | dict(overrides or {})
