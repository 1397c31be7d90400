"""An account with a device, and the recorder in front of a bus that nobody hears."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.bus.local import LocalBus
from service.bus.topology import topology
from service.record.recorder import Recorder
from service.relay import Relay
from service.store.pool import Pool
from tests.database import SHARDS
from tests.system import Account, make_account


@pytest.fixture
async def account(pool: Pool) -> Account:
    """With ten thousand credits and a simulated device."""
    return await make_account(pool, credits=10_000)


@pytest.fixture
async def silent_relay(pool: Pool, dsn: str) -> Relay:
    """A relay that is closed: what it is offered stays in the outbox, where tests can read it."""
    relay = Relay(pool, dsn, LocalBus(topology(SHARDS)), lambda: None)
    relay.start()
    await relay.close()
    return relay


@pytest.fixture
async def recorder(pool: Pool, dsn: str, silent_relay: Relay) -> AsyncIterator[Recorder]:
    """Writes status changes; doubts fall due at once."""
    made = Recorder(pool, dsn, silent_relay, doubt_seconds=0.0)
    made.start()
    yield made
    await made.close()
