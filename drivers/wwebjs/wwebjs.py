"""The driver of linked devices: hands texts to the bridge, hears what becomes of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

import structlog

from drivers.driver import (
    Failed,
    Host,
    Outcome,
    Report,
    Send,
    Sent,
    Standing,
    Unconfirmed,
)
from drivers.guarded import NoAnswer, NotSent
from drivers.wwebjs.answers import MEDIA_NOT_SENT, NO_ANSWER, NO_NEW_CHATS, outcome_of
from drivers.wwebjs.calls import Answer, Calls
from drivers.wwebjs.events import Events
from drivers.wwebjs.links import Links
from drivers.wwebjs.memory import Memory
from drivers.wwebjs.names import Names

log = structlog.get_logger(__name__)

#: Sends of one device in flight: the bridge makes one after the other and lets four wait.
AT_ONCE_LIMIT = 2
#: New chats that WhatsApp refuses in a row before the device opens no more.
REFUSALS_LIMIT = 3
CLOSE_SECONDS = 3.0


class Wwebjs:
    """Sends through the bridge, under ids that make a repeated send one message."""

    repeats = True
    batch_limit = 1
    in_flight_limit = 500

    def __init__(self) -> None:
        self._rooms: defaultdict[int, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(AT_ONCE_LIMIT)
        )
        self._refusals: defaultdict[int, int] = defaultdict(int)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self, host: Host) -> None:
        """Nothing is waited for: a bridge that is away is looked for again."""
        self._host = host
        self._names = Names(host.secret)
        self._memory = Memory(host.pool)
        self._calls = Calls(host.settings["bridge"], host.settings.get("token_file", ""))
        self._links = Links(host, self._calls, self._memory, self._names)
        events = Events(host, self._calls, self._memory, self._names, self._links)
        self._tasks = [asyncio.create_task(events.run(), name="wwebjs:events")]

    async def send(self, batch: Sequence[Send], report: Report) -> None:
        """Call for each message by itself, a few at a time."""
        if self._closing:
            return
        device_id = batch[0].device_id
        await self._memory.keep(
            device_id,
            [self._names.wa_id(device_id, send.message_id) for send in batch],
            [send.message_id for send in batch],
            [send.attempt for send in batch],
        )
        strangers = await self._memory.strangers(device_id, list({each.phone for each in batch}))
        tasks = []
        for send in batch:
            refusal = NO_NEW_CHATS if send.phone in strangers else None
            if (send.options or {}).get("media"):
                refusal = MEDIA_NOT_SENT
            if refusal is not None:
                if report.begin(send):
                    report.done(send, refusal)
            else:
                sending = self._send_one(send, report)
                tasks.append(asyncio.create_task(sending, name="wwebjs:send"))
        self._in_flight.update(tasks)
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            self._in_flight.difference_update(tasks)

    async def _send_one(self, send: Send, report: Report) -> None:
        wa_id = self._names.wa_id(send.device_id, send.message_id)
        body = {
            "id": self._names.message(send.message_id),
            "epoch": send.epoch,
            "to": send.phone,
            "text": send.body,
        }
        path = f"/v1/devices/{self._names.device(send.device_id)}/messages"
        async with self._rooms[send.device_id]:
            if self._closing:
                return
            try:
                answer = await self._calls.send(
                    path, body, lambda: report.begin(send), lambda: report.made([send])
                )
            except NotSent:
                return
            except NoAnswer as error:
                log.warning("bridge_no_answer", message_id=send.message_id, error=str(error))
                outcome: Outcome = NO_ANSWER
            else:
                outcome = outcome_of(answer, wa_id)
                await self._heed(send.device_id, answer, outcome)
        if isinstance(outcome, Sent | Unconfirmed):
            await self._note(wa_id, is_open=isinstance(outcome, Unconfirmed))
        report.done(send, outcome)

    async def _note(self, wa_id: str, *, is_open: bool) -> None:
        try:
            await self._memory.taken(wa_id, is_open=is_open)
        except Exception as error:  # noqa: BLE001 - an event tells of it all the same
            log.warning("wwebjs_memory_away", error=type(error).__name__)

    async def _heed(self, device_id: int, answer: Answer, outcome: Outcome) -> None:
        """Draw from an answer what it says of the device."""
        if answer.code in ("device_not_ready", "unknown_device"):
            await _tried(self._links.wake(device_id))
            await _tried(self._links.tell([device_id]))
        if not answer.body.get("new_chat"):
            return
        refused = isinstance(outcome, Failed) and outcome.code == "refused"
        self._refusals[device_id] = self._refusals[device_id] + 1 if refused else 0
        if self._refusals[device_id] >= REFUSALS_LIMIT:
            self._refusals[device_id] = 0
            log.error("device_opens_no_new_chats", device_id=device_id)
            said = Standing(device_id, datetime.now(UTC), quality="no_new_chats")
            await _tried(self._memory.lock(device_id))
            await _tried(self._host.call_back([said]))

    async def close(self) -> None:
        """Wait a moment for answers; what is still open then is asked for by whoever comes next."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        waiting = [*self._tasks, *self._in_flight]
        if waiting:
            await asyncio.wait(waiting, timeout=CLOSE_SECONDS)
        await self._calls.close()


async def _tried(doing: Awaitable[object]) -> None:
    try:
        await doing
    except Exception as error:  # noqa: BLE001 - it is told again with the next answer
        log.warning("wwebjs_untold", error=type(error).__name__)
