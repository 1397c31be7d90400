"""When keys were last used: noted in memory, written together now and then."""

from __future__ import annotations

import asyncio

import structlog

from service.store import accounts
from service.store.pool import CONFLICTS, UNAVAILABLE, Pool

log = structlog.get_logger(__name__)

WRITE_SECONDS = 1.0
#: Uses of further keys are not noted before the next write.
MOST_KEYS = 10_000


class KeyUses:
    """Writes the keys that were used, a few seconds late and at most once a minute for each key."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._used: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._run(), name="key uses")

    def note(self, key_id: int) -> None:
        """This key was used just now."""
        if len(self._used) < MOST_KEYS:
            self._used.add(key_id)

    async def close(self) -> None:
        """Write what is noted and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self._write()

    async def _write(self) -> None:
        used, self._used = self._used, set()
        if not used:
            return
        try:
            await accounts.touch_keys(self._pool, list(used))
        except (*UNAVAILABLE, *CONFLICTS) as error:
            # Those that are used again are written next time.
            log.warning("key_uses_not_written", error=type(error).__name__)
