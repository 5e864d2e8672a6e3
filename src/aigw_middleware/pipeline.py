"""The sorted plug-ins of one choice of rules, compiled into flat tuples of hooks, and the turns of an exchange's life."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from .exchange import Exchange, Refusal, Reply, Response
from .forms import Uncovered
from .headers import Headers
from .hooks import UNCOVERED, Hook, WantedBody, _invalid_json, contain, logger, owner, timed
from .identify import OneOfSeveral, identifying
from .json import InvalidJSON
from .llm.errors import render
from .llm.text import WholeText
from .llm.view import may_be_llm
from .plugin import GATE, Needs, Plugin, needs_of, overridden
from .unseen import concerned, notice

if TYPE_CHECKING:
    from .exchange import Outcome
    from .llm.view import LlmCall
    from .meter import Meter


class Walk:
    """The response side of some plug-ins, innermost first."""

    __slots__ = ("bodiless", "events", "head", "plain", "quiet", "tail", "texts")

    def __init__(self, plugins: Sequence[Plugin[Any]], llm: bool) -> None:
        head: list[Hook] = []
        tail: list[Hook] = []
        plain: list[Hook] = []
        for plugin in reversed(plugins):
            response = overridden(plugin, "on_response")
            if response is not None:
                (tail if tail else head).append(response)
                if tail:
                    plain.append(response)
            body = overridden(plugin, "on_response_body")
            if body is not None and (llm or Needs.LLM not in needs_of(plugin)):
                tail.append(body)
            if llm and overridden(plugin, "on_text"):
                tail.append(WholeText(plugin))
        self.head = tuple(head)
        """`on_response` hooks that come before any body is needed."""
        self.tail = tuple(tail)
        """From the first hook that needs the whole body on, everything in order."""
        self.plain = tuple(plain)
        """The `on_response` hooks of the tail, for answers that have no body to read."""
        self.events = tuple(plugin.on_event for plugin in reversed(plugins) if overridden(plugin, "on_event"))
        self.texts = tuple(plugin.on_text for plugin in reversed(plugins) if llm and overridden(plugin, "on_text"))
        self.bodiless = not (tail or self.events or self.texts)
        """No hook looks at a body."""
        self.quiet = self.bodiless and not head


class Stack:
    """The plug-ins of one distinct choice of rules, sorted, and their hooks by phase."""

    def __init__(self, plugins: Sequence[Plugin[Any]], *, debug: bool = False) -> None:
        self.plugins = tuple(plugins)
        steps = self._request_steps()
        boundary = next((number for number, (_, body, _) in enumerate(steps) if body), len(steps))
        self.early: tuple[Hook, ...] = tuple(hook for hook, _, _ in steps[:boundary])
        """Request hooks before the body is loaded."""
        self.late: tuple[Hook, ...] = tuple(hook for hook, _, _ in steps[boundary:])
        """Those after it, for LLM calls."""
        self.late_plain: tuple[Hook, ...] = tuple(hook for hook, _, llm in steps[boundary:] if not llm)
        """Those after it, for everything else."""
        needs = [needs_of(plugin) for plugin in self.plugins]
        self.replay = any(Needs.REPLAY in need for need in needs)
        self.usage = any(Needs.USAGE in need for need in needs)
        self.body_always = self.replay or any(
            body and not llm and type(hook) is not WantedBody for hook, body, llm in steps
        )
        self.body_asks = tuple(hook.plugin.wants_body for hook, _, llm in steps if type(hook) is WantedBody and not llm)
        self.body_llm = self.usage or any(body and llm for _, body, llm in steps) or self._overriding("on_text") != ()
        self.around = tuple(plugin.on_upstream for plugin in self.plugins if overridden(plugin, "on_upstream"))
        self.refusal = self._overriding("on_refusal")
        self.error = self._overriding("on_error")
        self.complete = self._overriding("on_complete")
        if debug:
            self.early, self.late, self.late_plain = timed(self.early), timed(self.late), timed(self.late_plain)
        self._debug = debug
        self._walks: dict[tuple[bool, Plugin[Any] | None, bool], Walk] = {}
        self.plain_walk = self.walk(False)
        """The response side of what is no LLM call."""
        self.llm_walk = self.walk(True)
        self.watches = bool(self.complete or self.usage)
        self.silent = not self.watches and not self.around and self.plain_walk.quiet and self.llm_walk.quiet
        self.touches_body = bool(self.late or self.body_always or self.body_llm or self.body_asks)
        """Something happens between the header hooks and the call."""
        self.llm_aware = self.usage or self.body_llm or any(Needs.LLM in need for need in needs)
        """Whether anything depends on the exchange being an LLM call."""
        self.bare = self.silent and not self.touches_body
        """Nothing happens after the header hooks: the service runs as if we were not there."""
        self.unread_guards = tuple(
            plugin
            for plugin in self.plugins
            if plugin.on_uncovered == "deny"
            and (overridden(plugin, "on_text") or overridden(plugin, "on_request_body"))
        )
        """Plug-ins that refuse what they cannot read: websockets, for one."""
        self.llm_guards = any(
            Needs.LLM in plugin.needs or overridden(plugin, "on_text")
            for plugin in self.plugins
            if plugin.on_uncovered == "deny"
        )
        """Whether a plug-in must see every LLM call, so that none may pass as something else."""
        self.path_matching = any(plugin.path_matching for plugin in self.plugins)
        self.unseen = concerned(self.plugins)
        """Plug-ins for LLM calls that have met none yet."""

    def _request_steps(self) -> list[tuple[Hook, bool, bool]]:
        """Return `(hook, needs the body, concerns LLM calls only)` in order: the gate's passes, then one by one."""
        headers: list[tuple[Hook, bool, bool]] = []
        bodies: list[tuple[Hook, bool, bool]] = []
        identified: list[tuple[Hook, bool, bool]] = []
        rest: list[tuple[Hook, bool, bool]] = []
        several = identifying(self.plugins)
        for plugin in self.plugins:
            gate = plugin.stage in GATE
            request: Hook | None = overridden(plugin, "on_request")
            if len(several) > 1 and plugin in several:
                request = OneOfSeveral(plugin, last=plugin is several[-1])
            if request is not None:
                (headers if gate else rest).append((request, getattr(plugin, "request_needs_body", False), False))
            body = overridden(plugin, "on_request_body")
            if body is not None:
                hook: Hook = WantedBody(plugin) if overridden(plugin, "wants_body") else body
                (bodies if gate else rest).append((hook, True, Needs.LLM in plugin.needs))
            after = overridden(plugin, "on_identified")
            if after is not None:
                (identified if gate else rest).append((after, False, False))
        self.requests = tuple(hook for hook, body, _ in headers + identified + rest if not body)
        """The hooks of what has headers only."""
        return headers + bodies + identified + rest

    def _overriding(self, name: str) -> tuple[Callable[..., Any], ...]:
        return tuple(getattr(plugin, name) for plugin in reversed(self.plugins) if overridden(plugin, name))

    def walk_of(self, exchange: Exchange) -> Walk:
        """Return the response side of an exchange that the service answers."""
        return self.llm_walk if self.llm_aware and exchange.llm is not None else self.plain_walk

    def walk(self, llm: bool, answering: Plugin[Any] | None = None, gate_entered: bool = False) -> Walk:
        """Return the response side: all of it, or for an answer of one plug-in that of those entered before it."""
        key = (llm, answering, gate_entered)
        walk = self._walks.get(key)
        if walk is None:
            plugins: Sequence[Plugin[Any]] = self.plugins
            if answering is not None:
                place = plugins.index(answering)
                plugins = [
                    plugin
                    for number, plugin in enumerate(plugins)
                    if plugin is not answering and (number < place or (gate_entered and plugin.stage in GATE))
                ]
            walk = self._walks[key] = Walk(plugins, llm)
            if self._debug:
                walk.head, walk.tail, walk.plain = timed(walk.head), timed(walk.tail), timed(walk.plain)
        return walk


