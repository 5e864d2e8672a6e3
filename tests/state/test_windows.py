"""Windows with reservations: what is used and held never exceeds a window, whatever happens in between."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from aigw_middleware.state import Claim, MemoryStore, Reserved, Window
from aigw_middleware.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store(clock: VirtualClock) -> MemoryStore:
    return MemoryStore(now=clock.now)


MINUTE = Window(10, 60.0)
HOUR = Window(25, 3_600.0)


def made(reserved: Reserved) -> str:
    assert reserved.allowed
    assert reserved.id is not None
    return reserved.id


def left(store: MemoryStore, key: str = "m", window: Window = MINUTE) -> int:
    return store.reserve_now([Claim(key, window, 0)], 0.001).remaining[0]


def test_all_windows_of_a_decision_or_none(store: MemoryStore) -> None:
    claims = [Claim("m", MINUTE, 6), Claim("h", HOUR, 6)]
    first = store.reserve_now(claims, 60.0)
    assert (first.allowed, first.refused, first.remaining, first.retry_after) == (True, None, (4, 19), 0.0)
    assert first.reset_after == (60.0, 3_600.0)
    second = store.reserve_now(claims, 60.0)
    assert (second.id, second.allowed, second.refused) == (None, False, 0)
    assert (second.remaining, second.retry_after) == ((4, 19), 60.0)
    assert (left(store), left(store, "h", HOUR)) == (4, 19)


def test_a_window_starts_with_its_first_hit_and_ends_a_period_later(store: MemoryStore, clock: VirtualClock) -> None:
    store.settle_now(made(store.reserve_now([Claim("m", MINUTE, 10)], 600.0)), [10])
    clock.advance(45.0)
    assert store.reserve_now([Claim("m", MINUTE, 1)], 600.0).retry_after == 15.0
    clock.advance(15.0)
    again = store.reserve_now([Claim("m", MINUTE, 1)], 600.0)
    assert (again.allowed, again.remaining, again.reset_after) == (True, (9,), (60.0,))


def test_a_refused_decision_starts_no_window(store: MemoryStore, clock: VirtualClock) -> None:
    refused = store.reserve_now([Claim("m", MINUTE, 1), Claim("h", HOUR, 26)], 60.0)
    assert (refused.refused, refused.retry_after, refused.remaining) == (1, math.inf, (10, 25))
    assert len(store) == 0
    clock.advance(30.0)
    assert store.reserve_now([Claim("m", MINUTE, 1)], 60.0).reset_after == (60.0,)


def test_the_longest_wait_is_named(store: MemoryStore) -> None:
    store.reserve_now([Claim("m", MINUTE, 10), Claim("h", HOUR, 25)], 60.0)
    refused = store.reserve_now([Claim("m", MINUTE, 1), Claim("h", HOUR, 1), Claim("x", MINUTE, 1)], 60.0)
    assert (refused.refused, refused.retry_after, refused.remaining) == (1, 3_600.0, (0, 0, 10))


def test_two_claims_on_one_window_count_together(store: MemoryStore) -> None:
    assert not store.reserve_now([Claim("m", MINUTE, 6), Claim("m", MINUTE, 5)], 60.0).allowed
    twice = made(store.reserve_now([Claim("m", MINUTE, 6), Claim("m", MINUTE, 4)], 60.0))
    assert left(store) == 0
    store.settle_now(twice, [1, 2])
    assert left(store) == 7


@pytest.mark.parametrize(("actual", "remaining"), [(0, 10), (3, 7), (6, 4), (9, 1), (30, 0), (-5, 10)])
def test_what_was_used_is_charged_whatever_it_is(store: MemoryStore, actual: int, remaining: int) -> None:
    assert store.settle_now(made(store.reserve_now([Claim("m", MINUTE, 6)], 60.0)), [actual])
    assert store.reserve_now([Claim("m", MINUTE, 11)], 60.0).remaining == (remaining,)


def test_a_reservation_ends_once(store: MemoryStore) -> None:
    settled = made(store.reserve_now([Claim("m", MINUTE, 2)], 60.0))
    released = made(store.reserve_now([Claim("m", MINUTE, 2)], 60.0))
    assert [store.settle_now(settled, [1]), store.settle_now(settled, [1]), store.release_now(settled)] == [
        True,
        False,
        False,
    ]
    assert [store.release_now(released), store.release_now(released), store.settle_now(released, [9])] == [
        True,
        False,
        False,
    ]
    assert not store.settle_now("unknown", [1])
    assert left(store) == 9


def test_a_wrong_number_of_amounts_changes_nothing(store: MemoryStore) -> None:
    id = made(store.reserve_now([Claim("m", MINUTE, 2)], 60.0))
    with pytest.raises(ValueError, match="1 amounts were reserved, 2"):
        store.settle_now(id, [1, 1])
    assert left(store) == 8
    assert store.settle_now(id, [1])


@pytest.mark.parametrize(
    ("claims", "lease"),
    [
        ([], 60.0),
        ([Claim("m", MINUTE, 1), Claim("h", HOUR, -1)], 60.0),
        ([Claim("m", MINUTE, 1)], 0.0),
        ([Claim("m", MINUTE, 1)], math.inf),
        ([Claim("m", MINUTE, 1)], math.nan),
    ],
)
def test_wrong_reservations_are_refused(store: MemoryStore, claims: list[Claim], lease: float) -> None:
    with pytest.raises(ValueError, match=r"needs|at least"):
        store.reserve_now(claims, lease)
    assert left(store) == 10


def test_a_lease_that_ran_out_gives_back_what_it_held(store: MemoryStore, clock: VirtualClock) -> None:
    store.reserve_now([Claim("h", HOUR, 25)], 10.0)
    clock.advance(9.999)
    assert not store.reserve_now([Claim("h", HOUR, 25)], 10.0).allowed
    clock.advance(0.001)
    assert store.reserve_now([Claim("h", HOUR, 25)], 10.0).allowed


def test_many_leases_that_ran_out_are_given_back_before_anybody_is_refused(
    store: MemoryStore, clock: VirtualClock
) -> None:
    wide = Window(1_000, 3_600.0)
    for number in range(1_000):
        store.reserve_now([Claim("h", wide, 1)], 10.0 + number % 100)  # more different leases than queues
    clock.advance(128.0)
    assert store.reserve_now([Claim("h", wide, 1_000)], 10.0).allowed


def test_a_settlement_after_the_lease_is_charged_once(store: MemoryStore, clock: VirtualClock) -> None:
    late = made(store.reserve_now([Claim("h", HOUR, 5)], 10.0))
    clock.advance(15.0)
    assert left(store, "h", HOUR) == 25
    assert store.settle_now(late, [7])
    assert not store.settle_now(late, [7])
    clock.advance(15.0)
    assert left(store, "h", HOUR) == 18


@pytest.mark.parametrize(("waits", "known"), [(19.9, True), (20.1, False)])
def test_a_reservation_is_forgotten_after_twice_its_lease(
    store: MemoryStore, clock: VirtualClock, waits: float, known: bool
) -> None:
    late = made(store.reserve_now([Claim("h", HOUR, 5)], 10.0))
    clock.advance(waits)
    for _ in range(2):
        clock.advance(0.01)
        store.get_now("nothing")
    assert store.settle_now(late, [7]) == known
    assert left(store, "h", HOUR) == (18 if known else 25)


def test_a_settlement_is_charged_to_the_window_it_was_reserved_from(store: MemoryStore, clock: VirtualClock) -> None:
    long = made(store.reserve_now([Claim("m", MINUTE, 10)], 600.0))
    clock.advance(60.0)
    assert left(store) == 10
    assert store.settle_now(long, [10])
    assert left(store) == 10


def test_a_lowered_capacity_holds_at_once(store: MemoryStore) -> None:
    store.settle_now(made(store.reserve_now([Claim("m", MINUTE, 8)], 60.0)), [8])
    refused = store.reserve_now([Claim("m", Window(5, 60.0), 1)], 60.0)
    assert (refused.allowed, refused.remaining) == (False, (0,))


def test_windows_that_ended_leave(store: MemoryStore, clock: VirtualClock) -> None:
    for number in range(500):
        store.release_now(made(store.reserve_now([Claim(f"k{number}", MINUTE, 1)], 60.0)))
    assert len(store) == 500
    clock.advance(60.0)
    for _ in range(100):
        clock.advance(0.002)
        store.get_now("nothing")
    assert len(store) == 0


def test_a_window_that_ended_but_was_not_swept_starts_anew(store: MemoryStore, clock: VirtualClock) -> None:
    for number in range(50):
        store.settle_now(made(store.reserve_now([Claim(f"k{number}", MINUTE, 10)], 60.0)), [10])
    clock.advance(60.0)
    longer = Window(10, 120.0)
    again = store.reserve_now([Claim("k49", longer, 10)], 600.0)
    assert (again.allowed, again.reset_after) == (True, (120.0,))
    for _ in range(20):
        clock.advance(1.0)
        store.get_now("nothing")
    assert len(store) == 1
    assert not store.reserve_now([Claim("k49", longer, 1)], 60.0).allowed


def test_a_shared_window_ends_like_any_other(clock: VirtualClock) -> None:
    store = MemoryStore(now=clock.now, max_keys=2)
    for number in range(2):
        store.settle_now(made(store.reserve_now([Claim(f"k{number}", HOUR, 1)], 60.0)), [1])
    store.settle_now(made(store.reserve_now([Claim("new", MINUTE, 10)], 60.0)), [10])
    assert not store.reserve_now([Claim("other", MINUTE, 1)], 60.0).allowed
    clock.advance(59.9999)
    store.get_now("nothing")
    clock.advance(0.0002)  # too soon for another look at what ended
    assert store.reserve_now([Claim("other", MINUTE, 10)], 60.0).reset_after == (60.0,)


class Reservations(RuleBasedStateMachine):
    """Two windows, any order of reserve, settle, release, crash and time; whoever settles does so within the lease."""

    open = Bundle("open")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.store = MemoryStore(now=self.clock.now)
        self.windows = {"m": MINUTE, "h": HOUR}
        self.used: dict[tuple[str, float], int] = {}
        self.held: dict[str, tuple[float, list[tuple[str, float, int]]]] = {}
        self.ends: dict[str, float] = {}

    def expected_left(self, key: str) -> int:
        now, ends = self.clock.now(), self.ends.get(key, -math.inf)
        if ends <= now:
            return self.windows[key].capacity
        held = sum(
            amount
            for expires, claims in self.held.values()
            for name, window, amount in claims
            if expires > now and (name, window) == (key, ends)
        )
        return self.windows[key].capacity - self.used.get((key, ends), 0) - held

    @rule(seconds=st.sampled_from([0.0, 0.25, 7.0, 30.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(
        target=open, minute=st.integers(0, 11), hour=st.none() | st.integers(0, 26), lease=st.sampled_from([5.0, 40.0])
    )
    def reserve(self, minute: int, hour: int | None, lease: float) -> str:
        claims = [Claim("m", MINUTE, minute)] + ([Claim("h", HOUR, hour)] if hour is not None else [])
        fits = all(claim.amount <= self.expected_left(claim.key) for claim in claims)
        before = [self.expected_left(claim.key) for claim in claims]
        reserved = self.store.reserve_now(claims, lease)
        assert reserved.allowed == fits
        charged = [claim.amount if fits else 0 for claim in claims]
        assert list(reserved.remaining) == [was - amount for was, amount in zip(before, charged, strict=True)]
        if reserved.id is None:
            return "refused"
        held = []
        for claim in claims:
            if self.ends.get(claim.key, -math.inf) <= self.clock.now():
                self.ends[claim.key] = self.clock.now() + claim.limit.period
            held.append((claim.key, self.ends[claim.key], claim.amount))
        self.held[reserved.id] = (self.clock.now() + lease, held)
        return reserved.id

    @rule(id=open, shares=st.lists(st.floats(0, 1), min_size=2, max_size=2))
    def settle(self, id: str, shares: list[float]) -> None:
        expires, claims = self.held.get(id, (math.inf, []))
        if expires <= self.clock.now():
            return
        actual = [int(amount * share) for (_, _, amount), share in zip(claims, shares, strict=False)]
        assert self.store.settle_now(id, actual) == (id in self.held)
        for (key, ends, _), amount in zip(claims, actual, strict=True):
            self.used[key, ends] = self.used.get((key, ends), 0) + amount
        self.held.pop(id, None)

    @rule(id=consumes(open))
    def release(self, id: str) -> None:
        expires, _ = self.held.get(id, (math.inf, []))
        if expires > self.clock.now():
            assert self.store.release_now(id) == (self.held.pop(id, None) is not None)

    @rule(id=consumes(open))
    def crash(self, id: str) -> None:
        """Nobody settles it any more: only its lease ends it."""

    @invariant()
    def never_more_than_the_window(self) -> None:
        for key, counter in self.store._windows._counters.items():
            assert counter.used >= 0
            assert counter.reserved >= 0
            assert counter.used + counter.reserved <= self.windows[key].capacity

    def teardown(self) -> None:
        self.clock.advance(40.0)
        self.store._windows.give_back_lapsed(self.clock.now(), math.inf)
        self.left_when_idle()

    def left_when_idle(self) -> None:
        self.store.reserve_now([Claim("m", MINUTE, 11)], 1.0)  # a refusal gives back every lease that ran out
        assert all(counter.reserved == 0 for counter in self.store._windows._counters.values())


TestReservations = Reservations.TestCase
TestReservations.settings = settings(max_examples=60, stateful_step_count=30)
