"""Messages that wait: why, until when, and what becomes of those whose time passes meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.system import Hantar


async def pause(hantar: Hantar, device_id: int, *, paused: bool) -> None:
    await hantar.pool.execute("UPDATE devices SET paused = $2 WHERE id = $1", device_id, paused)


async def test_a_paused_device_is_named_as_the_reason_and_sends_when_it_goes_on(
    hantar: Hantar,
) -> None:
    account = await hantar.account()
    await pause(hantar, account.device_id, paused=True)
    sent = await hantar.post("/messages/send", account, {"phone": "0123456789", "body": "hi"})
    assert sent.json["data"]["waiting"] == {"reason": "paused", "earliest_at": None}
    await pause(hantar, account.device_id, paused=False)
    await hantar.until(account, sent.json["data"]["id"], "delivered")


async def test_a_message_of_a_paused_device_expires_and_gives_its_credit_back(
    hantar: Hantar,
) -> None:
    account = await hantar.account(credits=10)
    await pause(hantar, account.device_id, paused=True)
    expires_at = datetime.now(UTC) + timedelta(seconds=1)
    sent = await hantar.post(
        "/messages/send",
        account,
        {"phone": "0123456789", "body": "hi", "expires_at": expires_at.isoformat()},
    )
    message = await hantar.until(account, sent.json["data"]["id"], "expired")
    assert message["credit"] == "released"
    assert message["error"]["code"] == "expired"
    assert await hantar.balance(account) == 10
    assert await hantar.drifting() == []
