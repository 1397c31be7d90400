"""A campaign that is paused, resumed and perhaps cancelled at random moments, and what came of it.

The oracle is the simulated WhatsApp, which here repeats nothing: it notes every call with its time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.system import Account, Hantar, eventually

#: What makes a WhatsApp that is found out when it is called twice for one message.
SETTINGS = {"simulator_dedupe": "off"}
#: As fast as this machine can, so that much is in flight whenever somebody moves.
PER_SECOND = 1000.0
PAUSES = 5
WITHIN_SECONDS = 180.0
_CROWD = """
WITH made AS (
    INSERT INTO contacts (account_id, phone)
    SELECT $1, '+6012' || (3000000 + n) FROM generate_series(1, $3) n RETURNING id
)
INSERT INTO contact_group_members SELECT $2, id FROM made
"""


@dataclass(slots=True)
class Played:
    """What was done to a campaign and what came of it; times are of the monotonic clock."""

    seed: int
    status: str = ""
    #: during each of these nothing may be called
    still: list[tuple[float, float]] = field(default_factory=list)
    #: whom WhatsApp was called for
    reached: int = 0
    #: answers to the moves that came in time, by their names
    moves: Counter[str] = field(default_factory=Counter)


async def play(hantar: Hantar, recipients: int, seed: int, *, cancel: bool) -> Played:
    """Make a campaign and move it at random moments; AssertionError when anything is amiss."""
    account = await hantar.account(credits=recipients, per_second=PER_SECOND)
    campaign_id = await _start(hantar, account, recipients)
    played = Played(seed)
    await _move_about(hantar, account, campaign_id, played, recipients, cancel=cancel)
    done = await _ended(hantar, account, campaign_id)
    played.status = done["status"]
    calls = await _calls(hantar, campaign_id)
    played.reached = len({message_id for message_id, _ in calls})
    assert len(calls) == played.reached, f"seed {seed}: somebody was called twice"
    amid = [at for _, at in calls for since, until in played.still if since < at < until]
    assert amid == [], f"seed {seed}: calls during a pause or after the cancel"
    assert (played.status == "cancelled") == (played.moves["cancel"] == 1), played
    await _check_books(hantar, account, campaign_id, done, recipients, played)
    return played


async def _move_about(
    hantar: Hantar,
    account: Account,
    campaign_id: int,
    played: Played,
    recipients: int,
    *,
    cancel: bool,
) -> None:
    """Pause and resume until it is over or enough, then perhaps cancel."""
    dice = random.Random(played.seed)
    before = await _count(hantar)

    async def moment(share: float) -> None:
        """Wait until so large a part of them was called, and a little longer."""

        async def look() -> bool:
            return await _count(hantar) - before >= share * recipients

        await eventually(look, within_seconds=WITHIN_SECONDS)
        await asyncio.sleep(dice.uniform(0.0, 0.05))

    pauses = dice.randint(1, PAUSES) if cancel else PAUSES
    for share in sorted(dice.uniform(0.0, 0.9) for _ in range(pauses)):
        await moment(share)
        if await _move(hantar, account, campaign_id, played, "pause") != 200:
            return
        since = time.monotonic()
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        if cancel and dice.random() < 0.2:
            break  # while it is paused
        played.still.append((since, time.monotonic()))
        assert await _move(hantar, account, campaign_id, played, "resume") == 200
    if not cancel:
        return
    await moment(0.0)
    if await _move(hantar, account, campaign_id, played, "cancel") == 200:
        played.still.append((time.monotonic(), float("inf")))
        for refused in ("pause", "resume"):
            assert await _move(hantar, account, campaign_id, played, refused) == 409


async def _start(hantar: Hantar, account: Account, recipients: int) -> int:
    group_id: int = await hantar.pool.fetchval(
        "INSERT INTO contact_groups (account_id, name) VALUES ($1, 'All') RETURNING id", account.id
    )
    await hantar.pool.execute(_CROWD, account.id, group_id, recipients)
    body = {"name": "N", "body": "Hi", "contact_group_id": group_id}
    answer = await hantar.post("/campaigns", account, body)
    assert answer.status == 201, answer.json
    made: int = answer.json["data"]["id"]
    return made


async def _move(
    hantar: Hantar, account: Account, campaign_id: int, played: Played, name: str
) -> int:
    path = f"/api/v1/campaigns/{campaign_id}/{name}"
    status = (await hantar.call("POST", path, account)).status
    assert status in (200, 409)
    played.moves[name] += status == 200
    return status


async def _count(hantar: Hantar) -> int:
    """How often WhatsApp was called, for anybody."""
    found: int = await hantar.pool.fetchval("SELECT count(*) FROM simulator_calls")
    return found


async def _calls(hantar: Hantar, campaign_id: int) -> list[tuple[int, float]]:
    """Every call of the simulated WhatsApp for this campaign: for which message, and when."""
    rows = await hantar.pool.fetch(
        "SELECT c.message_id, c.called_at FROM simulator_calls c "
        "JOIN messages m ON m.id = c.message_id WHERE m.campaign_id = $1",
        campaign_id,
    )
    return [(row["message_id"], row["called_at"]) for row in rows]


async def _ended(hantar: Hantar, account: Account, campaign_id: int) -> Any:
    """The campaign once nothing of it waits, and no credit is held."""

    async def look() -> Any:
        found = (await hantar.get(f"/campaigns/{campaign_id}", account)).json["data"]
        over = found["status"] in ("completed", "cancelled") and found["progress"] == 1.0
        return found if over and not found["credits"]["reserved"] else None

    return await eventually(look, within_seconds=WITHIN_SECONDS)


async def _check_books(
    hantar: Hantar,
    account: Account,
    campaign_id: int,
    done: Any,
    recipients: int,
    played: Played,
) -> None:
    rows = await hantar.pool.fetchval(
        "SELECT count(DISTINCT phone) FROM messages WHERE campaign_id = $1", campaign_id
    )
    spared = recipients - played.reached
    assert rows == done["counts"]["total"] == recipients
    assert done["counts"]["cancelled"] == spared
    assert done["credits"] == {"reserved": 0, "settled": played.reached, "released": spared}
    assert await hantar.balance(account) == spared
    if played.status == "completed":
        assert spared == 0, f"seed {played.seed}: {spared} never got it"
