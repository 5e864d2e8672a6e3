"""From a validated configuration to a snapshot: every class found, every variant validated, every problem reported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .config.files import Files
from .config.matching import Match
from .config.matching import problems as match_problems
from .config.models import GatewayConfig, MatchModel, PluginEntry, PoliciesModel, RuleModel
from .config.rules import Variant, match_of, variants
from .config.secrets import Keyring, process_keyring, read_secret
from .consumers import Consumer, ConsumerTable
from .edge import forwarding_of
from .errors import ConfigError, Problem, nearest
from .order import in_order
from .plugin import GATE, INBOUND, OUTBOUND, Build, Direction, Plugin, PluginSettings
from .registry import BUILT_IN
from .snapshot import ANY_ROUTE, Entry, Route, Snapshot, Stacks

if TYPE_CHECKING:
    from .registry import Registry

OVERRIDING_PARSERS = frozenset({"basic-auth", "key-auth", "jwt-auth", "hmac-auth-apisix"})
"""Plug-ins whose upstream `_rules_` start from a copy of the global configuration."""


class Builder:
    """Builds one snapshot; collects every problem before it gives up."""

    def __init__(
        self,
        config: GatewayConfig,
        source: str,
        directory: str,
        registry: Registry,
        previous: Snapshot | None,
        problems: Iterable[Problem] = (),
    ) -> None:
        self._config = config
        self._source = source
        self._directory = directory
        self._registry = registry
        self._previous = previous
        self._problems: list[Problem] = list(problems)
        self._carried = _reusable(previous)

    def build(self, extra: Mapping[Direction, Sequence[Plugin[Any]]], wanted: Iterable[Direction]) -> Snapshot:
        """Return the snapshot. Raises ConfigError with every problem."""
        config = self._config
        keyring = self._keyring()
        consumers = self._consumers()
        routes = self._routes()
        sides: dict[Direction, Stacks] = {}
        wanted = set(wanted)
        if INBOUND in wanted or config.plugins:
            entries = [*config.plugins, *_policies(config)]
            sides[INBOUND] = self._side(INBOUND, entries, "plugins", routes, consumers, keyring, extra.get(INBOUND, ()))
        if config.outgoing is not None or extra.get(OUTBOUND):
            sides[OUTBOUND] = self._side(
                OUTBOUND, config.outgoing or (), "outgoing", routes, consumers, keyring, extra.get(OUTBOUND, ())
            )
        elif OUTBOUND in wanted:
            self._problem(
                "outgoing", "is missing: a client transport runs the plug-ins named there", "add `outgoing: []`"
            )
        if self._problems:
            raise ConfigError(self._problems, self._source)
        identity = self._identity_headers(sides.values())
        generation = self._previous.generation + 1 if self._previous is not None else 1
        return Snapshot(config, consumers, keyring, sides, identity, generation)

    def _problem(self, path: str, message: str, hint: str = "") -> None:
        self._problems.append(Problem(path, message, hint))

    # ------------------------------------------------------------------ what stands around the plug-ins

    def _keyring(self) -> Keyring:
        config = self._config
        if config.secret is None:
            shared = [name for name, url in config.stores.items() if not url.startswith("memory://")]
            if shared:
                self._problem(
                    "secret", f"is required: store {shared[0]!r} outlives this process", "secret: env:AIGW_SECRET"
                )
            return process_keyring()
        secrets = [config.secret, *config.previous_secrets]
        return Keyring([secret.reveal().encode() for secret in secrets])

    def _consumers(self) -> ConsumerTable:
        found: dict[str, Consumer] = {}
        known: set[str] | None = None
        for number, model in enumerate(self._config.consumers):
            path = f"consumers[{number}]"
            if model.name in found:
                self._problem(f"{path}.name", f"consumer {model.name!r} is declared twice")
            credentials = {
                name: self._resolve(value, f"{path}.credentials.{name}") for name, value in model.credentials.items()
            }
            for name in model.credentials:
                if name in BUILT_IN:
                    continue
                known = known if known is not None else set(self._registry.names())
                if name not in known:
                    self._problem(
                        f"{path}.credentials.{name}",
                        "no authentication plug-in has that name",
                        nearest(name, self._registry.names()),
                    )
            found[model.name] = Consumer(model.name, model.groups, model.tier, model.metadata, credentials)
        return ConsumerTable(found.values())

    def _resolve(self, value: Any, path: str) -> Any:
        """Read `env:` and `file:` references anywhere inside a credential."""
        if isinstance(value, str) and value.startswith(("env:", "file:")):
            try:
                return read_secret(value)
            except ValueError as error:
                self._problem(path, str(error))
                return ""
        if isinstance(value, list):
            return [self._resolve(item, f"{path}[{number}]") for number, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self._resolve(item, f"{path}.{key}") for key, item in value.items()}
        return value

    def _routes(self) -> list[tuple[Route, Match]]:
        routes = []
        names: set[str] = set()
        for number, model in enumerate(self._config.routes):
            if model.name in names or model.name == ANY_ROUTE.name:
                self._problem(f"routes[{number}].name", f"route {model.name!r} is declared twice")
            names.add(model.name)
            match = match_of(
                MatchModel(
                    path=model.path,
                    path_prefix=model.path_prefix,
                    path_regex=model.path_regex,
                    method=model.methods,
                    domain=model.domain,
                    header=model.header,
                )
            )
            self._check_patterns(match, f"routes[{number}]")
            routes.append((Route(model.name, model.llm, model.watch_disconnect, model.auth_mode), match))
        return routes

    def _check_patterns(self, match: Match, path: str) -> None:
        for problem in match_problems(match):
            self._problem(path, problem)

    # ------------------------------------------------------------------ plug-ins

    def _side(
        self,
        direction: Direction,
        models: Sequence[PluginEntry],
        where: str,
        routes: Sequence[tuple[Route, Match]],
        consumers: ConsumerTable,
        keyring: Keyring,
        extra: Sequence[Plugin[Any]],
    ) -> Stacks:
        entries = []
        identities: set[str] = set()
        for number, model in enumerate(models):
            path = f"{where}[{number}]" if number < len(getattr(self._config, where) or ()) else "policies"
            if not model.enabled:
                continue
            identity = f"{direction.value}:{model.id or model.name}"
            if identity in identities:
                if model.id:
                    self._problem(f"{path}.id", f"{model.id!r} is used twice")
                copy = sum(known.startswith(identity) for known in identities) + 1
                identity = f"{identity}#{copy}"
            identities.add(identity)
            entry = self._entry(model, path, identity, direction, consumers, keyring)
            if entry is not None:
                entries.append(entry)
        known_routes = {route.name for route, _ in routes} | {ANY_ROUTE.name}
        for entry in entries:
            self._check_rules(entry, known_routes)
        for plugin in extra:
            self._check_direction(type(plugin), direction, f"plugin {plugin.name}")
        if self._problems:
            return Stacks((), (), (), self._config.stage_order)
        self._check_late(entries, extra)
        self._check_forwarding(entries, extra)
        if self._problems:
            return Stacks((), (), (), self._config.stage_order)
        return Stacks(entries, extra, routes, self._config.stage_order, debug=self._config.debug)

    def _entry(
        self,
        model: PluginEntry,
        path: str,
        identity: str,
        direction: Direction,
        consumers: ConsumerTable,
        keyring: Keyring,
    ) -> Entry | None:
        try:
            cls = self._registry.get(model.name, f"{path}.name")
        except ConfigError as error:
            self._problems.extend(error.problems)
            return None
        self._check_direction(cls, direction, f"{path}.name")
        if model.shadow and not cls.shadowable:
            self._problem(f"{path}.shadow", f"{model.name} has no effect to leave out: it cannot run in shadow")
        settings = PluginSettings(
            stage=model.stage,
            priority=model.priority,
            on_failure=model.on_failure,
            on_uncovered=model.on_uncovered,
            shadow=model.shadow,
            id=model.id,
        )
        found: list[Variant] = []
        plugins: list[Plugin[Any] | None] = []
        inherit = cls.rules_inherit or model.name in OVERRIDING_PARSERS
        for variant in variants(model, path, _spellings(cls), inherit):
            if isinstance(variant, Problem):
                self._problems.append(variant)
                continue
            if variant.match is not None:
                self._check_patterns(variant.match, variant.path)
            found.append(variant)
            build = Build(
                consumers=consumers,
                keyring=keyring,
                entry=("shadow:" if model.shadow else "") + _identity(identity, variant),
                has_rules="_rules_" in model.config,
                in_rule=variant.match is not None,
                error_format=self._config.error_format,
                identity_header=self._config.identity_header.lower().encode(),
                files=Files(self._directory),
            )
            plugins.append(self._plugin(cls, variant, settings, build))
        return Entry(identity, model.name, path, found, plugins)

    def _plugin(
        self, cls: type[Plugin[Any]], variant: Variant, settings: PluginSettings, build: Build
    ) -> Plugin[Any] | None:
        if variant.config is None:
            return None
        try:
            config = cls.validate(dict(variant.config), build, variant.path)
            carried = self._carried.get(build.entry)
            if carried is not None and _same(carried, cls, config, settings, build):
                return carried
            plugin = cls.build(config, settings, build)
        except ConfigError as error:
            self._problems.extend(
                Problem(problem.path or variant.path, problem.message, problem.hint) for problem in error.problems
            )
            return None
        if settings.shadow:
            from .shadow import shadow_of

            return shadow_of(plugin)
        return plugin

    def _check_direction(self, cls: type[Plugin[Any]], direction: Direction, path: str) -> None:
        if direction not in cls.directions:
            other = "plugins" if direction is OUTBOUND else "outgoing"
            self._problem(
                path, f"{cls.name} is for {next(iter(cls.directions)).value} exchanges only", f"name it under `{other}`"
            )

    def _check_rules(self, entry: Entry, routes: set[str]) -> None:
        for variant in entry.variants:
            for name in variant.match.route if variant.match is not None else ():
                if name not in routes and not variant.path.endswith("]"):
                    self._problem(
                        variant.path.removesuffix(".config"), f"no route is named {name!r}", nearest(name, routes)
                    )

    def _check_late(self, entries: Sequence[Entry], extra: Sequence[Plugin[Any]]) -> None:
        """Late keys must be known by the plug-in's turn: consumer and group after authentication, model after the gate."""
        plugins = [*extra, *(plugin for entry in entries for plugin in entry.plugins if plugin is not None)]
        ordered = in_order(plugins, self._config.stage_order)
        last = max((place for place, plugin in enumerate(ordered) if plugin.identifies), default=-1)
        for entry in entries:
            own = {plugin for plugin in entry.plugins if plugin is not None}
            for variant in entry.variants:
                if not variant.late or not own:
                    continue
                plugin = next(iter(own))
                path = variant.path.removesuffix(".config") + ".match"
                if variant.late.model and plugin.stage in GATE:
                    self._problem(
                        f"{path}.model", f"{entry.name} runs before the body is read: the model is not known there"
                    )
                if (
                    (variant.late.consumer or variant.late.group)
                    and plugin.stage in GATE
                    and ordered.index(plugin) <= last
                ):
                    self._problem(
                        f"{path}.consumer",
                        f"{entry.name} runs before authentication is done: the consumer is not known there",
                    )

    def _check_forwarding(self, entries: Sequence[Entry], extra: Sequence[Plugin[Any]]) -> None:
        """The client is known before the first hook: early keys alone can choose how, and one plug-in for a request."""
        supplying = [("", False) for plugin in extra if forwarding_of((plugin,))]
        for entry in entries:
            pairs = zip(entry.variants, entry.plugins, strict=True)
            found = [variant for variant, plugin in pairs if plugin is not None and forwarding_of((plugin,))]
            for variant in found:
                if variant.late:
                    path = variant.path.removesuffix(".config") + ".match"
                    self._problem(
                        path, f"{entry.name} says who the client is before consumer, group or model are known"
                    )
            if found:
                supplying.append((entry.path, all(variant.match is not None for variant in found)))
        if len(supplying) > 1 and not all(by_rules for _, by_rules in supplying):
            self._problem(
                supplying[-1][0], "another plug-in already says who the client is, for every request", "keep one"
            )

    def _identity_headers(self, sides: Iterable[Stacks]) -> list[str]:
        names: list[str] = []
        for stacks in sides:
            for plugin in stacks.plugins:
                names.extend(getattr(plugin, "identity_headers", ()))
                if plugin.identifies:
                    names.append(self._config.identity_header)
        if self._config.trust_identity_from:
            names.append(self._config.identity_header)
        return names


