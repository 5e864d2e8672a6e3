"""Several plug-ins that identify callers in one stack: which of them must know the caller, and what is said if none does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aigw_middleware import Exchange, Gateway, Plugin, Refusal, Registry, Stage
from aigw_middleware.consumers import Consumer
from aigw_middleware.errors import ConfigError
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.plugins.auth.policy import AuthConfig, AuthPolicy
from aigw_middleware.testing import asgi_exchange, wsgi_exchange

KNOWN = {"alice": "alice", "bob": "bob", "nobody": ""}


class ByHeader(Plugin[AuthConfig]):
    """Believes what a header says, if it is a known name."""

    stage = Stage.AUTHENTICATION
    identifies = True
    on_failure = "deny"

    def compile(self) -> None:
        self.policy = AuthPolicy(self.config, self.context, self.name, local=True)
        challenge = {"www-authenticate": f'{self.name} realm="x"'}
        self.missing = Refusal(401, f"{self.name}_missing", "Say who you are.", challenge)
        self.invalid = Refusal(401, f"invalid_{self.name}", "That is not you.", challenge)
        self.not_allowed = Refusal(403, "not_allowed", "Not you.")

    def on_request(self, exchange: Exchange) -> Any:
        if not self.policy.enforced:
            return None
        said = exchange.request.headers.get(self.name)
        if said == "broken":
            raise ValueError(said)
        if said in KNOWN:
            return None if self.policy.admit(exchange, Consumer(KNOWN[said])) else self.not_allowed
        refusal = self.missing if said is None else self.invalid
        return self.policy.without_credential(exchange, refusal, self.not_allowed)


class First(ByHeader):
    name, priority = "first", 330


class Second(ByHeader):
    name, priority = "second", 320


class Third(ByHeader):
    """Waits before it answers."""

    name, priority = "third", 310

    def on_request(self, exchange: Exchange) -> Any:
        return self._wait(exchange)

    async def _wait(self, exchange: Exchange) -> Any:
        await exchange.ports.clock.sleep(0)
        return super().on_request(exchange)


def registry() -> Registry:
    made = Registry()
    for cls in (First, Second, Third):
        made.register(cls)
    return made


def ask(headers: dict[str, str], mode: str = "any", names: str = "first second third", **config: Any) -> Any:
    seen: list[str] = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope["state"]["aigw"]
        told = [value.decode() for name, value in scope["headers"] if name == b"x-mse-consumer"]
        seen.append(f"{exchange.consumer.name}/{exchange.identified_by}/{','.join(told)}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    plugins = [{"name": name, "config": config.get(name, {})} for name in names.split()]
    gateway = Gateway(service, {"auth_mode": mode, "plugins": plugins, **config.get("top", {})}, registry=registry())
    result = asyncio.run(asgi_exchange(gateway, headers=list(headers.items())))
    return result.status, seen[0] if seen else "", result


@pytest.mark.parametrize(
    ("headers", "status", "seen"),
    [
        ({"first": "alice"}, 200, "alice/first/alice"),
        ({"second": "alice"}, 200, "alice/second/alice"),
        ({"third": "alice"}, 200, "alice/third/alice"),
        ({"first": "wrong", "third": "alice"}, 200, "alice/third/alice"),
        ({"first": "alice", "third": "wrong"}, 200, "alice/first/alice"),
        ({"first": "alice", "second": "alice"}, 200, "alice/second/alice"),
        ({"first": "nobody"}, 200, "/first/"),
        ({"first": "nobody", "second": "bob"}, 200, "bob/second/bob"),
        ({"first": "alice", "second": "bob"}, 401, ""),
        ({"second": "alice", "third": "bob"}, 401, ""),
        ({"first": "wrong"}, 401, ""),
        ({"first": "broken", "second": "alice"}, 503, ""),
        ({}, 401, ""),
    ],
)
def test_any_one_is_enough(headers: dict[str, str], status: int, seen: str) -> None:
    assert ask(headers)[:2] == (status, seen)


@pytest.mark.parametrize(
    ("headers", "status", "seen"),
    [
        ({"first": "alice", "second": "alice", "third": "alice"}, 200, "alice/third/alice"),
        ({"first": "alice", "second": "nobody", "third": "alice"}, 200, "alice/third/alice"),
        ({"first": "alice", "second": "alice"}, 401, ""),
        ({"first": "alice", "second": "alice", "third": "bob"}, 401, ""),
        ({"first": "bob", "second": "alice", "third": "alice"}, 401, ""),
        ({"first": "alice"}, 401, ""),
        ({"third": "alice"}, 401, ""),
        ({}, 401, ""),
    ],
)
def test_all_must_name_the_same_consumer(headers: dict[str, str], status: int, seen: str) -> None:
    assert ask(headers, "all")[:2] == (status, seen)


def test_a_refusal_names_every_way_in() -> None:
    status, _, result = ask({})
    assert status == 401
    assert [value for name, value in result.headers if name == b"www-authenticate"] == [
        b'first realm="x"',
        b'second realm="x"',
        b'third realm="x"',
    ]
    assert b"first_missing" in result.body


def test_a_wrong_credential_is_told_rather_than_a_missing_one() -> None:
    _, _, result = ask({"second": "mallory"})
    assert b"invalid_second" in result.body
    assert b"mallory" not in result.body


def test_conflicting_credentials_are_nobodys() -> None:
    _, _, result = ask({"first": "alice", "second": "bob"})
    assert b"conflicting_credentials" in result.body


def test_a_known_caller_must_still_be_allowed_by_each() -> None:
    assert ask({"first": "alice"}, second={"allow": ["bob"]})[0] == 403
    assert ask({"first": "alice"}, second={"allow": ["alice"]})[0] == 200


def test_one_that_asks_nobody_lets_the_others_decide() -> None:
    lenient = {"third": {"global_auth": False}}
    # A plug-in with its own consumers outside of a rule follows `global_auth`.
    assert ask({}, **lenient)[0] == 401
    assert ask({"first": "alice"}, **lenient)[:2] == (200, "alice/first/alice")
    nobody = {name: {"global_auth": False} for name in ("first", "second", "third")}
    assert ask({}, **nobody)[:2] == (200, "//")


def test_a_route_may_ask_for_more() -> None:
    routes = {"routes": [{"name": "admin", "path": ["/"], "auth_mode": "all"}]}
    assert ask({"first": "alice"}, top=routes)[0] == 401
    other = {"routes": [{"name": "admin", "path": ["/admin"], "auth_mode": "all"}]}
    assert ask({"first": "alice"}, top=other)[0] == 200


def test_one_alone_is_as_before() -> None:
    assert ask({"first": "wrong"}, names="first")[0] == 401
    assert ask({"first": "alice"}, names="first")[:2] == (200, "alice/first/alice")


def test_the_same_on_wsgi() -> None:
    def service(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["HTTP_X_MSE_CONSUMER"].encode()]

    config = {"plugins": [{"name": name} for name in ("first", "second", "third")]}
    gateway = WSGIGateway(service, config, registry=registry())
    assert wsgi_exchange(gateway, headers=[("third", "alice")]).body == b"alice"
    assert wsgi_exchange(gateway).status == 401


def test_a_wrong_mode_is_told() -> None:
    with pytest.raises(ConfigError, match="auth_mode"):
        Gateway(lambda *_: None, {"auth_mode": "some"})


@pytest.mark.parametrize(("headers", "opens"), [({"third": "alice"}, True), ({"first": "wrong"}, False), ({}, False)])
def test_the_same_for_websockets(headers: dict[str, str], opens: bool) -> None:
    async def service(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    config = {"plugins": [{"name": name} for name in ("first", "second", "third")]}
    gateway = Gateway(service, config, registry=registry())
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/", "headers": fields, "query_string": b"", "extensions": {}}
    sent: list[str] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(gateway(scope, receive, send))
    assert sent == ["websocket.accept" if opens else "websocket.close"]
