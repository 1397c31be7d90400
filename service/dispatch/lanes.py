"""The lanes of this process: made when needed, refilled when low, parked with their devices."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import asyncpg
import structlog

from drivers.driver import Driver
from service.dispatch.claims import Claims
from service.dispatch.holds import DeviceHolds
from service.dispatch.lane import Lane
from service.dispatch.leases import Lease
from service.dispatch.packs import Entry, Key
from service.dispatch.parking import ParkingLot
from service.record.recorder import Recorder
from service.store import claims as store
from service.store.claims import DeviceRow, Look
from service.store.pool import Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Parked messages looked for at first for a device without a lane.
FIRST_LOOK = 100
#: A lane that is not low is looked at in one of so many rounds, for flows that it has nothing of.
LOOK_ROUNDS = 5
#: Devices taken over at one moment are first called within so long of each other, or less.
SPREAD_SECONDS = 1.0
#: What was left to the parking lot may take so long to be found there.
PARKING_SECONDS = 1.0


class Lanes:
    """The lanes of the devices on the shards held here; `spawn(work, name)` runs small writes."""

    def __init__(
        self,
        pool: Pool,
        drivers: Mapping[str, Driver],
        *,
        held: Mapping[int, Lease],
        claims: Claims,
        lot: ParkingLot,
        recorder: Recorder,
        spawn: Callable[[Awaitable[None], str], None],
    ) -> None:
        self._pool = pool
        self._drivers = drivers
        self._held = held
        self._claims = claims
        self._lot = lot
        self._recorder = recorder
        self._holds = DeviceHolds(pool, spawn, self._close)
        self._lanes: dict[int, Lane] = {}
        self._devices: dict[int, DeviceRow] = {}
        # Of each device the flows with messages that were left to the parking lot, and when
        # (monotonic).
        self._spilled: dict[int, dict[Key, float]] = {}
        # Since when (monotonic) nobody else can have called for each device.
        self._since: dict[int, float] = {}
        self._leaving: set[int] = set()
        self._rounds = 0
        # Devices whose parked messages were looked for since they may send.
        self._known: set[int] = set()
        self._refreshing = asyncio.Lock()

    def add(
        self, device_id: int, lease: Lease, entries: Sequence[Entry], *, crowded: bool
    ) -> Sequence[Entry]:
        """Take a command's messages into the device's lane; answers those that have to be parked.

        While earlier ones of their flow wait parked, fresh ones park behind them; all of them when
        the hand is `crowded`.
        """
        spilled = self._spilled.setdefault(device_id, {})
        key = entries[0].key
        device = self._devices.get(device_id)
        if device is not None and device.shard == lease.shard and self.knows(device_id):
            lane = self._lane(device)
            if lane is not None and key not in spilled and not crowded:
                return lane.add(entries)
        spilled.setdefault(key, time.monotonic())
        return entries

    def knows(self, device_id: int) -> bool:
        """Whether it is known what waits for the device, or that it may not send."""
        device = self._devices.get(device_id)
        return device is not None and (device_id in self._known or not device.open)

    def take(self, shard: int) -> list[Lane]:
        """The lanes of a shard that is given up; none is made for it until `refresh` sees it."""
        self._leaving.add(shard)
        lanes = [lane for lane in self._lanes.values() if lane.device.shard == shard]
        for lane in lanes:
            del self._lanes[lane.device.id]
        for device in self._devices.values():
            if device.shard == shard:
                self._since.pop(device.id, None)
        return lanes

    def gained(self, shard: int) -> None:
        """Lanes of this shard may be made."""
        self._leaving.discard(shard)

    async def refill(self) -> None:
        """Bring due parked messages into lanes, where a flow has run low or has nothing yet."""
        now = time.monotonic()
        self._rounds += 1
        looks = []
        for device in self._devices.values():
            lane = self._lanes.get(device.id)
            if not device.open or not self._ours(device.shard):
                continue
            if lane is None:
                looks.append(Look(device.id, FIRST_LOOK, ()))
            elif lane.hungry or (device.id + self._rounds) % LOOK_ROUNDS == 0:
                looks.append(Look(device.id, lane.capacity, lane.sated()))
        found: dict[int, list[asyncpg.Record]] = defaultdict(list)
        if looks:
            for row in await store.due(self._pool, looks):
                found[row["device_id"]].append(row)
        for look in looks:
            self._bring_in(look, found[look.device_id], now)
        metrics.IN_LANES.set(sum(map(len, self._lanes.values())))
        metrics.IN_FLIGHT.set(sum(lane.in_flight for lane in self._lanes.values()))

    async def look_again(self) -> None:
        """Read the devices anew, and what waits for those that were not known."""
        await self.refresh()
        await self.refill()

    async def refresh(self) -> None:
        """Take over what changed in the devices; a lane whose device may not send is parked."""
        async with self._refreshing:
            await self._refresh()

    async def _refresh(self) -> None:
        rows = await store.devices(self._pool, list(self._held))
        self._devices = {
            row.id: replace(row, open=False) if self._holds.keeps(row.id) else row for row in rows
        }
        now = time.monotonic()
        self._since = self._since_of(rows, now)
        self._known &= {device.id for device in self._devices.values() if device.open}
        for lane in list(self._lanes.values()):
            device = self._devices.get(lane.device.id)
            here = device is not None and device.shard == lane.device.shard
            if device is None or not here or not device.open:
                await self._park(lane)
            if device is not None and here:
                lane.update(device)
                await lane.give_excess()
            elif not lane.in_flight:
                self._lanes.pop(lane.device.id, None)
        kept = self._devices.keys() | self._lanes.keys()
        self._spilled = {id_: keys for id_, keys in self._spilled.items() if id_ in kept}
        runnable = [lane for lane in self._lanes.values() if len(lane) and lane.device.open]
        metrics.LANES.labels("runnable").set(len(runnable))
        metrics.LANES.labels("stalled").set(sum(lane.stalled(now) for lane in runnable))

    def _since_of(self, rows: Sequence[DeviceRow], now: float) -> dict[int, float]:
        """What is known of these devices; new ones are spread over their gaps.

        Taken over at one moment, they would all be called at one moment ever after.
        """
        new = [row for row in rows if row.id not in self._since]
        since = {row.id: self._since.get(row.id, now) for row in rows}
        for place, row in enumerate(new):
            rate = row.limits.rate()
            if rate is not None:
                since[row.id] += place / len(new) * min(1.0 / rate, SPREAD_SECONDS)
        return since

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
                holds=self._holds,
                since=self._since.get(device.id, time.monotonic()),
                spilled=self._spilled.setdefault(device.id, {}),
            )
        return lane

    def _bring_in(self, look: Look, rows: list[asyncpg.Record], asked_at: float) -> None:
        device = self._devices.get(look.device_id)
        if device is None or not device.open:
            return
        self._known.add(device.id)
        lane = self._lane(device) if rows else self._lanes.get(device.id)
        if lane is not None:
            entries = [
                Entry(row["message_id"], row["priority"], row["flow"], None)
                for row in rows
                if not lane.knows(row["message_id"])  # as one in the lane may still be parked
            ]
            if entries:
                lane.add(entries)
        spilled = self._spilled.setdefault(device.id, {})
        if rows:
            counts = Counter((row["priority"], row["flow"]) for row in rows)
            full = {(row["priority"], row["flow"]): row["most"] for row in rows}
            spilled |= {key: asked_at for key, count in counts.items() if count >= full[key]}
        for key, at in list(spilled.items()):
            if key not in look.sated and at < asked_at - PARKING_SECONDS:
                del spilled[key]

    async def _park(self, lane: Lane) -> None:
        entries = lane.take_all()
        try:
            await self._lot.park(entries, reason="not_ready")
        except BaseException:
            lane.restore(entries)
            raise

    def _close(self, device_id: int) -> None:
        """Let a device send nothing until the devices are read anew."""
        device = self._devices.get(device_id)
        if device is not None and device.open:
            self._devices[device_id] = replace(device, open=False)
            if device_id in self._lanes:
                self._lanes[device_id].update(self._devices[device_id])
