"""Claims that nobody works on: what a dead dispatcher left behind, or an answer that was lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog

from service import failpoints
from service.core.lifecycle import Change, Status
from service.dispatch.claims import Claims
from service.dispatch.leases import Lease
from service.record.recorder import Recorder, Through
from service.store import claims as store
from service.store.pool import Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)


class Orphans:
    """Resolves the `sending` rows that nobody works on, on the shards held here.

    A standing sweep, not one look at take-over: a claim that was in flight then may commit later.
    What was certainly never called goes back to wait. Of the rest, a driver that repeats a send
    under the same id gets it again; for the others only a callback can tell, so the message
    becomes unconfirmed.
    """

    def __init__(
        self,
        pool: Pool,
        recorder: Recorder,
        held: Mapping[int, Lease],
        claims: Claims,
        repeats: Callable[[str], bool],
    ) -> None:
        self._pool = pool
        self._recorder = recorder
        self._held = held
        self._claims = claims
        self._repeats = repeats

    async def sweep(self) -> None:
        """One round; raises one of UNAVAILABLE when the database is away."""
        epochs = {lease.shard: lease.epoch for lease in self._held.values()}
        if not epochs:
            return
        found = await store.orphans(self._pool, epochs, except_ids=self._claims.open_ids())
        # Looked at again: a claim may have been made while the statement ran. One that was
        # finished meanwhile has no message left that waits for an outcome.
        ours = self._claims.open_ids()
        for orphan in found:
            if orphan.claim in ours:
                continue
            rows = await store.orphaned_messages(self._pool, orphan)
            failpoints.hit("orphans.found")
            safe = self._claims.never_called(orphan.claim)
            changes = [
                self._change(row["id"], row["attempt"], safe or self._repeats(row["driver"]))
                for row in rows
            ]
            await self._recorder.put([*changes, Through(orphan.claim)])
            for change in changes:
                metrics.ORPHANS.labels(change.status.value).inc()
            if changes:
                log.warning("orphans_resolved", shard=orphan.shard, messages=len(changes))

    def _change(self, message_id: int, attempt: int, again: bool) -> Change:
        now = datetime.now(UTC)
        if again:
            return Change(message_id, attempt, Status.QUEUED, now, reason="behind")
        return Change(message_id, attempt, Status.UNCONFIRMED, now, error_code="dispatcher_lost")
