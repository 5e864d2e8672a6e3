"""Values and lists of the memory store: what expires, what may go early, and what never does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.state import MemoryStore, StoreFull
from aigw_middleware.state.expiry import MAX_QUEUES, Expiries
from aigw_middleware.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store(clock: VirtualClock) -> MemoryStore:
    return MemoryStore(now=clock.now)


def test_a_value_lives_as_long_as_it_was_given(store: MemoryStore, clock: VirtualClock) -> None:
    store.set_now("k", b"1", 10.0)
    store.set_now("for ever", b"2")
    store.set_now("infinite", b"3", math.inf)
    clock.advance(9.9999)
    assert store.get_now("k") == b"1"
    clock.advance(0.0001)  # too soon for another look at what expired
    assert store.get_now("k") is None
    assert not store.delete_now("k")
    clock.advance(1e9)
    assert (store.get_now("for ever"), store.get_now("infinite")) == (b"2", b"3")


def test_writing_again_renews_the_time_to_live(store: MemoryStore, clock: VirtualClock) -> None:
    store.set_now("k", b"1", 10.0)
    store.set_now("k", b"2", 100.0)
    clock.advance(50.0)
    assert store.get_now("k") == b"2"
    store.set_now("k", b"3")
    clock.advance(1_000.0)
    assert store.get_now("k") == b"3"
    assert store.delete_now("k")
    assert store.get_now("k") is None


def test_a_nonce_is_accepted_once(store: MemoryStore, clock: VirtualClock) -> None:
    assert store.set_if_absent_now("n", b"1", 10.0)
    assert not store.set_if_absent_now("n", b"2", 10.0)
    assert store.get_now("n") == b"1"
    clock.advance(10.0)
    assert store.set_if_absent_now("n", b"3", 10.0)


def test_compare_and_set(store: MemoryStore, clock: VirtualClock) -> None:
    assert not store.compare_and_set_now("k", b"absent", b"1")
    assert store.compare_and_set_now("k", None, b"1", 10.0)
    assert not store.compare_and_set_now("k", None, b"2")
    assert not store.compare_and_set_now("k", b"2", b"3")
    assert store.compare_and_set_now("k", b"1", b"2", 20.0)
    clock.advance(15.0)
    assert store.get_now("k") == b"2"


def test_a_list_keeps_its_last_items(store: MemoryStore, clock: VirtualClock) -> None:
    assert store.items_now("l") == []
    for number in range(5):
        store.append_now("l", b"%d" % number, 3, 10.0)
        clock.advance(5.0)
    assert store.items_now("l") == [b"2", b"3", b"4"]
    store.append_now("l", b"5", 2, 10.0)
    assert store.items_now("l") == [b"4", b"5"]
    store.append_now("l", b"6", 4, 10.0)
    assert store.items_now("l") == [b"4", b"5", b"6"]
    clock.advance(10.0)
    assert store.items_now("l") == []
    store.append_now("l", b"7", 1)
    assert store.delete_now("l")


def test_a_key_holds_a_value_or_a_list(store: MemoryStore) -> None:
    store.set_now("v", b"1")
    store.append_now("l", b"1", 5)
    for misuse in (lambda: store.get_now("l"), lambda: store.items_now("v"), lambda: store.append_now("v", b"", 5)):
        with pytest.raises(TypeError, match="the key holds"):
            misuse()
    assert not store.set_if_absent_now("l", b"1")


@pytest.mark.parametrize("ttl", [0.0, -1.0, math.nan])
def test_a_time_to_live_is_above_zero(store: MemoryStore, ttl: float) -> None:
    for write in (
        lambda: store.set_now("k", b"", ttl),
        lambda: store.set_if_absent_now("k", b"", ttl),
        lambda: store.compare_and_set_now("k", None, b"", ttl),
        lambda: store.append_now("k", b"", 5, ttl),
    ):
        with pytest.raises(ValueError, match="time to live"):
            write()
    with pytest.raises(ValueError, match="at least 1"):
        store.append_now("k", b"", 0)
    assert len(store) == 0


def test_the_oldest_value_goes_first(clock: VirtualClock) -> None:
    store = MemoryStore(now=clock.now, max_keys=3)
    for key in ("a", "b", "c"):
        store.set_now(key, b"1", 60.0)
    store.set_now("a", b"2", 60.0)
    store.append_now("l", b"1", 5)
    assert [store.get_now(key) for key in ("a", "b", "c")] == [b"2", None, b"1"]
    store.set_now("d", b"1")
    assert [store.get_now(key) for key in ("a", "c", "d")] == [b"2", None, b"1"]
    assert store.evicted == 2


def test_what_restricts_is_never_evicted(clock: VirtualClock) -> None:
    store = MemoryStore(now=clock.now, max_keys=3)
    store.set_now("cached", b"1", 60.0)
    for number in range(3):
        assert store.set_if_absent_now(f"n{number}", b"", 60.0)
    assert (store.evicted, store.get_now("cached")) == (1, None)
    with pytest.raises(StoreFull):
        store.set_if_absent_now("n3", b"", 60.0)
    with pytest.raises(StoreFull):
        store.compare_and_set_now("n3", None, b"", 60.0)
    store.set_now("n0", b"open", 60.0)
    store.set_now("cached", b"2", 60.0)
    store.append_now("list", b"2", 3)
    assert (store.get_now("cached"), store.items_now("list"), store.evicted) == (None, [], 3)
    assert [store.get_now(f"n{number}") for number in range(3)] == [b"open", b"", b""]
    assert store.compare_and_set_now("n1", b"", b"changed", 60.0)
    clock.advance(60.0)
    assert store.set_if_absent_now("n3", b"", 60.0)


def test_values_that_may_go_have_a_bound_in_bytes(clock: VirtualClock) -> None:
    store = MemoryStore(now=clock.now, max_bytes=10)
    store.set_if_absent_now("nonce", b"x" * 100)
    for number in range(4):
        store.set_now(f"k{number}", b"x" * 3)
    assert [store.get_now(f"k{number}") for number in range(4)] == [None, b"xxx", b"xxx", b"xxx"]
    store.set_now("huge", b"x" * 11)
    assert store.get_now("huge") is None
    assert store.get_now("k1") == b"xxx"
    store.delete_now("k2")
    store.append_now("l", b"xx", 9)
    store.append_now("l", b"xx", 9)
    assert [store.get_now(f"k{number}") for number in (1, 3)] == [b"xxx", b"xxx"]
    store.append_now("l", b"x", 9)
    assert [store.get_now(f"k{number}") for number in (1, 3)] == [None, b"xxx"]
    assert store.get_now("nonce") == b"x" * 100


def test_expired_values_leave_a_few_at_a_time(store: MemoryStore, clock: VirtualClock) -> None:
    store.set_now("for ever", b"")
    for number in range(300):
        store.set_now(f"k{number}", b"", 10.0 + number % 7)
    clock.advance(17.0)
    for _ in range(60):
        before = len(store)
        clock.advance(0.002)
        assert store.get_now("for ever") == b""
        assert before - len(store) <= 8
    assert len(store) == 1
    assert store.get_now("for ever") == b""


def test_many_lifetimes_share_queues_of_their_size() -> None:
    expiries = Expiries()
    for number in range(2_000):
        expiries.add(f"k{number}", 100.0 + number, 0.0)
    assert len(expiries._queues) <= MAX_QUEUES + 10
    expiries.add("slow", 5_000.5, 0.0)
    expiries.add("fast", 1.5, 0.0)
    assert expiries.pop_due(2.0, math.inf) == ["fast"]
    assert len(expiries.pop_due(100.0 + 4_096.0, math.inf)) == 2_000


LIFETIMES = st.floats(0.5, 5_000, allow_nan=False)


@given(st.lists(st.tuples(LIFETIMES, st.booleans(), st.floats(0, 30)), max_size=3 * MAX_QUEUES))
def test_keys_run_out_never_early_and_at_the_latest_after_twice_their_time(
    steps: list[tuple[float, bool, float]],
) -> None:
    expiries = Expiries()
    now = 0.0
    alive: dict[str, tuple[float, float]] = {}
    for number, (lifetime, removed, passes) in enumerate(steps):
        key = str(number)
        queue = expiries.add(key, lifetime, now)
        if removed:
            expiries.discard(key, queue)
        else:
            alive[key] = (now + lifetime, now + 2 * lifetime)
        now += passes
        due = expiries.pop_due(now, 5)
        assert len(due) <= 5
        for key in due:
            assert alive.pop(key)[0] <= now
        if len(due) < 5:
            assert all(late > now for _, late in alive.values())
    assert sorted(expiries.pop_due(now + 10_000, math.inf)) == sorted(alive)
    assert expiries.pop_due(math.inf, math.inf) == []
    assert not expiries._queues
