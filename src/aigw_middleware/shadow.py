"""Shadow: a plug-in runs on copies; what it would have done is recorded, and nothing of it happens.

The plug-in does not know. Its entry, and with it its keys in stores, begins with `shadow:`, so its counts are real and its
own. A consumer that it verified is set all the same: knowing who calls changes nothing for the caller.
"""

from __future__ import annotations

import copy
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from . import json as strict_json
from .exchange import Exchange, Finish, Refusal, Reply, Request, Response
from .headers import Headers
from .llm.view import LlmCall
from .plugin import HOOKS, Plugin, PluginConfig, needs_of, overridden

if TYPE_CHECKING:
    from .llm.sse import Event
    from .llm.text import Channel

PREFIX = "shadow:"
_ANSWERING = ("on_request", "on_request_body", "on_identified", "on_response", "on_response_body")


def shadow_of(plugin: Plugin[Any]) -> Plugin[Any]:
    """Return a plug-in that runs `plugin` without effect, with the same hooks, place and needs."""
    members: dict[str, Any] = {}
    for hook in HOOKS:
        if overridden(plugin, hook):
            members[hook] = _answering(hook) if hook in _ANSWERING else globals()[f"_{hook}"]
    if overridden(plugin, "wants_body"):
        members["wants_body"] = lambda self, exchange: plugin.wants_body(exchange)
    members["setup"] = lambda self, runtime: plugin.setup(runtime)
    members["teardown"] = lambda self, runtime: plugin.teardown(runtime)
    members |= {"name": plugin.name, "needs": needs_of(plugin), "Config": PluginConfig}
    made = cast("type[Plugin[Any]]", type("Shadow", (Plugin,), members))
    shadow = made.build(plugin.config, plugin.settings, plugin.context)
    for attribute in ("stage", "priority", "identifies", "path_matching", "directions"):
        setattr(shadow, attribute, getattr(plugin, attribute))
    shadow.on_failure = shadow.on_uncovered = "allow"
    shadow.shadowed = plugin  # type: ignore[attr-defined]
    return shadow


def _copy_of(self: Any, exchange: Exchange) -> Exchange:
    """Return this plug-in's copy of the exchange, made at its first hook, with the response as it stands now."""
    shadow: Exchange | None = exchange.local.get(self)
    if shadow is None:
        shadow = exchange.local[self] = copy.copy(exchange)
        shadow.__dict__["records"] = exchange.records
        shadow.__dict__["local"] = {}
        shadow.__dict__["attributes"] = dict(exchange.attributes)
        shadow.__dict__.pop("meter", None)
        shadow.request = _copied_body(exchange.request)
    if "llm" in exchange.__dict__:
        call = exchange.llm
        shadow.llm = LlmCall(shadow.request, call.dialect) if call is not None else None
    if exchange.request.received_body is not None and shadow.request.received_body is None:
        shadow.request = _copied_body(exchange.request)
    if "meter" in exchange.__dict__:
        shadow.meter = copy.copy(exchange.meter)
        shadow.meter.reservations = []
    if exchange.response is not None:
        shadow.response = _copied_body(exchange.response)
    for name in ("consumer", "outcome", "error", "refusal", "first_byte", "finished", "bytes_sent"):
        setattr(shadow, name, getattr(exchange, name))
    return shadow


def _copied_body(body: Any) -> Any:
    copied: Request | Response = copy.copy(body)
    copied.headers = Headers(list(body.headers.raw), owned=True)
    original = body

    def edit() -> Any:
        if copied.__dict__.get("json") is original.__dict__.get("json"):
            copied.__dict__["json"] = strict_json.decode(strict_json.encode(original.json))
        copied.__dict__["_stale"] = True
        return copied.json

    copied.__dict__["edit"] = edit
    return copied


def _would(self: Any, exchange: Exchange, result: Any) -> None:
    if isinstance(result, Refusal):
        exchange.decide(self, "would", f"refuse: {result.status} {result.code}")
    elif isinstance(result, Reply):
        exchange.decide(self, "would", f"answer: {result.status}")
    elif isinstance(result, Finish):
        exchange.decide(self, "would", f"finish: {result.reason}")
    elif result is not None:
        exchange.decide(self, "would", "change")


def _settle(self: Any, exchange: Exchange, shadow: Exchange, result: Any) -> None:
    if self.identifies and shadow.consumer is not exchange.consumer:
        exchange.consumer, exchange.claims = shadow.consumer, shadow.claims
    changed = shadow.request.headers.changed or shadow.request.__dict__.get("_stale")
    response = shadow.response
    if response is not None:
        changed = changed or response.headers.changed or response.__dict__.get("_stale")
    if result is not None:
        _would(self, exchange, result)
    elif changed and not any(line.plugin == self.name and line.decision == "would" for line in exchange.records):
        exchange.decide(self, "would", "change")


def _answering(hook: str) -> Any:
    def forward(self: Any, exchange: Exchange) -> Any:
        shadow = _copy_of(self, exchange)
        result = getattr(self.shadowed, hook)(shadow)
        if type(result) is CoroutineType:
            return _awaited(self, exchange, shadow, result)
        _settle(self, exchange, shadow, result)
        return None

    forward.__name__ = hook
    return forward


async def _awaited(self: Any, exchange: Exchange, shadow: Exchange, coroutine: Any) -> None:
    _settle(self, exchange, shadow, await coroutine)


async def _on_upstream(self: Any, exchange: Exchange, call: Any) -> None:
    await call()


def _on_event(self: Any, exchange: Exchange, event: Event) -> None:
    _would(self, exchange, self.shadowed.on_event(_copy_of(self, exchange), event))


def _on_text(self: Any, exchange: Exchange, text: str, channel: Channel) -> None:
    shadow = _copy_of(self, exchange)
    tails: dict[tuple[int, str, int], str] = shadow.local.setdefault(self, {})
    key = (channel.index, channel.kind, channel.part)
    text = tails.pop(key, "") + text
    result = self.shadowed.on_text(shadow, text, channel)
    if type(result) is tuple:
        emitted, tails[key] = result
        result = emitted if emitted + tails[key] != text else None
    if result is not None and not any(
        line.plugin == self.name and line.decision == "would" for line in exchange.records
    ):
        _would(self, exchange, result)


def _on_refusal(self: Any, exchange: Exchange, response: Response) -> None:
    self.shadowed.on_refusal(_copy_of(self, exchange), _copied_body(response))


def _on_error(self: Any, exchange: Exchange, error: Exception) -> None:
    _would(self, exchange, self.shadowed.on_error(_copy_of(self, exchange), error))


def _on_complete(self: Any, exchange: Exchange) -> None:
    self.shadowed.on_complete(_copy_of(self, exchange))
