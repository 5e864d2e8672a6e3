"""The configuration of hmac-auth."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from ....config.models import HeaderName, Names
from ....headers import header_name
from ....plugin import Field
from ...nonces import StoreFailure
from ..policy import AuthConfig
from .consumers import HmacConsumer, HmacCredential
from .signing import ALWAYS_COVERED, REQUEST_TARGET, Algorithm, Dialect


class HmacAuthConfig(AuthConfig):
    """Who has which secret, what a signature must cover, and for how long it holds."""

    consumers: tuple[HmacConsumer, ...] = Field((), description="Callers, their key ids and secrets.")
    credentials: tuple[HmacCredential, ...] = Field(
        (), description="Instead of `consumers`: keys that let in whoever signs with one, without a name."
    )
    dialects: tuple[Dialect, ...] = Field(
        ("x-ca", "signature"), description="Dialects that are read: `x-ca`, `signature`."
    )
    allowed_algorithms: tuple[Algorithm, ...] = Field(
        ("hmac-sha1", "hmac-sha256", "hmac-sha512"), description="Algorithms that a caller may choose."
    )
    date_offset: int | None = Field(
        None,
        description="Dialect `x-ca`: seconds that the caller's time may differ from ours; 0 or less: any time holds; "
        "unset: as `clock_skew`.",
    )
    clock_skew: int = Field(
        300, description="Seconds that the caller's time may differ from ours; 0 or less: any time holds."
    )
    signed_headers: Names = Field((), description="Headers that every signature must cover, besides those below.")
    require_coverage: bool = Field(
        True,
        description="Whether every signature must cover method and target, the time, and the digest of a body.",
    )
    validate_request_body: bool | None = Field(
        None,
        description="Whether a body needs a digest, which is checked; unset: as `require_coverage`. A `Content-MD5` of "
        "dialect `x-ca` is always checked.",
    )
    ambiguous_parameters: Literal["refuse", "allow"] = Field(
        "refuse",
        description="Dialect `x-ca`: what happens to queries and forms whose string to sign others have too: a name that "
        "is repeated, of which only the first value is covered; `&` in a value, `=` in a name, broken escapes.",
    )
    exact_query: bool = Field(
        False,
        description="Dialect `x-ca`: the string to sign has the query as it is sent, not decoded and sorted, and nothing "
        "of a form, which needs a digest then.",
    )
    nonce_header: HeaderName = Field(
        "X-Ca-Nonce", description="Header whose value may be used once by a key, if the signature covers it."
    )
    require_nonce: bool = Field(False, description="Refuse signatures that cover no nonce.")
    refuse_replays: bool = Field(
        True, description="Accept a nonce, or a signature without one, once in the time for which it holds."
    )
    on_store_failure: StoreFailure = Field(
        "deny",
        description="The store cannot say whether a nonce was used: `deny` (503) or `allow`. A full one always denies.",
    )
    hide_credentials: bool = Field(
        False, description="Take away `Authorization`, or the `x-ca-signature*` headers, before the service sees them."
    )
    anonymous_consumer: str = Field(
        "",
        max_length=256,
        description="Name of the consumer that callers are who sign nothing; unset: they are refused.",
    )
    debug: bool = Field(
        False, description="Tell callers whose signature is wrong the string that they should have signed."
    )

    @field_validator("dialects", "allowed_algorithms")
    @classmethod
    def _some(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("should name at least one, else nobody could be let in")
        return names

    @field_validator("signed_headers")
    @classmethod
    def _are_headers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name != REQUEST_TARGET.decode():
                header_name(name)
        return names

    @model_validator(mode="after")
    def _consistent(self) -> HmacAuthConfig:
        if self.consumers and self.credentials:
            raise ValueError("should have either `consumers` or `credentials`; in a rule, set the other one to []")
        if self.require_nonce and not self.refuse_replays:
            raise ValueError("`require_nonce` needs `refuse_replays`: nobody looks at the nonce otherwise")
        return self

    def window(self, dialect: Dialect) -> int:
        """Return the seconds that a caller's time may differ from ours; 0: any time holds."""
        seconds = self.date_offset if dialect == "x-ca" and self.date_offset is not None else self.clock_skew
        return max(seconds, 0)

    def required(self, dialect: Dialect) -> list[bytes]:
        """Return the headers that a signature must list; some stand in every string of dialect `x-ca`."""
        names = [name.lower().encode() for name in self.signed_headers]
        if dialect == "x-ca":
            return [name for name in names if name not in ALWAYS_COVERED and name != REQUEST_TARGET]
        if self.require_coverage:
            names = [REQUEST_TARGET, *([b"date"] if self.window(dialect) else []), *names]
        return list(dict.fromkeys(names))

    @property
    def validates(self) -> bool:
        """Whether a body needs a digest."""
        return self.require_coverage if self.validate_request_body is None else self.validate_request_body
