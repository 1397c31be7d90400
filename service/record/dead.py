"""Dead dispatch commands: back to where their messages are found again."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from schemas.commands import Dispatch
from service import failpoints
from service.bus.bus import Bus, Consumer
from service.bus.delivery import Delivery
from service.bus.topology import DISPATCH_DEAD
from service.store import claims as store
from service.store.claims import Parking
from service.store.pool import CONFLICTS, UNAVAILABLE, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

PREFETCH = 20
RETRY_SECONDS = 1.0
_decode = msgspec.json.Decoder(Dispatch).decode


class DeadCommands:
    """Parks what dead commands point to, id by id, so that no accepted message rests there.

    A command dies when its dispatcher did so too often, which says nothing about its messages:
    each is claimed again on its own, and the claim alone decides what becomes of it.
    """

    def __init__(self, bus: Bus, pool: Pool) -> None:
        self._bus = bus
        self._pool = pool
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Begin to consume."""
        self._consumer = await self._bus.consume(DISPATCH_DEAD, self._revive, prefetch=PREFETCH)

    async def close(self) -> None:
        """Give back what is not parked yet."""
        if self._consumer is not None:
            await self._consumer.close()

    async def _revive(self, delivery: Delivery) -> None:
        reason = delivery.headers.get("x-first-death-reason")
        try:
            command = _decode(delivery.body)
        except msgspec.MsgspecError as error:
            # Whatever it meant: a row that nothing points to is found by its age.
            log.error("dead_command_unreadable", error=type(error).__name__, reason=str(reason))
            metrics.DEAD_COMMANDS.labels("unreadable").inc()
        else:
            await self._park(command.ids)
            failpoints.hit("dead.parked")
            log.warning("dead_command_parked", messages=len(command.ids), reason=str(reason))
            metrics.DEAD_COMMANDS.labels("parked").inc()
        await delivery.ack()

    async def _park(self, ids: list[int]) -> None:
        if not ids:
            return
        while True:
            try:
                async with self._pool.acquire() as connection:
                    await store.park(connection, [Parking(id_, None, "behind") for id_ in ids])
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("dead_command_deferred", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return
