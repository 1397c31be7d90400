"""An in-process WhatsApp: answers by the script of each number, calls back, forgets nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import structlog

from drivers.driver import Called, Host, Outcome, Report, Send, Unconfirmed
from drivers.simulator import memory
from drivers.simulator.reception import Reception

log = structlog.get_logger(__name__)

#: Between looks for callbacks that are due, and after they could not be handed over.
PAY_SECONDS = 0.05
RETRY_SECONDS = 0.5
FORGET_SECONDS = 600.0
#: The other side may take so long for callbacks; below memory.PAYING_SECONDS.
CALL_BACK_SECONDS = 10.0
#: What is broken off may take so long to end.
BREAK_OFF_SECONDS = 1.0


class Simulator:
    """The `simulator` driver; its settings are `dedupe` (on) and `latency_ms` (0)."""

    batch_limit = 200
    in_flight_limit = 500

    def __init__(self) -> None:
        self.repeats = True
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        #: until when the other side may take what is being handed over
        self._deadline: asyncio.Timeout | None = None

    async def start(self, host: Host) -> None:
        """Begin to pay the callbacks owed, also those from before a restart."""
        self._host = host
        self.repeats = host.settings.get("dedupe", "on") == "on"
        self._latency_seconds = int(host.settings.get("latency_ms", "0")) / 1000.0
        self._reception = Reception(host.pool, repeats=self.repeats)
        self._tasks = [
            asyncio.create_task(self._pay_for_ever(), name="simulator:pay"),
            asyncio.create_task(self._forget_for_ever(), name="simulator:forget"),
        ]

    async def send(self, batch: Sequence[Send], report: Report) -> None:
        """Hand the calls over, then report each answer when its time has come."""
        by_delay: dict[float, list[tuple[Send, Outcome]]] = defaultdict(list)
        for send, answer in await self._reception.take(batch, report):
            delay = self._latency_seconds + answer.after_seconds
            by_delay[delay].append((send, answer.outcome))
        waited = 0.0
        for delay in sorted(by_delay):
            cut_off = await self._closed_within(delay - waited)
            waited = delay
            for send, outcome in by_delay[delay]:
                report.done(send, Unconfirmed("no_answer") if cut_off else outcome)

    async def close(self) -> None:
        """Stop; what is owed stays owed, and who waits for a slow answer is told there is none."""
        self._closing.set()
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(0)
        if self._tasks:
            await self._reception.close()
            # Not cancelled first: what a process took from what is owed it gives back.
            _, left = await asyncio.wait(self._tasks, timeout=BREAK_OFF_SECONDS)
            for task in left:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=BREAK_OFF_SECONDS)

    async def _closed_within(self, seconds: float) -> bool:
        """Wait this long, or until the driver closes: whether it did."""
        if seconds <= 0:
            return False
        try:
            async with asyncio.timeout(seconds):
                return await self._closing.wait()
        except TimeoutError:
            return False

    async def _pay_for_ever(self) -> None:
        while not self._closing.is_set():
            try:
                more = await memory.pay(self._host.pool, self._hand_over)
            except Exception as error:  # noqa: BLE001 - whoever did not take them, they stay owed
                # By its name alone: what it says may quote a callback.
                log.warning("simulator_pay_failed", error=type(error).__name__)
                await self._closed_within(RETRY_SECONDS)
            else:
                if not more:
                    await self._closed_within(PAY_SECONDS)

    async def _hand_over(self, called: Sequence[Called]) -> None:
        """Raises TimeoutError when the other side takes too long, or the driver closes."""
        seconds = 0.0 if self._closing.is_set() else CALL_BACK_SECONDS
        try:
            async with asyncio.timeout(seconds) as self._deadline:
                await self._host.call_back(called)
        finally:
            self._deadline = None

    async def _forget_for_ever(self) -> None:
        while not self._closing.is_set():
            try:
                more = await memory.forget(self._host.pool)
            except Exception as error:  # noqa: BLE001 - what is not forgotten now is later
                log.warning("simulator_forget_failed", error=type(error).__name__)
                more = False
            await self._closed_within(RETRY_SECONDS if more else FORGET_SECONDS)
