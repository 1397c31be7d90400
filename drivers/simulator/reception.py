"""Where calls arrive: those that come while a transaction is in flight share the next one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from drivers.driver import Report, Retry, Scope, Send, Unconfirmed
from drivers.simulator import memory
from drivers.simulator.answers import Answer, Known, answer, owed

log = structlog.get_logger(__name__)

#: Messages of one transaction, give or take a batch.
GROUP_LIMIT = 1000
#: A transaction in flight may take so long when the driver closes, and so long to break off.
CLOSE_SECONDS = 2.0
BREAK_OFF_SECONDS = 1.0

_STALE = Answer(Retry("stale_epoch", 0.0, counts=False))
_BUSY = Answer(Retry("device_busy", 0.5, Scope.DEVICE, counts=False))
_UNHEARD_OF = Known()
_NO_ANSWER = Answer(Unconfirmed("no_answer"))

Answered = list[tuple[Send, Answer]]


@dataclass(slots=True)
class _Arrival:
    """One batch, from the time it is sent to that of its answers."""

    batch: Sequence[Send]
    report: Report
    answered: asyncio.Future[Answered]
    #: the calls that were made, each with its time
    begun: list[tuple[Send, float]] | None = None

    def begin(self) -> list[tuple[Send, float]]:
        """Make the calls, once."""
        if self.begun is None:
            self.begun = []
            if not self.answered.done():  # else its caller has gone away, and sends it anew
                begin, now = self.report.begin, time.monotonic
                self.begun = [(send, now()) for send in self.batch if begin(send)]
                self.report.made([send for send, _ in self.begun])
        return self.begun

    def land(self, answers: Iterator[Answer]) -> None:
        """Give each call the next answer, or none where they end."""
        answered = [(send, next(answers, _NO_ANSWER)) for send, _ in self.begun or ()]
        if not self.answered.done():
            self.answered.set_result(answered)


class Reception:
    """Takes the calls of one process to the memory they all share."""

    def __init__(self, pool: Any, *, repeats: bool) -> None:
        self._pool = pool
        self._repeats = repeats
        self._waiting: deque[_Arrival] = deque()
        self._news = asyncio.Event()
        # Whether a connection is: then a call is made as soon as it comes.
        self._at_hand = False
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="simulator:receive")

    async def take(self, batch: Sequence[Send], report: Report) -> Answered:
        """The answer to each message of the batch that was begun."""
        if self._closing:
            return []
        arrival = _Arrival(batch, report, asyncio.get_running_loop().create_future())
        if self._at_hand:
            # Not when its turn comes: a device is as late as it was called.
            arrival.begin()
        self._waiting.append(arrival)
        self._news.set()
        return await arrival.answered

    async def close(self) -> None:
        """Take no more; what was begun is answered, for a bounded time."""
        self._closing = True
        self._news.set()
        _, late = await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
        if late:
            self._task.cancel()
            await asyncio.wait(late, timeout=BREAK_OFF_SECONDS)
        self._land_all()

    async def _run(self) -> None:
        while not self._closing:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            try:
                async with memory.connection(self._pool) as connection:
                    await self._receive(connection)
            except Exception as error:  # noqa: BLE001 - whatever it was, calls may have arrived
                log.warning("simulator_out_of_reach", error=type(error).__name__)
                self._land_all()

    async def _receive(self, connection: Any) -> None:
        """Take what waits and what comes meanwhile, a group in each transaction."""
        self._at_hand = True
        try:
            while arrivals := self._next():
                answers: list[Answer] = []
                try:
                    answers = await self._answers(connection, arrivals)
                finally:
                    rest = iter(answers)
                    for arrival in arrivals:
                        arrival.land(rest)
        finally:
            self._at_hand = False

    def _land_all(self) -> None:
        while self._waiting:
            self._waiting.popleft().land(iter(()))

    def _next(self) -> list[_Arrival]:
        arrivals = []
        size = 0
        while self._waiting and size < GROUP_LIMIT:
            arrivals.append(self._waiting.popleft())
            size += len(arrivals[-1].batch)
        return arrivals

    async def _answers(self, connection: Any, arrivals: Sequence[_Arrival]) -> list[Answer]:
        """The answers to all calls that were begun, in their order, once they are remembered."""
        # The connection is at hand: between this and the first statement there is no await.
        begun = [call for arrival in arrivals for call in arrival.begin()]
        if not begun:
            return []
        async with connection.transaction():
            epochs: dict[int, int] = {}
            for send, _ in begun:
                epochs[send.device_id] = max(send.epoch, epochs.get(send.device_id, send.epoch))
            met = await memory.hold_devices(connection, epochs)
            known = await memory.known(connection, [send.message_id for send, _ in begun])
            answers = [self._answer(send, met.get(send.device_id), known) for send, _ in begun]
            calls = [
                (send, called_at, given)
                for (send, called_at), given in zip(begun, answers, strict=True)
                if given is not _STALE and given is not _BUSY
            ]
            accepted = [send for send, _, given in calls if given.accepted]
            await memory.keep(connection, calls, owed(accepted, datetime.now(UTC)))
        return answers

    def _answer(self, send: Send, epoch: int | None, known: dict[int, Known]) -> Answer:
        """The answer to one call, after which its message is known."""
        if epoch is None:
            return _BUSY
        if send.epoch < epoch:
            return _STALE
        before = known.get(send.message_id, _UNHEARD_OF)
        given = answer(send, before, repeats=self._repeats)
        attempt = send.attempt if before.attempt is None and given.accepted else before.attempt
        known[send.message_id] = Known(before.calls + 1, attempt)
        return given
