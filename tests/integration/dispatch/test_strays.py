"""Commands that are late, double, forged or lost, and claims that somebody left behind."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from schemas.commands import DISPATCH_TYPE, Dispatch
from service.bus.topology import DEAD, DISPATCH, DISPATCH_DEAD, dispatch_queue
from service.store.pool import Pool
from tests.database import SHARDS
from tests.integration.dispatch.calls import calls_of, send
from tests.integration.store.rows import put_messages
from tests.system import Account, Hantar, eventually, make_account, run_app

running = asynccontextmanager(run_app)


async def shard_of(pool: Pool, account: Account) -> int:
    shard: int = await pool.fetchval("SELECT shard FROM devices WHERE id = $1", account.device_id)
    return shard


async def put_command(
    pool: Pool, shard: int, body: bytes, *, exchange: str = DISPATCH, queue: str | None = None
) -> None:
    """A command in the outbox that the sweep will find and publish."""
    await pool.execute(
        "INSERT INTO outbox (exchange, routing_key, type, body, offered_at) "
        "VALUES ($1, $2, $3, $4, now() - interval '1 minute')",
        exchange,
        queue or dispatch_queue(shard, express=True),
        DISPATCH_TYPE,
        body,
    )


def command(account: Account, ids: list[int]) -> bytes:
    return msgspec.json.encode(Dispatch(account.device_id, 1, ids))


async def through(hantar: Hantar) -> None:
    """Wait until every command was published, and acked by whoever had it."""

    async def look() -> bool:
        return not await hantar.pool.fetchval("SELECT count(*) FROM outbox")

    await eventually(look)


async def test_a_command_that_comes_often_is_carried_out_once(hantar: Hantar) -> None:
    account = await hantar.account(per_second=5.0)
    shard = await shard_of(hantar.pool, account)
    ids = await put_messages(hantar.pool, account, 5)
    for _ in range(3):
        await put_command(hantar.pool, shard, command(account, ids))
    for id_ in ids:
        await hantar.until(account, id_, "delivered")
    await put_command(hantar.pool, shard, command(account, ids))
    await through(hantar)
    assert len(await calls_of(hantar.pool, ids)) == 5


async def test_a_command_on_the_wrong_shard_finds_the_right_one(hantar: Hantar) -> None:
    account = await hantar.account()
    ids = await put_messages(hantar.pool, account, 3)
    wrong = (await shard_of(hantar.pool, account) + 1) % SHARDS
    await put_command(hantar.pool, wrong, command(account, ids))
    for id_ in ids:
        await hantar.until(account, id_, "delivered")
    assert len(await calls_of(hantar.pool, ids)) == 3


async def test_a_command_about_nothing_does_no_harm(hantar: Hantar) -> None:
    account = await hantar.account()
    shard = await shard_of(hantar.pool, account)
    nobody = Account(0, "", 987_654)
    for body in (
        b"no json",
        b'{"device": 1}',
        b'{"device": "x", "priority": 1, "ids": []}',
        command(account, []),
        command(account, [987_654_321]),
        command(nobody, [987_654_321]),
    ):
        await put_command(hantar.pool, shard, body)
    await through(hantar)
    await hantar.until(account, await send(hantar, account), "delivered")


async def test_a_message_that_nothing_points_to_any_more_is_found_and_sent(
    dsn: str, pool: Pool
) -> None:
    account = await make_account(pool)
    purged = await put_messages(
        pool, account, 5, created_at=datetime.now(UTC) - timedelta(minutes=11)
    )
    async with running(dsn, pool) as hantar:
        for id_ in purged:
            await hantar.until(account, id_, "delivered")
        assert len(await calls_of(pool, purged)) == 5


@pytest.mark.parametrize(
    ("dedupe", "status", "calls"), [("on", "delivered", 1), ("off", "unconfirmed", 0)]
)
async def test_what_a_dead_dispatcher_had_claimed_is_resolved(
    dsn: str, pool: Pool, dedupe: str, status: str, calls: int
) -> None:
    """Repeated where that is still one message; else only a callback can tell."""
    account = await make_account(pool)
    [id_] = await put_messages(pool, account, status="sending", attempt=1, claim=77)
    await pool.execute(
        "INSERT INTO claims (id, shard, epoch, message_ids) VALUES (77, $1, 0, $2)",
        await shard_of(pool, account),
        [id_],
    )
    async with running(dsn, pool, simulator_dedupe=dedupe) as hantar:
        message = await hantar.until(account, id_, status)
        assert len(await calls_of(pool, [id_])) == calls
        assert await pool.fetchval("SELECT count(*) FROM claims") == 0
        if status == "unconfirmed":
            assert message["error"]["code"] == "dispatcher_lost"
        assert await hantar.drifting() == []


async def test_a_claim_that_was_committed_after_it_was_given_up_is_resolved(
    hantar: Hantar,
) -> None:
    """The present owner's own epoch, and a note that nobody here knows of."""
    account = await hantar.account()
    shard = await shard_of(hantar.pool, account)
    await hantar.until(account, await send(hantar, account), "delivered")
    [id_] = await put_messages(hantar.pool, account, status="sending", attempt=1, claim=77)
    await hantar.pool.execute(
        "INSERT INTO claims (id, shard, epoch, message_ids) "
        "SELECT 77, shard, epoch, $2 FROM shard_leases WHERE shard = $1",
        shard,
        [id_],
    )
    await hantar.until(account, id_, "delivered")
    assert len(await calls_of(hantar.pool, [id_])) == 1


