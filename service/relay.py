"""Hands commands to the bus after commit, and again until the bus has them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Any

import structlog

from service import failpoints
from service.bus.bus import Bus, Outgoing, PublishFailed
from service.core.traceparent import trace_id
from service.store import outbox
from service.store.group_commit import Closed, GroupCommit
from service.store.outbox import EVENTS_EXCHANGE, Entry
from service.store.pool import UNAVAILABLE, Dedicated, Pool
from service.telemetry import metrics

log = structlog.get_logger(__name__)

#: Entries in publication at once; what is offered beyond stays in the outbox for the sweep.
CAPACITY = 2000
#: After this an entry that is still in the outbox is published again.
STALE_SECONDS = 5.0
SWEEP_SECONDS = 1.0
DRAIN_SECONDS = 5.0


class Relay:
    """Publishes entries as they are offered and deletes them once they are safe in the bus.

    An entry that could not be published stays in the outbox; `sweep` of any process with the
    recorder role finds it there, so nothing that was committed is ever forgotten. Events have an
    order, and are left to whoever publishes all of them: `on_events` says that there are some.
    """

    def __init__(self, pool: Pool, dsn: str, bus: Bus, on_events: Callable[[], None]) -> None:
        self._pool = pool
        self._bus = bus
        self._on_events = on_events
        self._dedicated = Dedicated(dsn, name="relay")
        self._deletions: GroupCommit[int, None] = GroupCommit(self._delete, name="outbox")
        self._publishing: dict[int, asyncio.Task[None]] = {}
        self._closing = False

    def start(self) -> None:
        """Begin to take offers."""
        self._deletions.start()

    def offer(self, entries: Sequence[Entry]) -> None:
        """Publish these soon, without waiting."""
        if any(entry.exchange == EVENTS_EXCHANGE for entry in entries):
            self._on_events()
        for entry in entries:
            if entry.exchange == EVENTS_EXCHANGE:
                continue
            if self._closing or len(self._publishing) >= CAPACITY:
                return
            if entry.id not in self._publishing:
                # Its own context: it outlives the request it began in, and logs for itself.
                task = asyncio.create_task(
                    self._publish(entry), name="relay:publish", context=Context()
                )
                self._publishing[entry.id] = task
                task.add_done_callback(partial(self._published, entry.id))

    async def sweep(self) -> None:
        """Publish what stayed behind, for ever; one round a second."""
        while True:
            try:
                entries = await outbox.stale(
                    self._pool,
                    older_than_seconds=STALE_SECONDS,
                    limit=max(1, CAPACITY - len(self._publishing)),
                    except_ids=self._publishing,
                )
                if entries:
                    log.info("outbox_swept", entries=len(entries))
                    self.offer(entries)
            except UNAVAILABLE as error:
                log.warning("outbox_sweep_failed", error=type(error).__name__)
            except Exception:
                log.exception("outbox_sweep_failed")
            await asyncio.sleep(SWEEP_SECONDS)

    async def close(self) -> None:
        """Let what is being published finish, for a bounded time; the rest stays in the outbox."""
        self._closing = True
        if self._publishing:
            await asyncio.wait(self._publishing.values(), timeout=DRAIN_SECONDS)
        tasks = list(self._publishing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._deletions.close()
        await self._dedicated.close()

    def _published(self, entry_id: int, _task: asyncio.Task[None]) -> None:
        self._publishing.pop(entry_id, None)

    async def _publish(self, entry: Entry) -> None:
        message = Outgoing(
            exchange=entry.exchange,
            routing_key=entry.routing_key,
            body=entry.body,
            type=entry.type,
            # The same however often it is published, for those who have to tell repetitions.
            message_id=str(entry.id),
            headers={"traceparent": entry.traceparent} if entry.traceparent else {},
        )
        began = time.monotonic()
        try:
            failpoints.hit("relay.before_publish")
            await self._bus.publish(message)
            failpoints.hit("relay.confirmed")
        except PublishFailed as error:
            metrics.PUBLISHED.labels(type(error).__name__).inc()
            log.warning("publish_failed", error=type(error).__name__, **_about(entry))
            return
        finally:
            metrics.PUBLISH_SECONDS.observe(time.monotonic() - began)
        metrics.PUBLISHED.labels("published").inc()
        try:
            await self._deletions.put([entry.id])
        except (*UNAVAILABLE, Closed) as error:
            # It will be published once more; whoever reads it finds nothing left to do.
            log.warning("outbox_delete_failed", error=type(error).__name__, **_about(entry))

    async def _delete(self, taken: list[int]) -> list[None]:
        async with self._dedicated as connection:
            await outbox.delete(connection, taken)
        failpoints.hit("relay.deleted")
        return [None] * len(taken)


def _about(entry: Entry) -> dict[str, Any]:
    about: dict[str, Any] = {"outbox_id": entry.id}
    if entry.traceparent:
        about["trace_id"] = trace_id(entry.traceparent)
    return about
