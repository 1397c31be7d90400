"""The standing sweeps of the recorder role: what nothing else would come back to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from service import failpoints
from service.core.lifecycle import Change, Status
from service.record.recorder import Recorder
from service.relay import Relay
from service.store import events, inbound, sweeps, unread
from service.store.pool import CONFLICTS, UNAVAILABLE, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: An unconfirmed message nobody resolves keeps its credit this long.
RELEASE_SECONDS = 72 * 3600.0
#: How far back the first look for expired messages goes, in steps of so long.
EXPIRY_REACH, EXPIRY_STEP = timedelta(days=7), timedelta(hours=1)
#: Each look reaches back behind the last one: a message may come back to wait when its time has
#: passed already, and the clocks of this process and of the database differ.
EXPIRY_OVERLAP = timedelta(minutes=10)
EXPIRED = "its time passed before it was sent"


class Sweeps:
    """Runs every sweep at its own pace until closed; a failed round is tried again next time."""

    def __init__(
        self, pool: Pool, relay: Relay, recorder: Recorder, *, unpointed_seconds: float
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._recorder = recorder
        # A waiting row of this age that nothing points to any more (a purged queue) is parked.
        self._unpointed_seconds = unpointed_seconds
        self._expired_since = datetime.now(UTC) - EXPIRY_REACH
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin all sweeps."""
        rounds: list[tuple[str, float, Callable[[], Awaitable[None]]]] = [
            ("unpointed", 5.0, self._unpointed),
            ("doubts", 1.0, self._doubts),
            ("expired", 2.0, self._expired),
            ("answers", 60.0, self._answers),
            ("partitions", 60.0, self._partitions),
        ]
        self._tasks = [
            asyncio.create_task(self._every(seconds, name, work), name=f"sweep:{name}")
            for name, seconds, work in rounds
        ]
        self._tasks.append(asyncio.create_task(self._relay.sweep(), name="sweep:outbox"))

    async def close(self) -> None:
        """Stop at once; each round is one transaction."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _every(self, seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("sweep_failed", sweep=name, error=type(error).__name__)
            except Exception:
                log.exception("sweep_failed", sweep=name)
            await asyncio.sleep(seconds)

    async def _unpointed(self) -> None:
        parked = await sweeps.park_unpointed(self._pool, older_than_seconds=self._unpointed_seconds)
        if parked:
            log.warning("unpointed_messages_parked", messages=parked)
            metrics.UNPOINTED.inc(parked)

    async def _doubts(self) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            decided = await sweeps.decide_doubts(connection, release_seconds=RELEASE_SECONDS)
            failpoints.hit("doubts.before_commit")
        metrics.DOUBTS.labels("resent").inc(decided.resent)
        metrics.DOUBTS.labels("released").inc(decided.released)
        metrics.CREDITS.labels("release").inc(decided.released)
        if decided.resent or decided.released:
            log.warning("doubts_decided", resent=decided.resent, released=decided.released)

    async def _expired(self) -> None:
        """Mark what expired where no claim comes by; the claim marks the others."""
        began = datetime.now(UTC)
        while self._expired_since < began - EXPIRY_OVERLAP:
            until = min(self._expired_since + EXPIRY_STEP, began)
            if not await self._expire(self._expired_since, until, began):
                return
            self._expired_since = max(until - EXPIRY_OVERLAP, self._expired_since)
            if until == began:
                return

    async def _expire(self, since: datetime, until: datetime, at: datetime) -> bool:
        """Whether all of them were found."""
        ids = await sweeps.expired(self._pool, since=since, until=until)
        if ids:
            changes = [
                Change(id_, 0, Status.EXPIRED, at, error_code="expired", error_detail=EXPIRED)
                for id_ in ids
            ]
            await self._recorder.put(changes)
        return len(ids) < sweeps.EXPIRED_LIMIT

    async def _answers(self) -> None:
        await sweeps.sum_ledger(self._pool)
        await sweeps.drop_answers(self._pool)
        await sweeps.drop_holds(self._pool)
        await sweeps.drop_conversations(self._pool)
        await sweeps.forget_recipients(self._pool)
        await inbound.forget(self._pool)
        await unread.forget(self._pool)
        await events.forget(self._pool)

    async def _partitions(self) -> None:
        made = await sweeps.ensure_partitions(self._pool)
        if made:
            log.info("message_partitions_made", partitions=made)
