"""A transport into a WSGI app, which runs in the thread of its client."""

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, overload

import httpx

from .http_messages import BodyLength
from .transports import UNFINISHED, Library, Network, bound, server_of
from .wsgi_call import WsgiCall, WsgiInput, wsgi_environ

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    import httpx2


class _WsgiTransport(Network):
    def __init__(
        self,
        app: "WSGIApplication",
        *,
        chunked: bool = False,
        client: tuple[str, int] | None = ("127.0.0.1", 50000),
        root_path: str = "",
        raise_app_exceptions: bool = True,
        http_version: str = "1.1",
        environ: Mapping[str, Any] | None = None,
    ) -> None:
        self.raise_app_exceptions = raise_app_exceptions
        self._app = app
        self._chunked = chunked
        self._client = client
        self._root_path = root_path
        self._http_version = http_version
        self._environ = environ

    def handle_request(self, request: Any) -> Any:
        """Run the app until the response can be handed over."""
        call = WsgiCall(self._app, self._environ_of(request))
        try:
            call.run()
            first = _next_chunk(call)
            call.headers_sent = True
        except Exception as error:
            call.close()
            failure = self.failure_of(error)
            if failure is not error:
                raise failure from error
            if self.raise_app_exceptions:
                raise
            return self.crashed()
        body = bound(_WsgiBody, "SyncByteStream", self._http.__name__)(self, call, request.method, first)
        return self._http.Response(
            call.status,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in call.headers],
            stream=body,
            extensions={
                "http_version": f"HTTP/{self._http_version}".encode(),
                "reason_phrase": call.reason.encode("latin-1"),
            },
        )

    def _environ_of(self, request: Any) -> dict[str, Any]:
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"transfer-encoding"]
        lengths = [value for name, value in headers if name.lower() == b"content-length"]
        chunks: Iterable[bytes] = request.stream
        if self._chunked:
            headers = [pair for pair in headers if pair[0].lower() != b"content-length"]
            headers.append((b"transfer-encoding", b"chunked"))
        elif not lengths:
            chunks = [request.read()]
            if request.content:
                headers.append((b"content-length", b"%d" % len(request.content)))
        return wsgi_environ(
            request.method,
            request.url.raw_path,
            headers,
            WsgiInput(chunks).stream(),
            http_version=self._http_version,
            client=self._client,
            root_path=self._root_path,
            scheme=request.url.scheme,
            server=server_of(request),
            overrides=self._environ,
        )


class _WsgiBody:
    def __init__(self, transport: _WsgiTransport, call: WsgiCall, method: str, first: bytes | None) -> None:
        self._transport = transport
        self._call = call
        self._at_hand = [first]
        self._length = BodyLength(method, call.status or 0, [(n.encode(), v.encode()) for n, v in call.headers])
        self._is_head = method == "HEAD"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = self._at_hand.pop() if self._at_hand else _next_chunk(self._call)
        except Exception as error:
            failure = self._transport.failure_of(error)
            if failure is not error:
                raise failure from error
            if self._transport.raise_app_exceptions:
                raise
            raise self._transport.broken(UNFINISHED) from error
        problem = self._length.problem(chunk or b"", ended=chunk is None)
        if problem:
            raise self._transport.broken(problem)
        if chunk is None:
            raise StopIteration
        return b"" if self._is_head else chunk

    def close(self) -> None:
        """Close what the app returned. Raises what it raises."""
        self._call.close()


class WsgiTransport(_WsgiTransport, httpx.BaseTransport):
    """An httpx transport into a WSGI app, which runs in the calling thread whenever the client asks for a chunk.

    The request has a CONTENT_LENGTH or, if `chunked`, `wsgi.input_terminated` and a body that is made as it is read.
    Otherwise as `AsgiTransport`; `root_path` becomes SCRIPT_NAME, and `environ` replaces members.
    """

    _http: ClassVar[ModuleType] = httpx


@overload
def wsgi_transport_class(library: Literal["httpx"]) -> type[WsgiTransport]: ...
@overload
def wsgi_transport_class(library: Literal["httpx2"]) -> "Callable[..., httpx2.BaseTransport]": ...
def wsgi_transport_class(library: Library) -> Callable[..., Any]:
    """`WsgiTransport` for this library. Raises ImportError if it is not installed."""
    return WsgiTransport if library == "httpx" else bound(_WsgiTransport, "BaseTransport", library)


def _next_chunk(call: WsgiCall) -> bytes | None:
    """The next chunk that is not empty: an empty one does not reach a client."""
    while (chunk := call.chunk()) == b"":
        pass
    return chunk
