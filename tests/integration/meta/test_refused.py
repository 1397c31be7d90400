"""Persons whom Meta cannot reach are not tried again and again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.meta.business import PHONE, hear
from tests.integration.meta.test_content import STRANGER, template, twin
from tests.servers.cloud_api import Behaviour, CloudApi, Number
from tests.system import Account, Hantar, eventually


async def send(hantar: Hantar, account: Account, end: str, phone: str = PHONE) -> Any:
    """A message that has come to this end."""
    answer = await hantar.post("/messages/send", account, {"phone": phone, "body": "Salam"})
    return await hantar.until(account, answer.json["data"]["id"], end)


async def test_who_is_not_on_whatsapp_is_called_once_in_a_week(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    cloud.behaviours[PHONE] = Behaviour(error=(400, 131026), errors=1)
    first = await send(hantar, account, "failed")
    until = await hantar.pool.fetchval("SELECT hold_until FROM holds")
    again = await send(hantar, account, "failed")
    assert len(cloud.journal) == 1
    assert again["error"] == first["error"]
    assert (again["credit"], await hantar.balance(account)) == ("released", 2000)
    assert await hantar.pool.fetchval("SELECT hold_until FROM holds") == until, "not prolonged"
    await hear(hantar, account, [STRANGER])
    await send(hantar, account, "delivered", STRANGER)
    await hantar.pool.execute("UPDATE holds SET hold_until = now()")
    await send(hantar, account, "delivered")
    assert await hantar.drifting() == []


async def test_who_writes_or_gets_a_message_after_all_is_called_again(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number
) -> None:
    cloud.behaviours[PHONE] = Behaviour(statuses=("sent", "failed"), failure=131026)
    await send(hantar, account, "failed")
    await send(hantar, account, "failed")
    assert len(cloud.journal) == 1, "it was told later, and holds as well"
    await cloud.write(number, PHONE, "Hello")

    async def forgotten() -> bool:
        return not await hantar.pool.fetchval("SELECT count(*) FROM holds")

    await eventually(forgotten)
    # One of their devices cannot show it, another can.
    cloud.behaviours[PHONE] = Behaviour(statuses=("sent", "failed", "delivered"), failure=131026)
    await send(hantar, account, "delivered")
    assert await forgotten()
    await send(hantar, account, "delivered")
    assert len(cloud.journal) == 3
    assert await hantar.drifting() == []


async def test_a_refusal_of_another_kind_is_not_remembered(
    hantar: Hantar, account: Account, cloud: CloudApi
) -> None:
    cloud.behaviours[PHONE] = Behaviour(error=(400, 130472), errors=1)
    await send(hantar, account, "failed")
    await send(hantar, account, "delivered")
    assert len(cloud.journal) == 2


@pytest.mark.parametrize("code", [131049, 131050])
@pytest.mark.parametrize("told", ["in the answer", "later"])
async def test_who_gets_no_marketing_gets_all_else(
    hantar: Hantar, account: Account, cloud: CloudApi, number: Number, code: int, told: str
) -> None:
    number.templates["otp", "ms"] = 1
    offer = await template(hantar, account, meta=twin(fallback=False))
    otp = await template(hantar, account, name="Otp", meta=twin(name="otp", fallback=False))
    cloud.behaviours[PHONE] = Behaviour(error=(400, code))
    if told == "later":
        cloud.behaviours[PHONE] = Behaviour(statuses=("sent", "failed"), failure=code)

    async def by_template(id_: int, end: str, phone: str = PHONE) -> Any:
        body = {"phone": phone, "template_id": id_}
        answer = await hantar.post("/messages/send", account, body)
        return await hantar.until(account, answer.json["data"]["id"], end)

    first = await by_template(offer, "failed")
    cloud.behaviours[PHONE] = Behaviour()
    again = await by_template(offer, "failed")
    assert len(cloud.journal) == 1
    assert again["error"] == first["error"]
    await by_template(otp, "delivered")
    await send(hantar, account, "delivered")
    await by_template(offer, "delivered", STRANGER)
    await hantar.pool.execute("UPDATE holds SET hold_until = now()")
    await by_template(offer, "delivered")
    assert await hantar.drifting() == []
