"""Published key sets: when they are fetched, who waits for that, what is used when they cannot be; all on virtual time."""

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from aigw_middleware import Gateway
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.ports import HttpAnswer, HttpError, finish
from aigw_middleware.testing.asgi import asgi_exchange
from aigw_middleware.testing.clock import VirtualClock
from aigw_middleware.testing.wsgi import wsgi_exchange
from tests.plugins.service import Service
from tests.plugins.tokens import ISSUER, NOW, Signer, key_set, signer

URL = "https://id.example.com/.well-known/jwks.json"
REMOTE: dict[str, Any] = {"name": "alice", "issuer": ISSUER, "remote_jwks": {"url": URL}}
OLD, NEW = signer("ES256", "old"), signer("EdDSA", "new")
GOOD, INVALID, NO_KEYS = ["alice"], "jwt_verification_fails", "jwks_remote_fetch_is_failed"
LONG = 10_000_000
CALLING: ContextVar[bool] = ContextVar("calling", default=False)
"""Whether code runs on behalf of a caller."""


@functools.cache
def token(someone: Signer, **claims: Any) -> str:
    """A token that outlives every test; the same one every time, for signatures are random."""
    return someone.token(**{"exp": NOW + LONG, **claims})


class Publisher:
    """The http port, with one key set behind it."""

    def __init__(self, clock: VirtualClock, *keys: Signer) -> None:
        self.clock = clock
        self.body = key_set(*(key.jwk() for key in keys)).encode()
        self.status = 200
        self.etag = ""
        self.error: Exception | None = None
        self.delay = 0.0
        self.asked: list[float] = []
        """When it was asked, in seconds since the start."""
        self.requests: list[tuple[str, str, dict[str, str], float, int]] = []
        self.at_once = 0
        self.most_at_once = 0

    def publish(self, *keys: Signer, etag: str = "") -> None:
        """Replace the set."""
        self.body, self.etag = key_set(*(key.jwk() for key in keys)).encode(), etag

    async def request(
        self, method: str, url: str, *, headers: dict[str, str], timeout: float, max_response_bytes: int
    ) -> HttpAnswer:
        assert not CALLING.get()  # what a fetch brings is for all
        self.asked.append(self.clock.monotonic())
        self.requests.append((method, url, headers, timeout, max_response_bytes))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.delay:
                await self.clock.sleep(self.delay)
            if self.error is not None:
                raise self.error
            if self.etag and headers.get("if-none-match") == self.etag:
                return HttpAnswer(304, [], b"")
            return HttpAnswer(self.status, [(b"etag", self.etag.encode())] if self.etag else [], self.body)
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        pass


class Asked:
    """A gateway on one event loop, and its publisher."""

    def __init__(self, *keys: Signer, config: dict[str, Any] | None = None, rules: Any = (), **consumer: Any) -> None:
        self.service = Service()
        self.clock = VirtualClock()
        entry = {"name": "jwt-auth", "config": config or {"consumers": [{**REMOTE, **consumer}]}, "rules": list(rules)}
        self.config = {"plugins": [entry]}
        self.gateway = Gateway(self.service, self.config, clock=self.clock)
        self.publisher = Publisher(self.clock, *keys)
        self.gateway.core.runtime(asyncio.get_running_loop()).ports.http = self.publisher  # type: ignore[assignment]

    async def ask(self, text: str, path: str = "/") -> object:
        """Whom the service was told of, or the code of the refusal."""
        CALLING.set(True)
        exchange = await asgi_exchange(self.gateway, path=path, headers=[("authorization", f"Bearer {text}")])
        assert exchange.exception is None
        return self.service.header("x-mse-consumer") if exchange.status == 200 else exchange.json()["code"]

    async def settle(self) -> None:
        """Let what runs beside exchanges come to rest."""
        for _ in range(20):
            await asyncio.sleep(0)


Test = Callable[[], Coroutine[Any, Any, None]]


def on_a_loop(test: Test) -> Callable[[], None]:
    """Run a test on an event loop of its own."""

    def run() -> None:
        asyncio.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


