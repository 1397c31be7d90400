"""What the simulator owes its neighbours: nobody waits for another, and memory stays small."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from drivers.driver import Called, Host, Retry, Scope, Sent
from drivers.simulator import memory
from drivers.simulator.simulator import Simulator
from service.core.lifecycle import Status
from service.store.pool import Pool, open_pool
from tests.contract.witness import Sink, Witness, message, send_one, soon

ORDINARY = "+60123456789"
IDLE_IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'idle in transaction'
"""


@asynccontextmanager
async def simulator(pool: Pool, sink: Sink) -> AsyncIterator[Simulator]:
    driver = Simulator()
    await driver.start(Host(sink, pool))
    try:
        yield driver
    finally:
        await soon(driver.close())


async def test_a_caller_that_stands_still_holds_up_its_own_device_alone(pool: Pool) -> None:
    async with simulator(pool, Sink()) as driver:
        await send_one(driver, message(ORDINARY, 1))
        async with memory.connection(pool) as connection, connection.transaction():
            # As a dispatcher that was stopped in the middle of its call.
            assert await memory.hold_devices(connection, {1: 1}) == {1: 1}
            witness = Witness()
            held, free = message(ORDINARY, 1, epoch=2), message(ORDINARY, 2)
            await soon(asyncio.gather(driver.send([held], witness), driver.send([free], witness)))
        busy = await witness.outcome(held)
        assert isinstance(busy, Retry)
        assert (busy.scope, busy.counts) == (Scope.DEVICE, False)
        assert isinstance(await witness.outcome(free), Sent)
        assert isinstance(await send_one(driver, held), Sent)


async def test_a_process_whose_callbacks_are_not_taken_holds_up_no_other(pool: Pool) -> None:
    stuck = asyncio.Event()

    class Stuck(Sink):
        async def __call__(self, called: Sequence[Called]) -> None:
            await super().__call__(called)
            stuck.set()
            await asyncio.Event().wait()

    sink = Sink()
    async with simulator(pool, Stuck()) as first:
        await send_one(first, message(ORDINARY, 1))
        await soon(stuck.wait())
        assert await pool.fetchval(IDLE_IN_TRANSACTION) == 0, "what it waits for is not in there"
        async with simulator(pool, sink) as second:
            send = message(ORDINARY, 2)
            assert isinstance(await send_one(second, send), Sent)
            # Less than the server lets anybody wait for a lock.
            async with asyncio.timeout(4.0):
                await sink.callback(send, Status.DELIVERED)


async def test_callbacks_that_a_dead_process_had_in_hand_are_anybodys_after_a_while(
    pool: Pool,
) -> None:
    async with simulator(pool, Sink(refusing=True)) as first:
        await send_one(first, send := message(ORDINARY, 1))
    async with memory.connection(pool) as connection:
        await connection.execute("UPDATE simulator_owed SET due_at = now()")
        taken = await connection.fetch(memory.TAKE, memory.PAY_LIMIT, 0.5)
    assert taken, "nothing was owed"
    sink = Sink()
    async with simulator(pool, sink):
        await sink.callback(send, Status.DELIVERED)


async def test_calls_and_callbacks_take_two_connections_however_many_there_are(
    dsn: str, pool: Pool
) -> None:
    sink = Sink()
    small = await open_pool(dsn, name="small", size=2)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(small.close)
        driver = await stack.enter_async_context(simulator(small, sink))
        sends = [message(ORDINARY, device_id) for device_id in range(1, 21) for _ in range(10)]
        witness = Witness()
        await soon(asyncio.gather(*(driver.send([send], witness) for send in sends)))
        assert all([isinstance(await witness.outcome(send), Sent) for send in sends])
        await soon(asyncio.gather(*(sink.callback(send, Status.DELIVERED) for send in sends)))
    calls = await pool.fetchval("SELECT count(*) FROM simulator_calls")
    transactions = await pool.fetchval("SELECT count(DISTINCT created_at) FROM simulator_calls")
    assert calls == len(sends)
    assert transactions < len(sends) / 10


async def test_calls_are_forgotten_after_a_day_and_not_before(pool: Pool) -> None:
    await pool.execute(
        "INSERT INTO simulator_calls"
        " (message_id, attempt, device_id, epoch, accepted, called_at, created_at)"
        " SELECT n, 1, 1, 1, true, n, now() - CASE WHEN n <= $1 THEN interval '25 hours'"
        " ELSE interval '23 hours' END FROM generate_series(1, $1 + 5) AS n",
        memory.FORGET_LIMIT + 1,
    )

    async def left() -> int:
        count: int = await pool.fetchval("SELECT count(*) FROM simulator_calls")
        return count

    assert await memory.forget(pool)
    assert await left() == 6
    assert not await memory.forget(pool)
    assert await left() == 5
