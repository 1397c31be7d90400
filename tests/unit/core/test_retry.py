from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.retry import LONGEST_WISH_SECONDS, MOST_ATTEMPTS, GiveUp, TryAgain, decide


@pytest.mark.parametrize(
    ("attempts", "calm", "hasty"), [(0, 1.0, 0.5), (1, 4.0, 2.0), (2, 16.0, 8.0), (3, 64.0, 32.0)]
)
def test_the_delay_grows_and_jitter_takes_up_to_half(
    attempts: int, calm: float, hasty: float
) -> None:
    assert decide(attempts=attempts, counts=True, after_seconds=None, jitter=0.0) == TryAgain(calm)
    assert decide(attempts=attempts, counts=True, after_seconds=None, jitter=1.0) == TryAgain(hasty)


def test_the_last_attempt_is_the_last() -> None:
    last = MOST_ATTEMPTS - 1
    assert decide(attempts=last, counts=True, after_seconds=None, jitter=0.5) == GiveUp()
    assert decide(attempts=last, counts=True, after_seconds=9.0, jitter=0.5) == GiveUp()


@given(jitter=st.floats(0.0, 1.0), after=st.none() | st.floats(0.0, 100.0))
def test_throttling_alone_never_makes_a_message_fail(jitter: float, after: float | None) -> None:
    for attempts in range(MOST_ATTEMPTS):
        again = decide(attempts=attempts, counts=False, after_seconds=after, jitter=jitter)
        assert isinstance(again, TryAgain)


@pytest.mark.parametrize(("wish", "delay"), [(0.0, 0.0), (2.5, 2.5), (300.0, 300.0), (-1.0, 0.0)])
def test_the_provider_s_own_wish_is_followed(wish: float, delay: float) -> None:
    assert decide(attempts=2, counts=True, after_seconds=wish, jitter=1.0) == TryAgain(delay)


@given(
    attempts=st.integers(0, MOST_ATTEMPTS - 2),
    counts=st.booleans(),
    after=st.none() | st.floats(),
    jitter=st.floats(0.0, 1.0),
)
def test_no_delay_is_negative_or_without_end(
    attempts: int, counts: bool, after: float | None, jitter: float
) -> None:
    again = decide(attempts=attempts, counts=counts, after_seconds=after, jitter=jitter)
    assert isinstance(again, TryAgain)
    assert 0.0 <= again.after_seconds <= LONGEST_WISH_SECONDS
