"""One database per test, cloned from a migrated template."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.cli.run import prepare_database
from service.embedded import EmbeddedPostgres
from service.store.pool import Pool, open_pool
from tests.canaries import CANARIES

#: Tests run on few shards, as each costs two queues a vhost.
SHARDS = 2
_TEMPLATE = "hantar_template"


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres) -> str:
    """The name of a migrated database that nobody is connected to."""

    async def make() -> None:
        await _execute(postgres_server.dsn, f"CREATE DATABASE {_TEMPLATE}")
        await prepare_database(_address(postgres_server.dsn, _TEMPLATE), SHARDS)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(make())
    return _TEMPLATE


@pytest.fixture
async def empty_dsn(postgres_server: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database without a single table, dropped after the test."""
    async for dsn in database(postgres_server.dsn, "template0"):
        yield dsn


@pytest.fixture
async def dsn(postgres_server: EmbeddedPostgres, template_database: str) -> AsyncIterator[str]:
    """A migrated database of the test's own, dropped after it."""
    async for address in database(postgres_server.dsn, template_database):
        yield address


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """Connections to the test's database."""
    opened = await open_pool(dsn, name="test", size=10)
    yield opened
    await opened.close()


async def database(server: str, template: str) -> AsyncIterator[str]:
    """A database made from a template, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _address(server, name)
    connection = await asyncpg.connect(_address(server, name), timeout=10.0, command_timeout=30.0)
    try:
        await CANARIES.release(connection)
    finally:
        await connection.close(timeout=5.0)
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10.0, command_timeout=30.0)
    try:
        await connection.execute(statement)
    finally:
        await connection.close(timeout=5.0)


def _address(dsn: str, database: str) -> str:
    return f"{dsn.rpartition('/')[0]}/{database}"
