"""How late the event loop is: everything a process does is at least as late."""

from __future__ import annotations

import asyncio
import time

from service.telemetry import metrics

EVERY_SECONDS = 0.25


class LoopLag:
    """Measures by a timer of its own until it is closed."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._task = asyncio.create_task(self._run(), name="loop lag")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            due = time.monotonic() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            metrics.LOOP_LAG.observe(max(0.0, time.monotonic() - due))
