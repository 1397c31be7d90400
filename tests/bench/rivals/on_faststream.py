"""FastStream: one process, its default; uvloop, which its command picks; prefetch as many messages
as are worked on at once, which its page "Concurrency and Prefetch" leaves to that count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from tests.bench.rivals.sending import AMQP_URL, CALLS, Async, Item, orders

QUEUE = RabbitQueue("send", durable=True)
broker = RabbitBroker(AMQP_URL, default_channel=Channel(prefetch_count=CALLS), logger=None)
sending = Async()


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    await sending.start()
    yield
    await sending.close()


app = FastStream(broker, lifespan=lifespan)


@broker.subscriber(QUEUE)
async def send(id_: int, phone: str, text: str) -> None:
    await sending.send(id_, phone, text)


async def publish(item: Item) -> None:
    id_, phone, text = item
    await broker.publish({"id_": id_, "phone": phone, "text": text}, QUEUE, persist=True)


async def main() -> None:
    await sending.start()
    async with broker:
        await broker.declare_queue(QUEUE)
        for count in orders():
            await asyncio.gather(*map(publish, await sending.insert(count)))
    await sending.close()


if __name__ == "__main__":
    asyncio.run(main())
