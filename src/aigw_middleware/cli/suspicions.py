"""What in a valid configuration is probably not meant: parts without effect, doors left open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..choices import describe_late
from ..config.matching import Match
from ..errors import Problem, nearest
from ..explain_facts import route_match
from ..plugin import HOOKS, INBOUND, Plugin, overridden

if TYPE_CHECKING:
    from ..config.models import GatewayConfig
    from ..config.rules import Late, Variant
    from ..snapshot import Entry, Snapshot


USUAL = ("gpt-4o", "gpt-4", "claude", "gemini")  # models whose tokens are counted where a configuration names none


def suspicions(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield what is suspicious about a valid configuration, in the order of the file."""
    config = snapshot.config
    yield from _top_level(config)
    yield from _consumers(snapshot)
    yield from _routes(config)
    for stacks in snapshot.sides.values():
        for entry in stacks.entries:
            yield from _entry(entry, snapshot)
    yield from _twice(config)
    if not config.plugins and not config.outgoing and not any(stacks.entries for stacks in snapshot.sides.values()):
        yield Problem("plugins", "no plug-in is named: every request passes as it is", "`aigw plugins` lists them")


def _top_level(config: GatewayConfig) -> Iterator[Problem]:
    if config.secret is not None and not config.secret.reference:
        yield Problem("secret", "is written in the file itself", "use env:NAME or file:path")
    for key in ("trusted_proxies", "trust_identity_from"):
        for number, text in enumerate(getattr(config, key)):
            if text.strip().endswith("/0"):
                yield Problem(f"{key}[{number}]", f"{text} believes everybody: callers choose who they are")


def _consumers(snapshot: Snapshot) -> Iterator[Problem]:
    config = snapshot.config
    if not config.consumers:
        return
    stacks = snapshot.sides.get(INBOUND)
    entries: Sequence[Entry] = stacks.entries if stacks is not None else ()
    if not config.trust_identity_from and not _identifying(entries):
        yield Problem("consumers", "no plug-in identifies callers: nobody is ever one of them", "such as key-auth")
        return
    named = {entry.name for entry in entries}
    for number, consumer in enumerate(config.consumers):
        for name in consumer.credentials:
            if name not in named:
                path = f"consumers[{number}].credentials.{name}"
                yield Problem(path, f"{name} is not among the plug-ins: these credentials open nothing")


def _identifying(entries: Iterable[Entry]) -> bool:
    return any(plugin is not None and plugin.identifies for entry in entries for plugin in entry.plugins)


def _routes(config: GatewayConfig) -> Iterator[Problem]:
    matches = [route_match(model) for model in config.routes]
    for number, match in enumerate(matches):
        wider = next((earlier for earlier in range(number) if covers(matches[earlier], match)), None)
        if wider is not None:
            name = config.routes[wider].name
            yield Problem(f"routes[{number}]", f"is never chosen: route {name!r} before it takes all that it matches")


def _twice(config: GatewayConfig) -> Iterator[Problem]:
    for where in ("plugins", "outgoing"):
        entries = [entry for entry in getattr(config, where) or () if entry.enabled]
        for name, count in Counter(entry.name for entry in entries if not entry.id).items():
            if count > 1:
                message = f"{name} is named {count} times: a reload in another order mixes up what each entry remembers"
                yield Problem(where, message, "give each an `id`")


# ---------------------------------------------------------------------- one entry


def _entry(entry: Entry, snapshot: Snapshot) -> Iterator[Problem]:
    plugins = [plugin for plugin in entry.plugins if plugin is not None]
    if not plugins:
        yield Problem(entry.path, f"{entry.name} never runs: no part of it is switched on")
        return
    plugin = plugins[0]
    if not any(overridden(each, hook) for each in plugins for hook in HOOKS):
        yield Problem(entry.path, f"{entry.name} has no effect: its class has no hook")
    if plugin.settings.shadow:
        yield Problem(f"{entry.path}.shadow", f"{entry.name} decides nothing: it only records what it would do")
    elif plugin.identifies and plugin.on_failure == "allow":
        yield Problem(f"{entry.path}.on_failure", f"{entry.name} lets callers in unchecked when it breaks", "deny")
    if plugin.counts_tokens:
        yield from _tokens(entry, plugin)
    for text in getattr(plugin.config, "real_ip_from", ()):
        if text.strip().endswith("/0"):
            yield Problem(
                f"{entry.path}.config.real_ip_from", f"{text} believes everybody: callers choose who they are"
            )
    yield from _rules(entry, snapshot)


