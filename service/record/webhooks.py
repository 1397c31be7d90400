"""Outgoing webhooks: what is due is sent, signed, and tried again over a day when refused."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from schemas.upstream import INBOUND
from service import failpoints
from service.core.sealing import CannotUnseal, Seal
from service.core.times import rfc3339
from service.core.webhooks import LONGEST_WISH_SECONDS, closed_seconds, delay_seconds, signature
from service.core.words import Words
from service.record.webhook_calls import Answer, WebhookCalls
from service.store import webhooks as store
from service.store.pool import CONFLICTS, UNAVAILABLE, Pool
from service.store.webhooks import Delivery, Failure
from service.telemetry import metrics, tracing

log = structlog.get_logger(__name__)

#: Calls at once, in this process and to one endpoint.
MOST_CALLS = 256
CALLS_EACH = 4
#: A delivery taken by a process that died is free again after this; a call ends well before.
MINE_SECONDS = 60.0
LOOK_SECONDS = 1.0
GRACE_SECONDS = 3.0
PRUNE_EVERY_SECONDS = 60.0
#: An endpoint that took nothing for so long is switched off.
DISABLE_AFTER = timedelta(days=5)
GONE = 410


class Webhooks:
    """Makes the deliveries that are due; an endpoint has few calls at once, and its own circuit."""

    def __init__(self, pool: Pool, calls: WebhookCalls, seal: Seal) -> None:
        self._pool = pool
        self._calls = calls
        self._seal = seal
        self._words = Words(seal)
        self._wake = asyncio.Event()
        self._in_flight: dict[asyncio.Task[None], int] = {}
        self._task: asyncio.Task[None] | None = None
        self._pruned = 0.0

    def start(self) -> None:
        """Begin to look for what is due."""
        self._task = asyncio.create_task(self._run(), name="webhooks")

    def wake(self) -> None:
        """There is something to deliver."""
        self._wake.set()

    async def close(self) -> None:
        """Begin no more, let calls in flight finish for a moment; the rest is tried again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=GRACE_SECONDS)
        for task in self._in_flight:
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        await self._calls.close()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                found = await self._round()
            except (*UNAVAILABLE, *CONFLICTS) as error:
                found = 0
                log.warning("webhook_round_failed", error=type(error).__name__)
            except Exception:
                found = 0
                log.exception("webhook_round_failed")
            if not found or len(self._in_flight) >= MOST_CALLS:
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _round(self) -> int:
        room = MOST_CALLS - len(self._in_flight)
        taken: Sequence[Delivery] = ()
        if room > 0:
            taken = await store.take(
                self._pool,
                list(self._in_flight.values()),
                each=CALLS_EACH,
                most=room,
                mine_seconds=MINE_SECONDS,
            )
        for delivery in taken:
            task = asyncio.create_task(self._deliver(delivery), name=f"webhook:{delivery.id}")
            self._in_flight[task] = delivery.endpoint_id
            task.add_done_callback(self._landed)
        await self._keep_house()
        return len(taken)

    def _landed(self, task: asyncio.Task[None]) -> None:
        del self._in_flight[task]
        self._wake.set()

    async def _keep_house(self) -> None:
        now = time.monotonic()
        if now - self._pruned < PRUNE_EVERY_SECONDS:
            return
        self._pruned = now
        await store.prune(self._pool)

    async def _deliver(self, delivery: Delivery) -> None:
        if delivery.traceparent is not None:
            tracing.begin(delivery.traceparent)
        try:
            failpoints.hit("webhook.taken")
            answer = await self._call(delivery)
            failpoints.hit("webhook.answered")
            await self._note(delivery, answer)
            failpoints.hit("webhook.noted")
        except (*UNAVAILABLE, *CONFLICTS) as error:
            # It becomes due again, and the receiver tells repetitions by the event's id.
            log.warning("webhook_not_noted", delivery_id=delivery.id, error=type(error).__name__)
        except CannotUnseal as error:
            # Tried again by and by: the key file may be mended.
            log.error("webhook_secret_lost", endpoint_id=delivery.endpoint_id, error=str(error))
        except Exception:
            log.exception("webhook_failed", delivery_id=delivery.id)

    async def _call(self, delivery: Delivery) -> Answer:
        event_id = f"evt_{delivery.event_id}"
        timestamp = int(time.time())
        body = self._body(delivery)
        sealed = filter(None, (delivery.secret, delivery.old_secret))
        secrets = [self._seal.unseal(each, store.PURPOSE) for each in sealed]
        headers = {
            "Content-Type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secrets, event_id, timestamp, body),
        }
        if delivery.traceparent is not None:
            headers["traceparent"] = delivery.traceparent
        began = time.monotonic()
        answer = await self._calls.post(delivery.url, headers, body)
        metrics.WEBHOOK_SECONDS.observe(time.monotonic() - began, tracing.exemplar())
        return answer

    def _body(self, delivery: Delivery) -> bytes:
        """The event as upstream services get it, with its type and time around it."""
        opened = delivery.body
        if delivery.type == INBOUND:
            opened = self._words.open_event(opened)
        head = f'{{"type":"{delivery.type}","timestamp":"{rfc3339(delivery.created_at)}","data":'
        return head.encode() + opened + b"}"

    async def _note(self, delivery: Delivery, answer: Answer) -> None:
        if answer.status is not None and 200 <= answer.status < 300:
            metrics.WEBHOOKS.labels("delivered").inc()
            await store.delivered(self._pool, delivery, answer.status)
            return
        failure = _failure(delivery, answer)
        metrics.WEBHOOKS.labels("failed" if failure.again_seconds is None else "again").inc()
        if failure.disable_because is not None:
            metrics.WEBHOOKS.labels("disabled").inc()
        log.warning(
            "webhook_refused",
            delivery_id=delivery.id,
            endpoint_id=delivery.endpoint_id,
            status=failure.status,
            error=failure.error,
            disabled=failure.disable_because is not None,
        )
        await store.failed(self._pool, delivery, failure)


def _failure(delivery: Delivery, answer: Answer) -> Failure:
    again = delay_seconds(delivery.attempts + 1, random.random())
    wish = min(answer.retry_after_seconds or 0.0, LONGEST_WISH_SECONDS)
    if again is not None:
        again = max(again, wish)
    return Failure(
        answer.status,
        answer.error,
        again,
        closed_seconds(delivery.failures + 1, wish),
        _reason_to_disable(delivery, answer),
    )


def _reason_to_disable(delivery: Delivery, answer: Answer) -> str | None:
    if answer.status == GONE:
        return "the receiver answered 410 Gone"
    since = delivery.failing_since
    if since is not None and datetime.now(UTC) - since > DISABLE_AFTER:
        return f"nothing was taken for {DISABLE_AFTER.days} days"
    return None
