"""A message in hand, and the tasks that handle messages in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import structlog

log = structlog.get_logger()


class Settlement(Enum):
    """What becomes of a delivery."""

    ACK = auto()
    REQUEUE = auto()
    REJECT = auto()


@dataclass(slots=True, eq=False, kw_only=True)
class Delivery:
    """One message in hand: the first settlement counts, later ones do nothing, none raises."""

    body: bytes
    routing_key: str
    type: str | None
    message_id: str | None
    correlation_id: str | None
    headers: Mapping[str, object]
    redelivered: bool
    content_type: str | None
    content_encoding: str | None
    reply_to: str | None
    user_id: str | None
    settle: Callable[[Settlement], Awaitable[None]] | None

    async def ack(self) -> None:
        """The work is done: the message is forgotten."""
        await self._settle_once(Settlement.ACK)

    async def requeue(self) -> None:
        """Deliver the message again, in its old place, until the delivery limit buries it."""
        await self._settle_once(Settlement.REQUEUE)

    async def reject(self) -> None:
        """The message goes to the dead-letter queue."""
        await self._settle_once(Settlement.REJECT)

    async def _settle_once(self, settlement: Settlement) -> None:
        settle, self.settle = self.settle, None
        if settle is not None:
            await settle(settlement)


class Handling:
    """Runs a handler, each delivery in a task of its own, so that no lost connection cancels it."""

    def __init__(
        self,
        queue: str,
        handler: Callable[[Delivery], Awaitable[None]],
        *,
        requeue_pause_seconds: float,
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._requeue_pause_seconds = requeue_pause_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, delivery: Delivery) -> None:
        """Begin to handle `delivery`."""
        task = asyncio.create_task(self._handle(delivery), name=f"handle {self._queue}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        """End the handlers that still run."""
        # A handler may close its own consumer: it must not wait for itself.
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._handler(delivery)
        except Exception:
            log.exception("bus_handler_failed", queue=self._queue, message_id=delivery.message_id)
            # Without the pause a database blip of a second would use up the delivery limit of
            # every message in hand, and bury them all.
            await asyncio.sleep(self._requeue_pause_seconds)
            await delivery.requeue()
