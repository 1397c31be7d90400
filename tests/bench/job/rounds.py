"""Rounds of the job: bulks over HTTP until all of it is sent, paid for and told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from tests.bench.job.accounting import OURS, Meter, forget_statements, statements, wal_bytes
from tests.bench.job.installation import BULK, LOOK_SECONDS, Installation

#: Bulks that are asked for at once.
CLIENTS = 2
ROUND_SECONDS = 120.0
#: RabbitMQ's counters of a vhost are up to 5 s late: they are read until they have stood as long.
STOOD_SECONDS = 6.0
COUNTED_SECONDS = 30.0
#: The newest first: while they are not through, only a few rows are looked at.
_SENT = f"""
SELECT NOT EXISTS (SELECT FROM (
    SELECT status FROM messages WHERE id > $1 ORDER BY id DESC
) m WHERE status < 'sent') {OURS}
"""
_QUIET = f"""
SELECT NOT (EXISTS (SELECT FROM claims) OR EXISTS (SELECT FROM outbox)
    OR EXISTS (SELECT FROM parked) OR EXISTS (SELECT FROM simulator_owed)) {OURS}
"""
_DONE = f"""
SELECT count(*) FILTER (WHERE status >= 'sent' AND provider_id IS NOT NULL
        AND credit = 'settled' AND (NOT $2 OR status = 'delivered')) AS good, count(*) AS all
FROM messages WHERE id > $1 {OURS}
"""
_SETTLED = f"SELECT COALESCE(sum(count), 0)::bigint FROM ledger WHERE type = 'settle' {OURS}"
_LAST = f"SELECT COALESCE(max(id), 0) FROM messages {OURS}"


@dataclass
class Round:
    """One run of the job."""

    driver: str
    messages: int
    seconds: float
    #: CPU-ms a message, by process, until the last callback and event
    cpu_ms: dict[str, float]
    answers: list[float]
    statements: float = 0.0
    database_ms: float = 0.0
    wal_bytes: float = 0.0
    #: of RabbitMQ, where they were waited for
    amqp_messages: float | None = None
    amqp_bytes: float | None = None
    costliest: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages a second, from the first request until the last is written as sent."""
        return self.messages / self.seconds


async def job(made: Installation, driver: str, bulks: int, *, counted: bool = False) -> Round:
    """So many bulks of 1000; everything of it is done when this returns, and was checked.

    `counted` waits for RabbitMQ's figures too, and notes the costliest statements.
    """
    devices = made.devices[driver]
    bodies = [made.bulk(devices[n % len(devices)]) for n in range(bulks)]
    first: int = await made.pool.fetchval(_LAST)
    settled: int = await made.pool.fetchval(_SETTLED)
    broker, wal = await made.broker(), await wal_bytes(made.pool)
    await forget_statements(made.pool)
    meter, began = Meter(made.pids()), time.monotonic()
    answers = await _ask(made, bodies)
    async with asyncio.timeout(ROUND_SECONDS):
        await made.until(_SENT, first)
        seconds = time.monotonic() - began
        await _quiet(made, first, bulks * BULK, delivered=driver == "simulator")
    cpu = meter.seconds()
    assert await made.pool.fetchval(_SETTLED) == settled + bulks * BULK
    messages = bulks * BULK
    found = Round(
        driver,
        messages,
        seconds,
        {name: value * 1000 / messages for name, value in cpu.items()},
        answers,
        wal_bytes=(await wal_bytes(made.pool) - wal) / messages,
    )
    listed = await statements(made.pool)
    found.statements = sum(each["calls"] for each in listed) / messages
    found.database_ms = sum(each["ms"] for each in listed) / messages
    if counted:
        found.costliest = [each | {"query": each["query"][:200]} for each in listed[:8]]
        await _count(made, broker, found)
    return found


async def _count(made: Installation, before: Any, found: Round) -> None:
    """What RabbitMQ says, once it says no more."""
    stood, last, began = 0.0, (0.0, 0.0), time.monotonic()
    while stood < STOOD_SECONDS and time.monotonic() - began < COUNTED_SECONDS:
        await asyncio.sleep(1.0)
        after = await made.broker()
        octets = sum(_grown(before, after, name) for name in ("recv_oct", "send_oct"))
        now = (_grown(before, after, "message_stats", "publish"), octets)
        stood = stood + 1.0 if now == last and all(now) else 0.0
        last = now
    found.amqp_messages, found.amqp_bytes = (each / found.messages for each in last)


def _grown(before: Any, after: Any, *path: str) -> float:
    def read(found: Any) -> float:
        for name in path:
            found = found.get(name, {}) if isinstance(found, dict) else {}
        return float(found or 0)

    return read(after) - read(before)


async def _ask(made: Installation, bodies: list[bytes]) -> list[float]:
    waiting, took = iter(bodies), []

    async def client() -> None:
        for body in waiting:
            began = time.monotonic()
            await made.post("/messages/bulk", body)
            took.append(time.monotonic() - began)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return took


async def _quiet(made: Installation, first: int, count: int, *, delivered: bool) -> None:
    """Wait until nothing is left to do, and check what came of it."""
    while True:
        await made.until(_QUIET)
        row = await made.pool.fetchrow(_DONE, first, delivered)
        if row is not None and row["good"] == row["all"] == count:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def drained(made: Installation) -> None:
    """Wait until nothing waits or is under way."""
    async with asyncio.timeout(ROUND_SECONDS):
        await made.until(_SENT, 0)
        await made.until(_QUIET)
