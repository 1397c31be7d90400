from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.pacing import GUARD_SECONDS, UNLIMITED, Budget, Limits, Pacer
from service.core.throttle import CUT, LEAST_FACTOR, Throttle
from tests.windows import TooSoon, too_soon, used

START = 1000.0

jitters = st.none() | st.floats(0.001, 3.0)
limits = st.builds(
    Limits,
    per_second=st.floats(0.05, 200.0),
    per_minute=st.none() | st.integers(1, 600),
    jitter_seconds=jitters,
) | st.builds(Limits, per_second=st.none(), per_minute=st.integers(1, 600), jitter_seconds=jitters)
#: fractions of the longest window that pass before a step, and what the step is
fractions = st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 1.0])


def broken(limits: Limits, calls: Sequence[float]) -> list[TooSoon]:
    """Calls one too many for their window; the birth of the pacer stands for N of them."""
    found = []
    for budget in limits.budgets():
        times = [START] * budget.calls + list(calls)
        found += too_soon(times, budget.calls, budget.window_seconds)
    return found


@given(
    limits=limits,
    steps=st.lists(
        st.tuples(
            fractions,
            st.sampled_from(["plan", "plan", "begin", "begin", "abandon"]),
            st.integers(0, 10),
        ),
        max_size=120,
    ),
)
def test_no_window_is_ever_broken_however_late_calls_are_made(
    limits: Limits, steps: list[tuple[float, str, int]]
) -> None:
    longest = max(budget.window_seconds for budget in limits.budgets())
    pacer = Pacer(limits, START)
    now = START
    planned: list[int] = []
    calls: list[float] = []
    for fraction, action, which in steps:
        now += fraction * longest
        if action == "plan":
            planned.append(pacer.plan(now)[0])
        elif planned:
            slot = planned.pop(which % len(planned))
            if action == "begin" and pacer.begin(slot, now):
                calls.append(now)
    assert broken(limits, calls) == []


@given(
    first=limits,
    steps=st.lists(
        st.tuples(
            fractions,
            st.sampled_from(["plan", "plan", "begin", "begin", "abandon", "change", "throttle"]),
            st.integers(0, 10),
            limits,
        ),
        max_size=120,
    ),
)
def test_changed_limits_hold_at_once_and_count_the_calls_before(
    first: Limits, steps: list[tuple[float, str, int, Limits]]
) -> None:
    in_force = first
    pacer = Pacer(first, START)
    now = START
    planned: list[int] = []
    calls: list[float] = []
    for fraction, action, which, other in steps:
        now += fraction * max(budget.window_seconds for budget in in_force.budgets())
        if action == "plan":
            planned.append(pacer.plan(now)[0])
        elif action == "change":
            in_force = other
            pacer.change(other)
        elif action == "throttle":
            pacer.throttle.cut(now, now)
        elif planned:
            slot = planned.pop(which % len(planned))
            if action == "begin" and pacer.begin(slot, now):
                calls.append(now)
                # Whatever held before, this call fits the limits of now.
                late = [breach for breach in broken(in_force, calls) if breach.late == now]
                assert late == []


@given(limits=limits, ahead=st.integers(1, 20))
def test_a_full_lane_uses_its_rate(limits: Limits, ahead: int) -> None:
    budgets = limits.budgets()
    rate = limits.rate()
    assert rate is not None
    count = 3 * max(budget.calls for budget in budgets)
    # Jitter of every size in turn, so that its mean is what it is on the whole.
    pacer = Pacer(limits, START, draw=cycle([0.0, 1.0, 0.25, 0.75]).__next__)
    now = START
    calls: list[float] = []
    while len(calls) < count:
        for slot, at in [pacer.plan(now) for _ in range(ahead)]:
            now = at
            assert pacer.begin(slot, at), "a call in time is never refused"
            calls.append(at)
    first = START + max(budget.window_seconds for budget in budgets)
    elapsed = calls[count - 1] - first
    jitter = 2 * (limits.jitter_seconds or 0.0)
    assert elapsed <= count / rate / 0.99 + 2 * GUARD_SECONDS + jitter
    assert broken(limits, calls) == []


@pytest.mark.parametrize(
    ("limits", "first"),
    [
        (Limits(per_second=80.0), 1.0),
        (Limits(per_second=0.25), 4.0),
        (Limits(per_second=2.5), 0.8),
        (Limits(per_minute=20), 60.0),
        (Limits(per_second=80.0, per_minute=20), 60.0),
    ],
)
def test_a_new_pacer_waits_a_window(limits: Limits, first: float) -> None:
    pacer = Pacer(limits, START)
    slot, at = pacer.plan(START)
    assert at == pytest.approx(START + first + GUARD_SECONDS)
    assert not pacer.begin(slot, START + first - 0.001)
    assert pacer.begin(slot, at)


