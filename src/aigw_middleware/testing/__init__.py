"""What users' tests import: fake provider, virtual clock, in-process clients that stream, the host matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asgi import AsgiExchange as AsgiExchange
    from .asgi import asgi_exchange as asgi_exchange
    from .clients import AsgiTransport as AsgiTransport
    from .clients import WsgiTransport as WsgiTransport
    from .clients import client as client
    from .clients import wsgi_client as wsgi_client
    from .clock import VirtualClock as VirtualClock
    from .hmac_signer import HmacSigner as HmacSigner
    from .matrix import Script as Script
    from .matrix import Scripted as Scripted
    from .matrix import Transcript as Transcript
    from .matrix import assert_same as assert_same
    from .matrix import run_everywhere as run_everywhere
    from .provider import FakeProvider as FakeProvider
    from .script import Answer as Answer
    from .script import CutMidEvent as CutMidEvent
    from .script import ErrorEvent as ErrorEvent
    from .script import Garbage as Garbage
    from .script import ProviderError as ProviderError
    from .script import RateLimited as RateLimited
    from .script import RefuseConnection as RefuseConnection
    from .script import Style as Style
    from .script import ToolCall as ToolCall
    from .script import Usage as Usage
    from .wsgi import WsgiExchange as WsgiExchange
    from .wsgi import wsgi_exchange as wsgi_exchange

_EXPORTS = {
    "asgi": ("AsgiExchange", "asgi_exchange"),
    "clients": ("AsgiTransport", "WsgiTransport", "client", "wsgi_client"),
    "clock": ("VirtualClock",),
    "hmac_signer": ("HmacSigner",),
    "matrix": ("Script", "Scripted", "Transcript", "assert_same", "run_everywhere"),
    "provider": ("FakeProvider",),
    "script": (
        "Answer",
        "CutMidEvent",
        "ErrorEvent",
        "Garbage",
        "ProviderError",
        "RateLimited",
        "RefuseConnection",
        "Style",
        "ToolCall",
        "Usage",
    ),
    "wsgi": ("WsgiExchange", "wsgi_exchange"),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    from importlib import import_module

    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
