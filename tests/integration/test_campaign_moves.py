"""Campaigns paused, resumed and cancelled at random moments, at a WhatsApp that repeats nothing.

`make bench-moves` does the same to twenty campaigns of five thousand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.store.pool import Pool
from tests.integration.campaign_moves import SETTINGS, play
from tests.system import Hantar, eventually, run_app

RECIPIENTS = 1500


@pytest.fixture
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Whoever is called twice is found out."""
    async for running in run_app(dsn, pool, **SETTINGS):
        yield running


async def test_each_gets_it_once_however_often_it_is_paused(hantar: Hantar) -> None:
    played = await play(hantar, RECIPIENTS, 1, cancel=False)
    assert (played.status, played.reached) == ("completed", RECIPIENTS)
    assert played.moves["pause"] > 0
    assert await hantar.drifting() == []


async def test_nothing_goes_out_once_a_cancel_is_answered(hantar: Hantar) -> None:
    played = await play(hantar, RECIPIENTS, 2, cancel=True)
    assert played.status == "cancelled"
    assert 0 < played.reached < RECIPIENTS
    assert await hantar.drifting() == []


async def test_what_waits_of_a_paused_campaign_says_so(hantar: Hantar) -> None:
    account = await hantar.account(per_second=1)
    recipients = [{"phone": f"01234567{number:02}"} for number in range(20)]
    body = {"name": "N", "body": "Hi", "recipients": recipients}
    campaign = (await hantar.post("/campaigns", account, body)).json["data"]
    path = f"/api/v1/campaigns/{campaign['id']}"
    waiting = f"/messages?campaign_id={campaign['id']}&status=queued"

    async def look() -> bool:
        return len((await hantar.get(waiting, account)).json["data"]) > 10

    assert await eventually(look)
    assert (await hantar.call("POST", f"{path}/pause", account)).status == 200
    found = (await hantar.get(waiting, account)).json["data"]
    assert {message["waiting"]["reason"] for message in found} == {"paused"}
    assert (await hantar.call("POST", f"{path}/cancel", account)).status == 200
