"""Quiet hours: the database's answer against another one made of the same clocks."""

from __future__ import annotations

import random
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from service.dispatch.claims import CLAIM_SECONDS
from service.store import claims as store
from service.store.pool import Pool
from tests.integration.store.rows import put_messages
from tests.integration.store.workers import WORKER, claim, take_all
from tests.system import Account

ZONES = ("Asia/Kuala_Lumpur", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")
#: Around the changes of clocks of 2026 in those zones, and an ordinary day.
DAYS = ("2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01",
        "2026-07-01")  # fmt: skip


def moment(day: datetime, at: time, zone: ZoneInfo) -> datetime:
    """A local time as a moment; one that is left out or comes twice in standard time."""
    local = datetime.combine(day.date(), at).replace(tzinfo=zone)
    offsets = {local.replace(fold=fold).utcoffset() for fold in (0, 1)}
    standard = local.replace(fold=0)
    if len(offsets) == 2:
        exists = standard.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == standard.replace(
            tzinfo=None
        )
        standard = local.replace(fold=1 if exists else 0)
    return standard.astimezone(UTC)


def expected(starts: time, ends: time, name: str, at: datetime) -> datetime | None:
    """When the quiet hours around a moment end."""
    zone = ZoneInfo(name)
    today = at.astimezone(zone).replace(tzinfo=None)
    over = []
    for day in (today - timedelta(days=1), today):
        since = moment(day, starts, zone)
        until = moment(day + timedelta(days=1 if ends <= starts else 0), ends, zone)
        if starts != ends and since <= at < until:
            over.append(until)
    return max(over, default=None)


async def test_quiet_hours_across_midnight_and_changes_of_clocks(pool: Pool) -> None:
    chance = random.Random(11)
    cases = []
    for _ in range(4000):
        starts, ends = (time(chance.randrange(24), chance.choice((0, 1, 30))) for _ in range(2))
        at = datetime.fromisoformat(chance.choice(DAYS)).replace(tzinfo=UTC)
        at += timedelta(minutes=chance.randrange(-1500, 1500))
        cases.append((starts, ends, chance.choice(ZONES), at))
    rows = await pool.fetch(
        "SELECT quiet_until(c.starts, c.ends, c.zone, c.at) AS until FROM unnest($1::time[], "
        "$2::time[], $3::text[], $4::timestamptz[]) AS c (starts, ends, zone, at)",
        *(list(column) for column in zip(*cases, strict=True)),
    )
    wrong = [
        (case, row["until"], expected(*case))
        for case, row in zip(cases, rows, strict=True)
        if row["until"] != expected(*case)
    ]
    assert wrong[:3] == []
    assert sum(row["until"] is not None for row in rows) > 1000


async def set_quiet(pool: Pool, account: Account, before: float, after: float) -> datetime:
    """Quiet from so many seconds before now until so many after; when they end."""
    now = datetime.now(ZoneInfo("Asia/Kuala_Lumpur"))
    starts, ends = now - timedelta(seconds=before), now + timedelta(seconds=after)
    await pool.execute(
        "UPDATE devices SET quiet_start = $2, quiet_end = $3 WHERE id = $1",
        account.device_id,
        starts.time(),
        ends.time(),
    )
    return ends


async def test_nothing_is_claimed_in_quiet_hours_of_malaysia_unless_another_zone_is_set(
    pool: Pool, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    [id_] = await put_messages(pool, account)
    ends = await set_quiet(pool, account, 3600, 7200)
    assert await claim(pool, [id_], epochs) == {id_: "quiet_hours"}
    [device] = await store.devices(pool, [0, 1])
    assert not device.open
    wait = await pool.fetchrow("SELECT w.* FROM devices d, device_wait(d) w")
    assert wait is not None
    assert (wait["reason"], wait["until"]) == ("quiet_hours", ends.astimezone(UTC))
    # It is due when they end, at once when they are lifted.
    await pool.execute("UPDATE devices SET quiet_timezone = 'America/New_York'")
    assert await claim(pool, [id_], epochs) == {id_: "claimed"}


async def test_a_claim_whose_call_might_come_too_late_is_not_made(
    pool: Pool, account: Account
) -> None:
    epochs = await take_all(pool, WORKER)
    [id_] = await put_messages(pool, account)
    await set_quiet(pool, account, -CLAIM_SECONDS * 0.8, 7200)
    assert await claim(pool, [id_], epochs) == {id_: "quiet_hours"}


async def test_a_zone_that_does_not_exist_is_refused(pool: Pool, account: Account) -> None:
    with pytest.raises(asyncpg.DataError):
        await pool.execute("UPDATE devices SET quiet_timezone = 'Asia/Atlantis'")
