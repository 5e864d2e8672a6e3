"""One immutable state of a gateway: its routes, rules and plug-ins, compiled; and the building of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .config.matching import Facts, Match, MatchIndex
from .config.rules import Late
from .edge import Edge, Forwarding, forwarding_of
from .exchange import Exchange, Refusal, Request
from .late import late_choice
from .llm.dialects import DIALECTS, DialectTable
from .order import DEFAULT_STAGE_ORDER, in_order
from .paths import ambiguous
from .pipeline import Stack
from .plugin import INBOUND

if TYPE_CHECKING:
    from .config.models import GatewayConfig
    from .config.rules import Variant
    from .config.secrets import Keyring
    from .consumers import ConsumerTable
    from .plugin import Direction, Plugin, Stage

MAX_STACKS = 4_096  # distinct choices of rules kept compiled; there are few, the bound is for hostile combinations
MAX_KNOWN: Final = 4_096  # requests whose choice is remembered: some MB at most, whatever is asked for
MAX_KNOWN_LENGTH: Final = 512  # characters of what one of them was chosen by

Deciding: TypeAlias = tuple[str | bytes | None, ...]
"""All that a choice depends on: the method, where anything asks for it the domain, and the path in both forms."""


class Route:
    """A name for some requests, and what goes with it."""

    __slots__ = ("auth_mode", "error_style", "llm", "name", "watch_disconnect")

    def __init__(self, name: str, llm: str = "auto", watch_disconnect: bool = False, auth_mode: str = "") -> None:
        self.name = name
        self.llm = llm
        self.watch_disconnect = watch_disconnect
        self.auth_mode = auth_mode
        self.error_style = DIALECTS[llm].error_style if llm in DIALECTS else "problem" if llm == "none" else ""
        """How errors look on this route; empty: as the path tells."""

    def __repr__(self) -> str:
        return f"<Route {self.name}>"


ANY_ROUTE = Route("*")


class Entry:
    """One plug-in of the configuration with the variants its rules choose from; `plugins[i]` belongs to `variants[i]`."""

    __slots__ = ("identity", "name", "path", "plugins", "variants")

    def __init__(
        self, identity: str, name: str, path: str, variants: Sequence[Variant], plugins: Sequence[Plugin[Any] | None]
    ) -> None:
        self.identity = identity
        self.name = name
        self.path = path
        self.variants = variants
        self.plugins = plugins

    @property
    def late(self) -> bool:
        """Whether a rule needs what is known only at the plug-in's turn."""
        return any(variant.late for variant in self.variants)

    @property
    def ruled(self) -> bool:
        """Whether rules choose its plug-in."""
        return any(variant.match is not None for variant in self.variants)


