"""The queue of an upstream service: the events of its accounts, and of no other."""

from __future__ import annotations

import pytest

from service.bus.upstream_queues import cut_off, open_queue
from tests.integration.upstream.foreign import Foreign
from tests.system import Account, Hantar


async def send(hantar: Hantar, *accounts: Account) -> None:
    """A message of each account, delivered."""
    for account in accounts:
        sent = await hantar.post("/messages/send", account, {"phone": "0123456789", "body": "Hi"})
        await hantar.until(account, sent.json["data"]["id"], "delivered")


@pytest.mark.parametrize("both", [False, True])
async def test_it_gets_what_concerns_the_accounts_that_it_is_opened_for(
    hantar: Hantar, broker: str, both: bool
) -> None:
    mine, other = await hantar.account(), await hantar.account()
    await open_queue(broker, "shop", mine.id)
    if both:
        await open_queue(broker, "shop", other.id)
    shop = Foreign(broker, queue="hantar.events.shop")
    await shop.open()
    wanted = {mine.id, other.id} if both else {mine.id}
    await send(hantar, mine, other, mine)

    async def heard() -> bool:
        of_mine = {
            event["message_id"]
            for each in shop.heard
            if each.routing_key == "message.delivered" and each.json["account"] == mine.id
            for event in each.json["events"]
        }
        return len(of_mine) == 2

    await shop.until(heard)
    assert {each.json["account"] for each in shop.heard} == wanted
    assert {each.headers["account"] for each in shop.heard} == {str(id_) for id_ in wanted}
    await shop.close()


async def test_cut_off_it_gets_nothing_more_and_keeps_what_it_has(
    hantar: Hantar, broker: str
) -> None:
    mine = await hantar.account()
    await open_queue(broker, "shop", mine.id)
    await open_queue(broker, "shop", mine.id)
    await send(hantar, mine)
    await cut_off(broker, "shop", mine.id)
    await send(hantar, mine)
    shop = Foreign(broker, queue="hantar.events.shop")
    await shop.open()

    async def heard() -> bool:
        return any(each.routing_key == "message.delivered" for each in shop.heard)

    await shop.until(heard)
    ids = {event["message_id"] for each in shop.heard for event in each.json["events"]}
    assert len(ids) == 1
    await shop.close()
