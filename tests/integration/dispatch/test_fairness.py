"""Who goes before whom on one device."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec

from schemas.commands import DISPATCH_PACK, DISPATCH_TYPE, Dispatch
from service.bus.topology import DISPATCH, dispatch_queue
from service.store.pool import Pool
from tests.integration.dispatch.calls import calls_of, order_of, overtaken, send
from tests.integration.store.rows import put_messages
from tests.system import Account, Hantar, eventually

LOW = 2


async def dispatch(pool: Pool, account: Account, ids: list[int], *, flow: int = 0) -> None:
    """Commands for these messages of the lowest priority, as accept writes them."""
    shard = await pool.fetchval("SELECT shard FROM devices WHERE id = $1", account.device_id)
    await pool.executemany(
        "INSERT INTO outbox (exchange, routing_key, type, body, offered_at) "
        "VALUES ($1, $2, $3, $4, now() - interval '1 minute')",
        [
            (
                DISPATCH,
                dispatch_queue(shard, express=False),
                DISPATCH_TYPE,
                msgspec.json.encode(
                    Dispatch(account.device_id, LOW, ids[start : start + DISPATCH_PACK], flow)
                ),
            )
            for start in range(0, len(ids), DISPATCH_PACK)
        ],
    )


async def campaign(hantar: Hantar, account: Account, flow: int, count: int) -> list[int]:
    """Messages of a campaign, dispatched."""
    ids = await put_messages(hantar.pool, account, count, priority=LOW, campaign_id=flow)
    await dispatch(hantar.pool, account, ids, flow=flow)
    return ids


async def called(hantar: Hantar, ids: list[int], count: int) -> None:
    async def look() -> bool:
        return len(await calls_of(hantar.pool, ids)) >= count

    await eventually(look)


async def parked(pool: Pool) -> int:
    found: int = await pool.fetchval("SELECT count(*) FROM parked")
    return found


async def test_campaigns_and_the_accounts_own_take_turns(hantar: Hantar) -> None:
    """A flood of one holds more than its device's lane, and the others go as if it were not."""
    account = await hantar.account(credits=5000, per_second=20.0)
    flood = await campaign(hantar, account, 1, 3000)
    await called(hantar, flood, 10)
    second = await campaign(hantar, account, 2, 15)
    own = await put_messages(hantar.pool, account, 15, priority=LOW)
    await dispatch(hantar.pool, account, own)
    await called(hantar, second, 1)
    before = len(await calls_of(hantar.pool, flood))
    await called(hantar, [*second, *own], 30)
    # A turn each: what came late is through after as many of the flood, give or take a claim.
    assert len(await calls_of(hantar.pool, flood)) - before <= 15 + 15 + 5
    assert overtaken(await order_of(hantar.pool, second), second) <= 3
    assert overtaken(await order_of(hantar.pool, own), own) <= 3
    assert overtaken(await order_of(hantar.pool, flood), flood) <= 3


async def test_one_parked_message_comes_out_beside_a_full_lane(hantar: Hantar) -> None:
    account = await hantar.account(per_second=10.0)
    flood = await campaign(hantar, account, 1, 900)
    await called(hantar, flood, 5)
    [late] = await put_messages(hantar.pool, account, priority=LOW, campaign_id=2)
    await hantar.pool.execute(
        "INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason) "
        "VALUES ($1, $2, 2, 2, now(), 'held')",
        late,
        account.device_id,
    )
    before = len(await calls_of(hantar.pool, flood))
    await called(hantar, [late], 1)
    # Found within a second; then its flow has the next turn.
    assert len(await calls_of(hantar.pool, flood)) - before <= 25


async def test_the_fresh_of_a_flow_go_behind_its_parked(hantar: Hantar) -> None:
    account = await hantar.account(credits=5000, per_second=50.0)
    flood = await campaign(hantar, account, 1, 3200)

    async def spilled() -> bool:
        return await parked(hantar.pool) > 0

    await eventually(spilled)
    late = await campaign(hantar, account, 1, 5)
    await hantar.pool.execute(
        "UPDATE devices SET per_second = NULL WHERE id = $1", account.device_id
    )
    await called(hantar, [*flood, *late], 3205)
    order = await order_of(hantar.pool, [*flood, *late])
    # Some whose claim lapsed may come after them; without a place of their own they were 100th.
    assert order.index(late[0]) > len(flood) - 200


async def test_an_urgent_message_waits_for_no_flood(hantar: Hantar) -> None:
    """Neither of bulks nor of single messages: it goes in the next slot that is not claimed yet."""
    account = await hantar.account(credits=9000, per_second=2.0)
    bulk = await put_messages(hantar.pool, account, 3000, priority=LOW)
    await dispatch(hantar.pool, account, bulk)
    singles = [await send(hantar, account) for _ in range(150)]
    await called(hantar, [*bulk, *singles], 3)
    began = time.monotonic()
    urgent = await send(hantar, account, priority="high")
    await called(hantar, [urgent], 1)
    [urgent_at] = await calls_of(hantar.pool, [urgent])
    overtaking = [at for at in await calls_of(hantar.pool, [*bulk, *singles]) if at > began]
    assert len([at for at in overtaking if at < urgent_at]) <= 1


async def test_the_lowest_priority_has_turns_beside_a_flood_of_the_next(hantar: Hantar) -> None:
    account = await hantar.account(credits=5000, per_second=50.0)
    normal = await put_messages(hantar.pool, account, 2500, created_at=datetime.now(UTC))
    await hantar.pool.execute(
        "INSERT INTO parked (message_id, device_id, priority, not_before, reason) "
        "SELECT id, device_id, priority, created_at, 'behind' FROM messages"
    )
    await called(hantar, normal, 20)
    low = await put_messages(hantar.pool, account, 3, priority=LOW)
    await dispatch(hantar.pool, account, low)
    await called(hantar, low, 3)
    assert len(await calls_of(hantar.pool, normal)) < 2500
