"""Campaigns: made, paid for, worked off, seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.checks import check_problem, nothing_done
from tests.integration.dispatch.calls import in_seconds
from tests.system import Account, Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = {"name": "June promo", "body": "Salam {{name|there}}!"}


async def make(hantar: Hantar, account: Account, **body: Any) -> Any:
    answer = await hantar.post("/campaigns", account, {**BODY, **body})
    assert answer.status == 201, answer.json
    return answer.json["data"]


async def seen(hantar: Hantar, account: Account, campaign_id: int) -> Any:
    return (await hantar.get(f"/campaigns/{campaign_id}", account)).json["data"]


async def until(hantar: Hantar, account: Account, campaign_id: int, status: str) -> Any:
    async def look() -> Any:
        campaign = await seen(hantar, account, campaign_id)
        return campaign if campaign["status"] == status else None

    return await eventually(look)


async def contact(hantar: Hantar, account: Account, phone: str, **fields: Any) -> int:
    answer = await hantar.post("/contacts", account, {"phone": phone, **fields})
    made: int = answer.json["data"]["id"]
    return made


async def group(hantar: Hantar, account: Account, *contact_ids: int) -> int:
    made: int = (await hantar.post("/contact-groups", account, {"name": "G"})).json["data"]["id"]
    if contact_ids:
        body = {"contact_ids": contact_ids}
        assert (await hantar.post(f"/contact-groups/{made}/contacts", account, body)).status == 200
    return made


async def messages(hantar: Hantar, account: Account, campaign_id: int) -> dict[str, Any]:
    """The messages of a campaign by their phones, which are all different."""
    answer = await hantar.get(f"/messages?campaign_id={campaign_id}&per_page=100", account)
    found = {message["phone"]: message for message in answer.json["data"]}
    assert len(found) == answer.json["meta"]["total"]
    return found


@pytest.mark.row("5.5-82")
async def test_recipients_are_the_union_once_each(hantar: Hantar, account: Account) -> None:
    ali = await contact(hantar, account, "0123000001", name="Ali")
    sara = await contact(hantar, account, "0123000002", name="Sara")
    mei = await contact(hantar, account, "0123000003", name="Mei", opted_out=True)
    made = await make(
        hantar,
        account,
        contact_group_id=await group(hantar, account, ali, mei),
        contact_ids=[ali, sara, sara],
        recipients=[
            {"phone": "012-300 0002"},
            {"phone": "0123000004", "name": "Raju"},
            {"phone": "+60123000004"},
            {"phone": "12"},
        ],
    )
    assert (made["status"], made["counts"]["total"]) == ("dispatching", 7)
    assert made["credits"] == {"reserved": 3, "settled": 0, "released": 0}
    assert await hantar.balance(account) == 997
    done = await until(hantar, account, made["id"], "completed")
    assert done["counts"]["skipped"] == 4
    assert (done["progress"], done["eta"]) == (1.0, None)
    answer = await hantar.get(f"/messages?campaign_id={made['id']}", account)
    found = sorted(
        (message["phone"], (message["error"] or {}).get("code", message["body"]))
        for message in answer.json["data"]
    )
    assert found == [
        ("+60123000001", "Salam Ali!"),
        ("+60123000002", "Salam Sara!"),
        ("+60123000002", "duplicate"),
        ("+60123000003", "opted_out"),
        ("+60123000004", "Salam Raju!"),
        ("+60123000004", "duplicate"),
        ("12", "invalid_phone"),
    ]
    assert await hantar.drifting() == []