# ---------------------------------------------------------------------- fetching


@on_a_loop
async def test_the_set_is_fetched_when_it_is_needed_and_once() -> None:
    asked = Asked(OLD)
    assert not asked.publisher.asked
    assert await asked.ask("x.y.z") == INVALID
    assert await asked.ask(token(OLD, iss="another")) == INVALID
    assert not asked.publisher.asked  # the issuer is looked at before
    for _ in range(3):
        assert await asked.ask(token(OLD)) == GOOD
        assert await asked.ask(token(OLD, jti="1")) == GOOD
    ((method, url, headers, timeout, most),) = asked.publisher.requests
    assert (method, url, timeout, most) == ("GET", URL, 1.5, 512 * 1024)
    assert "if-none-match" not in headers


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ({"service_name": "id.example.com"}, "https://id.example.com/"),
        ({"service_name": "id.dns", "service_host": "id.example.com", "path": "/k"}, "https://id.example.com/k"),
        ({"serviceName": "id", "servicePort": 8080, "path": "/k?a=b"}, "http://id:8080/k?a=b"),
        ({"service_name": "id", "service_port": 8443}, "https://id:8443/"),
        ({"url": "http://127.0.0.1:9000/k"}, "http://127.0.0.1:9000/k"),
    ],
)
def test_addresses(remote: dict[str, Any], url: str) -> None:
    async def test() -> None:
        asked = Asked(OLD, remote_jwks=remote, jwks_fetch_timeout=250)
        assert await asked.ask(token(OLD)) == GOOD
        assert asked.publisher.requests[0][1] == url
        assert asked.publisher.requests[0][3] == 0.25

    asyncio.run(test())


@on_a_loop
async def test_of_many_who_need_it_at_once_one_goes() -> None:
    asked = Asked(OLD)
    asked.publisher.delay = 1.0
    callers = [asyncio.create_task(asked.ask(token(OLD, jti=str(number)))) for number in range(50)]
    await asked.clock.until_sleeping()
    await asked.settle()
    assert len(asked.publisher.asked) == 1
    asked.clock.advance(1.0)
    assert await asyncio.gather(*callers) == [GOOD] * 50
    assert len(asked.publisher.asked) == 1


@on_a_loop
async def test_a_caller_who_leaves_does_not_take_the_answer_with_him() -> None:
    asked = Asked(OLD)
    asked.publisher.delay = 1.0
    first = asyncio.create_task(asked.ask(token(OLD)))
    await asked.clock.until_sleeping()
    second = asyncio.create_task(asked.ask(token(OLD)))
    await asked.settle()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    asked.clock.advance(1.0)
    assert await second == GOOD
    assert len(asked.publisher.asked) == 1


@on_a_loop
async def test_rules_and_plug_ins_share_what_was_fetched() -> None:
    config = {"consumers": [REMOTE]}
    asked = Asked(OLD, config=config, rules=[{"match": {"path_prefix": "/a"}, "config": {"allow": ["alice"]}}])
    assert await asked.ask(token(OLD)) == await asked.ask(token(OLD), "/a") == GOOD
    assert len(asked.publisher.asked) == 1


@on_a_loop
async def test_what_was_fetched_outlives_a_reload() -> None:
    asked = Asked(OLD)
    assert await asked.ask(token(OLD)) == GOOD
    changed = {"plugins": [{"name": "jwt-auth", "config": {"consumers": [{**REMOTE, "clock_skew_seconds": 1}]}}]}
    asked.gateway.core.source._given = changed
    asked.gateway.reload()
    assert await asked.ask(token(OLD)) == GOOD
    assert len(asked.publisher.asked) == 1


# ---------------------------------------------------------------------- keeping it fresh


