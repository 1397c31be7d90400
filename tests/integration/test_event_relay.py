"""Events leave the outbox in their order, whoever stops, fails or takes over in between."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aio_pika
import pytest

from schemas.commands import INBOUND_TYPE
from service.bus.amqp import AmqpBus
from service.bus.bus import Bus
from service.bus.delivery import Delivery
from service.bus.local import LocalBus
from service.bus.topology import EVENTS_OF_ACCOUNTS, WEBHOOKS, declare, topology
from service.core.words import Words
from service.event_relay import MOST_EVENTS, EventRelay
from service.store.pool import Pool
from tests.database import SHARDS
from tests.integration.store.lossy import LossyWay
from tests.servers.rabbitmq import RabbitNode
from tests.system import SEAL, eventually

WITHIN_SECONDS = 30.0


class Listener:
    """A consumer of every event that notes the order, and acks unless the gate is closed."""

    def __init__(self) -> None:
        self.heard: list[Delivery] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def hear(self, delivery: Delivery) -> None:
        self.heard.append(delivery)
        await self.gate.wait()
        await delivery.ack()

    @property
    def first_heard(self) -> list[bytes]:
        """Each event once, in the order of first arrival."""
        return list(dict.fromkeys(delivery.body for delivery in self.heard))

    async def heard_as_many_as(self, count: int) -> None:
        async def look() -> bool:
            return len(self.first_heard) >= count

        await eventually(look, within_seconds=WITHIN_SECONDS)


@pytest.fixture
async def bus() -> AsyncIterator[LocalBus]:
    made = LocalBus(topology(SHARDS))
    yield made
    await made.close()


@pytest.fixture
async def listener(bus: LocalBus) -> AsyncIterator[Listener]:
    made = Listener()
    await bus.consume(WEBHOOKS, made.hear, prefetch=2 * MOST_EVENTS)
    yield made
    made.gate.set()


@asynccontextmanager
async def relaying(dsn: str, bus: Bus) -> AsyncIterator[EventRelay]:
    relay = EventRelay(dsn, bus, Words(SEAL))
    relay.start()
    try:
        yield relay
    finally:
        async with asyncio.timeout(10):
            await relay.close()


async def put(
    pool: Pool, count: int, *, body: str = '{"account":7,"n":%s}', kind: str = "test.v1"
) -> list[bytes]:
    """So many events, as bodies in their order."""
    rows = await pool.fetch(
        "INSERT INTO outbox (exchange, routing_key, type, body) "
        "SELECT 'hantar.events', 'message.sent', $3, convert_to(format($2, n), 'UTF8') "
        "FROM generate_series(1, $1::int) n RETURNING body",
        count,
        body,
        kind,
    )
    return [row["body"] for row in rows]


def waiting(pool: Pool, count: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        left: int = await pool.fetchval("SELECT count(*) FROM outbox")
        return left == count

    return look


async def test_events_are_published_in_order_once_and_kept(
    pool: Pool, dsn: str, bus: LocalBus, listener: Listener
) -> None:
    async with relaying(dsn, bus):
        bodies = await put(pool, 2 * MOST_EVENTS + 100)
        await eventually(waiting(pool, 0), within_seconds=WITHIN_SECONDS)
    assert [delivery.body for delivery in listener.heard] == bodies
    assert {delivery.headers["account"] for delivery in listener.heard} == {"7"}
    kept = await pool.fetch("SELECT body FROM events WHERE account_id = 7 ORDER BY id")
    assert [row["body"] for row in kept] == bodies


async def test_what_is_there_when_it_closes_is_published(
    pool: Pool, dsn: str, bus: LocalBus, listener: Listener
) -> None:
    async with relaying(dsn, bus):
        await put(pool, 1)
        await listener.heard_as_many_as(1)
        bodies = await put(pool, 100, body='{"account":8,"n":%s}')
    assert listener.first_heard[1:] == bodies


async def test_one_at_a_time_publishes_and_another_takes_over(
    pool: Pool, dsn: str, bus: LocalBus, listener: Listener
) -> None:
    async with relaying(dsn, bus):
        first = await put(pool, 50)
        await listener.heard_as_many_as(50)
        async with relaying(dsn, bus) as second:
            bodies = [*first, *await put(pool, 50, body='{"account":8,"n":%s}')]
            second.wake()
            await listener.heard_as_many_as(100)
            for account in (9, 10, 11):
                assert await pool.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE application_name = 'hantar events' AND datname = current_database()"
                )
                bodies += await put(pool, 50, body=f'{{"account":{account},"n":%s}}')
                await listener.heard_as_many_as(len(bodies))
    assert listener.first_heard == bodies
    assert len(listener.heard) <= len(bodies) + 150, "more was repeated than was in hand"


async def test_an_event_without_an_account_is_published_and_nothing_waits_for_it(
    pool: Pool, dsn: str, bus: LocalBus, listener: Listener
) -> None:
    async with relaying(dsn, bus):
        bodies = await put(pool, 1, body='{"n":%s}') + await put(pool, 1)
        await eventually(waiting(pool, 0), within_seconds=WITHIN_SECONDS)
    assert listener.first_heard == bodies
    assert [delivery.headers.get("account") for delivery in listener.heard] == [None, "7"]
    assert await pool.fetchval("SELECT count(*) FROM events") == 1


async def test_an_event_that_cannot_be_published_holds_up_its_account_alone(
    pool: Pool, dsn: str, bus: LocalBus, listener: Listener
) -> None:
    # It has no text that could be opened.
    await put(pool, 1, body='{"account":8,"n":%s}', kind=INBOUND_TYPE)
    held = await put(pool, 1, body='{"account":8,"later":%s}')
    bodies = await put(pool, 50)
    async with relaying(dsn, bus):
        await eventually(waiting(pool, 2), within_seconds=WITHIN_SECONDS)
        assert listener.first_heard == bodies
        await pool.execute("DELETE FROM outbox WHERE type = $1", INBOUND_TYPE)
        await eventually(waiting(pool, 0), within_seconds=WITHIN_SECONDS)
    assert listener.first_heard == [*bodies, *held]


@pytest.fixture
async def broker(rabbit_node: RabbitNode) -> AsyncIterator[str]:
    name = f"events-{uuid.uuid4()}"
    url = await rabbit_node.create_vhost(name)
    await declare(url, SHARDS, timeout_seconds=WITHIN_SECONDS)
    yield url
    await rabbit_node.delete_vhost(name)


@asynccontextmanager
async def hearing(broker: str) -> AsyncIterator[Listener]:
    listener = Listener()
    bus = await AmqpBus.connect(broker)
    await bus.consume(WEBHOOKS, listener.hear, prefetch=200)
    yield listener
    await bus.close()


async def test_none_is_heard_first_after_a_later_one_when_connections_are_lost(
    pool: Pool, dsn: str, broker: str
) -> None:
    cuts, each = 6, 400
    body = f'{{"account":7,"n":%s,"long":"{"x" * 500}"}}'
    async with hearing(broker) as listener, LossyWay(broker).open() as way:
        bus = await AmqpBus.connect(way.dsn, publish_timeout_seconds=3.0)
        async with relaying(dsn, bus):
            bodies: list[bytes] = []
            for _ in range(cuts):
                # The broker's word on a part of these is lost, and their connection with it.
                way.lose(1)
                bodies += await put(pool, each, body=body.replace("n", f"n{len(bodies)}", 2))
                await listener.heard_as_many_as(len(bodies))
            await eventually(waiting(pool, 0), within_seconds=WITHIN_SECONDS)
        await bus.close()
    assert way.lost == cuts
    assert len(listener.heard) > len(bodies), "nothing was cut in the middle"
    assert listener.first_heard == bodies


async def test_an_event_that_the_broker_refuses_holds_up_its_account_alone(
    pool: Pool, dsn: str, broker: str
) -> None:
    async with (
        hearing(broker) as listener,
        await aio_pika.connect(broker) as connection,
        connection.channel() as channel,
    ):
        full = await channel.declare_queue(
            "full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        await full.bind(EVENTS_OF_ACCOUNTS, "", arguments={"x-match": "all", "account": "8"})
        bus = await AmqpBus.connect(broker)
        async with relaying(dsn, bus):
            taken = await put(pool, 1, body='{"account":8,"n":%s}')
            await eventually(waiting(pool, 0), within_seconds=WITHIN_SECONDS)
            refused = await put(pool, 30, body='{"account":8,"later":%s}')
            others = await put(pool, 30)
            await eventually(waiting(pool, 30), within_seconds=WITHIN_SECONDS)
            await full.delete(if_empty=False)
            await eventually(waiting(pool, 0), within_seconds=WITHIN_SECONDS)
        await bus.close()
    heard = listener.first_heard
    assert sorted(heard) == sorted([*taken, *refused, *others])
    assert [body for body in heard if body in others] == others
