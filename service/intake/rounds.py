"""Work that comes in chunks: one after the other, each in a transaction of its own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import structlog

from service import failpoints
from service.store.outbox import Entry
from service.store.pool import CONFLICTS, UNAVAILABLE, Connection, Pool

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
#: A chunk takes some 50 ms; what takes longer waits for somebody who may be dead.
CHUNK_SECONDS = 30.0


class Rounds(ABC):
    """Works off one chunk after the other, whoever's turn it is.

    A chunk is taken out, applied and counted in one transaction: whoever dies in the middle has
    done nothing of it. What it put into the outbox is offered after that.
    """

    #: what is worked on, as the log calls it
    what: ClassVar[str]

    def __init__(
        self, pool: Pool, offer: Callable[[Sequence[Entry]], None] = lambda _: None
    ) -> None:
        self._pool = pool
        self._offer = offer
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work."""
        self._task = asyncio.create_task(self._run(), name=f"rounds:{self.what}")

    async def close(self) -> None:
        """Stop; the chunk in hand is rolled back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def work_once(self) -> bool:
        """One chunk; whether there was one. Raises what a database that is away raises."""
        entries: Sequence[Entry] = ()
        async with (
            asyncio.timeout(CHUNK_SECONDS),
            self._pool.acquire() as connection,
            connection.transaction(),
        ):
            taken = await self._take(connection)
            if taken is None:
                return False
            try:
                # Undone alone, so that it can be told where a chunk cannot be worked off.
                async with connection.transaction():
                    entries = await self._work_off(connection, taken)
            except (*UNAVAILABLE, *CONFLICTS):
                raise
            except Exception as error:  # noqa: BLE001 - else it would be tried for ever
                # Without its text, which may quote a row.
                log.error(
                    "chunk_failed", what=self.what, id=taken["id"], error=type(error).__name__
                )
                await self._give_up(connection, taken)
            failpoints.hit("chunk.before_commit")
        failpoints.hit("chunk.committed")
        self._offer(entries)
        return True

    @abstractmethod
    async def tidy_once(self) -> bool:
        """What is to be done when no chunk is left; whether there may be more of it."""

    @abstractmethod
    async def _take(self, connection: Connection) -> Any:
        """Whose turn it is, with its `id`, held until the transaction ends; None is nobody."""

    @abstractmethod
    async def _work_off(self, connection: Connection, taken: Any) -> Sequence[Entry]:
        """Its next chunk; what was put into the outbox."""

    @abstractmethod
    async def _give_up(self, connection: Connection, taken: Any) -> None:
        """See to it that a chunk that cannot be worked off does not come again at once."""

    async def _run(self) -> None:
        while True:
            try:
                worked = await self.work_once() or await self.tidy_once()
            except (*UNAVAILABLE, *CONFLICTS) as error:
                worked = False
                log.warning("round_deferred", what=self.what, error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - the next round may find the fault mended
                worked = False
                log.error("round_failed", what=self.what, error=type(error).__name__)
            if not worked:
                await asyncio.sleep(LOOK_SECONDS)