@on_a_loop
async def test_it_is_renewed_before_it_expires_and_nobody_waits() -> None:
    asked = Asked(OLD)
    assert await asked.ask(token(OLD)) == GOOD
    asked.clock.advance(479)
    assert await asked.ask(token(OLD)) == GOOD
    assert len(asked.publisher.asked) == 1
    asked.publisher.delay = 1.0
    asked.publisher.publish(OLD, NEW)
    asked.clock.advance(1)
    for _ in range(3):  # 80 % of 600 s: answered at once, by the set there is
        assert await asked.ask(token(OLD)) == GOOD
    await asked.clock.until_sleeping()
    assert asked.publisher.asked == [0, 480]
    asked.clock.advance(1)
    await asked.settle()
    assert await asked.ask(token(NEW)) == GOOD
    assert asked.publisher.asked == [0, 480]


@on_a_loop
async def test_who_comes_after_it_expired_waits_for_it() -> None:
    asked = Asked(OLD, jwks_cache_duration=100)
    assert await asked.ask(token(OLD)) == GOOD
    asked.publisher.publish(NEW)
    asked.clock.advance(100)
    assert await asked.ask(token(OLD)) == INVALID  # in spite of having been good: its key is gone
    assert await asked.ask(token(NEW)) == GOOD
    assert asked.publisher.asked == [0, 100]


@on_a_loop
async def test_unchanged_sets_are_not_sent_again_and_what_they_verified_stays_verified() -> None:
    asked = Asked(jwks_cache_duration=100)
    asked.publisher.publish(OLD, etag='W/"1"')
    assert await asked.ask(token(OLD)) == GOOD
    (plugin,) = asked.gateway.core.snapshot.plugins
    (verdict,) = plugin._verifier.verdicts._young.values()
    asked.clock.advance(100)
    assert await asked.ask(token(OLD)) == GOOD
    assert asked.publisher.requests[1][2]["if-none-match"] == 'W/"1"'
    asked.clock.advance(60)
    assert await asked.ask(token(OLD)) == GOOD
    assert len(asked.publisher.asked) == 2  # 304 made it fresh
    assert verdict in plugin._verifier.verdicts._young.values()
    asked.publisher.etag = ""  # now the same bytes without a tag
    asked.clock.advance(40)
    assert await asked.ask(token(OLD)) == GOOD
    assert len(asked.publisher.asked) == 3
    assert verdict in plugin._verifier.verdicts._young.values()


@on_a_loop
async def test_a_key_that_is_gone_verifies_nothing_any_more_remembered_or_not() -> None:
    asked = Asked(OLD, NEW)
    for someone in (OLD, NEW, OLD, NEW):
        assert await asked.ask(token(someone)) == GOOD
    asked.publisher.publish(NEW)
    asked.clock.advance(30)
    assert await asked.ask(OLD.token({"kid": "newer"})) == INVALID  # which made it fetch
    assert await asked.ask(token(OLD)) == INVALID
    assert await asked.ask(token(NEW)) == GOOD


# ---------------------------------------------------------------------- unknown key ids


@on_a_loop
async def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    asked = Asked(OLD)
    assert await asked.ask(token(OLD)) == GOOD
    asked.publisher.publish(OLD, NEW)
    asked.clock.advance(29)
    assert await asked.ask(token(NEW)) == INVALID  # asked so shortly before
    asked.clock.advance(1)
    assert await asked.ask(token(NEW)) == GOOD
    assert asked.publisher.asked == [0, 30]


@on_a_loop
async def test_ten_thousand_key_ids_cause_one_fetch_in_30_seconds() -> None:
    asked = Asked(OLD)
    flood = [signer("ES256", "old").token({"kid": f"random-{number}"}) for number in range(100)]
    for number in range(10_000):
        assert await asked.ask(flood[number % 100].replace(".", ".", 1)) == INVALID
        asked.clock.advance(0.01)
    assert asked.publisher.asked == pytest.approx([0, 30, 60, 90], abs=0.02)
    assert await asked.ask(token(OLD)) == GOOD
    callers = (asked.ask(text) for text in flood)
    asked.clock.advance(30)
    asked.publisher.delay = 1.0
    waiting = asyncio.gather(*callers)
    await asked.clock.until_sleeping()
    assert await asked.ask(token(OLD)) == GOOD  # others do not wait for it
    asked.clock.advance(1)
    assert set(await waiting) == {INVALID}
    assert len(asked.publisher.asked) == 5
    assert asked.publisher.most_at_once == 1


