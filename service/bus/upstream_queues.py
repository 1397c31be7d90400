"""The queue of each upstream service, and what its user needs at the broker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractRobustChannel
from pamqp.common import FieldTable

from service.bus.topology import COMMANDS, EVENTS, EVENTS_OF_ACCOUNTS

#: What a service that is away for long may leave unread, in messages and bytes; then the oldest
#: go, and can be replayed.
QUEUE_LIMITS = (1_000_000, 1024 * 1024 * 1024)
CALL_SECONDS = 30.0
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
    """Have the user's queue get the account's events from now on; it is made if there is none."""
    async with _channel(amqp_url) as channel:
        queue = await channel.declare_queue(
            own_queue(user), durable=True, arguments=dict(ARGUMENTS)
        )
        await queue.bind(EVENTS_OF_ACCOUNTS, "", arguments=_of(account_id))


async def cut_off(amqp_url: str, user: str, account_id: int) -> None:
    """Keep the account's further events from the user's queue; what is in it stays."""
    async with _channel(amqp_url) as channel:
        queue = await channel.get_queue(own_queue(user), ensure=False)
        await queue.unbind(EVENTS_OF_ACCOUNTS, "", arguments=_of(account_id))


def _of(account_id: int) -> FieldTable:
    return {"x-match": "all", "account": str(account_id)}


@asynccontextmanager
async def _channel(amqp_url: str) -> AsyncIterator[AbstractRobustChannel]:
    async with (
        asyncio.timeout(CALL_SECONDS),
        await aio_pika.connect_robust(amqp_url, timeout=10.0, reconnect_interval=1) as connection,
        await connection.channel() as channel,
    ):
        assert isinstance(channel, AbstractRobustChannel)
        yield channel
