"""100,000 sends of a foreign service, the intake killed twice, the broker restarted:
`make bench-upstream`."""

from __future__ import annotations

import dataclasses
import sys

from tests.acceptance.installation import Installation
from tests.acceptance.upstream_load import load_through_kills
from tests.servers.rabbitmq import RabbitNode

SENDS = 100_000


async def test_100_000_sends_survive_two_kills_and_a_restart(
    installation: Installation, rabbit_node: RabbitNode
) -> None:
    figures = await load_through_kills(installation, SENDS, kills=2, node=rabbit_node)
    for name, value in dataclasses.asdict(figures).items():
        sys.stderr.write(f"{name} {value:,.1f}\n")