@on_a_loop
async def test_floods_while_nothing_can_be_fetched() -> None:
    asked = Asked(OLD)
    asked.publisher.error = HttpError("connect", "nobody there")
    for number in range(1_000):
        assert await asked.ask(OLD.token({"kid": f"random-{number}"})) == NO_KEYS
        asked.clock.advance(0.09)
    assert asked.publisher.asked == pytest.approx([0, 30, 60], abs=0.2)


@on_a_loop
async def test_a_known_key_id_with_a_wrong_signature_fetches_nothing() -> None:
    asked = Asked(OLD)
    assert await asked.ask(token(OLD)) == GOOD
    asked.clock.advance(100)
    forged = Signer("ES256", signer("ES256", "other").key, "old")
    assert await asked.ask(token(forged)) == INVALID
    assert len(asked.publisher.asked) == 1


@on_a_loop
async def test_the_interval_is_configurable() -> None:
    asked = Asked(OLD, remote_jwks={"url": URL, "cooldown_seconds": 5})
    assert await asked.ask(token(NEW)) == INVALID
    asked.publisher.publish(NEW)
    asked.clock.advance(5)
    assert await asked.ask(token(NEW)) == GOOD


@on_a_loop
async def test_an_interval_longer_than_a_set_is_good_does_not_keep_it_from_being_renewed() -> None:
    asked = Asked(OLD, jwks_cache_duration=30, remote_jwks={"url": URL, "cooldown_seconds": 300})
    for _ in range(5):
        assert await asked.ask(token(OLD)) == GOOD
        asked.clock.advance(31)
    assert len(asked.publisher.asked) == 5


# ---------------------------------------------------------------------- when it cannot be fetched

FAILURES: list[dict[str, Any]] = [
    {"error": HttpError("timeout", "too slow")},
    {"error": HttpError("too_large", "too large")},
    {"error": RuntimeError("a client that was closed")},
    {"status": 500},
    {"status": 302},
    {"status": 304},
    {"status": 204, "body": b""},
    {"body": b""},
    {"body": b"<html>"},
    {"body": b'{"keys": []}'},
    {"body": b'{"keys": [{"kty": "RSA"}]}'},
    {"body": b'{"keys": [], "keys": []}'},
    {"body": b"[" * 10_000},
]


