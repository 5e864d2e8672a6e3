"""The callers that key-auth's own configuration names, kept small: there may be a million of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeAlias, overload

from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
    model_validator,
)

from ....config.models import Names
from ....headers import header_value
from ....plugin import Field, PluginConfig
from .api_keys import ApiKey, KeyField, KeyFields, digest_of
from .expiry import Expiry

MAX_NAME_LENGTH = 256
"""Characters."""


class KeyConsumer(PluginConfig):
    """A caller and its keys; a declared consumer of the same name gets them in addition to its own."""

    name: str = Field(
        min_length=1, max_length=MAX_NAME_LENGTH, description="Name of the consumer; what the service is told."
    )
    credential: KeyField | None = Field(None, description="Its key, `env:NAME`, `file:path`, or a digest of it.")
    credentials: KeyFields = Field(
        (), description="Several keys, instead of `credential`; one that ends is `{credential: ..., expires: ...}`."
    )
    expires: Expiry | None = Field(
        None, description="When `credential` ends, such as 2027-01-31T00:00:00Z (RFC 3339); unset: never."
    )
    keys: Names = Field((), description="Names to look for its key under, instead of the plug-in's `keys`.")
    in_query: bool | None = Field(None, description="Whether its key may stand in the query; unset: as for all.")
    in_header: bool | None = Field(None, description="Whether its key may stand in a header; unset: as for all.")
    in_cookie: bool | None = Field(None, description="Whether its key may stand in a cookie; unset: as for all.")

    @model_validator(mode="after")
    def _complete(self) -> KeyConsumer:
        if (self.credential is not None) == bool(self.credentials):
            raise ValueError(f"consumer {self.name!r} should have either `credential` or `credentials`")
        if self.expires is not None and self.credential is None:
            raise ValueError(f"consumer {self.name!r} should have `expires` in each of its `credentials` that ends")
        header_value(self.name.encode())
        return self

    @property
    def all_keys(self) -> tuple[ApiKey, ...]:
        """The key, or the keys."""
        if self.credential is None:
            return self.credentials
        if self.expires is None:
            return (self.credential,)
        return (self.credential.until(self.expires.timestamp()),)


class PackedConsumers(Sequence[KeyConsumer]):
    """Consumers in the order of the configuration.

    Most have a name, a key, and nothing else that would have to be remembered. Of these the digest is kept, and the
    model is made when somebody asks for it.
    """

    __slots__ = ("_kept", "_names")

    def __init__(self, names: Iterable[str] = (), kept: Iterable[KeyConsumer | bytes] = ()) -> None:
        self._names = tuple(names)
        self._kept = tuple(kept)

    @classmethod
    def of(cls, consumers: Sequence[KeyConsumer]) -> PackedConsumers:
        """Return `consumers` packed, or themselves if they are."""
        if isinstance(consumers, cls):
            return consumers
        return cls((consumer.name for consumer in consumers), consumers)

    def packed(self) -> Iterator[tuple[str, KeyConsumer | bytes]]:
        """Yield each name with the digest of its key, or with the model when there is more to know than that."""
        return zip(self._names, self._kept, strict=True)

    def models(self) -> Iterator[KeyConsumer]:
        """Yield those of which more is known than a digest."""
        return (kept for kept in self._kept if not isinstance(kept, bytes))

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[KeyConsumer]:
        return (_model(name, kept) for name, kept in self.packed())

    @overload
    def __getitem__(self, index: int) -> KeyConsumer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[KeyConsumer, ...]: ...
    def __getitem__(self, index: int | slice) -> KeyConsumer | tuple[KeyConsumer, ...]:
        if isinstance(index, slice):
            return tuple(map(_model, self._names[index], self._kept[index]))
        return _model(self._names[index], self._kept[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackedConsumers) and (self._names, self._kept) == (other._names, other._kept)

    def __hash__(self) -> int:
        return hash((self._names, self._kept))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _model(name: str, kept: KeyConsumer | bytes) -> KeyConsumer:
    if not isinstance(kept, bytes):
        return kept
    return KeyConsumer.model_construct({"name", "credential"}, name=name, credential=ApiKey(kept))


def _lone_digest(item: Any) -> bytes | None:
    """Return the digest of the key of a consumer that is right and has nothing else; None: the model must judge."""
    if type(item) is not dict or len(item) != 2:
        return None
    name, key = item.get("name"), item.get("credential")
    if type(name) is not str or type(key) is not str or not 0 < len(name) <= MAX_NAME_LENGTH:
        return None
    try:
        header_value(name.encode())
        return digest_of(key)
    except ValueError:
        return None


def _pack(value: Any, models_of: ValidatorFunctionWrapHandler) -> PackedConsumers:
    """Make models only of the consumers that need one: a thousand of them took longer than all else of a start."""
    if isinstance(value, PackedConsumers):
        return value
    if not isinstance(value, (list, tuple)):
        return PackedConsumers.of(models_of(value))
    digests = list(map(_lone_digest, value))
    try:
        models = iter(models_of([item for item, digest in zip(value, digests, strict=True) if digest is None]))
    except ValidationError:
        models_of(value)  # raises with their places in the whole list
        raise
    kept = [next(models) if digest is None else digest for digest in digests]
    names = (item["name"] if isinstance(one, bytes) else one.name for item, one in zip(value, kept, strict=True))
    return PackedConsumers(names, kept)


def _unpack(consumers: Sequence[KeyConsumer], written: SerializerFunctionWrapHandler) -> Any:
    return written(tuple(consumers))


KeyConsumers: TypeAlias = Annotated[tuple[KeyConsumer, ...], WrapValidator(_pack), WrapSerializer(_unpack)]
"""A field of consumers; what validation leaves there are PackedConsumers."""
