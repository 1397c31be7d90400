"""Looks at the database for the gauges that nobody can count as they work."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from service.core.throttle import RECOVERY_SECONDS
from service.store import leases, sweeps
from service.store import samples as store
from service.store.leases import LeaseRow
from service.store.pool import CONFLICTS, UNAVAILABLE, Connection, Dedicated
from service.telemetry import metrics, samples
from service.telemetry.instruments import Look

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
#: Between two looks of one kind; longer after one that took long, so that all the looking costs at
#: most so small a part of the database's time.
SOON_SECONDS, LATER_SECONDS = 2.0, 5.0
SHARE, BOOKS_SHARE = 0.05, 0.01
LONGEST_PAUSE_SECONDS = 3600.0
#: A gauge is exported this many pauses after its last look, and some seconds.
GOOD_PAUSES, GOOD_SECONDS = 3.0, 10.0
#: An owner that beat no more for so many lease times should have been replaced.
SILENT_LEASES = 2.0


@dataclass(slots=True)
class _Kind:
    """One kind of look: what it fills, how, how often, and when next (monotonic)."""

    name: str
    look: Look
    fill: Callable[[Connection], Awaitable[None]]
    pause_seconds: float
    share: float = SHARE
    due: float = float("-inf")


class Sampler:
    """Fills the gauges of `telemetry/samples.py`; of all processes with the role one at a time.

    It holds one connection, which makes it the one, and asks one statement after the other. A
    look that fails leaves its gauges to become stale, which makes them absent.
    """

    def __init__(self, dsn: str, *, lease_seconds: float, doubt_seconds: float) -> None:
        self._dedicated = Dedicated(dsn, name="sampler")
        self._lease_seconds = lease_seconds
        self._doubt_seconds = doubt_seconds
        self._beats: dict[int, tuple[tuple[str | None, int, int], float]] = {}
        self._leads: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._kinds = [
            _Kind("outbox", samples.OUTBOX, _outbox, SOON_SECONDS),
            _Kind("shards", samples.SHARDS, self._shards, SOON_SECONDS),
            _Kind("doubts", samples.DOUBTED, self._doubts, SOON_SECONDS),
            _Kind("devices", samples.DEVICES, self._devices, SOON_SECONDS),
            _Kind("callers", samples.CALLERS, _callers, SOON_SECONDS),
            _Kind("parked", samples.PARKED, _parked, LATER_SECONDS),
            _Kind("bulk", samples.BULK, _bulk, LATER_SECONDS),
            _Kind("database", samples.DATABASE, _database, LATER_SECONDS),
            _Kind("books", samples.BOOKS, _books, LATER_SECONDS, BOOKS_SHARE),
        ]

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="sampler")

    async def close(self) -> None:
        """Stop; another process may look from now on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for kind in self._kinds:
            kind.look.forget()
        await self._dedicated.close()

    async def _run(self) -> None:
        while True:
            for kind in self._kinds:
                if time.monotonic() >= kind.due:
                    await self._take(kind)
            await asyncio.sleep(TICK_SECONDS)

    async def _take(self, kind: _Kind) -> None:
        began = time.monotonic()
        result = "failed"
        try:
            async with self._dedicated as connection:
                if self._leads is not connection:
                    self._leads = connection if await store.lead(connection) else None
                if self._leads is None:
                    kind.due = began + kind.pause_seconds
                    return
                await kind.fill(connection)
                result = "taken"
        except (*UNAVAILABLE, *CONFLICTS) as error:
            log.warning("look_failed", look=kind.name, error=type(error).__name__)
        except Exception:
            log.exception("look_failed", look=kind.name)
        seconds = time.monotonic() - began
        pause = min(max(kind.pause_seconds, seconds / kind.share), LONGEST_PAUSE_SECONDS)
        kind.due = began + pause
        if result == "taken":
            kind.look.taken(good_seconds=GOOD_PAUSES * pause + GOOD_SECONDS)
        metrics.LOOKS.labels(kind.name, result).inc()
        metrics.LOOK_SECONDS.labels(kind.name).observe(seconds)

    async def _shards(self, connection: Connection) -> None:
        rows = await leases.leases(connection)
        now = time.monotonic()
        states = Counter(self._state(row, now) for row in rows)
        samples.SHARDS_BY_STATE.fill({(state,): count for state, count in states.items()})
        samples.WORKERS.set(len(await leases.workers(connection)))

    def _state(self, row: LeaseRow, now: float) -> str:
        """By this process's own clock, as no wall clock is trusted."""
        seen = (row.owner, row.epoch, row.beat)
        known = self._beats.get(row.shard)
        if known is None or known[0] != seen:
            self._beats[row.shard] = known = (seen, now)
        if row.owner is None:
            return "free"
        return "silent" if now - known[1] > SILENT_LEASES * self._lease_seconds else "owned"

    async def _doubts(self, connection: Connection) -> None:
        rows = await store.doubts(connection, doubt_seconds=self._doubt_seconds)
        samples.UNCONFIRMED.fill({(row["awaits"],): row["messages"] for row in rows})
        waiting = [row["seconds"] for row in rows if row["awaits"] == "callback"]
        samples.UNCONFIRMED_OLDEST.set(max(waiting, default=0.0))

    async def _devices(self, connection: Connection) -> None:
        states: Counter[tuple[str, ...]] = Counter()
        waiting: Counter[tuple[str, ...]] = Counter()
        slowed: Counter[tuple[str, ...]] = Counter()
        for row in await store.devices(connection, slow_seconds=RECOVERY_SECONDS / 2):
            states[row["driver"], row["state"]] += row["devices"]
            slowed[(row["driver"],)] += row["slowed"]
            if row["reason"] is not None:
                waiting[(row["reason"],)] += row["devices"]
        samples.DEVICES_BY_STATE.fill(states)
        samples.DEVICES_WAITING.fill(waiting)
        samples.DEVICES_SLOWED.fill(slowed)
        silent = await store.silent_devices(connection, answer_seconds=self._doubt_seconds)
        samples.DEVICES_SILENT.fill({(driver,): count for driver, count in silent.items()})


