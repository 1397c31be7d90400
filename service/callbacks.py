"""The way back from drivers: what they hand over goes to the bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from drivers.driver import Callback, Inbound
from schemas.commands import CALLBACKS_TYPE, CallbackItem, Callbacks, InboundItem
from service.bus.bus import Bus, Outgoing
from service.bus.topology import CALLBACKS


def call_back_over(bus: Bus) -> Callable[[Sequence[Callback | Inbound]], Awaitable[None]]:
    """What drivers hand their callbacks to: the bus, whose publish returns when they are safe."""

    async def call_back(called: Sequence[Callback | Inbound]) -> None:
        batch = Callbacks()
        for item in called:
            if isinstance(item, Inbound):
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
            else:
                batch.statuses.append(
                    CallbackItem(
                        item.message_id,
                        item.attempt,
                        item.status.value,
                        item.at,
                        item.provider_id,
                        item.error_code,
                        item.error_detail,
                    )
                )
        await bus.publish(
            Outgoing(
                exchange=CALLBACKS,
                routing_key=CALLBACKS,
                body=msgspec.json.encode(batch),
                type=CALLBACKS_TYPE,
            )
        )

    return call_back
