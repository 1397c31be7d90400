"""Statements that meet rows which others change at the same moment, on plans of a large table."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from service.dispatch.claims import CLAIM_SECONDS
from service.store import claims, record
from service.store.pool import CONFLICTS, Connection, Pool
from tests.integration.store.changes import NOON, change
from tests.integration.store.rows import put_messages
from tests.integration.store.workers import WORKER, take_all
from tests.system import make_account

ROUNDS = 600
#: With so many rows the planner goes to each by its id, and prunes partitions as it does.
MANY = 100_000


async def generic(dsn: str) -> asyncpg.Connection[asyncpg.Record]:
    """A session that plans once for any values, as a server does that is asked often."""
    connection = await asyncpg.connect(dsn, timeout=10.0, command_timeout=30.0)
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    return connection


@pytest.fixture
async def ids(pool: Pool) -> list[int]:
    """Messages being sent, in a table of many."""
    account = await make_account(pool, credits=2 * MANY)
    await put_messages(pool, account, MANY, status="read", credit="settled")
    wanted = await put_messages(pool, account, 40, status="sending", attempt=1)
    await pool.execute("ANALYZE messages")
    return wanted


@pytest.fixture
async def sessions(dsn: str) -> AsyncIterator[list[Connection]]:
    opened = [await generic(dsn) for _ in range(5)]
    yield [*opened]
    for connection in opened:
        await connection.close(timeout=5.0)


async def merge(connection: Connection, ids: list[int], chance: random.Random) -> None:
    for _ in range(ROUNDS):
        status = chance.choice(["sent", "queued", "queued", "unconfirmed"])
        at = NOON if status == "queued" else None
        changes = [change(id_, status, not_before=at) for id_ in ids]
        # Who may retry, does; here the next round is as good.
        with suppress(*CONFLICTS):
            async with connection.transaction():
                await record.merge(connection, changes, doubt_seconds=8.0)


async def claim(
    connection: Connection, ids: list[int], epochs: dict[int, int], chance: random.Random
) -> None:
    for _ in range(ROUNDS):
        with suppress(*CONFLICTS):
            await claims.claim(
                connection,
                ids,
                worker=WORKER,
                epochs=epochs,
                claim_id=chance.getrandbits(62),
                good_seconds=CLAIM_SECONDS,
            )


async def touch(connection: Connection, ids: list[int], chance: random.Random) -> None:
    """What accept, sweeps and other workers do to rows and to where they wait."""
    for _ in range(ROUNDS):
        for statement in (
            "UPDATE messages SET status = 'sending', attempt = 1 WHERE id IN (SELECT id "
            "FROM messages WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE)",
            "UPDATE parked SET not_before = now() WHERE message_id IN (SELECT message_id "
            "FROM parked WHERE message_id = ANY($1::bigint[]) ORDER BY 1 FOR UPDATE)",
        ):
            with suppress(*CONFLICTS):
                await connection.execute(statement, chance.sample(ids, len(ids) // 2))


async def test_rows_that_change_under_a_statement_leave_the_server_up(
    pool: Pool, ids: list[int], sessions: list[Connection]
) -> None:
    epochs = await take_all(pool, WORKER)
    began = await pool.fetchval("SELECT pg_postmaster_start_time()")
    first, second, third, fourth, fifth = sessions
    await asyncio.gather(
        merge(first, ids, random.Random(1)),
        merge(second, ids, random.Random(2)),
        claim(third, ids, epochs, random.Random(3)),
        touch(fourth, ids, random.Random(4)),
        touch(fifth, ids, random.Random(5)),
    )
    assert await pool.fetchval("SELECT pg_postmaster_start_time()") == began
    counted = await pool.fetchval("SELECT count(*) FROM messages WHERE id = ANY($1)", ids)
    assert counted == len(ids)


_SCANS = """
SELECT coalesce(sum(seq_scan + idx_scan), 0) FROM pg_stat_xact_user_tables
WHERE relname ~ '^messages_[0-9]+$' AND relname <> 'messages_000000'
"""


async def test_a_claim_and_a_merge_read_only_the_partition_of_their_ids(
    pool: Pool, ids: list[int], sessions: list[Connection]
) -> None:
    epochs = await take_all(pool, WORKER)
    connection = sessions[0]
    async with connection.transaction():
        queued = [change(id_, "queued", not_before=NOON) for id_ in ids]
        assert len(await record.merge(connection, queued, doubt_seconds=8.0)) == len(ids)
        rows = await claims.claim(
            connection, ids, worker=WORKER, epochs=epochs, claim_id=1, good_seconds=CLAIM_SECONDS
        )
        assert {row["verdict"] for row in rows} == {"claimed"}
        assert await connection.fetchval(_SCANS) == 0
