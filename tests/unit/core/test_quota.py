"""The quota of requests, at any sequence of moments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.core.quota import NANOSECONDS, Quota, Quotas, take

QUOTAS = st.builds(
    Quota,
    st.floats(0.001, 100_000, allow_nan=False),
    st.integers(1, 1000),
)
#: Pauses between requests: none, and some about a refill of the quota long.
PAUSES_NS = st.lists(st.one_of(st.just(0), st.integers(0, 20 * NANOSECONDS)), max_size=200)


def moments(pauses: list[int], start_ns: int = 5) -> list[int]:
    found = []
    for pause in pauses:
        start_ns += pause
        found.append(start_ns)
    return found


@given(QUOTAS, PAUSES_NS)
def test_no_window_holds_more_than_burst_and_refill(quota: Quota, pauses: list[int]) -> None:
    full_at, allowed = 0, []
    for now in moments(pauses):
        taken, full_at = take(quota, full_at, now)
        if taken.allowed:
            allowed.append(now)
    for first, begin in enumerate(allowed):
        for count, end in enumerate(allowed[first:], 1):
            assert count <= quota.burst + (end - begin) / quota.interval_ns


@given(QUOTAS, PAUSES_NS)
def test_what_is_told_holds(quota: Quota, pauses: list[int]) -> None:
    full_at = 0
    for now in moments(pauses):
        taken, full_at = take(quota, full_at, now)
        assert 0 <= taken.remaining < quota.burst
        assert 0 < taken.full_ns <= quota.refill_ns
        if taken.allowed:
            assert taken.wait_ns == 0
        else:
            assert taken.remaining == 0
            assert 0 < taken.wait_ns <= quota.interval_ns
            assert not take(quota, full_at, now + taken.wait_ns - 1)[0].allowed
            assert take(quota, full_at, now + taken.wait_ns)[0].allowed
        assert take(quota, full_at, now + taken.full_ns)[0].remaining == quota.burst - 1


@given(QUOTAS, st.integers(0, 10**15))
def test_what_remains_is_what_can_be_had_at_once(quota: Quota, now: int) -> None:
    full_at, left = 0, []
    for _ in range(quota.burst):
        taken, full_at = take(quota, full_at, now)
        assert taken.allowed
        left.append(taken.remaining)
    assert left == list(range(quota.burst - 1, -1, -1))
    assert not take(quota, full_at, now)[0].allowed


@given(
    st.builds(Quota, st.floats(0.5, 100), st.integers(1, 5)),
    st.lists(st.tuples(st.integers(0, NANOSECONDS), st.integers(0, 5)), max_size=200),
)
def test_forgetting_the_full_changes_no_answer(quota: Quota, asked: list[tuple[int, int]]) -> None:
    quotas: Quotas[int] = Quotas(quota)
    kept: dict[int, int] = {}
    now = 1
    for pause, key in asked:
        now += pause
        expected, kept[key] = take(quota, kept.get(key, 0), now)
        assert quotas.take(key, now) == expected


def test_keys_are_forgotten_when_full_or_too_many() -> None:
    quotas: Quotas[int] = Quotas(Quota(10, 10), most=500)
    for key in range(100_000):
        assert quotas.take(key, key).allowed
        assert len(quotas) <= 1000
    for second in (2, 4):
        quotas.take(0, second * NANOSECONDS)
    assert len(quotas) == 1
