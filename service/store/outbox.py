"""What waits to be handed to the bus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.store.pool import Connection, Pool
from service.store.queries import load

_SQL = load("sweeps")

EVENTS_EXCHANGE = "hantar.events"
#: A process that publishes events and was not heard of for so long, as its machine is gone, makes
#: way for another; longer than a publish may take.
SILENT_SECONDS = 20


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
    #: of an event: whom it is about; known once it is read from the outbox
    account_id: int | None = None


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How much waits, and for how long."""

    depth: int
    oldest_seconds: float


async def stale(
    pool: Pool, *, older_than_seconds: float, limit: int, except_ids: Iterable[int]
) -> list[Entry]:
    """Commands nobody published in time; others do not get the same ones for that time."""
    rows = await pool.fetch(_SQL["stale_outbox"], older_than_seconds, limit, list(except_ids))
    return [Entry(*row) for row in sorted(rows, key=lambda row: row["id"])]


async def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Drop the commands that the bus has taken over."""
    await connection.execute(_SQL["delete_outbox"], ids)


async def lead(connection: Connection) -> bool:
    """Whether this session is the one that publishes events; no other is for as long as it lasts,
    and it ends when nothing is asked in it for SILENT_SECONDS."""
    row = await connection.fetchrow(_SQL["lead_events"], f"{SILENT_SECONDS}s")
    return row is not None and bool(row["leads"])


async def next_events(
    connection: Connection, limit: int, *, except_of: Iterable[int]
) -> list[Entry]:
    """The first events that were not published, except those of some accounts, in their order."""
    rows = await connection.fetch(_SQL["next_events"], limit, list(except_of))
    return [Entry(*row) for row in rows]


async def told(connection: Connection, ids: Sequence[int]) -> None:
    """Keep the events that the bus has taken over among those that were published."""
    await connection.execute(_SQL["told"], ids)


async def state(pool: Pool) -> OutboxState:
    """Depth (exact up to 100,000) and age of the oldest command."""
    [row] = await pool.fetch(_SQL["outbox_state"])
    return OutboxState(row["depth"], row["oldest_seconds"])
