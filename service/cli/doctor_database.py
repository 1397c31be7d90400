"""What `hantar doctor` looks at in the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from service.cli.findings import Finding, failed, ok, some, warning
from service.core.sealing import CannotUnseal, Seal
from service.settings import Settings
from service.store import checkup as store
from service.store import leases, migrations, samples, sweeps
from service.store.devices import unsealed
from service.store.migrations import MigrationError
from service.store.pool import CONFLICTS, UNAVAILABLE, Connection, Dedicated

OLDEST_TRANSACTION_SECONDS = 300.0
OUTBOX_SECONDS = 60.0
CLOCK_SECONDS = 2.0
#: An audit reads every message; longer than this it is left to `hantar credits audit`.
AUDIT_SECONDS = 60.0
_REACH = (
    *UNAVAILABLE,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


async def check_database(settings: Settings, dsn: str, seal: Seal) -> list[Finding]:
    """Everything; a database that does not answer, or does not fit, is the only finding then."""
    try:
        await migrations.check(dsn)
    except MigrationError as error:
        return [failed("migrations", str(error), "run `hantar migrate` of the version that runs")]
    except _REACH as error:
        return [
            failed(
                "database",
                f"cannot be reached ({type(error).__name__})",
                "start PostgreSQL, or correct HANTAR_DATABASE_URL",
            )
        ]
    findings = [ok("migrations", f"all {len(migrations.migrations())} are applied")]
    checks: Sequence[tuple[str, Callable[[Connection], Awaitable[Finding]]]] = (
        ("shards", lambda c: _shards(c, settings.shards)),
        ("indexes", _indexes),
        ("transactions", _transactions),
        ("connections", _connections),
        ("clocks", _clocks),
        ("leases", lambda c: _leases(c, settings.lease_seconds)),
        ("outbox", _outbox),
        ("credits", _credits),
        ("devices", lambda c: _devices(c, settings.doubt_seconds)),
        ("secrets", lambda c: _secrets(c, seal)),
        ("webhooks", _webhooks),
    )
    dedicated = Dedicated(dsn, name="doctor")
    try:
        for name, check in checks:
            try:
                async with dedicated as connection:
                    findings.append(await check(connection))
            except (*UNAVAILABLE, *CONFLICTS) as error:
                detail = f"could not be looked at ({type(error).__name__})"
                findings.append(failed(name, detail, "is the database busy, or locked?"))
    finally:
        await dedicated.close()
    return findings


async def _shards(connection: Connection, wanted: int) -> Finding:
    found = await store.shards(connection)
    if found == wanted:
        return ok("shards", f"{found}, as HANTAR_SHARDS says")
    return failed(
        "shards",
        f"HANTAR_SHARDS is {wanted}, the installation has {found}",
        f"set HANTAR_SHARDS={found} for every process",
    )


async def _indexes(connection: Connection) -> Finding:
    broken = await store.invalid_indexes(connection)
    if not broken:
        return ok("indexes", "all are valid")
    return failed("indexes", f"not valid: {some(broken)}", f"run REINDEX INDEX {broken[0]}")


async def _transactions(connection: Connection) -> Finding:
    row = await samples.database(connection)
    seconds = row["transaction_seconds"]
    if seconds < OLDEST_TRANSACTION_SECONDS:
        return ok("transactions", f"the oldest is {seconds:.0f} s old")
    return warning(
        "transactions",
        f"one has been open for {seconds:.0f} s, which keeps VACUUM from clearing rows",
        "find it in pg_stat_activity by xact_start and end it with pg_terminate_backend",
    )


async def _connections(connection: Connection) -> Finding:
    row = await samples.database(connection)
    used, most = row["active"] + row["idle"] + row["idle_in_transaction"], row["most"]
    if used < 0.9 * most:
        return ok("connections", f"{used} of {most} are in use")
    return warning(
        "connections",
        f"{used} of {most} are in use",
        "raise max_connections, or lower HANTAR_POOL_SIZE",
    )


async def _clocks(connection: Connection) -> Finding:
    before = time.time()
    there = await store.clock(connection)
    off = there - (before + time.time()) / 2
    if abs(off) < CLOCK_SECONDS:
        return ok("clocks", f"the database's is {off * 1000:+.0f} ms off this machine's")
    return warning(
        "clocks",
        f"the database's clock is {off:+.1f} s off this machine's",
        "run NTP on both: schedules, expiry and signatures go by it",
    )


async def _leases(connection: Connection, lease_seconds: float) -> Finding:
    """Looks twice, a lease time apart: who serves a shard beats five times meanwhile."""
    before = {row.shard: row for row in await leases.leases(connection)}
    if all(row.owner is not None for row in before.values()):
        await asyncio.sleep(lease_seconds)
    rows = await leases.leases(connection)
    still = [row for row in rows if row.owner is None or row == before.get(row.shard)]
    if not still:
        return ok("leases", f"all {len(rows)} shards are served")
    return failed(
        "leases",
        f"nobody serves {len(still)} of {len(rows)} shards: their messages wait",
        "start a process with the dispatcher role, and look at its log",
    )


async def _outbox(connection: Connection) -> Finding:
    rows = await samples.outbox(connection)
    entries, oldest = (
        sum(row["entries"] for row in rows),
        max((r["seconds"] for r in rows), default=0.0),
    )
    if oldest < OUTBOX_SECONDS:
        return ok("outbox", f"{entries} entries, the oldest {oldest:.0f} s old")
    return failed(
        "outbox",
        f"{entries} entries, the oldest {oldest:.0f} s old: what was accepted is not handed on",
        "mend what is said of the broker; if that is well, start a process with the recorder role",
    )


async def _credits(connection: Connection) -> Finding:
    async with connection.transaction():
        rows = await sweeps.audit(connection, timeout_seconds=AUDIT_SECONDS)
    if not rows:
        return ok("credits", "balances, ledger and messages agree")
    return failed(
        "credits",
        f"the books of {len(rows)} account(s) do not agree, account {rows[0]['account_id']} first",
        "run `hantar credits audit`, and keep the database as it is until the cause is known",
    )


async def _devices(connection: Connection, doubt_seconds: float) -> Finding:
    broken = await store.broken_devices(connection)
    silent = await samples.silent_devices(connection, answer_seconds=doubt_seconds)
    if broken:
        names = [f"{row['id']} ({row['state']}: {row['reason'] or 'no reason'})" for row in broken]
        return failed(
            "devices",
            f"cannot send: {some(names)}",
            f"mend what the reason says, then `hantar device resume {broken[0]['id']}`",
        )
    if silent:
        return failed(
            "devices",
            f"deliver nothing of what is taken: {dict(silent)} by driver",
            "open the phone or the bridge, log the device out and link it again",
        )
    return ok("devices", "none has stopped")


async def _secrets(connection: Connection, seal: Seal) -> Finding:
    lost = []
    for row in await store.sealed_devices(connection):
        try:
            unsealed(seal, row["secrets"])
        except CannotUnseal:
            lost.append(str(row["id"]))
    if not lost:
        return ok("secrets", "the key file opens the secrets of every device")
    return failed(
        "secrets",
        f"the key file does not open those of device {some(lost)}",
        "put the key they were sealed with back into HANTAR_SECRET_KEY_FILE, or set them anew",
    )


async def _webhooks(connection: Connection) -> Finding:
    endpoints, due = await samples.endpoints(connection), await samples.webhooks(connection)
    refusing, off = endpoints.get("refusing", 0), endpoints.get("off", 0)
    if not refusing and not off:
        return ok("webhooks", f"{due.count} deliveries are due")
    return warning(
        "webhooks",
        f"{refusing} endpoint(s) refuse, {off} were switched off, {due.count} deliveries are due",
        "tell their accounts: GET /api/v1/webhook-endpoints/ID/deliveries says what they answer",
    )
