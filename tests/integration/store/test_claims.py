from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from service.dispatch.claims import Claimed, Claims
from service.dispatch.leases import Lease
from service.store import claims as store
from service.store.pool import UNAVAILABLE, Pool, open_pool
from tests.integration.store.lossy import LossyWay
from tests.integration.store.rows import put_messages, statuses
from tests.integration.store.workers import WORKER, claim, take_all
from tests.system import Account, make_account


@asynccontextmanager
async def claims_of(dsn: str, epochs: dict[int, int]) -> AsyncIterator[Claims]:
    """The group-committed claims of a worker that holds these epochs."""
    held = {shard: Lease(shard, epoch, float("inf")) for shard, epoch in epochs.items()}
    claims = Claims(dsn, WORKER, held)
    await claims.start()
    try:
        yield claims
    finally:
        async with asyncio.timeout(10):
            await claims.close()


async def shard_of(pool: Pool, account: Account) -> int:
    shard: int = await pool.fetchval("SELECT shard FROM devices WHERE id = $1", account.device_id)
    return shard


async def test_a_claim_answers_all_that_a_driver_needs(
    pool: Pool, dsn: str, account: Account
) -> None:
    [id_] = await put_messages(pool, account, options='{"media": 1}', attempts=2, attempt=4)
    async with claims_of(dsn, await take_all(pool, WORKER)) as claims:
        [claimed] = await claims.take([id_], await shard_of(pool, account))
    assert isinstance(claimed, Claimed)
    assert (claimed.message_id, claimed.attempt, claimed.attempts) == (id_, 5, 2)
    assert (claimed.phone, claimed.body) == ("+60123000001", "hello")
    assert await statuses(pool, [id_]) == ["sending"]
    [note] = await pool.fetch("SELECT * FROM claims")
    assert (note["id"], note["message_ids"]) == (claimed.claim.id, [id_])


async def test_only_the_owner_of_the_current_epoch_claims(pool: Pool, account: Account) -> None:
    ids = await put_messages(pool, account, 3)
    former = await take_all(pool, WORKER)
    current = await take_all(pool, "worker-b")
    assert await claim(pool, ids, former) == {}
    assert await claim(pool, ids, current) == {}, "the epoch is right, the worker is not"
    assert await claim(pool, ids, former, worker="worker-b") == {}
    assert await statuses(pool, ids) == ["queued"] * 3
    assert await pool.fetchval("SELECT count(*) FROM claims") == 0
    verdicts = await claim(pool, ids, current, worker="worker-b")
    assert verdicts == dict.fromkeys(ids, "claimed")


async def test_a_shard_that_is_not_held_yields_nothing(pool: Pool, account: Account) -> None:
    epochs = await take_all(pool, WORKER)
    ids = await put_messages(pool, account)
    del epochs[await shard_of(pool, account)]
    assert await claim(pool, ids, epochs) == {}
    assert await statuses(pool, ids) == ["queued"]