async def _outbox(connection: Connection) -> None:
    rows = await store.outbox(connection)
    samples.OUTBOX_DEPTH.fill({(row["kind"],): row["entries"] for row in rows})
    samples.OUTBOX_OLDEST.fill({(row["kind"],): row["seconds"] for row in rows})


async def _parked(connection: Connection) -> None:
    rows = await store.parked(connection)
    reasons = [row for row in rows if row["device_id"] is None]
    lagging = [row for row in rows if row["device_id"] is not None]
    samples.PARKED_MESSAGES.fill(
        {(row["reason"], "yes" if row["due"] else "no"): row["messages"] for row in reasons}
    )
    samples.PARKED_OLDEST.fill({(row["reason"],): row["seconds"] for row in reasons if row["due"]})
    samples.LAGGING_DEVICES.fill({(str(row["device_id"]),): row["seconds"] for row in lagging})
    samples.LAGGING_MESSAGES.fill({(str(row["device_id"]),): row["messages"] for row in lagging})


async def _bulk(connection: Connection) -> None:
    rows = {row["status"]: row for row in await store.campaigns(connection)}
    samples.CAMPAIGNS.fill({(status,): row["campaigns"] for status, row in rows.items()})
    dispatching = rows.get("dispatching")
    samples.RECIPIENTS_PENDING.set(dispatching["pending"] if dispatching else 0)
    samples.CAMPAIGN_IDLE.set(max(dispatching["seconds"], 0.0) if dispatching else 0)
    imports = await store.imports(connection)
    samples.IMPORT_ROWS.set(imports.count)
    samples.IMPORT_IDLE.set(imports.seconds)


async def _callers(connection: Connection) -> None:
    due = await store.webhooks(connection)
    samples.WEBHOOKS_DUE.set(due.count)
    samples.WEBHOOKS_OLDEST.set(due.seconds)
    endpoints = await store.endpoints(connection)
    samples.WEBHOOK_ENDPOINTS.fill({(state,): count for state, count in endpoints.items()})
    samples.MAILS_OLDEST.set(await store.mails_seconds(connection))


async def _database(connection: Connection) -> None:
    row = await store.database(connection)
    samples.DATABASE_CONNECTIONS.fill(
        {
            ("active",): row["active"],
            ("idle",): row["idle"],
            ("idle_in_transaction",): row["idle_in_transaction"],
            ("limit",): row["most"],
        }
    )
    samples.DATABASE_LOCKS.set(row["locks"])
    samples.DATABASE_TRANSACTION.set(row["transaction_seconds"])
    samples.DATABASE_BYTES.set(row["bytes"])
    samples.DATABASE_DEAD.set(row["dead_rows"])


async def _books(connection: Connection) -> None:
    async with connection.transaction():
        rows = await sweeps.audit(connection)
    if rows:
        log.error("credits_drift", accounts=[row["account_id"] for row in rows[:20]])
    samples.ACCOUNTS_DRIFTING.set(len(rows))
    samples.CREDITS_DRIFT.set(
        sum(
            abs(row["balance"] - row["ledger_available"])
            + abs(row["ledger_reserved"] - row["messages_reserved"])
            + abs(row["ledger_spent"] - row["messages_spent"])
            for row in rows
        )
    )
