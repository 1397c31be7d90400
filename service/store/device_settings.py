"""The settings of devices with their secrets, for those who speak with their providers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import asyncpg
import orjson
import structlog

from service.core.sealing import CannotUnseal, Seal
from service.store.devices import unsealed
from service.store.pool import Pool
from service.store.queries import load

log = structlog.get_logger(__name__)

_SQL = load("devices")

#: A change of a device's settings is known everywhere after this.
FRESH_SECONDS = 5.0
#: Devices remembered; those asked for longest ago are forgotten first.
REMEMBERED_LIMIT = 10_000


class DeviceSettings:
    """Reads settings and unseals secrets; what was read is good for FRESH_SECONDS."""

    def __init__(self, pool: Pool, seal: Seal) -> None:
        self._pool = pool
        self._seal = seal
        self._devices: dict[int, tuple[float, Mapping[str, str]]] = {}
        self._drivers: dict[str, tuple[float, Mapping[int, Mapping[str, str]]]] = {}
        self._reading = asyncio.Lock()

    async def of(self, device_id: int) -> Mapping[str, str]:
        """The settings of a device, empty when there is none; raises one of UNAVAILABLE."""
        read_at, settings = self._devices.get(device_id, (0.0, {}))
        now = time.monotonic()
        if not read_at or now - read_at > FRESH_SECONDS:
            row = await self._pool.fetchrow(_SQL["settings"], device_id)
            settings = self._open(device_id, row) if row is not None else {}
            self._devices.pop(device_id, None)
            self._devices[device_id] = now, settings
            if len(self._devices) > REMEMBERED_LIMIT:
                del self._devices[next(iter(self._devices))]
        return settings

    async def all_of(self, driver: str) -> Mapping[int, Mapping[str, str]]:
        """The settings of every device of a driver, by its id; raises one of UNAVAILABLE.

        One reads for all who ask at the same time.
        """
        async with self._reading:
            read_at, found = self._drivers.get(driver, (0.0, {}))
            now = time.monotonic()
            if not read_at or now - read_at > FRESH_SECONDS:
                rows = await self._pool.fetch(_SQL["of_driver"], driver)
                found = {row["id"]: self._open(row["id"], row) for row in rows}
                self._drivers[driver] = now, found
            return found

    def _open(self, device_id: int, row: asyncpg.Record) -> Mapping[str, str]:
        settings: dict[str, str] = orjson.loads(row["settings"])
        if row["phone"] is not None:
            settings["phone"] = row["phone"]
        try:
            return settings | unsealed(self._seal, row["secrets"])
        except CannotUnseal as error:
            # The device works again once the key file holds the key its secrets were sealed with.
            log.error("device_secrets_sealed", device_id=device_id, error=str(error))
            return settings
