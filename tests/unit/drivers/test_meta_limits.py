"""Meta's words for how many people a number may write to first."""

from __future__ import annotations

import pytest

from drivers.meta.standings import recipients_of


@pytest.mark.parametrize(
    ("limit", "recipients"),
    [
        ("TIER_50", 50),
        ("TIER_250", 250),
        ("TIER_2K", 2000),
        ("TIER_100K", 100_000),
        ("TIER_UNLIMITED", None),
        ("UNTIERED", None),
        ("TIER_1M", None),
        ("TIER_9999999K", None),
        (None, None),
    ],
)
def test_a_tier_is_a_number_of_people_or_no_bound(
    limit: str | None, recipients: int | None
) -> None:
    assert recipients_of(limit) == recipients
