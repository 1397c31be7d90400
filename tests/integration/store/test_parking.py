from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from service.store import claims as store
from service.store.claims import Look, Parking
from service.store.pool import Pool
from tests.integration.store.explained import Explained
from tests.integration.store.rows import put_messages, statuses
from tests.integration.store.workers import WORKER, claim, take_all
from tests.system import Account, make_account

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


async def park(pool: Pool, *parkings: Parking) -> None:
    async with pool.acquire() as connection:
        await store.park(connection, sorted(parkings, key=lambda each: each.message_id))


async def parked(pool: Pool) -> dict[int, tuple[datetime, str]]:
    rows = await pool.fetch("SELECT message_id, not_before, reason FROM parked")
    return {row["message_id"]: (row["not_before"], row["reason"]) for row in rows}


@pytest.mark.parametrize(
    ("verdict", "fault"),
    [
        ("expired", "UPDATE messages SET expires_at = now() - interval '1 second'"),
        (
            "opted_out",
            "INSERT INTO contacts (account_id, phone, opted_out_at) "
            "SELECT account_id, phone, now() FROM messages",
        ),
        ("no_device", "UPDATE devices SET deleted_at = now()"),
        ("paused", "UPDATE devices SET paused = true"),
        ("not_ready", "UPDATE devices SET state = 'disconnected'"),
        ("held", "UPDATE devices SET hold_until = now() + interval '1 hour'"),
        ("held", "UPDATE accounts SET hold_until = now() + interval '1 hour'"),
        ("claimed", "UPDATE devices SET hold_until = now() - interval '1 second'"),
        ("claimed", "UPDATE devices SET state = 'throttled'"),
        ("claimed", "UPDATE messages SET expires_at = now() + interval '1 hour'"),
        (
            "claimed",
            "INSERT INTO contacts (account_id, phone) SELECT account_id, phone FROM messages",
        ),
        (
            "claimed",
            "INSERT INTO contacts (account_id, phone, opted_out_at) "
            "SELECT a.id, m.phone, now() FROM messages m JOIN accounts a ON a.id <> m.account_id",
        ),
    ],
)
async def test_a_claim_says_what_stands_in_the_way(
    pool: Pool, account: Account, verdict: str, fault: str
) -> None:
    await make_account(pool)
    epochs = await take_all(pool, WORKER)
    [id_] = await put_messages(pool, account)
    await pool.execute(fault)
    assert await claim(pool, [id_], epochs) == {id_: verdict}
    waits = verdict in ("paused", "not_ready", "held")
    assert await statuses(pool, [id_]) == ["sending" if verdict == "claimed" else "queued"]
    assert {id_: reason for id_, (_, reason) in (await parked(pool)).items()} == (
        {id_: verdict} if waits else {}
    )


