"""A lane: the few messages of one device that are next, sent at the device's pace."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from drivers.driver import Driver, Outcome, Unconfirmed
from service.core.lifecycle import Change, Status
from service.core.pacing import Limits, Pacer
from service.dispatch.attempt import Attempt, Planned, call, change_after
from service.dispatch.claims import CLAIM_SECONDS, Claimed, Claims
from service.dispatch.outcomes import Outcomes
from service.dispatch.packs import Entry, Pack
from service.dispatch.parking import ParkingLot
from service.record.recorder import Recorder
from service.store.claims import DeviceRow
from service.store.pool import CONFLICTS, UNAVAILABLE
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: A lane holds this much of its device's time, and never more than so many messages.
LANE_SECONDS = 60.0
LANE_LIMIT = 2000
#: Commands a lane keeps unacked; further ones are parked, so that a flood of single messages
#: leaves the queue's hand free for the other devices of its shard.
PACKS_LIMIT = 16
#: Claims are made at most this long before their slot.
CLAIM_AHEAD_SECONDS = 0.05
#: Calls of one device in flight at once.
IN_FLIGHT_LIMIT = 500
#: Slots this close together go to the driver in one batch.
TOGETHER_SECONDS = 0.001
#: After a claim could not be made, or too much is unwritten.
PAUSE_SECONDS = 0.25
#: The longest pause of a lane whose claims lapse before they can be used.
LONGEST_PAUSE_SECONDS = 4.0
LOCKED_SECONDS = 0.5

_SKIPPED = {"opted_out": "the recipient opted out", "no_device": "the device was deleted"}


class Lane:
    """Holds entries by priority and sends them; what it cannot hold it leaves to the parking lot.

    `holds(device, seconds)` is told when an answer concerns the whole device.
    """

    def __init__(
        self,
        device: DeviceRow,
        driver: Driver,
        *,
        claims: Claims,
        lot: ParkingLot,
        recorder: Recorder,
        holds: Callable[[int, float], None],
    ) -> None:
        self.device = device
        self.spilled = False
        self._driver = driver
        self._claims = claims
        self._lot = lot
        self._recorder = recorder
        self._holds = holds
        self._limits = Limits(device.per_second, device.per_minute)
        self._pacer = Pacer(self._limits, time.monotonic())
        self._waiting: tuple[deque[Entry], ...] = (deque(), deque(), deque())
        self._ids: set[int] = set()
        self._packs: list[Pack] = []
        self._in_flight = 0
        # Batches in a row that were claimed and not called.
        self._lapsed = 0
        self._landed = asyncio.Event()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._stopping = False
        self._outcomes = Outcomes(recorder, claims, self._ids)

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    @property
    def in_flight(self) -> int:
        """Messages claimed and without outcome."""
        return self._in_flight

    @property
    def capacity(self) -> int:
        """How many messages the lane may hold."""
        rate = self._limits.rate()
        return LANE_LIMIT if rate is None else max(1, min(LANE_LIMIT, int(rate * LANE_SECONDS)))

    @property
    def room(self) -> int:
        """How many more it takes now; none while its device may not send."""
        if self._stopping or not self.device.open:
            return 0
        return max(0, self.capacity - len(self))

    def update(self, device: DeviceRow) -> None:
        """Take over a changed device; new limits start as if just used up."""
        limits = Limits(device.per_second, device.per_minute)
        if limits != self._limits:
            self._limits = limits
            # Calls planned under the old ones may still go out while their claims are good.
            self._pacer = Pacer(limits, time.monotonic() + CLAIM_SECONDS)
        self.device = device
        self._go_on()

    def add(self, entries: Sequence[Entry]) -> list[Entry]:
        """Take what there is room for; answers the rest, which the caller parks.

        A message that is already here, as a command was delivered twice, is parked as well: its
        first command is not this lane's to ack any more, and the claim drops the parked row.
        """
        room = self.room if self._takes(entries) else 0
        rest = []
        for entry in entries:
            if entry.message_id not in self._ids and room > 0:
                room -= 1
                self._ids.add(entry.message_id)
                self._waiting[entry.priority].append(entry)
            else:
                rest.append(entry)
        self._go_on()
        return rest

    def _takes(self, entries: Sequence[Entry]) -> bool:
        """Whether the command of these entries may be kept; parked ones have none."""
        pack = entries[0].pack if entries else None
        if pack is None or not self.room:
            return pack is None
        if len(self._packs) >= PACKS_LIMIT:
            self._packs = [kept for kept in self._packs if kept.open]
        if len(self._packs) >= PACKS_LIMIT:
            return False
        self._packs.append(pack)
        return True

    def _go_on(self) -> None:
        if len(self) and self._loop is None and self.device.open and not self._stopping:
            self._loop = asyncio.create_task(self._run(), name=f"lane:{self.device.id}")

    def knows(self, message_id: int) -> bool:
        """Whether the message is in the lane or in flight."""
        return message_id in self._ids

    def take_all(self) -> list[Entry]:
        """Empty the lane of what is not claimed yet."""
        entries = [entry for waiting in self._waiting for entry in waiting]
        for waiting in self._waiting:
            waiting.clear()
        self._ids.difference_update(entry.message_id for entry in entries)
        return entries

    def restore(self, entries: Sequence[Entry]) -> None:
        """Put back what `take_all` took, in its place."""
        self._put_back(entries)
        self._ids.update(entry.message_id for entry in entries)
        self._go_on()

    async def stop(self, *, grace_seconds: float) -> list[Entry]:
        """Claim no more and let calls in flight finish; answers what was never claimed."""
        self._stopping = True
        deadline = time.monotonic() + grace_seconds
        entries = self.take_all()
        if self._loop is not None:
            await asyncio.wait([self._loop], timeout=grace_seconds)
        if self._deliveries:
            left = max(0.0, deadline - time.monotonic())
            _, late = await asyncio.wait(self._deliveries, timeout=left)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        # The outcomes of this turn of the loop are put in its next one.
        await asyncio.sleep(0)
        return entries + self.take_all()

    async def _run(self) -> None:
        try:
            while len(self) and not self._stopping and self.device.open:
                try:
                    await self._round()
                except Exception:
                    log.exception("lane_round_failed", device_id=self.device.id)
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._loop = None

    async def _round(self) -> None:
        """Wait until the next slot is near, claim what fits before it, send it in its slots."""
        if self._recorder.full:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        while self._in_flight >= IN_FLIGHT_LIMIT:
            self._landed.clear()
            await self._landed.wait()
        ahead = self._pacer.next_at() - time.monotonic() - CLAIM_AHEAD_SECONDS
        if ahead > 0:
            # In short steps, so that a stop, a pause or new limits are seen soon.
            await asyncio.sleep(min(ahead, PAUSE_SECONDS))
            return
        if self._lapsed:
            # A database or a processor this slow is not helped by claiming more.
            pause = PAUSE_SECONDS * 2.0 ** min(self._lapsed, 8)
            await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        entries = self._pop(self._slots_near())
        try:
            answers = await self._claims.take(
                [entry.message_id for entry in entries], self.device.shard
            )
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("claim_failed", device_id=self.device.id, error=type(error).__name__)
            self._put_back(entries)
            await asyncio.sleep(PAUSE_SECONDS)
            return
        except Exception:
            self._put_back(entries)
            raise
        await self._use(entries, answers)

    def _slots_near(self) -> int:
        """How many slots open before the reach of one claim."""
        if self._lapsed:
            return 1
        most = min(self._driver.batch_limit, IN_FLIGHT_LIMIT - self._in_flight)
        rate = self._limits.rate()
        return most if rate is None else max(1, min(most, int(rate * CLAIM_AHEAD_SECONDS)))

    def _pop(self, count: int) -> list[Entry]:
        entries: list[Entry] = []
        for waiting in self._waiting:
            while waiting and len(entries) < count:
                entries.append(waiting.popleft())
        return entries

    def _put_back(self, entries: Sequence[Entry]) -> None:
        for entry in reversed(entries):
            self._waiting[entry.priority].appendleft(entry)

    async def _use(self, entries: Sequence[Entry], answers: Sequence[Claimed | str]) -> None:
        planned, locked, gone = [], [], []
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Claimed):
                slot, at = self._pacer.plan(time.monotonic())
                planned.append(Planned(entry, answer, self._pacer, slot, at))
            elif answer == "locked":
                locked.append(entry)
            elif answer == "gone":
                gone.append(entry)
            else:
                self._refused(entry, answer)
        if planned:
            self._in_flight += len(planned)
            task = asyncio.create_task(self._deliver(planned), name=f"deliver:{self.device.id}")
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)
        await self._leave(locked, gone)

    def _refused(self, entry: Entry, verdict: str) -> None:
        """A row the claim held and did not take: finished here, or parked by the claim itself."""
        if verdict == "expired":
            self._finish(entry, Status.EXPIRED, "expired", "its time passed before it was sent")
        elif verdict in _SKIPPED:
            self._finish(entry, Status.SKIPPED, verdict, _SKIPPED[verdict])
        else:
            self._ids.discard(entry.message_id)
            entry.settle()

    def _finish(self, entry: Entry, status: Status, code: str, detail: str) -> None:
        change = Change(
            entry.message_id, 0, status, datetime.now(UTC), error_code=code, error_detail=detail
        )
        self._outcomes.add(change, entry)

    async def _leave(self, locked: list[Entry], gone: list[Entry]) -> None:
        self._ids.difference_update(entry.message_id for entry in (*locked, *gone))
        try:
            await self._lot.park(locked, reason="behind", after_seconds=LOCKED_SECONDS)
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("park_failed", device_id=self.device.id, error=type(error).__name__)
            self._put_back(locked)
            self._ids.update(entry.message_id for entry in locked)
        try:
            # Left there, they only come by once more.
            unpark = [entry.message_id for entry in gone if entry.pack is None]
            if unpark:
                await self._lot.forget(unpark)
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("unpark_failed", device_id=self.device.id, error=type(error).__name__)
        for entry in gone:
            entry.settle()

    async def _deliver(self, planned: list[Planned]) -> None:
        """Hand each message to the driver at its slot, those of one instant together."""
        batches = []
        start = 0
        for end in range(1, len(planned) + 1):
            if end == len(planned) or planned[end].at - planned[start].at > TOGETHER_SECONDS:
                batches.append(planned[start:end])
                start = end
        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(self._call(batch), name=f"call:{self.device.id}")

    async def _call(self, batch: list[Planned]) -> None:
        attempt = Attempt(batch, batch[0].pacer, self.device.driver, self._landed_one)
        try:
            # A timer may fire a little early, and begin would refuse.
            while (delay := batch[-1].at - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(delay)
            await call(self._driver, self.device.id, batch, attempt)
        except Exception as error:  # noqa: BLE001 - a driver may raise anything
            log.error("driver_raised", driver=self.device.driver, error=type(error).__name__)
        finally:
            begun, never = attempt.leftovers()
            for plan in begun:
                self._landed_one(plan, Unconfirmed("no_answer"))
            self._return(never)

    def _landed_one(self, plan: Planned, outcome: Outcome) -> None:
        self._lapsed = 0
        change, hold_seconds = change_after(plan, outcome)
        if hold_seconds is not None:
            self._holds(self.device.id, hold_seconds)
        self._done_with(plan)
        self._outcomes.add(change, plan.entry)

    def _return(self, plans: Sequence[Planned]) -> None:
        """Claimed and never called: back to waiting, parked so that nothing forgets it."""
        if plans:
            self._lapsed += 1
            metrics.LAPSED.inc(len(plans))
        for plan in plans:
            claimed = plan.claimed
            now = datetime.now(UTC)
            change = Change(
                claimed.message_id,
                claimed.attempt,
                Status.QUEUED,
                now,
                not_before=now,
                reason="behind",
            )
            self._done_with(plan)
            self._outcomes.add(change, plan.entry)

    def _done_with(self, plan: Planned) -> None:
        self._in_flight -= 1
        self._landed.set()
        self._outcomes.reported(plan.claimed.claim)
