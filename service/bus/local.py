"""The bus inside one process: the embedded default, with RabbitMQ's manners and no memory."""

from __future__ import annotations

import asyncio
import heapq
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import structlog

from service.bus.bus import (
    Handler,
    Outgoing,
    PublishFailed,
    QueueMissing,
    Unroutable,
    count_safe,
)
from service.bus.delivery import Delivery, Handling, Settlement
from service.bus.topology import EVERY, Queue, Topology

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Letter:
    """A message in a queue, and the publisher who waits until somebody has answered for it."""

    message: Outgoing
    message_id: str
    place: int
    answered: asyncio.Future[None] | None = None
    came_back: int = 0
    died: Mapping[str, str] = field(default_factory=dict)

    def __lt__(self, other: _Letter) -> bool:
        return self.place < other.place

    def answer(self) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(None)


class LocalBus:
    """A `Bus` of which nothing outlives the process.

    Because a message lives in memory only, `publish` returns when a consumer has acked it or it
    was buried, however long that takes: until then the publisher still owes it.
    """

    def __init__(self, topology: Topology, *, requeue_pause_seconds: float = 1.0) -> None:
        queues = {queue.name: _Queue(queue, self._bury) for queue in topology.queues}
        self._queues = queues
        self._exchanges = topology.exchanges.keys() | {""}
        # Every queue is also bound to the nameless exchange, as on any broker.
        self._routes = {("", name): queue for name, queue in queues.items()} | {
            (queue.exchange, queue.routing_key): queues[queue.name] for queue in topology.queues
        }
        self._requeue_pause_seconds = requeue_pause_seconds
        self._waiting: set[asyncio.Future[None]] = set()
        self._consumers: set[_LocalConsumer] = set()
        self._closed = False

    @property
    def connected(self) -> bool:
        return not self._closed

    async def publish(self, message: Outgoing) -> None:
        if self._closed:
            raise PublishFailed("the bus is closed")
        if message.exchange not in self._exchanges:
            raise PublishFailed(f"no exchange {message.exchange}")
        queues = self._queues_for(message)
        if not queues:
            if message.mandatory:
                raise Unroutable(f"no queue for {message.exchange} {message.routing_key}")
            return
        message_id = message.message_id or uuid.uuid4().hex
        answers = [self._put(queue, message, message_id) for queue in queues]
        try:
            for answered in answers:
                await answered
        finally:
            self._waiting.difference_update(answers)

    async def publish_in_order(self, messages: Sequence[Outgoing]) -> int:
        return count_safe(
            await asyncio.gather(*map(self.publish, messages), return_exceptions=True)
        )

    def _queues_for(self, message: Outgoing) -> list[_Queue]:
        """Those bound for exactly this routing key, and those bound for every one."""
        keys = dict.fromkeys((message.routing_key, EVERY))
        return [
            queue
            for key in keys
            if (queue := self._routes.get((message.exchange, key))) is not None
        ]

    def _put(self, queue: _Queue, message: Outgoing, message_id: str) -> asyncio.Future[None]:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(answered)
        queue.put(message, message_id, answered=answered)
        return answered

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> _LocalConsumer:
        if self._closed:
            raise RuntimeError("the bus is closed")
        if queue not in self._queues:
            raise QueueMissing(queue)
        handling = Handling(queue, handler, requeue_pause_seconds=self._requeue_pause_seconds)
        consumer = _LocalConsumer(self._queues[queue], handling, prefetch, self._consumers.discard)
        self._consumers.add(consumer)
        self._queues[queue].register(consumer)
        return consumer

    async def close(self) -> None:
        self._closed = True
        for consumer in self._consumers:  # all of them first: none takes what another gives back
            await consumer.stop()
        for consumer in tuple(self._consumers):
            await consumer.close()
        for answered in self._waiting:
            if not answered.done():
                answered.set_exception(PublishFailed("the bus was closed"))

    def _bury(self, letter: _Letter, source: Queue, reason: str) -> None:
        if source.dead_letters_to is not None:
            self._queues[source.dead_letters_to].put(
                letter.message,
                letter.message_id,
                died={"x-first-death-queue": source.name, "x-first-death-reason": reason},
            )
        letter.answer()


