"""An upstream service: publishes commands until the broker has them, and journals every answer."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from service.bus.topology import COMMANDS, EVENTS
from tests.fault.client import PATIENCE_SECONDS, PAUSE_SECONDS, Client, Reply, Tenant

USER = "guest"
CONNECT_SECONDS = 10.0


class Upstream:
    """Its messages are made by the client of the case, whose journal it shares."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = count(1)
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None

    async def open(self, url: str) -> None:
        """Connect, and listen for answers."""
        self._connection = await aio_pika.connect(url, timeout=CONNECT_SECONDS)
        self._channel = await self._connection.channel(on_return_raises=True)
        queue = await self._channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "command.*")
        await queue.consume(self._take)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def send(self, tenant: Tenant, size: int) -> Reply:
        """A command of so many messages, published until it is confirmed and answered."""
        tag = f"u{next(self._numbers)}"
        messages = [
            self._client.message(tenant, reference=f"{tag}.{place}") for place in range(size)
        ]
        kind = "send" if size == 1 else "bulk"
        body = messages[0] if size == 1 else {"messages": messages}
        self._client.journal.note(
            {"request": tag, "size": size, "account": tenant.account, "patient": True}
        )
        self._answers[tag] = asyncio.get_running_loop().create_future()
        await self._publish(tag, kind, orjson.dumps(body | {"account": tenant.account}))
        async with asyncio.timeout(PATIENCE_SECONDS):
            reply: Reply = await self._answers[tag]
        return reply

    async def _publish(self, tag: str, kind: str, body: bytes) -> None:
        assert self._channel is not None
        exchange = await self._channel.get_exchange(COMMANDS, ensure=False)
        message = aio_pika.Message(
            body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=tag,
            type=f"hantar.message.{kind}.v1",
            user_id=USER,
        )
        while True:
            try:
                await exchange.publish(message, f"message.{kind}", timeout=CONNECT_SECONDS)
            except (aio_pika.exceptions.DeliveryError, TimeoutError):
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return

    async def _take(self, message: AbstractIncomingMessage) -> None:
        answer = orjson.loads(message.body)
        tag = answer["command"]
        ids = [item["id"] for item in answer.get("queued", ())]
        status = 202 if "queued" in answer else answer["problem"]["status"]
        # On the disk before anybody acts on it, as everywhere in this suite.
        self._client.journal.note({"tag": tag, "status": status, "ids": ids})
        await message.ack()
        waiting = self._answers.get(tag)
        if waiting is not None and not waiting.done():
            waiting.set_result(Reply(tag, status, {"queued": answer.get("queued")}))
