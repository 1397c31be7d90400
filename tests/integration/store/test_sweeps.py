from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from service.record.recorder import Recorder
from service.store import accounts, sweeps
from service.store.pool import Pool
from service.store.sweeps import Decided
from tests.integration.store.changes import assert_books_agree, change, messages
from tests.integration.store.rows import put_messages
from tests.integration.store.workers import WORKER, claim, take_all
from tests.system import Account, eventually

OLD = timedelta(minutes=11)
AGE_SECONDS = 600.0


async def unpointed(pool: Pool) -> int:
    return await sweeps.park_unpointed(pool, older_than_seconds=AGE_SECONDS)


async def parked(pool: Pool) -> list[int]:
    rows = await pool.fetch("SELECT message_id FROM parked ORDER BY message_id")
    return [row["message_id"] for row in rows]


async def test_what_waits_for_long_is_parked_whatever_pointed_to_it(
    pool: Pool, account: Account
) -> None:
    old, now = datetime.now(UTC) - OLD, datetime.now(UTC)
    waits = await put_messages(pool, account, 3, created_at=old)
    sent = await put_messages(pool, account, 2, created_at=old, status="sent", credit="settled")
    [later] = await put_messages(
        pool, account, created_at=old, status="scheduled", send_at=now + OLD
    )
    young = await put_messages(pool, account, 2)
    assert await unpointed(pool) == 4
    assert await parked(pool) == [*waits, later]
    due = await pool.fetch("SELECT message_id FROM parked WHERE not_before <= now()")
    assert sorted(row["message_id"] for row in due) == waits
    assert await unpointed(pool) == 0
    await pool.execute("UPDATE messages SET created_at = $1 WHERE id = ANY($2)", old, young)
    assert await unpointed(pool) == 2
    assert await parked(pool) == sorted([*waits, later, *young])
    assert not set(sent) & set(await parked(pool))


async def test_each_row_is_looked_at_once(pool: Pool, account: Account) -> None:
    await put_messages(pool, account, 3, created_at=datetime.now(UTC) - OLD)
    assert await unpointed(pool) == 3
    await pool.execute("DELETE FROM parked")
    assert await unpointed(pool) == 0


async def test_whoever_looks_meanwhile_leaves_it_to_the_first(pool: Pool, account: Account) -> None:
    await put_messages(pool, account, 3, created_at=datetime.now(UTC) - OLD)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM watermarks FOR UPDATE")
        async with asyncio.timeout(2):
            assert await unpointed(pool) == 0
    assert await unpointed(pool) == 3


async def decide(pool: Pool, *, release_seconds: float = 0.0) -> Decided:
    async with pool.acquire() as connection, connection.transaction():
        return await sweeps.decide_doubts(connection, release_seconds=release_seconds)


async def doubtful(pool: Pool, account: Account, recorder: Recorder, delivery: str) -> int:
    """A message in its first attempt, of which nobody knows what became of it."""
    [id_] = await put_messages(pool, account, status="sending", attempt=1, delivery=delivery)
    await recorder.put([change(id_, "unconfirmed")])
    return id_