async def test_twenty_claimers_claim_each_message_once(
    pool: Pool, dsn: str, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    ids = await put_messages(pool, account, 60)
    wide = await open_pool(dsn, name="claimers", size=20)
    try:
        verdicts = await asyncio.gather(
            *(claim(wide, ids, epochs, claim_id=number) for number in range(1, 21))
        )
    finally:
        await wide.close()
    claimed = Counter(id_ for each in verdicts for id_, verdict in each.items())
    assert claimed == dict.fromkeys(ids, 1)
    assert {verdict for each in verdicts for verdict in each.values()} == {"claimed"}
    assert {row["attempt"] for row in await pool.fetch("SELECT attempt FROM messages")} == {1}


async def test_a_locked_row_is_left_out_and_not_waited_for(
    pool: Pool, dsn: str, account: Account
) -> None:
    free, locked, done = await put_messages(pool, account, 3)
    await pool.execute("UPDATE messages SET status = 'sent' WHERE id = $1", done)
    async with AsyncExitStack() as stack:
        claims = await stack.enter_async_context(claims_of(dsn, await take_all(pool, WORKER)))
        other = await stack.enter_async_context(pool.acquire())
        await stack.enter_async_context(other.transaction())
        await other.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", locked)
        async with asyncio.timeout(2):
            answers = await claims.take([locked, free, done], await shard_of(pool, account))
    assert answers[0] == "locked"
    assert isinstance(answers[1], Claimed)
    assert answers[2] == "gone"
    assert await statuses(pool, [locked]) == ["queued"]


async def test_what_asks_for_the_same_message_twice_gets_it_once(
    pool: Pool, dsn: str, account: Account
) -> None:
    [id_] = await put_messages(pool, account)
    shard = await shard_of(pool, account)
    async with claims_of(dsn, await take_all(pool, WORKER)) as claims:
        answers = await asyncio.gather(claims.take([id_], shard), claims.take([id_, id_], shard))
    flat = [answer for part in answers for answer in part]
    assert sum(isinstance(answer, Claimed) for answer in flat) == 1
    assert await pool.fetchval("SELECT attempt FROM messages WHERE id = $1", id_) == 1


@pytest.mark.parametrize("answers", [1, 3])
async def test_a_claim_whose_answer_was_lost_is_undone(
    pool: Pool, dsn: str, account: Account, answers: int
) -> None:
    """With three answers lost, those to its undoing are among them."""
    first, second, third = await put_messages(pool, account, 3)
    shard = await shard_of(pool, account)
    epochs = await take_all(pool, WORKER)
    async with LossyWay(dsn).open() as way, claims_of(way.dsn, epochs) as claims:
        await claims.take([first], shard)
        way.lose(answers)
        with pytest.raises(UNAVAILABLE):
            async with asyncio.timeout(10):
                await claims.take([second, third], shard)
        assert way.lost == answers
        attempts = await pool.fetch("SELECT attempt FROM messages WHERE id > $1", first)
        assert [row["attempt"] for row in attempts] == [1, 1], "it had been committed"
        assert await statuses(pool, [first, second, third]) == ["sending", "queued", "queued"]
        parked = await pool.fetch("SELECT message_id FROM parked WHERE not_before <= now()")
        assert sorted(row["message_id"] for row in parked) == [second, third]
        notes = await pool.fetch("SELECT message_ids FROM claims")
        assert [row["message_ids"] for row in notes] == [[first]]
        again = await claims.take([second, third], shard)
    assert [answer.attempt for answer in again if isinstance(answer, Claimed)] == [2, 2]


async def test_only_the_claim_that_took_a_message_gives_it_back(
    pool: Pool, account: Account
) -> None:
    mine, sent, other = await put_messages(pool, account, 3)
    epochs = await take_all(pool, WORKER)
    await claim(pool, [mine, sent], epochs, claim_id=1)
    await claim(pool, [other], epochs, claim_id=2)
    await pool.execute("UPDATE messages SET status = 'sent' WHERE id = $1", sent)
    async with pool.acquire() as connection:
        await store.give_back(connection, [mine, sent, other], 1)
    assert await statuses(pool, [mine, sent, other]) == ["queued", "sent", "sending"]
    parked = await pool.fetch("SELECT message_id, not_before <= now() AS due FROM parked")
    assert [tuple(row) for row in parked] == [(mine, True)]


async def test_notes_that_nobody_works_on_are_orphans(pool: Pool, account: Account) -> None:
    lost, sent, fresh = await put_messages(pool, account, 3)
    former = await take_all(pool, WORKER)
    await claim(pool, [lost, sent], former, claim_id=1)
    await pool.execute("UPDATE messages SET status = 'sent' WHERE id = $1", sent)
    current = await take_all(pool, "worker-b")
    await claim(pool, [fresh], current, worker="worker-b", claim_id=2)
    [orphan] = await store.orphans(pool, current, except_ids=[2])
    assert (orphan.claim, orphan.shard) == (1, await shard_of(pool, account))
    rows = await store.orphaned_messages(pool, orphan)
    assert [tuple(row) for row in rows] == [(lost, 1, "simulator")]
    assert len(await store.orphans(pool, current, except_ids=[])) == 2
    assert await store.orphans(pool, former, except_ids=[1]) == []


async def test_a_device_is_open_while_nothing_keeps_it_from_sending(pool: Pool) -> None:
    faults = {
        "none": "name = name",
        "throttled": "state = 'throttled'",
        "paused": "paused = true",
        "unlinked": "state = 'unlinked'",
        "held": "hold_until = now() + interval '1 hour'",
        "held before": "hold_until = now() - interval '1 second'",
        "paused, but deleted": "paused = true, deleted_at = now()",
    }
    ids = {}
    for name, fault in faults.items():
        device = (await make_account(pool)).device_id
        await pool.execute(f"UPDATE devices SET {fault} WHERE id = $1", device)
        ids[device] = name
    rows = await store.devices(pool, [0, 1])
    assert {ids[row.id] for row in rows if row.open} == {
        "none",
        "throttled",
        "held before",
        "paused, but deleted",
    }
    assert [row.id for row in await store.devices(pool, [])] == []
