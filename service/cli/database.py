"""The database behind the operators' commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import asyncpg
import click

from service.settings import load
from service.store import migrations
from service.store.migrations import MigrationError
from service.store.pool import UNAVAILABLE, Connection, Pool, open_pool

Result = TypeVar("Result")

#: Where a running embedded default leaves its address, readable by its owner alone.
URL_FILE = "postgres.url"
#: Seals secrets of the embedded default, beside the data and not in it.
KEY_FILE = "secret.key"
#: What a command may fail with that is not a bug.
FAILED = (
    *UNAVAILABLE,
    MigrationError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


def with_database(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Run `work` in one transaction; what goes wrong becomes one line and exit code 1."""
    return fails_in_one_line(_run(work))


def fails_in_one_line(work: Coroutine[None, None, Result]) -> Result:
    """Run this; a database that fails becomes one line and exit code 1."""
    try:
        return asyncio.run(work)
    except FAILED as error:
        raise click.ClickException(f"the database: {error or type(error).__name__}") from None


async def open_database() -> Pool:
    """A connection to the database of this version, to be closed; raises one of FAILED."""
    dsn = database_address()
    await migrations.check(dsn)
    return await open_pool(dsn, name="command line", size=1)


async def _run(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    pool = await open_database()
    try:
        async with pool.acquire() as connection, connection.transaction():
            return await work(connection)
    finally:
        await pool.close()


def database_address() -> str:
    """Where the database is; ClickException when nothing says so."""
    settings = load()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    try:
        return (settings.data_dir / URL_FILE).read_text()
    except OSError:
        raise click.ClickException(
            f"no embedded default is running on {settings.data_dir}/: start `make run`, or set "
            "HANTAR_DATABASE_URL and HANTAR_AMQP_URL"
        ) from None
