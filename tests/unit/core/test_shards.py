from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.shards import shard_of


@pytest.mark.parametrize(
    ("device_id", "portfolio", "shard"),
    [(1, None, 9), (2, None, 8), (77, None, 10), (1, "acme", 7)],
)
def test_a_shard_never_changes_with_the_program(
    device_id: int, portfolio: str | None, shard: int
) -> None:
    """It is stored on the device: another answer would split a portfolio over two owners."""
    assert shard_of(device_id, portfolio, 16) == shard


@given(st.integers(1, 2**62), st.integers(1, 2**62), st.text(min_size=1), st.integers(1, 100))
def test_devices_of_a_portfolio_share_a_shard(
    one: int, other: int, portfolio: str, shards: int
) -> None:
    assert shard_of(one, portfolio, shards) == shard_of(other, portfolio, shards)
    assert 0 <= shard_of(one, None, shards) < shards


def test_an_empty_portfolio_is_none() -> None:
    assert shard_of(9, "", 16) == shard_of(9, None, 16)


def test_devices_spread_over_all_shards() -> None:
    counts = Counter(shard_of(device_id, None, 16) for device_id in range(1, 1601))
    assert set(counts) == set(range(16))
    assert max(counts.values()) < 2 * 1600 / 16
