"""What `hantar doctor` looks at in the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

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
BRIDGE_SECONDS = 3.0
#: An audit reads every message; longer than this it is left to `hantar credits audit`.
AUDIT_SECONDS = 60.0
_REFUSALS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
_OPEN = (
    "SELECT pid, application_name, now() - xact_start AS open, query "
    "FROM pg_stat_activity ORDER BY xact_start LIMIT 5"
)
_LOCKED = (
    "SELECT pid, pg_blocking_pids(pid), query FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
)
#: What a person does about a device by its state; else there is a reason to mend first.
_MEND = {
    "logged_out": "link it again with its phone: `hantar device qr {id}`",
    "incompatible": "WhatsApp's page has changed: upgrade the bridge, then "
    "`hantar device resume {id}`",
}


async def check_database(settings: Settings, dsn: str, seal: Seal) -> list[Finding]:
    """Everything; a database that does not answer, or does not fit, is the only finding then."""
    try:
        await migrations.check(dsn)
    except MigrationError as error:
        advice = "run `hantar migrate` with the version that is deployed, before its processes"
        return [failed("migrations", str(error), advice)]
    except _REFUSALS as error:
        return [
            failed(
                "database",
                f"it answers, and refuses this user or has no such database ({_name(error)})",
                "correct user, password and name in HANTAR_DATABASE_URL",
            )
        ]
    except UNAVAILABLE as error:
        return [
            failed(
                "database",
                f"cannot be reached ({_name(error)})",
                "start PostgreSQL, or correct host and port in HANTAR_DATABASE_URL",
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
        ("events", _events),
        ("credits", _credits),
        ("devices", lambda c: _devices(c, settings.doubt_seconds)),
        ("bridge", lambda c: _bridge(c, settings)),
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
                detail = f"could not be looked at ({_name(error)})"
                findings.append(failed(name, detail, f"see who holds it up: {_sql(_LOCKED)}"))
    finally:
        await dedicated.close()
    return findings


def _name(error: Exception) -> str:
    return type(error).__name__


def _sql(statement: str) -> str:
    return f'`psql "$HANTAR_DATABASE_URL" -c "{statement}"`'


async def _shards(connection: Connection, wanted: int) -> Finding:
    found = await store.shards(connection)
    if not found:
        return failed("shards", "the installation was not set up", "run `hantar migrate`")
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
    advice = f"while it goes on working: {_sql(f'REINDEX INDEX CONCURRENTLY {broken[0]}')}"
    return failed("indexes", f"not valid, so not used: {some(broken)}", advice)


async def _transactions(connection: Connection) -> Finding:
    row = await samples.database(connection)
    seconds = row["transaction_seconds"]
    if seconds < OLDEST_TRANSACTION_SECONDS:
        return ok("transactions", f"the oldest is {seconds:.0f} s old")
    return warning(
        "transactions",
        f"one has been open for {seconds:.0f} s, which keeps VACUUM from clearing rows",
        f"see whose it is: {_sql(_OPEN)}; end it with SELECT pg_terminate_backend(PID)",
    )


async def _connections(connection: Connection) -> Finding:
    row = await samples.database(connection)
    used, most = row["active"] + row["idle"] + row["idle_in_transaction"], row["most"]
    if used < 0.9 * most:
        return ok("connections", f"{used} of {most} are in use")
    return warning(
        "connections",
        f"{used} of {most} are in use",
        "raise max_connections of PostgreSQL, or lower HANTAR_POOL_SIZE and restart the processes",
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
        "start `hantar run --roles dispatcher`, the dispatcher role; if it runs, look at its log",
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
        "mend what is said of the broker below; if that is well, start "
        "`hantar run --roles recorder`, which hands on what stayed behind",
    )


async def _events(connection: Connection) -> Finding:
    if await store.events_led(connection):
        return ok("events", "a recorder publishes them")
    return failed(
        "events",
        "nobody publishes them: no event and no answer to a command goes out, all of them wait",
        "start `hantar run --roles recorder`; if it runs, look at its log",
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
            _MEND.get(
                broken[0]["state"], "mend what the reason says, then `hantar device resume {id}`"
            ).format(id=broken[0]["id"]),
        )
    if silent:
        counts = [f"{count} of {driver}" for driver, count in silent.items()]
        return failed(
            "devices",
            f"take messages and deliver none: {some(counts)}",
            "`meta`: does its webhook still come to /webhooks/meta (log of the ingress)? Else open "
            "the phone, and link it again: `hantar device qr ID`",
        )
    unlinked = await store.unlinked_devices(connection)
    if unlinked:
        names = [f"{row['id']} ({row['driver']})" for row in unlinked]
        return warning(
            "devices",
            f"never made ready to send: {some(names)}",
            "`meta`: give it its access token (PATCH /api/v1/devices/ID); another: "
            "`hantar device qr ID`",
        )
    return ok("devices", "none has stopped")


async def _bridge(connection: Connection, settings: Settings) -> Finding:
    if not await store.has_devices(connection, "wwebjs"):
        return ok("bridge", "not needed: no device is linked through it")
    address = settings.wwebjs_bridge
    try:
        async with asyncio.timeout(BRIDGE_SECONDS):
            if address.startswith("http://"):
                url = urlsplit(address)
                _, writer = await asyncio.open_connection(url.hostname, url.port or 80)
            else:
                _, writer = await asyncio.open_unix_connection(address)
    except (OSError, TimeoutError, ValueError) as error:
        return failed(
            "bridge",
            f"nothing answers at {address} ({_name(error)}): linked devices cannot send",
            "start the bridge (drivers/wwebjs/bridge/README.md), or correct HANTAR_WWEBJS_BRIDGE",
        )
    writer.close()
    return ok("bridge", f"answers at {address}")


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
        "tell their accounts: their own GET /api/v1/webhook-endpoints/ID/deliveries says what was "
        "answered, and PATCH with is_active switches one on again",
    )
