"""The one module that writes a message's status after its claim."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import asyncpg
import structlog

from service import failpoints
from service.core.lifecycle import Change, fold
from service.record.writing import write
from service.relay import Relay
from service.store.group_commit import GroupCommit
from service.store.pool import CONFLICTS, UNAVAILABLE, Dedicated, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: With so many changes unwritten a dispatcher claims nothing more.
MOST_UNWRITTEN = 10_000
#: Changes of one statement: four times as many cost no less each, and hold their rows for longer.
GROUP_LIMIT = 250
#: Between two groups of fewer that are written.
APART_SECONDS = 0.05
#: Between tries to write while the database is away.
RETRY_SECONDS = 0.5
#: A fault of the server itself passes mostly; after so many tries a change is taken for its cause.
SERVER_FAULT_TRIES = 10
#: The note of the claim of a change that could not be written is kept, and leads the sweep to the
#: message. So long is such a message remembered, longer than a claim is open, and so many are.
REFUSED_SECONDS = 300.0
REFUSED_LIMIT = 1000
CLOSE_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class Through:
    """Everything of this claim has been reported; put after its last change."""

    claim: int


class Recorder:
    """Merges status changes into Postgres with credits and public events, in one transaction each.

    Changes are kept until they are written, however long the database is away; `full` tells the
    dispatcher to claim nothing more meanwhile.
    """

    def __init__(self, pool: Pool, dsn: str, relay: Relay, *, doubt_seconds: float) -> None:
        self._pool = pool
        self._dedicated = Dedicated(dsn, name="recorder")
        self._relay = relay
        self._doubt_seconds = doubt_seconds
        # Messages with such changes, and since when (monotonic).
        self._refused: dict[int, float] = {}
        self._group: GroupCommit[Change | Through, None] = GroupCommit(
            self._write, name="record", most_items=GROUP_LIMIT, apart_seconds=APART_SECONDS
        )

    @property
    def full(self) -> bool:
        """Whether too much is unwritten to take on more."""
        return self._group.depth > MOST_UNWRITTEN

    def start(self) -> None:
        """Begin to write."""
        metrics.UNWRITTEN.set_function(lambda: self._group.depth)
        self._group.start()

    def put(self, changes: Sequence[Change | Through]) -> asyncio.Future[Sequence[None]]:
        """Write these; the future is done when they are committed."""
        return self._group.put(changes)

    async def close(self) -> None:
        """Write what was put, for a bounded time."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._group.close()
        except TimeoutError:
            log.error("record_unwritten_at_close", changes=self._group.depth)
        await self._dedicated.close()

    async def _write(self, items: list[Change | Through]) -> list[None]:
        try:
            await self._persist(items)
        except Exception:
            # One that cannot be written must not take the others of its group along.
            log.exception("record_split", changes=len(items))
            for item in items:
                await self._write_alone(item)
        return [None] * len(items)

    async def _write_alone(self, item: Change | Through) -> None:
        attempts = [item]
        if isinstance(item, Change):
            # Where a message has got to is kept, even if what was said about it cannot be.
            attempts.append(replace(item, provider_id=None, error_detail=None))
        for attempt in attempts:
            try:
                await self._persist([attempt])
            except Exception:
                log.exception("change_refused", message_id=getattr(item, "message_id", None))
            else:
                return
        if isinstance(item, Change):
            self._remember(item.message_id)

    def _remember(self, message_id: int) -> None:
        now = time.monotonic()
        fresh = [each for each in self._refused.items() if each[1] > now - REFUSED_SECONDS]
        self._refused = dict(fresh[-REFUSED_LIMIT:]) | {message_id: now}

    async def _persist(self, items: list[Change | Through]) -> None:
        """Write all of it, however long the database is away; raises what the items are to blame
        for, and then wrote nothing."""
        changes = fold(item for item in items if isinstance(item, Change))
        claims = [item.claim for item in items if isinstance(item, Through)]
        left = SERVER_FAULT_TRIES
        while True:
            try:
                return await self._write_once(changes, claims)
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("record_failed", error=type(error).__name__, changes=len(changes))
            except asyncpg.InternalServerError as error:
                log.warning("record_failed", error=type(error).__name__, changes=len(changes))
                if not left:
                    raise
                left -= 1
                await self._dedicated.close()  # another session may do better
            await asyncio.sleep(RETRY_SECONDS)

    async def _write_once(self, changes: list[Change], claims: list[int]) -> None:
        async with self._dedicated as connection, connection.transaction():
            written = await write(
                connection,
                changes,
                claims=claims,
                unwritten=list(self._refused),
                doubt_seconds=self._doubt_seconds,
            )
            failpoints.hit("record.before_commit")
        failpoints.hit("record.committed")
        self._relay.offer(written.entries)
        written.count()
