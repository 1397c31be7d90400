"""How numbers, templates and tokens stand with Meta, and what is stopped because of it."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.meta.streaks import MOST_IN_A_ROW
from tests.integration.meta.business import PHONE, device_of, hear
from tests.integration.meta.test_content import STRANGER, template, twin
from tests.servers.cloud_api import Behaviour, CloudApi, Number
from tests.system import Account, Hantar, eventually


async def status(hantar: Hantar, account: Account, **expected: object) -> Any:
    """The connection once it is as expected."""

    async def look() -> Any:
        found = (await hantar.get("/connection/status?driver=meta", account)).json["data"]
        return found if expected.items() <= found.items() else None

    return await eventually(look)


async def states(hantar: Hantar, account: Account) -> dict[str, str]:
    rows = (await hantar.get("/devices", account)).json["data"]
    return {row["name"]: row["state"] for row in rows}


async def add(hantar: Hantar, account: Account, name: str, **settings: object) -> None:
    body = {
        "name": name,
        "driver": "meta",
        "settings": {"phone_number_id": "1", "access_token": "another", **settings},
    }
    answer = await hantar.post("/devices", account, body)
    assert answer.status == 201, answer.json


async def send(hantar: Hantar, account: Account, **body: Any) -> int:
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Hi", **body})
    assert answer.status == 202, answer.json
    made: int = answer.json["data"]["id"]
    return made


async def heard_of_template(cloud: CloudApi, number: Number, event: str) -> None:
    value = {
        "event": event,
        "message_template_id": 1,
        "message_template_name": "hello",
        "message_template_language": "ms",
        "reason": "NONE",
    }
    await cloud.notify(number, "message_template_status_update", value)


async def standing(hantar: Hantar, account: Account, template_id: int, expected: str) -> None:
    """Wait until the template resource shows Meta's word."""

    async def look() -> bool:
        shown = (await hantar.get(f"/templates/{template_id}", account)).json["data"]
        return bool(shown["meta_standing"] and shown["meta_standing"]["status"] == expected)

    await eventually(look)


