"""The dispatcher role: the shards this process leases, their queues and their lanes."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import structlog

from drivers.driver import Driver
from schemas.commands import Dispatch
from service.bus.bus import Bus, Consumer
from service.bus.delivery import Delivery
from service.bus.topology import dispatch_queue
from service.dispatch.claims import Claims
from service.dispatch.lane import Lane
from service.dispatch.leases import Lease, Leases
from service.dispatch.orphans import Orphans
from service.dispatch.packs import Entry, Pack, acks_done
from service.dispatch.parking import ParkingLot
from service.record.recorder import Recorder
from service.store import claims as store
from service.store.claims import DeviceRow
from service.store.pool import CONFLICTS, UNAVAILABLE, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Packs in hand per queue; a lane that is full parks and acks, so few are held for long.
PREFETCH = 200
REFILL_SECONDS = 0.2
DEVICES_SECONDS = 1.0
ORPHANS_SECONDS = 1.0
#: Calls in flight get this long to finish when a shard is given up.
GRACE_SECONDS = 5.0
#: Between tries to open the queues of a shard just gained.
OPEN_RETRY_SECONDS = 1.0

_decode = msgspec.json.Decoder(Dispatch).decode


@dataclass(slots=True)
class Shard:
    """A shard held here: its lease, the task that opened it, its consumers."""

    lease: Lease
    opening: asyncio.Task[None]
    consumers: list[Consumer]


class Dispatcher:
    """Sends what its shards' commands point to; see service/README.md for the way of a message."""

    def __init__(
        self,
        pool: Pool,
        dsn: str,
        bus: Bus,
        recorder: Recorder,
        drivers: Mapping[str, Driver],
        *,
        worker: str,
        lease_seconds: float,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._recorder = recorder
        self._drivers = drivers
        self._leases = Leases(
            pool,
            dsn,
            worker,
            lease_seconds=lease_seconds,
            gained=self._gained,
            lost=self._lost,
            drain=self._drain,
        )
        self._claims = Claims(dsn, worker, self._leases.held)
        self._lot = ParkingLot(dsn)
        self._orphans = Orphans(pool, recorder, self._leases.held, self._repeats)
        self._shards: dict[int, Shard] = {}
        self._lanes: dict[int, Lane] = {}
        self._devices: dict[int, DeviceRow] = {}
        # Until when (monotonic), as the database learns of a hold a little later.
        self._holds: dict[int, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()

    @property
    def healthy(self) -> bool:
        """Whether every shard held here has its queues open."""
        return all(shard.consumers for shard in self._shards.values())

    async def start(self) -> None:
        """Take a share of the shards and begin to send."""
        self._claims.start()
        self._lot.start()
        await self._leases.start()
        rounds: list[tuple[str, float, Callable[[], Awaitable[None]]]] = [
            ("devices", DEVICES_SECONDS, self._refresh_devices),
            ("refill", REFILL_SECONDS, self._refill),
            ("orphans", ORPHANS_SECONDS, self._orphans.sweep),
        ]
        self._tasks = [
            asyncio.create_task(self._every(seconds, name, work), name=f"dispatch:{name}")
            for name, seconds, work in rounds
        ]

    async def close(self) -> None:
        """Stop claiming, park the lanes, finish calls in flight, give the leases back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leases.close()
        if self._background:
            await asyncio.wait(self._background, timeout=GRACE_SECONDS)
        await self._claims.close()
        await self._lot.close()

    def _repeats(self, driver: str) -> bool:
        return driver in self._drivers and self._drivers[driver].repeats

    # --- shards ---------------------------------------------------------------------------

    def _gained(self, lease: Lease) -> None:
        opening = asyncio.create_task(self._open(lease), name=f"open:{lease.shard}")
        self._shards[lease.shard] = Shard(lease, opening, [])

    async def _open(self, lease: Lease) -> None:
        """Consume the shard's queues; tried until it works or the lease is gone."""
        while self._leases.held.get(lease.shard) is lease:
            try:
                await self._refresh_devices()
                for express in (True, False):
                    consumer = await self._bus.consume(
                        dispatch_queue(lease.shard, express=express),
                        partial(self._receive, lease),
                        prefetch=PREFETCH,
                    )
                    self._shards[lease.shard].consumers.append(consumer)
            except Exception as error:  # noqa: BLE001 - whatever a broker or database may raise
                log.warning("shard_not_opened", shard=lease.shard, error=repr(type(error)))
                await self._close_consumers(self._shards[lease.shard])
                await asyncio.sleep(OPEN_RETRY_SECONDS)
            else:
                return

    def _lost(self, lease: Lease) -> None:
        """The lease is gone already: forget the lanes; the commands go back to the queue."""
        shard = self._shards.pop(lease.shard, None)
        if shard is not None and shard.lease is lease:
            self._spawn(self._abandon(shard), f"abandon:{lease.shard}")

    async def _abandon(self, shard: Shard) -> None:
        shard.opening.cancel()
        lanes = self._take_lanes(shard.lease.shard)
        await asyncio.gather(*(lane.stop(grace_seconds=GRACE_SECONDS) for lane in lanes))
        await self._close_consumers(shard)

    async def _drain(self, lease: Lease) -> None:
        """Leave in order, while the lease still holds."""
        shard = self._shards.get(lease.shard)
        if shard is None:
            return
        shard.opening.cancel()
        await asyncio.gather(shard.opening, return_exceptions=True)
        for consumer in shard.consumers:
            await consumer.stop()
        lanes = self._take_lanes(lease.shard)
        left = await asyncio.gather(*(lane.stop(grace_seconds=GRACE_SECONDS) for lane in lanes))
        try:
            await self._lot.park([entry for part in left for entry in part], reason="behind")
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("park_failed", shard=lease.shard, error=type(error).__name__)
        # What the lanes put has to be written before its commands are acked and given up.
        await self._recorder.put([])
        await acks_done()
        await self._close_consumers(shard)
        self._shards.pop(lease.shard, None)

    def _take_lanes(self, shard: int) -> list[Lane]:
        lanes = [lane for lane in self._lanes.values() if lane.device.shard == shard]
        for lane in lanes:
            del self._lanes[lane.device.id]
        return lanes

    async def _close_consumers(self, shard: Shard) -> None:
        consumers, shard.consumers = shard.consumers, []
        await asyncio.gather(*(each.close() for each in consumers), return_exceptions=True)

    # --- commands and parked messages ---------------------------------------------------------

    async def _receive(self, lease: Lease, delivery: Delivery) -> None:
        try:
            command = _decode(delivery.body)
        except msgspec.MsgspecError as error:
            log.error("command_refused", error=type(error).__name__)
            await delivery.reject()
            return
        if not command.ids:
            await delivery.ack()
            return
        pack = Pack(delivery, len(command.ids))
        entries = [Entry(message_id, command.priority, pack) for message_id in command.ids]
        lane = self._lane(command.device, lease)
        rest = entries
        if lane is not None and not (lane.spilled and command.priority > 0):
            rest = lane.add(entries)
            lane.spilled = lane.spilled or bool(rest)
        try:
            await self._lot.park(rest, reason="behind")
        except (*UNAVAILABLE, *CONFLICTS) as error:
            # Unsettled, the command stays with us until the channel closes; take it back.
            log.warning("park_failed", shard=lease.shard, error=type(error).__name__)
            await asyncio.sleep(OPEN_RETRY_SECONDS)
            await delivery.requeue()

    def _lane(self, device_id: int, lease: Lease) -> Lane | None:
        """The lane of an open device of this shard, made when needed."""
        device = self._devices.get(device_id)
        if device is None or device.shard != lease.shard or not device.open:
            return None
        if self._shards.get(lease.shard) is None or lease.until <= time.monotonic():
            return None
        lane = self._lanes.get(device_id)
        if lane is None and device.driver in self._drivers:
            lane = self._lanes[device_id] = Lane(
                device,
                self._drivers[device.driver],
                claims=self._claims,
                lot=self._lot,
                recorder=self._recorder,
                holds=self._hold,
            )
        return lane

    async def _refill(self) -> None:
        """Bring due parked messages into lanes that have run low."""
        rooms = {}
        for device in self._devices.values():
            lane = self._lanes.get(device.id)
            if not device.open or device.shard not in self._shards:
                continue
            if lane is None:
                rooms[device.id] = 100
            elif lane.room > lane.capacity // 2:
                # Those in flight are parked no more, those in the lane may still be.
                rooms[device.id] = lane.room + len(lane)
        found: dict[int, list[Entry]] = defaultdict(list)
        if rooms:
            for row in await store.due(self._pool, rooms):
                found[row["device_id"]].append(Entry(row["message_id"], row["priority"], None))
        for device_id, room in rooms.items():
            self._bring_in(device_id, found[device_id], room)
        metrics.IN_LANES.set(sum(map(len, self._lanes.values())))
        metrics.IN_FLIGHT.set(sum(lane.in_flight for lane in self._lanes.values()))

    def _bring_in(self, device_id: int, entries: list[Entry], room: int) -> None:
        device = self._devices.get(device_id)
        shard = self._shards.get(device.shard) if device is not None else None
        lane = self._lane(device_id, shard.lease) if shard is not None and entries else None
        if lane is not None:
            lane.add([entry for entry in entries if not lane.knows(entry.message_id)])
        known = self._lanes.get(device_id)
        if known is not None:
            known.spilled = len(entries) >= room

    # --- devices ------------------------------------------------------------------------------

    async def _refresh_devices(self) -> None:
        """Take over what changed in the devices; a lane whose device may not send is parked."""
        rows = await store.devices(self._pool, list(self._shards))
        now = time.monotonic()
        self._holds = {id_: until for id_, until in self._holds.items() if until > now}
        self._devices = {
            row.id: replace(row, open=False) if row.id in self._holds else row for row in rows
        }
        for lane in list(self._lanes.values()):
            row = self._devices.get(lane.device.id)
            closed = row is None or not row.open or row.shard != lane.device.shard
            if closed:
                await self._park_lane(lane)
            if row is not None and row.shard == lane.device.shard:
                lane.update(row)
            elif not lane.in_flight:
                self._lanes.pop(lane.device.id, None)

    async def _park_lane(self, lane: Lane) -> None:
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
        self._spawn(store.hold_device(self._pool, device_id, seconds), f"hold:{device_id}")

    # --- background ---------------------------------------------------------------------------

    def _spawn(self, work: Awaitable[None], name: str) -> None:
        async def run() -> None:
            try:
                await work
            except UNAVAILABLE as error:
                log.warning("background_failed", task=name, error=type(error).__name__)

        task = asyncio.create_task(run(), name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _every(self, seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("dispatch_round_failed", round=name, error=type(error).__name__)
            except Exception:
                log.exception("dispatch_round_failed", round=name)
            await asyncio.sleep(seconds)
