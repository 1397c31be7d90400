from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from service.cli.run import prepare_database
from service.store import migrations
from service.store.migrations import Migration, MigrationError, check, migrate


@pytest.fixture
async def connection(empty_dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """To the empty database."""
    opened = await asyncpg.connect(empty_dsn, timeout=5, command_timeout=20)
    yield opened
    await opened.close(timeout=5)


async def tables(connection: asyncpg.Connection[asyncpg.Record]) -> int:
    found: int = await connection.fetchval(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    return found


async def test_an_empty_database_is_refused_with_what_to_do(empty_dsn: str) -> None:
    with pytest.raises(MigrationError, match="empty: run `hantar migrate`"):
        await check(empty_dsn)


async def test_every_migration_is_applied_once(
    empty_dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    known = migrations.migrations()
    assert [m.version for m in known] == sorted({m.version for m in known})
    assert await migrate(empty_dsn) == known
    await check(empty_dsn)
    made = await tables(connection)
    assert await migrate(empty_dsn) == []
    assert await tables(connection) == made
    rows = await connection.fetch("SELECT version, checksum FROM schema_migrations")
    assert [(row["version"], row["checksum"]) for row in rows] == [
        (m.version, m.checksum) for m in known
    ]


async def test_processes_that_migrate_at_once_do_not_collide(empty_dsn: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_dsn) for _ in range(3)))
    assert sorted(map(len, applied)) == [0, 0, len(migrations.migrations())]
    await check(empty_dsn)


async def test_what_the_server_lacks_is_named(
    empty_dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    lacking = Migration("1", "lacking", "CREATE EXTENSION no_such_extension")
    with pytest.raises(MigrationError, match=r"no_such_extension.*contrib package"):
        await migrations.apply(connection, lacking)
    await connection.execute("CREATE ROLE lodger; SET ROLE lodger")
    try:
        with pytest.raises(MigrationError, match="migrate as the owner"):
            await migrations.apply(connection, Migration("1", "x", "CREATE EXTENSION btree_gin"))
    finally:
        await connection.execute("RESET ROLE; DROP ROLE lodger")


async def test_a_changed_migration_is_refused(
    empty_dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    await migrate(empty_dsn)
    await connection.execute("UPDATE schema_migrations SET checksum = md5('other')")
    for step in (check, migrate):
        with pytest.raises(MigrationError, match=r"differs .* append-only"):
            await step(empty_dsn)


async def test_a_database_of_another_tool_without_checksums_is_taken_over(
    empty_dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    await migrate(empty_dsn)
    await connection.execute("UPDATE schema_migrations SET checksum = NULL")
    await check(empty_dsn)
    assert await migrate(empty_dsn) == []


async def test_a_newer_database_is_refused(
    empty_dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    await migrate(empty_dsn)
    await connection.execute("INSERT INTO schema_migrations (version) VALUES ('29990101000000')")
    for step in (check, migrate):
        with pytest.raises(MigrationError, match=r"newer .*29990101000000.*upgrade"):
            await step(empty_dsn)


async def test_a_database_that_lacks_a_migration_is_refused_until_it_has_it(
    empty_dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    await connection.execute(
        "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY, checksum text)"
    )
    with pytest.raises(MigrationError, match="lacks"):
        await check(empty_dsn)
    await migrate(empty_dsn)
    await check(empty_dsn)


async def test_a_migration_that_fails_leaves_nothing(
    empty_dsn: str, connection: asyncpg.Connection[asyncpg.Record]
) -> None:
    # The name of a table that the first migration creates late.
    await connection.execute("CREATE TABLE watermarks (only_mine integer)")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty_dsn)
    assert await connection.fetchval("SELECT to_regclass('messages')") is None
    await connection.execute("DROP TABLE watermarks")
    assert await migrate(empty_dsn) == migrations.migrations()


async def test_the_number_of_shards_is_fixed_by_the_first(empty_dsn: str) -> None:
    assert await prepare_database(empty_dsn, 4)
    assert await prepare_database(empty_dsn, 4) == []
    with pytest.raises(MigrationError, match=r"HANTAR_SHARDS is 8, .*made with 4"):
        await prepare_database(empty_dsn, 8)
