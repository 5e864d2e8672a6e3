"""From the bytes of a token to whom it stands for: read, verified, matched, timed, and remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from .jwks import RemoteKeys
from .keys import KeySet
from .rules import Rule, Source
from .token import Claims, HeaderCache, MalformedToken, Token
from .verdicts import Verdict, Verdicts, verdict_of

if TYPE_CHECKING:
    from ....exchange import Exchange, Refusal


class Refusals(NamedTuple):
    """What a caller is told whose token is no good."""

    invalid: Refusal
    expired: Refusal
    early: Refusal
    no_keys: Refusal


class Wanted(NamedTuple):
    """Nobody can tell before these key sets have been fetched."""

    remotes: tuple[RemoteKeys, ...]


class Verifier:
    """Judges tokens by the sources of keys of one configuration."""

    __slots__ = ("_any_issuer", "_by_issuer", "_headers", "_limit", "_refusals", "remotes", "verdicts")

    def __init__(self, sources: Sequence[Source], refusals: Refusals, limit: int) -> None:
        self._any_issuer = tuple(source for source in sources if None in source.issuers)
        issuers = {issuer for source in sources for issuer in source.issuers if issuer is not None}
        self._by_issuer = {issuer: _of_issuer(sources, issuer) for issuer in issuers}
        self._refusals = refusals
        self._limit = limit
        self._headers = HeaderCache()
        self.verdicts = Verdicts()
        self.remotes = [source.remote for source in sources if source.remote is not None]

    def known(self, text: bytes, exchange: Exchange, now: float) -> Verdict | None:
        """Return the verdict if the token is remembered, and what it rests on still holds."""
        if len(text) > self._limit:
            return None
        verdict = self.verdicts.get(sha256(text).digest())
        if verdict is None or not verdict.since <= now < verdict.until or not verdict.holds(exchange):
            return None
        return verdict

    def judge(self, text: bytes, exchange: Exchange, now: float, *, last: bool) -> Verdict | Refusal | Wanted:
        """Judge a token at `now`, seconds since the epoch; with `last` by the key sets there are, without waiting for more."""
        refusals = self._refusals
        if len(text) > self._limit:
            return refusals.invalid
        try:
            token = Token(text, self._headers)
        except MalformedToken:
            return refusals.invalid
        wanted: list[RemoteKeys] = []
        verified: list[tuple[Rule, Claims]] = []
        resting: list[tuple[RemoteKeys, KeySet]] = []
        keyless = False
        for source in self._sources(token):
            keys, lacking = self._keys(source, token, exchange, last=last)
            claims = token.verified(keys, self._headers) if keys is not None else None
            if claims is not None:
                verified.extend((rule, claims) for rule in source.matching(claims, token.algorithm))
                if source.remote is not None and keys is not None:
                    resting.append((source.remote, keys))
            elif lacking and source.remote is not None and not last:
                wanted.append(source.remote)
            keyless = keyless or keys is None
        timed = [(rule.timing(claims, now), rule, claims) for rule, claims in verified]
        good = [(rule, claims) for timing, rule, claims in timed if timing == "good"]
        if good:
            verdict = verdict_of(good, now, resting)
            if len(good) == len(timed):  # else time alone could make it stand for somebody else
                self.verdicts.keep(sha256(text).digest(), verdict)
            return verdict
        timings = {timing for timing, _, _ in timed}
        if "expired" in timings or "early" in timings:
            return refusals.expired if "expired" in timings else refusals.early
        if wanted:
            return Wanted(tuple(wanted))
        return refusals.no_keys if keyless else refusals.invalid

    def _sources(self, token: Token) -> Iterable[Source]:
        return self._by_issuer.get(token.issuer, self._any_issuer) if token.issuer is not None else self._any_issuer

    def _keys(self, source: Source, token: Token, exchange: Exchange, *, last: bool) -> tuple[KeySet | None, bool]:
        """Return the keys to try, and whether a fetch could bring the one that is missing."""
        remote = source.remote
        if remote is None:
            return source.inline, False
        keys = remote.last_known(exchange) if last else remote.current(exchange)
        if last or (keys is not None and keys.knows(token.kid)):
            return keys, False
        lacking = remote.worth_waiting(exchange)
        return (keys, lacking) if keys is not None or lacking else (remote.last_known(exchange), False)


def _of_issuer(sources: Iterable[Source], issuer: str) -> tuple[Source, ...]:
    return tuple(source for source in sources if issuer in source.issuers or None in source.issuers)
