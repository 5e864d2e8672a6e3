"""A marked secret goes in at every door; nothing that anybody reads afterwards may have it, in any spelling."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aigw_middleware import ConfigError, Exchange, Gateway, Plugin, PluginConfig
from aigw_middleware.cli import main
from aigw_middleware.testing import VirtualClock, asgi_exchange
from aigw_middleware.testing.hmac_signer import HmacSigner

CANARY = "canary-9c1f-of-the-secret-kind"
WRONG = "canary-9c1f-that-is-not-the-one"

CONFIGS: dict[str, dict[str, Any]] = {
    "key-auth": {"keys": ["x-api-key"], "in_query": True, "consumers": [{"name": "alice", "credential": CANARY}]},
    "basic-auth": {"consumers": [{"name": "alice", "credential": f"alice:{CANARY}"}]},
    "hmac-auth": {"consumers": [{"name": "alice", "key": "the-key-id", "secret": CANARY}]},
    "jwt-auth": {
        "consumers": [
            {
                "name": "alice",
                "issuer": "issuer",
                "jwks": json.dumps(
                    {
                        "keys": [
                            {"kty": "oct", "k": base64.urlsafe_b64encode((CANARY * 2).encode()).decode().rstrip("=")}
                        ]
                    }
                ),
            }
        ]
    },
}


def spellings(secret: str) -> Iterator[str]:
    """Yield the forms in which a secret, or what it could be guessed from, might turn up."""
    raw = secret.encode()
    yield secret
    yield raw.hex()
    yield hashlib.sha256(raw).hexdigest()
    for text in (raw, b"alice:" + raw, raw * 2):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(text).decode().rstrip("=")[:-2]  # the last digits depend on what follows


def presented(secret: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return `(path, query, headers)` of requests that carry a secret where plug-ins look, and where they do not."""
    basic = base64.b64encode(f"alice:{secret}".encode()).decode()
    token = f"{basic}.{basic}.{basic}"
    signed = HmacSigner("the-key-id", secret, VirtualClock()).signed("GET", "/")
    return [
        ("/", "", [("x-api-key", secret)]),
        ("/", f"x-api-key={secret}", []),
        ("/", "", [("authorization", f"Bearer {secret}")]),
        ("/", "", [("authorization", f"Basic {basic}")]),
        ("/", "", [("authorization", f"Basic {secret}")]),
        ("/", "", [("authorization", f"Bearer {token}")]),
        ("/", "", [("authorization", f'Signature keyId="{secret}",signature="{secret}"')]),
        ("/", "", [("cookie", f"x-api-key={secret}")]),
        ("/", "", list(signed)),
        ("/", "", [("x-ca-key", secret), ("x-ca-signature", secret)]),
    ]


def outputs(exchanges: list[Any], gateway: Gateway, log: pytest.LogCaptureFixture) -> Iterator[tuple[str, str]]:
    """Yield what somebody can read, by name."""
    for record in log.records:
        yield "log", f"{record.getMessage()} {record.__dict__}"
    for result, exchange in exchanges:
        yield "answer", f"{result.status} {result.headers} {result.body!r}"
        yield "records", repr([(line.plugin, line.decision, line.reason, line.rule) for line in exchange.records])
        for thing in (exchange, exchange.request, exchange.request.headers, exchange.consumer, exchange.response):
            yield f"repr of {type(thing).__name__}", repr(thing)
        yield "attributes", repr(exchange.attributes)
    snapshot = gateway.core.snapshot
    for plugin in snapshot.plugins:
        if plugin.name == "spy":
            continue
        for name in (*vars(plugin), "config", "settings", "context"):
            yield f"{plugin.name}.{name}", repr(getattr(plugin, name))
    for thing in (gateway, gateway.core, snapshot, snapshot.config, snapshot.keyring, *snapshot.consumers):
        yield f"repr of {type(thing).__name__}", repr(thing)
    for stacks in snapshot.sides.values():
        for entry in stacks.entries:
            yield "variants", f"{entry!r} {entry.variants!r}"
    yield "counts", repr(gateway.counts())
    for runtime in gateway.core._loops.values():
        yield "states", repr(runtime._states)


