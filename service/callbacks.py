"""The way back from drivers: what they hand over goes to the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import msgspec
import structlog

from drivers.driver import (
    Callback,
    Called,
    Holds,
    Inbound,
    Link,
    Standing,
    TemplateStanding,
    Unread,
)
from schemas.commands import (
    CALLBACKS_TYPE,
    CallbackItem,
    Callbacks,
    InboundItem,
    LinkItem,
    StandingItem,
    TemplateItem,
    UnreadItem,
)
from service.bus.bus import Bus, Outgoing, PublishFailed
from service.bus.topology import CALLBACKS
from service.core.lifecycle import NO_MARKETING, REFUSED
from service.store.group_commit import Closed, GroupCommit
from service.telemetry import tracing

log = structlog.get_logger(__name__)

#: Statuses of one message on the bus: what the recorder writes at once.
GROUP_LIMIT = 250
#: What is not on the bus by then is still owed by who said it.
CLOSE_SECONDS = 3.0

_Item = TypeVar("_Item", StandingItem, TemplateItem, UnreadItem, LinkItem)


class CallbackRelay:
    """Hands callbacks to the bus, whose publish returns when they are safe.

    Providers tell of messages one by one, in floods: the statuses that come while a publish is
    under way go together in the next one. They are of the traces of their messages. All else is
    rare, and goes by itself in the trace that it came with.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._group: GroupCommit[CallbackItem, None] = GroupCommit(
            self._publish_statuses, name="callbacks", most_items=GROUP_LIMIT
        )

    def start(self) -> None:
        """Begin to take callbacks."""
        self._group.start()

    async def close(self) -> None:
        """Publish what was handed over, for a bounded time."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._group.close()
        except TimeoutError:
            log.warning("callbacks_unpublished_at_close", statuses=self._group.depth)

    async def call_back(self, called: Sequence[Called]) -> None:
        """Safe when it returns; raises PublishFailed, and then they are still owed."""
        statuses = [_status(item) for item in called if isinstance(item, Callback)]
        if len(statuses) < len(called):
            await self._publish(_others(called), tracing.headers())
        if statuses:
            try:
                await self._group.put(statuses)
            except Closed:
                raise PublishFailed("the way to the bus is closed") from None

    async def _publish_statuses(self, statuses: list[CallbackItem]) -> list[None]:
        await self._publish(Callbacks(statuses=statuses), {})
        return [None] * len(statuses)

    async def _publish(self, callbacks: Callbacks, headers: dict[str, str]) -> None:
        await self._bus.publish(
            Outgoing(
                exchange=CALLBACKS,
                routing_key=CALLBACKS,
                body=msgspec.json.encode(callbacks),
                type=CALLBACKS_TYPE,
                headers=headers,
            )
        )


def _others(called: Sequence[Called]) -> Callbacks:
    batch = Callbacks()
    for item in called:
        match item:
            case Inbound():
                batch.inbound.append(
                    InboundItem(
                        item.device_id,
                        item.phone,
                        item.text,
                        item.provider_id,
                        item.at,
                        item.kind,
                    )
                )
            case Standing():
                batch.standings.append(_as(StandingItem, item))
            case TemplateStanding():
                batch.templates.append(_as(TemplateItem, item))
            case Unread():
                batch.unread.append(_as(UnreadItem, item))
            case Link():
                batch.links.append(_as(LinkItem, item))
    return batch


def _as(kind: type[_Item], item: object) -> _Item:
    return msgspec.convert(item, kind, from_attributes=True)


def _scope(holds: Holds) -> str:
    if holds.refused:
        return NO_MARKETING if holds.marketing else REFUSED
    return holds.scope.value


def _status(item: Callback) -> CallbackItem:
    holds = item.holds
    return CallbackItem(
        item.message_id,
        item.attempt,
        item.status.value,
        item.at,
        item.provider_id,
        item.error_code,
        item.error_detail,
        _scope(holds) if holds else None,
        holds.seconds if holds else None,
    )
