"""What three bad endpoints cost the other seven: `make bench-webhooks`.

Ten accounts send a message each, ten times a second, first with every endpoint well, then with one
that hangs, one that answers 500 and one that redirects to this machine, and then well again. The
figure is the time from the event to its call, of the seven that stay well throughout.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from datetime import datetime

from service.store.pool import Pool
from tests.integration.test_webhook_isolation import BAD, ENDPOINTS, Crowd, crowd
from tests.servers.webhook_receiver import Receiver
from tests.system import eventually

SECONDS, EVERY_SECONDS = 25, 0.1


def _delays(receiver: Receiver, first: int) -> list[float]:
    """Seconds from the newest change in each call to the call, of those from number `first` on."""
    found = []
    documents = receiver.documents()[first:]
    for at, document in zip(receiver.times[first:], documents, strict=False):
        changed = max(datetime.fromisoformat(event["at"]) for event in document["data"]["events"])
        found.append(at - changed.timestamp())
    return found


async def _phase(scene: Crowd, name: str) -> tuple[float, float]:
    """Load for a while; the median and the 99th percentile of the seven, in seconds."""
    before = [len(receiver.calls) for _, receiver in scene.good]
    sent: dict[int, set[int]] = {account.id: set() for account, _ in scene.endpoints}
    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        turn = asyncio.get_running_loop().time()
        for account_id, ids in (await scene.send(1)).items():
            sent[account_id] |= set(ids)
        await asyncio.sleep(max(0.0, turn + EVERY_SECONDS - asyncio.get_running_loop().time()))

    async def told() -> bool:
        return all(
            sent[account.id]
            <= {id_ for kind, id_ in receiver.events() if kind.endswith("delivered")}
            for account, receiver in scene.good
        )

    await eventually(told, within_seconds=60)
    delays = [
        delay
        for (_, receiver), first in zip(scene.good, before, strict=True)
        for delay in _delays(receiver, first)
    ]
    middle, worst = statistics.median(delays), statistics.quantiles(delays, n=100)[98]
    sys.stdout.write(
        f"\n{name}: p50 {middle * 1000:.0f} ms, p99 {worst * 1000:.0f} ms over {len(delays)} calls"
    )
    return middle, worst


async def test_bad_endpoints_cost_the_others_nothing(dsn: str, pool: Pool) -> None:
    async with crowd(dsn, pool) as scene:
        await _phase(scene, f"{ENDPOINTS} of {ENDPOINTS} well")
        scene.turn_bad()
        await _phase(scene, f"{ENDPOINTS - BAD} of {ENDPOINTS} well")
        for _, receiver in scene.endpoints[:BAD]:
            receiver.hang, receiver.status, receiver.headers = False, 200, {}
        await _phase(scene, "well again")
        calls = [len(receiver.calls) for _, receiver in scene.endpoints]
        sys.stdout.write(f"\ncalls of each endpoint: {calls}\n")
        assert scene.inner.calls == []
