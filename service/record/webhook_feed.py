"""Public events from the bus into the deliveries of the webhooks that want them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import structlog

from schemas.upstream import ACCEPTED, INBOUND, REJECTED
from service.bus.bus import Bus, Consumer
from service.bus.delivery import Delivery
from service.bus.topology import WEBHOOKS
from service.core import traceparent
from service.core.words import Words
from service.store import webhooks as store
from service.store.group_commit import GroupCommit
from service.store.pool import CONFLICTS, UNAVAILABLE, Dedicated
from service.store.webhooks import Event

log = structlog.get_logger(__name__)

PREFETCH = 200
MOST_EVENTS = 200
#: Between two groups of them that are noted.
APART_SECONDS = 0.05
RETRY_SECONDS = 1.0
#: Answers to commands concern the service that published the command, which hears them there.
_ANSWERS = frozenset({ACCEPTED, REJECTED})


class WebhookFeed:
    """Notes each event for every endpoint that wants it, before the bus may forget it.

    What a person wrote is sealed before it is noted. `fed` is called after a commit, so that the
    deliveries need not be looked for.
    """

    def __init__(self, bus: Bus, dsn: str, words: Words, fed: Callable[[], None]) -> None:
        self._bus = bus
        self._words = words
        self._dedicated = Dedicated(dsn, name="webhooks")
        self._fed = fed
        self._group: GroupCommit[Event, None] = GroupCommit(
            self._note, name="webhooks", most_items=MOST_EVENTS, apart_seconds=APART_SECONDS
        )
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Begin to consume."""
        self._group.start()
        self._consumer = await self._bus.consume(WEBHOOKS, self._take, prefetch=PREFETCH)

    async def close(self) -> None:
        """Give back what is not noted."""
        if self._consumer is not None:
            await self._consumer.close()
        await self._group.close()
        await self._dedicated.close()

    async def _take(self, delivery: Delivery) -> None:
        try:
            event = self._event(delivery)
        except (ValueError, KeyError, TypeError) as error:
            log.error("event_refused", error=type(error).__name__)
            await delivery.reject()
            return
        if event.type in _ANSWERS:
            await delivery.ack()
            return
        while True:
            try:
                await self._group.put([event])
            except (*UNAVAILABLE, *CONFLICTS):
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        await delivery.ack()

    async def _note(self, events: list[Event]) -> list[None]:
        try:
            async with self._dedicated as connection:
                heard = await store.feed(connection, events)
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("webhook_feed_failed", error=type(error).__name__, events=len(events))
            raise
        if heard:
            self._fed()
        return [None] * len(events)

    def _event(self, delivery: Delivery) -> Event:
        account, kind = orjson.loads(delivery.body)["account"], delivery.routing_key
        if not isinstance(account, int) or not delivery.message_id or not kind:
            raise ValueError("an event has an account, an id and a type")
        body = self._words.close_event(delivery.body) if kind == INBOUND else delivery.body
        trace = traceparent.read(delivery.headers.get("traceparent"))
        return Event(account, delivery.message_id, kind, body, trace)
