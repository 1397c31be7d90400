"""The statements of the dispatcher: claims, parking, devices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from service.core.pacing import Limits
from service.store.pool import Connection, Pool
from service.store.queries import load

_SQL = load("claims")


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """What a lane needs of its device; `open` is false while it may not send."""

    id: int
    driver: str
    shard: int
    limits: Limits
    open: bool
    #: until it has its full rate again, after it was throttled
    slow_seconds: float


@dataclass(frozen=True, slots=True)
class Parking:
    """A message that has to wait, until when and why; None is since it was due."""

    message_id: int
    not_before: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Look:
    """For how many parked messages of each priority of a device, and of which flows none."""

    device_id: int
    room: int
    #: (priority, flow)
    sated: Collection[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Orphan:
    """A claim whose owner is gone."""

    claim: int
    shard: int
    message_ids: list[int]


def limits_of(row: asyncpg.Record) -> Limits:
    """The limits that the device's owner keeps, of a row that has them."""
    return Limits(row["per_second"], row["per_minute"], row["jitter_seconds"])


async def claim(
    connection: Connection,
    ids: Sequence[int],
    *,
    worker: str,
    epochs: Mapping[int, int],
    claim_id: int,
    good_seconds: float,
) -> list[asyncpg.Record]:
    """Take waiting messages for one attempt each; a row with a verdict for each one held.

    They may be called for `good_seconds` from now; budgets admit them in the order of the ids.
    """
    return await connection.fetch(
        _SQL["claim"],
        ids,
        min(ids),
        max(ids),
        worker,
        list(epochs),
        list(epochs.values()),
        claim_id,
        timedelta(seconds=good_seconds),
    )


async def give_back(connection: Connection, ids: Sequence[int], claim_id: int) -> None:
    """Return claimed messages that were never called; parked, so that they are found again."""
    await connection.execute(_SQL["give_back"], ids, min(ids), max(ids), claim_id)


async def forget_claim(connection: Connection, claim_id: int) -> None:
    """Drop the note of a claim of which nothing is left to record."""
    await connection.execute(_SQL["forget_claim"], claim_id)


async def unclaimed(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Of ids a claim did not answer for, those that still wait: their row was locked."""
    rows = await connection.fetch(_SQL["unclaimed"], ids, min(ids), max(ids))
    return {row["id"] for row in rows}


async def unpark_gone(connection: Connection, ids: Sequence[int]) -> None:
    """Drop the parked rows of messages that no longer wait."""
    await connection.execute(_SQL["unpark_gone"], ids, min(ids), max(ids))


async def park(connection: Connection, parkings: Sequence[Parking]) -> None:
    """Let messages wait; whoever is parked already stays as it is."""
    ids = [parking.message_id for parking in parkings]
    await connection.execute(
        _SQL["park"],
        ids,
        min(ids),
        max(ids),
        [parking.not_before for parking in parkings],
        [parking.reason for parking in parkings],
    )


async def due(pool: Pool | Connection, looks: Sequence[Look]) -> list[asyncpg.Record]:
    """The heads of the flows that were looked for, `most` of each if there are as many."""
    sated = [(look.device_id, *key) for look in looks for key in look.sated]
    return await pool.fetch(
        _SQL["due"],
        [look.device_id for look in looks],
        [look.room for look in looks],
        [device_id for device_id, _, _ in sated],
        [priority for _, priority, _ in sated],
        [flow for _, _, flow in sated],
    )


async def devices(pool: Pool, shards: Sequence[int]) -> list[DeviceRow]:
    """The devices of these shards."""
    return [
        DeviceRow(
            row["id"], row["driver"], row["shard"], limits_of(row), row["open"], row["slow_seconds"]
        )
        for row in await pool.fetch(_SQL["devices"], shards)
    ]


async def hold_device(pool: Pool, device_id: int, seconds: float) -> None:
    """Keep a device from sending for this long."""
    await pool.execute(_SQL["hold_device"], device_id, seconds)


async def budget_used_up(
    pool: Pool, device_id: int, seconds: float, reason: str, *, version: str
) -> None:
    """Keep a device from sending for this long, or until its budgets are changed.

    Nothing happens if the device is not the same any more as when that was found out.
    """
    await pool.execute(_SQL["budget_used_up"], device_id, seconds, reason, version)


async def slow_device(pool: Pool, device_id: int, factor: float, seconds: float) -> None:
    """Note that so much of a device's rate is left, which grows back in this time."""
    await pool.execute(_SQL["slow_device"], device_id, factor, seconds)


async def orphans(
    pool: Pool, epochs: Mapping[int, int], *, except_ids: Iterable[int]
) -> list[Orphan]:
    """Claims of these shards, up to the present epochs, other than those worked on here."""
    rows = await pool.fetch(_SQL["orphans"], list(epochs), list(epochs.values()), list(except_ids))
    return [Orphan(row["id"], row["shard"], row["message_ids"]) for row in rows]


async def orphaned_messages(pool: Pool, orphan: Orphan) -> list[asyncpg.Record]:
    """The messages of such a claim that nobody has an outcome for."""
    ids = orphan.message_ids
    return await pool.fetch(_SQL["orphaned_messages"], ids, min(ids), max(ids), orphan.claim)
