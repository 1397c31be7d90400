"""What a message costs as the work grows: `make bench ARGS=--growth`.

Two installations take turns, one small and one grown, so that what else the machine does falls on
both; what is looked at is their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tests.bench.job.accounting import OURS, Meter
from tests.bench.job.figures import everything
from tests.bench.job.installation import LOOK_SECONDS, Installation, installation
from tests.bench.job.rounds import job
from tests.bench.job.waits import memory, put_flood

BACKLOGS = (1_000, 10_000, 100_000, 1_000_000)
ROWS = (0, 1_000_000, 10_000_000)
#: Rows of one statement that loads; partitions are made ahead for more than that.
LOAD_ROWS = 500_000
SENT_SECONDS = 300.0
_FINISHED = f"""
INSERT INTO messages (account_id, device_id, phone, body, status, credit, priority, attempt,
    attempts, seq, provider_id, queued_at, sent_at, delivered_at)
SELECT $1, $2, '+6011' || (30000000 + $3::int + n)::text,
    'Your order has been shipped and should reach you by Thursday.', 'delivered', 'settled', 1, 1,
    1, 3, 'loaded.' || $3::int + n, now(), now(), now()
FROM generate_series(1, $4::int) n {OURS}
"""
_SETTLED = f"SELECT COALESCE(sum(count), 0)::bigint FROM ledger WHERE type = 'settle' {OURS}"
_WAITING = f"""
SELECT count(*) FROM messages WHERE device_id = $1 AND status = 'queued' AND id > $2 {OURS}
"""
_STILL = f"""
SELECT NOT (EXISTS (SELECT FROM claims) OR EXISTS (SELECT FROM simulator_owed)) {OURS}
"""

Say = Callable[[str], None]


async def growth(options: argparse.Namespace, say: Say) -> dict[str, Any]:
    """CPU-ms a message of both, by what has grown, in turns; and the memory of each role."""
    async with _both() as (small, large):
        rows = await _by_rows(options, small, large, say)
    async with _both() as (small, large):
        backlog, memories = await _by_backlog(options, small, large, say)
    return {"rows": rows, "backlog": backlog, "memory_mib": memories}


@contextlib.asynccontextmanager
async def _both() -> AsyncIterator[tuple[Installation, Installation]]:
    async with installation() as small, installation() as large:
        yield small, large


async def _turns(
    name: str,
    rounds: int,
    small: Callable[[], Awaitable[float]],
    large: Callable[[], Awaitable[float]],
    say: Say,
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"small": [], "large": []}
    for _ in range(rounds):
        found["small"].append(await small())
        found["large"].append(await large())
        say(f"{name}: small {found['small'][-1]:.3f}, large {found['large'][-1]:.3f} CPU-ms")
    return found


async def _by_rows(
    options: argparse.Namespace, small: Installation, large: Installation, say: Say
) -> dict[str, dict[str, list[float]]]:
    """The job, beside so many messages of another device that are through."""
    found, loaded = {}, 0

    async def cost(made: Installation) -> float:
        return everything((await job(made, "simulator", options.bulks)).__dict__)

    for made in (small, large):
        await job(made, "simulator", 2)  # warms up
    for rows in ROWS:
        if rows <= options.growth_rows:
            began = time.monotonic()
            await _load(large, loaded, rows)
            loaded = rows
            say(f"{rows:,} rows loaded after {time.monotonic() - began:.0f} s")
            found[str(rows)] = await _turns(
                f"{rows:,} rows",
                options.growth_rounds,
                lambda: cost(small),
                lambda: cost(large),
                say,
            )
    return found


async def _load(made: Installation, loaded: int, rows: int) -> None:
    device = made.devices["instant"][-1]
    async with made.pool.acquire() as connection:
        # Their triggers count for campaigns and note failures, of which these have none.
        await connection.execute("SET session_replication_role = replica")
        for first in range(loaded, rows, LOAD_ROWS):
            await connection.execute("SELECT ensure_message_partitions()")
            count = min(LOAD_ROWS, rows - first)
            await connection.execute(_FINISHED, made.account, device, first, count)
        await connection.execute("RESET session_replication_role")
        await connection.execute("VACUUM (ANALYZE) messages")


async def _by_backlog(
    options: argparse.Namespace, small: Installation, large: Installation, say: Say
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, float]]]:
    """So many messages sent of a device behind which so many more wait."""
    sent = options.bulks * 1000
    found, memories = {}, {"0": memory(large)}
    for made in (small, large):
        await _paused(made)
        await _cost_before(made, BACKLOGS[0], 2000)  # warms up
    for backlog in BACKLOGS:
        if backlog <= options.growth_backlog:
            size = backlog
            found[str(backlog)] = await _turns(
                f"{backlog:,} waiting",
                options.growth_rounds,
                lambda: _cost_before(small, BACKLOGS[0], sent),
                lambda size=size: _cost_before(large, size, sent),  # type: ignore[misc]
                say,
            )
            memories[str(backlog)] = memory(large)
    return found, memories


async def _paused(made: Installation) -> None:
    await made.post(f"/devices/{made.devices['simulator'][0]}/pause", b"")


async def _cost_before(made: Installation, backlog: int, sent: int) -> float:
    """CPU-ms a message of the first that are sent, while the rest waits behind them."""
    device = made.devices["simulator"][0]
    waiting: int = await made.pool.fetchval(_WAITING, device, 0)
    await put_flood(made, device, max(0, backlog + sent - waiting))
    await made.pool.execute("ANALYZE messages, parked")
    before: int = await made.pool.fetchval(_SETTLED)
    meter = Meter(made.pids())
    await made.post(f"/devices/{device}/resume", b"")
    async with asyncio.timeout(SENT_SECONDS):
        while (now := await made.pool.fetchval(_SETTLED)) < before + sent:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
    seconds = sum(meter.seconds().values())
    await _paused(made)
    async with asyncio.timeout(SENT_SECONDS):
        await made.until(_STILL)
    return 1000 * seconds / (int(now) - before)
