from __future__ import annotations

import asyncio

from service.record.recorder import Recorder
from service.store import messages as store
from service.store import sweeps
from service.store.messages import MessageFilter
from service.store.pool import Pool
from tests.integration.store.changes import change
from tests.integration.store.rows import put_messages, statuses
from tests.integration.store.workers import WORKER, claim, take_all
from tests.system import Account

EDGE = 5_000_000


async def move_to(pool: Pool, last_id: int) -> None:
    await pool.execute("SELECT setval('messages_id_seq', $1)", last_id)


async def test_messages_go_on_across_the_edge_of_a_partition(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    await move_to(pool, EDGE - 3)
    ids = await put_messages(pool, account, 5)
    assert ids == list(range(EDGE - 2, EDGE + 3))
    verdicts = await claim(pool, ids, await take_all(pool, WORKER))
    assert verdicts == dict.fromkeys(ids, "claimed")
    await recorder.put([change(id_, "delivered") for id_ in ids])
    assert await statuses(pool, ids) == ["delivered"] * 5
    async with pool.acquire() as connection:
        page = await store.page(
            connection, account.id, MessageFilter(), below_id=None, limit=10, offset=0
        )
    assert [row["id"] for row in page] == ids[::-1]
    parts = await pool.fetch("SELECT DISTINCT tableoid::regclass::text AS part FROM messages")
    assert sorted(row["part"] for row in parts) == ["messages_000000", "messages_000001"]


async def test_the_next_partition_is_there_before_it_is_needed(
    pool: Pool, account: Account
) -> None:
    assert await sweeps.ensure_partitions(pool) == 0
    for part in (1, 2):
        await move_to(pool, part * EDGE)
        assert await sweeps.ensure_partitions(pool) == 1
        assert await sweeps.ensure_partitions(pool) == 0
    await move_to(pool, 3 * EDGE - 1)
    assert await put_messages(pool, account, 2) == [3 * EDGE, 3 * EDGE + 1]


async def test_a_partition_has_the_indexes_and_the_room_of_the_first(pool: Pool) -> None:
    await move_to(pool, EDGE)
    await sweeps.ensure_partitions(pool)
    rows = await pool.fetch(
        "SELECT c.relname, c.reloptions, (SELECT array_agg(regexp_replace(pg_get_indexdef("
        "i.indexrelid), 'messages_\\d+\\S*', '', 'g') ORDER BY 1) FROM pg_index i "
        "WHERE i.indrelid = c.oid) AS indexes FROM pg_class c "
        "JOIN pg_inherits h ON h.inhrelid = c.oid "
        "WHERE h.inhparent = 'messages'::regclass ORDER BY c.relname"
    )
    assert [row["relname"] for row in rows] == [f"messages_00000{n}" for n in range(3)]
    assert len({(tuple(sorted(row["indexes"])), tuple(row["reloptions"])) for row in rows}) == 1
    assert len(rows[0]["indexes"]) >= 5
    assert "fillfactor=70" in rows[0]["reloptions"]


async def test_processes_that_make_partitions_at_once_make_each_once(pool: Pool) -> None:
    await move_to(pool, 7 * EDGE)
    made = await asyncio.gather(*(sweeps.ensure_partitions(pool) for _ in range(6)))
    assert sorted(made) == [0, 0, 0, 0, 0, 2]


async def test_making_a_partition_waits_for_no_writer_and_holds_up_none(
    pool: Pool, account: Account
) -> None:
    await move_to(pool, EDGE)
    async with asyncio.timeout(5), pool.acquire() as writer, writer.transaction():
        await writer.execute("SELECT FROM messages")
        await writer.execute(
            "INSERT INTO messages (account_id, device_id, phone, body, status, priority) "
            "VALUES ($1, $2, '+60123000001', 'hello', 'queued', 1)",
            account.id,
            account.device_id,
        )
        async with pool.acquire() as maker, maker.transaction():
            assert await maker.fetchval("SELECT ensure_message_partitions()") == 1
            await put_messages(pool, account, 2)


async def test_no_index_holds_what_changes_after_the_insert(pool: Pool) -> None:
    """Every status update has to be HOT; one such index would cost that of all of them."""
    rows = await pool.fetch(
        "SELECT DISTINCT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "WHERE i.indrelid = 'messages'::regclass AND (a.attnum = ANY(i.indkey::int2[]) "
        "OR pg_get_expr(i.indpred, i.indrelid) ~ ('\\m' || a.attname || '\\M')) AND a.attnum > 0"
    )
    indexed = {row["attname"] for row in rows}
    assert {"id", "account_id", "phone", "campaign_id", "contact_id"} <= indexed
    never_change = {"template_id", "device_id", "reference", "send_at", "expires_at", "created_at"}
    assert indexed <= {"id", "account_id", "phone", "campaign_id", "contact_id", *never_change}
