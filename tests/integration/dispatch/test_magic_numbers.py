"""What the contract says of each magic number of the simulator, from the send to the end.

All of them are sent at once, each by an account of its own, and each test waits for its own.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from service.embedded import EmbeddedPostgres
from service.store.pool import open_pool
from tests.integration.dispatch.calls import calls_of, gaps, in_seconds, send, send_bulk
from tests.integration.fresh import fresh_database
from tests.system import Account, Hantar, eventually, run_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAGIC = "+6011555000"
CREDITS = 30


@dataclass(frozen=True, slots=True)
class Case:
    """A message to one number, and the account that sent it."""

    hantar: Hantar
    account: Account
    id: int

    async def until(self, *statuses: str) -> Any:
        return await self.hantar.until(self.account, self.id, *statuses)

    async def calls(self, id_: int | None = None) -> list[float]:
        return await calls_of(self.hantar.pool, [id_ or self.id])

    async def assert_paid(self, credits: int) -> None:
        assert await self.hantar.balance(self.account) == CREDITS - credits
        assert await self.hantar.drifting() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cases(
    postgres_server: EmbeddedPostgres, template_database: str
) -> AsyncIterator[dict[str, Case]]:
    """A message to each number, on its way; a doubt is decided after a second."""
    running = asynccontextmanager(run_app)
    async with fresh_database(postgres_server.dsn, template_database) as dsn:
        pool = await open_pool(dsn, name="test", size=10)
        async with running(dsn, pool, doubt_seconds=1.0) as hantar:
            sent = {}
            for number in ("07", "01", "02", "03", "04", "05", "06", "08", "09"):
                account = await hantar.account(credits=CREDITS)
                id_ = await send(hantar, account, MAGIC + number)
                sent[number] = Case(hantar, account, id_)
            yield sent
        await pool.close()


async def test_01_is_not_on_whatsapp_and_costs_nothing(cases: dict[str, Case]) -> None:
    case = cases["01"]
    message = await case.until("failed")
    assert message["error"]["code"] == "not_on_whatsapp"
    assert (message["credit"], message["attempts"]) == ("released", 1)
    assert message["failed_at"] is not None
    await case.assert_paid(0)


async def test_02_is_never_heard_of_again_and_keeps_its_credit(cases: dict[str, Case]) -> None:
    case = cases["02"]
    message = await case.until("unconfirmed")
    assert (message["credit"], message["sent_at"]) == ("reserved", None)
    await case.assert_paid(1)


async def test_02_is_called_once_more_where_twice_is_allowed(cases: dict[str, Case]) -> None:
    case = cases["02"]
    again = await send(case.hantar, case.account, f"{MAGIC}02", delivery="at_least_once")

    async def held_for_the_credit() -> bool:
        rows = await case.hantar.pool.fetch(
            "SELECT message_id FROM doubts WHERE awaits = 'release'"
        )
        return {row["message_id"] for row in rows} == {again, case.id}

    await eventually(held_for_the_credit)
    assert (len(await case.calls(again)), len(await case.calls())) == (2, 1)
    for id_ in (again, case.id):
        message = await case.hantar.message(case.account, id_)
        assert (message["status"], message["credit"]) == ("unconfirmed", "reserved")
    await case.assert_paid(2)


async def test_03_is_read(cases: dict[str, Case]) -> None:
    message = await cases["03"].until("read")
    assert message["sent_at"] <= message["delivered_at"] <= message["read_at"]
    assert (message["credit"], message["attempts"], message["error"]) == ("settled", 1, None)
    assert message["provider_id"]
    await cases["03"].assert_paid(1)


async def test_04_is_told_twice_and_backwards_and_still_read_once(cases: dict[str, Case]) -> None:
    case = cases["04"]
    await case.until("read")

    async def everything_was_told() -> bool:
        # What is owed is the bodies of callbacks that name their message.
        return not await case.hantar.pool.fetchval(
            "SELECT count(*) FROM simulator_owed WHERE convert_from(body, 'UTF8') ~ $1",
            f'"message_id":{case.id}\\M',
        )

    await eventually(everything_was_told)
    message = await case.until("read")
    assert message["credit"] == "settled"
    assert None not in (message["sent_at"], message["delivered_at"], message["read_at"])
    kinds = await case.hantar.pool.fetch(
        "SELECT type, count FROM ledger WHERE account_id = $1 AND type <> 'grant'",
        case.account.id,
    )
    assert [tuple(row) for row in kinds] == [("reserve", 1), ("settle", 1)]
    await case.assert_paid(1)


async def test_05_is_throttled_twice_which_uses_no_attempt_up(cases: dict[str, Case]) -> None:
    message = await cases["05"].until("delivered")
    times = await cases["05"].calls()
    assert len(times) == 3
    assert all(gap >= 1.0 for gap in gaps(times)), "the provider's wish was not kept"
    assert (message["attempts"], message["error"]) == (1, None)
    await cases["05"].assert_paid(1)


async def test_05_holds_the_whole_device_and_no_other(cases: dict[str, Case]) -> None:
    hantar = cases["05"].hantar
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
    assert (await calls_of(hantar.pool, [beside]))[0] - first < 2.5


async def test_06_meets_two_passing_errors_with_growing_pauses(cases: dict[str, Case]) -> None:
    message = await cases["06"].until("delivered")
    first, second = gaps(await cases["06"].calls())
    assert first >= 0.5
    assert second >= 2.0
    assert (message["attempts"], message["error"]) == (3, None)
    await cases["06"].assert_paid(1)


async def test_07_takes_ten_seconds_and_holds_up_nobody(cases: dict[str, Case]) -> None:
    case = cases["07"]
    others = await send_bulk(case.hantar, case.account, 20)
    [called_at] = await eventually(case.calls)
    for id_ in others:
        await case.hantar.until(case.account, id_, "delivered")
    others_at = await calls_of(case.hantar.pool, others)
    message = await case.until("sent", "delivered")
    assert time.monotonic() - called_at >= 10.0
    assert (message["attempts"], len(await case.calls())) == (1, 1)
    assert max(others_at) < called_at + 10.0
    await case.assert_paid(21)


async def test_08_answers_stop_and_is_not_written_to_again(cases: dict[str, Case]) -> None:
    case = cases["08"]
    hantar, account, phone = case.hantar, case.account, f"{MAGIC}08"
    await case.until("delivered")

    async def refused() -> Any:
        answer = await hantar.post("/messages/send", account, {"phone": phone, "body": "again"})
        return answer.json if answer.status == 422 else None

    assert (await eventually(refused))["code"] == "opted_out"
    assert await hantar.drifting() == []


async def test_08_skips_what_was_accepted_before_and_means_no_other_account(
    cases: dict[str, Case],
) -> None:
    hantar, phone = cases["08"].hantar, f"{MAGIC}08"
    account, other = await hantar.account(), await hantar.account()
    first = await send(hantar, account, phone)
    later = await send(hantar, account, phone, send_at=in_seconds(4))
    foreign = await send(hantar, other, phone, send_at=in_seconds(4))
    message = await hantar.until(account, later, "skipped", "sent", "delivered")
    assert (message["status"], message["credit"]) == ("skipped", "released")
    assert message["error"]["code"] == "opted_out"
    assert await calls_of(hantar.pool, [later]) == []
    assert (await hantar.message(account, first))["status"] == "delivered"
    await hantar.until(other, foreign, "delivered")
    assert await hantar.drifting() == []


async def test_09_is_sent_then_fails_and_is_paid_back(cases: dict[str, Case]) -> None:
    message = await cases["09"].until("failed")
    assert (message["error"]["code"], message["credit"]) == ("undeliverable", "refunded")
    assert message["sent_at"] is not None
    await cases["09"].assert_paid(0)


async def test_every_other_number_is_delivered_within_a_second(cases: dict[str, Case]) -> None:
    hantar = cases["01"].hantar
    account = await hantar.account()
    id_ = await send(hantar, account, "+60198765432")
    message = await hantar.until(account, id_, "delivered")
    [called_at] = await calls_of(hantar.pool, [id_])
    # A second for the callback, another for this test to learn of it.
    assert time.monotonic() - called_at < 2.0
    assert (message["credit"], message["attempts"]) == ("settled", 1)
