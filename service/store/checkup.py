"""The statements of `hantar doctor` that nobody else needs."""

from __future__ import annotations

import asyncpg

from service.store.pool import Connection
from service.store.queries import load

_SQL = load("checkup")


async def shards(connection: Connection) -> int:
    """How many shards the installation was made with; 0 when it was not set up."""
    found: int | None = await connection.fetchval(_SQL["shards"])
    return found or 0


async def invalid_indexes(connection: Connection) -> list[str]:
    """Indexes that a failed build left behind."""
    return [row["name"] for row in await connection.fetch(_SQL["invalid_indexes"])]


async def clock(connection: Connection) -> float:
    """The database's time, in seconds of the epoch."""
    seconds: float = await connection.fetchval(_SQL["clock"])
    return seconds


async def events_led(connection: Connection) -> bool:
    """Whether anybody publishes public events."""
    led: bool = await connection.fetchval(_SQL["events_led"])
    return led


async def broken_devices(connection: Connection) -> list[asyncpg.Record]:
    """Devices that only a person can mend: id, state and reason."""
    return await connection.fetch(_SQL["broken_devices"])


async def unlinked_devices(connection: Connection) -> list[asyncpg.Record]:
    """Devices that lack what they need to send: id and driver."""
    return await connection.fetch(_SQL["unlinked_devices"])


async def has_devices(connection: Connection, driver: str) -> bool:
    """Whether a device of this driver is in use."""
    found: bool = await connection.fetchval(_SQL["has_devices"], driver)
    return found


async def sealed_devices(connection: Connection) -> list[asyncpg.Record]:
    """Devices with sealed secrets: id and secrets."""
    return await connection.fetch(_SQL["sealed_devices"])
