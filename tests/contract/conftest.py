"""A driver, started against each provider that the driver suite knows; and each kind of bus."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from drivers.driver import Driver
from service.bus.amqp import AmqpBus
from service.bus.bus import Bus
from service.bus.local import LocalBus
from service.bus.topology import declare, topology
from service.store.pool import Pool
from tests.contract.inbox import SHARDS, SOON_SECONDS
from tests.contract.other_side import SIDES, OtherSide, Start
from tests.contract.witness import Sink, soon
from tests.servers.rabbitmq import RabbitNode


@pytest.fixture(params=SIDES)
async def side(request: pytest.FixtureRequest, pool: Pool) -> AsyncIterator[OtherSide]:
    async with SIDES[request.param](pool) as opened:
        yield opened


@pytest.fixture
async def start(side: OtherSide) -> AsyncIterator[Start]:
    """Starts drivers, and closes them after the test."""
    async with AsyncExitStack() as started:

        async def start(sink: Sink) -> Driver:
            driver = await side.start_driver(sink)
            started.push_async_callback(lambda: soon(driver.close()))
            return driver

        yield start


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def driver(start: Start, sink: Sink) -> Driver:
    return await start(sink)


@pytest.fixture
async def vhost(rabbit_node: RabbitNode) -> AsyncIterator[str]:
    """A fresh vhost, for messages that are nobody's: what they say does not matter to a bus."""
    name = f"test-{uuid.uuid4()}"
    yield await rabbit_node.create_vhost(name)
    await rabbit_node.delete_vhost(name)


@pytest.fixture(params=["amqp", "local"])
def amqp_url(request: pytest.FixtureRequest) -> str | None:
    """A fresh vhost, or None for the bus that needs no broker."""
    return request.getfixturevalue("vhost") if request.param == "amqp" else None


@pytest.fixture
async def bus(amqp_url: str | None) -> AsyncIterator[Bus]:
    bus: Bus
    if amqp_url is None:
        bus = LocalBus(topology(SHARDS), requeue_pause_seconds=0.01)
    else:
        await declare(amqp_url, SHARDS, timeout_seconds=SOON_SECONDS)
        bus = await AmqpBus.connect(amqp_url, requeue_pause_seconds=0.01)
    yield bus
    await bus.close()
