"""What every bus promises to who publishes; run on RabbitMQ and on the bus inside the process."""

from __future__ import annotations

import asyncio

import pytest

from service.bus.bus import Bus, Delivery, Outgoing, PublishFailed, Unroutable
from service.bus.topology import CALLBACKS, DISPATCH, EVENTS, WEBHOOKS
from tests.contract.inbox import EXPRESS, SOON_SECONDS, Inbox, callback, command

# Named here, since `vhost` is only asked for by name: the node is started when something needs it.
pytestmark = pytest.mark.usefixtures("rabbit_node")


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


async def test_a_thousand_gathered_publishes_arrive_once_each(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(CALLBACKS, inbox, prefetch=100)
    async with asyncio.timeout(SOON_SECONDS):
        await asyncio.gather(*(bus.publish(callback(b"%d" % n)) for n in range(1000)))
    await inbox.wait_for(1000)
    assert sorted(inbox.bodies) == sorted(b"%d" % n for n in range(1000))


async def test_what_is_published_in_order_arrives_in_order(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, inbox, prefetch=100)
    bodies = [b"%d" % n for n in range(300)]
    async with asyncio.timeout(SOON_SECONDS):
        safe = await bus.publish_in_order([command(body) for body in bodies])
    assert safe == 300
    await inbox.wait_for(300)
    assert inbox.bodies == bodies


async def test_what_is_safe_in_order_is_counted_up_to_the_first_that_is_not(bus: Bus) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, inbox, prefetch=100)
    nowhere = command(b"lost", queue="nowhere")
    async with asyncio.timeout(SOON_SECONDS):
        safe = await bus.publish_in_order([command(b"a"), command(b"b"), nowhere, command(b"c")])
        assert safe == 2
        with pytest.raises(Unroutable):
            await bus.publish_in_order([nowhere, command(b"d")])


async def test_a_closed_bus_takes_nothing_and_says_so(bus: Bus) -> None:
    inbox = Inbox()
    await bus.consume(EXPRESS, inbox, prefetch=1)
    states = [bus.connected]
    await bus.close()
    states.append(bus.connected)
    assert states == [True, False]
    with pytest.raises(PublishFailed):
        await bus.publish(command(b"late"))
    with pytest.raises(PublishFailed):
        await bus.publish_in_order([command(b"late")])
    await bus.close()


async def test_publishers_still_waiting_when_the_bus_closes_are_told(bus: Bus) -> None:
    publishing = [asyncio.create_task(bus.publish(command(b"%d" % n))) for n in range(50)]
    await asyncio.sleep(0)  # all of them are on their way now
    await bus.close()
    async with asyncio.timeout(SOON_SECONDS):
        results = await asyncio.gather(*publishing, return_exceptions=True)
    assert all(isinstance(result, PublishFailed) for result in results)


async def test_a_batch_still_waiting_when_the_bus_closes_is_told(bus: Bus) -> None:
    batch = [command(b"%d" % n) for n in range(50)]
    publishing = asyncio.create_task(bus.publish_in_order(batch))
    await asyncio.sleep(0)  # it is on its way now
    await bus.close()
    async with asyncio.timeout(SOON_SECONDS):
        [result] = await asyncio.gather(publishing, return_exceptions=True)
    assert isinstance(result, PublishFailed)
