"""Lists of addresses that are let in or shut out, written in the configuration or in files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Self

from pydantic import field_validator, model_validator

from ...addresses import AddressSet, Network, parse_address, parse_network
from ...config.files import Files
from ...config.models import Names
from ...errors import ConfigError, Problem
from ...exchange import Refusal
from ...plugin import FailurePolicy, Field, PluginConfig

MAX_PROBLEMS: Final = 20
MAX_REMEMBERED: Final = 4_096  # clients whose verdict is kept: it follows from the lists, so it is never out of date


class AddressListsConfig(PluginConfig):
    """Who may come in, by address."""

    allow: Names = Field((), description="Addresses and CIDRs that may come in; all others are refused.")
    deny: Names = Field((), description="Addresses and CIDRs that are refused, those that `allow` has included.")
    allow_files: Names = Field(
        (), description="Files with more of `allow`, one a line; `#` begins a comment. They are watched for changes."
    )
    deny_files: Names = Field((), description="Files with more of `deny`, in the same form.")
    on_unknown_client: FailurePolicy = Field(
        "deny",
        description="What happens where the client's address is not known: `deny`, or `allow`, which no `allow` list does.",
    )

    @field_validator("allow", "deny")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AddressSet(value)
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.allow or self.deny or self.allow_files or self.deny_files):
            raise ValueError("should have `allow` or `deny`, for example `deny: [192.0.2.0/24]`, or files of them")
        return self


class AddressGate:
    """The lists of one configuration, and what they say of a client. Raises ConfigError for what a file has wrong.

    `body` is what compatible gateways send.
    """

    __slots__ = ("_admits", "_refused", "_unknown")

    def __init__(
        self, config: AddressListsConfig, files: Files, *, status: int, code: str, text: str, body: bytes
    ) -> None:
        problems: list[Problem] = []
        allowed = [*_written(config.allow), *_read(config.allow_files, "allow_files", files, problems)]
        denied = [*_written(config.deny), *_read(config.deny_files, "deny_files", files, problems)]
        if problems:
            more = len(problems) - MAX_PROBLEMS
            raise ConfigError(
                [*problems[:MAX_PROBLEMS], *([Problem("", f"and {more} more lines")] if more > 0 else [])]
            )
        # A file that became empty lets nobody in: only a list that nobody asked for lets everybody.
        allow = AddressSet.of(allowed) if config.allow or config.allow_files else None
        verdict = _Verdict(allow, AddressSet.of(denied), config.on_unknown_client == "allow")
        self._admits = lru_cache(MAX_REMEMBERED)(verdict)
        self._refused = Refusal(status, code, text, upstream=("text/plain", body))
        self._unknown = Refusal(status, "client_address_unknown", text, upstream=("text/plain", body))

    def judge(self, address: str | None) -> Refusal | None:
        """Return None if the client with this address may come in; None as an address: it is not known."""
        if self._admits(address):
            return None
        return self._refused if address and parse_address(address) is not None else self._unknown


class _Verdict:
    """Judges an address by two lists; `deny` has the last word."""

    __slots__ = ("_allow", "_deny", "_unknown")

    def __init__(self, allow: AddressSet | None, deny: AddressSet, unknown: bool) -> None:
        self._allow = allow
        self._deny = deny
        self._unknown = unknown and allow is None

    def __call__(self, address: str | None) -> bool:
        packed = parse_address(address) if address else None
        if packed is None:
            return self._unknown
        return packed not in self._deny and (self._allow is None or packed in self._allow)


def _written(texts: tuple[str, ...]) -> Iterator[Network]:
    """Yield the networks of a list that was found right."""
    return filter(None, map(parse_network, texts))


def _read(names: tuple[str, ...], key: str, files: Files, problems: list[Problem]) -> Iterator[Network]:
    """Yield the networks of files, and note what is wrong with them. Lines are not repeated: they may be anything."""
    for name in names:
        try:
            data = files.read(name, key)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            network = parse_network(text)
            if network is None:
                message = "should be an address or a network such as 192.0.2.0/24"
                problems.append(Problem("", f"{key}: {name}, line {number}: {message}"))
            else:
                yield network