class Stacks:
    """Finds the compiled stack of a request. Costs depend on the request, not on the number of rules."""

    def __init__(
        self,
        entries: Sequence[Entry],
        extra: Sequence[Plugin[Any]],
        routes: Sequence[tuple[Route, Match]],
        stage_order: Sequence[Stage],
        *,
        debug: bool = False,
    ) -> None:
        self.entries = entries
        self._debug = debug
        self._extra = tuple(extra)
        self._stage_order = stage_order
        self._routes = tuple(route for route, _ in routes)
        self._route_index = MatchIndex([[match for _, match in routes]]) if routes else None
        self._groups = [group for entry in entries for group in _groups(entry)]
        self._rule_index = MatchIndex(self._groups) if self._groups else None
        indexes = [index for index in (self._route_index, self._rule_index) if index is not None]
        asked = {fact for index in indexes for fact in index.facts}
        self._asks_domain = "domain" in asked
        self._asks_header = "header" in asked
        self._cache: dict[tuple[int, ...], Stack] = {}
        self.plugins = (*self._extra, *(plugin for entry in entries for plugin in entry.plugins if plugin is not None))
        self.matches_paths = "path" in asked or any(plugin.path_matching for plugin in self.plugins)
        self.forwarding: Forwarding | None = None
        """What stands in place of the configuration's `trusted_proxies`, for every exchange."""
        self.forwarding_by_rules = any(forwarding_of(filter(None, entry.plugins)) for entry in entries if entry.ruled)
        """Whether rules choose it: then each stack has its own."""
        if not self.forwarding_by_rules:
            self.forwarding = forwarding_of(in_order(self.plugins, stage_order))
        self.only = None if indexes else self._compile(())
        """The one stack, when neither routes nor rules choose."""
        self.known: dict[Deciding, tuple[Route, Stack]] = {}
        """What requests that were let in found. Whatever is not here is looked up; nothing else depends on it."""
        domain = ("domain",) if self._asks_domain else ()
        self.known_by: Callable[[Request], Deciding] | None = None
        """Reads all that the choice and the verdict on the path depend on; None where that is little, or headers too."""
        if indexes and self.matches_paths and not self._asks_header:
            self.known_by = attrgetter("method", "paths", *domain)

    def find(self, exchange: Exchange) -> Stack:
        """Return the stack of a request and set `exchange.route`."""
        request = exchange.request
        facts = self._facts(request, ANY_ROUTE.name)
        if self._route_index is not None:
            number = self._route_index.choose(facts)[0]
            if number >= 0:
                exchange.route = self._routes[number]
                facts.route = exchange.route.name
        choice = self._rule_index.choose(facts) if self._rule_index is not None else ()
        stack = self._cache.get(choice)
        return stack if stack is not None else self._compile(choice)

    def remember(self, deciding: Deciding, exchange: Exchange, stack: Stack) -> None:
        """Spare requests alike the look-up. A flood of others makes it forget, never grow."""
        request = exchange.request
        length = len(request.method) + sum(map(len, filter(None, request.paths)))
        if length + (len(request.domain) if self._asks_domain else 0) <= MAX_KNOWN_LENGTH:
            if len(self.known) >= MAX_KNOWN:
                self.known.clear()
            self.known[deciding] = exchange.route, stack

    def _compile(self, choice: tuple[int, ...]) -> Stack:
        plugins = [*self._extra, *(plugin for _, plugin in self.chosen(choice) if plugin)]
        stack = Stack(in_order(plugins, self._stage_order), debug=self._debug)
        if len(self._cache) >= MAX_STACKS:
            self._cache.clear()
        self._cache[choice] = stack
        return stack

    def chosen(self, choice: tuple[int, ...]) -> Iterator[tuple[Entry, Plugin[Any] | None]]:
        """Yield each entry with the plug-in that a choice of rules gives it; None: off."""
        numbers = iter(choice)
        for entry in self.entries:
            if entry.late:
                candidates: list[tuple[Late, Plugin[Any] | None]] = []
                for variant, plugin in zip(entry.variants, entry.plugins, strict=True):
                    if variant.match is None or next(numbers) >= 0:
                        candidates.append((variant.late, plugin))
                yield entry, _first(candidates)
                continue
            rules = [variant for variant in entry.variants if variant.match is not None]
            number = next(numbers) if rules else -1
            if number >= 0:
                yield entry, entry.plugins[number]
            else:
                default = len(rules)
                yield entry, entry.plugins[default] if default < len(entry.plugins) else None

    def _facts(self, request: Request, route: str) -> Facts:
        """Return what the rules here ask for; the rest is not looked up."""
        domain = request.domain if self._asks_domain else ""
        if not self._asks_header:
            return Facts(request.path, request.method, domain, route, _no_header)
        return Facts(request.path, request.method, domain, route, request.headers.get, "", request.headers.names)

    def choice(self, exchange: Exchange) -> tuple[int, ...]:
        """Return the choice of rules for a request, for explanations."""
        request = exchange.request
        facts = self._facts(request, exchange.route.name)
        return self._rule_index.choose(facts) if self._rule_index is not None else ()


