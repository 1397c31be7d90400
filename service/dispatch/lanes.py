"""The lanes of this process: made when needed, refilled when low, parked with their devices."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from drivers.driver import Driver
from service.dispatch.claims import Claims
from service.dispatch.lane import Lane
from service.dispatch.leases import Lease
from service.dispatch.packs import Entry
from service.dispatch.parking import ParkingLot
from service.record.recorder import Recorder
from service.store import claims as store
from service.store.claims import DeviceRow
from service.store.pool import CONFLICTS, UNAVAILABLE, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Parked messages looked for at first for a device without a lane.
FIRST_LOOK = 100


class Lanes:
    """The lanes of the devices on the shards held here.

    `hold(device, seconds)` makes a hold known to every owner to come; here it counts at once.
    """

    def __init__(
        self,
        pool: Pool,
        drivers: Mapping[str, Driver],
        *,
        held: Mapping[int, Lease],
        claims: Claims,
        lot: ParkingLot,
        recorder: Recorder,
        hold: Callable[[int, float], None],
    ) -> None:
        self._pool = pool
        self._drivers = drivers
        self._held = held
        self._claims = claims
        self._lot = lot
        self._recorder = recorder
        self._make_hold_known = hold
        self._lanes: dict[int, Lane] = {}
        self._devices: dict[int, DeviceRow] = {}
        # Until when (monotonic), as the database learns of a hold a little later.
        self._holds: dict[int, float] = {}
        self._leaving: set[int] = set()
        self._refreshing = asyncio.Lock()

    def add(self, device_id: int, lease: Lease, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Take fresh messages into the device's lane; answers those that have to be parked.

        While earlier ones wait parked, fresh ones park behind them, unless they are urgent.
        """
        device = self._devices.get(device_id)
        if device is None or device.shard != lease.shard:
            return entries
        lane = self._lane(device)
        if lane is None or (lane.spilled and entries[0].priority > 0):
            return entries
        rest = lane.add(entries)
        lane.spilled = lane.spilled or bool(rest)
        return rest

    def knows(self, device_id: int) -> bool:
        """Whether the device has been seen on a shard held here."""
        return device_id in self._devices

    def take(self, shard: int) -> list[Lane]:
        """The lanes of a shard that is given up; none is made for it until `refresh` sees it."""
        self._leaving.add(shard)
        lanes = [lane for lane in self._lanes.values() if lane.device.shard == shard]
        for lane in lanes:
            del self._lanes[lane.device.id]
        return lanes

    def gained(self, shard: int) -> None:
        """Lanes of this shard may be made."""
        self._leaving.discard(shard)

    async def refill(self) -> None:
        """Bring due parked messages into lanes that have run low."""
        rooms = {}
        for device in self._devices.values():
            lane = self._lanes.get(device.id)
            if not device.open or not self._ours(device.shard):
                continue
            if lane is None:
                rooms[device.id] = FIRST_LOOK
            elif lane.room > lane.capacity // 2:
                # Messages in the lane may still be parked, and come first.
                rooms[device.id] = lane.room + len(lane)
        found: dict[int, list[Entry]] = defaultdict(list)
        if rooms:
            for row in await store.due(self._pool, rooms):
                found[row["device_id"]].append(Entry(row["message_id"], row["priority"], None))
        for device_id, room in rooms.items():
            self._bring_in(device_id, found[device_id], room)
        metrics.IN_LANES.set(sum(map(len, self._lanes.values())))
        metrics.IN_FLIGHT.set(sum(lane.in_flight for lane in self._lanes.values()))

    async def refresh(self) -> None:
        """Take over what changed in the devices; a lane whose device may not send is parked."""
        async with self._refreshing:
            await self._refresh()

    async def _refresh(self) -> None:
        rows = await store.devices(self._pool, list(self._held))
        now = time.monotonic()
        self._holds = {id_: until for id_, until in self._holds.items() if until > now}
        self._devices = {
            row.id: replace(row, open=False) if row.id in self._holds else row for row in rows
        }
        for lane in list(self._lanes.values()):
            device = self._devices.get(lane.device.id)
            here = device is not None and device.shard == lane.device.shard
            if device is None or not here or not device.open:
                await self._park(lane)
            if device is not None and here:
                lane.update(device)
            elif not lane.in_flight:
                self._lanes.pop(lane.device.id, None)

    def _ours(self, shard: int) -> bool:
        lease = self._held.get(shard)
        return lease is not None and lease.until > time.monotonic() and shard not in self._leaving

    def _lane(self, device: DeviceRow) -> Lane | None:
        """The lane of an open device, made when needed."""
        if not device.open or not self._ours(device.shard):
            return None
        lane = self._lanes.get(device.id)
        if lane is None and device.driver in self._drivers:
            lane = self._lanes[device.id] = Lane(
                device,
                self._drivers[device.driver],
                claims=self._claims,
                lot=self._lot,
                recorder=self._recorder,
                holds=self._hold,
            )
        return lane

    def _bring_in(self, device_id: int, entries: list[Entry], room: int) -> None:
        device = self._devices.get(device_id)
        lane = self._lane(device) if device is not None and entries else None
        if lane is not None:
            lane.add([entry for entry in entries if not lane.knows(entry.message_id)])
        known = self._lanes.get(device_id)
        if known is not None:
            known.spilled = len(entries) >= room

    async def _park(self, lane: Lane) -> None:
        entries = lane.take_all()
        try:
            await self._lot.park(entries, reason="not_ready")
        except (*UNAVAILABLE, *CONFLICTS):
            lane.restore(entries)
            raise

    def _hold(self, device_id: int, seconds: float) -> None:
        """Keep a device from sending, here at once and for every owner to come."""
        until = time.monotonic() + seconds
        self._holds[device_id] = max(until, self._holds.get(device_id, until))
        device = self._devices.get(device_id)
        if device is not None and device.open:
            self._devices[device_id] = replace(device, open=False)
            if device_id in self._lanes:
                self._lanes[device_id].update(self._devices[device_id])
            log.warning("device_held", device_id=device_id, seconds=round(seconds, 3))
        self._make_hold_known(device_id, seconds)
