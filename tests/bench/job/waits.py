"""How long one waits: for the answer to a bulk, and from a single send to its call."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import asyncpg
import orjson

from service.store import accept
from service.store.accept import NewMessage, Shared
from tests.bench.job.accounting import OURS, rss_mib
from tests.bench.job.installation import BULK, Installation
from tests.bench.job.rounds import drained

#: A flood of so many on one simulated device, of which the first are on their way.
FLOOD = 100_000
UNDER_WAY = 2_000
#: From one to the next, under a flood.
BULK_SECONDS, SINGLE_SECONDS = 0.2, 0.05
_FLOOD = f"""
WITH put AS (
    INSERT INTO messages (account_id, device_id, phone, body, status, priority)
    SELECT $1, $2, '+6011' || (30000000 + n)::text, 'hello', 'queued', 1
    FROM generate_series(1, $3::int) n
    RETURNING id, device_id
)
INSERT INTO parked (message_id, device_id, priority, not_before, reason)
SELECT id, device_id, 1, now(), 'behind' FROM put {OURS}
"""
_PARKED = f"SELECT count(*) FROM parked WHERE device_id = $1 {OURS}"
_BEGUN = f"SELECT count(*) <= $2 FROM parked WHERE device_id = $1 {OURS}"
_CALLED = f"SELECT called_at FROM simulator_calls WHERE message_id = $1 {OURS}"


@dataclass
class Waits:
    """Seconds of each; `left` of a flood were still waiting at the end."""

    bulks: list[float]
    singles: list[float]
    memory_mib: dict[str, float]
    #: of the bare insert of as many rows, in turns with the bulks
    inserts: list[float]
    left: int = 0


async def idle(made: Installation, bulks: int, singles: int) -> Waits:
    """Nothing else is going on: each waits until the last one is through."""
    found = Waits([], [], memory(made), [])
    connection = await asyncpg.connect(made.postgres.dsn, timeout=10, command_timeout=60)
    device = made.devices["instant"][0]
    for _ in range(bulks):
        await drained(made)
        found.inserts.append(await _insert(made, connection, device))
        found.bulks.append(await _bulk(made, device))
    await connection.close(timeout=5)
    await drained(made)
    found.singles = await _singles(made, singles)
    return found


async def flooded(made: Installation, bulks: int, singles: int) -> Waits:
    """The same while another device, and then the same one, sends a flood."""
    device = made.devices["simulator"][0]
    await put_flood(made, device, FLOOD)
    async with asyncio.timeout(240):
        await made.until(_BEGUN, device, FLOOD - UNDER_WAY)
    found = Waits([], [], {}, [])
    for _ in range(bulks):
        began = time.monotonic()
        found.bulks.append(await _bulk(made, made.devices["instant"][0]))
        await asyncio.sleep(max(0.0, began + BULK_SECONDS - time.monotonic()))
    found.singles = await _singles(made, singles)
    found.memory_mib = memory(made)
    found.left = await made.pool.fetchval(_PARKED, device)
    return found


async def put_flood(made: Installation, device: int, messages: int) -> None:
    """So many messages wait for this device, as those of a campaign that has been expanded."""
    await made.pool.execute(_FLOOD, made.account, device, messages)


def memory(made: Installation) -> dict[str, float]:
    """MiB of each role now."""
    return {role: sum(rss_mib(each.pid) for each in ps) for role, ps in made.roles.items()}


async def _bulk(made: Installation, device: int) -> float:
    body = made.bulk(device)
    began = time.monotonic()
    await made.post("/messages/bulk", body)
    return time.monotonic() - began


async def _insert(
    made: Installation, connection: asyncpg.Connection[asyncpg.Record], device: int
) -> float:
    """The rows of a bulk by the statement of accept, and nothing else; cancelled, they stay."""
    body = "Your order has been shipped and should reach you by Thursday."
    rows = [NewMessage(f"+6011{n:08}", body, f"order-{n}", None) for n in range(BULK)]
    shared = Shared(device, None, "cancelled", 1, "at_most_once", None, None, credit=None)
    began = time.monotonic()
    await accept.insert_messages(connection, made.account, shared, rows)
    return time.monotonic() - began


async def _singles(made: Installation, singles: int) -> list[float]:
    """From the first byte of a `high` send to the call of the driver, on one machine's clock."""
    device, sent = made.devices["simulator"][0], []
    for _ in range(singles):
        item = orjson.loads(made.bulk(device, size=1))["messages"][0]
        body = orjson.dumps(item | {"device": device, "priority": "high"})
        began = time.monotonic()
        answer = orjson.loads(await made.post("/messages/send", body))
        sent.append((began, answer["data"]["id"]))
        await asyncio.sleep(max(0.0, began + SINGLE_SECONDS - time.monotonic()))
    took = []
    async with asyncio.timeout(240):
        for began, id_ in sent:
            took.append(await made.until(_CALLED, id_) - began)
    return took
