from __future__ import annotations

import asyncio

from service.store import outbox
from service.store.pool import Pool


async def put(pool: Pool, count: int, *, offered_seconds_ago: float = 0.0) -> list[int]:
    rows = await pool.fetch(
        "INSERT INTO outbox (exchange, routing_key, type, body, created_at, offered_at) "
        "SELECT 'hantar.dispatch', 'key', 'type', n::text::bytea, at, at "
        "FROM generate_series(1, $1::int) n, (SELECT now() - make_interval(secs => $2)) t (at) "
        "RETURNING id",
        count,
        offered_seconds_ago,
    )
    return [row["id"] for row in rows]


async def test_only_what_was_offered_long_ago_is_stale_the_oldest_first(pool: Pool) -> None:
    old = await put(pool, 4, offered_seconds_ago=60)
    await put(pool, 2, offered_seconds_ago=3)
    entries = await outbox.stale(pool, older_than_seconds=5, limit=2, except_ids=[old[1]])
    assert [entry.id for entry in entries] == [old[0], old[2]]
    [first, _] = entries
    assert (first.exchange, first.routing_key, first.type) == ("hantar.dispatch", "key", "type")
    assert first.body == b"1"


async def test_what_one_sweeper_was_given_no_other_gets_until_it_is_stale_again(
    pool: Pool,
) -> None:
    ids = await put(pool, 50, offered_seconds_ago=60)
    async with asyncio.timeout(3), pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM outbox WHERE id <= $1 FOR UPDATE", ids[19])
        rest = await outbox.stale(pool, older_than_seconds=5, limit=100, except_ids=[])
    assert [entry.id for entry in rest] == ids[20:]
    first = await outbox.stale(pool, older_than_seconds=5, limit=100, except_ids=[])
    assert [entry.id for entry in first] == ids[:20]
    assert await outbox.stale(pool, older_than_seconds=5, limit=100, except_ids=[]) == []
    await pool.execute("UPDATE outbox SET offered_at = offered_at - interval '6 seconds'")
    again = await outbox.stale(pool, older_than_seconds=5, limit=100, except_ids=[])
    assert [entry.id for entry in again] == ids


async def test_its_state_is_its_depth_and_the_age_of_the_oldest(pool: Pool) -> None:
    assert await outbox.state(pool) == outbox.OutboxState(0, 0.0)
    old = await put(pool, 2, offered_seconds_ago=90)
    await put(pool, 1)
    # That it was offered again makes it no younger.
    await outbox.stale(pool, older_than_seconds=5, limit=10, except_ids=[])
    state = await outbox.state(pool)
    assert state.depth == 3
    assert 90 <= state.oldest_seconds < 100
    async with pool.acquire() as connection:
        await outbox.delete(connection, old)
    state = await outbox.state(pool)
    assert state.depth == 1
    assert state.oldest_seconds < 10
