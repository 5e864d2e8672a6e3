"""What hmac-auth answers, by dialect and problem, made once.

In the standard format nothing tells an unknown key from a wrong signature. `error_format: upstream` sends status and body
of the compatible gateways, which do tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ....exchange import Refusal
from ..policy import challenge
from .signing import Dialect

Row = tuple[int, str, str, int, str]
"""Status, code and text; status and text of the compatible gateways."""

_SCHEMES: Final[Mapping[Dialect, str]] = {"x-ca": "HMAC", "signature": "Signature"}
_X_CA: Final[Mapping[str, Row]] = {
    "missing_key": (401, "missing_key", "Invalid Key", 401, "Invalid Key"),
    "unknown_key": (401, "invalid_signature", "Invalid Signature", 401, "Invalid Key"),
    "empty_signature": (401, "empty_signature", "Empty Signature", 401, "Empty Signature"),
    "malformed": (401, "invalid_signature", "Invalid Signature", 400, "Invalid Signature"),
    "mismatch": (401, "invalid_signature", "Invalid Signature", 400, "Invalid Signature"),
    "invalid_algorithm": (401, "invalid_algorithm", "Invalid Signature Method", 400, "Invalid Signature"),
    "ambiguous": (
        *(400, "ambiguous_parameters", "Another query or form with another meaning would have the same signature"),
        *(400, "Invalid Signature"),
    ),
    "invalid_date": (400, "invalid_date", "Invalid Date", 400, "Invalid Date"),
    "invalid_digest": (400, "invalid_content_md5", "Invalid Content-MD5", 400, "Invalid Content-MD5"),
    "missing_nonce": (401, "missing_nonce", "A signed nonce is missing", 400, "Invalid Nonce"),
    "nonce_used": (401, "nonce_used", "Nonce Used", 400, "Nonce Used"),
    "not_allowed": (403, "unauthorized_consumer", "Unauthorized Consumer", 403, "Unauthorized Consumer"),
    "unavailable": (503, "nonce_unavailable", "The nonce cannot be checked. Try again later.", 503, "Nonce Unchecked"),
}
_PREFIX: Final = "client request can't be validated: "
_SIGNATURE: Final[Mapping[str, Row]] = {
    "missing_authorization": (
        *(401, "missing_authorization_header", "missing Authorization header"),
        *(401, "missing Authorization header"),
    ),
    "missing_key": (
        *(401, "missing_keyid_or_signature", "keyId or signature missing"),
        *(401, "keyId or signature missing"),
    ),
    "missing_algorithm": (401, "missing_algorithm", "algorithm missing", 401, "algorithm missing"),
    "unknown_key": (401, "invalid_signature", "Invalid signature", 401, "Invalid keyId"),
    "malformed": (401, "invalid_signature", "Invalid signature", 401, "keyId or signature missing"),
    "mismatch": (401, "invalid_signature", "Invalid signature", 401, "Invalid signature"),
    "invalid_algorithm": (401, "invalid_algorithm", "Invalid algorithm", 401, "Invalid algorithm"),
    "missing_date": (
        *(401, "missing_date_header", "Date header missing. failed to validate clock skew"),
        *(401, "Date header missing. failed to validate clock skew"),
    ),
    "invalid_date": (401, "invalid_gmt_format_time", "Invalid GMT format time", 401, "Invalid GMT format time"),
    "clock_skew": (401, "clock_skew_exceeded", "Clock skew exceeded", 401, "Clock skew exceeded"),
    "no_headers": (401, "headers_missing", "headers missing", 401, "headers missing"),
    "invalid_digest": (401, "invalid_digest", "Invalid digest", 401, "Invalid digest"),
    "missing_nonce": (401, "missing_nonce", "A signed nonce is missing", 401, "Invalid nonce"),
    "nonce_used": (401, "nonce_used", "Nonce used", 401, "Nonce used"),
    "not_allowed": (403, "unauthorized_consumer", "consumer is not allowed", 401, "consumer is not allowed"),
    "unavailable": (503, "nonce_unavailable", "The nonce cannot be checked. Try again later.", 503, "nonce unchecked"),
}


class Refusals:
    """The refusals of one dialect, by problem."""

    def __init__(self, dialect: Dialect, dialects: Iterable[Dialect], realm: str, *, upstream: bool) -> None:
        self._dialect = dialect
        self._upstream = upstream
        offered = ", ".join([challenge(_SCHEMES[one], realm) for one in dialects])  # RFC 9110, section 11.6.1
        self._challenges = [("www-authenticate", offered)]
        rows = _SIGNATURE if dialect == "signature" else _X_CA
        self._by_problem = {problem: self._made(*row) for problem, row in rows.items()}

    def __getitem__(self, problem: str) -> Refusal:
        return self._by_problem[problem]

    def not_covered(self, names: Iterable[bytes]) -> dict[bytes, Refusal]:
        """Return what is said when a signature does not cover a header that it must cover, by its name."""
        refusals = {}
        for name in names:
            text = f'expected header "{name.decode("latin-1")}" missing in signing'
            status, theirs = (401, text) if self._dialect == "signature" else (400, "Invalid Signature")
            refusals[name] = self._made(401, "expected_header_missing_in_signing", text, status, theirs)
        return refusals

    def not_allowed(self, name: str) -> Refusal:
        """Return the refusal of a consumer that may not enter; the compatible gateways of one dialect name it."""
        if not (self._upstream and self._dialect == "signature"):
            return self["not_allowed"]
        return self._made(403, "unauthorized_consumer", "", 401, f"consumer '{name}' is not allowed")

    def explained(self, problem: str, text: bytes) -> Refusal:
        """Return a refusal with the string to sign in a header: for whoever debugs a client."""
        known = self[problem]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "#" if byte == 10 else "?" for byte in text[:4_096])
        headers = [("x-ca-error-message", f"Server StringToSign:`{shown}`")]
        if known.status == 401:
            headers += self._challenges
        return Refusal(known.status, known.code, known.text, headers, upstream=known.upstream)

    def _made(self, status: int, code: str, text: str, their_status: int, theirs: str) -> Refusal:
        if self._dialect == "signature":  # quotes stand in the text as they are, no content type is sent
            body = ("", f'{{"message":"{_PREFIX}{theirs}"}}'.encode())
        else:
            body = ("text/plain", theirs.encode())
        status = their_status if self._upstream else status
        return Refusal(status, code, text, self._challenges if status == 401 else (), upstream=body)
