"""Rules by consumer, group or model: the variant of a plug-in is chosen at its turn, not before the first hook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from .plugin import HOOKS, Plugin, PluginConfig, needs_of, overridden

if TYPE_CHECKING:
    from .config.rules import Late
    from .exchange import Exchange


def choose(exchange: Exchange, candidates: Sequence[tuple[Late, Plugin[Any] | None]]) -> Plugin[Any] | None:
    """Return the plug-in of the first candidate whose late keys hold."""
    for late, plugin in candidates:
        if late.consumer and exchange.consumer.name not in late.consumer:
            continue
        if late.group and late.group.isdisjoint(exchange.consumer.groups):
            continue
        if late.model and not _model_matches(exchange, late.model):
            continue
        return plugin
    return None


def _model_matches(exchange: Exchange, patterns: Sequence[str]) -> bool:
    call = exchange.llm
    model = call.model if call is not None else ""
    return any(model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern for pattern in patterns)


def late_choice(candidates: Sequence[tuple[Late, Plugin[Any] | None]]) -> Plugin[Any]:
    """Return a plug-in that stands for whichever candidate applies, with the hooks that any of them has."""
    plugins = [plugin for _, plugin in candidates if plugin is not None]
    first = plugins[0]
    hooks = {hook for hook in HOOKS if any(overridden(plugin, hook) for plugin in plugins)}
    needs = first.needs
    for plugin in plugins[1:]:
        needs |= needs_of(plugin)
    members: dict[str, Any] = {hook: _MAKERS.get(hook, _forward)(hook) for hook in hooks}
    if any(overridden(plugin, "wants_body") for plugin in plugins):
        members["wants_body"] = _wants_body
    if "on_request" not in hooks and "on_request_body" not in hooks:
        members["on_request"] = _decide
    members |= {"name": first.name, "needs": needs, "Config": PluginConfig}
    chooser = cast("type[Plugin[Any]]", type("LateChoice", (Plugin,), members))
    chosen = chooser.build(first.config, first.settings, first.context)
    for attribute in ("stage", "priority", "on_failure", "on_uncovered"):
        setattr(chosen, attribute, getattr(first, attribute))
    chosen.candidates = tuple(candidates)  # type: ignore[attr-defined]
    chosen.request_needs_body = any(late.model for late, _ in candidates)  # type: ignore[attr-defined]
    return chosen


def _decide(self: Any, exchange: Exchange) -> None:
    _variant(self, exchange)


def _wants_body(self: Any, exchange: Exchange) -> bool:
    if self.request_needs_body and not exchange.request.loaded:
        return any(plugin.wants_body(exchange) for _, plugin in self.candidates if plugin is not None)
    plugin = _variant(self, exchange)
    return plugin is not None and plugin.wants_body(exchange)


def _variant(self: Any, exchange: Exchange) -> Plugin[Any] | None:
    local = exchange.local
    if self not in local:
        local[self] = choose(exchange, self.candidates)
    return local[self]  # type: ignore[no-any-return]


def _forward(hook: str) -> Any:
    def forward(self: Any, exchange: Exchange, *arguments: Any) -> Any:
        plugin = _variant(self, exchange)
        return getattr(plugin, hook)(exchange, *arguments) if plugin is not None else None

    forward.__name__ = hook
    return forward


def _forward_after_choice(hook: str) -> Any:
    """For hooks that may run for exchanges that ended before the choice could be made."""

    def forward(self: Any, exchange: Exchange, *arguments: Any) -> Any:
        plugin = exchange.__dict__.get("local", {}).get(self)
        return getattr(plugin, hook)(exchange, *arguments) if plugin is not None else None

    forward.__name__ = hook
    return forward


def _forward_upstream(hook: str) -> Any:
    async def on_upstream(self: Any, exchange: Exchange, call: Any) -> Any:
        plugin = _variant(self, exchange)
        if plugin is None or not overridden(plugin, hook):
            await call()
            return None
        return await plugin.on_upstream(exchange, call)

    return on_upstream


_MAKERS = {
    "on_upstream": _forward_upstream,
    "on_refusal": _forward_after_choice,
    "on_error": _forward_after_choice,
    "on_complete": _forward_after_choice,
}
