"""Claims: the right to call the driver for a message, once, taken in groups."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson
import structlog

from service import failpoints
from service.core.pacing import Limits
from service.dispatch.leases import Lease
from service.store import claims as store
from service.store.group_commit import GroupCommit
from service.store.pool import CONFLICTS, UNAVAILABLE, Dedicated
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: A claim is good this long from before its statement was issued; cancel, pause and opt-out
#: answer only after it has passed.
CLAIM_SECONDS = 0.25
#: Messages of one statement: with many counted devices a larger one would take too much of that.
GROUP_LIMIT = 500
#: Between tries to return a claim whose answer was lost.
RETRY_SECONDS = 0.5
#: No call lasts as long; a claim that is open for longer was forgotten here.
LONGEST_SECONDS = 300.0
#: Claims remembered as never called.
UNDONE_LIMIT = 1000

#: Verdicts that concern the whole device. That a day's recipients are used up does not: those of
#: before, and whoever writes, may still be sent to.
_WAITS = frozenset({"quiet_hours", "device_rate", "daily_cap"})


@dataclass(slots=True)
class Claim:
    """The note of one claim statement, until all of it has been reported."""

    id: int
    open: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that may be called once, until `good_until` (monotonic seconds)."""

    claim: Claim
    lease: Lease
    good_until: float
    message_id: int
    attempt: int
    attempts: int
    phone: str
    body: str
    options: Mapping[str, Any] | None
    due_at: datetime
    limits: Limits
    #: the epoch that the driver is told, which rises for the device whatever shard it is on
    epoch: int
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now, and nothing else of the device for so long: its budgets keep it from sending."""

    reason: str
    seconds: float
    #: of the device's row, for what is to be written down only while that is the same
    version: str | None


#: claimed; or the reason why not: a verdict of the statement, `locked`, or `gone`
Answer = Claimed | Wait | str


class Claims:
    """Group-committed claims, fenced by the lease epochs of this worker.

    It remembers which claims are worked on here, so that one of the present epoch that nobody
    works on can be told from them: its statement may commit after it was given up.
    """

    def __init__(self, dsn: str, worker: str, held: Mapping[int, Lease]) -> None:
        self._dedicated = Dedicated(dsn, name="claims")
        self._worker = worker
        self._held = held
        self._group: GroupCommit[tuple[int, int], Answer] = GroupCommit(
            self._claim, name="claims", most_items=GROUP_LIMIT
        )
        # Since when (monotonic) each is open.
        self._open: dict[int, float] = {}
        self._undone: deque[int] = deque(maxlen=UNDONE_LIMIT)

    async def start(self) -> None:
        """Begin to claim, with a connection at hand: a claim is good for a short time only."""
        async with self._dedicated:
            self._group.start()

    async def close(self) -> None:
        """Finish the statement in flight."""
        await self._group.close()
        await self._dedicated.close()

    def open_ids(self) -> set[int]:
        """The claims that somebody here is working on."""
        oldest = time.monotonic() - LONGEST_SECONDS
        return {claim_id for claim_id, since in self._open.items() if since > oldest}

    def never_called(self, claim_id: int) -> bool:
        """Whether it is certain that no message of this claim was handed to a driver."""
        return claim_id in self._undone

    def closed(self, claim_ids: Iterable[int]) -> None:
        """Nobody works on these any more; what they left, if anything, is for the sweep."""
        for claim_id in claim_ids:
            self._open.pop(claim_id, None)

    async def take(self, ids: Sequence[int], shard: int) -> Sequence[Answer]:
        """An answer for each id, in order; raises one of UNAVAILABLE, and then took nothing."""
        return await self._group.put([(message_id, shard) for message_id in ids])

    async def _claim(self, asked: list[tuple[int, int]]) -> list[Answer]:
        leases = dict(self._held)
        ids = list(dict.fromkeys(message_id for message_id, _ in asked))
        claim_id = secrets.randbits(63)
        issued = self._open[claim_id] = time.monotonic()
        epochs = {shard: lease.epoch for shard, lease in leases.items()}
        try:
            rows, waiting = await self._run(ids, epochs, claim_id)
            verdicts = Counter(row["verdict"] for row in rows.values())
            claim = Claim(claim_id, verdicts["claimed"])
            answers = [
                _answer(rows.pop(id_, None), id_ in waiting, claim, leases[shard], issued)
                for id_, shard in asked
            ]
        except Exception:
            # Whatever it was, the statement may have committed, or may do so still.
            self._undone.append(claim_id)
            try:
                await self._undo(ids, claim_id)
            finally:
                self.closed([claim_id])
            raise
        if not claim.open:
            self.closed([claim_id])
        verdicts.update(answer for answer in answers if answer in ("locked", "gone"))
        for verdict, count in verdicts.items():
            metrics.CLAIMED.labels(verdict).inc(count)
        return answers

    async def _run(
        self, ids: list[int], epochs: Mapping[int, int], claim_id: int
    ) -> tuple[dict[int, asyncpg.Record], set[int]]:
        failpoints.hit("claim.before")
        async with self._dedicated as connection:
            found = await store.claim(
                connection,
                ids,
                worker=self._worker,
                epochs=epochs,
                claim_id=claim_id,
                good_seconds=CLAIM_SECONDS,
            )
            failpoints.hit("claim.committed")
            rows = {row["id"]: row for row in found}
            missing = [message_id for message_id in ids if message_id not in rows]
            waiting = await store.unclaimed(connection, missing) if missing else set()
        return rows, waiting

    async def _undo(self, ids: list[int], claim_id: int) -> None:
        """The answer of a claim was lost: nothing of it was called, so all of it goes back."""
        while True:
            try:
                async with self._dedicated as connection, connection.transaction():
                    await store.give_back(connection, ids, claim_id)
                    await store.forget_claim(connection, claim_id)
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("claim_undo_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _answer(
    row: asyncpg.Record | None, waiting: bool, claim: Claim, lease: Lease, issued: float
) -> Answer:
    if row is None:
        return "locked" if waiting else "gone"
    verdict: str = row["verdict"]
    if verdict == "claimed":
        return _claimed(row, claim, lease, issued + CLAIM_SECONDS)
    return _wait(row) if verdict in _WAITS else verdict


def _wait(row: asyncpg.Record) -> Wait:
    reason = row["verdict"]
    # Quiet hours are known by themselves, to all who look at the device.
    version = None if reason == "quiet_hours" else row["version"]
    return Wait(reason, row["hold_seconds"], version)


def _claimed(row: asyncpg.Record, claim: Claim, lease: Lease, good_until: float) -> Claimed:
    return Claimed(
        claim,
        lease,
        good_until,
        row["id"],
        row["attempt"],
        row["attempts"],
        row["phone"],
        row["body"],
        orjson.loads(row["options"]) if row["options"] is not None else None,
        row["due_at"],
        store.limits_of(row),
        row["call_epoch"],
        row["traceparent"],
    )
