"""What the contract says of each magic number of the simulator, from the send to the end."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import Any

from service.store.pool import Pool
from tests.integration.dispatch.calls import calls_of, gaps, in_seconds, send, send_bulk
from tests.system import SOON_SECONDS, Account, Hantar, eventually, run_app

MAGIC = "+6011555000"

running = asynccontextmanager(run_app)


async def settled(hantar: Hantar, account: Account, *, balance: int) -> None:
    assert await hantar.balance(account) == balance
    assert await hantar.drifting() == []


async def test_01_is_not_on_whatsapp_and_costs_nothing(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    id_ = await send(hantar, account, f"{MAGIC}01")
    message = await hantar.until(account, id_, "failed")
    assert message["error"]["code"] == "not_on_whatsapp"
    assert (message["credit"], message["attempts"]) == ("released", 1)
    assert message["failed_at"] is not None
    await settled(hantar, account, balance=10)


async def test_02_is_never_heard_of_again_and_keeps_its_credit(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    id_ = await send(hantar, account, f"{MAGIC}02")
    message = await hantar.until(account, id_, "unconfirmed")
    assert (message["credit"], message["sent_at"]) == ("reserved", None)
    await settled(hantar, account, balance=9)


async def test_02_at_least_once_is_called_once_more_and_no_more(dsn: str, pool: Pool) -> None:
    async with running(dsn, pool, doubt_seconds=1.0) as hantar:
        account = await hantar.account(credits=10)
        again = await send(hantar, account, f"{MAGIC}02", delivery="at_least_once")
        never = await send(hantar, account, f"{MAGIC}02", delivery="at_most_once")

        async def held_for_the_credit() -> bool:
            rows = await pool.fetch("SELECT message_id FROM doubts WHERE awaits = 'release'")
            return {row["message_id"] for row in rows} == {again, never}

        await eventually(held_for_the_credit)
        assert len(await calls_of(pool, [again])) == 2
        assert len(await calls_of(pool, [never])) == 1
        for id_ in (again, never):
            message = await hantar.message(account, id_)
            assert (message["status"], message["credit"]) == ("unconfirmed", "reserved")
        await settled(hantar, account, balance=8)


async def test_03_is_read(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    message = await hantar.until(account, await send(hantar, account, f"{MAGIC}03"), "read")
    assert message["sent_at"] <= message["delivered_at"] <= message["read_at"]
    assert (message["credit"], message["attempts"], message["error"]) == ("settled", 1, None)
    assert message["provider_id"]
    await settled(hantar, account, balance=9)


async def test_04_is_told_twice_and_backwards_and_still_read_once(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    id_ = await send(hantar, account, f"{MAGIC}04")
    await hantar.until(account, id_, "read")

    async def everything_was_told() -> bool:
        return not await hantar.pool.fetchval("SELECT count(*) FROM simulator_owed")

    await eventually(everything_was_told)
    message = await hantar.message(account, id_)
    assert (message["status"], message["credit"]) == ("read", "settled")
    assert None not in (message["sent_at"], message["delivered_at"], message["read_at"])
    kinds = await hantar.pool.fetch("SELECT type, count FROM ledger WHERE type <> 'grant'")
    assert [tuple(row) for row in kinds] == [("reserve", 1), ("settle", 1)]
    await settled(hantar, account, balance=9)


async def test_05_is_throttled_twice_which_uses_no_attempt_up(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    id_ = await send(hantar, account, f"{MAGIC}05")
    message = await hantar.until(account, id_, "delivered")
    times = await calls_of(hantar.pool, [id_])
    assert len(times) == 3
    assert all(gap >= 1.0 for gap in gaps(times)), "the provider's wish was not kept"
    assert (message["attempts"], message["error"]) == (1, None)
    await settled(hantar, account, balance=9)


async def test_05_holds_the_whole_device_and_no_other(hantar: Hantar) -> None:
    account, other = await hantar.account(), await hantar.account()
    throttled = await send(hantar, account, f"{MAGIC}05")

    async def first_call() -> list[float]:
        return await calls_of(hantar.pool, [throttled])

    [first] = await eventually(first_call)
    behind = await send(hantar, account)
    beside = await send(hantar, other)
    await hantar.until(other, beside, "delivered")
    await hantar.until(account, behind, "delivered")
    assert (await calls_of(hantar.pool, [behind]))[0] - first >= 1.0
    assert (await calls_of(hantar.pool, [beside]))[0] - first < 1.0


async def test_06_meets_two_passing_errors_with_growing_pauses(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    id_ = await send(hantar, account, f"{MAGIC}06")
    message = await hantar.until(account, id_, "delivered")
    first, second = gaps(await calls_of(hantar.pool, [id_]))
    assert first >= 0.5
    assert second >= 2.0
    assert (message["attempts"], message["error"]) == (3, None)
    await settled(hantar, account, balance=9)


async def test_07_takes_ten_seconds_and_holds_up_nobody(hantar: Hantar) -> None:
    account = await hantar.account(credits=50)
    slow = await send(hantar, account, f"{MAGIC}07")
    others = await send_bulk(hantar, account, 20)
    for id_ in others:
        await hantar.until(account, id_, "delivered")
    assert (await hantar.message(account, slow))["status"] == "sending"
    [called_at] = await calls_of(hantar.pool, [slow])
    await hantar.until(account, slow, "sent", "delivered")
    assert 10.0 <= time.monotonic() - called_at < 10.0 + SOON_SECONDS / 4
    assert len(await calls_of(hantar.pool, [slow])) == 1
    await settled(hantar, account, balance=29)


async def test_08_answers_stop_and_is_not_written_to_again(hantar: Hantar) -> None:
    account, other = await hantar.account(credits=10), await hantar.account(credits=10)
    phone = f"{MAGIC}08"
    later = await send(hantar, account, phone, send_at=in_seconds(3))
    await hantar.until(account, await send(hantar, account, phone), "delivered")

    async def refused() -> Any:
        answer = await hantar.post("/messages/send", account, {"phone": phone, "body": "again"})
        return answer.json if answer.status == 422 else None

    assert (await eventually(refused))["code"] == "opted_out"
    # What was accepted before is not sent any more; another account is not meant.
    message = await hantar.until(account, later, "skipped")
    assert (message["error"]["code"], message["credit"]) == ("opted_out", "released")
    assert await calls_of(hantar.pool, [later]) == []
    await hantar.until(other, await send(hantar, other, phone), "delivered")
    assert await hantar.drifting() == []


async def test_09_is_sent_then_fails_and_is_paid_back(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    id_ = await send(hantar, account, f"{MAGIC}09")
    message = await hantar.until(account, id_, "failed")
    assert (message["error"]["code"], message["credit"]) == ("undeliverable", "refunded")
    assert message["sent_at"] is not None
    await settled(hantar, account, balance=10)


async def test_every_other_number_is_delivered_within_a_second(hantar: Hantar) -> None:
    account = await hantar.account(credits=10)
    id_ = await send(hantar, account, "+60198765432")
    message = await hantar.until(account, id_, "delivered")
    [called_at] = await calls_of(hantar.pool, [id_])
    # A second for the callback, another for this test to learn of it.
    assert time.monotonic() - called_at < 2.0
    assert (message["credit"], message["attempts"]) == ("settled", 1)
    await settled(hantar, account, balance=9)
