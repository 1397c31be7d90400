"""Hands public events to the bus after commit, in their order: one process at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from schemas.commands import INBOUND_TYPE
from service import failpoints
from service.bus.bus import Bus, Outgoing, PublishFailed
from service.core.words import Words
from service.store import outbox
from service.store.outbox import Entry
from service.store.pool import CONFLICTS, UNAVAILABLE, Connection, Dedicated
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Events in publication at once.
MOST_EVENTS = 500
#: How long an event of another process may lie before this one looks.
LOOK_SECONDS = 0.05
#: Between tries to lead, or to go on when the database is away.
PAUSE_SECONDS = 1.0
#: After an event that the bus did not take.
RETRY_SECONDS = 0.2
#: Its account is left alone for longer, twice as long each time: the others wait for each try.
ASIDE_SECONDS, LONGEST_ASIDE_SECONDS = 2.0, 300.0
DRAIN_SECONDS = 5.0


class EventRelay:
    """Publishes the events of the outbox in the order of their ids, as long as it leads.

    Events of one message are committed one after the other, so by their ids they are in the order
    of `seq`. The next are published when the former are safe, and after a failure it begins again
    with the first that is not: a listener may hear an event twice, but never for the first time
    after a later one. An event that the broker does not take holds up those of its account alone.

    All processes with the recorder role run one; the one whose session has the lock leads, and a
    session that is silent loses it. What a person wrote lies there sealed, and is opened by `words`
    on its way.
    """

    def __init__(self, dsn: str, bus: Bus, words: Words) -> None:
        self._bus = bus
        self._words = words
        self._dedicated = Dedicated(dsn, name="events")
        self._led: Connection | None = None
        self._most = MOST_EVENTS
        #: accounts whose next event was refused: until when they are left alone, and for how long
        self._aside: dict[int, tuple[float, float]] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to publish; the task is awaited by `close`."""
        self._task = asyncio.create_task(self._run(), name="events")

    def wake(self) -> None:
        """There may be something to publish; others look for themselves."""
        if self._led is not None:
            self._wake.set()

    async def close(self) -> None:
        """Publish what is there, for a bounded time; the rest stays in the outbox."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=DRAIN_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._dedicated.close()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                more = await self._round()
            except (*UNAVAILABLE, *CONFLICTS) as error:
                log.warning("event_round_failed", error=type(error).__name__)
                more = await self._rest(PAUSE_SECONDS)
            except Exception:
                log.exception("event_round_failed")
                more = await self._rest(PAUSE_SECONDS)
            if not more and self._closing:
                return
            if not more:
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _round(self) -> bool:
        """Publish the next events; whether there may be more."""
        most = self._most
        async with self._dedicated as connection:
            leads = await self._leads(connection)
            entries = await self._next(connection) if leads else []
            safe = await self._publish(entries) if entries else 0
            if safe:
                await outbox.told(connection, [entry.id for entry in entries[:safe]])
                failpoints.hit("events.noted")
                for entry in entries[:safe]:
                    self._aside.pop(entry.account_id or 0, None)
        if not leads:
            await asyncio.sleep(PAUSE_SECONDS)
            return False
        if safe < len(entries):
            self._lose_pace(entries[safe])
            return await self._rest(RETRY_SECONDS)
        self._most = min(2 * self._most, MOST_EVENTS)
        # Those that came meanwhile go with the next ones, if there is a next round.
        return len(entries) == most or (self._closing and bool(entries))

    async def _rest(self, seconds: float) -> bool:
        """After a failure; whether to try again, which is left to others when this one closes."""
        await asyncio.sleep(seconds)
        return not self._closing

    async def _next(self, connection: Connection) -> list[Entry]:
        now = time.monotonic()
        aside = [each for each, (until, _) in self._aside.items() if until > now]
        return await outbox.next_events(connection, self._most, except_of=aside)

    async def _leads(self, connection: Connection) -> bool:
        if self._led is not connection:
            self._led = connection if await outbox.lead(connection) else None
            if self._led is not None:
                log.info("events_led")
        return self._led is not None

    async def _publish(self, entries: Sequence[Entry]) -> int:
        """How many of them, from the first on, are safe in the bus."""
        began = time.monotonic()
        try:
            failpoints.hit("events.before_publish")
            safe = await self._bus.publish_in_order([self._message(entry) for entry in entries])
            failpoints.hit("events.confirmed")
        except PublishFailed as error:
            metrics.PUBLISHED.labels(type(error).__name__).inc()
            log.warning("publish_failed", error=type(error).__name__, outbox_id=entries[0].id)
            return 0
        except Exception:
            # Whatever an event is that cannot even be tried, it is not to stand before all others.
            log.exception("publish_failed", outbox_id=entries[0].id)
            return 0
        finally:
            metrics.PUBLISH_SECONDS.observe(time.monotonic() - began)
        metrics.PUBLISHED.labels("published").inc(safe)
        return safe

    def _lose_pace(self, failed: Entry) -> None:
        """The next events go singly, so that one that fails then is known to be the cause."""
        if self._most == 1:
            account = failed.account_id or 0
            _, before = self._aside.get(account, (0.0, ASIDE_SECONDS / 2))
            seconds = min(2 * before, LONGEST_ASIDE_SECONDS)
            self._aside[account] = time.monotonic() + seconds, seconds
        self._most = 1

    def _message(self, entry: Entry) -> Outgoing:
        headers = {"traceparent": entry.traceparent} if entry.traceparent else {}
        if entry.account_id is not None:
            # By it the broker tells whose queue an event goes to.
            headers["account"] = str(entry.account_id)
        inbound = entry.type == INBOUND_TYPE
        return Outgoing(
            exchange=entry.exchange,
            routing_key=entry.routing_key,
            body=self._words.open_event(entry.body) if inbound else entry.body,
            type=entry.type,
            # The same however often it is published, for those who have to tell repetitions.
            message_id=str(entry.id),
            correlation_id=entry.correlation_id,
            headers=headers,
            # An event may have no listener.
            mandatory=False,
        )
