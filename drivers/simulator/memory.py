"""What the simulated WhatsApp remembers: epochs, calls, and the callbacks it owes.

It lies in Postgres, as a provider's memory outlives its callers: every dispatcher meets the same
one, and a restart finds it again. Calls are counted in the transaction that owes their callbacks,
so a message that was accepted is always called back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from drivers.driver import Called, Send
from drivers.simulator.answers import Answer, Known, Owed

#: A statement, or getting a connection, may take so long.
TIMEOUT_SECONDS = 5.0
#: So long callbacks are one process's to hand over, and then anybody's, as it may be dead.
PAYING_SECONDS = 15.0
#: Packs handed over at once.
PAY_LIMIT = 20
FORGET_LIMIT = 10_000

# A device that another caller is talking to right now is left out instead of waited for: that
# caller may stand still for long, and the devices beside it must not.
_HOLD = """
WITH met AS (
    INSERT INTO simulator_epochs (device_id, epoch)
    SELECT n.device_id, n.epoch FROM unnest($1::bigint[], $2::bigint[]) AS n (device_id, epoch)
    ON CONFLICT DO NOTHING
    RETURNING device_id, epoch
), held AS (
    SELECT device_id, epoch FROM simulator_epochs WHERE device_id = ANY($1)
    FOR UPDATE SKIP LOCKED
)
SELECT device_id, epoch FROM met UNION ALL SELECT device_id, epoch FROM held
"""
_RAISE = """
UPDATE simulator_epochs AS e SET epoch = n.epoch
FROM unnest($1::bigint[], $2::bigint[]) AS n (device_id, epoch) WHERE e.device_id = n.device_id
"""
_KNOWN = """
SELECT message_id, count(*) AS calls, min(attempt) FILTER (WHERE accepted) AS attempt
FROM simulator_calls WHERE message_id = ANY($1::bigint[]) GROUP BY message_id
"""
_KEEP = """
WITH counted AS (
    INSERT INTO simulator_calls (message_id, attempt, device_id, epoch, accepted, called_at)
    SELECT * FROM unnest(
        $1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::boolean[], $6::double precision[])
)
INSERT INTO simulator_owed (due_at, body) SELECT * FROM unnest($7::timestamptz[], $8::bytea[])
"""
# Nobody else gets them for so many seconds.
TAKE = """
UPDATE simulator_owed o SET due_at = now() + make_interval(secs => $2)
FROM (
    SELECT id, due_at FROM simulator_owed WHERE due_at <= now()
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
) d
WHERE o.id = d.id
RETURNING o.id, o.body, d.due_at
"""
_OWE = """
UPDATE simulator_owed o SET due_at = n.due_at
FROM unnest($1::bigint[], $2::timestamptz[]) AS n (id, due_at) WHERE o.id = n.id
"""
_PAID = "DELETE FROM simulator_owed WHERE id = ANY($1::bigint[])"
# The oldest calls have the lowest ids, so that nothing else is looked at.
_FORGET = """
DELETE FROM simulator_calls WHERE id IN (
    SELECT id FROM (SELECT id, created_at FROM simulator_calls ORDER BY id LIMIT $1) AS oldest
    WHERE created_at < now() - interval '1 day'
)
"""

_decode = msgspec.json.Decoder(Owed).decode


#: a message, when it was called on the machine's monotonic clock, and the answer
Call = tuple[Send, float, Answer]


@asynccontextmanager
async def connection(pool: Any) -> AsyncIterator[Any]:
    """A connection of the pool, within a bounded time."""
    async with pool.acquire(timeout=TIMEOUT_SECONDS) as acquired:
        yield acquired


async def hold_devices(connection: Any, epochs: Mapping[int, int]) -> dict[int, int]:
    """Keep other callers of these devices away until the end of the transaction.

    Answers the highest epoch each has met, these included; a device that another caller holds is
    left out.
    """
    devices = sorted(epochs)
    rows = await connection.fetch(
        _HOLD, devices, [epochs[device] for device in devices], timeout=TIMEOUT_SECONDS
    )
    met = {row["device_id"]: row["epoch"] for row in rows}
    risen = [device for device, epoch in met.items() if epoch < epochs[device]]
    if risen:
        met |= {device: epochs[device] for device in risen}
        await connection.execute(
            _RAISE, risen, [met[device] for device in risen], timeout=TIMEOUT_SECONDS
        )
    return met


async def known(connection: Any, message_ids: Sequence[int]) -> dict[int, Known]:
    """What earlier calls left of those of these messages that had any."""
    rows = await connection.fetch(_KNOWN, message_ids, timeout=TIMEOUT_SECONDS)
    return {row["message_id"]: Known(row["calls"], row["attempt"]) for row in rows}


async def keep(connection: Any, calls: Sequence[Call], owed: Sequence[Owed]) -> None:
    """Count calls and owe their callbacks."""
    await connection.execute(
        _KEEP,
        [send.message_id for send, _, _ in calls],
        [send.attempt for send, _, _ in calls],
        [send.device_id for send, _, _ in calls],
        [send.epoch for send, _, _ in calls],
        [answer.accepted for _, _, answer in calls],
        [called_at for _, called_at, _ in calls],
        [pack.due_at for pack in owed],
        [msgspec.json.encode(pack) for pack in owed],
        timeout=TIMEOUT_SECONDS,
    )


async def pay(pool: Any, call_back: Callable[[Sequence[Called]], Awaitable[None]]) -> bool:
    """Hand over callbacks that are due; whether there may be more.

    They are owed until the other side has them. What another process is handing over is passed by.
    No transaction is open meanwhile, as the other side may take long: less than PAYING_SECONDS.
    """
    rows = await pool.fetch(TAKE, PAY_LIMIT, PAYING_SECONDS, timeout=TIMEOUT_SECONDS)
    if rows:
        ids = [row["id"] for row in rows]
        try:
            await call_back(_called(rows))
        except Exception:
            due_at = [row["due_at"] for row in rows]
            await pool.execute(_OWE, ids, due_at, timeout=TIMEOUT_SECONDS)
            raise
        await pool.execute(_PAID, ids, timeout=TIMEOUT_SECONDS)
    return len(rows) == PAY_LIMIT


def _called(rows: Sequence[Any]) -> list[Called]:
    called: list[Called] = []
    for row in sorted(rows, key=lambda row: (row["due_at"], row["id"])):
        pack = _decode(row["body"])
        called += pack.statuses
        called += pack.inbound
    return called


async def forget(pool: Any) -> bool:
    """Drop some calls that are more than a day old; whether there may be more of them."""
    done: str = await pool.execute(_FORGET, FORGET_LIMIT, timeout=TIMEOUT_SECONDS)
    return done == f"DELETE {FORGET_LIMIT}"
