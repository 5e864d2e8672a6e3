"""The virtual clock: exact, in order, for every loop and thread."""

import asyncio
import math
import threading
import time

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.testing.clock import SystemClock, VirtualClock

START = 1_700_000_000.0


def test_time_stands_still_and_moves_on_both_scales() -> None:
    clock = VirtualClock(START)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)
    clock.advance(2.5)
    clock.sleep_blocking(1)
    clock.sleep_blocking(-1)
    assert (clock.now(), clock.monotonic()) == (START + 3.5, 3.5)


def test_ten_tenths_are_a_second() -> None:
    clock = VirtualClock()
    for _ in range(10):
        clock.advance(0.1)
    assert clock.monotonic() == 1.0


@pytest.mark.parametrize("seconds", [-0.001, math.inf, -math.inf, math.nan])
def test_time_goes_only_forward_and_never_to_its_end(seconds: float) -> None:
    clock = VirtualClock()
    with pytest.raises(ValueError, match="seconds"):
        clock.advance(seconds)
    assert clock.monotonic() == 0.0


@given(st.lists(st.integers(0, 20), max_size=8), st.lists(st.integers(0, 7), max_size=8))
def test_sleepers_wake_in_the_order_of_their_deadlines_and_not_before(sleeps: list[int], steps: list[int]) -> None:
    async def run() -> list[int]:
        clock = VirtualClock()
        woken: list[int] = []

        async def sleep(place: int, seconds: int) -> None:
            await clock.sleep(seconds)
            woken.append(place)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sleep(place, seconds)) for place, seconds in enumerate(sleeps)]
            await clock.until_sleeping(sum(seconds > 0 for seconds in sleeps))
            await settle()
            for step in steps:
                clock.advance(step)
                await settle()
                assert {sleeps[place] for place in woken} == {one for one in sleeps if one <= clock.monotonic()}
            for task in tasks:
                task.cancel()
        assert clock.sleeping == 0
        return woken

    woken = asyncio.run(run())
    assert woken == sorted(woken, key=lambda place: (sleeps[place], place))


@pytest.mark.anyio
async def test_those_woken_together_run_in_time_order() -> None:
    clock = VirtualClock()
    woken: list[int] = []

    async def sleep(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (3, 1, 2):
            group.create_task(sleep(seconds))
        await clock.until_sleeping(3)
        clock.advance(3)
    assert woken == [1, 2, 3]


@pytest.mark.anyio
async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.until_sleeping()
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), clock.sleeping) == (True, 0)


@pytest.mark.anyio
async def test_a_sleeper_cancelled_after_it_was_woken_stays_cancelled() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(1))
    await clock.until_sleeping()
    clock.advance(1)
    task.cancel()
    await asyncio.wait([task])
    await settle()
    assert task.cancelled()


@pytest.mark.anyio
async def test_for_ever_is_not_a_number_of_seconds() -> None:
    clock = VirtualClock()
    with pytest.raises(ValueError, match="NaN"):
        await clock.sleep(math.nan)
    for_ever = asyncio.create_task(clock.sleep(math.inf))
    await clock.until_sleeping()
    clock.advance(1e9)
    await settle()
    assert not for_ever.done()
    for_ever.cancel()


@pytest.mark.anyio
async def test_waiting_for_sleepers_that_never_come_is_an_error() -> None:
    with pytest.raises(TimeoutError, match="0 tasks wait for the clock, not 1"):
        await VirtualClock().until_sleeping()


def test_one_thread_wakes_the_loops_of_others() -> None:
    clock = VirtualClock()
    all_asleep = threading.Barrier(3)
    ended: list[float] = []

    async def sleep() -> None:
        sleeper = asyncio.create_task(clock.sleep(5))
        await clock.until_sleeping()
        await asyncio.sleep(0)  # ours too, if the other thread's was the one seen
        all_asleep.wait()
        await sleeper
        ended.append(clock.now())

    threads = [threading.Thread(target=asyncio.run, args=(sleep(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    all_asleep.wait()
    clock.sleep_blocking(5)
    for thread in threads:
        thread.join()
    assert ended == [START + 5, START + 5]


def test_the_system_clock_is_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(anyio, "sleep", sleep)
    clock = SystemClock()
    clock.sleep_blocking(1)
    asyncio.run(clock.sleep(2))
    assert slept == [1, 2]
    assert time.monotonic() <= clock.monotonic() <= time.monotonic()
    assert time.time() <= clock.now() + 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
