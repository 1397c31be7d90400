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

State = Literal["sound", "missing", "differs", "refused"]
#: Everything; a broker that answers at all answers each question in milliseconds.
INSPECT_SECONDS = 60.0
#: A broker with an alarm reads nothing from whoever publishes.
ALARM_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue that should be there; messages are those that wait to be handed out."""

    name: str
    state: State
    messages: int = 0
    consumers: int = 0


@dataclass(frozen=True, slots=True)
class BrokerState:
    """What was found; `missing` are exchanges, and `refused` those that this user may not see."""

    missing: list[str]
    refused: list[str]
    queues: list[QueueState]
    blocked: bool


async def inspect(amqp_url: str, shards: int) -> BrokerState:
    """Look at all of it; raises OSError, TimeoutError or AMQPError when there is no looking."""
    wanted = topology(shards)
    async with asyncio.timeout(INSPECT_SECONDS), await aio_pika.connect(amqp_url) as connection:
        exchanges = {name: await _exchange(connection, name) for name in wanted.exchanges}
        queues = [await _queue(connection, queue) for queue in wanted.queues]
    missing = [name for name, state in exchanges.items() if state == "missing"]
    refused = [name for name, state in exchanges.items() if state == "refused"]
    return BrokerState(missing, refused, queues, await _blocked(amqp_url))


async def _exchange(connection: AbstractConnection, exchange: str) -> State:
    # Each question has a channel of its own, as the broker closes it to say no.
    try:
        async with connection.channel() as channel:
            await channel.get_exchange(exchange, ensure=True)
    except ChannelNotFoundEntity:
        return "missing"
    except ChannelAccessRefused:
        return "refused"
    return "sound"


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
    except ChannelAccessRefused:
        # It reads, and so takes what is published by whoever may.
        return False
    finally:
        closing = asyncio.ensure_future(connection.close())
        await asyncio.wait({closing}, timeout=ALARM_SECONDS)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
    return False
