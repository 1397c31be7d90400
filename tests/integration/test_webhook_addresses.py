"""Webhooks reach public addresses and allowed networks alone, by whatever way they are named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.store.pool import Pool
from tests.integration.test_webhooks import deliveries, listen, refused_once, send
from tests.servers.webhook_receiver import Receiver, receiving
from tests.system import Hantar, eventually, run_app

running = asynccontextmanager(run_app)


@pytest.fixture
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    async with running(dsn, pool, webhook_allow="127.0.0.0/8") as made:
        yield made


@pytest.mark.row("5.2-44")
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "https://10.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://[64:ff9b::a00:1]/x",
        "https://0xa.1/x",
        "https://167772161/x",
        "https://0.0.0.0/x",
        "https://no-such-host.invalid/x",
        "https://user:pass@127.0.0.1/x",
        "file:///etc/passwd",
        "https:///x",
        "nonsense",
    ],
)
async def test_an_address_that_is_not_public_is_refused(hantar: Hantar, url: str) -> None:
    account = await hantar.account()
    answer = await hantar.post("/webhook-endpoints", account, {"url": url})
    assert answer.status == 422, answer.json
    assert list(answer.json["errors"]) == ["url"]
    assert (await hantar.get("/webhook-endpoints", account)).json["data"] == []


async def test_a_port_that_is_none_and_events_that_never_come_are_refused(hantar: Hantar) -> None:
    account = await hantar.account()
    good = {"url": "http://127.0.0.1:1/", "events": ["message.*", "message.read", "contact.*"]}
    made = await hantar.post("/webhook-endpoints", account, good)
    assert made.status == 201, made.json
    path = f"/api/v1/webhook-endpoints/{made.json['data']['id']}"
    for changes, field, sentence in (
        ({"url": "https://example.com:99999/"}, "url", "port must be a number"),
        ({"events": ["message.queued"]}, "events", "message.unconfirmed, message.sent"),
        ({"events": ["*", "message.nonsense"]}, "events", "device.state"),
        ({"events": ["command.accepted"]}, "events", "contact.opted_out"),
        ({"events": ["message.*\n"]}, "events", "campaign.*"),
    ):
        for method, url in (("POST", "/api/v1/webhook-endpoints"), ("PATCH", path)):
            answer = await hantar.call(method, url, account, json=good | changes)
            assert answer.status == 422, answer.json
            assert sentence in answer.json["errors"][field][0]
    [kept] = (await hantar.get("/webhook-endpoints", account)).json["data"]
    assert kept["events"] == good["events"]


async def test_an_address_that_turned_private_is_not_called(
    hantar: Hantar, receiver: Receiver
) -> None:
    """As when a name is made to point elsewhere after it was saved."""
    account = await hantar.account()
    endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
    await hantar.pool.execute(
        "UPDATE webhook_endpoints SET url = $2 WHERE id = $1",
        endpoint["id"],
        receiver.url.replace("127.0.0.1", "[::1]"),
    )
    await send(hantar, account)

    async def refused() -> list[Any]:
        rows = await deliveries(hantar, account, endpoint, "pending")
        return [row for row in rows if row["attempts"] == 1]

    [row] = await eventually(refused)
    assert row["last_status"] is None
    assert "may not reach" in row["last_error"]


@pytest.mark.parametrize("host", ["localhost", "0x7f.1", "127.1", "2130706433", "[::1]"])
async def test_a_name_that_turned_private_is_not_called(
    dsn: str, pool: Pool, receiver: Receiver, host: str
) -> None:
    """Whatever was checked when it was saved, the address is checked as it is connected to."""
    async with running(dsn, pool, webhook_allow="192.0.2.0/24") as hantar:
        account = await hantar.account()
        endpoint = await listen(hantar, account, "http://192.0.2.1/hook", is_active=False)
        await hantar.pool.execute(
            "UPDATE webhook_endpoints SET is_active = true, url = $2 WHERE id = $1",
            endpoint["id"],
            receiver.url.replace("127.0.0.1", host),
        )
        await send(hantar, account)

        async def tried() -> bool:
            rows = await deliveries(hantar, account, endpoint, "pending")
            return any(row["attempts"] for row in rows)

        await eventually(tried)
        assert receiver.calls == []


async def test_a_redirect_to_this_machine_is_no_way_around(
    dsn: str, pool: Pool, receiver: Receiver
) -> None:
    async with receiving() as inner, running(dsn, pool, webhook_allow="127.0.0.1/32") as hantar:
        account = await hantar.account()
        receiver.status = 307
        receiver.headers = {"Location": inner.url.replace("127.0.0.1", "127.0.0.2")}
        endpoint = await listen(hantar, account, receiver.url, events=["message.delivered"])
        await send(hantar, account)
        row = await refused_once(hantar, account, endpoint)
        assert (row["last_status"], inner.calls) == (307, [])
