"""Hantar on real servers, and an upstream service that knows only the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.bus.topology import declare
from service.store import upstreams
from service.store.pool import Pool
from tests.acceptance.processes import processes
from tests.database import SHARDS
from tests.integration.upstream.foreign import Foreign
from tests.system import Account, Hantar, run_app

__all__ = ["processes"]


@pytest.fixture
async def broker(vhost: str) -> str:
    """The address of a broker that `hantar migrate` has prepared."""
    await declare(vhost, SHARDS, timeout_seconds=30)
    return vhost


@pytest.fixture
async def hantar(dsn: str, pool: Pool, broker: str) -> AsyncIterator[Hantar]:
    async with asynccontextmanager(run_app)(dsn, pool, database_url=dsn, amqp_url=broker) as app:
        yield app


@pytest.fixture
async def account(hantar: Hantar) -> Account:
    """An account that the user guest may name."""
    made = await hantar.account()
    await allow(hantar.pool, made)
    return made


async def allow(pool: Pool, account: Account, user: str = "guest") -> None:
    """Let the commands of a broker's user name the account."""
    async with pool.acquire() as connection:
        assert await upstreams.add(connection, user, account.id) is not None


@pytest.fixture
async def upstream(broker: str) -> AsyncIterator[Foreign]:
    made = Foreign(broker)
    await made.open()
    yield made
    await made.close()
