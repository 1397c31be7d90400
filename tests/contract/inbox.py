"""What the bus suites share: messages to publish, and a handler that can be waited on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from service.bus.bus import Bus, Delivery, Outgoing
from service.bus.topology import CALLBACKS, DISPATCH, dispatch_queue

SHARDS = 2
SOON_SECONDS = 10.0
EXPRESS = dispatch_queue(0, express=True)


class Inbox:
    """A handler that keeps what it is given, and can be waited on."""

    def __init__(self, then: Callable[[Delivery], Awaitable[None]] | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self._then = then
        self._news = asyncio.Condition()

    async def __call__(self, delivery: Delivery) -> None:
        async with self._news:
            self.deliveries.append(delivery)
            self._news.notify_all()
        if self._then is not None:
            await self._then(delivery)

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]

    async def wait_for(self, number: int) -> list[Delivery]:
        await self.wait_until(lambda: len(self.deliveries) >= number)
        return self.deliveries

    async def wait_until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_SECONDS), self._news:
            await self._news.wait_for(enough)


def command(body: bytes, queue: str = EXPRESS) -> Outgoing:
    return Outgoing(exchange=DISPATCH, routing_key=queue, body=body, type="test.v1")


def callback(body: bytes) -> Outgoing:
    return Outgoing(exchange=CALLBACKS, routing_key=CALLBACKS, body=body, type="test.v1")


def publish_behind(bus: Bus, *messages: Outgoing) -> asyncio.Task[list[None]]:
    """Publish in order without waiting: in one process that takes until they are acked."""

    async def publish_all() -> list[None]:
        return await asyncio.gather(*(bus.publish(message) for message in messages))

    return asyncio.create_task(publish_all())


async def settled(publishing: asyncio.Task[list[None]]) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        await publishing
