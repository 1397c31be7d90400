"""How much of their limits devices use, by the calls that arrived: `make bench-pace`.

One device at 80 a second, then a thousand at one a second each in two dispatchers, all with full
lanes. Never more than the limit in any window, and at least 99 % of it.
"""

from __future__ import annotations

import asyncio
import sys

from tests.acceptance.installation import Installation
from tests.system import eventually
from tests.windows import calls_by_device, too_soon

SECONDS = 20.0
#: Of the limit; the first calls, while lanes fill, are left out.
LEAST = 0.99
DEVICES = """
INSERT INTO devices (account_id, name, driver, state, shard, per_second)
SELECT $1, 'bench', 'simulator', 'ready', n % 2, $3 FROM generate_series(1, $2::int) n RETURNING id
"""
BACKLOG = """
WITH put AS (
    INSERT INTO messages (account_id, device_id, phone, body, status, priority)
    SELECT $1, device, '+6012' || (3000000 + n)::text, 'hello', 'queued', 1
    FROM unnest($2::bigint[]) device, generate_series(1, $3::int) n
    RETURNING id, device_id
)
INSERT INTO parked (message_id, device_id, priority, not_before, reason)
SELECT id, device_id, 1, now(), 'behind' FROM put
"""


async def backlog(
    installation: Installation, *, devices: int, per_second: float, messages: int
) -> list[int]:
    """New devices, each with so many messages waiting."""
    pool, account = installation.pool, installation.account
    async with pool.acquire() as connection:
        rows = await connection.fetch(DEVICES, account, devices, per_second)
        ids = [row["id"] for row in rows]
        await connection.execute("SET statement_timeout = 0")
        await connection.execute(BACKLOG, account, ids, messages, timeout=120)
        await connection.execute("ANALYZE", timeout=60)
        await connection.execute("RESET statement_timeout")
    return ids


async def measured(installation: Installation, ids: list[int], per_second: float) -> float:
    """The part used over some seconds of full lanes; no window of any device is broken."""
    began = (await _calls(installation, ids))[1]
    await asyncio.sleep(SECONDS)  # what is measured is time
    calls = await calls_by_device(installation.pool)
    most = max(1, int(per_second))
    broken = [id_ for id_ in ids if too_soon(calls[id_], most, most / per_second)]
    spans = [(len(seen) - 1) / (seen[-1] - seen[0]) for id_ in ids
             for seen in [[at for at in calls[id_] if at > began]]]  # fmt: skip
    part = sum(spans) / len(spans) / per_second
    sys.stdout.write(
        f"\n{len(ids)} devices at {per_second:g}/s: {part:.4f} of the limit on average, "
        f"{min(spans) / per_second:.4f} the least; above it in a window: {len(broken)} of them\n"
    )
    assert broken == []
    return part


async def _calls(installation: Installation, ids: list[int]) -> tuple[int, float]:
    """Once every device was called thrice: how many calls, and when the last was."""

    async def look() -> tuple[int, float] | None:
        calls = await calls_by_device(installation.pool)
        if all(len(calls.get(id_, [])) >= 3 for id_ in ids):
            return sum(map(len, calls.values())), max(max(times) for times in calls.values())
        return None

    found: tuple[int, float] = await eventually(look, within_seconds=60.0)
    return found


async def test_one_device_at_eighty_a_second(installation: Installation) -> None:
    ids = await backlog(installation, devices=1, per_second=80.0, messages=3000)
    running = await installation.run("dispatcher", "recorder")
    part = await measured(installation, ids, 80.0)
    await installation.stop(*running)
    assert part >= LEAST


async def test_a_thousand_devices_at_one_a_second_in_two_processes(
    installation: Installation,
) -> None:
    ids = await backlog(installation, devices=1000, per_second=1.0, messages=60)
    running = await installation.run("dispatcher", "dispatcher", "recorder")
    part = await measured(installation, ids, 1.0)
    await installation.stop(*running)
    assert part >= LEAST
