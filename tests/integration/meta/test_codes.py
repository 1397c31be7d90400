"""Every code of Meta's table, as an operator reads of it: `hantar messages show`."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from typing import Any

import orjson

from drivers.meta.errors import RULES
from tests.integration.meta.business import device_of
from tests.servers.cloud_api import Behaviour, CloudApi, Number
from tests.system import Account, Hantar, eventually

#: Of the permissions 200 to 299 the first and the last: they are one row.
CODES = sorted(set(RULES) - set(range(201, 299)))


async def shown(dsn: str, message_id: int) -> dict[str, Any]:
    """What the command prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "service", "messages", "show", str(message_id), "--json"),
        env={**os.environ, "HANTAR_DATABASE_URL": dsn, "HANTAR_AMQP_URL": "amqp://localhost/"},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 30)
    found: dict[str, Any] = orjson.loads(printed)
    return found


async def refused(hantar: Hantar, cloud: CloudApi, code: int) -> tuple[Account, int]:
    """A message of an account of its own, which met the code."""
    number = Number(f"1{code}", f"2{code}", f"token-{code}", "nobody calls back")
    cloud.numbers[number.phone_number_id] = number
    phone = f"+6012{code % 10_000_000:07}"
    cloud.behaviours[phone] = Behaviour(error=(400, code))
    account = await hantar.account(device=False)
    body = device_of(number)
    settings = {"phone_number_id": number.phone_number_id, "access_token": number.access_token}
    answer = await hantar.post("/devices", account, body | {"settings": settings})
    account = replace(account, device_id=answer.json["data"]["id"])
    answer = await hantar.post("/messages/send", account, {"phone": phone, "body": "Salam"})
    return account, answer.json["data"]["id"]


async def test_each_code_is_told_in_a_sentence(hantar: Hantar, cloud: CloudApi, dsn: str) -> None:
    met = {code: await refused(hantar, cloud, code) for code in CODES}
    for code, (account, message_id) in met.items():

        async def told(account: Account = account, message_id: int = message_id) -> Any:
            message = await hantar.message(account, message_id)
            return message if message["error"] else None

        error = (await eventually(told))["error"]
        rule = RULES[code]
        assert error == {"code": rule.name, "detail": f"{rule.sentence} (code {code})"}
    # The command prints the same resource.
    printed = await shown(dsn, met[131047][1])
    assert printed["error"]["detail"].startswith("The person has not written for 24 hours")
