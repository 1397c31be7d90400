"""What an upstream service publishes is answered, sent and told of once, whoever dies."""

from __future__ import annotations

from tests.acceptance.installation import Installation
from tests.acceptance.upstream_load import load_through_kills


async def test_the_commands_of_a_service_survive_a_kill_of_the_intake(
    installation: Installation,
) -> None:
    figures = await load_through_kills(installation, 3000, kills=1, bulk=100)
    assert figures.answers >= figures.commands
    assert figures.out_of_order == 0
