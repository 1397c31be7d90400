"""Credits under pressure: never one too many, never one lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.integration.api.checks import check_problem, nothing_done
from tests.system import Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


def bulk(count: int, name: object = "") -> dict[str, Any]:
    """So many sound items, no two alike."""
    return {
        "messages": [
            {"phone": "0123456789", "body": f"hello {name} {place}"} for place in range(count)
        ]
    }


async def test_a_hundred_bulks_at_once_spend_what_is_there_and_no_more(hantar: Hantar) -> None:
    account = await hantar.account(credits=500)
    answers = await asyncio.gather(
        *(hantar.post("/messages/bulk", account, bulk(10, turn)) for turn in range(100))
    )
    assert Counter(answer.status for answer in answers) == {202: 50, 402: 50}
    for answer in answers:
        if answer.status == 402:
            check_problem(answer, 402, "insufficient_credits")
    # Each grant saw a balance of its own.
    balances = [answer.json["credits"]["balance"] for answer in answers if answer.status == 202]
    assert sorted(balances) == list(range(0, 500, 10))
    assert await hantar.balance(account) == 0
    count = "SELECT count(*) FROM messages WHERE account_id = $1"
    assert await hantar.pool.fetchval(count, account.id) == 500
    reserved = "SELECT sum(count) FROM ledger WHERE account_id = $1 AND type = 'reserve'"
    assert await hantar.pool.fetchval(reserved, account.id) == 500
    assert await hantar.drifting() == []


async def test_a_bulk_may_cost_the_whole_balance_but_not_one_more(hantar: Hantar) -> None:
    account = await hantar.account(credits=20)
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/bulk", account, bulk(21))
        check_problem(answer, 402, "insufficient_credits")
    answer = await hantar.post("/messages/bulk", account, bulk(20))
    assert answer.status == 202
    assert answer.json["credits"] == {"charged": 20, "balance": 0}
    answer = await hantar.post("/messages/send", account, bulk(1)["messages"][0])
    check_problem(answer, 402, "insufficient_credits")
    assert await hantar.balance(account) == 0


async def test_an_account_without_credits_sends_nothing(hantar: Hantar) -> None:
    account = await hantar.account(credits=0)
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, bulk(1)["messages"][0])
        check_problem(answer, 402, "insufficient_credits")


async def test_accounts_spend_side_by_side(hantar: Hantar) -> None:
    accounts = [await hantar.account(credits=30) for _ in range(5)]
    answers = await asyncio.gather(
        *(
            hantar.post("/messages/bulk", account, bulk(10, turn))
            for turn in range(4)
            for account in accounts
        )
    )
    assert Counter(answer.status for answer in answers) == {202: 15, 402: 5}
    assert [await hantar.balance(account) for account in accounts] == [0] * 5


async def test_a_credit_is_settled_once_when_the_message_was_sent(hantar: Hantar) -> None:
    async def settled() -> bool:
        found: int | None = await hantar.pool.fetchval(
            "SELECT sum(count) FROM ledger WHERE account_id = $1 AND type = 'settle'", account.id
        )
        return found == 100

    account = await hantar.account(credits=100)
    answer = await hantar.post("/messages/bulk", account, bulk(100))
    assert answer.status == 202
    await eventually(settled)
    assert await hantar.balance(account) == 0
    assert await hantar.drifting() == []
