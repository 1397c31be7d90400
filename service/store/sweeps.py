"""The statements of the standing sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from service.store.pool import Connection, Pool, delete_all
from service.store.queries import load

_SQL = load("sweeps")
_AUDIT = load("audit")

#: Rows one look covers.
UNPOINTED_LIMIT = 20_000
DOUBTS_LIMIT = 500
EXPIRED_LIMIT = 1000
ANSWERS_LIMIT = 5000
CONVERSATIONS_LIMIT = 10_000
RECIPIENTS_LIMIT = 2000
LEDGER_LIMIT = 20_000
#: Entries that are worth to be summed up.
LEDGER_WORTH = 1000


async def park_unpointed(pool: Pool, *, older_than_seconds: float) -> int:
    """Park waiting rows that nothing may point to any more; how many it parked.

    Each row is looked at once, when it has reached the age: later returns to `queued` park the
    row themselves, so a waiting row is always pointed to afterwards.
    """
    async with pool.acquire() as connection, connection.transaction():
        low = await connection.fetchval(_SQL["lock_watermark"])
        if low is None:
            return 0
        high = await connection.fetchval(
            _SQL["oldest_young"], low, older_than_seconds, UNPOINTED_LIMIT
        )
        if high is None:
            return 0
        done: str = await connection.execute(_SQL["park_unpointed"], low, high)
        await connection.execute(_SQL["move_watermark"], high)
    return int(done.rsplit(" ", 1)[1])


async def expired(pool: Pool, *, since: datetime, until: datetime) -> list[int]:
    """Waiting messages whose time has passed between these; at most EXPIRED_LIMIT."""
    rows = await pool.fetch(_SQL["expired"], since, until, EXPIRED_LIMIT)
    return [row["id"] for row in rows]


@dataclass(frozen=True, slots=True)
class Decided:
    """What a look at the doubts decided."""

    resent: int
    released: int


async def decide_doubts(connection: Connection, *, release_seconds: float) -> Decided:
    """Resend once what may be sent twice, hold the rest, release credits nobody resolved."""
    rows = await connection.fetch(_SQL["due_doubts"], DOUBTS_LIMIT)
    over, again, hold, release = [], [], [], []
    for row in rows:
        if row["status"] != "unconfirmed":
            over.append(row["message_id"])
        elif row["awaits"] == "release":
            release.append(row["message_id"])
        elif row["delivery"] == "at_least_once" and not row["resent"]:
            again.append(row["message_id"])
        else:
            hold.append(row["message_id"])
    released = 0
    if again:
        await connection.execute(_SQL["resend"], again)
    if hold:
        await connection.execute(_SQL["await_release"], hold, release_seconds)
    if release:
        released = await _release(connection, release)
    if over or again or release:
        await connection.execute(_SQL["drop_doubts"], [*over, *again, *release])
    return Decided(len(again), released)


async def _release(connection: Connection, message_ids: list[int]) -> int:
    rows = await connection.fetch(_SQL["release_unconfirmed"], message_ids)
    await connection.fetch(
        load("record")["settle"],
        [row["account_id"] for row in rows],
        [row["campaign_id"] for row in rows],
        ["release"] * len(rows),
        [1] * len(rows),
        [row["id"] for row in rows],
        "",
        [],
        [],
        [],
        [],
        [],
    )
    return len(rows)


async def drop_answers(pool: Pool) -> None:
    """Forget stored answers whose time is over."""
    await delete_all(pool, _SQL["drop_answers"], limit=ANSWERS_LIMIT)


async def sum_ledger(pool: Pool, *, most: int = LEDGER_LIMIT, least: int = LEDGER_WORTH) -> None:
    """Extend the sums of ledgers to the entries of ten minutes ago, give or take `least`."""
    while await pool.execute(_SQL["sum_ledger"], most, least) != "INSERT 0 0":
        pass


async def drop_holds(pool: Pool) -> None:
    """Forget what need not wait any more."""
    await pool.execute(_SQL["drop_holds"])


async def drop_conversations(pool: Pool) -> None:
    """Forget when persons wrote to devices, once it opens no window any more."""
    await delete_all(pool, _SQL["drop_conversations"], limit=CONVERSATIONS_LIMIT)


async def forget_recipients(pool: Pool) -> None:
    """Forget whom budgets need not know any more, RECIPIENTS_LIMIT of each group at a time."""
    await pool.execute(_SQL["forget_recipients"], RECIPIENTS_LIMIT)


async def ensure_partitions(pool: Pool) -> int:
    """Make the partition of the messages to come; how many were made."""
    made: int = await pool.fetchval(_SQL["ensure_partitions"])
    return made


async def audit(connection: Connection, *, timeout_seconds: float = 300.0) -> list[asyncpg.Record]:
    """The accounts whose books do not agree; reads every message, in one statement's snapshot."""
    await connection.execute(f"SET LOCAL statement_timeout = {int(timeout_seconds * 1000)}")
    return await connection.fetch(_AUDIT["audit"], timeout=timeout_seconds)
