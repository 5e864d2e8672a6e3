"""The ports of both colours behave alike; the same test bodies run over each."""

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from aigw_middleware.errors import Suspended
from aigw_middleware.ports import LockTimeout, OffloadFull, Ports, async_ports, blocking_ports, finish
from aigw_middleware.ports.locks import KeyedLocks
from aigw_middleware.ports.work import WORKERS, AsyncOffload
from aigw_middleware.state import Limit, MemoryStore, Store
from aigw_middleware.testing.clock import VirtualClock

T = TypeVar("T")
VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def in_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop; what is broken fails rather than hangs."""
    return asyncio.run(asyncio.wait_for(coroutine, 60.0))


class Host:
    """Makes ports of one colour and runs coroutines as a host of that colour does."""

    def __init__(self, color: str) -> None:
        self.color = color

    def ports(self, **options: Any) -> Ports:
        stores: dict[str, Store] = {"default": MemoryStore()}
        return async_ports(stores, **options) if self.color == "async" else blocking_ports(stores, **options)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return in_loop(coroutine) if self.color == "async" else finish(coroutine, "the test")


@pytest.fixture(params=["async", "sync"])
def host(request: pytest.FixtureRequest) -> Host:
    return Host(request.param)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def entries(ports: Ports) -> int:
    assert isinstance(ports.locks, KeyedLocks)
    return len(ports.locks)


def together(host: Host, count: int, make: Callable[[], Coroutine[Any, Any, T]]) -> list[T]:
    """Run `count` coroutines at once: as tasks of one loop, or each in a thread."""
    if host.color == "async":

        async def all_of_them() -> list[T]:
            return await asyncio.gather(*[make() for _ in range(count)])

        return in_loop(all_of_them())
    results: list[T] = []
    start = threading.Barrier(count)

    def work() -> None:
        start.wait()
        results.append(finish(make(), "the thread"))

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# ---------------------------------------------------------------------- all of them


def test_the_color_and_the_stores(host: Host) -> None:
    ports = host.ports()
    assert ports.color == host.color
    assert ports.store is ports.stores["default"]
    assert host.run(ports.store.take("k", Limit(1, 60.0))).allowed


def test_nothing_is_created_before_it_is_needed() -> None:
    script = """
import sys, threading
from aigw_middleware.ports import async_ports, blocking_ports, finish
from aigw_middleware.state import MemoryStore
for make in (async_ports, blocking_ports):
    ports = make({"default": MemoryStore()})
    ports.locks("name")
    ports.http.stream("GET", "https://example.com", timeout=1.0)
    finish(ports.close(), "close")
print("httpx" in sys.modules, threading.active_count())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "1"]


def test_closing_unused_ports_twice(host: Host) -> None:
    ports = host.ports()

    async def close() -> None:
        await ports.close()
        await ports.close()

    host.run(close())


def test_the_quiet_paths_make_no_task_and_no_future(host: Host) -> None:
    ports = host.ports()

    async def use() -> float:
        async with ports.locks("name"), ports.locks("other", timeout=5.0):
            await ports.store.take("k", Limit(5, 60.0))
        await ports.gather(ports.store.get("k"))
        return ports.clock.now() + ports.clock.monotonic()

    threads = threading.active_count()
    # Without a loop there is nothing that a task or a future could be made of: one step ends it all the same.
    assert finish(use(), "the quiet path") > 0
    assert threading.active_count() == threads


