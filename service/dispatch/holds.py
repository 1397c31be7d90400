"""What keeps a whole device from sending, or slows it down, for a while."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog

from service.dispatch.claims import Wait
from service.store import claims as store
from service.store.pool import Pool

log = structlog.get_logger(__name__)

#: The least and the longest time for which a wait counts here; by then the devices have been read
#: anew, and say whether it still holds.
WAIT_SECONDS = (0.5, 2.0)


class DeviceHolds:
    """Holds count here at once, and by way of the database for every owner to come.

    `closed(device)` is told of each; `spawn(work, name)` runs what writes it down.
    """

    def __init__(
        self,
        pool: Pool,
        spawn: Callable[[Awaitable[None], str], None],
        closed: Callable[[int], None],
    ) -> None:
        self._pool = pool
        self._spawn = spawn
        self._closed = closed
        # Until when (monotonic), as the database learns of a hold a little later.
        self._until: dict[int, float] = {}

    def keeps(self, device_id: int) -> bool:
        """Whether the device has to wait, by what is known here."""
        return self._until.get(device_id, 0.0) > time.monotonic()

    def hold(self, device_id: int, seconds: float) -> None:
        """Its provider wants nothing of it for so long."""
        log.warning("device_held", device_id=device_id, seconds=round(seconds, 3))
        self._close(device_id, seconds)
        self._spawn(store.hold_device(self._pool, device_id, seconds), f"hold:{device_id}")

    def wait(self, device_id: int, wait: Wait) -> None:
        """Its budgets let nothing through for so long."""
        least, most = WAIT_SECONDS
        self._close(device_id, min(max(wait.seconds, least), most))
        if wait.version is not None:
            work = store.budget_used_up(
                self._pool, device_id, wait.seconds, wait.reason, version=wait.version
            )
            self._spawn(work, f"wait:{device_id}")

    def slow(self, device_id: int, factor: float, seconds: float) -> None:
        """So much of its rate is left, which grows back in this time."""
        log.warning("device_slowed", device_id=device_id, factor=round(factor, 3))
        work = store.slow_device(self._pool, device_id, factor, seconds)
        self._spawn(work, f"slow:{device_id}")

    def _close(self, device_id: int, seconds: float) -> None:
        now = time.monotonic()
        self._until = {id_: until for id_, until in self._until.items() if until > now}
        self._until[device_id] = max(now + seconds, self._until.get(device_id, 0.0))
        self._closed(device_id)
