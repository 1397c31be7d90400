"""What is no command: kept among the dead with the reason, and in nobody's way."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from service.bus.dead_letters import DeadCommand, look
from service.intake.dead import KEEP_BYTES, MOST_KEPT
from service.telemetry import metrics
from tests.database import SHARDS
from tests.integration.upstream.foreign import Foreign
from tests.integration.upstream.test_commands import PHONE, messages
from tests.system import Account, Hantar, eventually

GOOD: dict[str, Any] = {"phone": PHONE, "body": "Hi"}


async def buried(broker: str, count: int = 1) -> list[DeadCommand]:
    async def found() -> list[DeadCommand]:
        dead = await look(broker, limit=100)
        return dead if len(dead) >= count else []

    dead: list[DeadCommand] = await eventually(found)
    return dead


@pytest.mark.row("5.6-86", "5.6-87", "5.6-88", "5.6-89", "5.6-90")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "hantar.message.send"}, "type"),
        ({"type": "hantar.message.send.v0"}, "type"),
        ({"type": "hantar.message.send.v99"}, "type"),
        ({"type": "1"}, "type"),
        ({"type": None}, "type"),
        ({"type": "hantar.message.bulk.v1"}, "type"),
        ({"content_type": "text/plain"}, "content_type"),
        ({"content_type": None}, "content_type"),
        ({"content_encoding": "gzip"}, "content_encoding"),
        ({"body": b'{"account":'}, "invalid_json"),
        ({"body": b"\xff\xfe"}, "invalid_json"),
        ({"body": b'\xef\xbb\xbf{"account": 1}'}, "invalid_json"),
        ({"body": b""}, "invalid_json"),
        ({"body": b"[" * 100_000}, "payload_too_large"),
        ({"body": b"[" * 60_000}, "invalid_json"),
        ({"body": b" " * 10_000_000}, "payload_too_large"),
        ({"body": b"null"}, "account"),
        ({"body": b"[]"}, "account"),
        ({"body": orjson.dumps(GOOD)}, "account"),
        ({"body": orjson.dumps(GOOD | {"account": "1"})}, "account"),
        ({"body": orjson.dumps(GOOD | {"account": None})}, "account"),
        ({"body": orjson.dumps(GOOD | {"account": 10**9})}, "forbidden"),
        ({"message_id": None}, "message_id"),
        ({"message_id": "a b"}, "message_id"),
        ({"message_id": "é"}, "message_id"),
        ({"user_id": None}, "user_id"),
    ],
)
async def test_poison_is_kept_with_its_reason(
    hantar: Hantar,
    account: Account,
    upstream: Foreign,
    broker: str,
    changes: dict[str, Any],
    reason: str,
) -> None:
    good = orjson.dumps(GOOD | {"account": account.id})
    chosen = {"body": good, "message_id": "poison-1", **changes}
    body, message_id = chosen.pop("body"), chosen.pop("message_id")
    await upstream.publish("message.send", body, message_id, **chosen)
    await upstream.publish("message.send", good, "good-1")
    [answer] = await upstream.answers("good-1")
    assert answer.routing_key == "command.accepted"
    [dead] = await buried(broker)
    assert (dead.reason, dead.routing_key) == (reason, "message.send")
    assert dead.body == body[:KEEP_BYTES]
    assert dead.whole == (len(body) <= KEEP_BYTES)
    assert len(await messages(hantar, account)) == 1


async def test_another_accounts_listeners_hear_nothing_of_a_stranger(
    hantar: Hantar, account: Account, upstream: Foreign, broker: str
) -> None:
    other = await hantar.account()
    body = GOOD | {"account": other.id}
    await upstream.publish("message.send", body, "theirs-1", reply_to="hantar.reply.nobody")
    await buried(broker)
    await upstream.publish("message.send", GOOD | {"account": account.id}, "good-1")
    await upstream.answers("good-1")
    assert {each.json["account"] for each in upstream.heard} == {account.id}
    assert await messages(hantar, other) == []
    assert await hantar.balance(other) == 1000


@pytest.mark.row("5.6-92")
async def test_what_a_stranger_sets_beside_the_contract_changes_nothing(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    await upstream.publish(
        "message.send",
        GOOD | {"account": account.id},
        "odd-1",
        expiration="3600000",
        priority=9,
        reply_to="hantar.dispatch.dead",
        correlation_id="somebody-else",
        app_id="x" * 200,
        timestamp=1,
        headers={"traceparent": 7, "x-death": "never", "list": [1, {"deep": None}]},
    )
    [answer] = await upstream.answers("odd-1")
    assert answer.routing_key == "command.accepted"

    def depth() -> int:
        passive = upstream.channel.queue_declare("hantar.dispatch.dead", passive=True)
        count: int = passive.method.message_count
        return count

    assert await upstream.run(depth) == 0


async def test_bytes_that_are_no_text_in_properties_stop_nobody(
    hantar: Hantar, account: Account, upstream: Foreign, broker: str
) -> None:
    body = GOOD | {"account": account.id}
    await upstream.publish("message.send", body, b"\xff\xfe")  # type: ignore[arg-type]
    await upstream.publish("message.send", body, "odd-2", headers={"key": b"\xff\xfe"})
    await upstream.publish("message.send", body, "odd-3", headers={b"\xff": "value"})
    await upstream.publish("message.send", body, "odd-4", timestamp=2**63 - 1)
    for number in (2, 3, 4):
        [answer] = await upstream.answers(f"odd-{number}")
        assert answer.routing_key == "command.accepted"
    [dead] = await buried(broker)
    assert dead.reason == "message_id"


async def test_of_garbage_only_so_much_is_kept(
    hantar: Hantar, account: Account, upstream: Foreign
) -> None:
    before = _buried("no")

    def flood() -> None:
        for _ in range(MOST_KEPT + 2000):
            raw.basic_publish("hantar.commands", "message.send", b"garbage")

    raw = await upstream.run(upstream.unconfirmed)
    await upstream.run(flood)

    async def counted() -> bool:
        return _buried("no") > before

    await upstream.until(counted, within_seconds=60)
    await upstream.publish("message.send", GOOD | {"account": account.id}, "good-1")
    [answer] = await upstream.answers("good-1")
    assert answer.routing_key == "command.accepted"


def _buried(kept: str) -> float:
    return sum(
        sample.value
        for family in metrics.COMMANDS_BURIED.collect()
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["kept"] == kept
    )


@pytest.mark.row("5.6-93")
async def test_a_forged_command_inside_can_do_no_harm(
    hantar: Hantar, account: Account, upstream: Foreign, broker: str
) -> None:
    """The row is the truth: text and phone beside the ids are not looked at, nor ids of no row."""
    sent = await hantar.post("/messages/send", account, GOOD)
    message_id = sent.json["data"]["id"]
    await hantar.until(account, message_id, "delivered")
    forged = {"device": account.device_id, "priority": 1, "ids": [message_id, 10**12]}
    raw = await upstream.run(upstream.unconfirmed)
    for body in (forged, forged | {"phone": "+60111", "body": "Other"}, {"ids": "all"}):
        for shard in range(SHARDS):
            await upstream.run(
                raw.basic_publish,
                "hantar.dispatch",
                f"dispatch.{shard:02}.express",
                orjson.dumps(body),
            )
    after = await hantar.post("/messages/send", account, {**GOOD, "body": "After"})
    await hantar.until(account, after.json["data"]["id"], "delivered")
    calls = await hantar.pool.fetch("SELECT message_id FROM simulator_calls ORDER BY id")
    assert [row["message_id"] for row in calls] == [message_id, after.json["data"]["id"]]
