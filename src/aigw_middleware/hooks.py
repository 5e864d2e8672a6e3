"""The loop that runs hooks, and what happens to one that waits, answers or raises.

Phases are plain functions: they return None, an answer, or, only where a hook really waits on an asynchronous host, a
coroutine of either. A plug-in that raises is contained where it is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from types import CoroutineType
from typing import Any, TypeAlias

from .consumers import ANONYMOUS
from .exchange import Decision, Exchange, Refusal, Reply
from .json import InvalidJSON
from .llm.view import Uncovered
from .plugin import Plugin
from .ports.drive import finish

logger = logging.getLogger("aigw_middleware")

Answer: TypeAlias = Reply | Refusal | None
Hook: TypeAlias = Callable[[Exchange], Any]
Result: TypeAlias = Answer | Coroutine[Any, Any, Answer]

PLUGIN_FAILED = Refusal(503, "plugin_failed", "The gateway could not check this request. Try again later.")
UNCOVERED = Refusal(
    400, "uncovered_call", "The gateway cannot read this kind of call, and its policy is to refuse what it cannot read."
)
UNREADABLE = Refusal(
    502, "uncovered_answer", "The gateway cannot read the answer, and its policy is to refuse what it cannot read."
)
NO_ANSWER = Refusal(502, "no_answer", "The service gave no answer.")
INTERNAL_ERROR = Refusal(500, "internal_error", "The service failed.")
TOO_LARGE = Refusal(413, "request_too_large", "The request body is larger than this service accepts.")


class WantedBody:
    """`on_request_body` of a plug-in that says by the headers whether the body concerns it."""

    __slots__ = ("plugin",)
    named = "on_request_body"

    def __init__(self, plugin: Plugin[Any]) -> None:
        self.plugin = plugin

    def __call__(self, exchange: Exchange) -> Any:
        return self.plugin.on_request_body(exchange) if self.plugin.wants_body(exchange) else None


class Timed:
    """With `debug`: a header or body hook that records its quiet passes too, and how long it took."""

    __slots__ = ("named", "plugin", "timed")

    def __init__(self, hook: Hook) -> None:
        self.timed = hook
        self.plugin = owner(hook)
        self.named = _name(hook)

    def __call__(self, exchange: Exchange) -> Any:
        clock = exchange.ports.clock
        before = clock.monotonic()
        result = self.timed(exchange)
        taken = (clock.monotonic() - before) * 1e6
        exchange.records.append(Decision(self.plugin.name, "ran", self.named, self.plugin.context.entry, taken))
        return result


def timed(hooks: Sequence[Hook]) -> tuple[Hook, ...]:
    """Return the hooks, each recording its passes."""
    return tuple(Timed(hook) for hook in hooks)


def owner(hook: Callable[..., Any]) -> Plugin[Any]:
    """Return the plug-in that a compiled hook belongs to: a bound method of it, or an object that says so."""
    plugin = getattr(hook, "plugin", None)
    return plugin if plugin is not None else hook.__self__  # type: ignore[attr-defined, no-any-return]


def run(hooks: Sequence[Hook], exchange: Exchange) -> Result:
    """Call hooks in order until one answers. Returns None, its answer, or a coroutine of either."""
    for hook in hooks:
        try:
            result = hook(exchange)
        except Exception as error:
            result = contain(exchange, hook, error)
        if result is not None:
            if type(result) is Refusal:
                return _answered(exchange, hook, result)
            return _more(hooks, exchange, hook, result)
    return None


def _more(hooks: Sequence[Hook], exchange: Exchange, hook: Hook, result: Any) -> Result:
    """Go on after a hook that returned something: an answer ends the phase, a coroutine is awaited or driven."""
    if exchange.ports.color == "async" and type(result) is CoroutineType:
        return _wait(hooks, exchange, hook, result)
    position = hooks.index(hook)
    while result is not None:
        answer = _checked(exchange, hooks[position], result)
        if answer is not None:
            return answer
        position, result = _next(hooks, exchange, position)
    return None


async def _wait(hooks: Sequence[Hook], exchange: Exchange, hook: Hook, result: Any) -> Answer:
    position = hooks.index(hook)
    while result is not None:
        if type(result) is CoroutineType:
            try:
                result = await result
            except Exception as error:
                result = contain(exchange, hooks[position], error)
        answer = _checked(exchange, hooks[position], result)
        if answer is not None:
            return answer
        position, result = _next(hooks, exchange, position)
    return None


def _next(hooks: Sequence[Hook], exchange: Exchange, position: int) -> tuple[int, Any]:
    """Call the hooks behind `position` until one returns something; return its place and that, or None at the end."""
    for number in range(position + 1, len(hooks)):
        try:
            result = hooks[number](exchange)
        except Exception as error:
            result = contain(exchange, hooks[number], error)
        if result is not None:
            return number, result
    return len(hooks), None


def _checked(exchange: Exchange, hook: Hook, result: Any) -> Answer:
    """Finish a coroutine on a synchronous host; turn a result of a wrong type into the plug-in's failure."""
    if type(result) is CoroutineType:
        try:
            result = finish(result, f"{owner(hook).name}.{_name(hook)}")
        except Exception as error:
            result = contain(exchange, hook, error)
    if result is None:
        return None
    if isinstance(result, (Reply, Refusal)):
        return _answered(exchange, hook, result)
    wrong = TypeError(f"{_name(hook)} returned {type(result).__name__}, not Reply, Refusal or None")
    return _checked(exchange, hook, contain(exchange, hook, wrong))