def _identity(entry: str, variant: Variant) -> str:
    """Name a variant by what it applies to, never by its position: state stays its own when rules are inserted."""
    if variant.match is None:
        return entry
    late = variant.late
    matched = repr((variant.match, sorted(late.consumer), sorted(late.group), late.model))
    digest = hashlib.blake2b(matched.encode(), digest_size=6)
    return f"{entry}/{digest.hexdigest()}"


def _spellings(cls: type[Plugin[Any]]) -> dict[str, str]:
    """Map every accepted spelling of a plug-in's keys to its field's name."""
    from pydantic import AliasChoices

    names: dict[str, str] = {}
    for name, field in cls.Config.model_fields.items():
        names[name] = name
        alias = field.validation_alias
        for choice in alias.choices if isinstance(alias, AliasChoices) else [alias] if isinstance(alias, str) else []:
            if isinstance(choice, str):
                names[choice] = name
    return names


def _policies(config: GatewayConfig) -> list[PluginEntry]:
    """Return the policies of routes, and those for all, as entries of the policy plug-ins."""
    entries = []
    for name in PoliciesModel.model_fields:
        default = getattr(config.policies, name)
        rules = [
            RuleModel(match=MatchModel(route=(route.name,)), config=policy.model_dump())
            for route in config.routes
            if (policy := getattr(route.policies, name)) is not None
        ]
        if default is None and not rules:
            continue
        surroundings: dict[str, Any] = {"config": default.model_dump()} if default is not None else {}
        entries.append(PluginEntry(name=name.replace("_", "-"), rules=tuple(rules), **surroundings))
    return entries


def _reusable(previous: Snapshot | None) -> dict[str, Plugin[Any]]:
    if previous is None:
        return {}
    return {
        plugin.context.entry: plugin
        for stacks in previous.sides.values()
        for entry in stacks.entries
        for plugin in entry.plugins
        if plugin
    }


def _same(old: Plugin[Any], cls: type[Plugin[Any]], config: Any, settings: PluginSettings, build: Build) -> bool:
    """Whether an entry did not change, so that the same object is carried over with all it remembers."""
    return (
        type(old) is cls
        and old.config == config
        and old.settings == settings
        and _consumers_equal(old.context.consumers, build.consumers)
        and old.context.keyring.keys("carry") == build.keyring.keys("carry")
        and old.context.has_rules == build.has_rules
        and old.context.error_format == build.error_format
        and old.context.identity_header == build.identity_header
        and not old.context.files.changed()
    )


def _consumers_equal(left: ConsumerTable, right: ConsumerTable) -> bool:
    if len(left) != len(right):
        return False
    for consumer in left:
        other = right.get(consumer.name)
        if other is None or any(
            getattr(consumer, field) != getattr(other, field) for field in ("groups", "tier", "metadata", "credentials")
        ):
            return False
    return True
