"""The facts of a request that do not depend on the stack, each with its reason in words; for `explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .addresses import usual_spelling
from .choices import describe
from .config.matching import Match
from .edge import forwarding_of
from .explanation import Named
from .llm.dialects import DIALECTS
from .llm.errors import error_style
from .llm.view import is_json, recognise
from .paths import ambiguous
from .plugin import OUTBOUND

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .config.models import RouteModel
    from .exchange import Exchange, Refusal
    from .explanation import Step
    from .pipeline import Stack

STYLES = {
    "openai": "JSON as OpenAI's API sends errors",
    "anthropic": "JSON as Anthropic's API sends errors",
    "gemini": "JSON as Gemini's API sends errors",
    "problem": "application/problem+json (RFC 9457)",
    "upstream": "the bytes of compatible gateways where a plug-in has such, else application/problem+json",
}


def route_match(model: RouteModel) -> Match:
    """Return what a route applies to."""
    return Match(
        path=model.path,
        path_prefix=model.path_prefix,
        path_regex=model.path_regex,
        method=tuple(method.upper() for method in model.methods),
        domain=model.domain,
        header=tuple((name.lower(), value) for name, value in model.header.items()),
    )


def route_of(exchange: Exchange) -> Named:
    """Return the route's name, and which keys chose it."""
    routes = exchange.snapshot.config.routes
    for number, model in enumerate(routes):
        if model.name == exchange.route.name:
            keys = ", ".join(describe(route_match(model))) or "every request"
            return Named(model.name, f"routes[{number}] is the first that matches: {keys}")
    return Named(exchange.route.name, "no route matches" if routes else "no routes are configured")


def client_of(exchange: Exchange, stack: Stack) -> Named:
    """Return the caller's address, and who names it."""
    peer, client = exchange.request.peer, exchange.client
    forwarding = forwarding_of(stack.plugins) or exchange.snapshot.edge.forwarding
    if client is None:
        return Named("", "the address of the connection is not given")
    if client != usual_spelling(peer):
        return Named(client, f"{forwarding.header} names it, and {peer} is a trusted proxy")
    if not forwarding:
        return Named(client, "the other end of the connection; no `trusted_proxies` are configured")
    return Named(client, f"the other end of the connection; no trusted proxy names another in {forwarding.header}")


def caller_of(exchange: Exchange, steps: Iterable[Step]) -> Named:
    """Return the plug-in after whose turn the caller is known."""
    if exchange.direction is OUTBOUND:
        return Named("", "inherited from the request in whose handling the call is made; elsewhere anonymous")
    several = [step for step in steps if step.identifies]
    if several:
        last = several[-1]
        hook = "on_request_body" if "on_request_body" in last.hooks else "on_request"
        why = f"known when {hook} of {last.name} has returned; anonymous before"
        if len(several) > 1:
            mode = exchange.route.auth_mode or exchange.snapshot.auth_mode
            names = ", ".join(step.name for step in several)
            how = "one of them is enough" if mode == "any" else "each must let the caller in, as the same consumer"
            why += f". Of {names}, {how} (`auth_mode: {mode}`)"
        return Named(last.name, why)
    if exchange.consumer:
        return Named("", f"{exchange.consumer.name}, as a gateway in front of this one says (`trust_identity_from`)")
    return Named("", "anonymous: no plug-in of this stack identifies callers")


def dialect_of(exchange: Exchange) -> Named:
    """Return the API shape of the LLM call that the request is, and what tells."""
    request, setting = exchange.request, exchange.route.llm
    call = recognise(exchange)
    if call is not None:
        why = f"the route says `llm: {setting}`" if setting != "auto" else _suffix(exchange)
        if not call.dialect.covered:
            why += "; its texts are not read: plug-ins follow their `on_uncovered`"
        return Named(call.dialect.name, why)
    if setting == "none":
        return Named("", "the route says `llm: none`")
    if request.method != "POST":
        return Named("", "no LLM call: those are POST requests")
    if is_json(request.headers.get_bytes(b"content-type")):
        return Named("", "the path does not tell; if the body is read, its shape does")
    return Named("", "no LLM call: the path is no LLM API's, and the content type is not JSON")


def error_format_of(exchange: Exchange) -> Named:
    """Return the format of errors on this route, and what it means."""
    style = error_style(exchange)
    if style == "upstream":
        reason = "the file says `error_format: upstream`"
    elif exchange.route.error_style:
        reason = f"the route says `llm: {exchange.route.llm}`"
    else:
        reason = _suffix(exchange)
    return Named(style, f"{STYLES[style]}; {reason}")


def refusal_of(exchange: Exchange, refusal: Refusal | None) -> Named:
    """Return the status with which the path itself is refused, and why it is or is not."""
    request = exchange.request
    if refusal is not None:
        return Named(str(refusal.status), f"{refusal.code}: {refusal.text}")
    reason = ambiguous(request.raw_path or b"/")
    if reason is None:
        return Named("", "the path has one meaning")
    if exchange.snapshot.config.ambiguous_paths == "allow":
        return Named("", f"the path is ambiguous ({reason}), and the file says `ambiguous_paths: allow`")
    return Named("", f"the path is ambiguous ({reason}), but nothing here matches on paths")


def _suffix(exchange: Exchange) -> str:
    path = exchange.request.path
    dialect = exchange.snapshot.dialects.of_path(path)
    if dialect is None:
        return "the path is no LLM API's"
    known = [suffix for suffix in DIALECTS[dialect.name].suffixes if path.endswith(suffix)]
    return f"the path ends with {max(known, key=len)}"
