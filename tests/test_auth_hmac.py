"""HmacRequestAuth: requests of httpx and httpx2 clients, synchronous and asynchronous, enter where hmac-auth guards."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from aigw_middleware import Gateway, Secret
from aigw_middleware.auth_hmac import HmacRequestAuth
from aigw_middleware.hosts.wsgi import WSGIGateway
from aigw_middleware.testing import HmacSigner, VirtualClock, client, wsgi_client
from tests.plugins.service import Service

SECRET = "secret-of-alice-0123"
CONFIG = {"consumers": [{"name": "alice", "key": "k", "secret": SECRET}]}
FORM_AND_QUERY: dict[str, Any] = {"params": {"b": "2", "a": "é"}, "data": {"c": "x y", "d": ""}}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/", {}),
    ("GET", "/a b/é?x=1&y=", {}),
    ("POST", "/v1/things", {"json": {"a": 1}}),
    ("POST", "/raw", {"content": b"\x00\xff"}),
    ("POST", "/form", FORM_AND_QUERY),
    ("DELETE", "/v1/things/1", {"headers": {"X-Tenant": "blue"}}),
    ("GET", "/latin", {"headers": {"x-tenant": b"caf\xe9"}}),
]


def entry(**config: Any) -> dict[str, Any]:
    return {"plugins": [{"name": "hmac-auth", "config": {**CONFIG, **config}}]}


def statuses(library: Any, dialect: Any, requests: list[tuple[str, str, dict[str, Any]]], **config: Any) -> list[int]:
    """What a synchronous client gets through WSGI, and, which must be the same, an asynchronous one through ASGI."""
    clock, service = VirtualClock(), Service()
    signer = HmacRequestAuth("k", SECRET, dialect=dialect, signed_headers=["X-Tenant"], now=clock.now)
    found = []
    wsgi = WSGIGateway(service.wsgi, entry(**config), clock=clock)
    with wsgi_client(wsgi, library=library, auth=signer) as caller:
        for method, path, options in requests:
            found.append(caller.request(method, path, **options).status_code)
    assert service.calls == sum(status == 200 for status in found)

    async def through_asgi() -> list[int]:
        gateway = Gateway(service, entry(**config), clock=clock)
        async with client(gateway, library=library, auth=signer) as caller:
            return [(await caller.request(method, path, **options)).status_code for method, path, options in requests]

    assert asyncio.run(through_asgi()) == found
    return found


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("dialect", ["signature", "x-ca"])
def test_requests_of_clients_enter_each_time(library: str, dialect: str) -> None:
    assert statuses(library, dialect, [*REQUESTS, *REQUESTS]) == [200] * (2 * len(REQUESTS))


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize(("dialect", "status"), [("signature", 401), ("x-ca", 400)])
def test_a_streamed_body_is_sent_unsigned(library: Any, dialect: Any, status: int) -> None:
    signer = HmacRequestAuth("k", SECRET, dialect=dialect)
    service = Service()

    def pieces() -> Iterator[bytes]:
        yield b"one"

    async def async_pieces() -> AsyncIterator[bytes]:
        yield b"one"

    for config, expected in (({}, status), ({"validate_request_body": False}, 200)):
        with wsgi_client(WSGIGateway(service.wsgi, entry(**config)), library=library, auth=signer) as caller:
            assert caller.post("/", content=pieces()).status_code == expected

        async def asynchronous(config: dict[str, Any] = config) -> int:
            async with client(Gateway(service, entry(**config)), library=library, auth=signer) as caller:
                return (await caller.post("/", content=async_pieces())).status_code

        assert asyncio.run(asynchronous()) == expected


def test_what_is_signed_anew_is_not_what_was_signed_before() -> None:
    signer = HmacSigner("k", SECRET, VirtualClock(), dialect="x-ca")
    first = signer.signed("POST", "/", [("content-type", "text/plain")], b"one")
    again = signer.signed("POST", "/", first, b"two")
    assert [name for name, _ in again].count("x-ca-signature") == 1
    assert dict(again)["content-md5"] != dict(first)["content-md5"]
    assert (dict(first)["x-ca-nonce"], dict(again)["x-ca-nonce"]) == ("nonce-1", "nonce-2")


@pytest.mark.parametrize(
    ("dialect", "name", "value"),
    [
        ("signature", "Digest", "SHA-256=dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z/0Me0="),
        ("x-ca", "Content-MD5", "+XxdKZQb+xsv2rCHSQargg=="),
    ],
)
def test_a_digest_that_the_caller_gives_is_signed(dialect: Any, name: str, value: str) -> None:
    signer = HmacRequestAuth("k", SECRET, dialect=dialect)
    with wsgi_client(WSGIGateway(Service().wsgi, entry()), auth=signer) as caller:
        for body, status in ((b"one", {200}), (b"two", {400, 401})):
            answer = caller.post("/", content=iter([body]), headers={name: value})
            assert answer.status_code in status


def test_the_secret_may_be_one_that_cannot_be_printed() -> None:
    signer = HmacRequestAuth("k", Secret(SECRET), now=lambda: 0.0, new_nonce=lambda: "n")
    plain = HmacRequestAuth("k", SECRET, now=lambda: 0.0, new_nonce=lambda: "n")
    assert signer.sign("GET", "/") == plain.sign("GET", "/")
    assert repr(plain) == "HmacRequestAuth('k', dialect='signature')"


def test_an_algorithm_that_the_dialect_does_not_have() -> None:
    with pytest.raises(ValueError, match="dialect x-ca has no algorithm hmac-sha512"):
        HmacRequestAuth("k", SECRET, dialect="x-ca", algorithm="hmac-sha512")
    assert (
        "hmac-sha512" in dict(HmacRequestAuth("k", SECRET, algorithm="hmac-sha512").sign("GET", "/"))["authorization"]
    )