async def test_what_is_held_waits_until_then_but_not_beyond_its_end(
    pool: Pool, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    now = datetime.now(UTC)
    [free] = await put_messages(pool, account)
    [ends] = await put_messages(pool, account, expires_at=now + MINUTE)
    await pool.execute("UPDATE devices SET hold_until = $1", now + HOUR)
    await claim(pool, [free, ends], epochs)
    assert await parked(pool) == {free: (now + HOUR, "held"), ends: (now + MINUTE, "held")}
    # Paused without an end, it is due as soon as it may go on.
    await pool.execute("UPDATE devices SET hold_until = NULL, paused = true")
    await pool.execute("DELETE FROM parked")
    await claim(pool, [ends], epochs)
    assert (await parked(pool))[ends][0] < now + MINUTE


async def test_only_a_claim_takes_a_parked_message_out_and_not_before_its_time(
    pool: Pool, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    due, later = await put_messages(pool, account, 2, status="scheduled")
    now = datetime.now(UTC)
    await park(pool, Parking(due, now - HOUR, "scheduled"), Parking(later, now + HOUR, "quiet"))
    assert await claim(pool, [due, later], epochs) == {due: "claimed", later: "parked"}
    assert await parked(pool) == {later: (now + HOUR, "quiet")}
    assert await statuses(pool, [due, later]) == ["sending", "scheduled"]


async def test_whoever_is_parked_stays_as_it_is(pool: Pool, account: Account) -> None:
    [id_] = await put_messages(pool, account)
    now = datetime.now(UTC)
    await park(pool, Parking(id_, now + HOUR, "quiet_hours"))
    await park(pool, Parking(id_, now, "behind"))
    assert await parked(pool) == {id_: (now + HOUR, "quiet_hours")}


async def test_what_has_no_time_to_wait_for_keeps_its_place(pool: Pool, account: Account) -> None:
    """Given back late, it goes before what came after it and was parked earlier."""
    early, late = await put_messages(pool, account, 2)
    await pool.execute(
        "UPDATE messages SET created_at = now() - interval '1 h' WHERE id = $1", early
    )
    await park(pool, Parking(late, datetime.now(UTC), "behind"))
    await park(pool, Parking(early, None, "behind"))
    order = in_order(await store.due(pool, [Look(account.device_id, 9, ())]))
    assert order == {(1, 0): [early, late]}


async def test_only_what_waits_is_parked_and_until_its_end_at_most(
    pool: Pool, account: Account
) -> None:
    now = datetime.now(UTC)
    waits, sending, sent = await put_messages(pool, account, 3)
    [ends] = await put_messages(pool, account, expires_at=now + MINUTE)
    await pool.execute("UPDATE messages SET status = 'sending' WHERE id = $1", sending)
    await pool.execute("UPDATE messages SET status = 'sent' WHERE id = $1", sent)
    await park(pool, *(Parking(id_, now + HOUR, "held") for id_ in (waits, sending, sent, ends)))
    assert await parked(pool) == {waits: (now + HOUR, "held"), ends: (now + MINUTE, "held")}


def in_order(rows: list[Any]) -> dict[tuple[int, int], list[int]]:
    """The messages of each priority and flow."""
    found: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        found.setdefault((row["priority"], row["flow"]), []).append(row["message_id"])
    return found


async def test_the_due_of_each_priority_come_by_time_as_many_as_there_is_room(
    pool: Pool, account: Account
) -> None:
    other = await make_account(pool)
    now = datetime.now(UTC)
    high, normal, low = [
        await put_messages(pool, account, 3, priority=priority) for priority in (0, 1, 2)
    ]
    [foreign] = await put_messages(pool, other)
    await put_messages(pool, account, 2)  # not parked
    await park(pool, Parking(high[0], now + HOUR, "quiet"), Parking(foreign, now, "behind"))
    await park(pool, *(Parking(id_, now, "behind") for id_ in (*low, *normal, *high[1:])))
    async with pool.acquire() as connection:
        first = normal[2]
        await connection.execute(
            "UPDATE parked SET not_before = $2 WHERE message_id = $1", first, now - HOUR
        )
    order = in_order(await store.due(pool, [Look(account.device_id, 2, ())]))
    assert order == {(0, 0): high[1:], (1, 0): [normal[2], normal[0]], (2, 0): low[:2]}
    looks = [Look(account.device_id, 100, [(2, 0)]), Look(other.device_id, 100, ())]
    order = in_order(await store.due(pool, looks))
    assert order == {(0, 0): high[1:], (1, 0): [normal[2], *normal[:2], foreign]}


async def test_a_flow_of_one_is_found_behind_a_million(
    pool: Pool, dsn: str, account: Account
) -> None:
    """By its head: what others have parked before it, or with a time to come, is not read."""
    await pool.execute(
        "INSERT INTO parked (message_id, device_id, priority, flow, not_before, reason) "
        "SELECT n, $1, 2, 7, now() - interval '1 hour', 'behind' "
        "FROM generate_series(1, 1000000) n",
        account.device_id,
        timeout=120,
    )
    await pool.execute(
        "INSERT INTO parked VALUES (1000001, $1, 2, now(), 'behind', 9),"
        " (1000002, $1, 2, now() + interval '1 hour', 'scheduled', 8),"
        " (1000003, $1, 2, now(), 'behind', 3)",
        account.device_id,
    )
    await pool.execute("VACUUM ANALYZE parked")
    looks = [Look(account.device_id, 40, ())]
    rows = await store.due(pool, looks)
    assert in_order(rows) == {(2, 3): [1000003], (2, 7): [*range(1, 11)], (2, 9): [1000001]}
    assert {row["most"] for row in rows} == {10}
    connection: Any = await asyncpg.connect(dsn, timeout=10)
    explained: Any = Explained(connection)
    await store.due(explained, looks)
    await connection.close(timeout=5)
    assert explained.scans == {("parked", "parked_due"), ("campaigns", "campaigns_pkey")}


async def test_the_parked_row_of_what_waits_no_more_is_dropped(
    pool: Pool, account: Account
) -> None:
    gone, stays = await put_messages(pool, account, 2)
    now = datetime.now(UTC)
    await park(pool, Parking(gone, now, "behind"), Parking(stays, now, "behind"))
    await pool.execute("UPDATE messages SET status = 'sent' WHERE id = $1", gone)
    async with pool.acquire() as connection:
        # The other one came back to wait meanwhile: its parked row is all that points to it.
        await store.unpark_gone(connection, [gone, stays])
    assert list(await parked(pool)) == [stays]
