"""When a webhook is tried again, and how long its endpoint is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.core.webhooks import (
    DELAYS_SECONDS,
    FAILURES_TO_CLOSE,
    LONGEST_WISH_SECONDS,
    closed_seconds,
    delay_seconds,
)

HOUR = 3600.0


def test_it_is_tried_for_more_than_a_day_ever_more_seldom() -> None:
    delays = [delay_seconds(attempts, 0.0) for attempts in range(1, len(DELAYS_SECONDS) + 1)]
    assert delays == [5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]
    assert 24 * HOUR < sum(DELAYS_SECONDS) < 34 * HOUR
    assert delay_seconds(len(DELAYS_SECONDS) + 1, 0.0) is None


@given(attempts=st.integers(1, len(DELAYS_SECONDS)), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_spreads_the_tries_and_makes_none_earlier(attempts: int, jitter: float) -> None:
    delay = delay_seconds(attempts, jitter)
    assert delay is not None
    least = DELAYS_SECONDS[attempts - 1]
    assert least <= delay < 1.2 * least + 1e-9
    assert delay_seconds(attempts, 0.9) != delay_seconds(attempts, 0.1)


def test_a_circuit_opens_after_five_failures_in_a_row_for_ten_minutes_at_most() -> None:
    closed = [closed_seconds(failures, None) for failures in range(1, 40)]
    assert closed[: FAILURES_TO_CLOSE - 1] == [0, 0, 0, 0]
    assert closed[FAILURES_TO_CLOSE - 1 : FAILURES_TO_CLOSE + 2] == [10, 20, 40]
    assert max(closed) == closed[-1] == 600


@given(failures=st.integers(1, 10_000), wish=st.none() | st.floats(-1e9, 1e9))
def test_a_wish_is_heard_up_to_an_hour(failures: int, wish: float | None) -> None:
    closed = closed_seconds(failures, wish)
    assert closed >= min(wish or 0.0, LONGEST_WISH_SECONDS)
    assert closed <= max(600.0, LONGEST_WISH_SECONDS)
