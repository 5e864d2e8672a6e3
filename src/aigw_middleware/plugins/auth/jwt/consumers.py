"""From a configuration to what tokens are judged by: consumers, their sources of keys, the places of their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from ....config.problems import problems_of
from ....consumers import ANONYMOUS, Consumer
from ....errors import ConfigError, Problem
from ....plugin import Build
from .config import Credential, JwtAuthConfig, TokenConfig, credential_of
from .jwks import RemoteKeys
from .key_set import read_key_set
from .keys import library
from .places import HEADER, Finder, places_of
from .rules import Rule, Source

Entry = tuple[Consumer, Credential, str, str]
"""Whose credential, the credential, and where it stands: path and words."""


class Compiled:
    """A configuration, compiled; `problems` lists what is wrong with it, `warnings` what may not have been meant.

    Raises ConfigError without the library.
    """

    def __init__(self, config: JwtAuthConfig, build: Build, name: str) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self._config = config
        self._build = build
        self._name = name
        self._by_text: dict[str, Source | None] = {}
        self._by_address: dict[RemoteKeys, Source] = {}
        library()
        entries = list(self._entries())
        places = [places_of(credential) for _, credential, _, _ in entries]
        self.finder = Finder(dict.fromkeys(place for some in places or [places_of(config)] for place in some))
        """Finds the tokens of a request."""
        self.headers = tuple({item.header.lower(): None for _, one, _, _ in entries for item in one.claims_to_headers})
        """Names of the headers that claims become."""
        carriers = {place.name.decode("latin-1") for place in self.finder.places if place.kind == HEADER}
        for header in carriers.intersection(self.headers):
            self._problem("", f"claims_to_headers: {header} carries tokens, so no claim can be put there")
        for order, ((consumer, credential, path, words), some) in enumerate(zip(entries, places, strict=True)):
            source = self._source(credential, path, words, consumer)
            if source is None:
                continue
            double = source.add(Rule(consumer, credential, self.finder.bits(some), order))
            if double is not None and double.consumer.name != consumer.name:
                names = f"{double.consumer.name!r} and {consumer.name!r}"
                self._problem(path, f"consumers {names} have the same credential", "tell them apart by `claims`")
        self.sources = [
            source for source in (*self._by_text.values(), *self._by_address.values()) if source is not None
        ]
        """Where keys come from, each with its consumers."""

    def _problem(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path, message, hint))

    # ------------------------------------------------------------------ consumers

    def _entries(self) -> Iterator[Entry]:
        config, declared = self._config, self._build.consumers
        for number, inline in enumerate(config.consumers):
            known = declared.get(inline.name)
            where = f"consumers[{number}]"
            yield known or Consumer(inline.name), inline.completed(config), "", where
            if known is not None and not any(other.name == inline.name for other in config.consumers[:number]):
                yield from self._declared(known)
        if config.consumers:
            return
        consumers = declared.having(self._name)
        for consumer in consumers:
            yield from self._declared(consumer)
        if not consumers and (config.jwks or config.remote_jwks):
            common = {name: getattr(config, name) for name in TokenConfig.model_fields}
            yield ANONYMOUS, Credential.model_construct(claims={}, **common), "", "the plug-in"

    def _declared(self, consumer: Consumer) -> Iterator[Entry]:
        given: Any = consumer.credentials.get(self._name, ())
        for number, item in enumerate(given if isinstance(given, (list, tuple)) else [given]):
            words = f"{consumer.name!r}, credentials.{self._name}[{number}]"
            try:
                credential = credential_of(item)
            except ValidationError as error:
                for problem in problems_of(error, "", Credential):
                    place = f"{words}.{problem.path}" if problem.path else words
                    self._problem("consumers", f"{place}: {problem.message}", problem.hint)
                continue
            yield consumer, credential.completed(self._config), "consumers", words

    # ------------------------------------------------------------------ keys

    def _source(self, credential: Credential, path: str, words: str, consumer: Consumer) -> Source | None:
        remote = credential.remote()
        if remote is not None:
            if remote not in self._by_address:
                self._by_address[remote] = Source(remote)
                if urlsplit(remote.url).scheme != "https":
                    self.warnings.append(f"{words} fetches keys without TLS: whoever stands between can replace them")
            return self._by_address[remote]
        if credential.jwks is None:
            self._problem(path, f"{words} has no keys", "jwks: env:JWKS, or remote_jwks: {url: https://...}")
            return None
        text = credential.jwks.reveal()
        if text not in self._by_text:
            self._by_text[text] = self._inline(text, path, words, consumer)
        return self._by_text[text]

    def _inline(self, text: str, path: str, words: str, consumer: Consumer) -> Source | None:
        try:
            keys = read_key_set(text.encode())
        except ConfigError:
            raise
        except ValueError as error:
            self._problem(path, f"{words}.jwks {error}")
            return None
        self.warnings.extend(f"of the keys of {words}, {note}" for note in keys.notes)
        if keys.short:
            self.warnings.append(f"{words} has a shared secret of less than 32 bytes: it can be guessed")
        return Source(keys)