async def test_no_accepted_message_rests_among_the_dead(hantar: Hantar) -> None:
    account = await hantar.account()
    shard = await shard_of(hantar.pool, account)
    ids = await put_messages(hantar.pool, account, 3)
    for body in (command(account, []), b"no json", command(account, ids)):
        await put_command(hantar.pool, shard, body, exchange=DEAD, queue=DISPATCH_DEAD)
    for id_ in ids:
        await hantar.until(account, id_, "delivered")
    await through(hantar)
    assert len(await calls_of(hantar.pool, ids)) == 3


async def test_a_flood_of_single_messages_leaves_the_shard_to_the_other_devices(
    hantar: Hantar,
) -> None:
    """More commands than the queue gives out unacked, for a device that sends ten a second."""
    slow = await hantar.account(per_second=10.0)
    other = await neighbour(hantar, slow)
    ids = await put_messages(hantar.pool, slow, 600)
    shard = await shard_of(hantar.pool, slow)
    for id_ in ids:
        await put_command(hantar.pool, shard, command(slow, [id_]))

    async def flooded() -> bool:
        """Everything has left the outbox that is not in the lane's own hands."""
        return int(await hantar.pool.fetchval("SELECT count(*) FROM outbox")) <= 100

    await eventually(flooded)
    await hantar.until(other, await send(hantar, other), "delivered")
    assert len(await calls_of(hantar.pool, ids)) < 100


async def neighbour(hantar: Hantar, account: Account) -> Account:
    """Another account whose device lies on the same shard."""
    while True:
        other = await hantar.account()
        if await shard_of(hantar.pool, other) == await shard_of(hantar.pool, account):
            return other


async def test_an_outcome_that_cannot_be_written_is_found_out_later(hantar: Hantar) -> None:
    account = await hantar.account()
    await hantar.pool.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'not this one'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON messages FOR EACH ROW
            WHEN (NEW.status = 'unconfirmed') EXECUTE FUNCTION refuse()
        """
    )
    id_ = await send(hantar, account, "+601155500002")  # which never answers

    async def called() -> bool:
        return len(await calls_of(hantar.pool, [id_])) >= 1

    await eventually(called)
    # The command is acked once its outcome was tried.
    await through(hantar)
    await hantar.pool.execute("DROP TRIGGER refuse ON messages; DROP FUNCTION refuse")
    await hantar.until(account, id_, "unconfirmed")
