"""Shard leases: who dispatches what, balanced, and taken over from whoever falls silent."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from service import failpoints
from service.store import leases as store
from service.store.leases import LeaseRow
from service.store.pool import UNAVAILABLE, Connection, Dedicated, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Beats in one lease time; a lost beat or two must not cost the lease.
BEATS_PER_LEASE = 5
#: The owner stops this part of a lease time before others may take it.
MARGIN = 0.2


@dataclass(slots=True)
class Lease:
    """The right to dispatch a shard, good until `until` (monotonic seconds) unless renewed."""

    shard: int
    epoch: int
    until: float


class _Watch:
    """Who has not moved for a lease time, by this process's own monotonic clock."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._seen: dict[str, tuple[object, float]] = {}

    def still_for_a_lease(self, name: str, state: object, now: float) -> bool:
        known = self._seen.get(name)
        if known is None or known[0] != state:
            self._seen[name] = (state, now)
            return False
        return now - known[1] >= self._lease_seconds


class Leases:
    """Keeps this worker's share of the shards and tells what it gained and lost.

    A lease is extended from the moment *before* its beat was issued, and another worker takes it
    only after the beat has not moved for a whole lease time on its own clock: so the former
    owner's right has lapsed before the new one begins, and no wall clock is trusted.

    `gained` and `lost` must not wait, as beats would; `drain` may take its bounded time, during
    which the lease goes on being renewed.
    """

    def __init__(
        self,
        pool: Pool,
        dsn: str,
        worker: str,
        *,
        lease_seconds: float,
        gained: Callable[[Lease], None],
        lost: Callable[[Lease], None],
        drain: Callable[[Lease], Awaitable[None]],
    ) -> None:
        self._pool = pool
        self._dedicated = Dedicated(dsn, name="leases")
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._gained = gained
        self._lost = lost
        self._drain = drain
        self._watch = _Watch(lease_seconds)
        self._task: asyncio.Task[None] | None = None
        self._draining: dict[int, asyncio.Task[None]] = {}
        self._taking = True
        self.held: dict[int, Lease] = {}

    async def start(self) -> None:
        """Take the first share before returning, then beat in the background."""
        await self._round()
        self._task = asyncio.create_task(self._beat_for_ever(), name="leases")

    async def close(self) -> None:
        """Drain every shard, still beating, then stop and leave."""
        self._taking = False
        try:
            await self._drain_all()
        finally:
            # Also when this took too long and is cut off: nobody may go on beating.
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
        await self._drain_all()  # what was being taken when this began
        try:
            async with self._dedicated as connection:
                await store.leave(connection, self._worker)
        except UNAVAILABLE as error:
            log.warning("leave_failed", error=type(error).__name__)
        await self._dedicated.close()

    async def _drain_all(self) -> None:
        for lease in list(self.held.values()):
            self._begin_drain(lease)
        await asyncio.gather(*self._draining.values(), return_exceptions=True)

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / BEATS_PER_LEASE)
            try:
                async with asyncio.timeout(self._lease_seconds):
                    await self._round()
            except UNAVAILABLE as error:
                log.warning("beat_failed", error=type(error).__name__)
            except Exception:
                log.exception("beat_failed")
            self._lose_lapsed()

    async def _round(self) -> None:
        async with self._dedicated as connection:
            before = time.monotonic()
            mine = await store.beat(connection, self._worker, self.held)
            failpoints.hit("lease.beaten")
            for lease in list(self.held.values()):
                if mine.get(lease.shard) == lease.epoch:
                    lease.until = before + self._lease_seconds * (1 - MARGIN)
                else:
                    self._lose(lease)
            if not self._taking:
                return
            rows = await store.leases(connection)
            fair = math.ceil(len(rows) / await self._live_workers(connection))
            for lease in self._settled()[fair:]:
                self._begin_drain(lease)
            await self._take_free(connection, rows, fair)
        metrics.SHARDS_OWNED.set(len(self.held))

    async def _live_workers(self, connection: Connection) -> int:
        now = time.monotonic()
        live = 0
        for name, beat in (await store.workers(connection)).items():
            if name != self._worker and self._watch.still_for_a_lease(f"w:{name}", beat, now):
                await store.forget_worker(connection, name, beat)
            else:
                live += 1
        return max(live, 1)

    async def _take_free(self, connection: Connection, rows: list[LeaseRow], fair: int) -> None:
        now = time.monotonic()
        for row in rows:
            # The watch must see every lease each round, also when there is no room for it.
            silent = row.owner is not None and self._watch.still_for_a_lease(
                f"s:{row.shard}", (row.owner, row.epoch, row.beat), now
            )
            busy = row.shard in self.held or row.shard in self._draining
            if busy or len(self._settled()) >= fair or not self._taking:
                continue
            if row.owner is None or silent or row.owner == self._worker:
                await self._take(connection, row, "silent" if silent else "free")

    async def _take(self, connection: Connection, row: LeaseRow, how: str) -> None:
        before = time.monotonic()
        epoch = await store.take(connection, self._worker, row)
        if epoch is None:
            return
        lease = Lease(row.shard, epoch, before + self._lease_seconds * (1 - MARGIN))
        self.held[row.shard] = lease
        metrics.LEASES_TAKEN.labels(how).inc()
        log.info("lease_taken", shard=row.shard, epoch=epoch, how=how)
        failpoints.hit("lease.taken")
        self._gained(lease)

    def _settled(self) -> list[Lease]:
        return [lease for lease in self.held.values() if lease.shard not in self._draining]

    def _begin_drain(self, lease: Lease) -> None:
        if lease.shard not in self._draining:
            task = asyncio.create_task(self._give_up(lease), name=f"drain:{lease.shard}")
            self._draining[lease.shard] = task

    async def _give_up(self, lease: Lease) -> None:
        try:
            await self._drain(lease)
            if self.held.get(lease.shard) is lease:
                del self.held[lease.shard]
            async with self._pool.acquire() as connection:
                await store.release(connection, self._worker, lease.shard, lease.epoch)
            log.info("lease_released", shard=lease.shard, epoch=lease.epoch)
        except UNAVAILABLE as error:
            log.warning("release_failed", shard=lease.shard, error=type(error).__name__)
        finally:
            self._draining.pop(lease.shard, None)

    def _lose_lapsed(self) -> None:
        now = time.monotonic()
        for lease in list(self.held.values()):
            if lease.until <= now:
                self._lose(lease)

    def _lose(self, lease: Lease) -> None:
        if self.held.get(lease.shard) is lease:
            del self.held[lease.shard]
        lease.until = -math.inf
        log.warning("lease_lost", shard=lease.shard, epoch=lease.epoch)
        self._lost(lease)
