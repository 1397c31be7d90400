"""What upstream services hear on a real broker."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import orjson
import pytest

from schemas.commands import OPTED_OUT_TYPE, STATUS_TYPE
from service.bus.topology import EVENTS, declare
from service.store.pool import Pool
from tests.database import SHARDS
from tests.integration.dispatch.calls import send, send_bulk
from tests.system import Hantar, eventually, run_app

MAGIC = "+6011555000"


class Upstream:
    """A service that hears every event."""

    def __init__(self) -> None:
        self.heard: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def hear(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.heard.append(message)
        await message.ack()

    def of_messages(self) -> dict[int, list[dict[str, Any]]]:
        """The status events of each message, in the order they came."""
        found: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for message in self.heard:
            if message.type == STATUS_TYPE:
                body = orjson.loads(message.body)
                assert len(body["events"]) <= 100
                for event in body["events"]:
                    assert message.routing_key == f"message.{event['status']}"
                    found[event["message_id"]].append(event | {"account": body["account"]})
        return found


@pytest.fixture
async def upstream(vhost: str) -> AsyncIterator[Upstream]:
    await declare(vhost, SHARDS, timeout_seconds=30)
    made = Upstream()
    async with asyncio.timeout(30):
        connection = await aio_pika.connect(vhost)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        queue = await channel.declare_queue("upstream", durable=True)
        await queue.bind(EVENTS, "#")
        await queue.consume(made.hear)
    yield made
    await connection.close()


@pytest.fixture
async def hantar(dsn: str, pool: Pool, vhost: str, upstream: Upstream) -> AsyncIterator[Hantar]:
    """On real servers, as in production."""
    running = asynccontextmanager(run_app)
    async with running(dsn, pool, database_url=dsn, amqp_url=vhost) as app:
        yield app


async def test_every_change_is_told_once_in_order_and_nothing_of_what_stays_inside(
    hantar: Hantar, upstream: Upstream
) -> None:
    account = await hantar.account()
    other = await hantar.account()
    ids = await send_bulk(hantar, account, 150)
    ends = dict.fromkeys(ids, "delivered")
    ends[await send(hantar, account, f"{MAGIC}01", reference="order-1")] = "failed"
    ends[await send(hantar, account, f"{MAGIC}02")] = "unconfirmed"
    ends[await send(hantar, account, f"{MAGIC}03")] = "read"
    ends[await send(hantar, account, f"{MAGIC}04")] = "read"
    foreign = await send(hantar, other, f"{MAGIC}09")
    ends[foreign] = "failed"

    async def everything_was_told() -> bool:
        told = upstream.of_messages()
        return ends == {id_: events[-1]["status"] for id_, events in told.items()}

    await eventually(everything_was_told)
    rows = await hantar.pool.fetch("SELECT id, seq, device_id FROM messages")
    told = upstream.of_messages()
    for row in rows:
        events = told[row["id"]]
        assert [event["seq"] for event in events] == list(range(1, row["seq"] + 1))
        assert not {"sending", "queued"} & {event["status"] for event in events}
        assert {event["device_id"] for event in events} == {row["device_id"]}
        owner = other if row["id"] == foreign else account
        assert {event["account"] for event in events} == {owner.id}
    [failed] = [events[-1] for events in told.values() if events[-1]["reference"] == "order-1"]
    assert (failed["status"], failed["phone"]) == ("failed", f"{MAGIC}01")
    assert failed["error"]["code"] == "not_on_whatsapp"
    assert failed["at"].endswith("Z")
    assert all(message.message_id and message.delivery_mode == 2 for message in upstream.heard)
    assert {message.type for message in upstream.heard} == {STATUS_TYPE}
    assert await hantar.drifting() == []


async def test_an_opt_out_is_told(hantar: Hantar, upstream: Upstream) -> None:
    account = await hantar.account()
    await send(hantar, account, f"{MAGIC}08")

    async def told() -> Any:
        return [each for each in upstream.heard if each.routing_key == "contact.opted_out"]

    [message] = await eventually(told)
    body = orjson.loads(message.body)
    assert (body["account"], body["phone"]) == (account.id, f"{MAGIC}08")
    assert message.type == OPTED_OUT_TYPE


async def test_an_opt_out_over_http_is_told_once(hantar: Hantar, upstream: Upstream) -> None:
    account = await hantar.account()
    out = {"opted_out": True}
    first = (await hantar.post("/contacts", account, {"phone": "0123456701"} | out)).json["data"]
    second = (await hantar.post("/contacts", account, {"phone": "0123456702"})).json["data"]
    for contact in (first, second, second):
        path = f"/api/v1/contacts/{contact['id']}"
        assert (await hantar.call("PATCH", path, account, json=out)).status == 200

    async def told() -> Any:
        return len(upstream.heard) >= 2

    await eventually(told)
    bodies = [orjson.loads(message.body) for message in upstream.heard]
    assert [(body["contact_id"], body["phone"]) for body in bodies] == [
        (first["id"], "+60123456701"),
        (second["id"], "+60123456702"),
    ]
    assert {message.type for message in upstream.heard} == {OPTED_OUT_TYPE}
