"""What the bridge tells of devices and messages, from its stream to the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import structlog

from drivers.driver import Callback, Called, Host, Inbound
from drivers.guarded import NoAnswer
from drivers.wwebjs.calls import Calls
from drivers.wwebjs.doubt import REFUSED, Doubt
from drivers.wwebjs.links import Links
from drivers.wwebjs.memory import Memory
from drivers.wwebjs.names import Names
from service.core.lifecycle import Status
from service.telemetry import metrics

log = structlog.get_logger(__name__)

PROTOCOL = 1
#: Events handed over at once, and read ahead.
PACK_LIMIT = 100
READ_AHEAD_LIMIT = 1000
RETRY_SECONDS = 0.5
#: Between looks for whether it is one's turn to read.
READER_SECONDS = 1.0
SETTLE_SECONDS = 1.0
TIDY_SECONDS = 60.0
#: Facts remembered, as the bridge may tell them again.
FACTS_LIMIT = 10_000

_STATUS = {
    1: Status.SENT,
    2: Status.DELIVERED,
    3: Status.READ,
    4: Status.READ,
    -1: Status.FAILED,
}


class Events:
    """Reads the bridge's events, hands each fact over, and only then acknowledges it.

    Of all dispatchers one reads, and does what is to be done for the bridge as a whole.
    """

    def __init__(
        self, host: Host, calls: Calls, memory: Memory, names: Names, links: Links
    ) -> None:
        self._host = host
        self._calls = calls
        self._memory = memory
        self._names = names
        self._links = links
        self._doubt = Doubt(host, calls, memory, names)
        self._facts: dict[object, None] = {}
        #: whether it was said that the bridge is away
        self._away = False

    async def run(self) -> None:
        """For ever; a bridge that is away is looked for again."""
        while True:
            try:
                await self._read()
            except Exception as error:  # noqa: BLE001 - however long the database is away
                # By its name alone: what it says may quote an event.
                log.warning("wwebjs_interrupted", error=type(error).__name__)
            await asyncio.sleep(READER_SECONDS)

    async def _read(self) -> None:
        try:
            # Who cannot reach the bridge must not be the one to read it.
            await self._reach()
            async with self._memory.reader() as alone:
                if alone:
                    await self._follow()
        except NoAnswer as error:
            if not self._away and await self._memory.has_devices():
                log.warning("bridge_away", error=str(error))
                await self._say_away()

    async def _reach(self) -> None:
        answer = await self._calls.ask("GET", "/v1/health")
        if answer.status != 200:
            raise NoAnswer(f"status {answer.status}")
        if answer.body.get("protocol") != PROTOCOL:
            raise NoAnswer("it speaks another protocol")

    async def _say_away(self) -> None:
        """Unless another dispatcher reaches it."""
        async with self._memory.reader() as alone:
            if alone:
                await self._links.away()
        self._away = True

    async def _follow(self) -> None:
        """Returns never; raises NoAnswer when the stream ends."""
        lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue(READ_AHEAD_LIMIT)
        async with self._calls.lines("/v1/events") as told, asyncio.TaskGroup() as group:
            self._away = False
            log.info("bridge_read")
            beside = [
                group.create_task(self._handle(lines), name="wwebjs:handle"),
                group.create_task(_until_done(self._links.tell), name="wwebjs:states"),
                group.create_task(_every(SETTLE_SECONDS, self._doubt.settle), name="wwebjs:settle"),
                group.create_task(_every(TIDY_SECONDS, self._tidy), name="wwebjs:tidy"),
            ]
            ended = NoAnswer("the stream ended")
            try:
                async for line in told:
                    await lines.put(line)
            except NoAnswer as error:
                ended = error
            finally:
                for task in beside:
                    task.cancel()
        raise ended

    async def _tidy(self) -> None:
        await self._memory.forget()
        await self._links.drop_deleted()

    async def _handle(self, lines: asyncio.Queue[dict[str, Any]]) -> None:
        while True:
            pack: list[dict[str, Any]] = []
            _add(pack, await lines.get())
            while not lines.empty() and len(pack) < PACK_LIMIT:
                _add(pack, lines.get_nowait())
            if pack:
                await self._take_in_the_end(pack, lines)
                await self._acknowledge(pack[-1]["seq"])

    async def _take_in_the_end(
        self, pack: list[dict[str, Any]], lines: asyncio.Queue[dict[str, Any]]
    ) -> None:
        """With what comes meanwhile, as whoever refuses the ones takes the others no sooner."""
        while True:
            try:
                await self._take(pack)
            except Exception as error:  # noqa: BLE001 - whoever did not take them, they are owed
                log.warning("wwebjs_call_back_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return
            while not lines.empty() and len(pack) < PACK_LIMIT:
                _add(pack, lines.get_nowait())

    async def _take(self, events: Sequence[dict[str, Any]]) -> None:
        """Raises what those raise who have to take them."""
        wa_ids = [str(event.get("wa_id")) for event in events if event.get("type") == "ack"]
        known = await self._memory.known(wa_ids) if wa_ids else {}
        found: dict[object, Called] = {}
        changed: set[int] = set()
        for event in events:
            device_id = self._names.device_id(str(event["device"]))
            if device_id is None:
                continue
            if event.get("type") == "state":
                changed.add(device_id)
                continue
            try:
                fact, called = _fact(event), _called(device_id, event, known)
                if called is not None and fact not in self._facts:
                    found[fact] = called
            except (KeyError, TypeError, ValueError) as error:
                # It would come again for ever, before everything else.
                _pass_over(event, type(error).__name__)
        if found:
            await self._host.call_back(list(found.values()))
            self._remember(found)
        if known:
            await self._memory.close(list(known))
        if changed:
            await self._links.tell(changed)

    def _remember(self, facts: dict[object, Called]) -> None:
        self._facts |= dict.fromkeys(facts)
        while len(self._facts) > FACTS_LIMIT:
            del self._facts[next(iter(self._facts))]

    async def _acknowledge(self, seq: int) -> None:
        try:
            await self._calls.ask("POST", "/v1/events/ack", {"upto": seq})
        except NoAnswer as error:
            # It tells them once more.
            log.info("bridge_not_acknowledged", error=str(error))


def _add(pack: list[dict[str, Any]], line: dict[str, Any]) -> None:
    """Keep a line that is an event; of others only a gap says something."""
    type_ = line.get("type")
    if type_ == "gap":
        log.error("bridge_events_lost", after=line.get("from"), before=line.get("to"))
    elif isinstance(line.get("seq"), int) and "device" in line:
        pack.append(line)
    elif type_ not in ("hello", "heartbeat"):
        _pass_over(line, "no event")


def _pass_over(line: dict[str, Any], error: str) -> None:
    metrics.BRIDGE_LINES.inc()
    log.error("bridge_event_refused", seq=line.get("seq"), error=error)


def _fact(event: dict[str, Any]) -> object:
    """What two events about the same have in common."""
    return event["device"], event["type"], event.get("wa_id"), event.get("ack")


def _called(device_id: int, event: dict[str, Any], known: dict[str, Any]) -> Called | None:
    """None where it is nothing for the engine; raises what says that it is malformed."""
    at = datetime.fromisoformat(event["at"])
    if event["type"] == "ack":
        return _callback(event, known.get(event["wa_id"]), at)
    if event["type"] == "inbound" and event["phone"]:
        kind = "text" if event["kind"] == "chat" else event["kind"]
        sent_at = datetime.fromisoformat(event["t"])
        return Inbound(device_id, event["phone"], event["text"], event["wa_id"], sent_at, kind)
    return None


def _callback(event: dict[str, Any], row: Any, at: datetime) -> Callback | None:
    status = _STATUS.get(event["ack"])
    if row is None or status is None:
        return None
    code, detail = REFUSED if status is Status.FAILED else (None, None)
    return Callback(row["message_id"], row["attempt"], status, at, event["wa_id"], code, detail)


async def _until_done(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await work()
        except Exception as error:  # noqa: BLE001 - whoever did not take it, it is owed
            log.warning("wwebjs_call_back_failed", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except NoAnswer:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it was, later it may go
            log.warning("wwebjs_background_failed", error=type(error).__name__)
        await asyncio.sleep(seconds)
