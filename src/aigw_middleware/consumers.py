"""Who calls: the consumer of an exchange, and the table of declared ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Consumer:
    """An authenticated caller. `ANONYMOUS`, the one with an empty name, stands for nobody; it is never None."""

    __slots__ = ("credentials", "groups", "metadata", "name", "tier")

    def __init__(
        self,
        name: str,
        groups: Iterable[str] = (),
        tier: str = "",
        metadata: Mapping[str, Any] = _NOTHING,
        credentials: Mapping[str, Any] = _NOTHING,
    ) -> None:
        self.name = name
        self.groups = frozenset(groups) if groups else _NO_GROUPS
        self.tier = tier
        self.metadata = metadata
        self.credentials = credentials
        """Credential definitions by plug-in name, as configured; values of secrets are Secret objects."""

    def __bool__(self) -> bool:
        return bool(self.name)

    def __repr__(self) -> str:
        return f"Consumer({self.name!r})"


_NO_GROUPS: frozenset[str] = frozenset()
ANONYMOUS = Consumer("")


class ConsumerTable:
    """The consumers declared at the top of a configuration, by name."""

    __slots__ = ("_by_name",)

    def __init__(self, consumers: Iterable[Consumer]) -> None:
        self._by_name = {consumer.name: consumer for consumer in consumers}

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Consumer | None:
        """Return the declared consumer of that name, or None."""
        return self._by_name.get(name)

    def having(self, plugin: str) -> list[Consumer]:
        """Return the consumers that have credentials for an authentication plug-in."""
        return [consumer for consumer in self._by_name.values() if plugin in consumer.credentials]


class Allowed:
    """An `allow` list: consumer names and `group:x`. An empty list allows nobody; no list allows every consumer."""

    __slots__ = ("_groups", "_names")

    def __init__(self, entries: Iterable[str]) -> None:
        entries = tuple(entries)
        self._groups = frozenset(entry.removeprefix("group:") for entry in entries if entry.startswith("group:"))
        self._names = frozenset(entry for entry in entries if not entry.startswith("group:"))

    def __contains__(self, consumer: Consumer) -> bool:
        return consumer.name in self._names or not self._groups.isdisjoint(consumer.groups)
