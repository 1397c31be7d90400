"""Commands from a foreign client over the wire, and the answers to them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from service.bus.topology import COMMANDS_DEAD, command_queue
from service.intake.envelope import KINDS
from service.store.pool import Pool
from service.telemetry import metrics
from tests.integration.store.lossy import LossyWay
from tests.integration.upstream.conftest import allow
from tests.integration.upstream.foreign import DIRECT_REPLY, Foreign
from tests.system import Account, Hantar, run_app

PHONE = "+60123456789"
#: Sends that the intake holds at once.
IN_HAND = KINDS[0].prefetch


async def messages(hantar: Hantar, account: Account) -> list[Any]:
    rows: list[Any] = (await hantar.get("/messages?per_page=100", account)).json["data"]
    return rows


async def test_a_send_is_accepted_answered_and_delivered(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    body = {"account": account.id, "phone": "0123456789", "body": "Hi", "reference": "order-1"}
    await upstream.publish("message.send", body, "send-1", reply_to=DIRECT_REPLY)
    [answer] = await upstream.answers("send-1")
    assert (answer.routing_key, answer.type) == ("command.accepted", "hantar.command.accepted.v1")
    [queued] = answer.json["queued"]
    assert answer.json == {
        "account": account.id,
        "command": "send-1",
        "queued": [{"index": 0, "id": queued["id"], "phone": PHONE, "status": "queued"}],
        "rejected": [],
        "campaign_id": None,
    }
    await hantar.until(account, queued["id"], "delivered")

    async def look() -> Any:
        return [each for each in upstream.heard if each.routing_key == "message.delivered"]

    [event] = await upstream.until(look)
    assert event.json["events"][0]["reference"] == "order-1"

    async def replied() -> Any:
        return upstream.replies

    [reply] = await upstream.until(replied)
    assert (reply.correlation_id, reply.json) == ("send-1", answer.json)


async def test_a_send_may_bring_media_and_a_template_of_metas(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    media = {"type": "image", "url": "https://example.com/a.png", "caption": "For {{name}}"}
    meta = {"name": "hello", "language": "ms", "components": [{"text": "{{name}}"}]}
    body = {"name": "Hi", "body": "Salam {{name}}", "media": media, "meta": meta}
    made = (await hantar.post("/templates", account, body)).json["data"]["id"]
    sends = {
        "template": {"template_id": made, "variables": {"name": "Siti"}},
        "media": {"media": {"type": "audio", "url": "https://example.com/a.ogg"}},
    }
    for key, send in sends.items():
        await upstream.publish("message.send", {"account": account.id, "phone": PHONE, **send}, key)
    found = {}
    for key in sends:
        [answer] = await upstream.answers(key)
        message_id = answer.json["queued"][0]["id"]
        await hantar.until(account, message_id, "delivered")
        kept = "SELECT options FROM messages WHERE id = $1"
        found[key] = orjson.loads(await hantar.pool.fetchval(kept, message_id))
    assert found["media"] == {"media": sends["media"]["media"]}
    assert found["template"]["media"]["caption"] == "For Siti"
    assert found["template"]["meta"]["components"] == [{"text": "Siti"}]


async def test_a_bulk_is_answered_item_by_item(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    items = [{"phone": f"01234560{n:02}", "body": "Hi"} for n in range(50)] + [{"phone": "12"}]
    await upstream.publish("message.bulk", {"account": account.id, "messages": items}, "bulk-1")
    [answer] = await upstream.answers("bulk-1")
    assert [item["index"] for item in answer.json["queued"]] == list(range(50))
    assert [(item["index"], item["code"]) for item in answer.json["rejected"]] == [
        (50, "invalid_phone")
    ]
    assert await hantar.balance(account) == 950


async def test_a_campaign_is_made_and_goes_out(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    recipients = [{"phone": f"01234560{n:02}"} for n in range(20)]
    body = {"account": account.id, "name": "June", "body": "Salam", "recipients": recipients}
    await upstream.publish("campaign.create", body, "campaign-1")
    [answer] = await upstream.answers("campaign-1")
    assert answer.routing_key == "command.accepted"
    campaign_id = answer.json["campaign_id"]

    async def completed() -> Any:
        found = await hantar.get(f"/campaigns/{campaign_id}", account)
        counts = found.json["data"]["counts"]
        return counts["sent"] + counts["delivered"] == 20

    await upstream.until(completed)
    assert await hantar.balance(account) == 980
    await upstream.publish("campaign.create", body | {"name": ""}, "campaign-2")
    [refused] = await upstream.answers("campaign-2")
    assert refused.json["problem"]["errors"].keys() == {"name"}


async def test_one_key_has_one_effect_through_both_doors(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    body = {"phone": PHONE, "body": "Hi"}
    await upstream.publish("message.send", {**body, "account": account.id}, "both-1")
    [answer] = await upstream.answers("both-1")
    over_http = await hantar.post(
        "/messages/send", account, body, headers={"Idempotency-Key": "both-1"}
    )
    assert (over_http.status, over_http.headers["Idempotent-Replayed"]) == (202, "true")
    assert over_http.json["data"]["id"] == answer.json["queued"][0]["id"]
    first = await hantar.post(
        "/messages/send", account, body, headers={"Idempotency-Key": "both-2"}
    )
    await upstream.publish("message.send", {"account": account.id, **body}, "both-2")
    [second] = await upstream.answers("both-2")
    assert second.json["queued"][0]["id"] == first.json["data"]["id"]
    assert len(await messages(hantar, account)) == 2
    assert await hantar.balance(account) == 998


async def test_a_command_published_again_gets_its_answer_again(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    body = {"account": account.id, "phone": PHONE, "body": "Hi"}
    for _ in range(5):
        await upstream.publish("message.send", body, "again-1")
    answers = await upstream.answers("again-1", 5)
    assert [each.json for each in answers] == [answers[0].json] * 5
    assert len(await messages(hantar, account)) == 1


async def test_a_refusal_stays_one_whatever_happens_later(
    hantar: Hantar, upstream: Foreign
) -> None:
    account = await hantar.account(credits=0)
    await allow(hantar.pool, account)
    body = {"account": account.id, "phone": PHONE, "body": "Hi"}
    await upstream.publish("message.send", body, "poor-1")
    [first] = await upstream.answers("poor-1")
    assert first.routing_key == "command.rejected"
    assert first.json["problem"]["code"] == "insufficient_credits"
    assert first.json["problem"]["status"] == 402
    await hantar.pool.execute("UPDATE accounts SET balance = 10 WHERE id = $1", account.id)
    await upstream.publish("message.send", body, "poor-1")
    [_, second] = await upstream.answers("poor-1", 2)
    assert second.json == first.json
    assert await messages(hantar, account) == []


@pytest.mark.row("5.6-89")
async def test_a_key_used_with_another_body_is_refused(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    body = {"account": account.id, "phone": PHONE, "body": "Hi"}
    await upstream.publish("message.send", body, "reuse-1")
    await upstream.publish("message.send", {**body, "body": "Other"}, "reuse-1")
    answers = await upstream.answers("reuse-1", 2)
    problems = [each.json["problem"]["code"] for each in answers if "problem" in each.json]
    assert problems == ["idempotency_key_reused"]
    assert len(await messages(hantar, account)) == 1


@pytest.mark.parametrize(
    ("routing_key", "body", "code"),
    [
        ("message.send", {"phone": "+6580123456", "body": "Hi"}, "invalid_phone"),
        ("message.send", {"phone": PHONE, "body": "Hi", "user": 1}, "unknown_field"),
        ("message.send", {"body": "Hi"}, "validation_failed"),
        ("message.send", {"phone": PHONE, "body": "Hi", "device": 10**9}, "validation_failed"),
        ("message.bulk", {"messages": []}, "validation_failed"),
        ("message.bulk", {"messages": [{"phone": "1", "body": "Hi"}]}, "validation_failed"),
        ("message.bulk", {}, "validation_failed"),
    ],
)
async def test_a_faulty_command_is_refused_with_the_problem_of_http(
    hantar: Hantar, account: Account, upstream: Foreign, routing_key: str, body: Any, code: str
) -> None:
    await upstream.publish(routing_key, {**body, "account": account.id}, "faulty-1")
    [answer] = await upstream.answers("faulty-1")
    problem = answer.json["problem"]
    assert (answer.type, problem["code"]) == ("hantar.command.rejected.v1", code)
    over_http = await hantar.post(f"/messages/{routing_key.split('.')[1]}", account, body)
    told = over_http.json | {"request_id": problem["request_id"]}
    assert problem == told


async def test_an_unverified_owner_is_refused(hantar: Hantar, upstream: Foreign) -> None:
    account = await hantar.account(verified=False)
    await allow(hantar.pool, account)
    body = {"account": account.id, "phone": PHONE, "body": "Hi"}
    await upstream.publish("message.send", body, "unverified-1")
    [answer] = await upstream.answers("unverified-1")
    assert answer.json["problem"]["code"] == "email_unverified"


async def test_an_account_without_a_device_is_refused(hantar: Hantar, upstream: Foreign) -> None:
    account = await hantar.account(device=False)
    await allow(hantar.pool, account)
    body = {"account": account.id, "phone": PHONE, "body": "Hi"}
    await upstream.publish("message.send", body, "bare-1")
    [answer] = await upstream.answers("bare-1")
    assert answer.json["problem"]["code"] == "no_device"


async def test_a_command_under_way_elsewhere_is_waited_for(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    body = {"account": account.id, "phone": PHONE, "body": "Hi"}
    async with hantar.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('busy-1', $1))", account.id
        )
        await upstream.publish("message.send", body, "busy-1")
        await upstream.publish("message.send", body, "free-1")
        await upstream.answers("free-1")
        assert [each for each in upstream.heard if each.correlation_id == "busy-1"] == []
        await transaction.rollback()
    [answer] = await upstream.answers("busy-1")
    assert answer.routing_key == "command.accepted"


async def test_while_the_database_is_away_nothing_is_refused_or_buried(
    dsn: str, pool: Pool, broker: str, upstream: Foreign
) -> None:
    async with (
        LossyWay(dsn).open() as way,
        asynccontextmanager(run_app)(way.dsn, pool, database_url=way.dsn, amqp_url=broker) as app,
    ):
        account = await app.account()
        await allow(pool, account)
        body = {"account": account.id, "phone": PHONE, "body": "Hi"}
        before = deferred()

        async def tried() -> bool:
            return deferred() >= before + 3 * IN_HAND

        way.cut()
        for number in range(2 * IN_HAND):
            await upstream.publish("message.send", body, f"away-{number}")
        await upstream.until(tried)
        assert [each for each in upstream.heard if each.correlation_id] == []
        way.mend()
        for number in range(2 * IN_HAND):
            [answer] = await upstream.answers(f"away-{number}")
            assert answer.routing_key == "command.accepted"
    assert await depth(upstream, COMMANDS_DEAD) == 0


def deferred() -> float:
    """How often a command had to wait for the service so far."""
    return sum(
        sample.value
        for family in metrics.COMMANDS_DEFERRED.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


async def test_nothing_of_a_command_is_left_in_its_queue(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    body = {"account": account.id, "phone": PHONE, "body": "Hi"}
    await upstream.publish("message.send", body, "gone-1")
    await upstream.answers("gone-1")
    assert await depth(upstream, command_queue("message.send")) == 0


async def depth(upstream: Foreign, queue: str) -> int:
    """How many messages wait in a queue."""

    def look() -> int:
        count: int = upstream.channel.queue_declare(queue, passive=True).method.message_count
        return count

    return await upstream.run(look)


async def test_nested_commands_are_refused_and_in_nobodys_way(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    sent = []
    for kind in KINDS:
        for number in range(kind.prefetch + 1):
            depth = (250, 260, 900)[number % 3]
            nested = b'{"account":%d,"nested":%s}' % (account.id, b"[" * depth + b"]" * depth)
            sent.append(f"{kind.routing_key}-{number}")
            await upstream.publish(kind.routing_key, nested, sent[-1])
    for message_id in sent:
        [answer] = await upstream.answers(message_id)
        problem = answer.json["problem"]
        assert (problem["code"], problem["errors"].keys()) == ("unknown_field", {"nested"})
    good = {"account": account.id, "phone": PHONE, "body": "Hi"}
    await upstream.publish("message.send", good, "good-1")
    [answer] = await upstream.answers("good-1")
    assert answer.routing_key == "command.accepted"