def _tokens(entry: Entry, plugin: Plugin[Any]) -> Iterator[Problem]:
    """Models whose tokens are estimated here: those that the plug-in names, else the usual ones."""
    from ..llm.tokens import availability

    named = [name.rstrip("*") for name in getattr(plugin.config, "models", ())]
    estimated = [found for found in availability([name for name in named if name] or USUAL) if found.rung == "estimate"]
    if estimated:
        families = ", ".join(found.family for found in estimated)
        yield Problem(entry.path, f"{entry.name} estimates the tokens of {families} from bytes", estimated[0].improve)


def _rules(entry: Entry, snapshot: Snapshot) -> Iterator[Problem]:
    before: list[Variant] = []
    for variant in entry.variants:
        if variant.match is None:
            continue
        path = variant.path.removesuffix(".config")
        if variant.match.service:
            yield Problem(f"{path}.match.service", "never matches: inside one service there are no others to route to")
        wider = next((earlier for earlier in before if _wins(earlier, variant)), None)
        if wider is not None:
            yield Problem(path, f"is never chosen: {wider.label} before it takes all that it matches")
        yield from _late(variant.late, path, snapshot)
        before.append(variant)


def _late(late: Late, path: str, snapshot: Snapshot) -> Iterator[Problem]:
    config = snapshot.config
    entries = snapshot.sides[INBOUND].entries if INBOUND in snapshot.sides else ()
    if (late.consumer or late.group) and not config.trust_identity_from and not _identifying(entries):
        asked = next(describe_late(late))
        yield Problem(f"{path}.match", f"{asked} never holds: no plug-in identifies callers")
        return
    known = {"consumer": _names(snapshot), "group": {name for each in snapshot.consumers for name in each.groups}}
    if any(plugin.identifies and plugin.context.files for plugin in snapshot.plugins):
        del known["consumer"]  # a file of keys or passwords names more of them
    for key, names in known.items():
        for name in sorted(getattr(late, key) - names):
            hint = nearest(name, names)  # plug-ins may know others than the file does, so only what looks like a slip
            if hint:
                yield Problem(f"{path}.match.{key}", f"no {key} is named {name!r}", hint)


def _names(snapshot: Snapshot) -> set[str]:
    """Return the names of consumers: the declared ones, and those that plug-ins have in their own configuration."""
    names = {consumer.name for consumer in snapshot.consumers}
    for plugin in snapshot.plugins:
        names.update(_own_names(plugin))
    return names


def _own_names(plugin: Plugin[Any]) -> Iterator[str]:
    for item in getattr(plugin.config, "consumers", None) or ():
        name = item.get("name") if isinstance(item, Mapping) else getattr(item, "name", None)
        if isinstance(name, str):
            yield name


# ---------------------------------------------------------------------- whether one match takes all of another


def covers(wide: Match, narrow: Match) -> bool:
    """Whether `wide` surely matches what `narrow` does: each of its keys has every value that `narrow` has there."""
    for field in fields(Match):
        values, other = getattr(wide, field.name), getattr(narrow, field.name)
        if field.name == "header":
            if not all(_header_covers(name, values, other) for name in {name for name, _ in values}):
                return False
        elif field.name == "domain" and "*" in values:
            continue
        elif values and (not other or not set(other) <= set(values)):
            return False
    return True


def _header_covers(name: str, wide: Iterable[tuple[str, str]], narrow: Iterable[tuple[str, str]]) -> bool:
    allowed = {value for key, value in wide if key == name}
    asked = {value for key, value in narrow if key == name}
    return bool(asked) and ("*" in allowed or asked <= allowed)


def _wins(earlier: Variant, later: Variant) -> bool:
    if earlier.match is None or later.match is None or not covers(earlier.match, later.match):
        return False
    for key in ("consumer", "group", "model"):
        values, other = set(getattr(earlier.late, key)), set(getattr(later.late, key))
        if values and (not other or not other <= values):
            return False
    return True
