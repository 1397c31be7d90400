"""What a dead dispatcher left behind: claims of an epoch that is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog

from service.core.lifecycle import Change, Status
from service.dispatch.leases import Lease
from service.record.recorder import Recorder, Through
from service.store import claims as store
from service.store.pool import Pool

log = structlog.get_logger(__name__)


class Orphans:
    """Resolves the `sending` rows of older epochs on the shards held here.

    A standing sweep, not one look at take-over: a claim that was in flight then may commit later.
    A driver that repeats a send under the same id gets it again; for the others only a callback
    can tell, so the message becomes unconfirmed.
    """

    def __init__(
        self,
        pool: Pool,
        recorder: Recorder,
        held: Mapping[int, Lease],
        repeats: Callable[[str], bool],
    ) -> None:
        self._pool = pool
        self._recorder = recorder
        self._held = held
        self._repeats = repeats

    async def sweep(self) -> None:
        """One round; raises one of UNAVAILABLE when the database is away."""
        epochs = {lease.shard: lease.epoch for lease in self._held.values()}
        if not epochs:
            return
        for orphan in await store.orphans(self._pool, epochs):
            rows = await store.orphaned_messages(self._pool, orphan)
            changes = [
                self._change(row["id"], row["attempt"], self._repeats(row["driver"]))
                for row in rows
            ]
            await self._recorder.put([*changes, Through(orphan.claim)])
            if changes:
                log.warning("orphans_resolved", shard=orphan.shard, messages=len(changes))

    def _change(self, message_id: int, attempt: int, repeats: bool) -> Change:
        now = datetime.now(UTC)
        if repeats:
            return Change(message_id, attempt, Status.QUEUED, now, not_before=now, reason="behind")
        return Change(message_id, attempt, Status.UNCONFIRMED, now, error_code="dispatcher_lost")
