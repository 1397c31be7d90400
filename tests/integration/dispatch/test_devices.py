"""What becomes of waiting messages when their device is paused, moved, changed or deleted."""

from __future__ import annotations

import time

from service.core.shards import shard_of
from service.store import devices
from tests.database import SHARDS
from tests.integration.dispatch.calls import calls_of, send_bulk
from tests.system import Account, Hantar, eventually


async def delivered(hantar: Hantar, ids: list[int]) -> None:
    """Return once all of these are delivered; each was called once."""

    async def look() -> bool:
        found = await hantar.pool.fetchval(
            "SELECT count(*) FROM messages WHERE id = ANY($1::bigint[]) AND status = 'delivered'",
            ids,
        )
        return bool(found == len(ids))

    await eventually(look)
    assert len(await calls_of(hantar.pool, ids)) == len(ids)


async def called(hantar: Hantar, ids: list[int], count: int) -> None:
    """Return once so many of these were called."""

    async def look() -> bool:
        return len(await calls_of(hantar.pool, ids)) >= count

    await eventually(look)


async def move(hantar: Hantar, account: Account, portfolio: str | None) -> int:
    """Give the device another portfolio; its shard then."""
    async with hantar.pool.acquire() as connection, connection.transaction():
        row = await devices.one(connection, account.id, account.device_id)
        assert row is not None
        limits = {name: row[name] for name in devices.LIMITS}
        await devices.update(
            connection,
            row,
            devices.Device(name="d", portfolio=portfolio, limits=limits),
            shards=SHARDS,
        )
    return shard_of(account.device_id, portfolio, SHARDS)


async def test_nothing_goes_out_once_a_pause_is_answered(hantar: Hantar) -> None:
    account = await hantar.account(per_second=50)
    # More than go out while a busy machine has not yet looked.
    ids = await send_bulk(hantar, account, 250)
    path = f"/devices/{account.device_id}"
    for passed in (5, 20, 35):
        await called(hantar, ids, passed)
        paused = await hantar.post(f"{path}/pause", account, {})
        answered = time.monotonic()
        assert paused.json["data"]["state"] == "paused"
        message = await hantar.message(account, ids[-1])
        assert message["waiting"] == {"reason": "paused", "earliest_at": None}
        await hantar.post(f"{path}/resume", account, {})
        resumed = time.monotonic()
        await called(hantar, ids, passed + 1)
        times = await calls_of(hantar.pool, ids)
        assert [at for at in times if answered < at < resumed] == []
    await delivered(hantar, ids)


async def test_a_device_moves_to_a_shard_of_lower_epochs_and_back(hantar: Hantar) -> None:
    account = await hantar.account(per_second=50)
    at_home = shard_of(account.device_id, None, SHARDS)
    away = next(str(n) for n in range(100) if shard_of(0, str(n), SHARDS) != at_home)
    # The shard it leaves has seen many owners.
    await hantar.pool.execute(
        "UPDATE shard_leases SET epoch = epoch + 1000 WHERE shard = $1", at_home
    )
    first = await send_bulk(hantar, account, 10)
    await delivered(hantar, first)
    ids = await send_bulk(hantar, account, 100)
    for passed, portfolio in ((10, away), (40, None), (60, away)):
        await called(hantar, ids, passed)
        shard = await move(hantar, account, portfolio)
        assert (shard == at_home) == (portfolio is None)
    await delivered(hantar, ids)
    refused = await hantar.pool.fetchval(
        "SELECT count(*) FROM messages WHERE id = ANY($1::bigint[]) AND attempts > 1", ids
    )
    assert refused == 0


async def test_the_messages_of_a_deleted_device_are_skipped_and_cost_nothing(
    hantar: Hantar,
) -> None:
    account = await hantar.account(credits=100, per_second=20)
    ids = await send_bulk(hantar, account, 50)
    await called(hantar, ids, 5)
    path = f"/api/v1/devices/{account.device_id}"
    assert (await hantar.call("DELETE", path, account)).status == 204
    answered = time.monotonic()

    async def over() -> bool:
        waiting = await hantar.pool.fetchval(
            "SELECT count(*) FROM messages WHERE account_id = $1 "
            "AND status NOT IN ('delivered', 'skipped')",
            account.id,
        )
        return bool(waiting == 0)

    await eventually(over)
    times = await calls_of(hantar.pool, ids)
    assert 5 <= len(times) < len(ids)
    assert max(times) < answered
    assert await hantar.balance(account) == 100 - len(times)
    assert await hantar.drifting() == []
