"""Parking: the one way to wait, and the way back into a lane when the time has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from service import failpoints
from service.dispatch.packs import Entry
from service.store import claims as store
from service.store.claims import Parking
from service.store.group_commit import GroupCommit
from service.store.pool import Dedicated

log = structlog.get_logger(__name__)


class ParkingLot:
    """Group-committed parking."""

    def __init__(self, dsn: str) -> None:
        self._dedicated = Dedicated(dsn, name="parking")
        self._forgetting = Dedicated(dsn, name="unparking")
        self._group: GroupCommit[Parking, None] = GroupCommit(self._park, name="parking")
        self._gone: GroupCommit[int, None] = GroupCommit(self._forget, name="unparking")

    def start(self) -> None:
        """Begin to park."""
        self._group.start()
        self._gone.start()

    async def close(self) -> None:
        """Park what was asked, then stop."""
        await self._group.close()
        await self._gone.close()
        await self._dedicated.close()
        await self._forgetting.close()

    async def park(
        self, entries: Sequence[Entry], *, reason: str, after_seconds: float | None = None
    ) -> None:
        """Let these wait and settle them; raises one of UNAVAILABLE, and then settles none.

        Without a time they keep their place in the order of their flow.
        """
        if not entries:
            return
        not_before = None
        if after_seconds is not None:
            not_before = datetime.now(UTC) + timedelta(seconds=after_seconds)
        await self._group.put([Parking(entry.message_id, not_before, reason) for entry in entries])
        for entry in entries:
            entry.settle()

    async def forget(self, message_ids: Iterable[int]) -> None:
        """Drop the parked rows of messages that no longer wait."""
        await self._gone.put(list(message_ids))

    async def _forget(self, message_ids: list[int]) -> list[None]:
        async with self._forgetting as connection:
            await store.unpark_gone(connection, message_ids)
        return [None] * len(message_ids)

    async def _park(self, parkings: list[Parking]) -> list[None]:
        async with self._dedicated as connection:
            await store.park(connection, parkings)
        failpoints.hit("park.committed")
        return [None] * len(parkings)
