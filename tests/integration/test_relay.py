from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from service.bus.delivery import Delivery
from service.bus.local import LocalBus
from service.bus.topology import Queue, Topology
from service.relay import CAPACITY, Relay
from service.store.outbox import EVENTS_EXCHANGE, Entry
from service.store.pool import Pool
from tests.integration.store.lossy import LossyWay
from tests.system import eventually

EXCHANGE = "hantar.dispatch"
EXCHANGES = {EXCHANGE: "direct", EVENTS_EXCHANGE: "topic"}


class Listener:
    """A bus with one queue, and what came out of it."""

    def __init__(self) -> None:
        self.bus = LocalBus(Topology(EXCHANGES, (Queue("work", EXCHANGE, "work"),)))
        self.heard: list[Delivery] = []
        #: closed, it acks nothing
        self.gate = asyncio.Event()
        self.gate.set()

    async def hear(self, delivery: Delivery) -> None:
        self.heard.append(delivery)
        await self.gate.wait()
        await delivery.ack()

    async def heard_as_many_as(self, count: int) -> None:
        async def look() -> bool:
            return len(self.heard) >= count

        await eventually(look, within_seconds=10)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    await made.bus.consume("work", made.hear, prefetch=2 * CAPACITY)
    yield made
    made.gate.set()
    await made.bus.close()


@asynccontextmanager
async def relaying(pool: Pool, dsn: str, bus: LocalBus) -> AsyncIterator[Relay]:
    relay = Relay(pool, dsn, bus, lambda: None)
    relay.start()
    try:
        yield relay
    finally:
        async with asyncio.timeout(8):
            await relay.close()


async def put(
    pool: Pool, count: int, *, exchange: str = EXCHANGE, key: str = "work", stale: bool = False
) -> list[Entry]:
    rows = await pool.fetch(
        "INSERT INTO outbox (exchange, routing_key, type, body, offered_at) "
        "SELECT $2, $3, 'test.v1', convert_to(format('{\"account\":%s}', n), 'UTF8'), "
        "now() - make_interval(secs => $4) "
        "FROM generate_series(1, $1::int) n RETURNING id, exchange, routing_key, type, body",
        count,
        exchange,
        key,
        60.0 if stale else 0.0,
    )
    return [Entry(*row) for row in rows]


async def left(pool: Pool) -> list[int]:
    return [row["id"] for row in await pool.fetch("SELECT id FROM outbox ORDER BY id")]


def empty(pool: Pool) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return await left(pool) == []

    return look


async def test_what_is_offered_is_published_once_and_forgotten(
    pool: Pool, dsn: str, listener: Listener
) -> None:
    entries = await put(pool, 300)
    async with relaying(pool, dsn, listener.bus) as relay:
        relay.offer(entries)
        relay.offer(entries)
        await eventually(empty(pool))
    assert [delivery.body for delivery in listener.heard] == [entry.body for entry in entries]
    assert {delivery.type for delivery in listener.heard} == {"test.v1"}


async def test_events_are_left_to_who_publishes_them_in_order(
    pool: Pool, dsn: str, listener: Listener
) -> None:
    entries = await put(pool, 3, exchange=EVENTS_EXCHANGE, key="message.sent", stale=True)
    told = asyncio.Event()
    relay = Relay(pool, dsn, listener.bus, told.set)
    relay.start()
    async with asyncio.TaskGroup() as group:
        relay.offer([*entries, *await put(pool, 1)])
        await listener.heard_as_many_as(1)
        sweeping = group.create_task(relay.sweep())
        await put(pool, 1, stale=True)
        await listener.heard_as_many_as(2)
        sweeping.cancel()
    await relay.close()
    assert told.is_set()
    assert {delivery.routing_key for delivery in listener.heard} == {"work"}
    assert await left(pool) == [entry.id for entry in entries]


async def test_a_command_without_a_queue_stays_until_there_is_one(
    pool: Pool, dsn: str, listener: Listener
) -> None:
    lost, kept = await put(pool, 1), await put(pool, 1)
    nowhere = LocalBus(Topology(EXCHANGES, ()))
    async with relaying(pool, dsn, nowhere) as relay:
        relay.offer([*lost, *kept])
    assert await left(pool) == [lost[0].id, kept[0].id]
    await pool.execute("UPDATE outbox SET offered_at = now() - interval '1 minute'")
    async with relaying(pool, dsn, listener.bus) as relay, asyncio.TaskGroup() as group:
        sweeping = group.create_task(relay.sweep())
        await eventually(empty(pool))
        sweeping.cancel()
    assert len(listener.heard) == 2


async def test_the_sweep_leaves_alone_what_is_young_or_being_published(
    pool: Pool, dsn: str, listener: Listener
) -> None:
    await put(pool, 1)
    in_hand = await put(pool, 1)
    listener.gate.clear()
    async with relaying(pool, dsn, listener.bus) as relay, asyncio.TaskGroup() as group:
        relay.offer(in_hand)
        await listener.heard_as_many_as(1)
        await pool.execute(
            "UPDATE outbox SET offered_at = now() - interval '1 minute' WHERE id = $1",
            in_hand[0].id,
        )
        sweeping = group.create_task(relay.sweep())
        for round_ in (1, 2):
            await put(pool, 1, stale=True)
            await listener.heard_as_many_as(1 + round_)
        sweeping.cancel()
        listener.gate.set()
    assert len(listener.heard) == 3


async def test_what_is_too_much_at_once_stays_for_the_sweep(
    pool: Pool, dsn: str, listener: Listener
) -> None:
    listener.gate.clear()
    entries = await put(pool, CAPACITY + 50)
    async with relaying(pool, dsn, listener.bus) as relay:
        relay.offer(entries)
        await listener.heard_as_many_as(CAPACITY)
        listener.gate.set()
    assert len(listener.heard) == CAPACITY
    assert await left(pool) == [entry.id for entry in entries[CAPACITY:]]


async def test_what_could_not_be_forgotten_is_published_again(
    pool: Pool, dsn: str, listener: Listener
) -> None:
    entries = await put(pool, 2)
    async with (
        LossyWay(dsn).open() as way,
        relaying(pool, way.dsn, listener.bus) as relay,
    ):
        way.cut()
        relay.offer(entries)
        await listener.heard_as_many_as(2)
    assert await left(pool) == [entry.id for entry in entries]
    await pool.execute("UPDATE outbox SET offered_at = now() - interval '1 minute'")
    async with relaying(pool, dsn, listener.bus) as relay, asyncio.TaskGroup() as group:
        sweeping = group.create_task(relay.sweep())
        await eventually(empty(pool))
        sweeping.cancel()
    assert len(listener.heard) == 4


async def test_once_closed_it_takes_nothing_and_loses_nothing(
    pool: Pool, dsn: str, listener: Listener
) -> None:
    async with relaying(pool, dsn, listener.bus) as relay:
        pass
    entries = await put(pool, 2)
    relay.offer(entries)
    assert await left(pool) == [entry.id for entry in entries]
    assert listener.heard == []
