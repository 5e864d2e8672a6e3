"""The one table of plug-ins by name. A class is imported when a configuration names it, never before."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, nearest
from .plugin import Plugin

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ENTRY_POINT_GROUP = "aigw_middleware.plugins"

_PLUGINS = "aigw_middleware.plugins"
BUILT_IN: dict[str, str] = {
    "ai-context-limit": f"{_PLUGINS}.ai.context_limit:AiContextLimit",
    "ai-data-masking": f"{_PLUGINS}.ai.data_masking:AiDataMasking",
    "ai-prompt-decorator": f"{_PLUGINS}.ai.prompt_decorator:AiPromptDecorator",
    "ai-prompt-template": f"{_PLUGINS}.ai.prompt_template:AiPromptTemplate",
    "ai-statistics": f"{_PLUGINS}.ai.statistics:AiStatistics",
    "basic-auth": f"{_PLUGINS}.auth.basic:BasicAuth",
    "bot-detect": f"{_PLUGINS}.security.bot_detect:BotDetect",
    "cors": f"{_PLUGINS}.security.cors:Cors",
    "custom-response": f"{_PLUGINS}.transport.custom_response:CustomResponse",
    "hmac-auth": f"{_PLUGINS}.auth.hmac:HmacAuth",
    "http-real-ip": f"{_PLUGINS}.security.real_ip:HttpRealIp",
    "ip-access-control": f"{_PLUGINS}.security.ip_access_control:IpAccessControl",
    "ip-restriction": f"{_PLUGINS}.security.ip_restriction:IpRestriction",
    "jwt-auth": f"{_PLUGINS}.auth.jwt:JwtAuth",
    "key-auth": f"{_PLUGINS}.auth.key:KeyAuth",
    "key-rate-limit": f"{_PLUGINS}.traffic.key_rate_limit:KeyRateLimit",
    "model-mapper": f"{_PLUGINS}.ai.model_mapper:ModelMapper",
    "model-router": f"{_PLUGINS}.ai.model_router:ModelRouter",
    "replay-protection": f"{_PLUGINS}.security.replay_protection:ReplayProtection",
    "request-block": f"{_PLUGINS}.security.request_block:RequestBlock",
    "timeout": f"{_PLUGINS}.traffic.timeout:Timeout",
}

CLASS_NAMES: dict[str, str] = {target.rpartition(":")[2]: target for target in BUILT_IN.values()}
"""Built-in classes by their exported name (`KeyAuth`)."""


def entry_points(group: str, name: str | None = None) -> EntryPoints:
    """Return the entry points of installed distributions; looking for them is slow, so only where they are needed."""
    from importlib import metadata

    found = metadata.entry_points(group=group)
    return found if name is None else found.select(name=name)


class Registry:
    """Finds plug-in classes: registered ones first, then built-ins, then entry points of installed distributions."""

    def __init__(self) -> None:
        self._registered: dict[str, type[Plugin[Any]]] = {}

    def register(self, plugin: type[Plugin[Any]]) -> type[Plugin[Any]]:
        """Make a class known under its name; usable as a decorator. Raises ConfigError when the name is taken."""
        if not plugin.name:
            raise ConfigError.of("", f"{plugin.__name__} has no name: set the class attribute `name`")
        if plugin.name in BUILT_IN or self._registered.get(plugin.name, plugin) is not plugin:
            raise ConfigError.of("", f"there is already a plug-in named {plugin.name!r}")
        self._registered[plugin.name] = plugin
        return plugin

    def names(self) -> Iterator[str]:
        """Yield every known name; imports no plug-in."""
        yield from BUILT_IN
        yield from self._registered
        yield from (point.name for point in entry_points(group=ENTRY_POINT_GROUP))

    def origin(self, name: str) -> str:
        """Return where a plug-in comes from: `built-in`, `registered` or the distribution's name."""
        if name in BUILT_IN:
            return "built-in"
        if name in self._registered:
            return "registered"
        point = next(iter(entry_points(group=ENTRY_POINT_GROUP, name=name)), None)
        return point.dist.name if point is not None and point.dist is not None else "entry point"

    def get(self, name: str, path: str = "") -> type[Plugin[Any]]:
        """Return the class named `name`, importing it. Raises ConfigError with what to do."""
        registered = self._registered.get(name)
        if registered is not None:
            return registered
        target = BUILT_IN.get(name)
        try:
            if target is not None:
                return load(target)
            for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
                found = point.load()
                if isinstance(found, type) and issubclass(found, Plugin):
                    return found
                raise ConfigError.of(path, f"entry point {point.value} of plug-in {name!r} is not a Plugin class")
        except ImportError as error:
            module = (error.name or "a module").partition(".")[0]
            if module == __name__.partition(".")[0]:
                raise  # a module of ours is missing: a broken installation, which no extra mends
            raise ConfigError.of(
                path, f"plug-in {name!r} cannot be imported: {module} is missing", f"pip install {module}"
            ) from None
        raise ConfigError.of(
            path, f"no plug-in is named {name!r}", nearest(name, self.names()) or "`aigw plugins` lists them"
        )


def load(target: str) -> type[Plugin[Any]]:
    """Import `module:Class`."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


REGISTRY = Registry()
"""The registry that gateways use unless given another."""