def wants_body(stack: Stack, exchange: Exchange) -> bool:
    """Whether the request's body must be loaded before the remaining hooks."""
    if stack.body_always or (stack.body_llm and may_be_llm(exchange)):
        return True
    for ask in stack.body_asks:
        try:
            if ask(exchange):
                return True
        except Exception as error:
            contain(exchange, ask, error)
            return True  # whether it may go on without is decided when the hook itself fails
    return False


def unrecognised(stack: Stack, exchange: Exchange) -> Refusal | None:
    """Refuse a body that is told by its shape only and cannot be read, where a guard must see every LLM call.

    A service that reads more leniently (the last of two equal names, a content coding) would take it for one.
    """
    request = exchange.request
    if not stack.llm_guards or exchange.llm is not None or not request.wire or not may_be_llm(exchange):
        return None
    try:
        request.json  # noqa: B018 - kept when it can be read, so this costs only where it cannot
    except Uncovered:
        refusal = UNCOVERED
    except InvalidJSON as error:
        refusal = _invalid_json(error)
    else:
        return None
    exchange.decide("gateway", "refused", refusal.code)
    return refusal


def walk_for_answer(stack: Stack, exchange: Exchange) -> Walk:
    """Return the response side for a Reply of `exchange.answering`."""
    plugin = exchange.answering
    gate_entered = plugin is not None and plugin.stage in GATE and exchange.request.loaded and exchange.response is None
    return stack.walk(stack.llm_aware and exchange.llm is not None, plugin, gate_entered)


