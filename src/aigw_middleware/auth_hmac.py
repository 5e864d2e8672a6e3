"""Signing requests for services that `hmac-auth` guards, here or in a gateway it is compatible with.

    client = httpx.Client(auth=HmacRequestAuth("alice-key", "secret"))
    client = httpx2.AsyncClient(auth=HmacRequestAuth("alice-key", "secret", dialect="x-ca"))

httpx and httpx2 take any callable as `auth`, in synchronous and asynchronous clients, and call it for each request that
they send; so one class, which imports neither, serves them all. Sources: see `plugins.auth.hmac.signing`.
"""

from __future__ import annotations

import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable
from email.utils import formatdate
from hashlib import md5, sha256
from typing import Any, Protocol, TypeVar

from .config.secrets import Secret
from .plugins.auth.hmac.signing import (
    HASHES,
    REQUEST_TARGET,
    X_CA_METHODS,
    Algorithm,
    Dialect,
    Parameters,
    is_form,
    joined,
    signature_of,
    signature_string,
    x_ca_string,
)


class SignableRequest(Protocol):
    """What is needed of a client's request."""

    method: str
    url: Any
    headers: Any

    @property
    def content(self) -> bytes:
        """The body; a RuntimeError when it is a stream that was not read."""


RequestT = TypeVar("RequestT", bound=SignableRequest)


class HmacRequestAuth:
    """Signs each request with a secret: method, target, time, a nonce, and the digest of the body where it is known.

    A body that is a stream is sent unsigned, unless the caller gives its `Digest` (dialect `x-ca`: `Content-MD5`);
    `hmac-auth` refuses that unless `validate_request_body` is off there. A redirect keeps the signature of the request
    before it, and is refused for that where it leads to another path.

    `signed_headers` are covered too, in dialect `x-ca` besides Accept, Content-Type and Date, which it always covers.
    `now` gives seconds since the epoch, `new_nonce` a value that is never given twice. Raises ValueError for an algorithm
    that the dialect does not have.
    """

    def __init__(
        self,
        key: str,
        secret: str | Secret,
        *,
        dialect: Dialect = "signature",
        algorithm: Algorithm = "hmac-sha256",
        signed_headers: Iterable[str] = (),
        exact_query: bool = False,
        nonce_header: str = "X-Ca-Nonce",
        now: Callable[[], float] = time.time,
        new_nonce: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        names = {ours: theirs.decode() for theirs, ours in X_CA_METHODS.items()}
        if algorithm not in (names if dialect == "x-ca" else HASHES):
            raise ValueError(f"dialect {dialect} has no algorithm {algorithm}")
        self._key = key
        self._secret = (secret.reveal() if isinstance(secret, Secret) else secret).encode()
        self._dialect = dialect
        self._algorithm = algorithm
        self._method_name = names.get(algorithm, "")
        self._listed = tuple(name.lower() for name in signed_headers)
        self._exact = exact_query
        self._nonce_header = nonce_header.lower()
        self._now = now
        self._new_nonce = new_nonce

    def __repr__(self) -> str:
        return f"HmacRequestAuth({self._key!r}, dialect={self._dialect!r})"

    def __call__(self, request: RequestT) -> RequestT:
        """Sign a request of httpx or httpx2, in place."""
        try:
            body: bytes | None = request.content
        except RuntimeError:  # httpx.RequestNotRead, of either library
            body = None
        target = request.url.raw_path.decode("ascii")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        for name, value in self.sign(request.method, target, headers, body):
            request.headers[name] = value
        return request

    def sign(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> list[tuple[str, str]]:
        """Return the headers to add to a request, in place of those of the same name.

        `target` is path and query as they are sent, `headers` are those that are sent; `body` None: not known.
        """
        given = [(name.lower(), value) for name, value in headers]
        added = {self._nonce_header: self._new_nonce()}
        fields = joined((name.encode("latin-1"), value.encode("latin-1")) for name, value in given if name not in added)
        path, _, query = target.encode("ascii").partition(b"?")
        if self._dialect == "x-ca":
            self._sign_x_ca(added, method, path, query, fields, body)
        else:
            self._sign_signature(added, method, target.encode("ascii"), fields, body)
        return list(added.items())

    def _sign_x_ca(
        self,
        added: dict[str, str],
        method: str,
        path: bytes,
        query: bytes,
        fields: dict[bytes, bytes],
        body: bytes | None,
    ) -> None:
        added["x-ca-key"] = self._key
        added["x-ca-timestamp"] = str(int(self._now() * 1_000))
        added["x-ca-signature-method"] = self._method_name
        form = body if body and is_form(fields) and not self._exact else b""
        if body and not form:
            added["content-md5"] = b64encode(md5(body, usedforsecurity=False).digest()).decode()
        listed = sorted({*self._listed, *added} - {"content-md5"})
        fields |= _encoded(added)
        exact = path + b"?" + query if query else path
        covered = exact if self._exact else Parameters(query, form).targets(path)[0]
        string = x_ca_string(method, fields, [name.encode() for name in listed], covered)
        added["x-ca-signature-headers"] = ",".join(listed)
        added["x-ca-signature"] = signature_of(self._secret, string, self._algorithm).decode()

    def _sign_signature(
        self, added: dict[str, str], method: str, target: bytes, fields: dict[bytes, bytes], body: bytes | None
    ) -> None:
        added["date"] = formatdate(self._now(), usegmt=True)
        if body:
            added["digest"] = "SHA-256=" + b64encode(sha256(body).digest()).decode()
        fields |= _encoded(added)
        given = ("digest",) if b"digest" in fields else ()
        listed = list(dict.fromkeys([REQUEST_TARGET.decode(), *added, *given, *self._listed]))
        key_id = self._key.encode()
        string = signature_string(key_id, method, fields, [name.encode() for name in listed], target)
        signature = signature_of(self._secret, string, self._algorithm).decode()
        parameters = {"keyId": self._key, "algorithm": self._algorithm, "headers": " ".join(listed)}
        parameters["signature"] = signature
        added["authorization"] = "Signature " + ",".join(f'{name}="{value}"' for name, value in parameters.items())


def _encoded(added: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode("latin-1"): value.encode("latin-1") for name, value in added.items()}
