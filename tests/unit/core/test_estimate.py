from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.estimate import DeviceLimits, finish

NOON = datetime(2026, 11, 25, 4, tzinfo=UTC)  # in Kuala Lumpur
NIGHT = DeviceLimits(per_second=1.0, quiet_start=time(21), quiet_end=time(8))


@pytest.mark.parametrize(
    ("messages", "limits", "seconds"),
    [
        (1, DeviceLimits(per_second=0.1), 0),
        (101, DeviceLimits(per_second=50.0), 2),
        (20, DeviceLimits(per_minute=20), 0),
        (21, DeviceLimits(per_minute=20), 60),
        (2001, DeviceLimits(per_second=50.0, per_day=1000), 2 * 86_400),
        (100, DeviceLimits(per_hour=50, new_recipients_per_day=10), 9 * 86_400),
        (11, DeviceLimits(jitter_seconds=2.0), 10),
        (100_000, DeviceLimits(), 0),
        (0, DeviceLimits(per_second=1.0), 0),
    ],
)
def test_the_narrowest_limit_decides(messages: int, limits: DeviceLimits, seconds: float) -> None:
    assert finish(NOON, messages, limits) == NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("hours", "messages", "finished_hours"),
    [
        (0, 1, 0),
        (0, 9 * 3600, 9),
        (0, 10 * 3600 + 1, 9 + 11 + 1),  # until nine at night, and an hour from eight on
        (10, 1, 20),  # from ten at night
        (19, 3601, 21),  # from seven in the morning
        (0, 13 * 3600 * 10 + 1, 240),
    ],
)
def test_nothing_is_sent_in_quiet_hours(hours: int, messages: int, finished_hours: int) -> None:
    found = finish(NOON + timedelta(hours=hours), messages, NIGHT)
    expected = NOON + timedelta(hours=finished_hours)
    assert abs(found - expected) <= timedelta(seconds=1)


def test_it_is_a_hundred_years_at_most() -> None:
    slow = DeviceLimits(jitter_seconds=86_400.0, quiet_start=time(0), quiet_end=time(23, 59))
    for limits in (slow, DeviceLimits(per_day=1)):
        found = finish(NOON, 10_000_000, limits)
        assert abs(found - NOON - timedelta(days=36_500)) <= timedelta(days=2)


@given(
    st.integers(0, 1_000_000),
    st.floats(0.01, 100.0),
    st.times(),
    st.times(),
    st.integers(0, 86_400),
)
def test_it_never_ends_before_it_can_nor_in_quiet_hours(
    messages: int, rate: float, quiet_start: time, quiet_end: time, second: int
) -> None:
    limits = DeviceLimits(per_second=rate, quiet_start=quiet_start, quiet_end=quiet_end)
    start = NOON + timedelta(seconds=second)
    found = finish(start, messages, limits)
    assert found >= finish(start, messages, DeviceLimits(per_second=rate))
    clock = (found + timedelta(hours=8)).time()
    if quiet_start < quiet_end:
        assert not quiet_start < clock < quiet_end
    elif quiet_start > quiet_end:
        assert quiet_end <= clock <= quiet_start
