"""Verified tokens, remembered for a while: which consumers each stands for, and until when that is certain."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ....consumers import Consumer
from .rules import Fields, Rule, fields_of
from .token import Claims

if TYPE_CHECKING:
    from ....exchange import Exchange
    from .jwks import RemoteKeys
    from .keys import KeySet

MAX_VERDICTS: Final = 10_000
MAX_SECONDS: Final = 300.0
"""How long a token is known without looking at it again."""


class Match:
    """A consumer that a verified token stands for, and what follows from the token."""

    __slots__ = ("claims", "consumer", "fields", "keep_token", "lacks_scope", "places")

    def __init__(self, rule: Rule, claims: Claims) -> None:
        self.consumer: Consumer = rule.consumer
        self.claims: Mapping[str, Any] = MappingProxyType(claims.values)
        self.places = rule.places
        self.keep_token = rule.keep_token
        self.lacks_scope = not rule.scopes <= claims.scopes
        fields = fields_of(rule.headers, claims) if rule.headers else None
        self.fields: Fields | None = fields if fields and fields.added else None


class Verdict:
    """What a verified token stands for, from `since` to before `until`, seconds since the epoch."""

    __slots__ = ("_keys", "matches", "since", "until")

    def __init__(
        self, matches: tuple[Match, ...], since: float, until: float, keys: list[tuple[RemoteKeys, KeySet]]
    ) -> None:
        self.matches = matches
        self.since = since
        self.until = until
        self._keys = tuple(keys)

    def holds(self, exchange: Exchange) -> bool:
        """Whether the published key sets that it rests on are still in force."""
        return not self._keys or all(remote.current(exchange) is keys for remote, keys in self._keys)


def verdict_of(judged: list[tuple[Rule, Claims]], now: float, keys: list[tuple[RemoteKeys, KeySet]]) -> Verdict:
    """Return the verdict on a token, which ends with it, without the tolerance for clocks.

    When the clock is set back by more than that tolerance, the token is looked at again.
    """
    judged = sorted(judged, key=lambda pair: pair[0].order)
    matches = tuple(Match(rule, claims) for rule, claims in judged)
    claims = judged[0][1]
    skew = min(rule.skew for rule, _ in judged)
    since = max(claims.begins, now) - skew
    until = min(now + MAX_SECONDS, now + MAX_SECONDS if claims.expires is None else claims.expires)
    return Verdict(matches, since, until, keys)


class Verdicts:
    """Verdicts by the SHA-256 of the whole token; of the older half, those not asked for again are forgotten."""

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, most: int = MAX_VERDICTS) -> None:
        self._half = max(1, most // 2)
        self._young: dict[bytes, Verdict] = {}
        self._old: dict[bytes, Verdict] = {}

    def get(self, digest: bytes) -> Verdict | None:
        """Return what is remembered of a token."""
        verdict = self._young.get(digest)
        if verdict is None and self._old:
            verdict = self._old.pop(digest, None)
            if verdict is not None:
                self.keep(digest, verdict)
        return verdict

    def keep(self, digest: bytes, verdict: Verdict) -> None:
        """Remember the verdict on a token."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[digest] = verdict

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