def _answered(exchange: Exchange, hook: Hook, answer: Reply | Refusal) -> Reply | Refusal:
    """Note who ended the phase."""
    plugin = owner(hook)
    exchange.answered_by = exchange.answered_by or plugin.name
    exchange.answering = plugin
    if (
        plugin.identifies
        and exchange.identified_by == plugin.name
        and type(answer) is Refusal
        and exchange.response is None
    ):
        # It took its own word back: who the caller said to be was provisional until the body was checked.
        exchange.consumer = ANONYMOUS
        exchange.identified_by = ""
    exchange.decide(plugin, "refused" if isinstance(answer, Refusal) else "answered", _reason(answer))
    return answer


def contain(exchange: Exchange, hook: Callable[..., Any], error: Exception) -> Refusal | None:
    """Turn an exception of a hook into the plug-in's policy, a log line without secrets, a count and a record."""
    plugin = owner(hook)
    if isinstance(error, InvalidJSON) and exchange.response is None:
        return _invalid_json(error)
    if isinstance(error, (Uncovered, InvalidJSON)):
        policy, decision, reason = plugin.on_uncovered, "uncovered", str(error)
        refusal = UNCOVERED if exchange.response is None else UNREADABLE
    else:
        policy, decision, refusal = plugin.on_failure, "failed", PLUGIN_FAILED
        reason = type(error).__name__
    first = plugin not in exchange.broken
    if first:
        exchange.broken = (*exchange.broken, plugin)
        exchange.decide(plugin, decision, f"{reason}; policy: {policy}")
    exchange.runtime.count(plugin.name, decision)
    if first and decision == "failed":
        place = _place(error)
        logger.error(
            "plug-in %s failed in %s at %s: %s (on_failure: %s)", plugin.name, _name(hook), place, reason, policy
        )
    return refusal if policy == "deny" else None


def _place(error: BaseException) -> str:
    """File and line where the exception was raised. Its text may hold secrets and is never logged."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


def _name(hook: Callable[..., Any]) -> str:
    return str(getattr(hook, "named", None) or getattr(hook, "__name__", "hook"))


def _reason(answer: Reply | Refusal) -> str:
    return f"{answer.status} {answer.code}" if isinstance(answer, Refusal) else str(answer.status)


def _invalid_json(error: InvalidJSON) -> Refusal:
    return Refusal(400, "invalid_json", f"The request body is not acceptable JSON: {error}.")
