"""An AI plug-in that never meets an LLM call does nothing, and nobody would notice: it is said, once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from .hooks import logger
from .plugin import Needs, Plugin, overridden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .exchange import Exchange
    from .pipeline import Stack

ENOUGH: Final = 1_000
"""Exchanges without an LLM call after which a plug-in warns."""


SEEN: Final = -1
_counts: WeakKeyDictionary[Plugin[Any], int] = WeakKeyDictionary()
"""Exchanges without an LLM call, by plug-in: its stacks of several rules count together. SEEN: there was one, or it warned."""


def concerned(plugins: Sequence[Plugin[Any]]) -> tuple[Plugin[Any], ...]:
    """Return the plug-ins that work on LLM calls only and have met none yet."""
    return tuple(
        plugin
        for plugin in plugins
        if _counts.get(plugin) != SEEN and (Needs.LLM in plugin.needs or overridden(plugin, "on_text"))
    )


def notice(stack: Stack, exchange: Exchange) -> None:
    """Count an exchange that is over for the plug-ins of its stack that have met no LLM call yet."""
    if exchange.llm is not None:
        for plugin in stack.unseen:
            _counts[plugin] = SEEN
    elif exchange.outcome == "refused":
        return  # nobody knows what it would have been
    stack.unseen = concerned(stack.unseen)
    for plugin in stack.unseen:
        count = _counts.get(plugin, 0) + 1
        _counts[plugin] = count if count < ENOUGH else SEEN
        if count == ENOUGH:
            logger.warning(
                "%s: none of %d exchanges was an LLM call, so it did nothing (the last one: %s, route %s). "
                "Calls are told by the end of their path, else by their body; where neither fits, give the route "
                "`llm: openai-chat` or another API. `aigw explain` shows what a request is taken for.",
                plugin.name,
                ENOUGH,
                exchange.request.method,
                exchange.route.name,
            )
