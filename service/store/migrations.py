"""Brings a database to this program's schema: plain SQL files in dbmate's format.

`schema_migrations` is dbmate's table with two columns more, so that operators can use either tool.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from service.store.pool import CONNECT_TIMEOUT_SECONDS

#: A migration may build an index on a large table.
MIGRATION_TIMEOUT_SECONDS = 3600.0
_LOCK = 0x68616E746172  # "hantar"; one migrating process at a time
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version varchar(128) PRIMARY KEY,
    checksum text,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(Exception):
    """The database does not fit this program; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its version, its name and the statements between the two dbmate marks."""

    version: str
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements, kept beside the version to notice a changed file."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations of this program, in order."""
    found = []
    for entry in files("schemas.db.migrations").iterdir():
        if entry.name.endswith(".sql"):
            version, _, name = entry.name.removesuffix(".sql").partition("_")
            up = entry.read_text("utf-8").partition("-- migrate:up")[2]
            found.append(Migration(version, name, up.partition("-- migrate:down")[0].strip()))
    return sorted(found, key=lambda migration: migration.version)


async def migrate(dsn: str) -> list[Migration]:
    """Apply what is missing, each in its own transaction; answers what was applied."""
    connection = await _connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        pending = _pending(await _applied(connection), migrations())
        for migration in pending:
            await apply(connection, migration)
        return pending
    finally:
        await connection.close(timeout=5.0)


async def apply(connection: asyncpg.Connection[asyncpg.Record], migration: Migration) -> None:
    """One migration, whole or not at all; MigrationError for what the operator can mend."""
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, checksum) VALUES ($1, $2)",
                migration.version,
                migration.checksum,
            )
    except asyncpg.FeatureNotSupportedError as error:
        # What PostgreSQL says of an extension whose files are not on the server.
        raise MigrationError(
            f"migration {migration.version} needs what this server lacks ({error.args[0]}): "
            "install PostgreSQL's contrib package on the database server"
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(
            f"migration {migration.version} is not allowed ({error.args[0]}): "
            "migrate as the owner of the database"
        ) from error


async def check(dsn: str) -> None:
    """Raise MigrationError unless the database is exactly at this program's schema."""
    connection = await _connect(dsn)
    try:
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
            raise MigrationError("the database is empty: run `hantar migrate`")
        pending = _pending(await _applied(connection), migrations())
        if pending:
            raise MigrationError(
                f"the database lacks {len(pending)} migration(s), from {pending[0].version} on: "
                "run `hantar migrate`"
            )
    finally:
        await connection.close(timeout=5.0)


async def _connect(dsn: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=MIGRATION_TIMEOUT_SECONDS,
        server_settings={"application_name": "hantar migrate", "lock_timeout": "60000"},
    )


async def _applied(connection: asyncpg.Connection) -> dict[str, str | None]:
    rows = await connection.fetch("SELECT version, checksum FROM schema_migrations")
    return {row["version"]: row["checksum"] for row in rows}


def _pending(applied: dict[str, str | None], known: list[Migration]) -> list[Migration]:
    newer = sorted(set(applied) - {migration.version for migration in known})
    if newer:
        raise MigrationError(
            f"the database is newer than this program (it has {newer[-1]}): upgrade the program"
        )
    for migration in known:
        checksum = applied.get(migration.version)
        if checksum is not None and checksum != migration.checksum:
            raise MigrationError(
                f"migration {migration.version} differs from the one that was applied: "
                "migrations are append-only, restore the file"
            )
    return [migration for migration in known if migration.version not in applied]
