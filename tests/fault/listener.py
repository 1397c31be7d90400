"""An independent upstream: a queue of its own on `hantar.events`, journalled before each ack."""

from __future__ import annotations

import asyncio

import aio_pika
import orjson
from aio_pika.abc import AbstractIncomingMessage

from service.bus.topology import EVENTS
from tests.fault.journal import Journal

QUEUE = "upstream.events"
PREFETCH = 500
CONNECT_SECONDS = 10.0
RETRY_SECONDS = 0.5


class Listener:
    """Listens until closed, over restarts of the broker: it connects anew whenever it was lost."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._listening: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, url: str) -> None:
        """Done when its queue is bound, so that no event is missed."""
        self._task = asyncio.create_task(self._listen_for_ever(url), name="listener")
        async with asyncio.timeout(2 * CONNECT_SECONDS):
            await self._listening.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen_for_ever(self, url: str) -> None:
        while True:
            try:
                await self._listen(url)
            except Exception:  # noqa: BLE001 - whatever the broker met, it is tried again
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, url: str) -> None:
        async with await aio_pika.connect(url, timeout=CONNECT_SECONDS, heartbeat=5) as connection:
            lost = asyncio.Event()
            connection.close_callbacks.add(lambda *_: lost.set())
            async with asyncio.timeout(CONNECT_SECONDS):
                channel = await connection.channel()
                channel.close_callbacks.add(lambda *_: lost.set())
                await channel.set_qos(prefetch_count=PREFETCH)
                queue = await channel.declare_queue(
                    QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
                )
                await queue.bind(EVENTS, "#")
                await queue.consume(self._take)
            self._listening.set()
            await lost.wait()

    async def _take(self, message: AbstractIncomingMessage) -> None:
        body = orjson.loads(message.body)
        lines = [
            {"account": body["account"], "id": each["message_id"], **_facts(each)}
            for each in body.get("events", ())
        ]
        if lines:
            self._journal.note(*lines)
        await message.ack()


def _facts(event: dict[str, object]) -> dict[str, object]:
    return {"status": event["status"], "seq": event["seq"], "reference": event["reference"]}
