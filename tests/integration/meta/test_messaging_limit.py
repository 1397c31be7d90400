"""Meta's messaging limit: so many people are written to first within a day, and no more."""

from __future__ import annotations

from typing import Any

from tests.integration.meta.business import PHONE, device_of, hear
from tests.integration.meta.test_content import send, template
from tests.integration.meta.test_standing import status
from tests.servers.cloud_api import CloudApi, Number
from tests.system import Hantar, eventually


async def test_as_many_are_written_to_first_as_meta_allows_and_more_when_it_does(
    hantar: Hantar, cloud: CloudApi, number: Number
) -> None:
    number.portfolio_limit = "TIER_2"
    account = await hantar.account(device=False)
    answer = await hantar.post("/devices", account, device_of(number))
    assert answer.status == 201, answer.json
    await status(hantar, account, messaging_limit="TIER_2")
    await hear(hantar, account, [PHONE])
    strangers = [f"+6012345670{n}" for n in range(4)]
    made = await template(hantar, account)
    body: dict[str, Any] = {
        "template_id": made,
        "messages": [{"phone": each} for each in strangers],
    }
    answer = await hantar.post("/messages/bulk", account, body)
    assert answer.status == 202, answer.json
    ids = [each["id"] for each in answer.json["queued"]]

    async def waits() -> Any:
        rows = [await hantar.message(account, id_) for id_ in ids]
        reasons = [row["waiting"]["reason"] for row in rows if row["waiting"]]
        return reasons == ["daily_cap"] * 2

    await eventually(waits)
    await send(hantar, account, body="Who writes is answered.")
    value = {"display_phone_number": number.display_phone_number, "event": "UPGRADE"}
    value |= {"current_limit": "TIER_250", "old_limit": "TIER_2"}
    number.portfolio_limit = "TIER_250"
    await cloud.notify(number, "phone_number_quality_update", value)
    for id_ in ids:
        await hantar.until(account, id_, "delivered")
    assert sorted(call.message.phone for call in cloud.journal) == sorted([PHONE, *strangers])
