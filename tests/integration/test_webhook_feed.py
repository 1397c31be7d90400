"""Events from the bus are noted for the endpoints that want them, whatever else lies there."""

from __future__ import annotations

import asyncio

import pytest

from service.bus.bus import Outgoing
from service.bus.local import LocalBus
from service.bus.topology import EVENTS, topology
from service.core.words import Words
from service.record.webhook_feed import WebhookFeed
from service.store import webhooks
from service.store.pool import Pool
from tests.database import SHARDS
from tests.system import SEAL, make_account


def event(body: bytes, event_id: str) -> Outgoing:
    return Outgoing(EVENTS, "message.sent", body, "test.v1", event_id, mandatory=False)


@pytest.mark.parametrize("body", [b"{}", b'{"account":"x"}', b'{"account":null}', b"[]", b"x", b""])
async def test_what_is_of_no_account_is_dropped_and_holds_up_nothing(
    dsn: str, pool: Pool, body: bytes
) -> None:
    account = await make_account(pool)
    wanted = webhooks.Wanted(url="http://192.0.2.1/", events=["*"])
    async with pool.acquire() as connection:
        assert await webhooks.create(connection, account.id, wanted, b"secret") is not None
    fed = asyncio.Event()
    bus = LocalBus(topology(SHARDS))
    feed = WebhookFeed(bus, dsn, Words(SEAL), fed.set)
    await feed.start()
    async with asyncio.timeout(20):
        await bus.publish(event(body, "1"))
        assert not fed.is_set()
        await bus.publish(event(b'{"account":%d}' % account.id, "2"))
    assert fed.is_set()
    await feed.close()
    await bus.close()
    rows = await pool.fetch("SELECT event_id FROM webhook_deliveries")
    assert [row["event_id"] for row in rows] == ["2"]
