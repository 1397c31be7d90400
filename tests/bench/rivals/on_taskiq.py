"""taskiq with its RabbitMQ broker: two worker processes and a quorum queue, its defaults; prefetch
as many messages as it works on at once; no results; acknowledged when executed."""

from __future__ import annotations

import asyncio

from taskiq import TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker

from tests.bench.rivals.sending import AMQP_URL, CALLS, Async, orders

broker = AioPikaBroker(AMQP_URL, qos=CALLS)
sending = Async()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(state: TaskiqState) -> None:
    await sending.start()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close(state: TaskiqState) -> None:
    await sending.close()


@broker.task("send")  # whichever program it is in
async def send(id_: int, phone: str, text: str) -> None:
    await sending.send(id_, phone, text)


async def main() -> None:
    await sending.start()
    await broker.startup()
    for count in orders():
        await asyncio.gather(*(send.kiq(*item) for item in await sending.insert(count)))
    await broker.shutdown()
    await sending.close()


if __name__ == "__main__":
    asyncio.run(main())