@pytest.mark.parametrize("failure", FAILURES)
def test_an_old_set_is_used_while_fetching_fails_and_not_for_ever(
    failure: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        asked = Asked(OLD, jwks_cache_duration=100, remote_jwks={"url": URL, "max_stale_seconds": 1_000})
        assert await asked.ask(token(OLD)) == GOOD
        good = {name: getattr(asked.publisher, name) for name in failure}
        for name, value in failure.items():
            setattr(asked.publisher, name, value)
        if failure.get("status") == 304:
            asked.gateway.core.runtime(asyncio.get_running_loop()).state_of_host(f"jwks {URL}", object).keys = None  # type: ignore[attr-defined]
            asked.clock.advance(100)
            assert await asked.ask(token(OLD)) == NO_KEYS
            return
        asked.clock.advance(100)
        assert await asked.ask(token(OLD)) == GOOD  # it waited, in vain, and the old set is still good enough
        assert asked.publisher.asked == [0, 100]
        asked.clock.advance(29)
        assert await asked.ask(token(OLD)) == GOOD
        assert asked.publisher.asked == [0, 100]
        asked.clock.advance(1)
        assert await asked.ask(token(OLD)) == GOOD
        await asked.settle()
        assert asked.publisher.asked == [0, 100, 130]
        asked.clock.advance(969)  # 1,099
        assert await asked.ask(token(OLD)) == GOOD
        await asked.settle()
        asked.clock.advance(1)
        assert await asked.ask(token(OLD)) == NO_KEYS
        for name, value in good.items():
            setattr(asked.publisher, name, value)
        asked.clock.advance(29)
        assert await asked.ask(token(OLD)) == GOOD

    with caplog.at_level(logging.WARNING, "aigw_middleware"):
        asyncio.run(test())
    assert "jwt-auth: no keys from id.example.com: " in caplog.text
    assert "jwks.json" not in caplog.text


@on_a_loop
async def test_without_any_set_callers_are_refused_until_it_comes() -> None:
    asked = Asked(OLD)
    asked.publisher.status = 503
    assert await asked.ask(token(OLD)) == await asked.ask(token(OLD)) == NO_KEYS
    asked.publisher.status = 200
    asked.clock.advance(29)
    assert await asked.ask(token(OLD)) == NO_KEYS
    asked.clock.advance(1)
    assert await asked.ask(token(OLD)) == GOOD
    assert asked.publisher.asked == [0, 30]


@on_a_loop
async def test_a_failed_renewal_is_tried_again_before_the_set_expires() -> None:
    asked = Asked(OLD)
    assert await asked.ask(token(OLD)) == GOOD
    asked.publisher.status = 500
    asked.clock.advance(480)
    assert await asked.ask(token(OLD)) == GOOD
    await asked.settle()
    asked.publisher.status = 200
    asked.clock.advance(30)
    assert await asked.ask(token(OLD)) == GOOD
    await asked.settle()
    assert asked.publisher.asked == [0, 480, 510]


@on_a_loop
async def test_without_tolerance_an_expired_set_is_not_used() -> None:
    asked = Asked(OLD, jwks_cache_duration=100, remote_jwks={"url": URL, "max_stale_seconds": 0})
    assert await asked.ask(token(OLD)) == GOOD
    asked.publisher.status = 500
    asked.clock.advance(99)
    assert await asked.ask(token(OLD)) == GOOD
    await asked.settle()
    asked.clock.advance(1)
    assert await asked.ask(token(OLD)) == NO_KEYS


def test_published_sets_may_have_keys_that_are_not_for_us(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        asked = Asked()
        odd: list[dict[str, Any]] = [
            {"kty": "RSA", "n": "AQAB"},
            {"kty": "AKP", "pub": "x"},
            NEW.jwk(use="enc", kid="enc"),
            OLD.jwk(x="AAAA", kid="short"),
            signer("HS256", "secret").jwk(),
        ]
        asked.publisher.body = key_set(*odd, OLD.jwk()).encode()
        assert await asked.ask(token(OLD)) == GOOD
        assert await asked.ask(token(Signer("EdDSA", NEW.key, "enc"))) == INVALID

    with caplog.at_level(logging.INFO, "aigw_middleware"):
        asyncio.run(test())
    assert "of the keys of id.example.com, keys[3] `x`" in caplog.text
    assert "publishes a shared secret" in caplog.text


# ---------------------------------------------------------------------- several sources, and the end


@on_a_loop
async def test_two_publishers_of_two_issuers() -> None:
    other = {**REMOTE, "name": "bob", "issuer": "other", "remote_jwks": {"url": "https://other.example/jwks"}}
    asked = Asked(OLD, config={"consumers": [REMOTE, other]})
    assert await asked.ask(token(OLD)) == GOOD
    assert [url for _, url, *_ in asked.publisher.requests] == [URL]
    assert await asked.ask(token(OLD, iss="other")) == ["bob"]
    assert [url for _, url, *_ in asked.publisher.requests] == [URL, "https://other.example/jwks"]


@on_a_loop
async def test_inline_keys_need_no_publisher() -> None:
    inline = {"name": "bob", "jwks": key_set(NEW.jwk())}
    asked = Asked(OLD, config={"consumers": [{**REMOTE, "issuer": ""}, inline]})
    asked.publisher.error = HttpError("connect", "nobody there")
    assert await asked.ask(token(NEW)) == ["bob"]
    assert await asked.ask(token(OLD)) == NO_KEYS


@on_a_loop
async def test_a_fetch_beside_exchanges_ends_with_the_gateway() -> None:
    asked = Asked(OLD)
    assert await asked.ask(token(OLD)) == GOOD
    asked.publisher.delay = 1.0
    asked.clock.advance(480)
    assert await asked.ask(token(OLD)) == GOOD
    await asked.clock.until_sleeping()
    await asked.gateway.aclose()
    assert asked.clock.sleeping == 0
    assert len(asyncio.all_tasks()) == 1


# ---------------------------------------------------------------------- synchronous hosts


def test_synchronous_hosts_fetch_and_renew_in_the_caller() -> None:
    clock, service = VirtualClock(), Service()
    gateway = WSGIGateway(
        service.wsgi, {"plugins": [{"name": "jwt-auth", "config": {"consumers": [REMOTE]}}]}, clock=clock
    )
    publisher = Publisher(clock, OLD)
    gateway.core.process_runtime().ports.http = publisher  # type: ignore[assignment]

    def ask(text: str) -> object:
        exchange = wsgi_exchange(gateway, "GET", "/", headers=[("authorization", f"Bearer {text}")])
        assert exchange.exception is None
        return service.header("x-mse-consumer") if exchange.status == 200 else exchange.json()["code"]

    for _ in range(3):
        assert ask(token(OLD)) == GOOD
    assert publisher.asked == [0]
    publisher.publish(NEW)
    assert ask(token(NEW)) == INVALID
    clock.advance(480)
    assert ask(token(NEW)) == GOOD
    assert ask(token(OLD)) == INVALID
    assert publisher.asked == [0, 480]
    publisher.error = HttpError("timeout", "too slow")
    clock.advance(480)
    assert ask(token(NEW)) == ask(token(NEW)) == GOOD
    assert publisher.asked == [0, 480, 960]
    for number in range(100):
        assert ask(NEW.token({"kid": f"random-{number}"})) == INVALID
        clock.advance(1)
    assert len(publisher.asked) == 6
    clock.advance(10_000)
    assert ask(token(NEW)) == NO_KEYS
    publisher.error = None
    clock.advance(30)
    assert ask(token(NEW)) == GOOD


def test_of_many_threads_one_fetches() -> None:
    import threading

    clock, service = VirtualClock(), Service()
    gateway = WSGIGateway(
        service.wsgi, {"plugins": [{"name": "jwt-auth", "config": {"consumers": [REMOTE]}}]}, clock=clock
    )
    publisher = Publisher(clock, OLD)
    arrived, go = threading.Event(), threading.Event()
    ask = publisher.request

    async def slow(*arguments: Any, **options: Any) -> HttpAnswer:
        arrived.set()
        go.wait()
        return await ask(*arguments, **options)

    publisher.request = slow  # type: ignore[method-assign]
    gateway.core.process_runtime().ports.http = publisher  # type: ignore[assignment]
    statuses: list[int | None] = []

    def caller(number: int) -> None:
        text = token(OLD, jti=str(number))
        statuses.append(wsgi_exchange(gateway, "GET", "/", headers=[("authorization", f"Bearer {text}")]).status)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
    threads[0].start()
    arrived.wait()
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert len(publisher.asked) == 1


def test_a_thread_does_not_wait_longer_for_another_than_for_an_answer() -> None:
    clock, service = VirtualClock(), Service()
    config = {"plugins": [{"name": "jwt-auth", "config": {"consumers": [{**REMOTE, "jwks_fetch_timeout": 1}]}}]}
    gateway = WSGIGateway(service.wsgi, config, clock=clock)
    ports = gateway.core.process_runtime().ports
    ports.http = publisher = Publisher(clock, OLD)  # type: ignore[assignment]

    async def ask_while_another_fetches() -> int | None:
        async with ports.locks(f"jwks {URL}"):
            return wsgi_exchange(gateway, "GET", "/", headers=[("authorization", f"Bearer {token(OLD)}")]).status

    assert finish(ask_while_another_fetches(), "the test") == 401
    assert not publisher.asked
