"""Driver callbacks: from the bus into the recorder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from schemas.commands import CallbackItem, Callbacks, InboundItem
from service import failpoints
from service.bus.bus import Bus, Consumer
from service.bus.delivery import Delivery
from service.core.lifecycle import LONGEST_TEXT_CHARS, Change, Hold, Status
from service.core.text import storable
from service.record.devices import DeviceLinks
from service.record.inbound import Inbound
from service.record.recorder import Recorder
from service.record.standing import Standings
from service.record.unread import UnreadKept
from service.store.pool import CONFLICTS, UNAVAILABLE
from service.telemetry import tracing

log = structlog.get_logger(__name__)

CALLBACKS_QUEUE = "hantar.callbacks"
PREFETCH = 200
RETRY_SECONDS = 1.0
#: What a provider may say of a message; anything else is refused as poison.
_REPORTABLE = frozenset({Status.QUEUED, Status.SENT, Status.DELIVERED, Status.READ, Status.FAILED})
_PHONE = re.compile(r"\+[0-9]{1,20}")
_decode = msgspec.json.Decoder(Callbacks).decode


class CallbackConsumer:
    """Applies callbacks from the bus; a delivery is acked once its changes are committed."""

    def __init__(
        self,
        bus: Bus,
        recorder: Recorder,
        inbound: Inbound,
        standings: Standings,
        unread: UnreadKept,
        links: DeviceLinks,
    ) -> None:
        self._bus = bus
        self._recorder = recorder
        self._inbound = inbound
        self._standings = standings
        self._unread = unread
        self._links = links
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Begin to consume."""
        self._consumer = await self._bus.consume(CALLBACKS_QUEUE, self._apply, prefetch=PREFETCH)

    async def stop(self) -> None:
        """Take no more; what is in hand may still be settled."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def close(self) -> None:
        """Give back what is not settled."""
        if self._consumer is not None:
            await self._consumer.close()

    async def _apply(self, delivery: Delivery) -> None:
        tracing.begin(delivery.headers.get("traceparent"))
        try:
            callbacks = _decode(delivery.body)
            changes = [_change(item) for item in callbacks.statuses]
            inbound = [_checked(item) for item in callbacks.inbound]
        except (msgspec.MsgspecError, ValueError) as error:
            log.error("callback_refused", error=type(error).__name__)
            await delivery.reject()
            return
        failpoints.hit("callbacks.received")
        if inbound:
            await _until_written(lambda: self._inbound.take(inbound))
        if callbacks.standings or callbacks.templates:
            await _until_written(
                lambda: self._standings.take(callbacks.standings, callbacks.templates)
            )
        if callbacks.unread:
            await _until_written(lambda: self._unread.take(callbacks.unread))
        if callbacks.links:
            await _until_written(lambda: self._links.take(callbacks.links))
        if changes:
            await self._recorder.put(changes)
        failpoints.hit("callbacks.recorded")
        await delivery.ack()


async def _until_written(write: Callable[[], Awaitable[None]]) -> None:
    """Write, however long the database is away: handing it back would count against it."""
    while True:
        try:
            await write()
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("callback_deferred", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


def _change(item: CallbackItem) -> Change:
    status = Status(item.status)
    if status not in _REPORTABLE or not (0 < item.message_id < 2**63 and 0 <= item.attempt < 2**31):
        raise ValueError(status)
    return Change(
        message_id=item.message_id,
        attempt=item.attempt,
        status=status,
        at=item.at,
        provider_id=_clean(item.provider_id),
        error_code=_clean(item.error_code),
        error_detail=_clean(item.error_detail),
        # Nothing came of it, and so it comes up again.
        reason="behind" if status is Status.QUEUED else None,
        hold=_hold(item),
    )


def _checked(item: InboundItem) -> InboundItem:
    if not (0 < item.device_id < 2**63 and _PHONE.fullmatch(item.phone)):
        raise ValueError("no device or no phone")
    return item


def _hold(item: CallbackItem) -> Hold | None:
    if item.scope is None:
        return None
    until = None
    if item.hold_seconds is not None:
        until = datetime.now(UTC) + timedelta(seconds=item.hold_seconds)
    return Hold(item.scope, until, _clean(item.error_code) or "")


def _clean(text: str | None) -> str | None:
    return storable(text, LONGEST_TEXT_CHARS) if text is not None else None
