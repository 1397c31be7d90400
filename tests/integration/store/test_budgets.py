"""Budgets over more than a minute: counted in the claim, by the database's clock."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from service.dispatch.claims import CLAIM_SECONDS
from service.store import claims as store
from service.store import sweeps
from service.store.pool import Pool
from tests.integration.store.rows import put_messages
from tests.integration.store.workers import WORKER, take_all
from tests.system import Account, make_account
from tests.windows import too_soon

HOUR_SECONDS, DAY_SECONDS = 3600.0, 86_400.0
#: A window may seem longer by so much, as calls are counted in spans.
SPAN_SECONDS = 30.0
MOST_LATE_SECONDS = SPAN_SECONDS + CLAIM_SECONDS


async def limit(pool: Pool, device_id: int, **limits: object) -> None:
    """Set limits of a device, as columns."""
    sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(limits, 2))
    await pool.execute(f"UPDATE devices SET {sets} WHERE id = $1", device_id, *limits.values())


async def let_pass(pool: Pool, seconds: float) -> None:
    """Move all that was counted so far into the past; whole spans, as those are never cut."""
    assert seconds % SPAN_SECONDS == 0
    by = timedelta(seconds=seconds)
    async with pool.acquire() as connection, connection.transaction():
        for statement in (
            "UPDATE device_uses SET first_at = first_at - $1::interval",
            "CREATE TEMP TABLE moved ON COMMIT DROP AS SELECT * FROM device_use_marks",
            "DELETE FROM device_use_marks",
            "INSERT INTO device_use_marks SELECT device_id, at - $1::interval, calls FROM moved",
            "UPDATE budget_recipients "
            "SET last_at = last_at - $1::interval, forget_at = forget_at - $1::interval",
            "UPDATE parked SET not_before = not_before - $1::interval",
        ):
            await connection.execute(statement, *([by] if "$1" in statement else []))


async def claimed(pool: Pool, ids: list[int], epochs: dict[int, int]) -> dict[int, asyncpg.Record]:
    """What a claim says of each row."""
    async with pool.acquire() as connection:
        rows = await store.claim(
            connection,
            ids,
            worker=WORKER,
            epochs=epochs,
            claim_id=random.getrandbits(62),
            good_seconds=CLAIM_SECONDS,
        )
    return {row["id"]: row for row in rows}


async def verdicts(pool: Pool, ids: list[int], epochs: dict[int, int]) -> list[str]:
    """The verdict on each, in the order asked."""
    rows = await claimed(pool, ids, epochs)
    return [rows[id_]["verdict"] for id_ in ids]


async def put_to(pool: Pool, account: Account, phone: str, count: int = 1) -> list[int]:
    """Messages to one number."""
    ids = await put_messages(pool, account, count)
    await pool.execute("UPDATE messages SET phone = $2 WHERE id = ANY($1)", ids, phone)
    return ids


async def test_the_first_of_a_group_go_and_the_device_waits_for_the_hour_to_pass(
    pool: Pool, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, per_hour=3)
    ids = list(reversed(await put_messages(pool, account, 5)))
    rows = await claimed(pool, ids, epochs)
    assert [rows[id_]["verdict"] for id_ in ids] == ["claimed"] * 3 + ["device_rate"] * 2
    wait = rows[ids[3]]["hold_seconds"]
    assert HOUR_SECONDS < wait <= HOUR_SECONDS + MOST_LATE_SECONDS
    parked = await pool.fetch("SELECT message_id, reason, not_before <= now() AS due FROM parked")
    assert {tuple(row) for row in parked} == {(id_, "device_rate", True) for id_ in ids[3:]}
    await let_pass(pool, HOUR_SECONDS - SPAN_SECONDS)
    assert await verdicts(pool, ids[3:], epochs) == ["device_rate"] * 2
    await let_pass(pool, 3 * SPAN_SECONDS)
    assert await verdicts(pool, ids[3:], epochs) == ["claimed"] * 2


@pytest.mark.parametrize("seed", range(4))
async def test_no_window_is_ever_broken_and_what_is_free_is_used(
    pool: Pool, account: Account, seed: int
) -> None:
    chance = random.Random(seed)
    epochs = await take_all(pool, WORKER)
    per_hour, per_day = chance.randrange(1, 8), chance.randrange(8, 25)
    await limit(pool, account.device_id, per_hour=per_hour, per_day=per_day)
    started = datetime.now(UTC)
    passed = 0.0
    calls: list[float] = []
    ids = await put_messages(pool, account, 600)
    for _ in range(60):
        step = SPAN_SECONDS * chance.choice([0, 1, 2, 7, 60, 119, 120, 121, 240, 800])
        await let_pass(pool, step)
        passed += step
        asked, ids = ids[:5], ids[5:]
        rows = await claimed(pool, asked, epochs)
        now = passed + (datetime.now(UTC) - started).total_seconds()
        count = sum(row["verdict"] == "claimed" for row in rows.values())
        # Free is what fits although every window is as long as it may seem.
        free = min(
            most - sum(now - at <= seconds + 2 * MOST_LATE_SECONDS for at in calls)
            for most, seconds in ((per_hour, HOUR_SECONDS), (per_day, DAY_SECONDS))
        )
        assert count >= min(free, len(asked))
        # The call may come at the beginning of the claim's time, the former one came at its end.
        calls += [now] * count
    for most, seconds in ((per_hour, HOUR_SECONDS), (per_day, DAY_SECONDS)):
        assert too_soon(calls, most, seconds + CLAIM_SECONDS - 0.2) == []
    assert len(calls) > per_day


async def test_a_wait_ends_when_it_says(pool: Pool, account: Account) -> None:
    """Two calls now and two a quarter later: after an hour there is room for two."""
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, per_hour=4)
    ids = await put_messages(pool, account, 8)
    assert await verdicts(pool, ids[:2], epochs) == ["claimed"] * 2
    await let_pass(pool, 900.0)
    rows = await claimed(pool, ids[2:5], epochs)
    wait = rows[ids[4]]["hold_seconds"]
    assert HOUR_SECONDS - 900.0 < wait <= HOUR_SECONDS - 900.0 + MOST_LATE_SECONDS
    await let_pass(pool, wait // SPAN_SECONDS * SPAN_SECONDS + SPAN_SECONDS)
    found = await verdicts(pool, ids[4:], epochs)
    assert found == ["claimed", "claimed", "device_rate", "device_rate"]


async def test_a_clock_that_is_set_back_gives_nothing_away(pool: Pool, account: Account) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, per_hour=2)
    ids = await put_messages(pool, account, 6)
    assert await verdicts(pool, ids[:3], epochs) == ["claimed", "claimed", "device_rate"]
    await let_pass(pool, -1800.0)
    assert await verdicts(pool, ids[3:5], epochs) == ["device_rate"] * 2
    await let_pass(pool, 1800.0 + HOUR_SECONDS + 2 * SPAN_SECONDS)
    assert await verdicts(pool, ids[2:], epochs) == ["claimed"] * 2 + ["device_rate"] * 2


async def test_a_device_warms_up_from_its_first_message_on(pool: Pool, account: Account) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, warm_up_days=7, per_day=500)
    ids = await put_messages(pool, account, 120)
    assert Counter(await verdicts(pool, ids[:30], epochs)) == {"claimed": 20, "daily_cap": 10}
    await let_pass(pool, DAY_SECONDS)
    # The second day allows 31, and the first one's 20 are not quite a day old.
    assert Counter(await verdicts(pool, ids[30:60], epochs)) == {"claimed": 11, "daily_cap": 19}
    rows = await claimed(pool, ids[60:61], epochs)
    assert rows[ids[60]]["hold_seconds"] <= MOST_LATE_SECONDS


async def test_the_curve_of_the_warm_up(pool: Pool) -> None:
    rows = await pool.fetch(
        "SELECT daily_cap(c.per_day, c.days, now() - c.age * interval '1 day', now()) AS cap FROM "
        "unnest($1::int[], $2::int[], $3::float8[]) AS c (per_day, days, age)",
        [None, None, None, None, 500, 500, 500, 10, 10, 640, 640, 640, 640, 640, 640],
        [None, 5, 5, 5, None, 7, 7, 5, 5, 5, 5, 5, 5, 5, 5],
        [0.0, 0.0, 4.5, 5.0, 0.0, 0.0, 6.99, 0.0, 9.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    )
    caps = [row["cap"] for row in rows]
    assert caps == [None, 20, 457, None, 500, 20, 315, 10, 10, 20, 40, 80, 160, 320, 640]


async def test_one_recipient_is_called_once_in_the_pair_s_time(
    pool: Pool, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, pair_seconds=60.0)
    same = await put_to(pool, account, "+60129999999", 3)
    [other] = await put_messages(pool, account)
    rows = await claimed(pool, [*same, other], epochs)
    assert [rows[id_]["verdict"] for id_ in [*same, other]] == [
        "claimed",
        "pair",
        "pair",
        "claimed",
    ]
    # Each has the time at which its turn comes.
    waits = [rows[id_]["hold_seconds"] for id_ in same[1:]]
    gap = 60.0 + CLAIM_SECONDS
    assert waits == [pytest.approx(gap), pytest.approx(2 * gap)]
    parked = await pool.fetch("SELECT message_id, reason FROM parked ORDER BY not_before")
    assert [tuple(row) for row in parked] == [(id_, "pair") for id_ in same[1:]]
    await let_pass(pool, 60.0)
    assert await verdicts(pool, same[1:], epochs) == ["parked"] * 2
    await pool.execute("UPDATE parked SET not_before = now()")
    assert await verdicts(pool, same[1:], epochs) == ["pair"] * 2, "too early whoever asks"
    await let_pass(pool, SPAN_SECONDS)
    assert await verdicts(pool, same[1:], epochs) == ["claimed", "parked"]


async def test_new_recipients_are_counted_over_the_devices_of_a_portfolio(
    pool: Pool, account: Account
) -> None:
    second = await pool.fetchval(
        "INSERT INTO devices (account_id, name, driver, state, shard)"
        " VALUES ($1, 'second', 'simulator', 'ready', 0) RETURNING id",
        account.id,
    )
    other = Account(account.id, account.key, second)
    epochs = await take_all(pool, WORKER)
    for each in (account, other):
        await limit(pool, each.device_id, new_recipients_per_day=3, portfolio="p")
    ids, others = await put_messages(pool, account, 2), await put_messages(pool, other, 4)
    assert await verdicts(pool, ids, epochs) == ["claimed"] * 2
    # The first two are the same people, so one more of the portfolio's three is left.
    rows = await claimed(pool, others, epochs)
    assert [rows[id_]["verdict"] for id_ in others] == [*["claimed"] * 3, "new_recipients"]
    assert DAY_SECONDS < rows[others[3]]["hold_seconds"] <= DAY_SECONDS + 1.0
    known = await put_to(pool, account, "+60123000001", 2)
    [fresh] = await put_to(pool, account, "+60129999999")
    assert await verdicts(pool, [fresh, *known], epochs) == ["new_recipients", "claimed", "claimed"]
    count = await pool.fetchval("SELECT max(recipients) FROM budget_groups")
    assert count == 3 == await pool.fetchval("SELECT count(*) FROM budget_recipients")
    # A day later all of them are forgotten.
    await let_pass(pool, DAY_SECONDS + SPAN_SECONDS)
    more = await put_to(pool, account, "+60128888888", 2)
    assert await verdicts(pool, [fresh, *more], epochs) == ["claimed"] * 3
    count = await pool.fetchval("SELECT max(recipients) FROM budget_groups")
    assert count == 2 == await pool.fetchval("SELECT count(*) FROM budget_recipients")


async def test_a_portfolio_of_the_same_name_of_another_account_is_another(
    pool: Pool, account: Account
) -> None:
    other = await make_account(pool)
    epochs = await take_all(pool, WORKER)
    for each in (account, other):
        await limit(pool, each.device_id, new_recipients_per_day=1, portfolio="p")
        assert await verdicts(pool, await put_messages(pool, each), epochs) == ["claimed"]


async def test_whom_no_budget_wants_to_know_is_forgotten_without_a_claim(
    pool: Pool, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, new_recipients_per_day=5)
    ids = await put_messages(pool, account, 3)
    assert await verdicts(pool, ids, epochs) == ["claimed"] * 3
    await let_pass(pool, DAY_SECONDS)
    await sweeps.forget_recipients(pool)
    known = "SELECT count(*), max(recipients) FROM budget_recipients, budget_groups"
    assert [tuple(row) for row in await pool.fetch(known)] == [(3, 3)]
    await let_pass(pool, HOUR_SECONDS + SPAN_SECONDS)
    await sweeps.forget_recipients(pool)
    assert await pool.fetchval("SELECT count(*) FROM budget_recipients") == 0
    assert await pool.fetchval("SELECT max(recipients) FROM budget_groups") == 0


async def test_who_was_written_to_lately_is_remembered_a_day_from_the_last_time(
    pool: Pool, account: Account
) -> None:
    """Else two hundred of yesterday and a hundred of today would be in one day of 24 hours."""
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, new_recipients_per_day=1)
    first, again, late = await put_to(pool, account, "+60129999999", 3)
    [new] = await put_to(pool, account, "+60128888888")
    assert await verdicts(pool, [first], epochs) == ["claimed"]
    await let_pass(pool, 23 * HOUR_SECONDS)
    assert await verdicts(pool, [again], epochs) == ["claimed"]
    await let_pass(pool, 2 * HOUR_SECONDS)
    assert await verdicts(pool, [new, late], epochs) == ["new_recipients", "claimed"]


async def test_what_one_budget_refuses_takes_nothing_from_the_others(
    pool: Pool, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(
        pool, account.device_id, per_hour=3, per_day=100, pair_seconds=60, new_recipients_per_day=2
    )
    same = await put_to(pool, account, "+60129999999", 4)
    others = await put_messages(pool, account, 3)
    found = await verdicts(pool, [*same, *others], epochs)
    assert found == ["claimed", *["pair"] * 3, "claimed", *["new_recipients"] * 2]
    await limit(pool, account.device_id, new_recipients_per_day=None)
    await pool.execute("UPDATE parked SET not_before = now()")
    assert await verdicts(pool, others[1:], epochs) == ["claimed", "device_rate"]


async def test_claimers_at_the_same_time_never_take_more_than_the_budget(
    pool: Pool, account: Account
) -> None:
    """As while a shard changes hands: a late statement of the former owner meets the new one's."""
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, per_day=10)
    groups = [await put_messages(pool, account, 4) for _ in range(10)]
    found = await asyncio.gather(*(verdicts(pool, ids, epochs) for ids in groups))
    counts = Counter(verdict for each in found for verdict in each)
    assert set(counts) <= {"claimed", "daily_cap", "locked"}
    assert counts["claimed"] <= 10
    assert await pool.fetchval("SELECT calls FROM device_uses") == counts["claimed"]


