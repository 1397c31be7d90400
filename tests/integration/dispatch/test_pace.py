from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import pairwise

from service.dispatch.claims import CLAIM_SECONDS
from tests.integration.dispatch.calls import (
    calls_of,
    order_of,
    overtaken,
    pause,
    send,
    send_bulk,
)
from tests.system import Account, Hantar, eventually
from tests.windows import too_soon, used

#: Twenty devices at one a second, each with a message that waits.
CROWD = """
WITH crowd AS (
    INSERT INTO devices (account_id, name, driver, state, shard, per_second)
    SELECT $1, 'crowd', 'simulator', 'ready', 0, 1.0 FROM generate_series(1, 20) RETURNING id
), put AS (
    INSERT INTO messages (account_id, device_id, phone, body, status, priority)
    SELECT $1, id, '+60123456789', 'hello', 'queued', 1 FROM crowd RETURNING id, device_id
), parked AS (
    INSERT INTO parked (message_id, device_id, priority, not_before, reason)
    SELECT id, device_id, 1, now(), 'behind' FROM put
)
SELECT id FROM put
"""


async def called(hantar: Hantar, ids: list[int], count: int, *, within: float = 20.0) -> None:
    async def look() -> bool:
        return len(await calls_of(hantar.pool, ids)) >= count

    await eventually(look, within_seconds=within)


async def set_rate(hantar: Hantar, account: Account, per_second: float) -> None:
    await hantar.pool.execute(
        "UPDATE devices SET per_second = $2 WHERE id = $1", account.device_id, per_second
    )


async def test_a_device_keeps_its_limit_in_every_second_and_uses_it(hantar: Hantar) -> None:
    account = await hantar.account(per_second=20.0)
    ids = await send_bulk(hantar, account, 80)
    await called(hantar, ids, 80)
    times = await calls_of(hantar.pool, ids)
    assert too_soon(times, 20, 1.0) == []
    assert used(times, 20.0) >= 0.95


async def test_devices_do_not_share_their_limits(hantar: Hantar) -> None:
    slow, fast = await hantar.account(per_second=1.0), await hantar.account(per_second=100.0)
    waiting = await send_bulk(hantar, slow, 20)
    ids = await send_bulk(hantar, fast, 100)
    await called(hantar, ids, 100)
    assert len(await calls_of(hantar.pool, waiting)) < 20


async def test_a_device_that_was_idle_for_its_window_is_called_at_once(hantar: Hantar) -> None:
    idle, busy = await hantar.account(per_second=0.2), await hantar.account(per_second=10.0)
    await called(hantar, await send_bulk(hantar, busy, 55), 55)  # for five seconds and a half
    sent_at = time.monotonic()
    first = await send(hantar, idle)
    await called(hantar, [first], 1)
    [called_at] = await calls_of(hantar.pool, [first])
    assert called_at - sent_at < 3.0


async def test_the_urgent_goes_first_and_the_rest_in_its_order(hantar: Hantar) -> None:
    account = await hantar.account(per_second=20.0)
    low = await send_bulk(hantar, account, 40)
    await called(hantar, low, 5)
    normal = await send(hantar, account, "+60191111111")
    high = await send(hantar, account, "+60192222222", priority="high")
    accepted_at = time.monotonic()
    await called(hantar, [*low, normal, high], 42)
    [urgent_at] = await calls_of(hantar.pool, [high])
    overtaking = [at for at in await calls_of(hantar.pool, low) if accepted_at < at < urgent_at]
    # What was already claimed for its slot is not called back.
    assert len(overtaking) <= 3
    order = await order_of(hantar.pool, [*low, normal, high])
    assert order.index(normal) < 25
    assert overtaken([id_ for id_ in order if id_ in set(low)], low) <= 3


async def test_the_first_bulks_of_new_devices_go_out_in_order(hantar: Hantar) -> None:
    accounts = [await hantar.account(per_second=100.0) for _ in range(8)]
    bulks = await asyncio.gather(*(send_bulk(hantar, each, 300) for each in accounts))
    for ids in bulks:
        await called(hantar, ids, 300)
        assert overtaken(await order_of(hantar.pool, ids), ids) <= 20


async def test_a_flood_is_parked_and_goes_out_once_and_in_order_at_a_new_rate(
    hantar: Hantar,
) -> None:
    account = await hantar.account(per_second=2.0)
    ids = await send_bulk(hantar, account, 300)

    async def parked() -> int:
        found: int = await hantar.pool.fetchval("SELECT count(*) FROM parked")
        return found

    # A lane holds a minute of its device's time, and nothing of a device not known yet.
    await eventually(parked)
    assert await parked() >= 300 - 120 - 2
    await set_rate(hantar, account, 200.0)
    await called(hantar, ids, 300)
    assert overtaken(await order_of(hantar.pool, ids), ids) <= 20
    assert await hantar.pool.fetchval("SELECT count(*) FROM parked") == 0


async def test_a_limit_that_is_lowered_holds_for_whatever_is_claimed_after_its_commit(
    hantar: Hantar,
) -> None:
    account = await hantar.account(per_second=50.0)
    ids = await send_bulk(hantar, account, 400)
    await called(hantar, ids, 20)
    await set_rate(hantar, account, 5.0)
    lowered_at = time.monotonic()

    async def three_seconds_of_it() -> bool:
        return (await calls_of(hantar.pool, ids))[-1] > lowered_at + 3.0

    await eventually(three_seconds_of_it)
    # The calls made before count too: the first under the new limit is not a fresh start.
    breaches = too_soon(await calls_of(hantar.pool, ids), 5, 1.0)
    assert [breach for breach in breaches if breach.late > lowered_at + CLAIM_SECONDS] == []


async def test_a_paused_device_keeps_its_messages_and_sends_each_once_when_it_goes_on(
    hantar: Hantar,
) -> None:
    account = await hantar.account(per_second=20.0)
    ids = await send_bulk(hantar, account, 40)
    await called(hantar, ids, 5)
    await pause(hantar.pool, account, paused=True)

    async def all_the_rest_waits() -> int:
        counts = Counter(
            row["status"] for row in await hantar.pool.fetch("SELECT status FROM messages")
        )
        parked: int = await hantar.pool.fetchval("SELECT count(*) FROM parked")
        return parked if counts["queued"] == parked and not counts["sending"] else 0

    left = await eventually(all_the_rest_waits)
    sent = len(await calls_of(hantar.pool, ids))
    assert sent + left == 40
    # Another message through the same device joins them, and the first of them waits on.
    late = await send(hantar, account, "+60191111111")
    other = await hantar.account()
    await hantar.until(other, await send(hantar, other), "delivered")
    assert len(await calls_of(hantar.pool, [*ids, late])) == sent
    await pause(hantar.pool, account, paused=False)
    await called(hantar, [*ids, late], 41)
    for id_ in (*ids, late):
        await hantar.until(account, id_, "delivered")
    times = await calls_of(hantar.pool, [*ids, late])
    assert len(times) == 41
    assert too_soon(times, 20, 1.0) == []


async def test_devices_taken_over_together_are_not_called_together(hantar: Hantar) -> None:
    account = await hantar.account()
    ids = [row["id"] for row in await hantar.pool.fetch(CROWD, account.id)]
    await called(hantar, ids, len(ids))
    times = await calls_of(hantar.pool, ids)
    assert max(later - former for former, later in pairwise(times)) < 0.3
    assert times[-1] - times[0] > 0.7
