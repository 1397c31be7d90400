"""Dead commands at the broker, for whoever decides about them: seen, brought back, or dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel
from aio_pika.exceptions import ChannelPreconditionFailed

from service.bus.amqp_decoding import be_lenient
from service.bus.topology import COMMANDS, COMMANDS_DEAD

#: All that is done with one call; what is not settled by then goes back into the queue.
CALL_SECONDS = 120.0
_PREFIX = "hantar-"

be_lenient()


class CannotReplay(Exception):
    """The broker does not let this user publish in another's name."""


@dataclass(frozen=True, slots=True)
class DeadCommand:
    """A command that was buried; `id` names it among the dead, the rest is as it was published."""

    id: str
    reason: str
    detail: str | None
    routing_key: str | None
    type: str | None
    message_id: str | None
    user_id: str | None
    content_type: str | None
    content_encoding: str | None
    reply_to: str | None
    size_bytes: int
    whole: bool
    body: bytes

    def summary(self) -> dict[str, Any]:
        """All but the body, which holds texts and phones."""
        names = [name for name in self.__slots__ if name != "body"]
        return {name: getattr(self, name) for name in names}


async def look(amqp_url: str, *, limit: int) -> list[DeadCommand]:
    """The oldest dead commands; all of them stay."""
    async with _channel(amqp_url) as channel:
        return [_read(message) async for message in _oldest(channel, limit)]


async def drop(amqp_url: str, wanted: Callable[[DeadCommand], bool], *, limit: int) -> list[str]:
    """Forget those that are wanted among the oldest; the ids of what is gone."""
    dropped: list[str] = []
    async with _channel(amqp_url) as channel:
        async for message in _oldest(channel, limit):
            dead = _read(message)
            if wanted(dead):
                await message.ack()
                dropped.append(dead.id)
    return dropped


async def replay(amqp_url: str, wanted: Callable[[DeadCommand], bool], *, limit: int) -> list[str]:
    """Publish those that are wanted once more, as they were and in their user's name.

    The ids of what was published; one that is not whole stays. Raises CannotReplay.
    """
    replayed: list[str] = []
    async with _channel(amqp_url) as channel:
        commands = await channel.get_exchange(COMMANDS, ensure=False)
        # All of them first: one that dies again comes to the end of the queue, and stays there.
        for message in [each async for each in _oldest(channel, limit)]:
            dead = _read(message)
            if not (wanted(dead) and dead.whole and dead.routing_key):
                continue
            try:
                await commands.publish(_again(dead), dead.routing_key, mandatory=True)
            except ChannelPreconditionFailed as refused:
                raise CannotReplay(
                    "the user of HANTAR_AMQP_URL needs the tag impersonator at the broker"
                ) from refused
            await message.ack()
            replayed.append(dead.id)
    return replayed


@asynccontextmanager
async def _channel(amqp_url: str) -> AsyncIterator[AbstractRobustChannel]:
    async with (
        asyncio.timeout(CALL_SECONDS),
        await aio_pika.connect_robust(amqp_url, timeout=10.0, reconnect_interval=1) as connection,
        # What is not acked goes back into its place when the channel is closed.
        await connection.channel(on_return_raises=True) as channel,
    ):
        assert isinstance(channel, AbstractRobustChannel)
        yield channel


async def _oldest(
    channel: AbstractRobustChannel, limit: int
) -> AsyncIterator[AbstractIncomingMessage]:
    queue = await channel.get_queue(COMMANDS_DEAD, ensure=False)
    for _ in range(limit):
        message = await queue.get(fail=False)
        if message is None:
            return
        yield message


def _read(message: AbstractIncomingMessage) -> DeadCommand:
    given = {
        name.removeprefix(_PREFIX): str(value)
        for name, value in message.headers.items()
        if name.startswith(_PREFIX)
    }
    if "reason" not in given:
        # Buried by the broker, as it came back too often: it is there as it was published.
        return DeadCommand(
            message.message_id or "",
            str(message.headers.get("x-first-death-reason", "unknown")),
            None,
            _first_routing_key(message),
            message.type,
            message.message_id,
            message.user_id,
            message.content_type,
            message.content_encoding,
            message.reply_to,
            len(message.body),
            whole=True,
            body=message.body,
        )
    size = int(given["bytes"])
    return DeadCommand(
        message.message_id or "",
        given["reason"],
        given.get("detail"),
        given.get("routing-key"),
        given.get("type"),
        given.get("message-id"),
        given.get("user-id"),
        given.get("content-type"),
        given.get("content-encoding"),
        given.get("reply-to"),
        size,
        whole=size == len(message.body),
        body=message.body,
    )


def _first_routing_key(message: AbstractIncomingMessage) -> str | None:
    deaths = message.headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[-1], dict):
        return None
    keys = deaths[-1].get("routing-keys")
    return str(keys[0]) if isinstance(keys, list) and keys else None


def _again(dead: DeadCommand) -> aio_pika.Message:
    return aio_pika.Message(
        dead.body,
        content_type=dead.content_type,
        content_encoding=dead.content_encoding,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=dead.message_id,
        type=dead.type,
        user_id=dead.user_id,
        reply_to=dead.reply_to,
    )
