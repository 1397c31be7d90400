"""The statements of the shard leases."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from service.store.pool import Connection
from service.store.queries import load

_SQL = load("leases")


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One lease as it stands; `owner` is None when it is free."""

    shard: int
    owner: str | None
    epoch: int
    beat: int


async def beat(connection: Connection, worker: str, shards: Collection[int]) -> dict[int, int]:
    """Say "alive"; the epochs of the leases that are still this worker's, by shard."""
    return {
        row["shard"]: row["epoch"]
        for row in await connection.fetch(_SQL["beat"], worker, list(shards))
    }


async def leases(connection: Connection) -> list[LeaseRow]:
    """Every lease."""
    return [LeaseRow(*row) for row in await connection.fetch(_SQL["leases"])]


async def workers(connection: Connection) -> dict[str, int]:
    """The beats of all workers, by name."""
    return {row["name"]: row["beat"] for row in await connection.fetch(_SQL["workers"])}


async def forget_worker(connection: Connection, worker: str, seen_beat: int) -> None:
    """Drop a worker that stopped beating."""
    await connection.execute(_SQL["forget_worker"], worker, seen_beat)


async def take(connection: Connection, worker: str, seen: LeaseRow) -> int | None:
    """Take a lease as it was seen; the new epoch, or None when it has changed since."""
    epoch: int | None = await connection.fetchval(
        _SQL["take"], worker, seen.shard, seen.epoch, seen.beat
    )
    return epoch


async def release(connection: Connection, worker: str, shard: int, epoch: int) -> None:
    """Give a lease back."""
    await connection.execute(_SQL["release"], shard, epoch, worker)


async def leave(connection: Connection, worker: str) -> None:
    """Stop being counted and free what is still held."""
    await connection.execute(_SQL["leave"], worker)


async def free_all(connection: Connection) -> None:
    """Nobody owns anything: for a start that knows that no other process is there."""
    await connection.execute(_SQL["free_all"])
