"""Campaigns made over HTTP, with their contacts and groups."""

from __future__ import annotations

from typing import Any

from tests.system import Account, Hantar, eventually

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
