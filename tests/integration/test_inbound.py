"""What people write: kept once, sealed, told of over AMQP and by webhook, and heeded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import orjson
import pytest

from schemas.commands import CALLBACKS_TYPE, INBOUND_TYPE
from service.bus.topology import CALLBACKS, EVENTS, declare
from service.store.pool import Pool
from tests.database import SHARDS
from tests.integration.test_webhooks import listen
from tests.servers.webhook_receiver import Receiver
from tests.system import Account, Hantar, eventually, run_app

CANARY = "Boleh tukar masa ke pukul tiga?"
PHONE = "+60123456789"
ABROAD = "+14155550123"
AT = "2026-11-25T10:00:00Z"
#: Everything that ever lay in a table, in any form a text can have there.
SPY = """
CREATE TABLE spied (content text);
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO spied VALUES (NEW::text); RETURN NEW; END $$;
CREATE TRIGGER spy AFTER INSERT OR UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION spy();
CREATE TRIGGER spy AFTER INSERT OR UPDATE ON inbound_messages FOR EACH ROW EXECUTE FUNCTION spy();
CREATE TRIGGER spy AFTER INSERT OR UPDATE ON webhook_deliveries FOR EACH ROW EXECUTE FUNCTION spy();
CREATE TRIGGER spy AFTER INSERT OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION spy();
"""


class Broker:
    """The hands of a driver's process and of an upstream service, on a real broker."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel
        self.heard: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def hear(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.heard.append(message)
        await message.ack()

    async def call_back(self, *inbound: dict[str, Any]) -> None:
        """As a driver does what its provider tells."""
        exchange = await self._channel.get_exchange(CALLBACKS)
        body = orjson.dumps({"inbound": inbound})
        message = aio_pika.Message(body, type=CALLBACKS_TYPE)
        await exchange.publish(message, CALLBACKS, timeout=10)

    def events(self, name: str) -> list[Any]:
        """The bodies of events."""
        return [orjson.loads(each.body) for each in self.heard if each.routing_key == name]

    async def until(self, name: str, count: int) -> list[Any]:
        """So many of them."""

        async def look() -> bool:
            return len(self.events(name)) >= count

        await eventually(look)
        return self.events(name)


@pytest.fixture
async def broker(vhost: str) -> AsyncIterator[Broker]:
    await declare(vhost, SHARDS, timeout_seconds=30)
    async with asyncio.timeout(30):
        connection = await aio_pika.connect(vhost)
        channel = await connection.channel()
        made = Broker(channel)
        queue = await channel.declare_queue("upstream", durable=True)
        await queue.bind(EVENTS, "#")
        await queue.consume(made.hear)
    yield made
    await connection.close()


@asynccontextmanager
async def on_servers(dsn: str, pool: Pool, vhost: str, **settings: object) -> AsyncIterator[Hantar]:
    running = asynccontextmanager(run_app)
    servers: dict[str, object] = {"database_url": dsn, "amqp_url": vhost}
    async with running(dsn, pool, webhook_allow="127.0.0.0/8", **servers, **settings) as app:
        yield app


def wrote(account: Account, id_: str, text: str, phone: str = PHONE, **more: Any) -> dict[str, Any]:
    return {
        "device_id": account.device_id,
        "phone": phone,
        "text": text,
        "provider_id": id_,
        "at": AT,
        **more,
    }


async def listed(hantar: Hantar, account: Account, query: str = "") -> list[Any]:
    answer = await hantar.get(f"/inbound-messages{query}", account)
    assert answer.status == 200, answer.json
    rows: list[Any] = answer.json["data"]
    return rows


async def opted_out(hantar: Hantar, account: Account) -> dict[str, bool]:
    contacts = (await hantar.get("/contacts", account)).json["data"]
    return {contact["phone"]: contact["opted_out"] for contact in contacts}


async def test_a_simulated_person_answers_stop(
    dsn: str, pool: Pool, vhost: str, broker: Broker, receiver: Receiver
) -> None:
    async with on_servers(dsn, pool, vhost) as hantar:
        account = await hantar.account()
        await listen(hantar, account, receiver.url, events=["message.inbound"])
        phone = "+601155500008"
        sent = await hantar.post("/messages/send", account, {"phone": phone, "body": "Promosi!"})
        [event] = await broker.until("message.inbound", 1)
        [row] = await listed(hantar, account)
        [contact] = (await hantar.get("/contacts", account)).json["data"]
        assert event == {
            "account": account.id,
            "id": row["id"],
            "device_id": account.device_id,
            "contact_id": contact["id"],
            "phone": phone,
            "kind": "text",
            "text": "STOP",
            "opts_out": True,
            "provider_id": f"in.{sent.json['data']['id']}",
            "at": row["at"],
        }
        assert [each.type for each in broker.heard if each.routing_key == "message.inbound"] == [
            INBOUND_TYPE
        ]
        assert (row["phone"], row["text"]) == (phone, "STOP")
        assert contact["opted_out"]
        [out] = await broker.until("contact.opted_out", 1)
        assert out["contact_id"] == contact["id"]

        async def called() -> bool:
            return bool(receiver.calls)

        await eventually(called)
        [document] = receiver.documents()
        assert (document["type"], document["data"]) == ("message.inbound", event)
        again = await hantar.post("/messages/send", account, {"phone": phone, "body": "Promosi!"})
        assert (again.status, again.json["code"]) == (422, "opted_out")


async def test_what_a_provider_repeats_is_told_once(
    dsn: str, pool: Pool, vhost: str, broker: Broker
) -> None:
    async with on_servers(dsn, pool, vhost) as hantar:
        account, other = await hantar.account(), await hantar.account()
        first = wrote(account, "in.1", "BERHENTI!")
        await broker.call_back(first, first, wrote(other, "in.1", "Hai", ABROAD))
        await broker.until("message.inbound", 2)
        [contact] = (await hantar.get("/contacts", account)).json["data"]
        path = f"/api/v1/contacts/{contact['id']}"
        await hantar.call("PATCH", path, account, json={"opted_out": False})
        await broker.call_back(first, wrote(account, "in.2", "", kind="image"))
        await broker.until("message.inbound", 3)
        rows = await listed(hantar, account)
        assert [(row["provider_id"], row["kind"]) for row in rows] == [
            ("in.2", "image"),
            ("in.1", "text"),
        ]
        # Who was opted in again is not opted out by what was said before.
        assert await opted_out(hantar, account) == {PHONE: False}
        assert [row["phone"] for row in await listed(hantar, other)] == [ABROAD]
        assert len(broker.events("contact.opted_out")) == 1
        assert len(broker.events("message.inbound")) == 3


async def test_texts_rest_sealed_wherever_they_lie(
    dsn: str, pool: Pool, vhost: str, broker: Broker, receiver: Receiver
) -> None:
    async with on_servers(dsn, pool, vhost) as hantar:
        await hantar.pool.execute(SPY)
        account = await hantar.account()
        await listen(hantar, account, receiver.url)
        receiver.status = 500
        await broker.call_back(wrote(account, "in.1", CANARY))

        async def refused() -> bool:
            return bool(receiver.calls)

        await eventually(refused)
        receiver.status = 200

        async def taken() -> bool:
            return len(receiver.calls) > 1

        await eventually(taken)
        assert {document["data"]["text"] for document in receiver.documents()} == {CANARY}
        assert [event["text"] for event in await broker.until("message.inbound", 1)] == [CANARY]
        assert [row["text"] for row in await listed(hantar, account)] == [CANARY]
        spied = [row["content"] for row in await hantar.pool.fetch("SELECT content FROM spied")]
        assert len(spied) >= 3
        for written in (CANARY, CANARY.encode().hex(), json.dumps(CANARY)):
            assert not any(written in content for content in spied)


async def test_an_installation_may_keep_no_texts_and_heed_words_of_its_own(
    dsn: str, pool: Pool, vhost: str, broker: Broker
) -> None:
    settings = {"inbound_text": "none", "opt_out_words": "tak mahu, 停止"}
    async with on_servers(dsn, pool, vhost, **settings) as hantar:
        account = await hantar.account()
        await broker.call_back(
            wrote(account, "in.1", CANARY),
            wrote(account, "in.2", "Tak mahu!", "+60123456701"),
            wrote(account, "in.3", "stop", "+60123456702"),
            wrote(account, "in.4", "停止", "+60123456703"),
        )
        events = await broker.until("message.inbound", 4)
        assert {event["phone"]: event["opts_out"] for event in events} == {
            PHONE: False,
            "+60123456701": True,
            "+60123456702": True,
            "+60123456703": True,
        }
        assert {event["text"] for event in events} == {None}
        assert {row["text"] for row in await listed(hantar, account)} == {None}
        assert set(await opted_out(hantar, account)) == {f"+6012345670{n}" for n in (1, 2, 3)}


async def test_the_list_is_narrowed(dsn: str, pool: Pool, vhost: str, broker: Broker) -> None:
    async with on_servers(dsn, pool, vhost) as hantar:
        account = await hantar.account()
        await broker.call_back(
            wrote(account, "in.1", "Satu"), wrote(account, "in.2", "Dua", ABROAD)
        )
        await broker.until("message.inbound", 2)
        for query, texts in (
            ("?phone=0123456789", ["Satu"]),
            ("?phone=%2B14155550123", ["Dua"]),
            (f"?device_id={account.device_id}&per_page=1", ["Dua"]),
            ("?device_id=999999", []),
        ):
            assert [row["text"] for row in await listed(hantar, account, query)] == texts
        refused = await hantar.get("/inbound-messages?phone=nobody", account)
        assert (refused.status, refused.json["code"]) == (422, "invalid_phone")
        assert await listed(hantar, await hantar.account()) == []


async def test_a_callback_that_says_nonsense_is_buried_and_the_next_one_heard(
    dsn: str, pool: Pool, vhost: str, broker: Broker
) -> None:
    async with on_servers(dsn, pool, vhost) as hantar:
        account = await hantar.account()
        await broker.call_back(wrote(account, "in.1", "Hai", phone="nobody"))
        await broker.call_back(wrote(account, "in.2\0", "a\0b"), wrote(account, "x" * 9000, "Hai"))
        await broker.until("message.inbound", 2)
        rows = await listed(hantar, account)
        assert {row["text"] for row in rows} == {"ab", "Hai"}
        assert {len(row["provider_id"]) for row in rows} == {4, 500}
