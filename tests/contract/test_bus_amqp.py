"""What only a bus with a broker behind it can be asked: outages, alarms, a wrong topology."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import aio_pika
import pytest

from service.bus.amqp import AmqpBus
from service.bus.bus import Delivery, Outgoing, PublishFailed, PublishTimeout, Unroutable
from service.bus.topology import CALLBACKS, EVENTS, TopologyMismatch, declare, topology
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
from tests.servers.rabbitmq import RabbitNode

#: A broker needs about 8 s to start; busy machines need more.
RESTART_SECONDS = 60.0
PUBLISH_SECONDS = 1.5


@pytest.fixture
async def bus(vhost: str) -> AsyncIterator[AmqpBus]:
    await declare(vhost, SHARDS, timeout_seconds=SOON_SECONDS)
    bus = await AmqpBus.connect(
        vhost, publish_timeout_seconds=PUBLISH_SECONDS, requeue_pause_seconds=0.01
    )
    yield bus
    await bus.close()


async def becomes_connected(bus: AmqpBus, *, expected: bool) -> None:
    # A property has nothing to await; this is what a readiness probe does.
    async with asyncio.timeout(RESTART_SECONDS):
        while bus.connected is not expected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@asynccontextmanager
async def alarm(node: RabbitNode) -> AsyncIterator[None]:
    await node.control("set_vm_memory_high_watermark", "0")
    try:
        yield
    finally:
        await node.control("set_vm_memory_high_watermark", "absolute", "1GiB")


async def drop_connections(node: RabbitNode, vhost: str) -> None:
    await node.control("close_all_connections", "--vhost", vhost.rpartition("/")[2], "test")


async def test_nothing_confirmed_is_lost_when_the_broker_is_killed(
    bus: AmqpBus, rabbit_node: RabbitNode
) -> None:
    commands, callbacks = Inbox(then=Delivery.ack), Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, commands, prefetch=50)
    await bus.consume(CALLBACKS, callbacks, prefetch=50)
    # RabbitMQ 3.10 loses what is in a quorum queue that was declared within about a second
    # before the kill (the queue's name is not yet synced to disk).
    await asyncio.sleep(2.0)
    confirmed: set[bytes] = set()

    async def publish(number: int) -> None:
        body = b"%d" % number
        with suppress(PublishFailed):
            await bus.publish(command(body))
            confirmed.add(body)

    async def keep_publishing() -> None:
        for number in range(0, 1_000_000, 10):
            await asyncio.gather(*(publish(number + n) for n in range(10)))

    publishing = asyncio.create_task(keep_publishing())
    await commands.wait_for(200)
    rabbit_node.kill()
    await becomes_connected(bus, expected=False)
    began = time.monotonic()
    with pytest.raises(PublishTimeout):
        await bus.publish(callback(b"nobody there"))
    assert time.monotonic() - began < PUBLISH_SECONDS + 1.0

    rabbit_node.launch()  # on this thread: it would end with another one
    await asyncio.to_thread(rabbit_node.await_ready)
    await becomes_connected(bus, expected=True)
    already = len(confirmed)
    await commands.wait_until(lambda: len(confirmed) > already + 100)
    publishing.cancel()
    await bus.publish(callback(b"back"))
    await callbacks.wait_until(lambda: b"back" in callbacks.bodies)
    await commands.wait_until(lambda: confirmed <= set(commands.bodies))
    # Every queue is back. It matters for the tests that follow as well: a vhost removed while a
    # queue still elects its leader ends dead-lettering on the node (rabbitmq-server#16652).
    for queue in topology(SHARDS).queues:
        await bus.consume(queue.name, Inbox(), prefetch=1)


async def test_a_memory_alarm_stops_publishing_only(bus: AmqpBus, rabbit_node: RabbitNode) -> None:
    inbox = Inbox()
    await bus.consume(CALLBACKS, inbox, prefetch=10)
    await settled(publish_behind(bus, *(callback(b"%d" % n) for n in range(30))))
    await inbox.wait_for(10)
    async with alarm(rabbit_node):
        began = time.monotonic()
        with pytest.raises(PublishTimeout):
            await bus.publish(callback(b"30"))
        assert time.monotonic() - began < PUBLISH_SECONDS + 1.0
        assert not bus.connected
        for number in range(30):
            await inbox.wait_for(number + 1)
            await inbox.deliveries[number].ack()
    await becomes_connected(bus, expected=True)
    await bus.publish(callback(b"31"))
    # The one that timed out was only held up: its outcome was unknown, as the name says.
    await inbox.wait_for(32)
    assert inbox.bodies == [b"%d" % n for n in range(32)]


async def test_a_lost_connection_cancels_no_handler(
    bus: AmqpBus, vhost: str, rabbit_node: RabbitNode
) -> None:
    reconnected = asyncio.Event()
    finished = asyncio.Event()

    async def work(delivery: Delivery) -> None:
        await reconnected.wait()
        await delivery.ack()
        if not delivery.redelivered:  # its channel is gone, which is nothing to raise about
            finished.set()

    inbox = Inbox(then=work)
    await bus.consume(EXPRESS, inbox, prefetch=1)
    await bus.publish(command(b"long work"))
    await inbox.wait_for(1)
    await drop_connections(rabbit_node, vhost)
    await inbox.wait_for(2)
    reconnected.set()
    async with asyncio.timeout(SOON_SECONDS):
        await finished.wait()
    await bus.publish(command(b"next"))
    await inbox.wait_for(3)
    assert [(d.body, d.redelivered) for d in inbox.deliveries] == [
        (b"long work", False),
        (b"long work", True),
        (b"next", False),
    ]


async def delete_queue(vhost: str, queue: str) -> None:
    async with await aio_pika.connect(vhost) as connection, connection.channel() as channel:
        await channel.queue_delete(queue)


async def test_a_deleted_queue_is_consumed_again_once_it_is_back(bus: AmqpBus, vhost: str) -> None:
    inbox = Inbox(then=Delivery.ack)
    await bus.consume(CALLBACKS, inbox, prefetch=5)
    await delete_queue(vhost, CALLBACKS)
    with pytest.raises(Unroutable):
        await bus.publish(callback(b"nowhere"))
    # RabbitMQ 3.10 takes up to 20 ms to tell the consumer; declared again before that, the queue
    # keeps a consumer that nothing is delivered to, and neither side can see it.
    await asyncio.sleep(0.5)
    await declare(vhost, SHARDS, timeout_seconds=SOON_SECONDS)
    await bus.publish(callback(b"found"))
    await inbox.wait_for(1)
    assert inbox.bodies == [b"found"]


async def test_a_missing_queue_harms_no_other_consumer(
    bus: AmqpBus, vhost: str, rabbit_node: RabbitNode
) -> None:
    commands, callbacks = Inbox(), Inbox(then=Delivery.ack)
    await bus.consume(EXPRESS, commands, prefetch=5)
    await bus.consume(CALLBACKS, callbacks, prefetch=5)
    await bus.publish(command(b"held"))
    await commands.wait_for(1)
    await delete_queue(vhost, CALLBACKS)
    # With the connection lost as well, the healthy consumer must come back once and stay: each
    # time it came back would count against the delivery limit of what it holds.
    await drop_connections(rabbit_node, vhost)
    await commands.wait_for(2)
    await asyncio.sleep(2.5)  # several rounds of looking for the missing queue
    assert len(commands.deliveries) == 2

    await declare(vhost, SHARDS, timeout_seconds=SOON_SECONDS)
    await bus.publish(callback(b"found"))
    await callbacks.wait_for(1)
    await commands.deliveries[1].ack()


async def test_the_same_id_is_not_published_twice_at_once(bus: AmqpBus) -> None:
    # Both would be returned, but the client would tell only one of them.
    message = replace(command(b"x", queue="nowhere"), message_id="same")
    results = await asyncio.gather(
        bus.publish(message), bus.publish(message), return_exceptions=True
    )
    assert [type(result) for result in results] == [Unroutable, PublishFailed]
    with pytest.raises(Unroutable):
        await bus.publish(message)


async def test_an_upstream_listener_gets_what_it_is_promised(bus: AmqpBus, vhost: str) -> None:
    async with await aio_pika.connect(vhost) as connection, connection.channel() as channel:
        queue = await channel.declare_queue("upstream", durable=True)
        await queue.bind(EVENTS, "message.*")
        await bus.publish(
            Outgoing(
                exchange=EVENTS,
                routing_key="message.sent",
                body=b"{}",
                type="hantar.message.status.v1",
                message_id="m-1",
                mandatory=False,
            )
        )
        event = await queue.get(timeout=SOON_SECONDS)
        await event.ack()
    assert event.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert event.content_type == "application/json"
    assert (event.type, event.message_id) == ("hantar.message.status.v1", "m-1")


async def test_declaring_again_changes_nothing_and_adds_shards(vhost: str) -> None:
    for shards in (SHARDS, SHARDS, SHARDS + 1):
        await declare(vhost, shards, timeout_seconds=SOON_SECONDS)
    async with await aio_pika.connect(vhost) as connection, connection.channel() as channel:
        for queue in topology(SHARDS + 1).queues:
            await channel.declare_queue(queue.name, passive=True)


async def test_a_queue_that_differs_is_named(vhost: str) -> None:
    async with await aio_pika.connect(vhost) as connection, connection.channel() as channel:
        await channel.declare_queue(EXPRESS, durable=True, arguments={"x-queue-type": "classic"})
    with pytest.raises(TopologyMismatch, match=f"queue {EXPRESS} differs: .*inequivalent arg"):
        await declare(vhost, SHARDS, timeout_seconds=SOON_SECONDS)


async def test_an_exchange_that_differs_is_named(vhost: str) -> None:
    async with await aio_pika.connect(vhost) as connection, connection.channel() as channel:
        await channel.declare_exchange(CALLBACKS, "fanout", durable=True)
    with pytest.raises(TopologyMismatch, match=f"exchange {CALLBACKS} differs"):
        await declare(vhost, SHARDS, timeout_seconds=SOON_SECONDS)


async def test_a_broker_that_is_not_there_is_an_error_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    with socket.socket() as closed_port:
        closed_port.bind(("127.0.0.1", 0))
        url = f"amqp://hantar:s3cret@127.0.0.1:{closed_port.getsockname()[1]}/"
        with pytest.raises(OSError, match="Connect call failed") as refused:
            await AmqpBus.connect(url)
    assert "s3cret" not in f"{refused.value!r}{caplog.text}"


async def test_a_broker_that_says_nothing_is_an_error_in_time() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await AmqpBus.connect(url, connect_timeout_seconds=0.3)
        with pytest.raises(TimeoutError):
            await declare(url, SHARDS, timeout_seconds=0.3)
    assert time.monotonic() - began < 2.0
