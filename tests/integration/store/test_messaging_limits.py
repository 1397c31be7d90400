"""What a provider allows a device bounds its recipients of a day; who writes first is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.commands import StandingItem
from service.store import sweeps
from service.store.pool import Pool
from service.store.standing import stand
from tests.integration.store.rows import put_messages
from tests.integration.store.test_budgets import (
    DAY_SECONDS,
    HOUR_SECONDS,
    SPAN_SECONDS,
    let_pass,
    limit,
    put_to,
    verdicts,
)
from tests.integration.store.workers import WORKER, take_all
from tests.system import Account

COUNTED = "SELECT max(recipients) FROM budget_groups"


async def say(pool: Pool, device_id: int, recipients: int | None) -> None:
    """The provider's word on how many people the device may write to first."""
    item = StandingItem(
        device_id, datetime.now(UTC), messaging_limit="SO_MANY", recipients_per_day=recipients
    )
    async with pool.acquire() as connection:
        await stand(connection, item)


async def heard(pool: Pool, device_id: int, phone: str, hours_ago: float = 0.0) -> None:
    await pool.execute(
        "INSERT INTO conversations (device_id, phone, heard_at)"
        " VALUES ($1, $2, now() - make_interval(secs => $3 * 3600))",
        device_id,
        phone,
        hours_ago,
    )


@pytest.mark.parametrize(
    ("own", "allowed", "most"), [(None, 2, 2), (3, 2, 2), (2, 3, 2), (3, None, 3), (None, None, 4)]
)
async def test_the_lower_of_the_two_counts(
    pool: Pool, account: Account, own: int | None, allowed: int | None, most: int
) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, new_recipients_per_day=own, pair_seconds=0)
    await say(pool, account.device_id, allowed)
    found = await verdicts(pool, await put_messages(pool, account, 4), epochs)
    assert found == ["claimed"] * most + ["new_recipients"] * (4 - most)


async def test_what_is_said_of_the_quality_alone_leaves_the_limit(
    pool: Pool, account: Account
) -> None:
    await say(pool, account.device_id, 2)
    async with pool.acquire() as connection:
        await stand(connection, StandingItem(account.device_id, datetime.now(UTC), quality="RED"))
    assert await pool.fetchval("SELECT recipients_per_day FROM devices") == 2


async def test_who_wrote_within_a_day_counts_for_nothing(pool: Pool, account: Account) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, pair_seconds=1)
    await say(pool, account.device_id, 1)
    answered, stranger = "+60129999991", "+60129999992"
    await heard(pool, account.device_id, answered)
    await heard(pool, account.device_id, stranger, hours_ago=24)
    first, other = await put_to(pool, account, answered), await put_to(pool, account, stranger, 2)
    assert await verdicts(pool, [*first, other[0]], epochs) == ["claimed", "claimed"]
    [third] = await put_to(pool, account, "+60129999993")
    assert await verdicts(pool, [third], epochs) == ["new_recipients"]
    assert await pool.fetchval(COUNTED) == 1
    # When the 24 hours are over the person who was answered is one more.
    await pool.execute("DELETE FROM conversations")
    await let_pass(pool, SPAN_SECONDS)
    [late] = await put_to(pool, account, answered)
    assert await verdicts(pool, [late, other[1]], epochs) == ["new_recipients", "claimed"]
    assert await pool.fetchval(COUNTED) == 1
    await let_pass(pool, DAY_SECONDS + 2 * HOUR_SECONDS)
    await sweeps.forget_recipients(pool)
    assert await pool.fetchval(COUNTED) == 0
    assert await pool.fetchval("SELECT count(*) FROM budget_recipients") == 0


async def test_in_a_portfolio_a_person_counts_for_the_devices_that_they_did_not_write_to(
    pool: Pool, account: Account
) -> None:
    second = await pool.fetchval(
        "INSERT INTO devices (account_id, name, driver, state, shard)"
        " VALUES ($1, 'second', 'simulator', 'ready', 0) RETURNING id",
        account.id,
    )
    epochs = await take_all(pool, WORKER)
    other = Account(account.id, account.key, second)
    for each in (account, other):
        await limit(pool, each.device_id, portfolio="p")
        await say(pool, each.device_id, 1)
    phone = "+60129999991"
    await heard(pool, account.device_id, phone)
    [new] = await put_to(pool, other, "+60129999992")
    ids = [new, *await put_to(pool, account, phone), *await put_to(pool, other, phone)]
    assert await verdicts(pool, ids, epochs) == ["claimed", "claimed", "new_recipients"]
    assert await pool.fetchval(COUNTED) == 1


async def test_more_room_is_used_at_once(pool: Pool, account: Account) -> None:
    epochs = await take_all(pool, WORKER)
    await say(pool, account.device_id, 1)
    ids = await put_messages(pool, account, 4)
    assert await verdicts(pool, ids, epochs) == ["claimed", *["new_recipients"] * 3]
    assert await verdicts(pool, ids[1:], epochs) == ["parked"] * 3
    await say(pool, account.device_id, 2)
    assert await verdicts(pool, ids[1:], epochs) == ["claimed", *["new_recipients"] * 2]
    await say(pool, account.device_id, None)
    assert await verdicts(pool, ids[2:], epochs) == ["claimed"] * 2
