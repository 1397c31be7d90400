"""What a device's secrets leave behind: nothing, wherever one looks."""

from __future__ import annotations

import asyncio
import base64
import logging

import pytest

from service.store.pool import Pool
from tests.integration.meta.business import PHONE, SECRET, device_of, hear
from tests.servers.cloud_api import Behaviour, CloudApi, Number
from tests.system import Hantar, eventually

CANARIES = ("canary-token-5f1c", SECRET, "a-test-verify-token")


def spellings(secret: str) -> list[str]:
    """A secret as it might stand somewhere."""
    raw = secret.encode()
    return [secret, raw.hex(), base64.b64encode(raw).decode().rstrip("=")]


async def everything_kept(pool: Pool) -> str:
    """Every row of every table."""
    tables = await pool.fetch(
        "SELECT format('%I', relname) AS name FROM pg_class JOIN pg_namespace n "
        "ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = 'public'"
    )
    parts = [
        await pool.fetchval(f"SELECT string_agg(t::text, E'\n') FROM {table['name']} t")
        for table in tables
    ]
    return "\n".join(filter(None, parts))


async def test_secrets_are_in_no_row_log_line_answer_or_metric(
    hantar: Hantar,
    cloud: CloudApi,
    number: Number,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    number.access_token = CANARIES[0]
    account = await hantar.account(device=False)
    made = await hantar.post(
        "/devices", account, device_of(number), headers={"Idempotency-Key": "canary"}
    )
    device_id = made.json["data"]["id"]
    endpoint = {"url": f"{cloud.url}/nowhere", "events": ["*"]}
    seen = [str(made.json)]
    seen.append(str((await hantar.post("/webhook-endpoints", account, endpoint)).json))
    await hear(hantar, account, [PHONE])
    answer = await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Salam"})
    await hantar.until(account, answer.json["data"]["id"], "delivered")
    cloud.behaviours[PHONE] = Behaviour(error=(401, 190))
    await hantar.post("/messages/send", account, {"phone": PHONE, "body": "Again"})

    async def stopped() -> bool:
        shown = await hantar.get(f"/devices/{device_id}", account)
        return bool(shown.json["data"]["state"] == "error")

    await eventually(stopped)
    challenge = "/webhooks/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token=no"
    calls = [hantar.call("GET", path) for path in (challenge, f"{challenge}{CANARIES[2]}")]
    bad = {"settings": {"access_token": f"{CANARIES[0]} with a gap"}}
    refused = await hantar.call("PATCH", f"/api/v1/devices/{device_id}", account, json=bad)
    assert refused.status == 422
    seen.append(str(refused.json))
    paths = ("/devices", f"/devices/{device_id}", "/connection/status", "/messages")
    calls += [hantar.get(path, account) for path in paths]
    seen += [str(answer.json) for answer in await asyncio.gather(*calls)]
    async with hantar.http.get(f"{hantar.ops}/metrics") as metrics:
        seen.append(await metrics.text())
    kept = await everything_kept(hantar.pool)
    # Where lines go depends on whether a command was run in this process before.
    printed = "".join(capfd.readouterr()) + caplog.text
    assert PHONE in kept, "the rows were read"
    assert "device_stopped" in printed, "the log was read"
    for secret in CANARIES:
        for spelling in spellings(secret):
            assert spelling not in kept
            assert spelling not in printed
            assert spelling not in "\n".join(seen)
