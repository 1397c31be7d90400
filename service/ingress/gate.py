"""Refuses new messages while what was accepted cannot be handed on."""

from __future__ import annotations

import asyncio

import structlog

from schemas.problems import unavailable
from service.store import outbox
from service.store.pool import UNAVAILABLE, Pool

log = structlog.get_logger(__name__)

MOST_ENTRIES = 20_000
OLDEST_SECONDS = 60.0
LOOK_SECONDS = 1.0
#: A database that takes longer to answer so little is not available.
ANSWER_SECONDS = 2.0


class Gate:
    """Looks at the outbox once a second; closed, it answers 503 *before* anything is committed.

    `acked_late` says that entries may stay as long as their work lasts, as on the in-process bus:
    then their age says nothing.
    """

    def __init__(self, pool: Pool, *, acked_late: bool) -> None:
        self._pool = pool
        self._oldest_seconds = float("inf") if acked_late else OLDEST_SECONDS
        self._closed_by: str | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether a 202 given now could be honoured."""
        return self._closed_by is None

    async def start(self) -> None:
        """Look once, then go on looking."""
        await self._look()
        self._task = asyncio.create_task(self._look_for_ever(), name="gate")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def check(self) -> None:
        """Raise the 503 Problem while closed."""
        if self._closed_by is not None:
            raise unavailable(self._closed_by, retry_after_seconds=10)

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        before = self._closed_by
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                state = await outbox.state(self._pool)
        except UNAVAILABLE:
            self._closed_by = "The database is not available."
        else:
            deep = state.depth > MOST_ENTRIES or state.oldest_seconds > self._oldest_seconds
            self._closed_by = "Too much waits to be handed on." if deep else None
        if before != self._closed_by:
            log.warning("gate_changed", open=self.open)