def refuse(stack: Stack, exchange: Exchange, refusal: Refusal) -> Response:
    """Make the response of a refusal, and show it to every plug-in that adds to refusals, entered or not."""
    fields, body = render(refusal, exchange)
    response = Response(refusal.status, Headers(fields))
    response.load(body)
    exchange.response = response
    exchange.refusal = refusal
    for hook in stack.refusal:
        try:
            hook(exchange, response)
        except Exception as error:
            contain(exchange, hook, error)
    return response


def ask_on_error(stack: Stack, exchange: Exchange, error: Exception) -> Reply | None:
    """Offer an exception of the service to `on_error`, innermost first; the first Reply wins."""
    for hook in stack.error:
        try:
            reply = hook(exchange, error)
        except Exception as failure:
            contain(exchange, hook, failure)
            continue
        if reply is not None:
            exchange.answering = owner(hook)
            exchange.answered_by = exchange.answering.name
            exchange.decide(exchange.answering, "answered", f"{reply.status} after {type(error).__name__}")
            return reply  # type: ignore[no-any-return]
    return None


def complete(stack: Stack, exchange: Exchange, outcome: Outcome) -> None:
    """End the exchange: once, whatever comes after. Reservations were settled before."""
    if exchange.ended:
        return
    exchange.ended = True
    exchange.outcome = outcome
    exchange.finished = exchange.ports.clock.monotonic()
    for hook in stack.complete:
        try:
            hook(exchange)
        except Exception as error:
            contain(exchange, hook, error)
    if stack.unseen:
        notice(stack, exchange)


def settle_and_complete(
    stack: Stack, exchange: Exchange, outcome: Outcome, *, cancelled: bool = False
) -> Coroutine[Any, Any, None] | None:
    """Charge or give back what was reserved, then complete. Returns what is still to be awaited, None when it is done."""
    if exchange.ended:
        return None
    meter = exchange.__dict__.get("meter")
    if meter is None or not meter.reservations:
        complete(stack, exchange, outcome)
        return None
    return _settle(stack, exchange, meter, outcome, cancelled=cancelled)


async def _settle(stack: Stack, exchange: Exchange, meter: Meter, outcome: Outcome, *, cancelled: bool) -> None:
    """In a cancelled scope the runtime settles: awaiting dies there."""
    try:
        if cancelled:
            exchange.runtime.settle_later(meter)
        elif outcome == "refused":
            await meter.release()
        else:
            await meter.settle()
    except Exception as error:
        logger.error("a settlement failed: %s", type(error).__name__)
        exchange.runtime.count("gateway", "settlement failed")
    finally:
        complete(stack, exchange, outcome)


def prepare_request(stack: Stack, exchange: Exchange) -> None:
    """Make the request ready to leave: an edited body has its length; what an LLM answers will be readable."""
    request = exchange.request
    call = exchange.llm if stack.usage or stack.body_llm else None
    if call is None:
        if request.edited:
            request.headers.set_length(len(request.wire))
        return
    if stack.usage and request.loaded:
        _ask_for_usage(exchange, call)
    headers = request.headers
    coded = headers.get_bytes(b"accept-encoding") not in _UNCODED  # answers with a content coding could not be read
    if request.edited:
        headers.set_length(len(request.wire), *(_IDENTITY,) if coded else ())
    elif coded:
        headers.set_trusted(*_IDENTITY)


_IDENTITY = (b"accept-encoding", b"identity")
_UNCODED = (None, b"identity")


def _ask_for_usage(exchange: Exchange, call: LlmCall) -> None:
    request = exchange.request
    if "json" not in request.__dict__ and b'"stream"' not in request.wire and request.coding is None:
        return  # nobody has decoded the body, and it is no stream: let it pass unread
    try:
        if call.streams and call.covered and call.dialect.ask_for_usage(call.body):
            request.edit()
            call.asked_for_usage = True
    except InvalidJSON:
        exchange.decide("gateway", "skipped", "the request is not JSON: usage was not asked for")
