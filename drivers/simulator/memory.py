"""What the simulated WhatsApp remembers: calls, epochs and the callbacks it owes.

It lies in Postgres, as a provider's memory outlives its callers: every dispatcher meets the same
one, and a restart finds it again. A call is counted in the same transaction that owes its
callbacks, so a counted call is always called back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from drivers.driver import Callback, Inbound, Send

#: a statement of the simulator may take so long
TIMEOUT_SECONDS = 10.0
#: callbacks handed over at once
OWED_LIMIT = 100

_FENCE = """
INSERT INTO simulator_epochs AS e (device_id, epoch) VALUES ($1, $2)
ON CONFLICT (device_id) DO UPDATE SET epoch = EXCLUDED.epoch WHERE e.epoch <= EXCLUDED.epoch
RETURNING epoch
"""
_EARLIER = """
SELECT message_id, count(*) AS calls, bool_or(accepted) AS accepted
FROM simulator_calls WHERE message_id = ANY($1::bigint[]) GROUP BY message_id
"""
_COUNT = """
INSERT INTO simulator_calls (message_id, attempt, device_id, epoch, accepted, called_at)
SELECT n.message_id, n.attempt, $1, $2, n.accepted, n.called_at
FROM unnest($3::bigint[], $4::int[], $5::boolean[], $6::double precision[])
    AS n (message_id, attempt, accepted, called_at)
"""
_OWE = """
INSERT INTO simulator_owed (due_at, body)
SELECT n.due_at, n.body FROM unnest($1::timestamptz[], $2::bytea[]) AS n (due_at, body)
"""
_DUE = """
SELECT id, body FROM simulator_owed WHERE due_at <= now()
ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_PAID = "DELETE FROM simulator_owed WHERE id = ANY($1::bigint[])"
_FORGET = """
DELETE FROM simulator_calls WHERE id IN (
    SELECT id FROM simulator_calls WHERE created_at < now() - interval '1 day'
    ORDER BY id LIMIT 10000
)
"""


class Owed(msgspec.Struct):
    """Callbacks that fall due together."""

    statuses: list[Callback] = []
    inbound: list[Inbound] = []


_decode = msgspec.json.Decoder(Owed).decode


@dataclass(frozen=True, slots=True)
class Call:
    """One call received."""

    send: Send
    accepted: bool
    #: seconds on the machine's monotonic clock
    called_at: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of a message from earlier calls."""

    calls: int
    accepted: bool


class Memory:
    """The simulator's tables."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def receive(
        self,
        device_id: int,
        epoch: int,
        message_ids: Sequence[int],
        decide: Callable[[dict[int, Earlier]], tuple[list[Call], list[tuple[datetime, Owed]]]],
    ) -> bool:
        """Count the calls and owe their callbacks; False, and nothing, for an epoch that is over.

        `decide` is given what earlier calls left and answers what to count and what to owe.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchval(_FENCE, device_id, epoch, timeout=TIMEOUT_SECONDS) is None:
                return False
            rows = await connection.fetch(_EARLIER, message_ids, timeout=TIMEOUT_SECONDS)
            calls, owed = decide(
                {row["message_id"]: Earlier(row["calls"], row["accepted"]) for row in rows}
            )
            await connection.execute(
                _COUNT,
                device_id,
                epoch,
                [call.send.message_id for call in calls],
                [call.send.attempt for call in calls],
                [call.accepted for call in calls],
                [call.called_at for call in calls],
                timeout=TIMEOUT_SECONDS,
            )
            if owed:
                await connection.execute(
                    _OWE,
                    [due_at for due_at, _ in owed],
                    [msgspec.json.encode(body) for _, body in owed],
                    timeout=TIMEOUT_SECONDS,
                )
        return True

    async def pay(
        self, call_back: Callable[[Sequence[Callback | Inbound]], Awaitable[None]]
    ) -> int:
        """Hand over callbacks that are due; they are owed until the other side has them."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_DUE, OWED_LIMIT, timeout=TIMEOUT_SECONDS)
            if rows:
                due = [_decode(row["body"]) for row in rows]
                called: list[Callback | Inbound] = []
                for owed in due:
                    called += owed.statuses
                    called += owed.inbound
                await call_back(called)
                await connection.execute(
                    _PAID, [row["id"] for row in rows], timeout=TIMEOUT_SECONDS
                )
        return len(rows)

    async def forget_old_calls(self) -> None:
        """Drop calls more than a day old."""
        await self._pool.execute(_FORGET, timeout=TIMEOUT_SECONDS)
