"""The dispatcher role: the shards this process leases, their queues and their lanes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog

from drivers.driver import Driver
from schemas.commands import Dispatch
from service import failpoints
from service.bus.bus import Bus, Consumer
from service.bus.delivery import Delivery
from service.bus.topology import dispatch_queue
from service.dispatch.claims import Claims
from service.dispatch.lanes import Lanes
from service.dispatch.leases import Lease, Leases
from service.dispatch.orphans import Orphans
from service.dispatch.packs import Entry, Hand, Pack, acks_done
from service.dispatch.parking import ParkingLot
from service.record.recorder import Recorder
from service.store.pool import CONFLICTS, UNAVAILABLE, Pool
from service.telemetry import tracing

log = structlog.get_logger(__name__)

#: Packs in hand per queue; a lane that is full parks and acks, so few are held for long.
PREFETCH = 200
#: With this many in hand a further one of this priority is parked whole, so that the hand is never
#: full of packs that wait for their devices' slots.
CROWDED = (150, 100, 100)
REFILL_SECONDS = 0.2
DEVICES_SECONDS = 1.0
ORPHANS_SECONDS = 1.0
#: Calls in flight get this long to finish when a shard is given up.
GRACE_SECONDS = 4.0
#: A broker that does not take back a subscription by then is left to notice by itself.
CONSUMER_SECONDS = 1.0
#: What a shard that is given up still has to park, and then to record, gets this long each.
WRITE_SECONDS = 1.0
#: Between looks for a device that commands name and nobody knows.
LOOK_SECONDS = 0.1
#: Between tries of what a server's absence made fail.
RETRY_SECONDS = 1.0

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
        self._orphans = Orphans(pool, recorder, self._leases.held, self._claims, self._repeats)
        self._shards: dict[int, Shard] = {}
        self._lanes = Lanes(
            pool,
            drivers,
            held=self._leases.held,
            claims=self._claims,
            lot=self._lot,
            recorder=recorder,
            spawn=self._spawn,
        )
        self._looked = 0.0
        # Fair: commands go into their lanes as they came, also while one of them has to look.
        self._admission = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()

    @property
    def healthy(self) -> bool:
        """Whether every shard held here has its queues open."""
        return all(shard.consumers for shard in self._shards.values())

    async def start(self) -> None:
        """Take a share of the shards and begin to send."""
        await self._claims.start()
        self._lot.start()
        await self._leases.start()
        rounds: list[tuple[str, float, Callable[[], Awaitable[None]]]] = [
            ("devices", DEVICES_SECONDS, self._lanes.refresh),
            ("refill", REFILL_SECONDS, self._lanes.refill),
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

    def _gained(self, lease: Lease) -> None:
        self._lanes.gained(lease.shard)
        opening = asyncio.create_task(self._open(lease), name=f"open:{lease.shard}")
        self._shards[lease.shard] = Shard(lease, opening, [])

    async def _open(self, lease: Lease) -> None:
        """Consume the shard's queues; tried until it works or the lease is gone."""
        while self._leases.held.get(lease.shard) is lease:
            try:
                await self._lanes.look_again()
                for express in (True, False):
                    consumer = await self._bus.consume(
                        dispatch_queue(lease.shard, express=express),
                        partial(self._receive, lease, Hand()),
                        prefetch=PREFETCH,
                    )
                    self._shards[lease.shard].consumers.append(consumer)
            except Exception as error:  # noqa: BLE001 - whatever a broker or database may raise
                log.warning("shard_not_opened", shard=lease.shard, error=repr(type(error)))
                await self._close_consumers(self._shards[lease.shard])
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    def _lost(self, lease: Lease) -> None:
        """The lease is gone already: forget the lanes; the commands go back to the queue."""
        shard = self._shards.pop(lease.shard, None)
        if shard is not None and shard.lease is lease:
            self._spawn(self._abandon(shard), f"abandon:{lease.shard}")

    async def _abandon(self, shard: Shard) -> None:
        shard.opening.cancel()
        lanes = self._lanes.take(shard.lease.shard)
        await asyncio.gather(*(lane.stop(grace_seconds=GRACE_SECONDS) for lane in lanes))
        await self._close_consumers(shard)

    async def _drain(self, lease: Lease) -> None:
        """Leave in order, while the lease still holds."""
        shard = self._shards.get(lease.shard)
        if shard is None:
            return
        shard.opening.cancel()
        await asyncio.gather(shard.opening, return_exceptions=True)
        await self._stop_consumers(shard)
        lanes = self._lanes.take(lease.shard)
        left = await asyncio.gather(*(lane.stop(grace_seconds=GRACE_SECONDS) for lane in lanes))
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._lot.park([entry for part in left for entry in part], reason="behind")
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("park_failed", shard=lease.shard, error=type(error).__name__)
        await self._written()
        await acks_done()
        await self._close_consumers(shard)
        if self._shards.get(lease.shard) is shard:
            del self._shards[lease.shard]

    async def _stop_consumers(self, shard: Shard) -> None:
        """Take no more deliveries; a broker that does not answer is not waited for."""
        stops = [asyncio.create_task(each.stop(), name="consumer:stop") for each in shard.consumers]
        if stops:
            await asyncio.wait(stops, timeout=CONSUMER_SECONDS)
            for stop in stops:
                stop.cancel()
            await asyncio.gather(*stops, return_exceptions=True)

    async def _written(self) -> None:
        """What the lanes put is written before its commands are given up, if the database can."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._recorder.put([])
        except TimeoutError:
            log.warning("outcomes_unwritten_at_drain")

    async def _close_consumers(self, shard: Shard) -> None:
        consumers, shard.consumers = shard.consumers, []
        await asyncio.gather(*(each.close() for each in consumers), return_exceptions=True)

    async def _receive(self, lease: Lease, hand: Hand, delivery: Delivery) -> None:
        tracing.begin(delivery.headers.get("traceparent"))
        try:
            command = _decode(delivery.body)
        except msgspec.MsgspecError as error:
            log.error("command_refused", error=type(error).__name__)
            await delivery.reject()
            return
        if not command.ids:
            await delivery.ack()
            return
        failpoints.hit("dispatch.received")
        pack = Pack(delivery, len(command.ids), hand)
        priority, flow = command.priority, command.flow
        entries = [Entry(id_, priority, flow, pack) for id_ in command.ids]
        async with self._admission:
            if not self._lanes.knows(command.device):
                await self._look_again()
            crowded = hand.packs > CROWDED[priority]
            rest = self._lanes.add(command.device, lease, entries, crowded=crowded)
        await self._park(rest, lease.shard)

    async def _look_again(self) -> None:
        """A device that is not known yet may be a new one; without it its messages are parked."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            await self._lanes.look_again()
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("devices_not_read", error=type(error).__name__)

    async def _park(self, entries: Sequence[Entry], shard: int) -> None:
        """Park, however long the database is away: handing the command back would count against it.

        Cancelled when the queue is closed, which gives the command back once.
        """
        while True:
            try:
                await self._lot.park(entries, reason="behind")
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("park_failed", shard=shard, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

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
