"""How every bus hands out messages, to how many consumers, and how these stop."""

from __future__ import annotations

import asyncio

import pytest

from service.bus.bus import Bus, Delivery, QueueMissing
from service.bus.topology import CALLBACKS
from tests.contract.inbox import (
    EXPRESS,
    SOON_SECONDS,
    Inbox,
    callback,
    command,
    publish_behind,
    settled,
)

# Named here, since `vhost` is only asked for by name: the node is started when something needs it.
pytestmark = pytest.mark.usefixtures("rabbit_node")


async def test_consuming_a_queue_that_is_not_there_raises(bus: Bus) -> None:
    with pytest.raises(QueueMissing):
        await bus.consume("dispatch.99.bulk", Inbox(), prefetch=1)
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, inbox, prefetch=1)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(command(b"fine"))


async def test_no_more_than_prefetch_are_in_hand(bus: Bus) -> None:
    inbox = Inbox()
    await bus.consume(EXPRESS, inbox, prefetch=3)
    publishing = publish_behind(bus, *(command(b"%d" % n) for n in range(7)))
    await inbox.wait_for(3)
    for expected in range(4, 8):
        # Whatever was handed out beyond the bound would be here before the next one is.
        assert len(inbox.deliveries) == expected - 1
        await inbox.deliveries[expected - 4].ack()
        await inbox.wait_for(expected)
    for delivery in inbox.deliveries[4:]:
        await delivery.ack()
    await settled(publishing)
    assert inbox.bodies == [b"%d" % n for n in range(7)]


async def test_closing_a_consumer_gives_the_unsettled_back_in_order_in_front(bus: Bus) -> None:
    inbox = Inbox()
    consumer = await bus.consume(EXPRESS, inbox, prefetch=4)
    publishing = publish_behind(bus, *(command(b"%d" % n) for n in range(6)))
    await inbox.wait_for(4)
    await inbox.deliveries[1].ack()
    await inbox.wait_for(5)
    await consumer.close()

    rest = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, rest, prefetch=10)
    await rest.wait_for(5)
    await settled(publishing)
    assert rest.bodies == [b"0", b"2", b"3", b"4", b"5"]
    assert [delivery.redelivered for delivery in rest.deliveries] == [True] * 4 + [False]


async def test_settling_after_close_does_nothing(bus: Bus) -> None:
    inbox = Inbox()
    consumer = await bus.consume(EXPRESS, inbox, prefetch=1)
    publishing = publish_behind(bus, command(b"late"))
    (late,) = await inbox.wait_for(1)
    await consumer.close()
    await late.ack()
    again = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, again, prefetch=1)
    await again.wait_for(1)
    await settled(publishing)


async def test_closing_a_consumer_ends_its_handlers(bus: Bus) -> None:
    ended = asyncio.Event()

    async def hang(_: Delivery) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    inbox = Inbox(then=hang)
    consumer = await bus.consume(EXPRESS, inbox, prefetch=1)
    publishing = publish_behind(bus, command(b"slow"))
    await inbox.wait_for(1)
    async with asyncio.timeout(SOON_SECONDS):
        await consumer.close()
    assert ended.is_set()
    await bus.consume(EXPRESS, Inbox(then=Delivery.ack), prefetch=1)
    await settled(publishing)


async def test_a_stopped_consumer_takes_nothing_more_but_may_settle(bus: Bus) -> None:
    inbox = Inbox()
    consumer = await bus.consume(CALLBACKS, inbox, prefetch=2)
    publishing = publish_behind(bus, *(callback(b"%d" % n) for n in range(200)))
    await inbox.wait_for(2)
    await consumer.stop()
    in_hand = list(inbox.deliveries)
    for delivery in in_hand:
        await delivery.ack()
    rest = Inbox(then=Delivery.ack)
    await bus.consume(CALLBACKS, rest, prefetch=50)
    await rest.wait_for(200 - len(in_hand))
    await settled(publishing)
    assert inbox.deliveries == in_hand
    assert not set(inbox.bodies) & set(rest.bodies)
    await consumer.stop()
    await consumer.close()


async def test_a_stop_under_load_loses_nothing(bus: Bus) -> None:
    inbox = Inbox()
    consumer = await bus.consume(CALLBACKS, inbox, prefetch=100)
    publishing = publish_behind(bus, *(callback(b"%d" % n) for n in range(300)))
    await inbox.wait_for(1)
    await consumer.stop()
    taken = len(inbox.deliveries)
    rest = Inbox(then=Delivery.ack)
    await bus.consume(CALLBACKS, rest, prefetch=100)
    await consumer.close()
    await rest.wait_for(300)
    await settled(publishing)
    assert len(inbox.deliveries) == taken
    assert sorted(rest.bodies) == sorted(b"%d" % n for n in range(300))


async def test_two_consumers_share_a_queue(bus: Bus) -> None:
    left, right = Inbox(), Inbox()
    await bus.consume(CALLBACKS, left, prefetch=5)
    await bus.consume(CALLBACKS, right, prefetch=5)
    publishing = publish_behind(bus, *(callback(b"%d" % n) for n in range(10)))
    await left.wait_for(5)
    await right.wait_for(5)
    assert sorted(left.bodies + right.bodies) == sorted(b"%d" % n for n in range(10))
    for delivery in left.deliveries + right.deliveries:
        await delivery.ack()
    await settled(publishing)


async def test_of_two_consumers_of_a_shard_the_second_waits_for_the_first_to_stop(
    bus: Bus,
) -> None:
    first, second = Inbox(), Inbox()
    active = await bus.consume(EXPRESS, first, prefetch=2)
    await bus.consume(EXPRESS, second, prefetch=2)
    publishing = publish_behind(bus, *(command(b"%d" % n) for n in range(4)))
    await first.wait_for(2)
    assert second.deliveries == []
    await active.stop()
    # It becomes active while the first still holds what it had.
    await second.wait_for(2)
    assert (first.bodies, second.bodies) == ([b"0", b"1"], [b"2", b"3"])
    for delivery in first.deliveries + second.deliveries:
        await delivery.ack()
    await settled(publishing)
