"""Every recipient of a campaign becomes one message, whoever dies on the way."""

from __future__ import annotations

from tests.acceptance.campaigns import campaign_through_kills
from tests.acceptance.installation import Installation


async def test_a_campaign_survives_two_kills_of_its_worker(installation: Installation) -> None:
    await campaign_through_kills(installation, 6000)
