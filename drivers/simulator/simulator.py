"""An in-process WhatsApp: answers by the script of each number, calls back, forgets nothing."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from drivers.driver import (
    Callback,
    Failed,
    Host,
    Inbound,
    Report,
    Retry,
    Scope,
    Send,
    Sent,
    Unconfirmed,
)
from drivers.simulator.memory import Call, Earlier, Memory, Owed
from drivers.simulator.numbers import Script, script_for

log = structlog.get_logger(__name__)

THROTTLE_SECONDS = 1.0
#: Between looks for callbacks that are due.
PAY_SECONDS = 0.05
FORGET_SECONDS = 600.0
#: Callbacks of one instant and step travel together, up to so many.
OWED_PACK = 200


class Simulator:
    """The `simulator` driver.

    Settings: `dedupe` ("on" by default: the same message id sent again is still one message;
    "off" plays a driver that cannot repeat a send), `latency_ms` before each answer (0).
    """

    batch_limit = 200

    def __init__(self) -> None:
        self.repeats = True
        self._latency_seconds = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, host: Host) -> None:
        """Begin to pay the callbacks owed, also those from before a restart."""
        self._memory = Memory(host.pool)
        self._host = host
        self.repeats = host.settings.get("dedupe", "on") != "off"
        self._latency_seconds = float(host.settings.get("latency_ms", "0")) / 1000.0
        self._tasks = [
            asyncio.create_task(self._pay_for_ever(), name="simulator:pay"),
            asyncio.create_task(self._forget_for_ever(), name="simulator:forget"),
        ]

    async def send(self, batch: Sequence[Send], report: Report) -> None:
        """Count each call, then answer it; what is slow does not hold up the others."""
        begun = [(send, time.monotonic()) for send in batch if report.begin(send)]
        if not begun:
            return
        earlier: dict[int, Earlier] = {}

        def decide(known: dict[int, Earlier]) -> tuple[list[Call], list[tuple[datetime, Owed]]]:
            earlier.update(known)
            calls = [
                Call(send, _accepts(send, earlier.get(send.message_id)), at) for send, at in begun
            ]
            # With dedupe a message that was accepted before is answered, not sent again.
            fresh = [
                call.send
                for call in calls
                if call.accepted and not (self.repeats and _was_accepted(earlier, call.send))
            ]
            return calls, _owed(fresh, datetime.now(UTC))

        first = begun[0][0]
        ids = [send.message_id for send, _ in begun]
        current = await self._memory.receive(first.device_id, first.epoch, ids, decide)
        if not current:
            for send, _ in begun:
                report.done(send, Retry("stale_epoch", 0.0, counts=False))
            return
        await self._answer([send for send, _ in begun], earlier, report)

    async def close(self) -> None:
        """Stop; what is owed stays owed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(
        self, sends: Sequence[Send], earlier: dict[int, Earlier], report: Report
    ) -> None:
        by_delay: dict[float, list[Send]] = defaultdict(list)
        for send in sends:
            by_delay[script_for(send.phone).slow_seconds].append(send)
        if self._latency_seconds:
            await asyncio.sleep(self._latency_seconds)
        waited = 0.0
        for delay in sorted(by_delay):
            await asyncio.sleep(delay - waited)
            waited = delay
            for send in by_delay[delay]:
                report.done(send, _outcome(send, earlier.get(send.message_id)))

    async def _pay_for_ever(self) -> None:
        while True:
            paid = 0
            try:
                paid = await self._memory.pay(self._host.call_back)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("simulator_pay_failed", error=type(error).__name__)
            except Exception:
                # The other side did not take them: they stay owed.
                log.exception("simulator_call_back_failed")
            if not paid:
                await asyncio.sleep(PAY_SECONDS)

    async def _forget_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FORGET_SECONDS)
            try:
                await self._memory.forget_old_calls()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("simulator_forget_failed", error=type(error).__name__)


def _was_accepted(earlier: dict[int, Earlier], send: Send) -> bool:
    known = earlier.get(send.message_id)
    return known is not None and known.accepted


def _accepts(send: Send, known: Earlier | None) -> bool:
    script = script_for(send.phone)
    calls = known.calls if known is not None else 0
    return script.fails is None and calls >= script.throttled + script.errors


def _outcome(send: Send, known: Earlier | None) -> Sent | Retry | Failed | Unconfirmed:
    script = script_for(send.phone)
    calls = known.calls if known is not None else 0
    if script.fails is not None:
        return Failed(script.fails, "the number is not on WhatsApp")
    if script.silent:
        return Unconfirmed("no_answer")
    if calls < script.throttled:
        return Retry("throttled", THROTTLE_SECONDS, Scope.DEVICE, counts=False)
    if calls < script.throttled + script.errors:
        return Retry("passing_error")
    return Sent(_provider_id(send))


def _provider_id(send: Send) -> str:
    return f"sim.{send.message_id}.{send.attempt}"


def _owed(sends: Sequence[Send], now: datetime) -> list[tuple[datetime, Owed]]:
    """The callbacks of these, those of one moment packed together."""
    packs: dict[float, Owed] = {}
    done: list[tuple[datetime, Owed]] = []
    for send in sends:
        script = script_for(send.phone)
        for after, owed in _steps(send, script, now):
            pack = packs.setdefault(after, Owed([], []))
            pack.statuses.extend(owed.statuses)
            pack.inbound.extend(owed.inbound)
            if len(pack.statuses) >= OWED_PACK:
                done.append((now + timedelta(seconds=after), packs.pop(after)))
    return done + [(now + timedelta(seconds=after), pack) for after, pack in packs.items()]


def _steps(send: Send, script: Script, now: datetime) -> list[tuple[float, Owed]]:
    owed = []
    base = script.slow_seconds
    for step in script.steps:
        after = base + step.after_seconds
        callback = Callback(
            send.message_id,
            send.attempt,
            step.status,
            now + timedelta(seconds=after),
            _provider_id(send),
            step.error_code,
            step.error_detail,
        )
        owed.append((after, Owed([callback], [])))
    if script.answers is not None:
        after = base + 0.2 + max(step.after_seconds for step in script.steps)
        inbound = Inbound(
            send.device_id,
            send.phone,
            script.answers,
            f"in.{send.message_id}",
            now + timedelta(seconds=after),
        )
        owed.append((after, Owed([], [inbound])))
    return owed
