"""The queues of a service's own commands: what others publish does not stand before them."""

from __future__ import annotations

import pika
import pytest

from service.bus.topology import command_queue, own_key
from service.bus.upstream_queues import open_queue
from service.store import upstreams
from tests.integration.upstream.conftest import allow
from tests.integration.upstream.foreign import TYPES, Foreign
from tests.system import Account, Hantar, eventually

BODY = {"phone": "0123456789", "body": "Hi"}
#: Refused commands, of which each takes the intake a transaction.
FLOOD = 4000
OWN = own_key("message.send", "guest")


async def consumers(upstream: Foreign, expected: list[int]) -> bool:
    """Whether its queues have so many consumers."""

    def look() -> list[int]:
        names = [command_queue(key, "guest") for key in TYPES]
        found = [upstream.channel.queue_declare(name, passive=True).method for name in names]
        return [each.consumer_count for each in found]

    return await upstream.run(look) == expected


@pytest.fixture
async def own(hantar: Hantar, broker: str, account: Account, upstream: Foreign) -> Account:
    """An account of a service that the running intake hears on its own queues."""
    await open_queue(broker, "guest", account.id)
    await eventually(lambda: consumers(upstream, [1, 1, 1]))
    return account


@pytest.fixture
async def rival(hantar: Hantar) -> Account:
    """Another account that the same user may name."""
    made = await hantar.account()
    await allow(hantar.pool, made)
    return made


async def test_a_command_in_it_is_answered_while_the_queue_of_all_is_full(
    hantar: Hantar, own: Account, rival: Account, upstream: Foreign
) -> None:
    def flood() -> None:
        channel = upstream.unconfirmed()
        for number in range(FLOOD):
            properties = pika.BasicProperties(
                message_id=f"faulty-{number}",
                user_id="guest",
                type=TYPES["message.send"],
                content_type="application/json",
            )
            body = b'{"account": %d, "phone": "nope", "body": "Hi"}' % rival.id
            channel.basic_publish("hantar.commands", "message.send", body, properties)

    await upstream.run(flood)
    await upstream.publish(OWN, {"account": own.id, **BODY}, "mine")
    [answer] = await upstream.answers("mine")
    refused = [each for each in upstream.heard if each.routing_key == "command.rejected"]
    assert answer.routing_key == "command.accepted"
    assert len(refused) < FLOOD / 2, "it waited behind the others"


async def test_one_that_was_removed_is_heard_no_more_until_it_is_added_again(
    hantar: Hantar, own: Account, upstream: Foreign
) -> None:
    async with hantar.pool.acquire() as connection:
        assert await upstreams.remove(connection, "guest", own.id)
    await eventually(lambda: consumers(upstream, [0, 0, 0]))
    await upstream.publish(OWN, {"account": own.id, **BODY}, "late")
    await allow(hantar.pool, own)
    [answer] = await upstream.answers("late")
    assert answer.routing_key == "command.accepted"
    await eventually(lambda: consumers(upstream, [1, 1, 1]))


async def test_its_queues_take_every_kind_of_command(own: Account, upstream: Foreign) -> None:
    messages = [{"phone": "0123456789", "body": "Hi"}]
    await upstream.publish(
        own_key("message.bulk", "guest"), {"account": own.id, "messages": messages}, "bulk"
    )
    campaign = {"name": "c", "body": "Hi", "recipients": [{"phone": "0123456781"}]}
    await upstream.publish(
        own_key("campaign.create", "guest"), {"account": own.id, **campaign}, "campaign"
    )
    for name in ("bulk", "campaign"):
        [answer] = await upstream.answers(name)
        assert answer.routing_key == "command.accepted", answer


async def test_a_command_of_another_in_it_is_buried(
    hantar: Hantar, broker: str, own: Account, upstream: Foreign
) -> None:
    await open_queue(broker, "shop", own.id)
    await upstream.publish(own_key("message.send", "shop"), {"account": own.id, **BODY}, "strange")
    await allow(hantar.pool, own, user="shop")

    def dead() -> str | None:
        _, properties, _ = upstream.channel.basic_get("hantar.commands.dead", auto_ack=True)
        return None if properties is None else properties.headers["hantar-reason"]

    reason = await eventually(lambda: upstream.run(dead))
    assert reason == "user_id"
    assert await hantar.pool.fetchval("SELECT count(*) FROM messages") == 0
