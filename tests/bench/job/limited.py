"""How much of its limit a device with a full lane uses, and whether it ever breaks it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.bench.job.accounting import OURS
from tests.bench.job.installation import Installation
from tests.bench.job.waits import put_flood
from tests.windows import too_soon, used

PER_SECOND = 80
SECONDS = 15.0
#: Until the lane is full, and so that it is still full at the end.
FILL_SECONDS, SPARE_SECONDS = 3.0, 4.0
_DEVICE = f"""
INSERT INTO devices (account_id, name, driver, state, shard, per_second)
VALUES ($1, 'limited', 'simulator', 'ready', 0, $2) RETURNING id {OURS}
"""
_BEGUN = f"SELECT count(*) > 0 FROM simulator_calls WHERE device_id = $1 {OURS}"
_CALLS = f"SELECT called_at FROM simulator_calls WHERE device_id = $1 {OURS}"


async def limited(made: Installation) -> dict[str, Any]:
    """The part of the limit that was used, and the windows of a second that had too many calls."""
    device = await made.pool.fetchval(_DEVICE, made.account, float(PER_SECOND))
    seconds = FILL_SECONDS + SECONDS + SPARE_SECONDS
    await put_flood(made, device, int(seconds * PER_SECOND))
    async with asyncio.timeout(60):
        await made.until(_BEGUN, device)
    await asyncio.sleep(FILL_SECONDS + SECONDS)  # what is measured is time
    times = sorted(row["called_at"] for row in await made.pool.fetch(_CALLS, device))
    full = [at for at in times if at >= times[0] + FILL_SECONDS]
    return {
        "per_second": PER_SECOND,
        "calls": len(full),
        "used": used(full, PER_SECOND),
        "broken": len(too_soon(times, PER_SECOND, 1.0)),
    }