class Spy(Plugin[PluginConfig]):
    """Keeps every exchange when it is over."""

    name = "spy"

    def compile(self) -> None:
        self.seen: list[Exchange] = []

    def on_complete(self, exchange: Exchange) -> None:
        self.seen.append(exchange)


def run(name: str, config: Mapping[str, Any], *, debug: bool) -> tuple[Gateway, list[tuple[Any, Exchange]]]:
    async def service(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    spy = Spy()
    full = {"debug": debug, "plugins": [{"name": name, "config": config}]}
    gateway = Gateway(service, full, plugins=[spy], clock=VirtualClock())

    async def ask() -> list[Any]:
        return [
            await asgi_exchange(gateway, path=path, headers=headers, scope={"query_string": query.encode()})
            for secret in (CANARY, WRONG)
            for path, query, headers in presented(secret)
        ]

    results = asyncio.run(ask())
    return gateway, list(zip(results, spy.seen, strict=True))


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_no_secret_comes_out(name: str, debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gateway, seen = run(name, CONFIGS[name], debug=debug)
    assert len(seen) == 2 * len(presented(CANARY))
    assert {result.status for result, _ in seen} & {200, 401}
    for secret in (CANARY, WRONG):
        for form in spellings(secret):
            for place, text in outputs(seen, gateway, caplog):
                assert form not in text, f"{place} tells {form[:12]}..."


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_no_command_tells_a_secret(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "aigw.json"
    path.write_text(json.dumps({"plugins": [{"name": name, "config": CONFIGS[name]}]}))
    for command in (["check"], ["explain", "--header", f"x-api-key: {WRONG}"]):
        for options in ([], ["--json"]):
            main([command[0], str(path), *command[1:], *options])
    out, err = capsys.readouterr()
    assert out
    for secret in (CANARY, WRONG):
        for form in spellings(secret):
            assert form not in out + err


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("key-auth", {"keys": ["x"], "consumers": [{"name": "a", "credential": [CANARY]}]}),
        ("key-auth", {"keys": ["x"], "consumers": [{"name": "a", "credential": {"key": CANARY}}]}),
        ("key-auth", {"keys": ["x"], "credentials": [CANARY, {"no": CANARY}]}),
        ("key-auth", {"keys": ["x"], "consumers": CANARY}),
        ("basic-auth", {"consumers": [{"name": "a", "credential": CANARY}]}),
        ("basic-auth", {"consumers": [{"name": "a", "credential": f"alice:$2b${CANARY}"}]}),
        ("basic-auth", {"credentials": {"x": CANARY}}),
        ("hmac-auth", {"consumers": [{"name": "a", "key": "k", "secret": [CANARY]}]}),
        ("hmac-auth", {"consumers": [{"name": "a", "key": "k", "secret": CANARY, "more": CANARY}]}),
        ("jwt-auth", {"consumers": [{"name": "a", "issuer": "i", "jwks": CANARY}]}),
        ("jwt-auth", {"consumers": [{"name": "a", "issuer": "i", "jwks": json.dumps({"keys": [{"k": CANARY}]})}]}),
        ("jwt-auth", {"consumers": [{"name": "a", "issuer": "i", "jwks": {"keys": CANARY}}]}),
    ],
)
def test_a_mistake_is_told_without_the_secret(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(lambda *_: None, {"plugins": [{"name": name, "config": wrong}]})
    told = f"{caught.value} {caught.value!r} {caught.value.problems} {caught.value.__cause__!r}"
    assert CANARY not in told
    assert "plugins[0]" in told


def test_two_owners_of_one_credential_are_named_without_it() -> None:
    twice = [{"name": "alice", "credential": CANARY}, {"name": "bob", "credential": CANARY}]
    with pytest.raises(ConfigError, match=r"alice.*bob|bob.*alice") as caught:
        Gateway(lambda *_: None, {"plugins": [{"name": "key-auth", "config": {"keys": ["x"], "consumers": twice}}]})
    assert CANARY not in str(caught.value)
