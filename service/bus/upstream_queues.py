"""The queues of each upstream service, and what its user needs at the broker."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractRobustChannel
from aio_pika.exceptions import ChannelNotFoundEntity
from pamqp.common import FieldTable

from service.bus.topology import (
    COMMANDS,
    EVENTS,
    EVENTS_OF_ACCOUNTS,
    EVERY,
    command_queues,
    declare_queue,
)

#: What a service that is away for long may leave unread, in messages and bytes; then the oldest
#: go, and can be replayed.
QUEUE_LIMITS = (1_000_000, 1024 * 1024 * 1024)
CALL_SECONDS = 30.0
REPLAY_SECONDS = 3600.0
#: What the names of Hantar's own queues begin with.
_INSIDE = ("hantar.", "dispatch.")
ARGUMENTS: dict[str, str | int] = {
    "x-queue-type": "quorum",
    "x-queue-leader-locator": "balanced",
    # Without a limit RabbitMQ 4 drops an event that came back 20 times.
    "x-delivery-limit": 1_000_000_000,
    "x-max-length": QUEUE_LIMITS[0],
    "x-max-length-bytes": QUEUE_LIMITS[1],
    # Refusing instead would hold up the events of all the others.
    "x-overflow": "drop-head",
}


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a user may do at the broker, as its regular expressions on names."""

    configure: str
    write: str
    read: str


def own_queue(user: str) -> str:
    """The queue that gets the events of the accounts that this user may name."""
    return f"{EVENTS}.{user}"


def permissions(user: str) -> Permissions:
    """Publish commands and read its own queue; nothing else."""
    return Permissions("^$", f"^{re.escape(COMMANDS)}$", f"^{re.escape(own_queue(user))}$")


async def open_queue(amqp_url: str, user: str, account_id: int) -> None:
    """Have the user's queue get the account's events from now on; it is made if there is none, and
    so are the queues of the user's own commands."""
    async with _channel(amqp_url, CALL_SECONDS) as channel:
        for own in command_queues(user):
            await declare_queue(channel, own)
        queue = await channel.declare_queue(
            own_queue(user), durable=True, arguments=dict(ARGUMENTS)
        )
        await queue.bind(EVENTS_OF_ACCOUNTS, "", arguments=_of(account_id))


async def cut_off(amqp_url: str, user: str, account_id: int) -> None:
    """Keep the account's further events from the user's queue; what is in it stays."""
    async with _channel(amqp_url, CALL_SECONDS) as channel:
        queue = await channel.get_queue(own_queue(user), ensure=False)
        await queue.unbind(EVENTS_OF_ACCOUNTS, "", arguments=_of(account_id))


class NoSuchQueue(Exception):
    """There is no queue of this name, or it is not one that events go to."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it was published."""

    id: int
    account_id: int
    routing_key: str
    type: str
    body: bytes
    correlation_id: str | None


@asynccontextmanager
async def replaying(
    amqp_url: str, queue: str
) -> AsyncIterator[Callable[[Sequence[Told]], Awaitable[None]]]:
    """A function that publishes events once more, to this queue alone and as they were.

    It returns when the broker has all of them. Raises NoSuchQueue.
    """
    if queue.startswith(_INSIDE) and not queue.startswith(f"{EVENTS}."):
        raise NoSuchQueue(f"{queue} is not a queue for events")
    async with _channel(amqp_url, REPLAY_SECONDS) as channel:
        try:
            target = await channel.declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:
            raise NoSuchQueue(f"there is no queue {queue}") from None
        # An exchange of this replay's own: no other queue is to get what is published.
        exchange = await channel.declare_exchange(
            f"{EVENTS}.replay.{uuid.uuid4().hex}", "topic", durable=True, auto_delete=True
        )
        await target.bind(exchange, EVERY)

        async def publish(events: Sequence[Told]) -> None:
            async with asyncio.timeout(CALL_SECONDS):
                await asyncio.gather(
                    *(exchange.publish(_again(each), each.routing_key) for each in events)
                )

        try:
            yield publish
        finally:
            await exchange.delete()


def _again(event: Told) -> aio_pika.Message:
    return aio_pika.Message(
        event.body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=str(event.id),
        correlation_id=event.correlation_id,
        type=event.type,
        headers={"account": str(event.account_id), "replayed": "true"},
    )


def _of(account_id: int) -> FieldTable:
    return {"x-match": "all", "account": str(account_id)}


@asynccontextmanager
async def _channel(amqp_url: str, seconds: float) -> AsyncIterator[AbstractRobustChannel]:
    async with (
        asyncio.timeout(seconds),
        await aio_pika.connect_robust(amqp_url, timeout=10.0, reconnect_interval=1) as connection,
        await connection.channel(on_return_raises=True) as channel,
    ):
        assert isinstance(channel, AbstractRobustChannel)
        yield channel
