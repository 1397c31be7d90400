"""Workers that hold shards and claim."""

from __future__ import annotations

from service.dispatch.claims import CLAIM_SECONDS
from service.store import claims as store
from service.store import leases
from service.store.pool import Pool

WORKER = "worker-a"


async def take_all(pool: Pool, worker: str) -> dict[int, int]:
    """Every shard for this worker, whoever had them; the new epochs."""
    async with pool.acquire() as connection:
        taken = {
            row.shard: await leases.take(connection, worker, row)
            for row in await leases.leases(connection)
        }
    return {shard: epoch for shard, epoch in taken.items() if epoch is not None}


async def claim(
    pool: Pool, ids: list[int], epochs: dict[int, int], *, worker: str = WORKER, claim_id: int = 1
) -> dict[int, str]:
    """The verdict on each row the statement held."""
    async with pool.acquire() as connection:
        rows = await store.claim(
            connection,
            ids,
            worker=worker,
            epochs=epochs,
            claim_id=claim_id,
            good_seconds=CLAIM_SECONDS,
        )
    return {row["id"]: row["verdict"] for row in rows}
