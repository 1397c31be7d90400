"""The driver calls of one device: each at its slot, and what comes of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from drivers.driver import Driver, Outcome, Retry, Unconfirmed
from service.core.circuit import Circuit
from service.core.lifecycle import Change, Status
from service.dispatch.attempt import Attempt, Planned, call, change_after
from service.dispatch.claims import CLAIM_SECONDS
from service.dispatch.holds import DeviceHolds
from service.dispatch.outcomes import Outcomes
from service.store.claims import DeviceRow
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Slots this close together go to the driver in one batch.
TOGETHER_SECONDS = 0.001


class Calls:
    """Hands claimed messages to the driver and puts their outcomes.

    `holds` is told when an answer concerns the whole device.
    """

    def __init__(
        self,
        device: DeviceRow,
        driver: Driver,
        outcomes: Outcomes,
        holds: DeviceHolds,
    ) -> None:
        self._device = device
        self._driver = driver
        self._outcomes = outcomes
        self._holds = holds
        self._circuit = Circuit()
        self.in_flight = 0
        #: batches in a row that were claimed and not called, though their slots were free
        self.lapsed = 0
        self._landed = asyncio.Event()
        self._deliveries: set[asyncio.Task[None]] = set()

    @property
    def room(self) -> int:
        """How many messages may be handed over at once now."""
        return min(self._driver.batch_limit, self._driver.in_flight_limit - self.in_flight)

    async def room_made(self) -> None:
        """Wait until there is room."""
        while self.in_flight >= self._driver.in_flight_limit:
            self._landed.clear()
            await self._landed.wait()

    def begin(self, planned: list[Planned]) -> None:
        """Make these calls at their slots, without waiting."""
        self.in_flight += len(planned)
        task = asyncio.create_task(self._deliver(planned), name=f"deliver:{self._device.id}")
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def finish(self, *, within_seconds: float) -> None:
        """Wait for the calls in flight, then cut them off; their outcomes have been put."""
        if self._deliveries:
            _, late = await asyncio.wait(self._deliveries, timeout=within_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        # The outcomes of this turn of the loop are put in its next one.
        await asyncio.sleep(0)

    async def _deliver(self, planned: list[Planned]) -> None:
        """Hand each message to the driver at its slot, those of one instant together."""
        batches = []
        start = 0
        for end in range(1, len(planned) + 1):
            if end == len(planned) or planned[end].at - planned[start].at > TOGETHER_SECONDS:
                batches.append(planned[start:end])
                start = end
        if len(batches) == 1:
            await self._call(batches[0])
            return
        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(self._call(batch), name=f"call:{self._device.id}")

    async def _call(self, batch: list[Planned]) -> None:
        attempt = Attempt(batch, batch[0].pacer, self._device.driver, self._landed_one)
        try:
            # A timer may fire a little early, and begin would refuse.
            while (delay := batch[-1].at - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(delay)
            await call(self._driver, self._device.id, batch, attempt)
        except Exception as error:  # noqa: BLE001 - a driver may raise anything
            log.error("driver_raised", driver=self._device.driver, error=type(error).__name__)
        finally:
            begun, never = attempt.leftovers()
            for plan in begun:
                self._landed_one(plan, Unconfirmed("no_answer"))
            # A device that was slowed down meanwhile has nothing to recover from.
            if any(map(attempt.lapsed, never)):
                self.lapsed += 1
            self._return(never)

    def _landed_one(self, plan: Planned, outcome: Outcome) -> None:
        self.lapsed = 0
        change, hold_seconds = change_after(plan, outcome)
        if hold_seconds is not None:
            self._holds.hold(self._device.id, hold_seconds)
        if isinstance(outcome, Unconfirmed):
            self._unanswered(plan)
        else:
            self._circuit.answered()
        if isinstance(outcome, Retry) and outcome.slows:
            self._slow_down(plan)
        self._landed_with(plan, change)

    def _unanswered(self, plan: Planned) -> None:
        """A device that looks connected and never answers is left alone, and reported."""
        # What was claimed before the last pause was under way already, whatever its slot.
        claimed_at = plan.claimed.good_until - CLAIM_SECONDS
        seconds = self._circuit.failed(claimed_at, time.monotonic())
        if seconds is not None:
            log.error("device_does_not_answer", device_id=self._device.id, seconds=seconds)
            metrics.UNANSWERED.labels(self._device.driver).inc()
            self._holds.hold(self._device.id, seconds)

    def _slow_down(self, plan: Planned) -> None:
        now, throttle = time.monotonic(), plan.pacer.throttle
        if plan.pacer.throttled(now, plan.slot):
            self._holds.slow(self._device.id, throttle.factor(now), throttle.full_at - now)

    def _return(self, plans: Sequence[Planned]) -> None:
        """Claimed and never called: back to waiting, parked so that nothing forgets it."""
        metrics.LAPSED.inc(len(plans))
        for plan in plans:
            claimed = plan.claimed
            # Without a time, which keeps its place in the order of its flow.
            change = Change(
                claimed.message_id,
                claimed.attempt,
                Status.QUEUED,
                datetime.now(UTC),
                reason="behind",
            )
            self._landed_with(plan, change)

    def _landed_with(self, plan: Planned, change: Change) -> None:
        self.in_flight -= 1
        self._landed.set()
        self._outcomes.add(change, plan.entry, plan.claimed.claim)
