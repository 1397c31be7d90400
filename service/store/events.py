"""The statements of events that were published, and may be once more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from service.store.pool import Connection, Pool, delete_all
from service.store.queries import load

_SQL = load("events")

KEEP_DAYS = 7
FORGET_LIMIT = 5000
PAGE = 500


@dataclass(frozen=True, slots=True)
class Range:
    """An account, and a time from which on and one before which."""

    account_id: int
    since: datetime
    until: datetime


async def count(connection: Connection, wanted: Range, *, limit: int) -> int:
    """How many event messages there are, counted up to a limit."""
    found: int = await connection.fetchval(
        _SQL["count"], wanted.account_id, wanted.since, wanted.until, limit
    )
    return found


async def pages(
    connection: Connection, wanted: Range, *, limit: int
) -> AsyncIterator[list[asyncpg.Record]]:
    """The oldest so many of them in order, a page at a time."""
    at, id_, left = wanted.since, 0, limit
    while left > 0:
        rows = await connection.fetch(
            _SQL["page"], wanted.account_id, wanted.since, wanted.until, at, id_, min(PAGE, left)
        )
        if not rows:
            return
        yield rows
        at, id_, left = rows[-1]["at"], rows[-1]["id"], left - len(rows)


async def forget(pool: Pool) -> None:
    """Drop what is older than KEEP_DAYS."""
    await delete_all(pool, _SQL["forget"], KEEP_DAYS, limit=FORGET_LIMIT)
