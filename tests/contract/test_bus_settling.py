"""What becomes of a message that is acked, requeued or rejected, on every bus."""

from __future__ import annotations

import asyncio

import pytest

from service.bus.bus import Bus, Delivery, Outgoing
from service.bus.topology import CALLBACKS, CALLBACKS_DEAD, DELIVERY_LIMIT, DISPATCH_DEAD
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


async def test_what_was_acked_was_published_and_does_not_come_again(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    consumer = await bus.consume(EXPRESS, inbox, prefetch=10)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(command(b"once"))
    await inbox.wait_for(1)
    await consumer.close()

    again = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, again, prefetch=10)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(command(b"next"))
    await again.wait_for(1)
    assert inbox.bodies == [b"once"]
    assert again.bodies == [b"next"]


async def test_what_is_requeued_comes_again_and_says_so(bus: Bus) -> None:
    inbox = Inbox()
    await bus.consume(EXPRESS, inbox, prefetch=5)
    publishing = publish_behind(bus, command(b"again"))
    (first,) = await inbox.wait_for(1)
    await first.requeue()
    _, second = await inbox.wait_for(2)
    assert (second.body, second.message_id) == (b"again", first.message_id)
    assert (first.redelivered, second.redelivered) == (False, True)
    await second.ack()
    await settled(publishing)


async def test_only_the_first_settlement_counts(bus: Bus) -> None:
    inbox = Inbox()
    await bus.consume(EXPRESS, inbox, prefetch=5)
    publishing = publish_behind(bus, command(b"one"), command(b"held"))
    one, _ = await inbox.wait_for(2)
    await one.ack()
    await one.requeue()
    await one.reject()
    # A broker closes the channel on a second settlement: what is held would come again.
    more = publish_behind(bus, command(b"two"))
    await inbox.wait_for(3)
    assert inbox.bodies == [b"one", b"held", b"two"]
    for delivery in inbox.deliveries[1:]:
        await delivery.ack()
    await settled(publishing)
    await settled(more)


@pytest.mark.parametrize(
    ("message", "dead_queue"),
    [(command(b"bad"), DISPATCH_DEAD), (callback(b"bad"), CALLBACKS_DEAD)],
    ids=["command", "callback"],
)
async def test_what_is_rejected_is_buried_with_the_reason(
    bus: Bus, message: Outgoing, dead_queue: str
) -> None:
    dead = Inbox(then=Delivery.ack)
    await bus.consume(dead_queue, dead, prefetch=5)
    await bus.consume(message.routing_key, Inbox(then=Delivery.reject), prefetch=5)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(message)
    (buried,) = await dead.wait_for(1)
    assert (buried.body, buried.type) == (b"bad", "test.v1")
    assert buried.headers["x-first-death-queue"] == message.routing_key
    assert buried.headers["x-first-death-reason"] == "rejected"


async def test_a_handler_that_raises_is_tried_again_until_the_message_is_buried(bus: Bus) -> None:
    async def fail(_: Delivery) -> None:
        raise ValueError("on purpose")

    dead = Inbox(then=Delivery.ack)
    await bus.consume(DISPATCH_DEAD, dead, prefetch=5)
    inbox = Inbox(then=fail)
    await bus.consume(EXPRESS, inbox, prefetch=5)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(command(b"poison"))
    (buried,) = await dead.wait_for(1)
    assert len(inbox.deliveries) == DELIVERY_LIMIT + 1
    assert buried.headers["x-first-death-reason"] == "delivery_limit"


async def test_a_dead_letter_outlives_any_number_of_returns(bus: Bus) -> None:
    dead = Inbox()
    await bus.consume(CALLBACKS_DEAD, dead, prefetch=1)
    await bus.consume(CALLBACKS, Inbox(then=Delivery.reject), prefetch=1)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(callback(b"kept"))
    for number in range(1, 30):
        await (await dead.wait_for(number))[-1].requeue()
    await (await dead.wait_for(30))[-1].ack()
