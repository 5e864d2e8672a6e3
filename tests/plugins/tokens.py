"""Makes tokens and key sets for tests: good ones with joserfc, and any other from its parts."""

import functools
import json
from base64 import urlsafe_b64encode
from typing import Any

from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

NOW = 1_700_000_000
"""Where virtual time begins."""
ISSUER = "https://id.example.com"


def b64(data: bytes | str | dict[str, Any]) -> bytes:
    """Base64url without padding; a dict as JSON."""
    if isinstance(data, dict):
        data = json.dumps(data, separators=(",", ":"))
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=")


class Signer:
    """Somebody with a key who signs tokens."""

    def __init__(self, algorithm: str, key: Key, kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.key = key
        self.kid = kid

    def jwk(self, **members: Any) -> dict[str, Any]:
        """What is published of the key; None takes a member away."""
        jwk = {**self.key.as_dict(private=isinstance(self.key, OctKey)), **({"kid": self.kid} if self.kid else {})}
        jwk = {name: value for name, value in jwk.items() if name in self.key.value_registry or name in ("kty", "kid")}
        return {name: value for name, value in {**jwk, **members}.items() if value is not None}

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`, encoded."""
        model = JWSRegistry.algorithms["EdDSA" if self.algorithm in ("Ed25519", "Ed448") else self.algorithm]
        return b64(model.sign(message, self.key))

    def raw(self, header: bytes | str | dict[str, Any], payload: bytes | str | dict[str, Any]) -> str:
        """A token of exactly these parts."""
        message = b64(header) + b"." + b64(payload)
        return (message + b"." + self.sign(message)).decode()

    def header(self, **changes: Any) -> dict[str, Any]:
        """The header of its tokens, with changes; None takes a member away."""
        usual = {"alg": self.algorithm, "typ": "JWT", **({"kid": self.kid} if self.kid else {})}
        return {name: value for name, value in {**usual, **changes}.items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A good token of alice's for an hour, with changes to its claims; None takes a claim away."""
        usual = {"iss": ISSUER, "sub": "alice", "iat": NOW, "exp": NOW + 3_600}
        claims = {name: value for name, value in {**usual, **changes}.items() if value is not None}
        return self.raw(self.header(**(header or {})), claims)


@functools.cache
def signer(algorithm: str, kid: str | None = None) -> Signer:
    """The one signer with that algorithm and key id; keys are made once."""
    family = algorithm[:2]
    key: Key
    if family == "HS":
        key = OctKey.generate_key(512)
    elif family in ("RS", "PS"):
        key = RSAKey.generate_key(2048)
    elif family == "ES":
        key = ECKey.generate_key({"256": "P-256", "384": "P-384", "512": "P-521"}[algorithm[2:]])
    else:
        key = OKPKey.generate_key("Ed448" if algorithm == "Ed448" else "Ed25519")
    return Signer(algorithm, key, kid)


def key_set(*keys: dict[str, Any]) -> str:
    """A JWK Set as text."""
    return json.dumps({"keys": list(keys)})
