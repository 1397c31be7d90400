from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.pacing import GUARD_SECONDS, Budget, Limits, Pacer

START = 1000.0

limits = st.builds(
    Limits,
    per_second=st.floats(0.05, 200.0),
    per_minute=st.none() | st.integers(1, 600),
) | st.builds(Limits, per_second=st.none(), per_minute=st.integers(1, 600))


def broken(limits: Limits, calls: Sequence[float]) -> list[tuple[Budget, float, float]]:
    """Calls one too many for their window; the birth of the pacer stands for N of them."""
    found = []
    for budget in limits.budgets():
        times = [START] * budget.calls + list(calls)
        pairs = zip(times, times[budget.calls :], strict=False)
        found += [
            (budget, early, late) for early, late in pairs if late - early < budget.window_seconds
        ]
    return found


@given(
    limits=limits,
    steps=st.lists(
        st.tuples(
            # fractions of the longest window that pass before the step
            st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 1.0]),
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


@given(limits=limits, ahead=st.integers(1, 20))
def test_a_full_lane_uses_its_rate(limits: Limits, ahead: int) -> None:
    budgets = limits.budgets()
    rate = limits.rate()
    assert rate is not None
    count = 3 * max(budget.calls for budget in budgets)
    pacer = Pacer(limits, START)
    now = START
    calls: list[float] = []
    while len(calls) < count:
        for slot, at in [pacer.plan(now) for _ in range(ahead)]:
            now = at
            assert pacer.begin(slot, at), "a call in time is never refused"
            calls.append(at)
    first = START + max(budget.window_seconds for budget in budgets)
    elapsed = calls[count - 1] - first
    assert elapsed <= count / rate / 0.99 + 2 * GUARD_SECONDS
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
