"""Draws the dashboards as they look under load, and in two failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.servers.rabbitmq import RabbitNode
from tests.sre.boards import boards
from tests.sre.drawing import Span, pictures
from tests.sre.load import everything, listening
from tests.sre.provoked import Failure, kill_broker, resume_devices, simulate, start_broker
from tests.sre.test_live import WINDOW
from tests.sre.world import World, calm, running_world, under_load, vhost

__all__ = ["vhost"]

PICTURES = Path(__file__).parents[2] / "deploy/grafana/pictures"
LOAD_SECONDS = 60.0
#: Seen before a failure, and after its alert.
BEFORE_SECONDS, AFTER_SECONDS = 30.0, 20.0
FIRE_SECONDS = 60.0
#: What is looked at in each, by the name of its folder.
FAILURES = {
    "broker-killed": (
        Failure("", "HantarBrokerUnreachable", kill_broker, start_broker),
        ("hantar-overview", "hantar-infrastructure"),
    ),
    "token-refused": (
        Failure("", "HantarDeviceStopped", simulate("#simulate token_refused"), resume_devices),
        ("hantar-overview", "hantar-dispatch"),
    ),
}


@pytest.fixture
async def world(
    installation: Installation, rabbit_node: RabbitNode, tmp_path: Path
) -> AsyncIterator[World]:
    async with running_world(installation, rabbit_node, tmp_path) as made, under_load(made):
        yield made


async def test_draw_every_dashboard(world: World) -> None:
    async with listening() as endpoint:
        began = time.time()
        await asyncio.sleep(BEFORE_SECONDS / 2)
        await everything(world.caller, world.amqp_url, endpoint)
        await asyncio.sleep(LOAD_SECONDS)
        span = Span(began, time.time())
        for board in boards().values():
            await pictures(world.prometheus, board, span, WINDOW, PICTURES / "load")
        await world.installation.pool.execute("DELETE FROM webhook_endpoints")
        await resume_devices(world)
    for name, (failure, uids) in FAILURES.items():
        await calm(world)
        await asyncio.sleep(BEFORE_SECONDS)
        failed = time.time()
        await failure.make(world)
        deadline = time.monotonic() + FIRE_SECONDS
        while failure.alert not in await world.prometheus.firing():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.5)
        await asyncio.sleep(AFTER_SECONDS)
        span = Span(failed - BEFORE_SECONDS, time.time(), failed)
        for uid in uids:
            board = boards()[f"{uid}.json"]
            await pictures(world.prometheus, board, span, WINDOW, PICTURES / name)
        await failure.mend(world)
