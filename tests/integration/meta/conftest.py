"""A local Cloud API with one number, calls to it, and Hantar sending through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from drivers.meta.calls import Calls
from service.store.pool import Pool
from tests.integration.meta.business import PHONE, SECRET, device_of, hear
from tests.servers.cloud_api import CloudApi, Number
from tests.system import Account, Hantar, run_app


@pytest.fixture
def number() -> Number:
    return Number(
        "106540352242922",
        "102290129340398",
        access_token="a-test-token",
        app_secret=SECRET,
        templates={("hello", "ms"): 1},
    )


@pytest.fixture
async def cloud(number: Number) -> AsyncIterator[CloudApi]:
    server = CloudApi(number)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def calls(cloud: CloudApi, number: Number) -> AsyncIterator[Calls]:
    opened = Calls(cloud.url, number.access_token)
    yield opened
    await opened.close()


@pytest.fixture
async def hantar(dsn: str, pool: Pool, cloud: CloudApi) -> AsyncIterator[Hantar]:
    async for running in run_app(dsn, pool, meta_base_url=cloud.url, doubt_seconds=2.0):
        cloud.webhook_url = f"{running.api}/webhooks/meta"
        yield running


@pytest.fixture
async def account(hantar: Hantar, number: Number) -> Account:
    account = await hantar.account(device=False, credits=2000)
    answer = await hantar.post("/devices", account, device_of(number))
    assert answer.status == 201, answer.json
    assert answer.json["data"]["state"] == "ready"
    await hear(hantar, account, [PHONE])
    return replace(account, device_id=answer.json["data"]["id"])
