"""The statements of what providers said that nothing reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from service.store.pool import Connection, Pool
from service.store.queries import load

_SQL = load("unread")

#: What did not come again is kept this long.
KEEP_DAYS = 30


@dataclass(frozen=True, slots=True)
class Kept:
    """One of a kind, its body sealed, or None where there is no key to seal it with."""

    device_id: int
    kind: str
    body: bytes | None
    at: datetime


async def keep(pool: Pool, kept: Sequence[Kept]) -> None:
    """Count these, and keep the last of each kind."""
    await pool.execute(
        _SQL["keep"],
        [each.device_id for each in kept],
        [each.kind for each in kept],
        [each.body for each in kept],
        [each.at for each in kept],
    )


async def all_of(connection: Connection, device_id: int | None) -> list[asyncpg.Record]:
    """What came to a device, or to any (None), the latest first."""
    return await connection.fetch(_SQL["all_of"], device_id)


async def forget(pool: Pool) -> None:
    """Drop what did not come again for KEEP_DAYS."""
    await pool.execute(_SQL["forget"], KEEP_DAYS)
