"""Rates of the memory store against an exact model, and its bounds: threads, clocks, room."""

import math
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.ports.drive import finish
from aigw_middleware.state import Claim, ImmediateStore, Limit, MemoryStore, Store, StoreFull, Taken, Window
from aigw_middleware.state.memory import SWEPT
from aigw_middleware.state.store import GRID, SLACK

START = 1_700_000_000.0
TICK = 2.0**-22  # the step of a double of epoch seconds


class HandClock:
    """Epoch seconds that go where a test puts them, also backwards."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store(clock: HandClock) -> MemoryStore:
    return MemoryStore(now=clock)


def numbers(taken: Taken) -> tuple[bool, int, int, float, float]:
    return taken.allowed, taken.limit, taken.remaining, taken.retry_after, taken.reset_after


# ---------------------------------------------------------------------- GCRA


LIMITS = st.builds(
    Limit,
    st.integers(1, 5_000) | st.integers(1, 10**7),
    st.floats(0.01, 100_000, allow_nan=False),
    st.none() | st.integers(1, 5_000),
)
STEPS = st.lists(st.tuples(st.integers(0, 2**26), st.integers(0, 40)), min_size=1, max_size=60)


@given(LIMITS, STEPS)
def test_rates_equal_an_exact_model(limit: Limit, steps: list[tuple[int, int]]) -> None:
    clock = HandClock()
    store = MemoryStore(now=clock)
    for number in range(5 * SWEPT):
        store.take_now(f"other{number}", Limit(1, 1e6))  # so that an idle key is not always swept before it is used
    grid = Fraction(GRID)
    interval = max(math.floor(Fraction(limit.period / limit.capacity) / grid), 1) * grid
    slack = min(Fraction(SLACK), math.floor(interval / 4 / grid) * grid)
    size = limit.burst or limit.capacity
    full = size * interval
    arrival = Fraction(0)
    for ticks, cost in steps:
        clock.time += ticks * TICK
        now = Fraction(clock.time)
        ahead = max(Fraction(0), arrival - now)
        wait = ahead + cost * interval - full
        allowed = wait <= slack
        if allowed:
            ahead += cost * interval
            arrival = now + ahead
        retry_after = 0 if allowed else wait if cost <= size else math.inf
        taken = store.take_now("k", limit, cost)
        assert (taken.allowed, taken.limit) == (allowed, size)
        assert taken.remaining == math.floor((full + slack - ahead) / interval)
        assert Fraction(taken.reset_after) == ahead
        assert taken.retry_after == retry_after


@given(LIMITS, STEPS)
def test_rates_are_those_of_the_ideal_algorithm_to_nanoseconds(limit: Limit, steps: list[tuple[int, int]]) -> None:
    clock = HandClock()
    store = MemoryStore(now=clock)
    interval = Fraction(limit.period) / limit.capacity
    size = limit.burst or limit.capacity
    arrival = Fraction(0)
    units = 0
    for ticks, cost in steps:
        clock.time += ticks * TICK
        now = Fraction(clock.time)
        later = max(arrival, now) + cost * interval
        wait = later - now - size * interval
        units += cost
        taken = store.take_now("k", limit, cost)
        if taken.allowed:
            arrival = later
        doubt = SLACK + (units + size) * GRID
        if abs(wait) > doubt:
            assert taken.allowed == (wait < 0)
        assert taken.reset_after == pytest.approx(float(max(arrival - now, Fraction(0))), abs=doubt)


def test_the_numbers_are_those_of_redis_cell(store: MemoryStore, clock: HandClock) -> None:
    limit = Limit(30, 60.0, burst=16)  # CL.THROTTLE key 15 30 60
    assert numbers(store.take_now("k", limit)) == (True, 16, 15, 0.0, 2.0)
    assert numbers(store.take_now("k", limit, 15)) == (True, 16, 0, 0.0, 32.0)
    assert numbers(store.take_now("k", limit)) == (False, 16, 0, 2.0, 32.0)
    assert numbers(store.take_now("k", limit, 3)) == (False, 16, 0, 6.0, 32.0)
    clock.time += 5.0
    assert numbers(store.take_now("k", limit, 3)) == (False, 16, 2, 1.0, 27.0)
    assert numbers(store.take_now("k", limit, 0)) == (True, 16, 2, 0.0, 27.0)
    assert numbers(store.take_now("k", limit, 2)) == (True, 16, 0, 0.0, 31.0)
    assert numbers(store.take_now("k", limit, 17)) == (False, 16, 0, math.inf, 31.0)
    clock.time += 1_000.0
    assert numbers(store.take_now("k", limit)) == (True, 16, 15, 0.0, 2.0)
    assert numbers(store.take_now("new", limit, 17)) == (False, 16, 16, math.inf, 0.0)
    assert numbers(store.take_now("new", limit, 0)) == (True, 16, 16, 0.0, 0.0)
    assert len(store) == 1


@pytest.mark.parametrize(
    ("capacity", "period"), [(100_000, 60.0), (7, 60.0), (1_000, 1.0), (3, 86_400.0), (5_000, 0.002), (3, 1e-9)]
)
def test_a_bucket_lets_through_exactly_its_size(store: MemoryStore, capacity: int, period: float) -> None:
    limit = Limit(capacity, period)
    assert sum(store.take_now("k", limit).allowed for _ in range(capacity + 50)) == capacity


@pytest.mark.parametrize("period", [0.1, 0.7, 60.0, 3_600.1])
def test_who_waits_as_told_is_let_through(store: MemoryStore, clock: HandClock, period: float) -> None:
    limit = Limit(7, period)
    store.take_now("k", limit, 7)
    for _ in range(200):
        refused = store.take_now("k", limit)
        assert not refused.allowed
        clock.time += refused.retry_after
        assert store.take_now("k", limit).allowed


def test_idleness_saves_no_more_than_a_full_bucket(store: MemoryStore, clock: HandClock) -> None:
    limit = Limit(4, 0.000_4)
    store.take_now("k", limit)
    clock.time += 0.000_8  # idle, and too soon for another look at what is
    assert sum(store.take_now("k", limit).allowed for _ in range(10)) == 4


def test_a_lowered_limit_does_not_lock_longer_than_itself(store: MemoryStore, clock: HandClock) -> None:
    store.take_now("k", Limit(10, 86_400.0), 10)
    lowered = Limit(2, 60.0)
    assert numbers(store.take_now("k", lowered)) == (False, 2, 0, 30.0, 60.0)
    clock.time += 30.0
    assert store.take_now("k", lowered).allowed


def test_a_cost_below_zero_is_refused(store: MemoryStore) -> None:
    limit = Limit(5, 60.0)
    for _ in range(2):  # a new key, and one that is there
        with pytest.raises(ValueError, match="cost"):
            store.take_now("k", limit, -1)
        store.take_now("k", limit)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Limit(0, 60.0),
        lambda: Limit(5, 60.0, 0),
        lambda: Limit(5, 0.0),
        lambda: Limit(5, math.inf),
        lambda: Limit(5, math.nan),
        lambda: Window(-1, 60.0),
        lambda: Window(5, -1.0),
        lambda: Window(5, math.nan),
    ],
)
def test_limits_out_of_range_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="needs"):
        wrong()


def test_peek_charges_nothing(store: MemoryStore) -> None:
    limit = Limit(3, 60.0)
    assert numbers(store.peek_now("k", limit)) == (True, 3, 3, 0.0, 0.0)
    assert len(store) == 0
    store.take_now("k", limit, 2)
    for _ in range(3):
        assert numbers(store.peek_now("k", limit, 2)) == (False, 3, 1, 20.0, 40.0)
    assert store.take_now("k", limit).remaining == 0


def test_take_all_charges_all_or_nothing(store: MemoryStore) -> None:
    narrow, wide = Limit(2, 60.0), Limit(10, 60.0)
    both = [("n", narrow, 1), ("w", wide, 4)]
    assert [taken.remaining for taken in store.take_all_now(both)] == [1, 6]
    assert [taken.remaining for taken in store.take_all_now(both)] == [0, 2]
    refused = store.take_all_now([("n", narrow, 0), ("new", wide, 1), ("w", wide, 4)])
    assert [taken.allowed for taken in refused] == [True, True, False]
    assert [taken.remaining for taken in refused] == [0, 10, 2]
    assert refused[2].retry_after == 12.0
    assert len(store) == 2
    assert store.peek_now("w", wide).remaining == 2


def test_take_all_counts_a_key_named_twice(store: MemoryStore) -> None:
    limit = Limit(3, 60.0)
    assert [taken.allowed for taken in store.take_all_now([("k", limit, 2), ("k", limit, 2)])] == [True, False]
    assert store.peek_now("k", limit).remaining == 3
    assert [taken.remaining for taken in store.take_all_now([("k", limit, 1), ("k", limit, 2)])] == [2, 0]


# ---------------------------------------------------------------------- threads


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Let the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count: int, work: Callable[[], int]) -> int:
    results: list[int] = []
    start = threading.Barrier(count)

    def run() -> None:
        start.wait()
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return sum(results)


@pytest.mark.usefixtures("eager_threads")
def test_eight_threads_take_exactly_the_capacity(store: MemoryStore) -> None:
    limit = Limit(30_000, 60.0)
    assert in_threads(8, lambda: sum(store.take_now("k", limit).allowed for _ in range(10_000))) == 30_000


@pytest.mark.usefixtures("eager_threads")
def test_eight_threads_take_all_or_nothing(store: MemoryStore) -> None:
    requests = [("a", Limit(700, 60.0), 1), ("b", Limit(500, 60.0), 1)]
    work = lambda: sum(all(taken.allowed for taken in store.take_all_now(requests)) for _ in range(200))  # noqa: E731
    assert in_threads(8, work) == 500
    assert store.peek_now("a", requests[0][1]).remaining == 200


@pytest.mark.usefixtures("eager_threads")
def test_eight_threads_reserve_and_settle_exactly(store: MemoryStore) -> None:
    window = Window(1_000, 60.0)

    def work() -> int:
        used = 0
        for _ in range(200):
            reserved = store.reserve_now([Claim("k", window, 3)], 60.0)
            if reserved.id is not None:
                used += 2 * store.settle_now(reserved.id, [2])
        return used

    used = in_threads(8, work)
    assert 990 <= used <= 1_000
    assert store.reserve_now([Claim("k", window, 0)], 60.0).remaining == (1_000 - used,)


# ---------------------------------------------------------------------- clocks


def test_a_clock_set_back_gives_nothing_and_locks_nobody(store: MemoryStore, clock: HandClock) -> None:
    limit = Limit(6, 60.0)
    store.take_now("k", limit, 6)
    clock.time -= 7_200.0
    refused = store.take_now("k", limit)
    assert (refused.allowed, refused.retry_after) == (False, 10.0)
    clock.time += 10.0
    assert not store.take_now("k", limit).allowed  # the second that a clock behind is waited for
    clock.time += 1.0
    assert store.take_now("k", limit).allowed
    assert not store.take_now("k", limit).allowed


def test_jitter_refills_nothing(store: MemoryStore, clock: HandClock) -> None:
    limit = Limit(10, 1.0)
    store.take_now("k", limit, 10)
    for _ in range(1_000):
        clock.time -= 0.09
        assert not store.take_now("k", limit).allowed
        clock.time += 0.09
        assert not store.take_now("k", limit).allowed


def test_windows_and_values_end_though_the_clock_was_set_back(store: MemoryStore, clock: HandClock) -> None:
    claim = Claim("k", Window(1, 60.0), 1)
    store.reserve_now([claim], 600.0)
    store.set_now("v", b"1", 60.0)
    clock.time -= 7_200.0
    assert store.reserve_now([claim], 600.0).retry_after == 60.0
    clock.time += 61.0
    assert store.reserve_now([claim], 600.0).allowed
    assert store.get_now("v") is None


# ---------------------------------------------------------------------- room


def test_idle_keys_leave_a_few_at_a_time(store: MemoryStore, clock: HandClock) -> None:
    limit = Limit(10, 1.0)
    for number in range(5_000):
        store.take_now(f"k{number}", limit)
    assert len(store) == 5_000
    clock.time += 60.0
    store.take_now("busy", limit)
    for _ in range(5_000 // SWEPT + 1):
        before = len(store)
        clock.time += 0.002
        store.take_now("busy", limit)
        assert before - SWEPT <= len(store) <= before
        before = len(store)
        store.take_now("busy", limit)  # the clock did not move: no look
        assert len(store) == before
    assert len(store) == 1
    assert store.peek_now("busy", limit).remaining < 10


def test_new_keys_push_idle_ones_out(store: MemoryStore, clock: HandClock) -> None:
    limit = Limit(1, 0.1)
    for number in range(20_000):
        clock.time += 0.000_05
        store.take_now(f"k{number}", limit)
    assert len(store) <= 5_000  # 2,000 of them restrict at any time


def test_idle_keys_make_room_wherever_they_are(clock: HandClock) -> None:
    store = MemoryStore(now=clock, max_keys=30)
    for number in range(20):
        store.take_now(f"k{number}", Limit(1, 3_600.0))
    for number in range(10):
        store.take_now(f"idle{number}", Limit(1, 1.0))
    clock.time += 60.0
    assert all(store.take_now(f"new{number}", Limit(1, 60.0)).allowed for number in range(10))
    assert (store.overflowed, len(store)) == (0, 30)


def test_without_room_new_keys_share_a_bucket_and_old_ones_still_restrict(clock: HandClock) -> None:
    store = MemoryStore(now=clock, max_keys=10)
    limit = Limit(2, 60.0)
    for number in range(10):
        store.take_now(f"k{number}", limit, 2)
    assert store.overflowed == 0
    assert [store.take_now(f"new{number}", limit).allowed for number in range(4)] == [True, True, False, False]
    assert store.overflowed == 4
    assert not store.peek_now("another", limit).allowed
    assert store.take_now("another", Limit(5, 60.0)).allowed  # a bucket per limit
    assert not any(store.take_now(f"k{number}", limit).allowed for number in range(10))
    assert len(store) == 12
    clock.time += 61.0
    assert store.take_now("new0", limit).remaining == 1
    assert store.take_now("new1", limit).remaining == 1


def test_without_room_new_windows_share_one(clock: HandClock) -> None:
    store = MemoryStore(now=clock, max_keys=3)
    window = Window(2, 60.0)
    for number in range(3):
        assert store.reserve_now([Claim(f"k{number}", window, 1)], 1.0).allowed
        store.release_now(str(number + 1))
    shared = [store.reserve_now([Claim(f"new{number}", window, 1)], 10.0) for number in range(3)]
    assert [reserved.allowed for reserved in shared] == [True, True, False]
    assert store.overflowed == 3
    clock.time += 61.0
    assert all(store.reserve_now([Claim(f"other{number}", window, 2)], 10.0).allowed for number in range(3))


def test_rates_take_the_room_of_values_that_may_go(clock: HandClock) -> None:
    store = MemoryStore(now=clock, max_keys=4)
    store.set_if_absent_now("nonce", b"", 60.0)
    for number in range(3):
        store.set_now(f"cached{number}", b"x")
    store.take_now("k", Limit(1, 60.0))
    assert (store.evicted, store.overflowed) == (1, 0)
    assert [store.get_now(f"cached{number}") for number in range(3)] == [None, b"x", b"x"]
    assert store.get_now("nonce") == b""


def test_nothing_is_evicted_to_look(clock: HandClock) -> None:
    store = MemoryStore(now=clock, max_keys=1)
    store.set_now("cached", b"x")
    assert store.peek_now("k", Limit(3, 60.0)).remaining == 3
    assert store.evicted == 0


# ---------------------------------------------------------------------- both faces


def test_the_awaitable_face_never_waits(store: MemoryStore) -> None:
    async def use(store: Store) -> list[object]:
        window = Window(5, 60.0)
        first = await store.reserve([Claim("w", window, 2)], 60.0)
        second = await store.reserve([Claim("w", window, 2)], 60.0)
        assert first.id is not None
        assert second.id is not None
        await store.set("v", b"1", 10.0)
        await store.append("list", b"1", 5)
        return [
            (await store.take("k", Limit(3, 60.0))).remaining,
            (await store.peek("k", Limit(3, 60.0))).remaining,
            [taken.remaining for taken in await store.take_all([("k", Limit(3, 60.0), 1)])],
            await store.settle(first.id, [1]),
            await store.release(second.id),
            await store.get("v"),
            await store.set_if_absent("v", b"2"),
            await store.compare_and_set("v", b"1", b"3"),
            await store.get("v"),
            await store.delete("v"),
            await store.items("list"),
        ]

    assert isinstance(store, ImmediateStore)
    assert store.immediate
    answers = finish(use(store), "the memory store")
    assert answers == [2, 2, [1], True, True, b"1", False, True, b"3", True, [b"1"]]
    assert len(store) > 0
    finish(store.close(), "the memory store")
    assert len(store) == 0


def test_making_a_store_starts_nothing() -> None:
    before = threading.active_count()
    store = MemoryStore()
    assert (len(store), threading.active_count()) == (0, before)


def test_reservations_have_a_bound_of_their_own(clock: HandClock) -> None:
    store = MemoryStore(now=clock, max_keys=2)
    claims = [Claim("k", Window(100, 600.0), 1)]
    for _ in range(2):
        store.reserve_now(claims, 10.0)
    with pytest.raises(StoreFull):
        store.reserve_now(claims, 10.0)
    clock.time += 10.0
    late = [store.reserve_now(claims, 10.0).id for _ in range(2)]
    assert all(store.settle_now(id, [1]) for id in late if id is not None)
    assert not store.settle_now("1", [1])  # it waited for a late settlement, and made room
