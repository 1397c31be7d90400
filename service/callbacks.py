"""The way back from drivers: what they hand over goes to the bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from drivers.driver import Callback, Called, Inbound, Standing, TemplateStanding
from schemas.commands import (
    CALLBACKS_TYPE,
    CallbackItem,
    Callbacks,
    InboundItem,
    StandingItem,
    TemplateItem,
)
from service.bus.bus import Bus, Outgoing
from service.bus.topology import CALLBACKS
from service.telemetry import tracing

_Item = TypeVar("_Item", StandingItem, TemplateItem)


def call_back_over(bus: Bus) -> Callable[[Sequence[Called]], Awaitable[None]]:
    """What drivers hand their callbacks to: the bus, whose publish returns when they are safe."""

    async def call_back(called: Sequence[Called]) -> None:
        batch = Callbacks()
        for item in called:
            match item:
                case Callback():
                    batch.statuses.append(_status(item))
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
        await bus.publish(
            Outgoing(
                exchange=CALLBACKS,
                routing_key=CALLBACKS,
                body=msgspec.json.encode(batch),
                type=CALLBACKS_TYPE,
                headers=tracing.headers(),
            )
        )

    return call_back


def _as(kind: type[_Item], item: object) -> _Item:
    return msgspec.convert(item, kind, from_attributes=True)


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
        holds.scope.value if holds else None,
        holds.seconds if holds else None,
    )