@pytest.mark.parametrize(
    ("per_second", "budget"),
    [
        (80.0, Budget(80, 1.0)),
        (2.5, Budget(2, 0.8)),
        (1.0, Budget(1, 1.0)),
        (0.5, Budget(1, 2.0)),
        (0.1, Budget(1, 10.0)),
    ],
)
def test_a_fraction_per_second_is_a_longer_window(per_second: float, budget: Budget) -> None:
    assert Limits(per_second=per_second).budgets() == [budget]
    assert Limits(per_second=per_second).rate() == pytest.approx(per_second)


def test_the_narrowest_limit_is_the_rate() -> None:
    assert Limits(per_second=10.0, per_minute=30).rate() == 0.5
    assert Limits(per_second=0.1, per_minute=30).rate() == pytest.approx(0.1)
    assert Limits().rate() is None


def test_calls_are_spaced_evenly() -> None:
    pacer = Pacer(Limits(per_second=10.0), START)
    times = [pacer.plan(START)[1] for _ in range(10)]
    gaps = [late - early for early, late in pairwise(times)]
    assert gaps == pytest.approx([0.1] * 9)


def test_without_limits_every_call_is_now() -> None:
    pacer = Pacer(Limits(), START)
    for _ in range(5):
        slot, at = pacer.plan(START)
        assert at == START
        assert pacer.begin(slot, START)


def test_a_late_call_shifts_the_window_behind_it() -> None:
    pacer = Pacer(Limits(per_second=1.0), START)
    first, _ = pacer.plan(START)
    second, at = pacer.plan(START)
    assert pacer.begin(first, START + 1.9)
    assert not pacer.begin(second, at)
    assert not pacer.begin(second, START + 2.8)
    assert pacer.begin(second, START + 2.91)


def test_calls_keep_their_distance_from_when_the_last_was_written() -> None:
    """A process may stand still between its leave to call and the call."""
    pacer = Pacer(Limits(per_second=2.0), START)
    slots = [pacer.plan(START)[0] for _ in range(3)]
    assert all(pacer.begin(slot, START + 2.0) for slot in slots[:2])
    pacer.made(slots[:2], START + 2.0, START + 2.3)
    assert not pacer.begin(slots[2], START + 3.29)
    assert pacer.begin(slots[2], START + 3.31)
    assert pacer.plan(START)[1] == pytest.approx(START + 3.3 + GUARD_SECONDS)


def test_small_delays_do_not_add_up() -> None:
    """Every call two milliseconds late costs that much of a second, not of every call."""
    pacer = Pacer(Limits(per_second=20.0), START)
    calls: list[float] = []
    now = START
    while len(calls) < 200:
        slot, at = pacer.plan(now)
        now = at + 0.002
        assert pacer.begin(slot, now)
        calls.append(now)
    assert (len(calls) - 1) / (calls[-1] - calls[0]) >= 0.99 * 20.0


@given(
    limits=st.builds(
        Limits,
        per_second=st.none() | st.floats(0.05, 50.0),
        per_minute=st.none() | st.integers(1, 600),
        jitter_seconds=st.floats(0.01, 5.0),
    ),
    draws=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=7),
)
def test_jitter_spreads_calls_between_the_even_gap_and_that_much_more(
    limits: Limits, draws: list[float]
) -> None:
    even = max([budget.window_seconds / budget.calls for budget in limits.budgets()], default=0.0)
    pacer = Pacer(limits, START, draw=cycle(draws).__next__)
    longest = max([budget.window_seconds for budget in limits.budgets()], default=0.0)
    now = START + longest + 1.0
    times = [pacer.plan(now)[1] for _ in range(60)]
    gaps = [late - early for early, late in pairwise(times)]
    assert min(gaps) >= even + min(draws) * (limits.jitter_seconds or 0.0) - 1e-6
    assert max(gaps) <= even + (limits.jitter_seconds or 0.0) + GUARD_SECONDS + 1e-6


