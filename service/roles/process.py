"""What every role of one process stands on, and the order in which it all stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from service.bus.bus import Bus
from service.callbacks import CallbackRelay
from service.core.sealing import Seal
from service.event_relay import EventRelay
from service.ingress.gate import Gate
from service.once import Once
from service.record.recorder import Recorder
from service.relay import Relay
from service.settings import Settings
from service.store.accounts import Installation
from service.store.device_settings import DeviceSettings
from service.store.pool import Pool

log = structlog.get_logger(__name__)

#: Each part gets this long to stop; the dispatcher's own limits lie below it.
STOP_SECONDS = 8.0


class Stops:
    """The parts that run, each with its stop."""

    def __init__(self) -> None:
        self._parts = AsyncExitStack()

    def add(self, name: str, stop: Callable[[], Awaitable[object]]) -> None:
        """A part that from now on has to be stopped, before all that were added earlier."""

        async def bounded() -> None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await stop()
            except Exception as error:  # noqa: BLE001 - the other parts have to stop all the same
                log.error("stop_failed", part=name, error=type(error).__name__)

        self._parts.push_async_callback(bounded)

    async def stop(self) -> None:
        """Every part in reverse order, each for a bounded time."""
        await self._parts.aclose()


@dataclass(frozen=True, slots=True)
class Process:
    """The parts that every role shares; a role adds its own to `stops`."""

    settings: Settings
    dsn: str
    seal: Seal
    installation: Installation
    pool: Pool
    bus: Bus
    events: EventRelay
    relay: Relay
    recorder: Recorder
    callbacks: CallbackRelay
    gate: Gate
    once: Once
    device_settings: DeviceSettings
    stops: Stops
