"""Consuming from RabbitMQ, across lost channels, connections and queues."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import partial

import structlog
from aio_pika.abc import AbstractRobustConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from service.bus.amqp_connection import (
    RECONNECT_PAUSE_SECONDS,
    end,
    live,
    lost_connections_as_errors,
)
from service.bus.bus import QueueMissing
from service.bus.delivery import Delivery, Handling, Settlement

log = structlog.get_logger()

_SUBSCRIBE_SECONDS = 10.0  # a queue without a leader keeps its answer back for 25 s
_SETTLE_SECONDS = 5.0


class AmqpConsumer:
    """A consumer on a channel of its own, subscribed again whenever it was lost.

    aio-pika's robust channels would do that as well, but with one queue missing they reopen the
    whole connection for ever, and each time counts against the delivery limit of everything that
    the other consumers hold.
    """

    def __init__(
        self,
        connection: AbstractRobustConnection,
        queue: str,
        handling: Handling,
        prefetch: int,
        forget: Callable[[AmqpConsumer], None],
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._handling = handling
        self._prefetch = prefetch
        self._forget = forget
        self._tag = f"hantar.{uuid.uuid4().hex}"
        self._channel: AbstractChannel | None = None
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def registered(self) -> bool:
        """Whether the broker hands its deliveries here."""
        return self._channel is not None and not self._lost.is_set() and not self._stopped

    async def start(self) -> None:
        """Subscribe, and stay subscribed; a broker that is away is waited for in the background."""
        try:
            await self._subscribe()
        except ChannelNotFoundEntity as missing:
            raise QueueMissing(self._queue) from missing
        except Exception:
            log.exception("bus_consumer_late", queue=self._queue)
            self._lost.set()
        self._keeper = asyncio.create_task(self._stay_subscribed(), name=f"keep {self._queue}")

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        if self._channel is not None and not self._lost.is_set() and not self._stopped:
            await end(self._channel.basic_cancel(self._tag))
        self._stopped = True

    async def close(self) -> None:
        await self.stop()
        await self._handling.cancel()
        await self._drop_channel()
        self._forget(self)

    async def _stay_subscribed(self) -> None:
        while True:
            await self._lost.wait()
            log.warning("bus_consumer_lost", queue=self._queue)
            while self._lost.is_set():
                await self._drop_channel()
                await self._connection.ready()  # it reconnects for as long as that takes
                try:
                    await self._subscribe()
                except Exception as problem:  # noqa: BLE001 - whatever it was, the cure is the same
                    log.warning("bus_consumer_late", queue=self._queue, problem=repr(problem))
                    self._lost.set()
                    await asyncio.sleep(RECONNECT_PAUSE_SECONDS)
            log.info("bus_consumer_restored", queue=self._queue)

    async def _subscribe(self) -> None:
        async with asyncio.timeout(_SUBSCRIBE_SECONDS):
            with lost_connections_as_errors():
                connection = await live(self._connection)
                channel = await connection.channel(publisher_confirms=False)
                self._channel, self._lost = channel, asyncio.Event()
                _when_lost(channel, self._lost.set)
                await channel.basic_qos(prefetch_count=self._prefetch)
                await channel.basic_consume(
                    self._queue, partial(self._take, channel), consumer_tag=self._tag
                )

    async def _take(self, channel: AbstractChannel, message: DeliveredMessage) -> None:
        if not self._stopped:  # else it stays unsettled, and goes back with the channel
            self._handling.start(_delivery(self._queue, channel, message))

    async def _drop_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await end(channel.close())


def _when_lost(channel: AbstractChannel, act: Callable[[], None]) -> None:
    """Call `act` when the channel or its connection closes, or the broker cancels the consumer."""
    channel.closing.add_done_callback(lambda _: act())
    channel.on_consumer_cancel_callbacks.add(lambda _: act())


def _delivery(queue: str, channel: AbstractChannel, message: DeliveredMessage) -> Delivery:
    properties = message.header.properties
    return Delivery(
        body=message.body,
        routing_key=message.routing_key or "",
        type=properties.message_type,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        headers=properties.headers or {},
        redelivered=bool(message.redelivered),
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        reply_to=properties.reply_to,
        user_id=properties.user_id,
        settle=partial(_settle, queue, channel, message),
    )


async def _settle(
    queue: str, channel: AbstractChannel, message: DeliveredMessage, settlement: Settlement
) -> None:
    tag = message.delivery_tag
    assert tag is not None  # only a message that was got, not delivered, has none
    try:
        async with asyncio.timeout(_SETTLE_SECONDS):
            if settlement is Settlement.ACK:
                await channel.basic_ack(tag, wait=False)
            else:
                # Not nack: from 4.3 on, only this counts against the delivery limit.
                await channel.basic_reject(
                    tag, requeue=settlement is Settlement.REQUEUE, wait=False
                )
    except Exception as problem:  # noqa: BLE001 - the broker gives an unsettled message again
        log.warning("bus_settlement_lost", queue=queue, problem=repr(problem))
