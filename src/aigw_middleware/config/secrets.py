"""Secrets that cannot be printed, and the keys derived from the configuration's own secret.

A `Secret` field takes the value itself, `env:NAME` or `file:path`; references are read once, at validation, and only
from local configuration. Whatever formats, compares or serialises a configuration sees the reference.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MIN_SECRET_BYTES = 32
MAX_SECRET_FILE_BYTES = 1 << 20


class Secret:
    """A value that only `reveal()` gives out; `repr`, `str` and formatting show where it came from."""

    __slots__ = ("_value", "reference")

    def __init__(self, value: str, reference: str = "") -> None:
        self._value = value
        self.reference = reference
        """`env:NAME` or `file:path` when it was read from there, else empty."""

    def reveal(self) -> str:
        """Return the value itself: for the one place that needs it, never for a message."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.reference or '***'})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(hashlib.sha256(self._value.encode()).digest())

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not pickled")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda secret: secret.reference or "***"),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "password"}

    @classmethod
    def _validate(cls, value: object, info: ValidationInfo) -> Secret:
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise PydanticCustomError("secret_type", "should be a string, `env:NAME` or `file:path`")
        local = bool((info.context or {}).get("local", True))
        return read_secret(value, local=local)


def read_secret(text: str, *, local: bool = True) -> Secret:
    """Resolve `env:NAME` and `file:path`. Raises PydanticCustomError when the source is missing or empty."""
    kind, _, name = text.partition(":")
    if kind == "env" and name:
        _require_local(local, text)
        value = os.environ.get(name)
        if not value:
            raise PydanticCustomError(
                "secret_missing", "environment variable {name} is not set or empty", {"name": name}
            )
        return Secret(value, text)
    if kind == "file" and name:
        _require_local(local, text)
        try:
            with Path(name).open("rb") as file:
                value = file.read(MAX_SECRET_FILE_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
            raise PydanticCustomError(
                "secret_missing", "file {name}: {reason}", {"name": name, "reason": reason}
            ) from None
        if not value:
            raise PydanticCustomError("secret_missing", "file {name} is empty", {"name": name})
        return Secret(value, text)
    if not text:
        raise PydanticCustomError("secret_missing", "a secret must not be empty")
    return Secret(text)


def _require_local(local: bool, reference: str) -> None:
    if not local:
        raise PydanticCustomError(
            "secret_remote", "{reference} is only read from local configuration", {"reference": reference}
        )


class Keyring:
    """Keys for one purpose each, derived from a secret by HKDF-SHA256 (RFC 5869) with the purpose as its info.

    `generations` are the current secret and, for reading only, the previous ones of a rotation.
    """

    __slots__ = ("_generations", "random")

    def __init__(self, secrets: Sequence[bytes], *, random: bool = False) -> None:
        self._generations = tuple(
            hmac.digest(b"aigw_middleware", secret, "sha256") for secret in secrets
        )  # HKDF-Extract
        self.random = random
        """True when the key was made up for this process: then nothing derived from it outlives the process."""

    def key(self, label: str) -> bytes:
        """Return the 32-byte key of the current secret for `label`."""
        return _expand(self._generations[0], label)

    def keys(self, label: str) -> list[bytes]:
        """Return the keys for `label`, current first, then those of the previous secrets."""
        return [_expand(generation, label) for generation in self._generations]

    def hasher(self, label: str) -> Callable[[str], str]:
        """Return a function from an identity to its keyed hash (32 hexadecimal digits), for keys in stores."""
        key = self.key(label)

        def digest(text: str) -> str:
            return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), key=key, digest_size=16).hexdigest()

        return digest

    def __repr__(self) -> str:
        return f"Keyring({len(self._generations)} generations)"


def _expand(pseudo_random_key: bytes, label: str) -> bytes:
    return hmac.digest(pseudo_random_key, label.encode() + b"\x01", "sha256")  # HKDF-Expand, one block


@functools.cache
def process_keyring() -> Keyring:
    """Return a keyring made up for this process: enough while every store is in memory."""
    return Keyring([os.urandom(MIN_SECRET_BYTES)], random=True)