def test_jitter_is_random_and_its_rate_is_what_it_says() -> None:
    limits = Limits(per_minute=20, jitter_seconds=1.0)
    assert limits.rate() == pytest.approx(1 / 3.5)
    pacer = Pacer(limits, START)
    times = [pacer.plan(START)[1] for _ in range(2000)]
    assert used(times, 1 / 3.5) == pytest.approx(1.0, abs=0.02)
    assert len({round(late - early, 6) for early, late in pairwise(times)}) > 1000


def test_a_raised_limit_needs_no_fresh_start() -> None:
    """The calls made are known, so nothing waits a window that is not used up."""
    pacer = Pacer(Limits(per_second=2.0), START)
    slot, at = pacer.plan(START + 5.0)
    assert pacer.begin(slot, at)
    pacer.change(Limits(per_second=2.0, per_minute=100))
    _, at = pacer.plan(START + 5.6)
    assert at == START + 60.0 + GUARD_SECONDS, "it may have been called that often before START"
    pacer.change(Limits(per_second=4.0))
    assert pacer.plan(START + 61.0)[1] == START + 61.0


def test_a_throttled_device_slows_at_once_and_comes_back_slowly_and_by_itself() -> None:
    pacer = Pacer(Limits(per_second=50.0), START)
    now = START + 10.0
    rates = []

    def one_second() -> int:
        nonlocal now
        until, calls = now + 1.0, 0
        while True:
            slot, at = pacer.plan(now)
            if at >= until:
                now = until
                return calls
            now = at
            assert pacer.begin(slot, at)
            calls += 1

    rates.append(one_second())
    assert pacer.throttle.cut(now, now)
    assert not pacer.throttle.cut(now, now - 0.1), "one cut for all calls of before it"
    rates += [one_second(), one_second(), one_second()]
    # The calls before the cut count in the longer window, so at first there are none.
    assert 45 <= rates[0] <= 51
    assert rates[1] == 0
    assert 35 <= rates[2] + rates[3] <= 47
    assert pacer.rate(now) == pytest.approx(22.6, abs=0.2)
    now += 300.0
    assert pacer.rate(now) == pytest.approx(36.5, abs=0.2)
    now += 301.0
    assert pacer.rate(now) == 50.0


def test_whoever_takes_a_throttled_device_over_goes_on_as_slowly() -> None:
    throttle = Throttle()
    throttle.cut(START, START)
    successor = Pacer(Limits(per_second=10.0), START, throttle=Throttle(throttle.full_at))
    assert successor.rate(START) == pytest.approx(10.0 * CUT)


def test_an_unlimited_device_that_is_throttled_has_a_rate_for_a_while() -> None:
    pacer = Pacer(Limits(), START)
    assert pacer.rate(START) is None
    pacer.throttle.cut(START, START)
    assert pacer.rate(START) == pytest.approx(UNLIMITED.calls * CUT)
    times = [pacer.plan(START)[1] for _ in range(300)]
    assert too_soon(times, UNLIMITED.calls, 1.9 * UNLIMITED.window_seconds) == []
    assert pacer.rate(START + 601.0) is None


@given(cuts=st.lists(st.floats(0.0, 400.0), min_size=1, max_size=30))
def test_the_throttled_part_is_never_below_its_least_and_grows_between_cuts(
    cuts: list[float],
) -> None:
    throttle, now = Throttle(), START
    for wait in cuts:
        before = throttle.factor(now)
        now += wait
        assert throttle.factor(now) >= before
        before = throttle.factor(now)
        throttle.cut(now, now)
        assert throttle.factor(now) == pytest.approx(max(LEAST_FACTOR, before * CUT))
    assert throttle.factor(now + 1201.0) == 1.0


@pytest.mark.parametrize("bears", [20, 30, 40, 60, 78])
def test_a_throttled_device_settles_a_little_below_what_its_provider_bears(bears: int) -> None:
    """A provider that takes so many in any second, and a device that may send 80."""
    pacer = Pacer(Limits(per_second=80.0), START)
    now, held_until = START + 10.0, 0.0
    taken: deque[float] = deque()
    used: list[float] = []
    while now < START + 310.0:
        slot, at = pacer.plan(max(now, held_until))
        now = at
        if not pacer.begin(slot, at):
            continue
        while taken and taken[0] <= at - 1.0:
            taken.popleft()
        if len(taken) < bears:
            taken.append(at)
            used.append(at)
        elif pacer.throttled(at, slot):
            held_until = at + 1.0
    settled = [at for at in used if at > START + 70.0]
    assert 0.9 <= len(settled) / 240.0 / bears <= 1.0
    assert pacer.rate(now + 1200.0) == 80.0
