"""What one dialect demands of a signed request: which coverage, which time, which body, and that the signature is right."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from ....exchange import Exchange, Refusal, Request
from ....headers import header_name
from ...nonces import Nonces
from .claims import Claim, is_digest_of, is_md5_of, said_time
from .consumers import SigningKey
from .refusals import Refusals
from .signing import Dialect, Parameters, is_form, path_of, signature_of, signature_string, x_ca_string

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ....plugin import Plugin
    from .config import HmacAuthConfig

NONCE_SECONDS: Final = 900
"""How long a nonce is remembered when no window says for how long its request could come again."""
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Rules:
    """The demands of one dialect under one configuration. Methods return None or False where all is well."""

    def __init__(self, plugin: Plugin[HmacAuthConfig], dialect: Dialect) -> None:
        config, build = plugin.config, plugin.context
        upstream = build.error_format == "upstream"
        self.refusals = refusals = Refusals(dialect, config.dialects, config.realm, upstream=upstream)
        self._x_ca = dialect == "x-ca"
        self._not_covered = tuple(refusals.not_covered(config.required(dialect)).items())
        self._algorithms = frozenset(config.allowed_algorithms)
        self._window = config.window(dialect)
        self._covers = config.require_coverage
        self._validates = config.validates
        self._exact = not self._x_ca or config.exact_query
        self._ambiguous = config.ambiguous_parameters == "refuse"
        self._debug = config.debug
        self._nonce_header = header_name(config.nonce_header)
        self._needs_nonce = config.require_nonce
        self._hashed = build.keyring.hasher("hmac-auth")
        seconds = 2 * self._window + 1 if self._window else NONCE_SECONDS  # from the caller's clock ahead to it behind
        used, unavailable = refusals["nonce_used"], refusals["unavailable"]
        self._nonces = Nonces(plugin, seconds, used, unavailable, config.on_store_failure)

    # ------------------------------------------------------------------ what no signature makes good

    def unacceptable(self, exchange: Exchange, claim: Claim) -> Refusal | None:
        """Refuse by algorithm, coverage and time, without looking at a key."""
        refusals = self.refusals
        if claim.algorithm not in self._algorithms:
            return refusals["invalid_algorithm"]
        for name, refusal in self._not_covered:
            if name not in claim.covered:
                return refusal if claim.listed or self._x_ca else refusals["no_headers"]
        if self._window:
            said = said_time(claim, covered=self._covers)
            if said is None:
                absent = not self._x_ca and b"date" not in claim.fields
                return refusals["missing_date" if absent else "invalid_date"]
            if abs(exchange.ports.clock.now() - said) > self._window:
                return refusals["invalid_date" if self._x_ca else "clock_skew"]
        if self._needs_nonce and self._nonce(claim) is None:
            return refusals["missing_nonce"]
        return None

    # ------------------------------------------------------------------ the body

    def look_at_body(self, exchange: Exchange, claim: Claim) -> bool | Refusal:
        """Whether the body must be looked at, or a refusal without it; sets whether the signature waits for it."""
        fields = claim.fields
        length = fields.get(b"content-length")
        known = length is not None and length != b"0"
        digest = self._digest(claim)
        if not known and (length is not None or not _may_have_body(exchange, claim)):
            return self.refusals["invalid_digest"] if digest == b"content-md5" else False
        claim.unverified = not self._exact and is_form(fields)
        if digest is None and self._validates and not claim.unverified:
            return self.refusals["invalid_digest"] if known else True
        return claim.unverified or digest is not None

    def wrong_body(self, claim: Claim, body: bytes) -> Refusal | None:
        """Refuse a body that is not the one that was signed. `body` is as it was received."""
        digest = self._digest(claim)
        if digest is None:
            right = claim.unverified or not body or not self._validates
        elif digest == b"content-md5":
            right = bool(body) and is_md5_of(claim.fields[digest], body)
        else:
            right = is_digest_of(claim.fields[digest], body)
        return None if right else self.refusals["invalid_digest"]

    def _digest(self, claim: Claim) -> bytes | None:
        """Return the name of the header whose digest of the body counts."""
        fields = claim.fields
        if self._x_ca and fields.get(b"content-md5"):
            return b"content-md5"
        counts = self._validates and (not self._covers or b"digest" in claim.covered)
        return b"digest" if counts and b"digest" in fields else None

    # ------------------------------------------------------------------ the signature

    def wrong_signature(
        self, request: Request, claim: Claim, key: SigningKey | None, form: bytes = b""
    ) -> Refusal | None:
        """Refuse a signature that is not one of this request by this key; takes its time for an unknown key too."""
        path = path_of(request)
        if self._exact:
            targets: tuple[bytes, ...] = (path + b"?" + request.query if request.query else path,)
        else:
            parameters = Parameters(request.query, form)
            if parameters.ambiguous and self._ambiguous:
                return self.refusals["ambiguous"]
            targets = parameters.targets(path)
        secret = key.secret if key is not None else b""
        right = False
        for target in targets:
            text = self._text(request, claim, target)
            right |= compare_digest(signature_of(secret, text, claim.algorithm), claim.signature)
        if right and key is not None:
            return None
        problem = "unknown_key" if key is None else "mismatch"
        if self._debug:
            return self.refusals.explained(problem, self._text(request, claim, targets[0]))
        return self.refusals[problem]

    def _text(self, request: Request, claim: Claim, target: bytes) -> bytes:
        if self._x_ca:
            return x_ca_string(request.method, claim.fields, claim.listed, target)
        return signature_string(claim.key_id, request.method, claim.fields, claim.listed, target)

    # ------------------------------------------------------------------ once

    def _nonce(self, claim: Claim) -> bytes | None:
        """Return what the caller says may be used once; None when it is absent, or could be changed by others."""
        return (claim.fields.get(self._nonce_header) or None) if self._nonce_header in claim.covered else None

    def came_before(self, exchange: Exchange, claim: Claim) -> Refusal | Coroutine[Any, Any, Refusal | None] | None:
        """Refuse a verified request whose nonce, or, without one, whose signature was used; else remember it."""
        nonce = self._nonce(claim)
        once = b"\0signature " + claim.signature if nonce is None else b"\0nonce " + nonce
        return self._nonces.use(exchange, self._hashed((claim.key_id + once).decode("latin-1")))


def _may_have_body(exchange: Exchange, claim: Claim) -> bool:
    """Whether a body can follow without a length: HTTP/2 announces none, and some hosts call it 1.1."""
    if exchange.kind == "websocket":
        return False
    request = exchange.request
    return b"transfer-encoding" in claim.fields or request.method not in _BODILESS or request.http_version[:2] != "1."
