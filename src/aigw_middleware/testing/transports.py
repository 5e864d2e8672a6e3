"""What in-process transports share, for httpx and httpx2, ASGI and WSGI.

httpx's own in-process transports keep a whole response before they hand it over; ours pull it out of the app chunk by
chunk. Each exists for httpx and, made when it is first asked for, for httpx2: the two libraries have the same classes
under another module name.
"""

import importlib
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Literal, TypeAlias

from .script import CutConnectionError, RefusedConnectionError

Library: TypeAlias = Literal["httpx", "httpx2"]

PORTS = {"http": 80, "https": 443}
UNFINISHED = "the app returned before the end of its response"


class Network:
    """What a client on a socket would see, in the exceptions of its library."""

    _http: ClassVar[ModuleType]

    def failure_of(self, error: Exception) -> Exception:
        """`error`, or the library's own exception where it stands for the network's failing."""
        failure = error
        if isinstance(error, RefusedConnectionError):
            failure = self._http.ConnectError(str(error))
        elif isinstance(error, CutConnectionError):
            failure = self.broken(str(error))
        return failure

    def broken(self, message: str) -> Exception:
        """The response is not what its headers, or HTTP, promise."""
        error: Exception = self._http.RemoteProtocolError(message)
        return error

    def crashed(self) -> Any:
        """The response of a server whose app raised before it answered."""
        return self._http.Response(500, text="Internal Server Error")


@cache
def bound(kind: type, base: str, library: str) -> type[Any]:
    """The class of this library that behaves like `kind`. Raises ImportError if the library is not installed."""
    http = importlib.import_module(library)
    return type(kind.__name__.lstrip("_"), (kind, getattr(http, base)), {"_http": http, "__doc__": kind.__doc__})


def server_of(request: Any) -> tuple[str, int]:
    """The host and port that a request is for."""
    return request.url.host, request.url.port or PORTS[request.url.scheme]
