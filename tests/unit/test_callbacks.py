"""What drivers hand over on its way to the bus; that it is safe then is the bus's promise."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from drivers.driver import Callback, Inbound
from schemas.commands import Callbacks
from service.bus.bus import Delivery, PublishFailed
from service.bus.local import LocalBus
from service.bus.topology import CALLBACKS, topology
from service.callbacks import GROUP_LIMIT, CallbackRelay
from service.core.lifecycle import Status
from service.telemetry import tracing
from tests.contract.inbox import SHARDS, Inbox

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def delivered(message_id: int) -> Callback:
    return Callback(message_id, 1, Status.DELIVERED, NOW)


def ids(delivery: Delivery) -> list[int]:
    return [item.message_id for item in msgspec.json.decode(delivery.body, type=Callbacks).statuses]


async def test_statuses_that_come_during_a_publish_go_together_in_the_next_one() -> None:
    bus, inbox = LocalBus(topology(SHARDS)), Inbox()
    await bus.consume(CALLBACKS, inbox, prefetch=10)
    relay = CallbackRelay(bus)
    relay.start()
    first = asyncio.create_task(relay.call_back([delivered(1)]))
    await inbox.wait_for(1)
    others = [
        asyncio.create_task(relay.call_back([delivered(id_)])) for id_ in range(2, GROUP_LIMIT + 3)
    ]
    await asyncio.sleep(0)
    assert len(inbox.deliveries) == 1, "one at a time"
    for place in range(3):
        await inbox.wait_for(place + 1)
        assert not first.done() or place
        assert not others[-1].done(), "told once it is safe, and no sooner"
        await inbox.deliveries[place].ack()
    await asyncio.gather(first, *others)
    assert [ids(each) for each in inbox.deliveries] == [
        [1],
        list(range(2, GROUP_LIMIT + 2)),
        [GROUP_LIMIT + 2],
    ]
    await relay.close()
    await bus.close()


async def test_what_persons_write_goes_by_itself_in_its_trace() -> None:
    bus, inbox = LocalBus(topology(SHARDS)), Inbox(then=Delivery.ack)
    await bus.consume(CALLBACKS, inbox, prefetch=10)
    relay = CallbackRelay(bus)
    relay.start()
    trace = tracing.begin()
    wrote = Inbound(7, "+60123456789", "Hai", "in.1", NOW)
    await relay.call_back([delivered(1), wrote, delivered(2)])
    alone, statuses = inbox.deliveries
    assert alone.headers["traceparent"] == trace
    assert msgspec.json.decode(alone.body, type=Callbacks).inbound[0].text == "Hai"
    assert ids(statuses) == [1, 2]
    await relay.close()
    await bus.close()


async def test_what_is_not_safe_is_still_owed() -> None:
    bus = LocalBus(topology(SHARDS))
    relay = CallbackRelay(bus)
    relay.start()
    await bus.close()
    told = await asyncio.gather(
        *(relay.call_back([delivered(id_)]) for id_ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in told] == [PublishFailed] * 3
    await relay.close()
    with pytest.raises(PublishFailed):
        await relay.call_back([delivered(4)])