async def test_quality_and_limit_are_read_and_read_again_when_meta_calls(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    shown = await status(hantar, account, quality="GREEN")
    assert shown["messaging_limit"] == "TIER_2K"
    assert shown["phone"] == f"+{number.display_phone_number}"
    number.quality_rating, number.portfolio_limit = "YELLOW", "TIER_250"
    value = {
        "display_phone_number": number.display_phone_number,
        "event": "DOWNGRADE",
        "current_limit": "TIER_250",
        "old_limit": "TIER_2K",
    }
    await cloud.notify(number, "phone_number_quality_update", value)
    await status(hantar, account, quality="YELLOW", messaging_limit="TIER_250")
    await cloud.notify(
        number, "phone_number_quality_update", value | {"display_phone_number": "60399999999"}
    )
    await cloud.notify(number, "phone_number_quality_update", {"event": ["odd"]})
    await status(hantar, account, quality="YELLOW", messaging_limit="TIER_250")


async def test_a_version_without_the_limit_still_tells_the_quality(
    hantar: Hantar, cloud: CloudApi, number: Number
) -> None:
    number.messaging_limit_tier = None
    account = await hantar.account(device=False)
    await hantar.post("/devices", account, device_of(number))
    shown = await status(hantar, account, quality="GREEN")
    assert shown["messaging_limit"] is None


async def test_what_waits_for_a_paused_template_goes_when_it_is_in_use_again(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    made = await template(hantar, account)
    await heard_of_template(cloud, number, "PAUSED")
    await standing(hantar, account, made, "PAUSED")
    waiting = await send(hantar, account, phone=STRANGER, template_id=made, body=None)

    async def held() -> bool:
        message = await hantar.message(account, waiting)
        return bool(message["waiting"] and message["waiting"]["reason"] == "held")

    await eventually(held)
    assert not cloud.journal
    within = await send(hantar, account, template_id=made, body=None)
    assert (await hantar.message(account, within))["status"] == "queued", "the template is held"
    await heard_of_template(cloud, number, "APPROVED")
    await hantar.until(account, waiting, "delivered")
    await hantar.until(account, within, "delivered")
    assert (await hantar.message(account, waiting))["attempts"] == 1


async def test_a_disabled_template_fails_without_a_call_and_stops_its_campaign(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    made = await template(hantar, account)
    await heard_of_template(cloud, number, "DISABLED")
    await standing(hantar, account, made, "DISABLED")
    message = await hantar.until(
        account, await send(hantar, account, phone=STRANGER, template_id=made, body=None), "failed"
    )
    assert message["error"]["code"] == "template_disabled"
    body = {
        "name": "Raya",
        "message_template_id": made,
        "recipients": [{"phone": STRANGER}, {"phone": PHONE}],
    }
    campaign = (await hantar.post("/campaigns", account, body)).json["data"]["id"]

    async def paused() -> bool:
        shown = (await hantar.get(f"/campaigns/{campaign}", account)).json["data"]
        return bool(shown["status"] == "paused")

    await eventually(paused)
    assert {call.message.phone for call in cloud.journal} <= {PHONE}, "the window of one is open"


@pytest.mark.parametrize(
    ("meta", "least"),
    [
        pytest.param({"name": "unknown"}, 1, id="unknown"),
        # One person's values may be at fault; those of ten in a row are not.
        pytest.param({"components": []}, MOST_IN_A_ROW, id="too-few-values"),
    ],
)
async def test_a_template_that_meta_does_not_take_stops_its_campaign(
    hantar: Hantar, account: Account, cloud: CloudApi, meta: dict[str, Any], least: int
) -> None:
    made = await template(hantar, account, meta=twin(**meta))
    recipients = [{"phone": f"+6012{n:07}"} for n in range(3_000_000, 3_000_200)]
    body = {"name": "Raya", "message_template_id": made, "recipients": recipients}
    await hantar.call(
        "PATCH",
        f"/api/v1/devices/{account.device_id}",
        account,
        json={"limits": {"per_second": 20}},
    )
    campaign = (await hantar.post("/campaigns", account, body)).json["data"]["id"]

    async def paused() -> bool:
        shown = (await hantar.get(f"/campaigns/{campaign}", account)).json["data"]
        return bool(shown["status"] == "paused" and shown["counts"]["failed"] >= least)

    await eventually(paused)
    shown = (await hantar.get(f"/campaigns/{campaign}", account)).json["data"]
    assert shown["counts"]["queued"] > 100, "they wait for somebody to mend it"
    event = await hantar.pool.fetchval("SELECT status FROM campaigns WHERE id = $1", campaign)
    assert event == "paused"


async def test_a_refused_token_stops_its_devices_alone(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    await add(hantar, account, "Same", access_token=number.access_token)
    await add(hantar, account, "Other")
    neighbour = await hantar.account(device=False)
    await add(hantar, neighbour, "Theirs", access_token=number.access_token)
    cloud.behaviours[PHONE] = Behaviour(error=(401, 190), errors=1)
    message = await send(hantar, account, device=account.device_id)

    async def stopped() -> bool:
        return (await states(hantar, account))["Cloud"] == "error"

    await eventually(stopped)
    assert await states(hantar, account) == {"Cloud": "error", "Same": "error", "Other": "ready"}
    assert await states(hantar, neighbour) == {"Theirs": "error"}
    shown = await hantar.message(account, message)
    assert (shown["status"], shown["attempts"]) == ("queued", 0)
    assert "token" in shown["error"]["detail"]
    await hantar.call("POST", f"/api/v1/devices/{account.device_id}/resume", account)
    await hantar.until(account, message, "delivered")


async def test_a_renewed_token_is_another_credential(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    await add(hantar, account, "Same", access_token=number.access_token)
    path = f"/api/v1/devices/{account.device_id}"
    answer = await hantar.call(
        "PATCH", path, account, json={"settings": {"access_token": "renewed"}}
    )
    assert answer.status == 200
    cloud.behaviours[PHONE] = Behaviour(error=(401, 190))
    await send(hantar, account, device=account.device_id)

    async def stopped() -> bool:
        return (await states(hantar, account))["Cloud"] == "error"

    await eventually(stopped)
    assert (await states(hantar, account))["Same"] == "ready"


async def test_a_failure_told_later_stops_what_it_concerns(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    cloud.behaviours[PHONE] = Behaviour(statuses=("sent", "failed"), failure=131042)
    message = await send(hantar, account)
    await hantar.until(account, message, "failed")

    async def stopped() -> bool:
        return (await states(hantar, account))["Cloud"] == "error"

    await eventually(stopped)
    assert await hantar.balance(account) == 2000


async def test_a_failure_of_a_recipient_told_later_holds_nobody_else(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    await hear(hantar, account, [STRANGER])
    cloud.behaviours[PHONE] = Behaviour(statuses=("sent", "failed"), failure=131026)
    await hantar.until(account, await send(hantar, account), "failed")
    other = await send(hantar, account, phone=STRANGER)
    await hantar.until(account, other, "delivered")
    assert await states(hantar, account) == {"Cloud": "ready"}
