"""A million messages wait on a device at one a second: `make bench-backlog`.

The dispatcher's memory stays flat, and a message of another device goes out as ever.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

from tests.acceptance.installation import Installation
from tests.bench.pace import backlog
from tests.system import eventually
from tests.windows import calls_by_device, too_soon

MESSAGES = 1_000_000
SECONDS = 30
#: Of the process from its start on, and of another device's message.
MOST_GROWTH_MIB, MOST_SECONDS = 30.0, 1.0


def rss_mib(pid: int) -> float:
    """The memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024.0


async def test_a_million_parked_messages_cost_no_memory(installation: Installation) -> None:
    [slow] = await backlog(installation, devices=1, per_second=1.0, messages=MESSAGES)
    dispatcher, recorder, ingress = await installation.run("dispatcher", "recorder", "ingress")
    before = rss_mib(dispatcher.pid)
    sizes, waits = [], []
    for n in range(SECONDS):
        began = time.monotonic()
        answer = await installation.bulk(
            ingress,
            {"messages": [{"phone": f"+6012{4000000 + n}", "body": "hi"}],
             "device": next(iter(installation.devices.values()))},
        )  # fmt: skip
        [queued] = answer.json["queued"]

        async def gone(id_: int = queued["id"]) -> float | None:
            at: float | None = await installation.pool.fetchval(
                "SELECT called_at FROM simulator_calls WHERE message_id = $1", id_
            )
            return at

        waits.append(await eventually(gone) - began)
        sizes.append(rss_mib(dispatcher.pid))
        await asyncio.sleep(max(0.0, began + 1.0 - time.monotonic()))
    times = (await calls_by_device(installation.pool))[slow]
    assert too_soon(times, 1, 1.0) == []
    sys.stdout.write(
        f"\n{MESSAGES:,} parked; dispatcher {before:.0f} MiB at first, {sizes[-1]:.0f} MiB after "
        f"{SECONDS} s (most {max(sizes):.0f}); {len(times)} calls of the slow device; a message of "
        f"another one called {statistics.median(waits) * 1000:.0f} ms after its request in the "
        f"middle, {max(waits) * 1000:.0f} ms at worst\n"
    )
    await installation.stop(dispatcher, recorder, ingress)
    assert max(sizes) - before <= MOST_GROWTH_MIB
    assert statistics.median(waits) <= MOST_SECONDS
