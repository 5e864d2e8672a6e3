"""What would happen to a request, without sending it: its route, its sorted stack, and the reason of each place.

    explanation = explain(gateway.core, "POST", "/v1/chat/completions", {"host": "api.example.com"})
    for step in explanation.steps:
        print(step.place, step.name, step.reason)

Everything is taken from the snapshot that serves requests, so what is explained is what runs. No hook is called, but that
plug-ins may be asked whether they want the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from .choices import Choice, choice_of
from .config.matching import Facts
from .errors import ConfigError
from .exchange import Exchange, Request
from .explain_facts import caller_of, client_of, dialect_of, error_format_of, refusal_of, route_of
from .explanation import Absent, BodyPoint, Explanation, Named, Step
from .headers import Headers, header_name, header_value
from .hooks import WantedBody, owner
from .llm.view import may_be_llm, recognise
from .order import DEFAULT_STAGE_ORDER, in_order, ranks
from .paths import decode_path, matching_path
from .pipeline import Stack
from .plugin import GATE, HOOKS, INBOUND, Direction, Needs, Plugin, needs_of, overridden
from .snapshot import ANY_ROUTE, Snapshot, Stacks

if TYPE_CHECKING:
    from .gateway import Core
    from .snapshot import Entry

__all__ = ["Absent", "BodyPoint", "Explanation", "Named", "Step", "explain"]

IN_CODE: Final = Choice("code", "given in code, for every exchange", ())


def explain(
    target: Core | Snapshot,
    method: str = "POST",
    path: str = "/",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    client: str | None = None,
    direction: Direction = INBOUND,
) -> Explanation:
    """Return what would happen to a request.

    `path` is percent-encoded, as on the wire, and may have a query; `client` is the address the connection comes from.
    Raises ConfigError when outgoing calls are asked about and the configuration has no `outgoing`, and InvalidHeader.
    """
    snapshot = target if isinstance(target, Snapshot) else target.snapshot
    stacks = snapshot.sides.get(direction)
    if stacks is None:
        raise ConfigError.of("outgoing", "is missing: no plug-ins are named for outgoing calls", "add `outgoing: []`")
    exchange = _exchange(snapshot, method, path, headers, client, direction)
    request = exchange.request
    removed = sorted({name.decode("latin-1") for name, _ in request.headers.raw if name in snapshot.identity_names})
    _, refusal = snapshot.admit(exchange, stacks)
    facts = Facts(request.path, request.method, request.domain, exchange.route.name, request.headers.get)
    pairs = stacks.chosen(stacks.choice(exchange))
    chosen = [(entry, plugin, choice_of(entry, plugin, facts)) for entry, plugin in pairs]
    running = [plugin for _, plugin, _ in chosen if plugin is not None]
    stack = Stack(in_order([*_given_in_code(stacks), *running], snapshot.config.stage_order))
    client_found = client_of(exchange, stack)
    choices = {id(plugin): (entry, choice) for entry, plugin, choice in chosen if plugin is not None}
    steps = _steps(stack, choices, snapshot)
    off = [(entry, choice) for entry, plugin, choice in chosen if plugin is None]
    return Explanation(
        direction=direction.value,
        method=request.method,
        path=request.path,
        domain=request.domain,
        route=route_of(exchange),
        client=client_found,
        caller=caller_of(exchange, steps),
        dialect=dialect_of(exchange),
        error_format=error_format_of(exchange),
        refusal=refusal_of(exchange, refusal),
        body=_body(exchange, stack),
        removed_headers=tuple(removed),
        steps=steps,
        absent=(
            *(Absent(entry.name, entry.path, choice.why, choice.considered) for entry, choice in off),
            *_switched_off(snapshot, direction),
        ),
    )


def _exchange(
    snapshot: Snapshot,
    method: str,
    path: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    client: str | None,
    direction: Direction,
) -> Exchange:
    raw, _, query = path.encode("utf-8", "surrogateescape").partition(b"?")
    fields = headers.items() if isinstance(headers, Mapping) else headers
    request = Request()
    request.method = method.upper()
    request.raw_path = raw
    request.path = matching_path(decode_path(raw), "")
    request.query = query
    request.peer = client
    request.headers = Headers([(header_name(name), header_value(value)) for name, value in fields], owned=True)
    exchange = Exchange()
    exchange.direction = direction
    exchange.snapshot = snapshot
    exchange.route = ANY_ROUTE
    exchange.request = request
    return exchange


def _given_in_code(stacks: Stacks) -> list[Plugin[Any]]:
    named = {id(plugin) for entry in stacks.entries for plugin in entry.plugins}
    return [plugin for plugin in stacks.plugins if id(plugin) not in named]


def _switched_off(snapshot: Snapshot, direction: Direction) -> Iterator[Absent]:
    where = "plugins" if direction is INBOUND else "outgoing"
    for number, entry in enumerate(getattr(snapshot.config, where) or ()):
        if not entry.enabled:
            yield Absent(entry.name, f"{where}[{number}]", "the file switches it off: `enabled: false`")


# ---------------------------------------------------------------------- the stack


def _steps(stack: Stack, choices: Mapping[int, tuple[Entry, Choice]], snapshot: Snapshot) -> tuple[Step, ...]:
    steps: list[Step] = []
    previous: Plugin[Any] | None = None
    for place, plugin in enumerate(stack.plugins, 1):
        entry, choice = choices.get(id(plugin), (None, IN_CODE))
        members = _members(plugin)
        needs = Needs.NOTHING
        for member in members:
            needs |= needs_of(member)
        steps.append(
            Step(
                place=place,
                name=plugin.name,
                path=entry.path if entry is not None else "",
                stage=plugin.stage.value,
                priority=plugin.priority,
                reason=_reason(plugin, previous, snapshot),
                choice=choice,
                hooks=tuple(hook for hook in HOOKS if any(overridden(member, hook) for member in members)),
                needs=tuple(need.name.lower() for need in needs if need.name is not None),
                on_failure=plugin.on_failure,
                shadow=plugin.settings.shadow,
                identifies=any(member.identifies for member in members),
            )
        )
        previous = plugin
    return tuple(steps)


def _members(plugin: Plugin[Any]) -> list[Plugin[Any]]:
    """Return the plug-ins that a plug-in of the stack may stand for: itself, unless it is chosen at its turn."""
    candidates = getattr(plugin, "candidates", None)
    return [member for _, member in candidates if member is not None] if candidates is not None else [plugin]


def _reason(plugin: Plugin[Any], previous: Plugin[Any] | None, snapshot: Snapshot) -> str:
    stage = plugin.stage
    if previous is None:
        reason = f"{stage.value} is the first stage that has a plug-in here"
    elif previous.stage is not stage:
        reason = f"stage {stage.value} comes after {previous.stage.value}"
        default = ranks(DEFAULT_STAGE_ORDER)
        if default[previous.stage] > default[stage]:
            reason += ", as `stage_order` of the file has it"
    elif previous.priority != plugin.priority:
        reason = f"priority {plugin.priority} comes after {previous.priority} of {previous.name}"
    elif previous.name != plugin.name:
        reason = f"priority {plugin.priority} like {previous.name}: the name decides"
    else:
        reason = f"like the {plugin.name} before it: the order of the file decides"
    member = _members(plugin)[0]
    unshadowed: Plugin[Any] = getattr(member, "shadowed", member)
    own, settings = type(unshadowed), plugin.settings
    if settings.stage is not None:
        reason += f"; the file sets its stage, its own is {own.stage.value}"
    if settings.priority is not None:
        reason += f"; the file sets its priority, its own is {own.priority}"
    return reason


def _body(exchange: Exchange, stack: Stack) -> BodyPoint:
    limit = exchange.snapshot.max_body_bytes
    llm = may_be_llm(exchange)
    wanted = tuple(plugin.name for plugin in stack.plugins if _wants_body(plugin, exchange, llm))
    if not wanted and not stack.body_always and not (stack.body_llm and llm):
        why = "no plug-in needs it"
        if stack.body_llm:
            why = "it is read for LLM calls only, and this is none"
        elif stack.body_asks:
            why = "by its path and headers no plug-in needs it"
        return BodyPoint(False, 0, "", why, (), limit)
    by_shape = "; its shape tells whether this is an LLM call" if _only_for_its_shape(exchange, stack) else ""
    hooks = stack.late if llm else stack.late_plain
    hook = next((hook for hook in hooks if type(hook) is not WantedBody or _asks(hook.plugin, exchange)), None)
    if hook is None:
        return BodyPoint(True, 0, "", f"when every request hook has run, before the call{by_shape}", wanted, limit)
    plugin = owner(hook)
    why = "after the header checks of the whole gate, in whatever order" if plugin.stage in GATE else "at its turn"
    name = getattr(hook, "__name__", "on_request_body")
    return BodyPoint(True, stack.plugins.index(plugin) + 1, name, why + by_shape, wanted, limit)


def _only_for_its_shape(exchange: Exchange, stack: Stack) -> bool:
    return (
        not stack.body_always
        and recognise(exchange) is None
        and not any(_asks(ask, exchange) for ask in _asking(stack))
    )


def _asking(stack: Stack) -> list[Plugin[Any]]:
    return [hook.plugin for hook in stack.late if type(hook) is WantedBody and Needs.LLM not in hook.plugin.needs]


def _wants_body(plugin: Plugin[Any], exchange: Exchange, llm: bool) -> bool:
    if getattr(plugin, "request_needs_body", False):
        return True
    for member in _members(plugin):
        needs = needs_of(member)
        if Needs.REPLAY in needs:
            return True
        if Needs.REQUEST_BODY in needs and (llm or Needs.LLM not in needs) and _asks(member, exchange):
            return True
        if llm and (Needs.USAGE in needs or overridden(member, "on_text")):
            return True
    return False


def _asks(plugin: Plugin[Any], exchange: Exchange) -> bool:
    """Whether the body concerns a plug-in; of one that is chosen at its turn, any of those it may be."""
    for member in _members(plugin):
        try:
            if member.wants_body(exchange):
                return True
        except Exception:
            return True  # as when serving: the body is read, and the hook itself may fail
    return False