async def test_at_least_once_sends_again_but_once(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    id_ = await doubtful(pool, account, recorder, "at_least_once")
    assert await decide(pool) == Decided(resent=1, released=0)
    [row] = await messages(pool, [id_])
    assert (row["status"], row["credit"], row["resent"]) == ("queued", "reserved", True)
    assert await claim(pool, [id_], await take_all(pool, WORKER)) == {id_: "claimed"}
    await recorder.put([change(id_, "unconfirmed", 2)])
    assert await decide(pool) == Decided(resent=0, released=0)
    assert await decide(pool) == Decided(resent=0, released=1)
    assert await decide(pool) == Decided(resent=0, released=0)
    [row] = await messages(pool, [id_])
    assert (row["status"], row["credit"]) == ("unconfirmed", "released")
    await assert_books_agree(pool)


async def test_at_most_once_keeps_it_and_gives_the_credit_back_in_the_end(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    id_ = await doubtful(pool, account, recorder, "at_most_once")
    before = await pool.fetchval("SELECT balance FROM accounts")
    assert await decide(pool, release_seconds=3600) == Decided(resent=0, released=0)
    [row] = await messages(pool, [id_])
    assert (row["status"], row["credit"]) == ("unconfirmed", "reserved")
    assert await decide(pool) == Decided(resent=0, released=0), "its hour is not over"
    await pool.execute("UPDATE doubts SET due_at = due_at - interval '1 hour'")
    assert await decide(pool) == Decided(resent=0, released=1)
    [row] = await messages(pool, [id_])
    assert (row["status"], row["credit"]) == ("unconfirmed", "released")
    assert await pool.fetchval("SELECT balance FROM accounts") == before + 1
    assert await pool.fetchval("SELECT count(*) FROM doubts") == 0
    await assert_books_agree(pool)


async def test_credits_of_many_go_back_together(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    ids = await put_messages(pool, account, 7, status="sending", attempt=1)
    await recorder.put([change(id_, "unconfirmed") for id_ in ids])
    await decide(pool)
    assert await decide(pool) == Decided(resent=0, released=7)
    await assert_books_agree(pool)


@pytest.mark.parametrize("word", ["sent", "delivered", "failed"])
async def test_a_word_in_time_ends_the_doubt(
    pool: Pool, account: Account, recorder: Recorder, word: str
) -> None:
    id_ = await doubtful(pool, account, recorder, "at_least_once")
    await recorder.put([change(id_, word)])
    assert await decide(pool) == Decided(resent=0, released=0)
    assert await pool.fetchval("SELECT count(*) FROM doubts") == 0
    [row] = await messages(pool, [id_])
    assert (row["status"], row["resent"]) == (word, False)


@pytest.mark.parametrize("awaits", ["callback", "release"])
async def test_a_word_that_comes_while_it_is_decided_counts(
    pool: Pool, account: Account, recorder: Recorder, awaits: str
) -> None:
    id_ = await doubtful(pool, account, recorder, "at_least_once")
    await pool.execute("UPDATE doubts SET awaits = $1", awaits)
    async with pool.acquire() as other:
        async with other.transaction():
            await other.execute("UPDATE messages SET status = 'sent', credit = 'settled'")
            deciding = asyncio.create_task(decide(pool))

            async def waits_for_the_row() -> bool:
                return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await eventually(waits_for_the_row)
        await deciding
    [row] = await messages(pool, [id_])
    assert (row["status"], row["credit"]) == ("sent", "settled")
    assert await parked(pool) == []


async def test_nothing_is_decided_before_its_time(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    id_ = await doubtful(pool, account, recorder, "at_least_once")
    await pool.execute("UPDATE doubts SET due_at = now() + interval '1 minute'")
    assert await decide(pool) == Decided(resent=0, released=0)
    [row] = await messages(pool, [id_])
    assert row["status"] == "unconfirmed"


async def test_a_doubt_is_decided_by_one(pool: Pool, account: Account, recorder: Recorder) -> None:
    for _ in range(5):
        await doubtful(pool, account, recorder, "at_least_once")
    decided = await asyncio.gather(*(decide(pool) for _ in range(6)))
    assert sum(each.resent for each in decided) == 5


async def test_answers_are_forgotten_when_their_time_is_over(pool: Pool, account: Account) -> None:
    await pool.execute(
        "INSERT INTO idempotency SELECT $1, n::text, 'f', 202, '{}', "
        "now() + make_interval(secs => n) FROM unnest(ARRAY[-10, -1, 60]) n",
        account.id,
    )
    await sweeps.drop_answers(pool)
    left = await pool.fetch("SELECT key FROM idempotency")
    assert [row["key"] for row in left] == ["60"]


async def test_conversations_are_forgotten_when_their_window_is_closed(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO conversations SELECT 1, n::text, now() - make_interval(hours => n) "
        "FROM unnest(ARRAY[1, 24, 26, 300]) n"
    )
    await sweeps.drop_conversations(pool)
    left = await pool.fetch("SELECT phone FROM conversations ORDER BY heard_at DESC")
    assert [row["phone"] for row in left] == ["1", "24"]


@pytest.mark.parametrize(
    "theft",
    [
        "UPDATE accounts SET balance = balance + 1",
        "INSERT INTO ledger (account_id, type, count, balance_after) "
        "SELECT id, 'release', 1, balance FROM accounts",
        "INSERT INTO ledger (account_id, type, count) SELECT id, 'settle', 1 FROM accounts",
        "UPDATE messages SET credit = 'released' WHERE credit = 'settled'",
        "DELETE FROM messages WHERE credit = 'reserved'",
    ],
)
async def test_books_that_do_not_agree_are_found(pool: Pool, account: Account, theft: str) -> None:
    for credit in ("reserved", "settled", "released", "refunded"):
        await put_messages(pool, account, 2, credit=credit)
    await assert_books_agree(pool)
    await pool.execute(theft)
    async with pool.acquire() as connection, connection.transaction():
        [found] = await sweeps.audit(connection)
    assert found["account_id"] == account.id


@pytest.mark.parametrize(
    "change", ["UPDATE ledger SET note = 'x'", "DELETE FROM ledger", "TRUNCATE ledger"]
)
async def test_the_ledger_only_grows(pool: Pool, account: Account, change: str) -> None:
    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await pool.execute(change)


async def test_a_ledger_is_summed_up_once_whoever_else_does_it(pool: Pool) -> None:
    account_id = await pool.fetchval(
        "INSERT INTO accounts (name, email) VALUES ('Kedai', 'a@example.com') RETURNING id"
    )

    async def reserved() -> tuple[int, int]:
        async with pool.acquire() as connection:
            row = await accounts.credit(connection, account_id)
        assert row is not None
        summed = await pool.fetchval("SELECT COALESCE(sum(reserved), 0) FROM ledger_sums")
        return row["reserved"], summed

    async def enter(count: int, old: timedelta) -> None:
        await pool.execute(
            "INSERT INTO ledger (account_id, type, count, balance_after, created_at) "
            "SELECT $1, 'reserve', 2, 0, $3 FROM generate_series(1, $2)",
            account_id,
            count,
            datetime.now(UTC) - old,
        )

    await enter(25, OLD)
    await enter(5, timedelta())
    await enter(10, OLD)  # those behind a young one wait with it
    together = [sweeps.sum_ledger(pool, most=7, least=3) for _ in range(4)]
    await asyncio.gather(*together)
    found, summed = await reserved()
    assert (found, summed) == (80, 50)
    await pool.execute(
        "INSERT INTO ledger (account_id, type, count) SELECT $1, 'settle', 30", account_id
    )
    assert await reserved() == (50, summed)
