"""Messages that wait: why, until when, and what becomes of those whose time passes meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.system import Hantar, eventually


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


async def test_what_waits_again_long_after_its_time_expires_too(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    await pause(hantar, account.device_id, paused=True)
    sent = await hantar.post("/messages/send", account, {"phone": "0123456789", "body": "hi"})
    await hantar.pool.execute("UPDATE messages SET expires_at = now() - interval '4 minutes'")
    await hantar.until(account, sent.json["data"]["id"], "expired")
    assert await hantar.balance(account) == 10


async def test_an_account_that_is_held_is_told_until_when(hantar: Hantar) -> None:
    account = await hantar.account()
    held_until = datetime.now(UTC) + timedelta(minutes=5)
    await hantar.pool.execute("UPDATE accounts SET hold_until = $1", held_until)
    sent = await hantar.post("/messages/send", account, {"phone": "0123456789", "body": "hi"})
    message = await hantar.message(account, sent.json["data"]["id"])
    assert message["waiting"]["reason"] == "held"
    earliest_at = datetime.fromisoformat(message["waiting"]["earliest_at"])
    assert abs(earliest_at - held_until) < timedelta(seconds=1)


async def test_who_stands_behind_others_is_told_when_its_turn_is(hantar: Hantar) -> None:
    account = await hantar.account(per_second=1)
    await pause(hantar, account.device_id, paused=True)
    items = [{"phone": f"+6012{3000000 + n}", "body": "hi"} for n in range(300)]
    answer = await hantar.post("/messages/bulk", account, {"messages": items})
    ids = [item["id"] for item in answer.json["queued"]]

    async def all_parked() -> bool:
        found = await hantar.pool.fetchval(
            "SELECT count(*) FROM parked WHERE device_id = $1", account.device_id
        )
        return bool(found == len(ids))

    await eventually(all_parked)
    await hantar.pool.execute(
        "UPDATE devices SET paused = false, hold_until = now() + interval '1 hour' WHERE id = $1",
        account.device_id,
    )
    waits = [(await hantar.message(account, id_))["waiting"] for id_ in (ids[0], ids[-1])]
    assert {wait["reason"] for wait in waits} == {"held"}
    first, last = (datetime.fromisoformat(wait["earliest_at"]) for wait in waits)
    assert last - first == timedelta(seconds=299)
    # Nobody sends through this device, so that its messages stay where they are.
    await hantar.pool.execute(
        "UPDATE devices SET hold_until = NULL, driver = 'wwebjs' WHERE id = $1", account.device_id
    )
    message = await hantar.message(account, ids[-1])
    assert message["waiting"]["reason"] == "behind"
    ahead = datetime.fromisoformat(message["waiting"]["earliest_at"]) - datetime.now(UTC)
    assert timedelta(seconds=200) < ahead < timedelta(seconds=300)
    assert (await hantar.message(account, ids[0]))["waiting"]["reason"] == "device_rate"
    listed = await hantar.get("/messages", account, params={"per_page": "100"})
    assert {row["waiting"]["reason"] for row in listed.json["data"]} == {"behind"}
