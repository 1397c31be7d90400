"""Budgets as users meet them: what goes out, what waits, and what they are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.dispatch.calls import calls_of, send, send_bulk
from tests.system import Account, Hantar, eventually

THROTTLED = "+601155500005"


async def limit(hantar: Hantar, account: Account, **limits: object) -> None:
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(limits, 2))
    await hantar.pool.execute(
        f"UPDATE devices SET {sets} WHERE id = $1", account.device_id, *limits.values()
    )


async def waits_for(hantar: Hantar, account: Account, id_: int, reason: str) -> Any:
    """When the message may go at the earliest, once it waits for this reason."""

    async def look() -> Any:
        waiting = (await hantar.message(account, id_))["waiting"]
        return waiting if waiting and waiting["reason"] == reason else None

    return (await eventually(look))["earliest_at"]


async def test_a_used_up_day_keeps_the_rest_parked_without_asking_for_each(hantar: Hantar) -> None:
    account = await hantar.account()
    await limit(hantar, account, per_day=5)
    ids = await send_bulk(hantar, account, 500)
    earliest_at = await waits_for(hantar, account, ids[-1], "daily_cap")
    day = datetime.now(UTC) + timedelta(days=1)
    assert abs(datetime.fromisoformat(earliest_at) - day) < timedelta(minutes=2)

    async def called() -> bool:
        return len(await calls_of(hantar.pool, ids)) >= 5

    await eventually(called)
    # One claim was refused, of the few that stood ready; the device waits, not each message.
    refused = await hantar.pool.fetchval("SELECT count(*) FROM parked WHERE reason = 'daily_cap'")
    assert 0 < refused <= 200
    # Another device does not care, and a raised limit is met at once.
    other = await hantar.account()
    await hantar.until(other, await send(hantar, other), "delivered")
    await limit(hantar, account, per_day=8)

    async def raised() -> bool:
        return len(await calls_of(hantar.pool, ids)) >= 8

    await eventually(raised)
    await waits_for(hantar, account, ids[-1], "daily_cap")
    assert len(await calls_of(hantar.pool, ids)) == 8


async def test_more_new_recipients_at_once_than_a_day_may_have_hold_up_nobody_else(
    hantar: Hantar,
) -> None:
    account, other = await hantar.account(), await hantar.account()
    await limit(hantar, account, per_second=80.0, new_recipients_per_day=1)
    ids, others = await send_bulk(hantar, account, 60), await send_bulk(hantar, other, 60)
    for id_ in others:
        await hantar.until(other, id_, "delivered")
    await waits_for(hantar, account, ids[-1], "daily_cap")
    assert len(await calls_of(hantar.pool, ids)) == 1

    async def nothing_claimed() -> bool:
        sql = "SELECT count(*) FROM messages WHERE status = 'sending'"
        return not await hantar.pool.fetchval(sql)

    await eventually(nothing_claimed)


async def test_a_second_message_to_a_person_waits_its_time(hantar: Hantar) -> None:
    account = await hantar.account()
    await limit(hantar, account, pair_seconds=2.0)
    ids = [await send(hantar, account) for _ in range(3)]
    assert await waits_for(hantar, account, ids[-1], "pair")
    for id_ in ids:
        await hantar.until(account, id_, "delivered")
    first, second, third = await calls_of(hantar.pool, ids)
    assert second - first >= 2.0
    assert third - second >= 2.0


async def test_a_throttled_device_slows_down_and_the_message_still_arrives(hantar: Hantar) -> None:
    account = await hantar.account(per_second=40.0)
    id_ = await send(hantar, account, THROTTLED)
    message = await hantar.until(account, id_, "delivered")
    assert message["attempts"] == 1, "throttling never uses up an attempt"

    async def slowed() -> Any:
        return await hantar.pool.fetchrow(
            "SELECT rate_factor FROM devices WHERE id = $1 AND factor_until > now()",
            account.device_id,
        )

    # Two calls met it, so what is left is about half of a half.
    assert 0.2 < (await eventually(slowed))["rate_factor"] < 0.3
    ids = await send_bulk(hantar, account, 30)

    async def called() -> bool:
        return len(await calls_of(hantar.pool, ids)) == 30

    await eventually(called)
    times = await calls_of(hantar.pool, ids)
    assert 29 / (times[-1] - times[0]) <= 12.0