class _Queue:
    """Letters in the order they came, and the consumers that take them."""

    def __init__(self, spec: Queue, bury: Callable[[_Letter, Queue, str], None]) -> None:
        self.spec = spec
        self._bury = bury
        self._places = count()
        self._ready: list[_Letter] = []  # a heap: a letter given back finds its old place
        self._consumers: list[_LocalConsumer] = []

    def put(
        self,
        message: Outgoing,
        message_id: str,
        *,
        answered: asyncio.Future[None] | None = None,
        died: Mapping[str, str] | None = None,
    ) -> None:
        letter = _Letter(message, message_id, next(self._places), answered, died=died or {})
        heapq.heappush(self._ready, letter)
        self.hand_out()

    def give_back(self, letters: Iterable[_Letter]) -> None:
        for letter in letters:
            letter.came_back += 1
            if letter.came_back > self.spec.delivery_limit:
                self._bury(letter, self.spec, "delivery_limit")
            else:
                heapq.heappush(self._ready, letter)
        self.hand_out()

    def reject(self, letter: _Letter) -> None:
        self._bury(letter, self.spec, "rejected")

    def register(self, consumer: _LocalConsumer) -> None:
        self._consumers.append(consumer)
        self.hand_out()

    def unregister(self, consumer: _LocalConsumer) -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)
            self.hand_out()

    def hand_out(self) -> None:
        while self._ready and (consumer := self._next_consumer()) is not None:
            consumer.take(heapq.heappop(self._ready))

    def _next_consumer(self) -> _LocalConsumer | None:
        eligible = self._consumers[:1] if self.spec.single_active else self._consumers
        for consumer in eligible:
            if consumer.has_room:
                if not self.spec.single_active:  # whoever is served goes to the end
                    self._consumers.remove(consumer)
                    self._consumers.append(consumer)
                return consumer
        return None


class _LocalConsumer:
    def __init__(
        self,
        queue: _Queue,
        handling: Handling,
        prefetch: int,
        forget: Callable[[_LocalConsumer], None],
    ) -> None:
        self._queue = queue
        self._handling = handling
        self._prefetch = prefetch
        self._forget = forget
        self._in_hand: set[_Letter] = set()

    @property
    def has_room(self) -> bool:
        return len(self._in_hand) < self._prefetch

    def take(self, letter: _Letter) -> None:
        self._in_hand.add(letter)
        message = letter.message
        self._handling.start(
            Delivery(
                body=message.body,
                routing_key=message.routing_key,
                type=message.type,
                message_id=letter.message_id,
                correlation_id=message.correlation_id,
                headers={**message.headers, **letter.died},
                redelivered=letter.came_back > 0,
                content_type="application/json",
                content_encoding=None,
                reply_to=None,
                user_id=None,
                settle=partial(self._settle, letter),
            )
        )

    async def stop(self) -> None:
        self._queue.unregister(self)

    async def close(self) -> None:
        await self.stop()
        await self._handling.cancel()
        unsettled, self._in_hand = self._in_hand, set()
        self._queue.give_back(unsettled)
        self._forget(self)

    async def _settle(self, letter: _Letter, settlement: Settlement) -> None:
        if letter not in self._in_hand:
            # As with RabbitMQ: the consumer was closed, the message is already back in its queue.
            log.warning(
                "bus_settlement_lost", queue=self._queue.spec.name, message_id=letter.message_id
            )
            return
        self._in_hand.remove(letter)
        match settlement:
            case Settlement.ACK:
                letter.answer()
            case Settlement.REQUEUE:
                self._queue.give_back([letter])
            case Settlement.REJECT:
                self._queue.reject(letter)
        self._queue.hand_out()
