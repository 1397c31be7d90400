"""Import and campaign on the embedded default, whose one process is killed twice in each."""

from __future__ import annotations

from tests.acceptance.embedded import everything_through_kills
from tests.acceptance.processes import Processes


async def test_import_and_campaign_survive_the_death_of_everything(processes: Processes) -> None:
    await everything_through_kills(processes, 3000)
