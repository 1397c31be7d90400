"""A key makes a POST safe to repeat: one effect, one answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from service.store import accounts
from tests.integration.api.checks import check_problem, nothing_done
from tests.system import Account, Answer, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"phone": "0123456789", "body": "hello"}
OTHER = {"phone": "0123456789", "body": "other"}


async def post(
    hantar: Hantar, account: Account, body: Any, *, key: str = "key", to: str = "send"
) -> Answer:
    return await hantar.post(f"/messages/{to}", account, body, headers={"Idempotency-Key": key})


def replayed(answer: Answer) -> bool:
    return CIMultiDict(answer.headers).get("Idempotent-Replayed") == "true"


async def rows(hantar: Hantar, account: Account) -> int:
    found: int = await hantar.pool.fetchval(
        "SELECT count(*) FROM messages WHERE account_id = $1", account.id
    )
    return found


@pytest.mark.parametrize("to", ["send", "bulk"])
async def test_a_repetition_gets_the_same_answer(hantar: Hantar, account: Account, to: str) -> None:
    body = GOOD if to == "send" else {"messages": [GOOD, {**GOOD, "phone": "x"}]}
    first = await post(hantar, account, body, to=to)
    assert first.status == 202
    assert not replayed(first)
    for _ in range(3):
        again = await post(hantar, account, body, to=to)
        assert (again.status, again.json) == (202, first.json)
        assert replayed(again)
    assert await rows(hantar, account) == 1
    assert await hantar.balance(account) == 999


async def test_fifty_at_once_have_one_effect(hantar: Hantar, account: Account) -> None:
    for to, body in (("send", GOOD), ("bulk", {"messages": [OTHER]})):
        before = await rows(hantar, account)
        answers = await asyncio.gather(
            *(post(hantar, account, body, key=f"at-once-{to}", to=to)
              for _ in range(50))
        )  # fmt: skip
        counted = Counter(answer.status for answer in answers)
        assert counted.keys() <= {202, 409}
        made = [answer for answer in answers if answer.status == 202]
        assert len([answer for answer in made if not replayed(answer)]) == 1
        assert all(answer.json == made[0].json for answer in made)
        for answer in answers:
            if answer.status == 409:
                check_problem(answer, 409, "idempotency_in_progress")
        assert await rows(hantar, account) == before + 1
    assert await hantar.balance(account) == 998


async def test_while_the_first_runs_others_are_told_to_come_again(
    hantar: Hantar, account: Account
) -> None:
    async with hantar.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('key', $1))", account.id
        )
        async with nothing_done(hantar, account):
            answer = await post(hantar, account, GOOD)
            check_problem(answer, 409, "idempotency_in_progress")
            assert CIMultiDict(answer.headers)["Retry-After"] == "1"
    assert (await post(hantar, account, GOOD)).status == 202


async def test_the_order_of_keys_and_white_space_do_not_matter(
    hantar: Hantar, account: Account
) -> None:
    headers = {"Idempotency-Key": "key", "Content-Type": "application/json"}
    answers = [
        await hantar.call("POST", "/api/v1/messages/send", account, data=raw, headers=headers)
        for raw in (
            b'{"phone":"0123456789","body":"hello"}',
            b' { "body" : "hell\\u006f", "phone" : "0123456789" }\r\n',
        )
    ]
    assert [replayed(answer) for answer in answers] == [False, True]
    assert answers[0].json == answers[1].json


async def test_another_body_or_operation_is_422(hantar: Hantar, account: Account) -> None:
    assert (await post(hantar, account, GOOD)).status == 202
    for to, body in (
        ("send", OTHER),
        ("send", {**GOOD, "reference": None}),
        ("bulk", {"messages": [GOOD]}),
    ):
        answer = await post(hantar, account, body, to=to)
        check_problem(answer, 422, "idempotency_key_reused", "Idempotency-Key")
    assert await rows(hantar, account) == 1
    assert await hantar.balance(account) == 999


async def test_a_key_belongs_to_one_account(hantar: Hantar, account: Account) -> None:
    stranger = await hantar.account()
    first = await post(hantar, account, GOOD)
    other = await post(hantar, stranger, OTHER)
    assert (first.status, other.status) == (202, 202)
    assert not replayed(other)
    assert first.json["data"]["id"] != other.json["data"]["id"]


async def test_keys_differ_in_case(hantar: Hantar, account: Account) -> None:
    assert (await post(hantar, account, GOOD, key="key")).status == 202
    answer = await post(hantar, account, OTHER, key="KEY")
    assert (answer.status, replayed(answer)) == (202, False)


async def test_only_success_is_kept(hantar: Hantar) -> None:
    account = await hantar.account(credits=0)
    check_problem(await post(hantar, account, {**GOOD, "phone": "x"}), 422, "invalid_phone")
    check_problem(await post(hantar, account, GOOD), 402, "insufficient_credits")
    async with hantar.pool.acquire() as connection:
        await accounts.grant(connection, account.id, 5, "test")
    answer = await post(hantar, account, GOOD)
    assert (answer.status, replayed(answer)) == (202, False)


async def test_an_answer_is_forgotten_after_its_day(hantar: Hantar, account: Account) -> None:
    first = await post(hantar, account, GOOD)
    kept = await hantar.pool.fetchval(
        "SELECT expires_at - now() FROM idempotency WHERE account_id = $1", account.id
    )
    assert timedelta(hours=23, minutes=59) < kept <= timedelta(hours=24)
    await hantar.pool.execute(
        "UPDATE idempotency SET expires_at = now() WHERE account_id = $1", account.id
    )
    second = await post(hantar, account, GOOD)
    assert (second.status, replayed(second)) == (202, False)
    assert second.json["data"]["id"] != first.json["data"]["id"]
    assert (await post(hantar, account, GOOD)).json == second.json


async def test_a_repetition_may_come_when_its_time_has_passed(
    hantar: Hantar, account: Account
) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=0.5)
    body = {**GOOD, "expires_at": expires_at.isoformat()}
    first = await post(hantar, account, body, key="send")
    bulk = await post(hantar, account, {"messages": [body]}, key="bulk", to="bulk")
    assert (first.status, bulk.status) == (202, 202)
    late = "SELECT pg_sleep(extract(epoch FROM $1::timestamptz - clock_timestamp()) + 0.05)"
    await hantar.pool.execute(late, expires_at)
    check_problem(await hantar.post("/messages/send", account, body), 422, "validation_failed")
    again = await post(hantar, account, body, key="send")
    assert (again.status, again.json) == (202, first.json)
    again = await post(hantar, account, {"messages": [body]}, key="bulk", to="bulk")
    assert (again.status, again.json) == (202, bulk.json)


@pytest.mark.parametrize(
    "item",
    [
        b'{"a":"\\ud800"}',
        b'{"a":1e999}',
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":-1e400}',
        b'{"a":' + b"[" * 260 + b"]" * 260 + b"}",
        b'{"a":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
async def test_a_bulk_with_an_unreadable_item_can_be_repeated(
    hantar: Hantar, account: Account, item: bytes
) -> None:
    headers = {"Idempotency-Key": "key", "Content-Type": "application/json"}
    raw = b'{"messages":[' + item + b',{"phone":"0123456789","body":"hello"}]}'
    first, again = [
        await hantar.call("POST", "/api/v1/messages/bulk", account, data=raw, headers=headers)
        for _ in range(2)
    ]
    assert (first.status, again.status) == (202, 202)
    assert first.json == again.json
    assert replayed(again)
    assert await rows(hantar, account) == 1
