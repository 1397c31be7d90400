"""Campaigns paused, resumed and cancelled at random moments, at a WhatsApp that repeats nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.store.pool import Pool
from tests.system import Account, Hantar, eventually, run_app

RECIPIENTS = 3000
PER_SECOND = 500.0
MOVES = 20
WITHIN_SECONDS = 120.0


@pytest.fixture
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Whoever is called twice is found out."""
    async for running in run_app(dsn, pool, simulator_dedupe="off"):
        yield running


async def crowd(hantar: Hantar, account: Account, count: int) -> int:
    """A group of so many contacts."""
    group_id: int = await hantar.pool.fetchval(
        "INSERT INTO contact_groups (account_id, name) VALUES ($1, 'All') RETURNING id", account.id
    )
    await hantar.pool.execute(
        """
        WITH made AS (
            INSERT INTO contacts (account_id, phone)
            SELECT $1, '+6012' || (3000000 + n) FROM generate_series(1, $3) n RETURNING id
        )
        INSERT INTO contact_group_members SELECT $2, id FROM made
        """,
        account.id,
        group_id,
        count,
    )
    return group_id


async def start(hantar: Hantar, account: Account, count: int) -> int:
    body = {"name": "N", "body": "Hi", "contact_group_id": await crowd(hantar, account, count)}
    answer = await hantar.post("/campaigns", account, body)
    assert answer.status == 201, answer.json
    made: int = answer.json["data"]["id"]
    return made


async def move(hantar: Hantar, account: Account, campaign_id: int, name: str) -> int:
    path = f"/api/v1/campaigns/{campaign_id}/{name}"
    return (await hantar.call("POST", path, account)).status


async def calls(hantar: Hantar, campaign_id: int) -> dict[int, list[float]]:
    """When the simulated WhatsApp was called, by message."""
    rows = await hantar.pool.fetch(
        "SELECT c.message_id, c.called_at FROM simulator_calls c "
        "JOIN messages m ON m.id = c.message_id WHERE m.campaign_id = $1",
        campaign_id,
    )
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["message_id"], []).append(row["called_at"])
    return found


async def ended(hantar: Hantar, account: Account, campaign_id: int) -> Any:
    """The campaign once nothing of it waits, and no credit is held."""

    async def look() -> Any:
        found = (await hantar.get(f"/campaigns/{campaign_id}", account)).json["data"]
        over = found["status"] in ("completed", "cancelled") and found["progress"] == 1.0
        return found if over and not found["credits"]["reserved"] else None

    return await eventually(look, within_seconds=WITHIN_SECONDS)


async def test_each_gets_it_once_however_often_it_is_paused(hantar: Hantar) -> None:
    await pause_and_resume(hantar, RECIPIENTS)


async def pause_and_resume(hantar: Hantar, recipients: int) -> None:
    account = await hantar.account(credits=recipients, per_second=PER_SECOND)
    campaign_id = await start(hantar, account, recipients)
    moments = random.Random(1)
    pauses = []
    for _ in range(MOVES // 2):
        await asyncio.sleep(moments.uniform(0.0, 0.3))
        if await move(hantar, account, campaign_id, "pause") != 200:
            break
        since = time.monotonic()
        await asyncio.sleep(moments.uniform(0.0, 0.5))
        pauses.append((since, time.monotonic()))
        assert await move(hantar, account, campaign_id, "resume") in (200, 409)
    done = await ended(hantar, account, campaign_id)
    assert (done["status"], done["counts"]["total"]) == ("completed", recipients)
    assert done["credits"]["settled"] == recipients
    called = await calls(hantar, campaign_id)
    assert Counter(map(len, called.values())) == {1: recipients}
    assert pauses
    times = [at for each in called.values() for at in each]
    assert [at for at in times for since, until in pauses if since < at < until] == []
    assert await hantar.drifting() == []


async def test_nothing_goes_out_once_a_cancel_is_answered(hantar: Hantar) -> None:
    await cancel(hantar, RECIPIENTS)


async def cancel(hantar: Hantar, recipients: int) -> None:
    account = await hantar.account(credits=recipients, per_second=PER_SECOND)
    campaign_id = await start(hantar, account, recipients)
    moments = random.Random(2)
    await asyncio.sleep(moments.uniform(0.1, 0.6))
    assert await move(hantar, account, campaign_id, "pause") == 200
    waiting = (await hantar.get(f"/messages?campaign_id={campaign_id}&status=queued", account)).json
    assert {message["waiting"]["reason"] for message in waiting["data"]} == {"paused"}
    assert await move(hantar, account, campaign_id, "resume") == 200
    await asyncio.sleep(moments.uniform(0.0, 0.3))
    assert await move(hantar, account, campaign_id, "cancel") == 200
    since = time.monotonic()
    for refused in ("pause", "resume"):
        assert await move(hantar, account, campaign_id, refused) == 409
    done = await ended(hantar, account, campaign_id)
    called = await calls(hantar, campaign_id)
    assert set(map(len, called.values())) <= {1}
    assert [at for each in called.values() for at in each if at > since] == []
    assert done["status"] == "cancelled"
    assert done["counts"]["cancelled"] == recipients - len(called) > 0
    assert done["credits"] == {
        "reserved": 0,
        "settled": len(called),
        "released": recipients - len(called),
    }
    rows = await hantar.pool.fetchval(
        "SELECT count(*) FROM messages WHERE campaign_id = $1", campaign_id
    )
    assert rows == recipients
    assert await hantar.balance(account) == recipients - len(called)
    assert await hantar.drifting() == []
