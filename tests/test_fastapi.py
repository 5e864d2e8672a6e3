"""The FastAPI dependencies: the caller and the exchange in every kind of operation, and a clear error without a gateway."""

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient

from aigw_middleware import ANONYMOUS, Exchange, Gateway, KeyAuth, current_exchange, install
from aigw_middleware.fastapi import CurrentConsumer, CurrentExchange
from aigw_middleware.testing import client

KEY = "a key that is long enough"
CONFIG = {
    "consumers": [{"name": "alice", "groups": ["staff"], "credentials": {"key-auth": [KEY]}}],
    "plugins": [{"name": "key-auth", "config": {"keys": ["x-api-key"], "allow": ["alice"]}}],
}
seen: list[Any] = []
router = APIRouter()


@router.get("/async")
async def in_the_loop(consumer: CurrentConsumer, exchange: CurrentExchange) -> str:
    """A coroutine."""
    seen.append((consumer, exchange, current_exchange()))
    return consumer.name


@router.get("/sync")
def in_a_thread(consumer: CurrentConsumer, exchange: CurrentExchange) -> str:
    """A function, which FastAPI runs in a thread."""
    seen.append((consumer, exchange, current_exchange()))
    return consumer.name


async def staff(consumer: CurrentConsumer) -> bool:
    """A dependency of the service's own."""
    return "staff" in consumer.groups


@router.get("/staff")
async def is_staff(answer: bool = Depends(staff)) -> bool:
    """Through another dependency."""
    return answer


@router.websocket("/ws")
async def websocket(socket: WebSocket, consumer: CurrentConsumer) -> None:
    """A websocket."""
    await socket.accept()
    await socket.send_text(consumer.name)
    await socket.close()


def service() -> FastAPI:
    app = FastAPI()
    app.include_router(router)
    return app


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/async", "/sync"])
async def test_operations_know_their_caller_and_their_exchange(path: str) -> None:
    async with client(install(service(), config=CONFIG)) as http:
        response = await http.get(path, headers={"x-api-key": KEY})
    assert response.json() == "alice"
    ((consumer, exchange, current),) = seen
    assert isinstance(exchange, Exchange)
    assert exchange.consumer is consumer
    assert exchange is current


@pytest.mark.anyio
async def test_other_dependencies_can_build_on_them() -> None:
    async with client(install(service(), config=CONFIG)) as http:
        assert (await http.get("/staff", headers={"x-api-key": KEY})).json() is True
        assert (await http.get("/staff")).status_code == 401


@pytest.mark.anyio
async def test_a_caller_whom_nobody_identified_is_anonymous() -> None:
    async with client(install(service(), plugins=[])) as http:
        assert (await http.get("/async")).json() == ""
    ((consumer, _, _),) = seen
    assert consumer is ANONYMOUS


@pytest.mark.anyio
@pytest.mark.parametrize("wrap", [lambda app: Gateway(app, CONFIG), lambda app: with_plugin(app)])
async def test_any_way_of_putting_a_gateway_around_will_do(wrap: Any) -> None:
    async with client(wrap(service())) as http:
        assert (await http.get("/async", headers={"x-api-key": KEY})).json() == "alice"


def with_plugin(app: FastAPI) -> FastAPI:
    app.add_middleware(KeyAuth, keys=["x-api-key"], consumers=[{"name": "alice", "credential": KEY}])  # type: ignore[arg-type]
    return app


def test_websocket_operations_know_their_caller() -> None:
    with (
        TestClient(install(service(), config=CONFIG)) as http,
        http.websocket_connect("/ws", headers={"x-api-key": KEY}) as session,
    ):
        assert session.receive_text() == "alice"


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/async", "/sync"])
async def test_without_a_gateway_the_error_says_what_to_do(path: str) -> None:
    async with client(service()) as http:
        with pytest.raises(RuntimeError, match=r"call install\(app, config=\.\.\.\)"):
            await http.get(path)


def test_interleaved_callers_are_not_mixed_up() -> None:
    people = {name: f"the key of {name}, long enough" for name in ("alice", "bob", "carol")}
    consumers = [{"name": name, "credential": key} for name, key in people.items()]
    app = service()

    @app.get("/slow")
    async def slow(consumer: CurrentConsumer) -> str:
        await asyncio.sleep(0)
        return consumer.name

    async def ask() -> list[str]:
        async with client(install(app, plugins=[KeyAuth(keys=["x-api-key"], consumers=consumers)])) as http:
            answers = await asyncio.gather(*(http.get("/slow", headers={"x-api-key": key}) for key in people.values()))
        return [answer.json() for answer in answers]

    assert asyncio.run(ask()) == list(people)
