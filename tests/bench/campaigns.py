"""A campaign of 100,000, its worker killed twice: `make bench-campaigns`."""

from __future__ import annotations

import dataclasses
import sys

from tests.acceptance.campaigns import campaign_through_kills
from tests.acceptance.installation import Installation


async def test_a_campaign_of_100_000_survives_two_kills(installation: Installation) -> None:
    figures = await campaign_through_kills(installation, 100_000)
    for name, value in dataclasses.asdict(figures).items():
        sys.stderr.write(f"{name} {value:.3f}\n")