def _no_header(name: str) -> None:
    """No rule asks for a header."""


def _first(candidates: list[tuple[Late, Plugin[Any] | None]]) -> Plugin[Any] | None:
    """Cut the candidates after the first that always applies; a chooser is only needed when there is a choice."""
    for number, (late, _) in enumerate(candidates):
        if not late:
            del candidates[number + 1 :]
            break
    if len(candidates) == 1 and not candidates[0][0]:
        return candidates[0][1]
    if not any(plugin is not None for _, plugin in candidates):
        return None
    return late_choice(candidates)


def _groups(entry: Entry) -> list[list[Match]]:
    """Return the groups of matches of an entry: one whose first match wins, or, with late keys, one for each rule."""
    matches = [variant.match for variant in entry.variants if variant.match is not None]
    if not matches:
        return []
    return [[match] for match in matches] if entry.late else [matches]


AMBIGUOUS = "ambiguous_path"
NO_STACKS = Stacks((), (), (), DEFAULT_STAGE_ORDER)


class Snapshot:
    """What an exchange finishes on, whatever is reloaded meanwhile."""

    def __init__(
        self,
        config: GatewayConfig,
        consumers: ConsumerTable,
        keyring: Keyring,
        sides: Mapping[Direction, Stacks],
        identity_headers: Sequence[str],
        generation: int,
    ) -> None:
        self.config = config
        self.consumers = consumers
        self.keyring = keyring
        self.generation = generation
        self.sides = sides
        self.inbound = sides.get(INBOUND, NO_STACKS)
        self.plugins = frozenset(plugin for stacks in sides.values() for plugin in stacks.plugins)
        self.files = tuple(plugin.context.files for plugin in self.plugins if plugin.context.files)
        """Files besides the configuration that its plug-ins were made from."""
        self.edge = Edge(config, identity_headers, self.inbound.forwarding)
        self.identity_names = self.edge.identity_names
        self.dialects = DialectTable()
        self.error_format = config.error_format
        self.auth_mode = config.auth_mode
        self.max_body_bytes = config.max_body_bytes
        self.debug = config.debug
        self.on_disconnect = config.on_disconnect
        self.detached_ttl = config.detached_ttl
        self._refuse_ambiguous = config.ambiguous_paths == "refuse"
        self.careful = bool(self.identity_names) or any(stacks.matches_paths for stacks in sides.values())
        """Whether `admit` has more to do than to give the one stack."""

    def admit(self, exchange: Exchange, stacks: Stacks) -> tuple[Stack, Refusal | None]:
        """Establish the facts of the edge and choose the stack; a Refusal when the path itself cannot be trusted."""
        if self.identity_names:
            self.edge.take_identity(exchange, self.consumers)
        request, deciding, refusal = exchange.request, None, None
        if stacks.known_by is not None:
            deciding = stacks.known_by(request)
            known = stacks.known.get(deciding)
            if known is not None:
                exchange.route, stack = known
                if stacks.forwarding_by_rules:
                    self._find_client(exchange, stack)
                return stack, None
        if stacks.matches_paths and self._refuse_ambiguous:
            raw_path = request.raw_path
            reason = ambiguous(raw_path if raw_path is not None else request.path.encode("utf-8", "surrogateescape"))
            if reason is not None:
                exchange.decide("gateway", "refused", reason)
                refusal = Refusal(400, AMBIGUOUS, f"The path is ambiguous: {reason}.")
        stack = stacks.only if stacks.only is not None else stacks.find(exchange)
        if deciding is not None and refusal is None:
            stacks.remember(deciding, exchange, stack)
        if stacks.forwarding_by_rules:
            self._find_client(exchange, stack)
        return stack, refusal

    def _find_client(self, exchange: Exchange, stack: Stack) -> None:
        """Find the client as the rules of this request have it, before anybody asks."""
        forwarding = forwarding_of(stack.plugins) or self.edge.forwarding
        exchange.client = forwarding.client(exchange.request)
