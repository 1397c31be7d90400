"""An independent upstream: a queue of its own on `hantar.events`, journalled before each ack."""

from __future__ import annotations

import aio_pika
import orjson
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection

from service.bus.topology import EVENTS
from tests.fault.journal import Journal

QUEUE = "upstream.events"
PREFETCH = 500
CONNECT_SECONDS = 30.0


class Listener:
    """Listens until closed, over restarts of the broker."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._connection: AbstractRobustConnection | None = None

    async def start(self, url: str) -> None:
        self._connection = await aio_pika.connect_robust(
            url, timeout=CONNECT_SECONDS, heartbeat=10, reconnect_interval=1
        )
        channel = await self._connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await queue.bind(EVENTS, "#")
        await queue.consume(self._take)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        body = orjson.loads(message.body)
        lines = [
            {"account": body["account"], "id": each["message_id"], **_facts(each)}
            for each in body.get("events", ())
        ]
        if lines:
            self._journal.note(*lines)
        await message.ack()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


def _facts(event: dict[str, object]) -> dict[str, object]:
    return {"status": event["status"], "seq": event["seq"], "reference": event["reference"]}
