"""What budgets cost a claim: `make bench-claims`.

Groups as a dispatcher's claims come, a few messages of each of many devices; the kinds of devices
take turns within one run, so that all meet the same machine.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict

from service.store import claims as store
from service.store.pool import Pool
from tests.integration.store.workers import WORKER, take_all
from tests.system import Account, make_account

DEVICES, EACH, ROUNDS = 50, 4, 30
#: The columns that a kind of device sets.
KINDS = {
    "no budget": "per_second = 80",
    "hour and day": "per_hour = 100000, per_day = 1000000",
    "pair": "pair_seconds = 6",
    "all of them": "per_hour = 100000, per_day = 1000000, pair_seconds = 6, "
    "new_recipients_per_day = 1000000, quiet_start = now()::time + interval '2 hours', "
    "quiet_end = now()::time + interval '3 hours', quiet_timezone = 'UTC'",
}


async def _messages(pool: Pool, account: Account, kind: str) -> list[list[int]]:
    devices = [
        row["id"]
        for row in await pool.fetch(
            "INSERT INTO devices (account_id, name, driver, state, shard) SELECT $1, $2, "
            "'simulator', 'ready', 0 FROM generate_series(1, $3::int) RETURNING id",
            account.id,
            kind,
            DEVICES,
        )
    ]
    await pool.execute(f"UPDATE devices SET {KINDS[kind]} WHERE id = ANY($1::bigint[])", devices)
    rows = await pool.fetch(
        "INSERT INTO messages (account_id, device_id, phone, body, status, priority) "
        "SELECT $1, device, '+6012' || (1000000 + nextval('bench_phone'))::text, 'hello', "
        "'queued', 1 FROM generate_series(1, $3::int) n, unnest($2::bigint[]) device RETURNING id",
        account.id,
        devices,
        EACH * (ROUNDS + 5),
    )
    ids = [row["id"] for row in rows]
    size = DEVICES * EACH
    return [ids[start : start + size] for start in range(0, len(ids), size)]


async def test_what_budgets_cost_a_claim(pool: Pool) -> None:
    account = await make_account(pool)
    epochs = await take_all(pool, WORKER)
    await pool.execute("CREATE SEQUENCE bench_phone")
    groups = {kind: await _messages(pool, account, kind) for kind in KINDS}
    await pool.execute("ANALYZE")
    took: dict[str, list[float]] = defaultdict(list)
    async with pool.acquire() as connection:
        for n in range(ROUNDS + 5):
            for kind in KINDS:
                began = time.perf_counter()
                rows = await store.claim(
                    connection,
                    groups[kind][n],
                    worker=WORKER,
                    epochs=epochs,
                    claim_id=n * len(KINDS) + len(took[kind]) + 1 + 10_000 * len(kind),
                    good_seconds=0.25,
                )
                took[kind].append(time.perf_counter() - began)
                assert {row["verdict"] for row in rows} == {"claimed"}
    for kind, times in took.items():
        middle = statistics.median(times[5:])
        sys.stdout.write(
            f"\n{kind}: {middle * 1000:.1f} ms for {DEVICES * EACH} messages of {DEVICES} devices, "
            f"{DEVICES * EACH / middle:,.0f} claims/s"
        )
