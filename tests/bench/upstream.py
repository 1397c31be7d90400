"""100,000 sends of a foreign service, the intake killed twice, the broker restarted:
`make bench-upstream`."""

from __future__ import annotations

import dataclasses
import statistics
import sys

from tests.acceptance.installation import Installation
from tests.acceptance.upstream_flood import flood
from tests.acceptance.upstream_load import load_through_kills
from tests.servers.rabbitmq import RabbitNode

SENDS = 100_000
FLOOD_SECONDS = 60.0
#: An intake has 60 MiB when idle.
MOST_MEBIBYTES = 200.0
#: Of what others wait for meanwhile, in the middle.
MOST_SECONDS = 2.0


async def test_100_000_sends_survive_two_kills_and_a_restart(
    installation: Installation, rabbit_node: RabbitNode
) -> None:
    figures = await load_through_kills(installation, SENDS, kills=2, node=rabbit_node)
    for name, value in dataclasses.asdict(figures).items():
        sys.stderr.write(f"{name} {value:,.1f}\n")
    assert figures.out_of_order == 0


async def test_a_minute_of_garbage_slows_nobody_else(
    installation: Installation, rabbit_node: RabbitNode
) -> None:
    figures = await flood(installation, rabbit_node, FLOOD_SECONDS)
    for line in figures.lines():
        sys.stderr.write(f"{line}\n")
    assert figures.intake_mebibytes <= MOST_MEBIBYTES
    assert statistics.median(figures.requests) <= MOST_SECONDS
    assert statistics.median(figures.commands) <= MOST_SECONDS
    assert statistics.median(figures.sends) <= MOST_SECONDS
