"""A lane: the few messages of one device that are next, sent at the device's pace."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from drivers.driver import Driver
from service.core.lifecycle import Change, Status
from service.core.pacing import Limits, Pacer
from service.core.throttle import Throttle
from service.dispatch.attempt import Planned
from service.dispatch.backlog import Backlog
from service.dispatch.calls import Calls
from service.dispatch.claims import Answer, Claimed, Claims, Wait
from service.dispatch.holds import DeviceHolds
from service.dispatch.outcomes import Outcomes
from service.dispatch.packs import Entry, Key
from service.dispatch.parking import ParkingLot
from service.record.recorder import Recorder
from service.store.claims import DeviceRow
from service.store.pool import CONFLICTS, UNAVAILABLE

log = structlog.get_logger(__name__)

#: A lane holds this much of its device's time, and never more than so many messages.
LANE_SECONDS = 60.0
LANE_LIMIT = 2000
#: One that holds less than it sends in so long has to be filled.
LOW_SECONDS = 2.0
#: Claims are made at most this long before their slot.
CLAIM_AHEAD_SECONDS = 0.05
#: From a device of so few calls a second nothing is taken by a claim that is earlier: at least so
#: long before, and in rounds, so that the claims of many such devices share a statement.
SLOW_RATE = 1.0
SLOW_AHEAD_SECONDS = 0.1
ROUND_SECONDS = 0.05
#: After a claim could not be made, or too much is unwritten.
PAUSE_SECONDS = 0.25
#: A slot is waited for in steps, as that of a slowed device comes nearer while its rate grows back.
STEP_SECONDS = 1.0
#: The longest pause of a lane whose claims lapse before they can be used.
LONGEST_PAUSE_SECONDS = 4.0
LOCKED_SECONDS = 0.5
#: A lane that could send and has not for so long is shown as stalled.
STALLED_SECONDS = 30.0

_SKIPPED = {"opted_out": "the recipient opted out", "no_device": "the device was deleted"}


class Lane:
    """Sends what it holds at the device's pace; what it cannot hold it leaves to the parking lot.

    Nobody else has called for the device `since` then (monotonic). `holds` is told what concerns
    the whole device, `spilled` which flows have messages that were parked for want of room, and
    when (monotonic).
    """

    def __init__(
        self,
        device: DeviceRow,
        driver: Driver,
        *,
        claims: Claims,
        lot: ParkingLot,
        recorder: Recorder,
        holds: DeviceHolds,
        since: float,
        spilled: dict[Key, float],
    ) -> None:
        self.device = device
        # When its device was last closed no more, and when it last had nothing or sent something.
        self._opened_at = self._moved_at = -math.inf
        self._claims = claims
        self._lot = lot
        self._recorder = recorder
        throttle = Throttle(time.monotonic() + device.slow_seconds)
        self._pacer = Pacer(device.limits, since, throttle=throttle)
        self._holds = holds
        self._spilled = spilled
        self._backlog = Backlog()
        self._outcomes = Outcomes(recorder.put, self._backlog.ids, claims.closed, self._returned)
        self._calls = Calls(device, driver, self._outcomes, holds)
        self._loop: asyncio.Task[None] | None = None
        # Set when the loop, which may be waiting for a slot, has to look again.
        self._stirred = asyncio.Event()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._backlog)

    @property
    def in_flight(self) -> int:
        """Messages claimed and without outcome."""
        return self._calls.in_flight

    @property
    def capacity(self) -> int:
        """How many messages of one priority the lane may hold."""
        rate = self._pacer.rate(time.monotonic())
        return LANE_LIMIT if rate is None else max(1, min(LANE_LIMIT, int(rate * LANE_SECONDS)))

    @property
    def hungry(self) -> bool:
        """Whether it runs low."""
        rate = self._pacer.rate(time.monotonic())
        soon = LANE_LIMIT if rate is None else int(rate * LOW_SECONDS)
        return len(self) <= min(self.capacity // 2, soon)

    def sated(self) -> list[Key]:
        """The flows that need nothing more now."""
        return self._backlog.sated(self.capacity)

    def update(self, device: DeviceRow) -> None:
        """Take over a changed device."""
        self._keep_to(device.limits)
        if device.open and not self.device.open:
            self._opened_at = time.monotonic()
        if not device.open:
            self._stirred.set()
        self.device = device
        self._go_on()

    def stalled(self, now: float) -> bool:
        """Whether it has sent nothing for long, although it has something and its device may."""
        free_at = max(self._pacer.next_at(now), self._opened_at, self._moved_at)
        return len(self) > 0 and self.device.open and now - free_at > STALLED_SECONDS

    def _keep_to(self, limits: Limits) -> None:
        if limits != self._pacer.limits:
            self._pacer.change(limits)
            self._stirred.set()

    def add(self, entries: Sequence[Entry]) -> list[Entry]:
        """Take what there is room for; answers the rest, which the caller parks."""
        if self._stopping or not self.device.open:
            return list(entries)
        if not len(self):
            self._moved_at = time.monotonic()
        rest = self._backlog.add(entries, self.capacity)
        self._spilled |= dict.fromkeys((entry.key for entry in rest), time.monotonic())
        self._go_on()
        return rest

    def _go_on(self) -> None:
        if len(self) and self._loop is None and self.device.open and not self._stopping:
            self._loop = asyncio.create_task(self._run(), name=f"lane:{self.device.id}")

    def knows(self, message_id: int) -> bool:
        """Whether the message is in the lane or in flight."""
        return message_id in self._backlog.ids

    def take_all(self) -> list[Entry]:
        """Empty the lane of what is not claimed yet."""
        return self._backlog.take_all()

    def restore(self, entries: Sequence[Entry]) -> None:
        """Put back what `take_all` took, in its place."""
        self._backlog.put_back(entries)
        self._go_on()

    def _returned(self, entries: Sequence[Entry]) -> None:
        """Claimed and not called: next again, unless they have to wait where they are parked."""
        if self.device.open and not self._stopping:
            self.restore([entry for entry in entries if not self.knows(entry.message_id)])

    async def give_excess(self) -> None:
        """Park what a lower rate leaves no room for; keeps it when that raises."""
        entries = self._backlog.take_excess(self.capacity)
        if not entries:
            return
        try:
            await self._lot.park(entries, reason="behind")
        except BaseException:
            self._backlog.return_excess(entries)
            raise
        self._spilled |= dict.fromkeys((entry.key for entry in entries), time.monotonic())

    async def stop(self, *, grace_seconds: float) -> list[Entry]:
        """Claim no more and let calls in flight finish; answers what was never claimed."""
        self._stopping = True
        self._stirred.set()
        deadline = time.monotonic() + grace_seconds
        entries = self.take_all()
        if self._loop is not None:
            await asyncio.wait([self._loop], timeout=grace_seconds)
        await self._calls.finish(within_seconds=max(0.0, deadline - time.monotonic()))
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
        await self._calls.room_made()
        now = time.monotonic()
        wait_seconds = self._claim_at(now) - now
        if wait_seconds > 0:
            await self._stir(within_seconds=min(wait_seconds, STEP_SECONDS))
            return
        if self._calls.lapsed:
            # A database or a processor this slow is not helped by claiming more.
            pause = PAUSE_SECONDS * 2.0 ** min(self._calls.lapsed, 8)
            await asyncio.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        entries = self._backlog.pop(self._slots_near())
        if not entries:
            return  # put aside while the slot was waited for
        try:
            answers = await self._claims.take(
                [entry.message_id for entry in entries], self.device.shard
            )
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("claim_failed", device_id=self.device.id, error=type(error).__name__)
            self._backlog.put_back(entries)
            await asyncio.sleep(PAUSE_SECONDS)
            return
        except Exception:
            self._backlog.put_back(entries)
            raise
        await self._use(entries, answers)

    async def _stir(self, *, within_seconds: float) -> None:
        """Wait so long, or until a stop, a pause or new limits."""
        self._stirred.clear()
        timer = asyncio.get_running_loop().call_later(within_seconds, self._stirred.set)
        try:
            await self._stirred.wait()
        finally:
            timer.cancel()

    def _claim_at(self, now: float) -> float:
        """When to claim for the next slot (monotonic)."""
        slot = self._pacer.next_at(now)
        rate = self._pacer.rate(now)
        if rate is None or rate > SLOW_RATE:
            return slot - CLAIM_AHEAD_SECONDS
        at = slot - SLOW_AHEAD_SECONDS
        return at - at % ROUND_SECONDS

    def _slots_near(self) -> int:
        """How many slots open before the reach of one claim."""
        if self._calls.lapsed:
            return 1
        most = self._calls.room
        rate = self._pacer.rate(time.monotonic())
        return most if rate is None else max(1, min(most, int(rate * CLAIM_AHEAD_SECONDS)))

    async def _use(self, entries: Sequence[Entry], answers: Sequence[Answer]) -> None:
        planned, locked, gone = [], [], []
        waits = [answer for answer in answers if isinstance(answer, Wait)]
        if waits:
            self._holds.wait(self.device.id, max(waits, key=lambda wait: wait.seconds))
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Claimed):
                # As they were when it was claimed: limits hold from their commit on.
                self._keep_to(answer.limits)
                now = time.monotonic()
                free_at = max(self._pacer.next_at(now), self._opened_at)
                slot, at = self._pacer.plan(now)
                planned.append(Planned(entry, answer, self._pacer, slot, at, free_at))
            elif answer == "locked":
                locked.append(entry)
            elif answer == "gone":
                gone.append(entry)
            else:
                self._refused(entry, answer.reason if isinstance(answer, Wait) else answer)
        if planned:
            self._moved_at = time.monotonic()
            self._calls.begin(planned)
        await self._leave(locked, gone)

    def _refused(self, entry: Entry, verdict: str) -> None:
        """A row the claim held and did not take: finished here, or parked by the claim itself."""
        if verdict == "expired":
            self._finish(entry, Status.EXPIRED, "expired", "its time passed before it was sent")
        elif verdict in _SKIPPED:
            self._finish(entry, Status.SKIPPED, verdict, _SKIPPED[verdict])
        elif verdict == "cancelled":
            self._finish(entry, Status.CANCELLED)
        else:
            self._backlog.forget([entry])
            entry.settle()

    def _finish(
        self, entry: Entry, status: Status, code: str | None = None, detail: str | None = None
    ) -> None:
        change = Change(
            entry.message_id, 0, status, datetime.now(UTC), error_code=code, error_detail=detail
        )
        self._outcomes.add(change, entry)

    async def _leave(self, locked: list[Entry], gone: list[Entry]) -> None:
        self._backlog.forget([*locked, *gone])
        try:
            await self._lot.park(locked, reason="behind", after_seconds=LOCKED_SECONDS)
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("park_failed", device_id=self.device.id, error=type(error).__name__)
            self._backlog.put_back(locked)
        try:
            # Left there, they only come by once more.
            unpark = [entry.message_id for entry in gone if entry.pack is None]
            if unpark:
                await self._lot.forget(unpark)
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("unpark_failed", device_id=self.device.id, error=type(error).__name__)
        for entry in gone:
            entry.settle()
