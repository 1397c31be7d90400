"""What waits to be handed to the bus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.store.pool import Connection, Pool
from service.store.queries import load

_SQL = load("sweeps")

EVENTS_EXCHANGE = "hantar.events"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message for the bus, safe in the database until it is published."""

    id: int
    exchange: str
    routing_key: str
    type: str
    body: bytes
    #: the command that this answers
    correlation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How much waits, and for how long."""

    depth: int
    oldest_seconds: float


async def stale(
    pool: Pool, *, older_than_seconds: float, limit: int, except_ids: Iterable[int]
) -> list[Entry]:
    """Entries nobody published in time; others do not get the same ones for that time."""
    rows = await pool.fetch(_SQL["stale_outbox"], older_than_seconds, limit, list(except_ids))
    return [Entry(*row) for row in sorted(rows, key=lambda row: row["id"])]


async def delete(connection: Connection, taken: Sequence[tuple[int, int]]) -> None:
    """Drop what the bus has taken over, by ids and accounts (0 for what is no event)."""
    await connection.execute(
        _SQL["delete_outbox"], [id_ for id_, _ in taken], [account for _, account in taken]
    )


async def state(pool: Pool) -> OutboxState:
    """Depth (exact up to 100,000) and age of the oldest entry."""
    [row] = await pool.fetch(_SQL["outbox_state"])
    return OutboxState(row["depth"], row["oldest_seconds"])
