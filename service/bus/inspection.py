"""What the broker has of the topology, looked at from outside and left as it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from service.bus.topology import Queue, topology

#: Everything; a broker that answers at all answers each question in milliseconds.
INSPECT_SECONDS = 60.0
#: A broker with an alarm reads nothing from whoever publishes.
ALARM_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue that should be there; messages are those that wait to be handed out."""

    name: str
    state: Literal["sound", "missing", "differs", "refused"]
    messages: int = 0
    consumers: int = 0


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What was found; `missing` are exchanges."""

    missing: list[str]
    queues: list[QueueState]
    blocked: bool


async def inspect(amqp_url: str, shards: int) -> BrokerState:
    """Look at all of it; raises OSError, TimeoutError or AMQPError when there is no looking."""
    wanted = topology(shards)
    async with asyncio.timeout(INSPECT_SECONDS), await aio_pika.connect(amqp_url) as connection:
        missing = [name for name in wanted.exchanges if not await _has(connection, name)]
        queues = [await _queue(connection, queue) for queue in wanted.queues]
    return BrokerState(missing, queues, await _blocked(amqp_url))


async def _has(connection: AbstractConnection, exchange: str) -> bool:
    # Each question has a channel of its own, as the broker closes it to say no.
    try:
        async with connection.channel() as channel:
            await channel.get_exchange(exchange, ensure=True)
    except ChannelNotFoundEntity:
        return False
    return True


async def _queue(connection: AbstractConnection, queue: Queue) -> QueueState:
    try:
        async with connection.channel() as channel:
            found = await channel.declare_queue(queue.name, passive=True)
        async with connection.channel() as channel:
            # Not passive, so that its arguments are compared; it is there, so nothing is made.
            await channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments))
    except ChannelNotFoundEntity:
        return QueueState(queue.name, "missing")
    except ChannelPreconditionFailed:
        return QueueState(queue.name, "differs")
    except ChannelAccessRefused:
        return QueueState(queue.name, "refused")
    result = found.declaration_result
    return QueueState(queue.name, "sound", result.message_count or 0, result.consumer_count or 0)


async def _blocked(amqp_url: str) -> bool:
    """Whether what is published is not taken: to a queue that nobody has, so it is dropped."""
    connection = await aio_pika.connect(amqp_url, timeout=ALARM_SECONDS)
    try:
        async with asyncio.timeout(ALARM_SECONDS):
            channel = await connection.channel()
            # It stops to read behind the first one that it is sent.
            for _ in range(2):
                await channel.default_exchange.publish(
                    aio_pika.Message(b"?"), routing_key="hantar.doctor", mandatory=False
                )
    except TimeoutError:
        return True
    finally:
        closing = asyncio.ensure_future(connection.close())
        await asyncio.wait({closing}, timeout=ALARM_SECONDS)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
    return False
