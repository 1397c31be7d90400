"""The statements of contact imports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from service.store.pool import Connection
from service.store.queries import load

_SQL = load("imports")


@dataclass(frozen=True, slots=True)
class RowError:
    """A row of the file that was refused."""

    line: int
    phone: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the file that is a contact; `attributes` is JSON."""

    phone: str
    name: str | None
    external_id: str | None
    attributes: str | None


async def create(
    connection: Connection, account_id: int, group_id: int | None, columns: Sequence[str]
) -> int:
    """A new import; its id."""
    made: int = await connection.fetchval(_SQL["create"], account_id, group_id, columns)
    return made


async def put_chunk(connection: Connection, import_id: int, number: int, body: bytes) -> None:
    """The next rows of the file, as JSON."""
    await connection.execute(_SQL["put_chunk"], import_id, number, body)


async def received(connection: Connection, import_id: int, rows: int) -> asyncpg.Record:
    """All rows are here."""
    row = await connection.fetchrow(_SQL["received"], import_id, rows)
    assert row is not None, "the transaction that made it goes on"
    return row


async def one(connection: Connection, account_id: int, import_id: int) -> asyncpg.Record | None:
    """An import of this account."""
    return await connection.fetchrow(_SQL["one"], account_id, import_id)


async def page(
    connection: Connection, account_id: int, *, below_id: int | None, limit: int, offset: int
) -> list[asyncpg.Record]:
    """The imports of an account, newest first."""
    return await connection.fetch(_SQL["page"], account_id, below_id, limit, offset)


async def count(connection: Connection, account_id: int, *, limit: int) -> int:
    """How many imports there are, counted up to `limit`."""
    found: int = await connection.fetchval(_SQL["count"], account_id, limit)
    return found


async def errors(
    connection: Connection, import_id: int, *, after_line: int, limit: int
) -> list[asyncpg.Record]:
    """The rows that were refused, in the order of the file."""
    return await connection.fetch(_SQL["errors"], import_id, after_line, limit)


async def count_open(connection: Connection, account_id: int, *, limit: int) -> int:
    """How many imports of the account are not worked off, counted up to `limit`."""
    found: int = await connection.fetchval(_SQL["open"], account_id, limit)
    return found


async def take(connection: Connection) -> asyncpg.Record | None:
    """The import whose turn it is, held until the transaction ends; accounts take turns."""
    return await connection.fetchrow(_SQL["take"])


async def next_chunk(connection: Connection, import_id: int) -> bytes | None:
    """Take out its next chunk, as JSON."""
    body: bytes | None = await connection.fetchval(_SQL["next_chunk"], import_id)
    return body


async def upsert(
    connection: Connection, account_id: int, rows: Sequence[Row], *, with_attributes: bool
) -> dict[int, bool]:
    """Create or update contacts, one row for each phone: by id, whether it was created."""
    made = await connection.fetch(
        _SQL["upsert"],
        account_id,
        [row.phone for row in rows],
        [row.name for row in rows],
        [row.external_id for row in rows],
        [row.attributes for row in rows],
        with_attributes,
    )
    return {row["id"]: row["created"] for row in made}


async def put_errors(connection: Connection, import_id: int, refused: Sequence[RowError]) -> None:
    """Note the rows that were refused."""
    await connection.execute(
        _SQL["put_errors"],
        import_id,
        [error.line for error in refused],
        [error.phone for error in refused],
        [error.code for error in refused],
        [error.detail for error in refused],
    )


async def advance(
    connection: Connection,
    import_id: int,
    *,
    done: int,
    created: int,
    updated: int,
    rejected: int,
) -> str:
    """Count a chunk; the state after it."""
    state: str = await connection.fetchval(
        _SQL["advance"], import_id, done, created, updated, rejected
    )
    return state


async def fail(connection: Connection, import_id: int, error: str) -> None:
    """An import that cannot go on."""
    await connection.execute(_SQL["fail"], import_id, error)


async def forget(connection: Connection, *, after_seconds: float) -> bool:
    """Drop one import that ended so long ago, with its refused rows; whether there was one."""
    return await connection.fetchval(_SQL["forget"], after_seconds) is not None
