from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from service.dispatch.leases import BEATS_PER_LEASE, Lease, Leases
from service.store import leases as store
from service.store.pool import Pool
from tests.integration.store.lossy import LossyWay
from tests.system import eventually

LEASE_SECONDS = 1.0


@dataclass
class Worker:
    """Leases, and what they told: (what, shard, epoch, when)."""

    name: str
    told: list[tuple[str, int, int, float]] = field(default_factory=list)
    #: closed, it holds up every drain
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    leases: Leases = field(init=False)

    @property
    def shards(self) -> set[int]:
        return set(self.leases.held)

    def gained(self, lease: Lease) -> None:
        self.told.append(("gained", lease.shard, lease.epoch, time.monotonic()))

    def lost(self, lease: Lease) -> None:
        self.told.append(("lost", lease.shard, lease.epoch, time.monotonic()))

    async def drain(self, lease: Lease) -> None:
        self.told.append(("drain", lease.shard, lease.epoch, time.monotonic()))
        await self.gate.wait()
        self.told.append(("drained", lease.shard, lease.epoch, time.monotonic()))

    def when(self, what: str) -> dict[int, float]:
        """The last time of each shard."""
        return {shard: at for kind, shard, _, at in self.told if kind == what}

    def epochs(self, what: str) -> dict[int, int]:
        return {shard: epoch for kind, shard, epoch, _ in self.told if kind == what}


Join = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def join(pool: Pool, dsn: str) -> AsyncIterator[Join]:
    """Lets a worker join; all of them leave after the test. There are six shards."""
    await pool.execute("INSERT INTO shard_leases (shard) SELECT generate_series(2, 5)")
    async with AsyncExitStack() as stack:

        async def enter(name: str, *, way: str = dsn) -> Worker:
            worker = Worker(name)
            worker.gate.set()
            worker.leases = Leases(
                pool,
                way,
                name,
                lease_seconds=LEASE_SECONDS,
                gained=worker.gained,
                lost=worker.lost,
                drain=worker.drain,
            )
            await worker.leases.start()
            stack.push_async_callback(worker.leases.close)
            stack.callback(worker.gate.set)
            return worker

        yield enter


async def share(*workers: Worker, sizes: list[int]) -> None:
    """Wait until the shards are shared out like that."""

    async def look() -> bool:
        return [len(worker.shards) for worker in workers] == sizes

    await eventually(look, within_seconds=10 * LEASE_SECONDS)


async def beats(pool: Pool, name: str, count: int) -> None:
    """Wait until the worker has said so often that it is alive."""
    since = await pool.fetchval("SELECT beat FROM workers WHERE name = $1", name)

    async def look() -> bool:
        beat = await pool.fetchval("SELECT beat FROM workers WHERE name = $1", name)
        return bool(beat >= since + count)

    await eventually(look)


async def owners(pool: Pool) -> dict[int, str]:
    return {
        row["shard"]: row["owner"]
        for row in await pool.fetch("SELECT shard, owner FROM shard_leases")
    }


async def test_the_first_worker_has_every_shard_when_it_has_started(pool: Pool, join: Join) -> None:
    alone = await join("a")
    assert alone.shards == set(range(6))
    assert set(alone.epochs("gained").values()) == {1}
    assert await owners(pool) == dict.fromkeys(range(6), "a")


async def test_workers_share_evenly_as_they_come_and_go(pool: Pool, join: Join) -> None:
    a = await join("a")
    b = await join("b")
    await share(a, b, sizes=[3, 3])
    c = await join("c")
    await share(a, b, c, sizes=[2, 2, 2])
    d = await join("d")
    await beats(pool, "d", BEATS_PER_LEASE)
    await share(a, b, c, d, sizes=[2, 2, 2, 0])
    assert a.shards | b.shards | c.shards == set(range(6))
    await b.leases.close()
    await share(a, c, d, sizes=[2, 2, 2])
    await c.leases.close()
    await share(a, d, sizes=[3, 3])
    assert await owners(pool) == dict.fromkeys(a.shards, "a") | dict.fromkeys(d.shards, "d")


