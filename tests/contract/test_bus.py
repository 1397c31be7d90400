"""What every bus promises; one suite, run on RabbitMQ and on the bus inside the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.bus.amqp import AmqpBus
from service.bus.bus import (
    Bus,
    Delivery,
    Outgoing,
    PublishFailed,
    QueueMissing,
    Unroutable,
)
from service.bus.local import LocalBus
from service.bus.topology import (
    CALLBACKS,
    CALLBACKS_DEAD,
    DELIVERY_LIMIT,
    DISPATCH,
    DISPATCH_DEAD,
    EVENTS,
    WEBHOOKS,
    declare,
    topology,
)
from tests.contract.inbox import (
    EXPRESS,
    SHARDS,
    SOON_SECONDS,
    Inbox,
    callback,
    command,
    publish_behind,
    settled,
)

# Named here, since `vhost` is only asked for by name: the node is started when something needs it.
pytestmark = pytest.mark.usefixtures("rabbit_node")


@pytest.fixture(params=["amqp", "local"])
def amqp_url(request: pytest.FixtureRequest) -> str | None:
    """A fresh vhost, or None for the bus that needs no broker."""
    return request.getfixturevalue("vhost") if request.param == "amqp" else None


@pytest.fixture
async def bus(amqp_url: str | None) -> AsyncIterator[Bus]:
    bus: Bus
    if amqp_url is None:
        bus = LocalBus(topology(SHARDS), requeue_pause_seconds=0.01)
    else:
        await declare(amqp_url, SHARDS, timeout_seconds=SOON_SECONDS)
        bus = await AmqpBus.connect(amqp_url, requeue_pause_seconds=0.01)
    yield bus
    await bus.close()


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


async def test_properties_survive_the_way(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, inbox, prefetch=1)
    await bus.publish(
        Outgoing(
            exchange=DISPATCH,
            routing_key=EXPRESS,
            body=b'{"ids":[1]}',
            type="hantar.dispatch.v1",
            message_id="m-1",
            correlation_id="c-1",
            headers={"traceparent": "00-1-2-01", "empty": ""},
        )
    )
    (delivery,) = await inbox.wait_for(1)
    assert (delivery.body, delivery.type) == (b'{"ids":[1]}', "hantar.dispatch.v1")
    assert (delivery.message_id, delivery.correlation_id) == ("m-1", "c-1")
    assert delivery.headers == {"traceparent": "00-1-2-01", "empty": ""}
    assert delivery.content_type == "application/json"
    assert (delivery.reply_to, delivery.user_id) == (None, None)
    assert delivery.redelivered is False


async def test_a_message_without_an_id_is_given_one(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, inbox, prefetch=2)
    await asyncio.gather(bus.publish(command(b"a")), bus.publish(command(b"b")))
    a, b = await inbox.wait_for(2)
    assert a.message_id
    assert b.message_id
    assert a.message_id != b.message_id


async def test_a_mandatory_message_without_a_queue_raises(bus: Bus) -> None:
    with pytest.raises(Unroutable):
        await bus.publish(command(b"lost", queue="dispatch.99.bulk"))


async def test_many_at_once_are_told_apart_when_some_have_no_queue(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, inbox, prefetch=100)
    queues = [EXPRESS if n % 3 else "nowhere" for n in range(60)]
    async with asyncio.timeout(SOON_SECONDS):
        results = await asyncio.gather(
            *(bus.publish(command(b"x", queue=queue)) for queue in queues), return_exceptions=True
        )
    assert [isinstance(result, Unroutable) for result in results] == [
        queue == "nowhere" for queue in queues
    ]
    assert len(await inbox.wait_for(40)) == 40


async def test_what_may_go_nowhere_is_published(bus: Bus) -> None:
    nowhere = Outgoing(DISPATCH, "nowhere", b"{}", "test.v1", mandatory=False)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(nowhere)


async def test_every_event_comes_to_the_webhooks_with_its_kind_and_its_id(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(WEBHOOKS, inbox, prefetch=10)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(Outgoing(EVENTS, "campaign.done", b"{}", "test.v1", "7", mandatory=False))
    [got] = await inbox.wait_for(1)
    assert (got.message_id, got.routing_key) == ("7", "campaign.done")


async def test_an_unknown_exchange_fails_and_harms_nothing_else(bus: Bus) -> None:
    with pytest.raises(PublishFailed):
        await bus.publish(Outgoing(exchange="nope", routing_key="x", body=b"", type="test.v1"))
    await bus.consume(EXPRESS, Inbox(then=Delivery.ack), prefetch=1)
    async with asyncio.timeout(SOON_SECONDS):
        await bus.publish(command(b"fine"))


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


async def test_a_thousand_gathered_publishes_arrive_once_each(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(CALLBACKS, inbox, prefetch=100)
    async with asyncio.timeout(SOON_SECONDS):
        await asyncio.gather(*(bus.publish(callback(b"%d" % n)) for n in range(1000)))
    await inbox.wait_for(1000)
    assert sorted(inbox.bodies) == sorted(b"%d" % n for n in range(1000))


async def test_a_closed_bus_takes_nothing_and_says_so(bus: Bus) -> None:
    inbox = Inbox()
    await bus.consume(EXPRESS, inbox, prefetch=1)
    states = [bus.connected]
    await bus.close()
    states.append(bus.connected)
    assert states == [True, False]
    with pytest.raises(PublishFailed):
        await bus.publish(command(b"late"))
    await bus.close()


async def test_publishers_still_waiting_when_the_bus_closes_are_told(bus: Bus) -> None:
    publishing = [asyncio.create_task(bus.publish(command(b"%d" % n))) for n in range(50)]
    await asyncio.sleep(0)  # all of them are on their way now
    await bus.close()
    async with asyncio.timeout(SOON_SECONDS):
        results = await asyncio.gather(*publishing, return_exceptions=True)
    assert all(isinstance(result, PublishFailed) for result in results)
