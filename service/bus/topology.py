"""Exchanges and queues, as one table, and the one function that creates them on RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import aio_pika
from aio_pika.exceptions import ChannelPreconditionFailed

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel

DISPATCH = "hantar.dispatch"
CALLBACKS = "hantar.callbacks"
EVENTS = "hantar.events"
COMMANDS = "hantar.commands"
DEAD = "hantar.dead"
#: Gets every event, and hands it on by its header `account`: whose queue it goes to is decided at
#: the broker, and an upstream service never hears of accounts that are not its own.
EVENTS_OF_ACCOUNTS = "hantar.events.accounts"

DISPATCH_DEAD = "hantar.dispatch.dead"
CALLBACKS_DEAD = "hantar.callbacks.dead"
COMMANDS_DEAD = "hantar.commands.dead"

WEBHOOKS = "hantar.webhooks"
#: The binding of a queue that gets all that a topic exchange is given.
EVERY = "#"

#: A message that came back this often is buried; one try more than this was made.
DELIVERY_LIMIT = 10
#: Upstream commands come back only when an intake dies or is cut off; it never gives one back for
#: want of a database. So many deaths of our own are to bury nobody's command.
COMMAND_DELIVERY_LIMIT = 50
#: What each queue of commands may hold before the broker refuses more: messages, and bytes.
COMMAND_LIMITS = {
    "message.send": (20_000, 256 * 1024 * 1024),
    "message.bulk": (5_000, 1024 * 1024 * 1024),
    "campaign.create": (1_000, 256 * 1024 * 1024),
}
#: Of dead commands the latest are kept, so that garbage cannot fill the broker.
DEAD_COMMANDS_LIMITS = (10_000, 64 * 1024 * 1024)
# Dead letters must stay until somebody decides. Without a limit RabbitMQ 4 drops a message that
# came back 20 times, and it is only there that -1 means "none".
_NO_LIMIT = 1_000_000_000


class TopologyMismatch(Exception):
    """The broker holds an exchange or queue of this name with other properties."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One quorum queue and its one binding."""

    name: str
    exchange: str
    routing_key: str
    dead_letters_to: str | None = None
    single_active: bool = False
    #: messages and bytes it holds at most, and what happens to the next one
    limits: tuple[int, int] | None = None
    when_full: Literal["reject-publish", "drop-head"] = "reject-publish"
    comes_back: int = DELIVERY_LIMIT

    @property
    def delivery_limit(self) -> int:
        """How often a message may come back before it is buried."""
        return _NO_LIMIT if self.dead_letters_to is None else self.comes_back

    @property
    def arguments(self) -> dict[str, str | int | bool]:
        """What RabbitMQ is told; every limit explicit, since its defaults differ by version."""
        arguments: dict[str, str | int | bool] = {
            "x-queue-type": "quorum",
            "x-delivery-limit": self.delivery_limit,
            # Otherwise every leader of a cluster sits on the node that `hantar migrate` met.
            "x-queue-leader-locator": "balanced",
        }
        if self.single_active:
            arguments["x-single-active-consumer"] = True
        if self.limits is not None:
            arguments |= {
                "x-max-length": self.limits[0],
                "x-max-length-bytes": self.limits[1],
                "x-overflow": self.when_full,
            }
        if self.dead_letters_to is not None:
            arguments |= {
                "x-dead-letter-exchange": DEAD,
                # At most once, on purpose: the row is the truth, and one that waits is found
                # again by its age. The at-least-once worker of RabbitMQ 3.10 was seen to die with
                # a vhost, and every later declaration failed (rabbitmq-server#16652).
                "x-dead-letter-routing-key": self.dead_letters_to,
            }
        return arguments


@dataclass(frozen=True, slots=True)
class Topology:
    """Every exchange with its type, every queue, and which exchange gets all of another one."""

    exchanges: Mapping[str, str]
    queues: tuple[Queue, ...]
    fed_by: Mapping[str, str] = field(default_factory=dict)


def dispatch_queue(shard: int, *, express: bool) -> str:
    """Name the queue of a shard's commands, which is their routing key too."""
    return f"dispatch.{shard:02d}.{'express' if express else 'bulk'}"


def own_key(routing_key: str, user: str | None) -> str:
    """Under what a user publishes one kind of commands to a queue of its own; None: of all."""
    return routing_key if user is None else f"{routing_key}.{user}"


def command_queue(routing_key: str, user: str | None = None) -> str:
    """Name the queue of one kind of upstream commands, of a user or of all."""
    return f"{COMMANDS}.{own_key(routing_key, user)}"


def command_queues(user: str | None = None) -> tuple[Queue, ...]:
    """Describe the queues of upstream commands, of a user or of all."""
    return tuple(
        Queue(
            command_queue(key, user),
            COMMANDS,
            own_key(key, user),
            COMMANDS_DEAD,
            limits=limits,
            comes_back=COMMAND_DELIVERY_LIMIT,
        )
        for key, limits in COMMAND_LIMITS.items()
    )


def topology(shards: int) -> Topology:
    """Describe all that Hantar needs for this number of shards."""
    dispatch = [
        dispatch_queue(shard, express=express)
        for shard in range(shards)
        for express in (True, False)
    ]
    return Topology(
        exchanges=MappingProxyType(
            {
                DISPATCH: "direct",
                CALLBACKS: "direct",
                EVENTS: "topic",
                EVENTS_OF_ACCOUNTS: "headers",
                COMMANDS: "direct",
                DEAD: "direct",
            }
        ),
        queues=(
            # The dead first: a queue that buries into nothing blocks its own space.
            Queue(DISPATCH_DEAD, DEAD, DISPATCH_DEAD),
            Queue(CALLBACKS_DEAD, DEAD, CALLBACKS_DEAD),
            Queue(
                COMMANDS_DEAD,
                DEAD,
                COMMANDS_DEAD,
                limits=DEAD_COMMANDS_LIMITS,
                when_full="drop-head",
            ),
            *(Queue(name, DISPATCH, name, DISPATCH_DEAD, single_active=True) for name in dispatch),
            Queue(CALLBACKS, CALLBACKS, CALLBACKS, CALLBACKS_DEAD),
            Queue(WEBHOOKS, EVENTS, EVERY),
            *command_queues(),
        ),
        fed_by=MappingProxyType({EVENTS_OF_ACCOUNTS: EVENTS}),
    )


async def declare(amqp_url: str, shards: int, *, timeout_seconds: float) -> None:
    """Create on the broker what is missing; leave alone what stands; raise where they differ."""
    async with (
        asyncio.timeout(timeout_seconds),
        await aio_pika.connect(amqp_url) as connection,
        await connection.channel() as channel,
    ):
        wanted = topology(shards)
        for name, kind in wanted.exchanges.items():
            try:
                await channel.declare_exchange(name, kind, durable=True)
            except ChannelPreconditionFailed as mismatch:
                raise TopologyMismatch(f"exchange {name} differs: {mismatch}") from mismatch
        for name, source in wanted.fed_by.items():
            await (await channel.get_exchange(name, ensure=False)).bind(source, EVERY)
        for queue in wanted.queues:
            await declare_queue(channel, queue)


async def declare_queue(channel: AbstractChannel, queue: Queue) -> None:
    """Create a queue and its binding where they are missing; raises TopologyMismatch."""
    try:
        declared = await channel.declare_queue(
            queue.name, durable=True, arguments=dict(queue.arguments)
        )
    except ChannelPreconditionFailed as mismatch:
        raise TopologyMismatch(f"queue {queue.name} differs: {mismatch}") from mismatch
    await declared.bind(queue.exchange, queue.routing_key)
