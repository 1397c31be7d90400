"""The statements that look at the whole: what waits, for whom, since when."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from service.store.pool import Connection
from service.store.queries import load

_SQL = load("samples")
_WEBHOOKS = load("webhooks")
_MAILS = load("mails")

#: Of the newest messages so many are looked at for devices that deliver nothing.
NEWEST_MESSAGES = 20_000
#: So many of a device in a row, taken and not delivered, are no chance.
SILENT_MESSAGES = 20


async def lead(connection: Connection) -> bool:
    """Whether this session is the one that looks, from now to its end."""
    leads: bool = await connection.fetchval(_SQL["lead"])
    return leads


async def outbox(connection: Connection) -> list[asyncpg.Record]:
    """Kind, entries and seconds of the oldest."""
    return await connection.fetch(_SQL["outbox"])


async def parked(connection: Connection) -> list[asyncpg.Record]:
    """A row for each reason, then one for each of the devices that lag most."""
    return await connection.fetch(_SQL["parked"])


async def devices(connection: Connection, *, slow_seconds: float) -> list[asyncpg.Record]:
    """Driver, state, why they wait if they do, how many, and how many of these are slowed: for so
    long at least they will not have their full rate."""
    return await connection.fetch(_SQL["devices"], slow_seconds)


async def silent_devices(connection: Connection, *, answer_seconds: float) -> dict[str, int]:
    """How many ready devices of each driver deliver nothing of what is taken."""
    newest = await connection.fetchval(_SQL["newest_message"])
    rows = await connection.fetch(
        _SQL["silent_devices"], newest - NEWEST_MESSAGES, newest, SILENT_MESSAGES, answer_seconds
    )
    return {row["driver"]: row["devices"] for row in rows}


async def doubts(connection: Connection, *, doubt_seconds: float) -> list[asyncpg.Record]:
    """What is awaited, how many messages do, and for how long the oldest does."""
    return await connection.fetch(_SQL["doubts"], doubt_seconds)


async def campaigns(connection: Connection) -> list[asyncpg.Record]:
    """Status, campaigns, recipients pending, and seconds without work."""
    return await connection.fetch(_SQL["campaigns"])


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much is left, and for how long the oldest has waited."""

    count: int
    seconds: float


async def imports(connection: Connection) -> Backlog:
    """Rows of imports."""
    [row] = await connection.fetch(_SQL["imports"])
    return Backlog(row["rows"], row["seconds"])


async def webhooks(connection: Connection) -> Backlog:
    """Webhook deliveries that are due."""
    [row] = await connection.fetch(_WEBHOOKS["backlog"])
    return Backlog(row["due"], row["oldest_seconds"])


async def endpoints(connection: Connection) -> dict[str, int]:
    """Webhook endpoints by state."""
    return {row["state"]: row["endpoints"] for row in await connection.fetch(_SQL["endpoints"])}


async def mails_seconds(connection: Connection) -> float:
    """For how long the oldest mail has waited."""
    seconds: float = await connection.fetchval(_MAILS["backlog"])
    return seconds


async def database(connection: Connection) -> asyncpg.Record:
    """How busy the server is."""
    [row] = await connection.fetch(_SQL["database"])
    return row


async def top(connection: Connection, *, seconds: float, most: int) -> list[asyncpg.Record]:
    """What devices did in the last seconds, those with most to do first."""
    newest = await connection.fetchval(_SQL["newest_message"])
    return await connection.fetch(_SQL["top"], newest - NEWEST_MESSAGES, newest, seconds, most)
