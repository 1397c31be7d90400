"""What three bad endpoints cost seven others: `make bench-webhooks`.

Ten accounts send a message each, ten times a second. In every round all endpoints are well first;
then three accounts have one instead that hangs, answers 500 or redirects to this machine. The
figure is the time from an event to its call, of the seven that are well throughout.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from service.store.pool import Pool
from tests.integration.test_webhook_isolation import BAD, Crowd, crowd
from tests.integration.test_webhooks import listen
from tests.servers.webhook_receiver import Receiver, receiving
from tests.system import Account, eventually

ROUNDS = 6
SECONDS, EVERY_SECONDS = 10, 0.1
#: Of the p99 beside the bad ones to that before them, in the middle of the rounds.
MOST_TIMES = 1.5


@dataclass
class Pair:
    """An account of the three, with a good endpoint and a bad one."""

    account: Account
    good: Any
    bad: Any
    #: what the bad one leads to
    receiver: Receiver


@asynccontextmanager
async def _pairs(scene: Crowd) -> AsyncIterator[list[Pair]]:
    async with AsyncExitStack() as stack:
        bad = [await stack.enter_async_context(receiving()) for _ in range(BAD)]
        pairs = []
        for (account, _), receiver in zip(scene.endpoints, bad, strict=False):
            rows = (await scene.hantar.get("/webhook-endpoints", account)).json["data"]
            [good] = rows
            made = await listen(
                scene.hantar, account, receiver.url, events=["message.*"], is_active=False
            )
            pairs.append(Pair(account, good, made, receiver))
        hanging, broken, redirecting = bad
        hanging.hang = True
        broken.status = 500
        redirecting.status, redirecting.headers = 307, {"Location": scene.inner.url}
        yield pairs


async def _switch(scene: Crowd, pairs: Sequence[Pair], *, bad: bool) -> None:
    for pair in pairs:
        for endpoint, active in ((pair.good, not bad), (pair.bad, bad)):
            path = f"/api/v1/webhook-endpoints/{endpoint['id']}"
            answer = await scene.hantar.call(
                "PATCH", path, pair.account, json={"is_active": active}
            )
            assert answer.status == 200, answer.json


def _heard(receiver: Receiver) -> tuple[set[int], list[float]]:
    """Messages delivered, and the seconds from the newest change in each call to the call; what
    was heard is forgotten, so that a longer run has no more to keep."""
    delivered: set[int] = set()
    delays = []
    for at, (_, body) in zip(receiver.times, receiver.calls, strict=True):
        events = orjson.loads(body)["data"]["events"]
        changed = max(datetime.fromisoformat(event["at"]) for event in events)
        delays.append(at - changed.timestamp())
        delivered |= {e["message_id"] for e in events if e["status"] == "delivered"}
    receiver.times.clear()
    receiver.calls.clear()
    return delivered, delays


async def _phase(scene: Crowd, name: str) -> float:
    """Load for a while; the 99th percentile of the seven, in seconds."""
    left: dict[int, set[int]] = {account.id: set() for account, _ in scene.good}
    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        turn = time.monotonic()
        for account_id, ids in (await scene.send(1)).items():
            if account_id in left:
                left[account_id] |= set(ids)
        await asyncio.sleep(max(0.0, turn + EVERY_SECONDS - time.monotonic()))
    delays: list[float] = []

    async def told() -> bool:
        for account, receiver in scene.good:
            delivered, found = _heard(receiver)
            left[account.id] -= delivered
            delays.extend(found)
        return not any(left.values())

    await eventually(told, within_seconds=60)
    middle, worst = statistics.median(delays), statistics.quantiles(delays, n=100)[98]
    sys.stdout.write(
        f"\n{name}: p50 {middle * 1000:.0f} ms, p99 {worst * 1000:.0f} ms over {len(delays)} calls"
    )
    return worst


async def test_bad_endpoints_cost_the_others_nothing(dsn: str, pool: Pool) -> None:
    async with crowd(dsn, pool) as scene, _pairs(scene) as pairs:
        ratios = []
        for number in range(1, ROUNDS + 1):
            await _switch(scene, pairs, bad=False)
            before = await _phase(scene, f"round {number}, all well")
            await _switch(scene, pairs, bad=True)
            beside = await _phase(scene, f"round {number}, {BAD} bad")
            ratios.append(beside / before)
        middle = statistics.median(ratios)
        shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
        sys.stdout.write(f"\np99 beside the bad to before: {shown}, median {middle:.2f}\n")
        assert all(pair.receiver.calls for pair in pairs), "the bad ones were not tried"
        assert scene.inner.calls == []
        assert middle <= MOST_TIMES
