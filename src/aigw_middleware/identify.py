"""Several ways to identify oneself in one stack: any one of them is enough, or all must name the same consumer.

`auth_mode` of the configuration, or of a route, says which. With `any` a plug-in that finds no credential of its kind, or a
wrong one, leaves the caller to the others; only when none knows the caller is it refused, with every challenge. With `all`
each must let the caller in. Either way two credentials of two consumers are refused: nobody can say who that is.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from .consumers import ANONYMOUS, Consumer
from .exchange import Exchange, Refusal
from .plugin import GATE, Plugin, overridden

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

MAX_COMBINED: Final = 64  # refusals put together that are kept; plug-ins make theirs once, so there are few
CONFLICT: Final = Refusal(
    401, "conflicting_credentials", "The request carries credentials of different consumers: send those of one."
)


def identifying(plugins: Sequence[Plugin[Any]]) -> list[Plugin[Any]]:
    """Return the plug-ins of a stack that find out who calls, in order."""
    return [
        plugin for plugin in plugins if plugin.identifies and plugin.stage in GATE and overridden(plugin, "on_request")
    ]


class OneOfSeveral:
    """`on_request` of a plug-in that identifies callers, in a stack that has more of them."""

    __slots__ = ("_combined", "_hook", "_last", "plugin")
    named = "on_request"

    def __init__(self, plugin: Plugin[Any], *, last: bool) -> None:
        self.plugin = plugin
        self._hook = plugin.on_request
        self._last = last
        self._combined: dict[tuple[Refusal, ...], Refusal] = {}

    def __call__(self, exchange: Exchange) -> Any:
        consumer, by = exchange.consumer, exchange.identified_by
        every = (exchange.route.auth_mode or exchange.snapshot.auth_mode) == "all"
        if every:  # what another one found out must not help this one
            exchange.consumer, exchange.identified_by = ANONYMOUS, ""
        result = self._hook(exchange)
        if result is None and not (every or by or self._last):
            return None  # it is the first that knows the caller, or leaves it to the others
        if type(result) is CoroutineType:
            return self._later(exchange, consumer, by, every, result)
        return self._judge(exchange, consumer, by, every, result)

    async def _later(
        self, exchange: Exchange, consumer: Consumer, by: str, every: bool, result: Coroutine[Any, Any, Any]
    ) -> Any:
        return self._judge(exchange, consumer, by, every, await result)

    def _judge(self, exchange: Exchange, consumer: Consumer, by: str, every: bool, result: Any) -> Any:
        """Decide on what the plug-in said, given who was known before and by whom."""
        if type(result) is Refusal:  # whatever it admitted before it thought better of it
            exchange.consumer, exchange.identified_by = (ANONYMOUS, "") if every else (consumer, by)
        if result is None and by and consumer and exchange.consumer and exchange.consumer.name != consumer.name:
            return CONFLICT
        if every:
            if not exchange.consumer:
                exchange.consumer = consumer
            exchange.identified_by = exchange.identified_by or by
            return result
        if type(result) is Refusal and result.status == 401:
            if by:
                return None
            exchange.unidentified = (*exchange.unidentified, result)
            result = None
        if result is None and self._last and not exchange.identified_by and not exchange.consumer:
            return self._together(exchange.unidentified)
        return result

    def _together(self, refusals: tuple[Refusal, ...]) -> Refusal | None:
        """Return one refusal with every challenge (RFC 9110, section 11.6.1); None when nobody asked."""
        if len(refusals) < 2:
            return refusals[0] if refusals else None
        combined = self._combined.get(refusals)
        if combined is None:
            told = next((refusal for refusal in refusals if "invalid" in refusal.code), refusals[0])
            headers = [field for field in told.headers if field[0] != b"www-authenticate"]
            for refusal in refusals:
                headers += [field for field in refusal.headers if field[0] == b"www-authenticate"]
            combined = Refusal(told.status, told.code, told.text, upstream=told.upstream, exact=told.exact)
            combined.headers = list(dict.fromkeys(headers))
            if len(self._combined) < MAX_COMBINED:
                self._combined[refusals] = combined
        return combined
