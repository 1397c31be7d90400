"""The statements of contact groups."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import asyncpg

from service.store.pool import Connection
from service.store.queries import load

_SQL = load("groups")


async def create(
    connection: Connection, account_id: int, name: str, description: str | None
) -> asyncpg.Record:
    """A new group."""
    row = await connection.fetchrow(_SQL["create"], account_id, name, description)
    assert row is not None, "an insert without a condition makes a row"
    return row


async def one(connection: Connection, account_id: int, group_id: int) -> asyncpg.Record | None:
    """A group of this account."""
    return await connection.fetchrow(_SQL["one"], account_id, group_id)


async def hold(connection: Connection, account_id: int, group_id: int) -> bool:
    """Whether there is this group, which then stays until the transaction ends."""
    return await connection.fetchval(_SQL["hold"], account_id, group_id) is not None


async def page(
    connection: Connection, account_id: int, *, below_id: int | None, limit: int, offset: int
) -> list[asyncpg.Record]:
    """The groups of an account, newest first."""
    return await connection.fetch(_SQL["page"], account_id, below_id, limit, offset)


async def count(connection: Connection, account_id: int, *, limit: int) -> int:
    """How many groups there are, counted up to `limit`."""
    found: int = await connection.fetchval(_SQL["count"], account_id, limit)
    return found


async def update(
    connection: Connection,
    account_id: int,
    group_id: int,
    names: Collection[str],
    *,
    name: str | None,
    description: str | None,
) -> asyncpg.Record | None:
    """Change the fields named; None when there is no such group."""
    return await connection.fetchrow(
        _SQL["update"], account_id, group_id, list(names), name, description
    )


async def delete(connection: Connection, account_id: int, group_id: int) -> bool:
    """Forget a group; whether there was one."""
    return await connection.fetchval(_SQL["delete"], account_id, group_id) is not None


async def known(connection: Connection, account_id: int, ids: Sequence[int]) -> set[int]:
    """Which of these are contacts of this account, which then stay until the transaction ends."""
    rows = await connection.fetch(_SQL["known"], account_id, ids)
    return {row["id"] for row in rows}


async def add(connection: Connection, group_id: int, ids: Collection[int]) -> int:
    """Put contacts into a group; how many were not in it before."""
    found: int = await connection.fetchval(_SQL["add"], group_id, list(ids))
    return found


async def remove(connection: Connection, group_id: int, ids: Collection[int]) -> int:
    """Take contacts out of a group; how many were in it."""
    found: int = await connection.fetchval(_SQL["remove"], group_id, list(ids))
    return found


async def members(
    connection: Connection, group_id: int, *, below_id: int | None, limit: int, offset: int
) -> list[asyncpg.Record]:
    """The contacts of a group, newest first."""
    return await connection.fetch(_SQL["members"], group_id, below_id, limit, offset)