async def test_what_is_given_up_is_drained_first_and_renewed_meanwhile(
    pool: Pool, join: Join
) -> None:
    giver = await join("a")
    giver.gate.clear()
    taker = await join("b")
    await beats(pool, "b", 3 * BEATS_PER_LEASE)
    assert taker.shards == set()
    assert giver.shards == set(range(6))
    assert all(lease.until > time.monotonic() for lease in giver.leases.held.values())
    giver.gate.set()
    await share(giver, taker, sizes=[3, 3])
    drained, gained = giver.when("drained"), taker.when("gained")
    assert drained.keys() == gained.keys()
    assert all(drained[shard] < gained[shard] for shard in gained)
    assert giver.when("lost") == {}
    assert set(taker.epochs("gained").values()) == {2}


async def test_a_silent_worker_is_replaced_within_two_lease_times_and_never_doubled(
    pool: Pool, dsn: str, join: Join
) -> None:
    async with LossyWay(dsn).open() as way:
        silent = await join("a", way=way.dsn)
        heir = await join("b")
        await share(silent, heir, sizes=[3, 3])
        orphaned = dict(silent.leases.held)
        way.cut()
        cut_at = time.monotonic()
        # The right of each lease, as renewed by the last beat that came through.
        until = {shard: lease.until for shard, lease in orphaned.items()}
        await share(silent, heir, sizes=[0, 6])
    gained = {shard: at for shard, at in heir.when("gained").items() if shard in orphaned}
    assert all(at - cut_at < 2 * LEASE_SECONDS for at in gained.values())
    assert all(until[shard] < gained[shard] for shard in orphaned)
    assert silent.when("lost").keys() == orphaned.keys()
    assert all(lease.until < 0 for lease in orphaned.values())
    for shard, lease in orphaned.items():
        assert heir.epochs("gained")[shard] == lease.epoch + 1
    assert await pool.fetchval("SELECT array_agg(name) FROM workers") == ["b"]


async def test_leaving_frees_the_shards_at_once(pool: Pool, join: Join) -> None:
    a, b = await join("a"), await join("b")
    await share(a, b, sizes=[3, 3])
    before = time.monotonic()
    await a.leases.close()
    await share(b, sizes=[6])
    assert time.monotonic() - before < LEASE_SECONDS / 2
    assert a.shards == set()
    assert a.when("lost") == {}
    assert await pool.fetchval("SELECT array_agg(name) FROM workers") == ["b"]


async def test_who_is_leaving_takes_nothing_more(pool: Pool, join: Join) -> None:
    worker = await join("a")
    worker.gate.clear()
    closing = asyncio.create_task(worker.leases.close())
    await pool.execute("INSERT INTO shard_leases (shard) VALUES (6)")
    await beats(pool, "a", 3)
    worker.gate.set()
    await closing
    assert 6 not in worker.when("gained")
    assert worker.when("drained").keys() == set(range(6))
    assert await owners(pool) == dict.fromkeys(range(7))


async def test_whose_lease_was_taken_away_learns_it_by_the_next_beat(
    pool: Pool, join: Join
) -> None:
    worker = await join("a")
    await pool.execute(
        "UPDATE shard_leases SET owner = 'thief', epoch = epoch + 1, beat = beat + 1 "
        "WHERE shard = 4"
    )

    async def lost() -> bool:
        return 4 in worker.when("lost")

    # Well before its right would have lapsed.
    await eventually(lost, within_seconds=LEASE_SECONDS / 2)
    # The thief says nothing, so the shard comes back, as another epoch.
    await share(worker, sizes=[6])
    assert worker.epochs("gained")[4] == 3


async def test_a_lease_is_taken_once_however_many_reach_for_it(pool: Pool, join: Join) -> None:
    async with pool.acquire() as connection:
        [seen, *_] = await store.leases(connection)

    async def reach(name: str) -> int | None:
        async with pool.acquire() as connection:
            return await store.take(connection, name, seen)

    epochs = await asyncio.gather(*(reach(f"w{number}") for number in range(8)))
    assert sorted(epochs, key=str) == [1, *[None] * 7]


async def test_only_its_owner_gives_a_lease_back(pool: Pool, join: Join) -> None:
    async with pool.acquire() as connection:
        [seen, *_] = await store.leases(connection)
        assert await store.take(connection, "a", seen) == 1
        await store.release(connection, "b", seen.shard, 1)
        await store.release(connection, "a", seen.shard, 2)
        assert (await owners(pool))[seen.shard] == "a"
        await store.release(connection, "a", seen.shard, 1)
        assert (await owners(pool))[seen.shard] is None