def test_each_loop_has_ports_of_its_own() -> None:
    def serve(results: list[int]) -> None:
        ports = Host("async").ports()

        async def fetch() -> int:
            async with ports.locks("same name"):
                return await ports.offload(lambda: 1)

        async def several() -> list[int]:
            found = await ports.gather(*[fetch() for _ in range(10)])
            await ports.close()
            return found

        results.extend(asyncio.run(several()))

    results: list[int] = []
    threads = [threading.Thread(target=serve, args=(results,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 20


# ---------------------------------------------------------------------- clock


def test_the_system_clock(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = host.ports()
    slept: list[float] = []

    async def record(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(asyncio, "sleep", record)
    before = (time.time(), time.monotonic())
    host.run(ports.clock.sleep(0.25))
    assert slept == [0.25]
    assert before[0] <= ports.clock.now() <= time.time()
    assert before[1] <= ports.clock.monotonic() <= time.monotonic()


def test_a_virtual_clock_moves_both_colors(host: Host) -> None:
    clock = VirtualClock()
    ports = host.ports(clock=clock)

    async def nap() -> tuple[float, float]:
        wall, steady = ports.clock.now(), ports.clock.monotonic()
        await ports.clock.sleep(30.0)
        return ports.clock.now() - wall, ports.clock.monotonic() - steady

    async def with_somebody_who_moves_it() -> tuple[float, float]:
        async def move() -> tuple[float, float]:
            await clock.until_sleeping()
            clock.advance(30.0)
            return 0.0, 0.0

        return (await ports.gather(nap(), move()))[0]

    assert host.run(with_somebody_who_moves_it() if host.color == "async" else nap()) == (30.0, 30.0)


# ---------------------------------------------------------------------- locks


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("timeout", [None, 60.0])
def test_of_many_who_miss_one_goes(host: Host, timeout: float | None) -> None:
    ports = host.ports()
    cache: dict[str, int] = {}
    calls: list[int] = []

    async def fetch() -> int:
        calls.append(1)
        for _ in range(100):
            if host.color == "async":
                await asyncio.sleep(0)  # lets the other tasks run; threads are switched anyway
        return 7

    async def look() -> int:
        async with ports.locks("key", timeout=timeout):
            if "key" not in cache:
                cache["key"] = await fetch()
        return cache["key"]

    assert together(host, 20 if host.color == "async" else 8, look) == [7] * (20 if host.color == "async" else 8)
    assert len(calls) == 1
    assert entries(ports) == 0


def test_other_names_do_not_wait(host: Host) -> None:
    ports = host.ports()

    async def nested() -> int:
        async with ports.locks("a"), ports.locks("b"), ports.locks("c"):
            return entries(ports)

    assert host.run(nested()) == 3
    assert entries(ports) == 0


def test_waiting_is_bounded(host: Host) -> None:
    ports = host.ports()

    async def twice() -> None:
        async with ports.locks("a"):
            with pytest.raises(LockTimeout, match="within 0"):
                async with ports.locks("a", timeout=0.0):
                    pass
            assert entries(ports) == 1
        async with ports.locks("a", timeout=0.0):
            pass

    host.run(twice())
    assert entries(ports) == 0


def test_a_lock_is_let_go_when_its_holder_fails(host: Host) -> None:
    ports = host.ports()

    async def fail() -> None:
        async with ports.locks("a"):
            raise KeyError("gone")

    for _ in range(2):
        with pytest.raises(KeyError):
            host.run(fail())
    assert entries(ports) == 0


def test_who_is_cancelled_while_waiting_leaves_nothing() -> None:
    ports = Host("async").ports()

    async def wait() -> None:
        async with ports.locks("a"):
            raise AssertionError("it was never free")

    async def scene() -> None:
        async with ports.locks("a"):
            waiting = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert entries(ports) == 1
        assert entries(ports) == 0

    in_loop(scene())


# ---------------------------------------------------------------------- offload


def test_offloaded_work_returns_raises_and_sees_the_context(host: Host) -> None:
    ports = host.ports()

    def work(a: int, *, b: int) -> tuple[int, str]:
        seen = VARIABLE.get()
        VARIABLE.set("changed inside")
        return a + b, seen

    def broken() -> int:
        raise KeyError("gone")

    async def use() -> tuple[int, str]:
        VARIABLE.set("outside")
        result = await ports.offload(work, 1, b=2)
        assert VARIABLE.get() == "outside"
        with pytest.raises(KeyError):
            await ports.offload(broken)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await ports.offload(next, iter(()))
        return result

    async def whole() -> tuple[int, str]:
        try:
            return await use()
        finally:
            await ports.close()

    assert contextvars.copy_context().run(host.run, whole()) == (3, "outside")


def test_only_a_loop_is_spared(host: Host) -> None:
    ports = host.ports()

    async def where() -> threading.Thread:
        found = await ports.offload(threading.current_thread)
        await ports.close()
        return found

    thread = host.run(where())
    assert (thread is threading.current_thread()) == (host.color == "sync")
    if host.color == "async":
        thread.join(60)
        assert not thread.is_alive()


def test_offloaded_work_is_bounded() -> None:
    offload = AsyncOffload(workers=2, waiting=1)
    release = threading.Event()
    ran: list[int] = []

    def work(number: int) -> int:
        ran.append(number)
        assert release.wait(60)
        return number

    async def scene() -> None:
        tasks = [asyncio.ensure_future(offload(work, number)) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(OffloadFull):
            await offload(work, 3)
        tasks[2].cancel()  # it waits for a thread, so its place is free at once
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        last = asyncio.ensure_future(offload(work, 4))
        await asyncio.sleep(0)
        release.set()
        assert await asyncio.gather(*tasks[:2], last) == [0, 1, 4]
        assert sorted(ran) == [0, 1, 4]
        await offload.close()

    in_loop(scene())


def test_work_that_no_thread_takes_frees_its_place() -> None:
    offload = AsyncOffload(workers=1, waiting=0)
    offload._executor = ThreadPoolExecutor(1)
    offload._executor.shutdown()  # as the interpreter does when it ends

    async def scene() -> int:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="after shutdown"):
                await offload(int)
        await offload.close()
        found = await offload(len, "abc")
        await offload.close()
        return found

    assert in_loop(scene()) == 3


def test_closing_drops_what_waits_for_a_thread() -> None:
    offload = AsyncOffload()
    busy = threading.Barrier(WORKERS + 1)
    release = threading.Event()
    names: set[str] = set()

    def work() -> None:
        names.add(threading.current_thread().name)
        busy.wait(60)
        assert release.wait(60)

    async def scene() -> None:
        running = [asyncio.ensure_future(offload(work)) for _ in range(WORKERS)]
        waiting = asyncio.ensure_future(offload(work))
        await asyncio.sleep(0)
        busy.wait(60)
        await offload.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        await asyncio.gather(*running)

    in_loop(scene())
    assert len(names) == WORKERS


# ---------------------------------------------------------------------- gather


def test_results_come_in_order(host: Host) -> None:
    ports = host.ports()

    async def give(number: int) -> int:
        return number

    async def use() -> list[list[int]]:
        return [await ports.gather(*[give(number) for number in range(count)]) for count in range(4)]

    assert host.run(use()) == [[], [0], [0, 1], [0, 1, 2]]


def test_the_first_exception_ends_the_others(host: Host) -> None:
    ports = host.ports()
    ended: list[str] = []

    async def good() -> str:
        ended.append("good")
        return "good"

    async def bad() -> str:
        raise KeyError("first")

    async def late() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("late")
        raise ValueError("never")

    with pytest.raises(KeyError, match="first"):
        # Where they run at once, the first one is still waiting when another fails.
        host.run(ports.gather(*([late(), good(), bad()] if host.color == "async" else [good(), bad(), late()])))
    assert ended == (["good", "late"] if host.color == "async" else ["good"])


def test_gathering_is_concurrent_on_a_loop() -> None:
    ports = Host("async").ports()

    async def scene() -> list[str]:
        first, second = asyncio.Event(), asyncio.Event()

        async def one() -> str:
            first.set()
            await second.wait()
            return "one"

        async def two() -> str:
            await first.wait()
            second.set()
            return "two"

        return await ports.gather(one(), two())

    assert in_loop(scene()) == ["one", "two"]


def test_cancelling_who_gathers_cancels_all() -> None:
    ports = Host("async").ports()
    ended: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(number)

    async def scene() -> None:
        before = asyncio.all_tasks()
        gathering = asyncio.ensure_future(ports.gather(wait(0), wait(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        assert asyncio.all_tasks() == before

    in_loop(scene())
    assert sorted(ended) == [0, 1]


# ---------------------------------------------------------------------- driving a coroutine


def test_a_coroutine_ends_in_one_step() -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    async def fail() -> None:
        raise RuntimeError("its own")

    assert finish(add(1, 2), "sum") == 3
    with pytest.raises(RuntimeError, match="its own") as caught:
        finish(fail(), "failure")
    assert not isinstance(caught.value, Suspended)


class Suspension:
    """Suspends once, as a future that is not done does."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def test_suspending_without_a_loop_names_who_did() -> None:
    ended: list[str] = []

    async def suspend() -> None:
        try:
            await Suspension()
        finally:
            ended.append("closed")

    async def stubborn() -> None:
        try:
            await Suspension()
        finally:
            await Suspension()

    async def needs_a_loop() -> None:
        await asyncio.sleep(1.0)

    for wait in (suspend, stubborn, needs_a_loop):
        with pytest.raises(Suspended, match=r"plug-in team-header waited .* exchange\.ports .* asyncio_only"):
            finish(wait(), "plug-in team-header")
    assert ended == ["closed"]
