"""Signed requests for tests of services that `hmac-auth` guards, in virtual time and with nonces that can be foretold.

signer = HmacSigner("alice-key", "secret", clock)
headers = signer.signed("POST", "/v1/things", [("content-type", "application/json")], b"{}")
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from ..auth_hmac import HmacRequestAuth
from .clock import Clock


class HmacSigner(HmacRequestAuth):
    """`HmacRequestAuth` by a test's clock, whose nonces are `nonce-1`, `nonce-2`, ...; `options` are its own."""

    def __init__(self, key: str, secret: str, clock: Clock, **options: Any) -> None:
        numbers = itertools.count(1)
        super().__init__(key, secret, now=clock.now, new_nonce=lambda: f"nonce-{next(numbers)}", **options)

    def signed(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> list[tuple[str, str]]:
        """Return all headers of the request: those given, and those that sign it and them."""
        given = list(headers)
        added = self.sign(method, target, given, body)
        names = {name for name, _ in added}
        return [*(field for field in given if field[0].lower() not in names), *added]
