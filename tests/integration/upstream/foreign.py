"""An upstream service as a stranger would write it, with a client library that is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import pika
from pika.adapters.blocking_connection import BlockingChannel

Result = TypeVar("Result")

TYPES = {
    "message.send": "hantar.message.send.v1",
    "message.bulk": "hantar.message.bulk.v1",
    "campaign.create": "hantar.campaign.create.v1",
}
DIRECT_REPLY = "amq.rabbitmq.reply-to"
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that came from the broker."""

    routing_key: str
    type: str
    correlation_id: str | None
    message_id: str | None
    headers: dict[str, Any]
    json: Any


class Foreign:
    """Publishes commands, hears every event, and gets replies; all on a thread of its own."""

    def __init__(self, url: str, *, user: str = "guest", queue: str = "") -> None:
        """Without a queue of its own it makes one that gets everything."""
        self._url = url
        self._user = user
        self._queue = queue
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="foreign")
        self.heard: list[Heard] = []
        self.replies: list[Heard] = []

    async def open(self) -> None:
        """Connect, and begin to listen."""
        await self.run(self._open)

    def _open(self) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(self._url))
        self.channel: BlockingChannel = self._connection.channel()
        self.channel.confirm_delivery()
        if not self._queue:
            self._queue = self.channel.queue_declare("", exclusive=True).method.queue
            self.channel.queue_bind(self._queue, "hantar.events", "#")
        self.channel.basic_consume(self._queue, self._take(self.heard), auto_ack=True)
        self.channel.basic_consume(DIRECT_REPLY, self._take(self.replies), auto_ack=True)

    def _take(self, into: list[Heard]) -> Callable[..., None]:
        def take(_channel: object, method: Any, properties: Any, body: bytes) -> None:
            into.append(
                Heard(
                    method.routing_key,
                    properties.type,
                    properties.correlation_id,
                    properties.message_id,
                    properties.headers or {},
                    orjson.loads(body),
                )
            )

        return take

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Do this on the client's own thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(*arguments))

    async def publish(
        self, routing_key: str, body: object, message_id: str | None = None, **properties: Any
    ) -> None:
        """Publish a command as the contract says, but for what `properties` change."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        chosen = {
            "content_type": "application/json",
            "delivery_mode": 2,
            "message_id": message_id,
            "type": _type(routing_key),
            "user_id": self._user,
            **properties,
        }

        def send() -> None:
            self.channel.basic_publish(
                "hantar.commands", routing_key, raw, pika.BasicProperties(**chosen), mandatory=True
            )

        await self.run(send)

    async def answers(self, message_id: str, count: int = 1) -> list[Heard]:
        """The answers to a command, once there are so many."""

        async def look() -> list[Heard]:
            found = [each for each in self.heard if each.correlation_id == message_id]
            return found if len(found) >= count else []

        answers: list[Heard] = await self.until(look)
        return answers

    async def until(self, look: Callable[[], Any], *, within_seconds: float = 20.0) -> Any:
        """The first true thing that `look` answers, while messages come in."""
        async with asyncio.timeout(within_seconds):
            while not (found := await look()):
                await self.run(self._connection.process_data_events, _POLL_SECONDS)
        return found

    async def close(self) -> None:
        """Hang up."""
        await self.run(self._hang_up)
        self._thread.shutdown()

    def _hang_up(self) -> None:
        if self._connection.is_open:
            self._connection.close()

    def unconfirmed(self) -> BlockingChannel:
        """A channel that publishes as fast as it can; on the client's own thread."""
        return self._connection.channel()


def _type(routing_key: str) -> str | None:
    """That of the kind of commands, under its own key or that of a user."""
    return next((TYPES[key] for key in TYPES if f"{routing_key}.".startswith(f"{key}.")), None)
