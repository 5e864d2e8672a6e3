"""HTTP clients whose requests never leave the process and whose responses really stream.

    async with client(app) as http:
        async with http.stream("POST", "/v1/chat/completions", json=body) as response:
            async for line in response.aiter_lines():
                print(line)

    sdk = openai.AsyncOpenAI(http_client=client(app, library="httpx2"), base_url="http://testserver/v1", api_key="k")

The transports behind them can be had alone, for a client that is made elsewhere.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, overload

import httpx
from starlette.types import ASGIApp

from .asgi_transport import AsgiTransport, asgi_transport_class
from .transports import Library
from .wsgi_transport import WsgiTransport, wsgi_transport_class

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    import httpx2

__all__ = ["AsgiTransport", "WsgiTransport", "asgi_transport_class", "client", "wsgi_client", "wsgi_transport_class"]


@overload
def client(
    app: ASGIApp, base_url: str = ..., *, library: Literal["httpx"] = ..., **options: Any
) -> httpx.AsyncClient: ...
@overload
def client(
    app: ASGIApp, base_url: str = ..., *, library: Literal["httpx2"], **options: Any
) -> "httpx2.AsyncClient": ...
def client(app: ASGIApp, base_url: str = "http://testserver", *, library: Library = "httpx", **options: Any) -> Any:
    """An `AsyncClient` into an ASGI app.

    `options` are those of `AsgiTransport` (`spec_version`, `client`, `root_path`, `raise_app_exceptions`,
    `http_version`, `headers_first`) and of the library's `AsyncClient`, which has no timeout unless one is given.
    Raises ImportError if the library is not installed.
    """
    transport, rest = _with_options(asgi_transport_class(library), app, options)
    return importlib.import_module(library).AsyncClient(transport=transport, base_url=base_url, **rest)


@overload
def wsgi_client(
    app: "WSGIApplication", base_url: str = ..., *, library: Literal["httpx"] = ..., **options: Any
) -> httpx.Client: ...
@overload
def wsgi_client(
    app: "WSGIApplication", base_url: str = ..., *, library: Literal["httpx2"], **options: Any
) -> "httpx2.Client": ...
def wsgi_client(
    app: "WSGIApplication", base_url: str = "http://testserver", *, library: Library = "httpx", **options: Any
) -> Any:
    """A `Client` into a WSGI app.

    `options` are those of `WsgiTransport` (`chunked`, `client`, `root_path`, `raise_app_exceptions`, `http_version`,
    `environ`) and of the library's `Client`. Raises ImportError if the library is not installed.
    """
    transport, rest = _with_options(wsgi_transport_class(library), app, options)
    return importlib.import_module(library).Client(transport=transport, base_url=base_url, **rest)


def _with_options(transport: Callable[..., Any], app: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The transport with the options that are its own, and the others with what in-process clients need."""
    own = transport.__init__.__kwdefaults__ or {}
    mine = {name: value for name, value in options.items() if name in own}
    rest = {name: value for name, value in options.items() if name not in own}
    return transport(app, **mine), {"timeout": None, "trust_env": False} | rest
