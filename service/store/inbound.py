"""The statements of what persons write to devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from service.store.pool import Connection, Pool, delete_all
from service.store.queries import load

_SQL = load("inbound")

#: Messages that came in are kept this long.
KEEP_DAYS = 30
FORGET_LIMIT = 5000


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that came in, its text sealed, or None where it is not kept."""

    device_id: int
    phone: str
    kind: str
    text: bytes | None
    provider_id: str
    at: datetime


async def keep(connection: Connection, messages: Sequence[Kept]) -> list[asyncpg.Record]:
    """Keep these; a row for each that was not known."""
    return await connection.fetch(
        _SQL["keep"],
        [each.device_id for each in messages],
        [each.phone for each in messages],
        [each.kind for each in messages],
        [each.text for each in messages],
        [each.provider_id for each in messages],
        [each.at for each in messages],
    )


async def hear(connection: Connection, messages: Sequence[Kept]) -> None:
    """Note when persons wrote to devices."""
    await connection.execute(
        _SQL["hear"],
        [each.device_id for each in messages],
        [each.phone for each in messages],
        [each.at for each in messages],
    )


async def opt_out(connection: Connection, account_id: int, phone: str, at: datetime) -> int | None:
    """Remember an opt-out; the contact's id, or None when it was known."""
    found: int | None = await connection.fetchval(_SQL["opt_out"], account_id, phone, at)
    return found


async def page(
    connection: Connection,
    account_id: int,
    device_id: int | None,
    phone: str | None,
    *,
    below_id: int | None,
    limit: int,
    offset: int,
) -> list[asyncpg.Record]:
    """A page, newest first; None narrows nothing."""
    return await connection.fetch(
        _SQL["page"], account_id, device_id, phone, below_id, limit, offset
    )


async def count(
    connection: Connection, account_id: int, device_id: int | None, phone: str | None, *, limit: int
) -> int:
    """How many there are, counted no further than `limit`."""
    found: int = await connection.fetchval(_SQL["count"], account_id, device_id, phone, limit)
    return found


async def forget(pool: Pool) -> None:
    """Drop messages older than KEEP_DAYS."""
    await delete_all(pool, _SQL["forget"], KEEP_DAYS, limit=FORGET_LIMIT)
