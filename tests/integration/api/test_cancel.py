"""Cancelling a message while it waits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.api.checks import check_problem
from tests.integration.dispatch.calls import calls_of
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def scheduled(hantar: Hantar, account: Account, seconds: float = 3600) -> int:
    at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    answer = await hantar.post(
        "/messages/send", account, {"phone": "0123456789", "body": "Later", "send_at": at}
    )
    message_id: int = answer.json["data"]["id"]
    return message_id


async def cancel(hantar: Hantar, account: Account, message_id: int, **headers: str) -> Any:
    path = f"/api/v1/messages/{message_id}/cancel"
    return await hantar.call("POST", path, account, headers=headers)


async def test_a_waiting_message_is_cancelled_and_its_credit_comes_back(
    hantar: Hantar, account: Account
) -> None:
    message_id = await scheduled(hantar, account)
    assert await hantar.balance(account) == 999
    answer = await cancel(hantar, account, message_id)
    assert answer.status == 200
    assert (answer.json["data"]["status"], answer.json["data"]["credit"]) == (
        "cancelled",
        "released",
    )
    assert await hantar.balance(account) == 1000
    again = await cancel(hantar, account, message_id, **{"Idempotency-Key": "c"})
    assert again.json == answer.json
    assert (await hantar.get("/credits", account)).json == {
        "data": {"balance": 1000, "reserved": 0}
    }
    assert await hantar.drifting() == []


async def test_a_message_that_went_is_not_cancellable(hantar: Hantar, account: Account) -> None:
    answer = await hantar.post("/messages/send", account, {"phone": "0123456789", "body": "Hi"})
    message_id = answer.json["data"]["id"]
    await hantar.until(account, message_id, "delivered")
    check_problem(await cancel(hantar, account, message_id), 409, "not_cancellable")


async def test_what_is_another_accounts_or_has_a_body_is_refused(
    hantar: Hantar, account: Account
) -> None:
    message_id = await scheduled(hantar, await hantar.account())
    check_problem(await cancel(hantar, account, message_id), 404, "not_found")
    mine = await scheduled(hantar, account)
    answer = await hantar.post(f"/messages/{mine}/cancel", account, {"reason": "x"})
    check_problem(answer, 422, "validation_failed", "body")
    assert (await hantar.message(account, mine))["status"] == "scheduled"


async def test_each_of_many_is_either_cancelled_or_called(hantar: Hantar) -> None:
    """Cancelled at once, all of them race with the dispatcher."""
    account = await hantar.account(per_second=20.0)
    bulk = {"messages": [{"phone": f"01234560{n:02}", "body": "Hi"} for n in range(30)]}
    ids = [
        item["id"] for item in (await hantar.post("/messages/bulk", account, bulk)).json["queued"]
    ]
    answers = await asyncio.gather(*(cancel(hantar, account, id_) for id_ in ids))
    for id_, answer in zip(ids, answers, strict=True):
        assert answer.status in (200, 409)
        if answer.status == 409:
            await hantar.until(account, id_, "delivered")
        assert len(await calls_of(hantar.pool, [id_])) == (answer.status == 409)
    assert await hantar.drifting() == []


async def test_the_ledger_tells_every_movement(hantar: Hantar, account: Account) -> None:
    message_id = await scheduled(hantar, account)
    await cancel(hantar, account, message_id)
    entries = (await hantar.get("/credits/ledger", account)).json["data"]
    assert [
        (
            entry["type"],
            entry["amount"],
            entry["count"],
            entry["message_id"],
            entry["balance_after"],
        )
        for entry in entries
    ] == [
        ("release", 1, 1, message_id, 1000),
        ("reserve", -1, 1, message_id, 999),
        ("grant", 1000, 1000, None, 1000),
    ]
    assert entries[-1]["note"] == "test"


async def test_me_tells_account_and_key(hantar: Hantar) -> None:
    account = await hantar.account(verified=False, credits=7)
    me = (await hantar.get("/me", account)).json["data"]
    assert me["account"]["id"] == account.id
    assert (me["account"]["email_verified"], me["account"]["balance"]) == (False, 7)
    assert (me["key"]["name"], me["key"]["expires_at"]) == ("test", None)
