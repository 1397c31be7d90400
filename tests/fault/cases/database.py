"""PostgreSQL crashes, stalls, fills up, is slow or out of reach."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

from tests.fault.case import Case, add, case, load
from tests.fault.cases.amid import amid, usual
from tests.fault.cases.kills import DISPATCHER, INGRESS, RECORDER
from tests.fault.proxy import Proxy
from tests.fault.world import World

LONG = 60.0


@dataclass(frozen=True, slots=True)
class CrashAt:
    """A process stalls at a point with its transaction open; meanwhile the server crashes."""

    role: str
    rule: str

    async def run(self, world: World) -> None:
        others = [role for role in (INGRESS, DISPATCHER, RECORDER) if role != self.role]
        await asyncio.gather(
            world.start(*others, proxied=True), world.start(self.role, fail=self.rule, proxied=True)
        )
        working = asyncio.create_task(load(world))
        await world.until_fired()
        world.struck("PostgreSQL crashes")
        await world.servers.crash_postgres()
        world.struck("PostgreSQL is back")
        await working


for number, what, role, rule in (
    ("F77a", "crashes before anything is written", INGRESS, "accept.keyed=sleep:1@9"),
    ("F77b", "crashes before a commit", INGRESS, "accept.before_commit=sleep:1@9"),
    ("F77c", "crashes after a commit", INGRESS, "accept.committed=sleep:1@9"),
    ("F77d", "crashes after a claim", DISPATCHER, "claim.committed=sleep:1@12"),
    ("F77e", "crashes before an outcome's commit", DISPATCHER, "record.before_commit=sleep:1@12"),
    ("F77f", "crashes in the recorder's commit", RECORDER, "record.before_commit=sleep:1@5"),
):
    add(Case(number, f"PostgreSQL {what}", CrashAt(role, rule).run, settle_seconds=LONG))


@case("F77g", "PostgreSQL crashes three times amid dispatch", settle_seconds=LONG)
async def crashes(world: World) -> None:
    await usual(world, proxied=True)

    async def strike() -> None:
        for _ in range(3):
            await world.servers.crash_postgres()
            await asyncio.sleep(1)

    await amid(world, "PostgreSQL crashes", strike)


@case("F77h", "all sessions are ended by hand, again and again")
async def sessions_ended(world: World) -> None:
    await usual(world)

    async def strike() -> None:
        for _ in range(6):
            await world.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.4)

    await amid(world, "sessions ended", strike)


def _apart(number: str, what: str, role: str, silence: Callable[[Proxy], None]) -> None:
    async def run(world: World) -> None:
        roles = await usual(world, proxied=True)
        proxy = getattr(roles, role).postgres

        async def strike() -> None:
            silence(proxy)
            await asyncio.sleep(4)
            proxy.reset()
            proxy.heal()

        await amid(world, what, strike)

    add(Case(number, what, run, settle_seconds=LONG))


_apart("F42b", "dispatcher and PostgreSQL apart", "dispatcher", lambda proxy: proxy.silence())
_apart(
    "F42g",
    "PostgreSQL's answers do not reach the dispatcher",
    "dispatcher",
    lambda proxy: proxy.silence(proxy.back),
)
_apart("F77i", "ingress and PostgreSQL apart", "ingress", lambda proxy: proxy.silence())
_apart(
    "F77j",
    "PostgreSQL's answers do not reach ingress",
    "ingress",
    lambda proxy: proxy.silence(proxy.back),
)
_apart("F77k", "recorder and PostgreSQL apart", "recorder", lambda proxy: proxy.silence())
_apart("F77l", "PostgreSQL refuses the dispatcher", "dispatcher", lambda proxy: proxy.refuse())


def _limited(proxy: Proxy) -> None:
    proxy.back.reset_after_bytes = 2000


_apart("F77m", "a reset amid PostgreSQL's answer", "dispatcher", _limited)


@case("F79", "PostgreSQL's disk is full: nothing accepted without a row; then it is freed")
async def disk_full(world: World) -> None:
    """A trigger raises what a full disk raises, in every insert into the two tables that grow."""
    await usual(world)
    raising = (
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no space left on device' USING ERRCODE = '53100'; END $$"
    )

    async def strike() -> None:
        await world.servers.execute(raising, world.database)
        for table in ("ledger", "claims"):
            await world.servers.execute(
                f"CREATE TRIGGER full_disk BEFORE INSERT ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION full_disk()",
                world.database,
            )
        reply = await world.client.send(world.tenants[0], patient=False)
        assert reply.status in (0, 503), f"answered {reply.status} with a full disk"
        await asyncio.sleep(2)
        for table in ("ledger", "claims"):
            await world.servers.execute(f"DROP TRIGGER full_disk ON {table}", world.database)

    await amid(world, "disk full", strike)


@case("F80a", "PostgreSQL takes two seconds for every answer", settle_seconds=LONG)
async def slow(world: World) -> None:
    roles = await usual(world, proxied=True)
    proxies = [child.postgres for child in roles.all if child.postgres is not None]

    async def strike() -> None:
        for proxy in proxies:
            proxy.back.latency_seconds = 2.0
        await asyncio.sleep(8)
        for proxy in proxies:
            proxy.heal()

    await amid(world, "PostgreSQL slow", strike, singles=10)


@case("F80b", "PostgreSQL stands still for three leases", settle_seconds=LONG)
async def stalls(world: World) -> None:
    await usual(world)

    async def strike() -> None:
        await world.servers.stall_postgres(3.0)

    await amid(world, "PostgreSQL stands still", strike)


@case("F80c", "a thin wire to PostgreSQL: 40 kB a second", settle_seconds=LONG)
async def thin(world: World) -> None:
    roles = await usual(world, proxied=True)
    proxy = roles.dispatcher.postgres
    assert proxy is not None

    async def strike() -> None:
        proxy.back.bytes_per_second = proxy.there.bytes_per_second = 40_000.0
        await asyncio.sleep(4)
        proxy.heal()

    await amid(world, "a thin wire", strike)


@case("F82", "an ingress frozen with a transaction open: its locks are freed")
async def idle_in_transaction(world: World) -> None:
    await world.start(INGRESS, DISPATCHER, RECORDER)
    # It wakes after its session was ended; what it had begun is undone.
    await world.start(INGRESS, fail="accept.reserved=sleep:20@4")
    began = time.monotonic()
    await load(world)
    await world.until_fired()
    assert time.monotonic() - began < 60


@case("F77n", "a row of a message is locked by somebody for five seconds")
async def row_locked(world: World) -> None:
    await usual(world)

    async def strike() -> None:
        connection: asyncpg.Connection[asyncpg.Record] = await world.connect()
        try:
            async with connection.transaction():
                await connection.fetch(
                    "SELECT id FROM messages WHERE status IN ('queued', 'sending')"
                    " ORDER BY id LIMIT 50 FOR UPDATE"
                )
                await asyncio.sleep(5)
        finally:
            await connection.close()

    await amid(world, "rows locked", strike)


@case("F77o", "PostgreSQL answers with internal errors for two seconds: no outcome is dropped")
async def internal_errors(world: World) -> None:
    await usual(world)
    raising = (
        "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'pfree called with invalid pointer' USING ERRCODE = 'XX000'; END $$"
    )

    async def strike() -> None:
        await world.servers.execute(raising, world.database)
        await world.servers.execute(
            "CREATE TRIGGER fault BEFORE UPDATE OF seq ON messages"
            " FOR EACH STATEMENT EXECUTE FUNCTION fault()",
            world.database,
        )
        await asyncio.sleep(2)
        await world.servers.execute("DROP TRIGGER fault ON messages", world.database)

    await amid(world, "internal errors", strike)
