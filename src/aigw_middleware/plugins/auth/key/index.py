"""All keys of a plug-in by the places where they may stand, and whose key a value is."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Protocol, TypeAlias

from ....config.secrets import Keyring
from ....consumers import Consumer
from ....errors import Problem
from .api_keys import HEADER, KEYRING_LABEL, ORIGINAL_AUTHORIZATION, QUERY, ApiKey, Place
from .expiry import NEVER, Expiring

Owner: TypeAlias = "Consumer | str | Expiring"
"""Whose a key is: a consumer, only its name when nothing else is known of it, or either of them until the key ends."""
Table: TypeAlias = dict[bytes, Owner]
"""Whose keys have these digests."""


class Filed(Protocol):
    """Keys of a file, found like those of a table."""

    @property
    def keyed(self) -> bool: ...
    def get(self, digest: bytes, /) -> Owner | None: ...


class KeyIndex:
    """All keys of a plug-in by the places where they may stand.

    `problems` lists what is wrong, naming consumers and no key; `weak` the names of consumers with short keys.
    """

    def __init__(
        self,
        entries: Iterable[tuple[Consumer | str, ApiKey, tuple[Place, ...]]],
        keyring: Keyring,
        filed: tuple[Filed, tuple[Place, ...]] | None = None,
    ) -> None:
        self.problems: list[Problem] = []
        self.weak: dict[str, None] = {}
        tables: dict[tuple[Place, ...], Table] = {}  # one for all consumers whose keys stand in the same places
        keyed = filed is not None and filed[0].keyed
        for consumer, key, places in entries:
            self._claim(tables.setdefault(places, {}), key, consumer)
            keyed = keyed or key.keyed
            if key.short:
                self.weak[_name(consumer)] = None
        if len(tables) > 1:
            owners: Table = {}
            for table in tables.values():
                for digest, owner in table.items():
                    self._compare(owners.setdefault(digest, owner), owner)
        if keyed and keyring.random:
            self._problem("`hmac-sha256:` credentials need the secret they were made with", "secret: env:AIGW_SECRET")
        self._hmac_keys = tuple(keyring.keys(KEYRING_LABEL)) if keyed else ()
        found: dict[Place, list[Table | Filed]] = {}
        for places, table in tables.items():
            for place in places:
                found.setdefault(place, []).append(table)
        if filed is not None:
            for place in filed[1]:
                found.setdefault(place, []).append(filed[0])
            for table in tables.values():
                for digest, owner in table.items():
                    self._compare(filed[0].get(digest) or owner, owner)
        last = (HEADER, ORIGINAL_AUTHORIZATION)
        ordered = [*(place for place in found if place != last), *(place for place in found if place == last)]
        self.places = tuple((kind, name, tuple(found[kind, name])) for kind, name in ordered)
        """`(kind, name, tables)` of each place, in the order in which it is looked."""

    def _claim(self, table: Table, key: ApiKey, consumer: Consumer | str) -> None:
        owner = consumer if key.expires == NEVER else Expiring(consumer, key.expires)
        first = table.setdefault(key.digest, owner)
        if first is not owner:
            self._compare(first, owner)
            table[key.digest] = min(first, owner, key=_end)  # written twice: what ends first is meant

    def _compare(self, first: Owner, second: Owner) -> None:
        if _name(first) != _name(second):
            self._problem(f"consumers {_name(first)!r} and {_name(second)!r} have the same credential")

    def _problem(self, message: str, hint: str = "") -> None:
        self.problems.append(Problem("", message, hint))

    def find(self, value: bytes, kind: int, tables: Sequence[Table | Filed]) -> Consumer | Expiring | None:
        """Return whose key `value` is, in a header also without a `Bearer ` before it (RFC 6750, 2.1)."""
        if value[6:7] == b" " and kind == HEADER and value[:6].lower() == b"bearer":
            consumer = self.find(value[7:].strip(), QUERY, tables)
            if consumer is not None:
                return consumer
        digest = sha256(value).digest()
        for table in tables:
            found = table.get(digest)
            if found is not None:
                return Consumer(found) if isinstance(found, str) else found
        for key in self._hmac_keys:
            digest = hmac.digest(key, value, "sha256")
            for table in tables:
                found = table.get(digest)
                if found is not None:
                    return Consumer(found) if isinstance(found, str) else found
        return None


def _name(owner: Owner) -> str:
    if isinstance(owner, Expiring):
        owner = owner.owner
    return owner if isinstance(owner, str) else owner.name


def _end(owner: Owner) -> float:
    return owner.expires if isinstance(owner, Expiring) else NEVER
