"""Several apps, accounts and numbers of Meta's in one installation."""

from __future__ import annotations

from tests.integration.meta.business import device_of
from tests.servers.cloud_api import CloudApi, Number
from tests.system import Hantar, eventually

PERSON = "+60123456783"


def settings_of(number: Number, verify_token: str) -> dict[str, str]:
    return {
        "phone_number_id": number.phone_number_id,
        "business_account_id": number.business_account_id,
        "access_token": number.access_token,
        "app_secret": number.app_secret,
        "verify_token": verify_token,
    }


async def test_each_number_sends_and_hears_for_itself(hantar: Hantar, cloud: CloudApi) -> None:
    one = Number("11", "100", "token-one", "app-one", display_phone_number="60311111111")
    two = Number("12", "100", "token-two", "app-one", display_phone_number="60322222222")
    three = Number("13", "200", "token-three", "app-two", display_phone_number="60333333333")
    numbers = (one, two, three)
    cloud.numbers = {number.phone_number_id: number for number in numbers}
    first, second = await hantar.account(device=False), await hantar.account(device=False)
    owners = {one.phone_number_id: first, two.phone_number_id: first, "13": second}
    devices: dict[str, int] = {}
    for number in numbers:
        settings = settings_of(number, f"verify-{number.app_secret}")
        body = device_of(number) | {"name": number.phone_number_id, "settings": settings}
        answer = await hantar.post("/devices", owners[number.phone_number_id], body)
        assert answer.status == 201, answer.json
        devices[number.phone_number_id] = answer.json["data"]["id"]

    for app in ("app-one", "app-two"):
        query = f"hub.mode=subscribe&hub.challenge=7&hub.verify_token=verify-{app}"

        async def answered(query: str = query) -> bool:
            return bool((await hantar.call("GET", f"/webhooks/meta?{query}")).json == "7")

        await eventually(answered)
    for number in numbers:
        await cloud.write(number, PERSON, f"Hello {number.phone_number_id}")

    async def heard() -> bool:
        rows = await hantar.pool.fetch("SELECT device_id FROM conversations")
        return sorted(row["device_id"] for row in rows) == sorted(devices.values())

    await eventually(heard)
    for phone_number_id, account in owners.items():
        body = {"phone": PERSON, "body": f"From {phone_number_id}"}
        body |= {"device": devices[phone_number_id]}
        answer = await hantar.post("/messages/send", account, body)
        await hantar.until(account, answer.json["data"]["id"], "delivered")
    sent = {call.phone_number_id: call.message.text for call in cloud.journal}
    assert {id_: text.body for id_, text in sent.items() if text} == {
        id_: f"From {id_}" for id_ in devices
    }