async def test_counts_that_another_holds_are_not_waited_for(pool: Pool, account: Account) -> None:
    free = await make_account(pool)
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, per_day=10)
    ids = [*await put_messages(pool, account), *await put_messages(pool, free)]
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM device_uses FOR UPDATE")
        async with asyncio.timeout(2):
            assert await verdicts(pool, ids, epochs) == ["locked", "claimed"]


async def test_a_device_without_such_budgets_is_not_counted(pool: Pool, account: Account) -> None:
    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, per_second=5.0, per_minute=100, jitter_seconds=1.0)
    await verdicts(pool, await put_messages(pool, account, 5), epochs)
    counted: list[Any] = [
        await pool.fetchval("SELECT calls FROM device_uses"),
        await pool.fetchval("SELECT count(*) FROM device_use_marks"),
        await pool.fetchval("SELECT count(*) FROM budget_recipients"),
    ]
    assert counted == [0, 0, 0]


async def test_a_used_up_budget_closes_the_device_until_then_or_until_it_is_changed(
    pool: Pool, account: Account
) -> None:
    async def is_open() -> bool:
        [row] = await store.devices(pool, [0, 1])
        return row.open

    epochs = await take_all(pool, WORKER)
    await limit(pool, account.device_id, per_day=1)
    ids = await put_messages(pool, account, 2)
    refused = (await claimed(pool, ids, epochs))[ids[1]]
    wait, version = refused["hold_seconds"], refused["version"]
    device = account.device_id
    await store.budget_used_up(pool, device, wait, "daily_cap", version=version)
    assert not await is_open()
    await limit(pool, account.device_id, per_day=2)
    assert await is_open()
    # Found out before the change and written down after it: not true any more.
    await store.budget_used_up(pool, device, wait, "daily_cap", version=version)
    assert await is_open()
