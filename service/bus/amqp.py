"""The bus on RabbitMQ."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

from aio_pika.abc import AbstractRobustConnection
from aiormq import spec
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError

from service.bus.amqp_connection import (
    end,
    is_usable,
    live,
    lost_connections_as_errors,
    open_connection,
)
from service.bus.amqp_consumer import AmqpConsumer
from service.bus.bus import (
    Handler,
    Outgoing,
    PublishFailed,
    PublishTimeout,
    Refused,
    Unroutable,
    count_safe,
)
from service.bus.delivery import Handling
from service.telemetry import metrics

_PERSISTENT = 2


class AmqpBus:
    """A `Bus` on RabbitMQ: persistent, mandatory, confirmed, and back by itself after an outage.

    Publishing has a connection of its own, because a broker short of memory or disk stops reading
    from whoever publishes, and acks would be stuck behind that.
    """

    def __init__(
        self,
        publishing: AbstractRobustConnection,
        consuming: AbstractRobustConnection,
        *,
        publish_timeout_seconds: float,
        requeue_pause_seconds: float,
    ) -> None:
        self._publishing = publishing
        self._consuming = consuming
        self._publish_timeout_seconds = publish_timeout_seconds
        self._requeue_pause_seconds = requeue_pause_seconds
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._in_flight: dict[str, asyncio.Timeout] = {}
        self._consumers: set[AmqpConsumer] = set()
        self._closed = False
        metrics.CONSUMERS.labels("wanted").set_function(lambda: len(self._consumers))
        metrics.CONSUMERS.labels("registered").set_function(
            lambda: sum(consumer.registered for consumer in self._consumers)
        )

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        publish_timeout_seconds: float = 10.0,
        connect_timeout_seconds: float = 10.0,
        requeue_pause_seconds: float = 1.0,
    ) -> AmqpBus:
        """Connect, or raise `OSError` when the broker cannot be reached in time."""
        publishing = await open_connection(url, "publish", connect_timeout_seconds)
        try:
            consuming = await open_connection(url, "consume", connect_timeout_seconds)
        except BaseException:
            await end(publishing.close())
            raise
        return cls(
            publishing,
            consuming,
            publish_timeout_seconds=publish_timeout_seconds,
            requeue_pause_seconds=requeue_pause_seconds,
        )

    @property
    def connected(self) -> bool:
        return not self._closed and is_usable(self._publishing) and is_usable(self._consuming)

    async def publish(self, message: Outgoing) -> None:
        if self._closed:
            raise PublishFailed("the bus is closed")
        message_id = _id(message)
        # The client finds the publisher of a returned message by this id: with two alike in
        # flight it would tell the wrong one, and the other would take its message for safe.
        if message_id in self._in_flight:
            raise PublishFailed(f"{message_id} is being published already")
        try:
            async with asyncio.timeout(self._publish_timeout_seconds) as deadline:
                self._in_flight[message_id] = deadline
                with lost_connections_as_errors():
                    channel = await self._publish_channel()
                await _publish_on(channel, message, message_id)
        except Exception as problem:
            raise _publish_failure(message, problem) from problem
        finally:
            del self._in_flight[message_id]

    async def publish_in_order(self, messages: Sequence[Outgoing]) -> int:
        if self._closed:
            raise PublishFailed("the bus is closed")
        publishing: list[asyncio.Task[None]] = []
        batch_id = uuid.uuid4().hex
        try:
            async with asyncio.timeout(self._publish_timeout_seconds) as deadline:
                self._in_flight[batch_id] = deadline
                with lost_connections_as_errors():
                    channel = await self._publish_channel()
                # All on this one channel: when it is lost, so is whatever comes after.
                publishing = [
                    asyncio.create_task(_publish_on(channel, message, _id(message)))
                    for message in messages
                ]
                await asyncio.wait(publishing)
        except Exception as problem:
            if not publishing:
                raise _publish_failure(messages[0], problem) from problem
        finally:
            del self._in_flight[batch_id]
            for task in publishing:
                task.cancel()
            outcomes = await asyncio.gather(*publishing, return_exceptions=True)
        return count_safe(
            [
                outcome and _publish_failure(message, outcome)
                for message, outcome in zip(messages, outcomes, strict=True)
            ]
        )

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> AmqpConsumer:
        if self._closed:
            raise RuntimeError("the bus is closed")
        handling = Handling(queue, handler, requeue_pause_seconds=self._requeue_pause_seconds)
        consumer = AmqpConsumer(self._consuming, queue, handling, prefetch, self._consumers.discard)
        self._consumers.add(consumer)
        try:
            await consumer.start()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    async def close(self) -> None:
        self._closed = True
        for deadline in self._in_flight.values():
            if not deadline.expired():
                deadline.reschedule(0)  # those still waiting are told now
        await asyncio.gather(*(consumer.close() for consumer in self._consumers))
        await asyncio.gather(end(self._publishing.close()), end(self._consuming.close()))

    async def _publish_channel(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                connection = await live(self._publishing)
                self._channel = await connection.channel(
                    publisher_confirms=True, on_return_raises=True
                )
            return self._channel


async def _publish_on(channel: AbstractChannel, message: Outgoing, message_id: str) -> None:
    with lost_connections_as_errors():
        await channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=_properties(message, message_id),
            mandatory=message.mandatory,
        )


def _id(message: Outgoing) -> str:
    return message.message_id or uuid.uuid4().hex


def _properties(message: Outgoing, message_id: str) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type="application/json",
        delivery_mode=_PERSISTENT,
        message_type=message.type,
        message_id=message_id,
        correlation_id=message.correlation_id,
        headers=dict(message.headers) or None,
    )


def _publish_failure(message: Outgoing, problem: BaseException) -> PublishFailed:
    where = f"{message.exchange} {message.routing_key}"
    match problem:
        case TimeoutError() | asyncio.CancelledError():
            return PublishTimeout(where)
        case PublishError():
            return Unroutable(where)
        case DeliveryError():
            return Refused(where)
    return PublishFailed(f"{where}: {problem!r}")
