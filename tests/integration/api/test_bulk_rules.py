"""Bulks: items stand each for itself, credits for all of them together."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from tests.integration.api.checks import check_problem, nothing_done
from tests.integration.api.wire import BODY, JSON, SEND, exchange, length, request
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"phone": "0123456789", "body": "hello"}


def items(count: int) -> list[dict[str, Any]]:
    """So many sound items, no two alike."""
    return [{**GOOD, "body": f"hello {place}"} for place in range(count)]


@pytest.mark.row("5.5-75")
@pytest.mark.parametrize("count", [0, 1001, 5000])
async def test_no_items_or_more_than_a_thousand_are_422(
    hantar: Hantar, account: Account, count: int
) -> None:
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/bulk", account, {"messages": items(count)})
        check_problem(answer, 422, "validation_failed", "messages")


@pytest.mark.row("5.5-75")
async def test_a_thousand_items_are_queued(hantar: Hantar, account: Account) -> None:
    answer = await hantar.post("/messages/bulk", account, {"messages": items(1000)})
    assert answer.status == 202
    assert [item["index"] for item in answer.json["queued"]] == list(range(1000))
    assert answer.json["rejected"] == []
    assert answer.json["credits"] == {"charged": 1000, "balance": 0}
    assert len({item["id"] for item in answer.json["queued"]}) == 1000


@pytest.mark.row("5.5-76")
@pytest.mark.parametrize("messages", [None, {}, {"0": GOOD}, "x", 1, True])
async def test_messages_that_are_no_array_are_422(
    hantar: Hantar, account: Account, messages: Any
) -> None:
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/bulk", account, {"messages": messages})
        check_problem(answer, 422, "validation_failed", "messages")


@pytest.mark.row("5.5-76")
async def test_missing_messages_are_422(hantar: Hantar, account: Account) -> None:
    async with nothing_done(hantar, account):
        for body in ({}, {"body": "hello"}, {"save_contact": True}):
            answer = await hantar.post("/messages/bulk", account, body)
            check_problem(answer, 422, "validation_failed", "messages")


@pytest.mark.row("5.5-76", "5.5-78", "5.5-79")
@pytest.mark.parametrize("item", [None, 1, "x", [], {}, {"phone": "x", "body": "y"}])
async def test_a_thousand_faulty_items_are_422_with_each_of_them(
    hantar: Hantar, account: Account, item: Any
) -> None:
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/bulk", account, {"messages": [item] * 1000})
        problem = check_problem(answer, 422, "validation_failed")
    assert problem["queued"] == []
    assert [each["index"] for each in problem["rejected"]] == list(range(1000))
    assert all(each.keys() == {"index", "phone", "code", "detail"} for each in problem["rejected"])
    assert len(problem["errors"]) == 1000


@pytest.mark.row("5.5-77")
async def test_the_same_phone_and_text_are_queued_once(hantar: Hantar, account: Account) -> None:
    alike = [GOOD, {**GOOD, "phone": "+60 12-345 6789"}, {**GOOD, "name": "Ali"}]
    other = [{**GOOD, "body": "hello!"}, {**GOOD, "phone": "0198887777"}]
    answer = await hantar.post("/messages/bulk", account, {"messages": [*alike, *other]})
    assert answer.status == 202
    assert [item["index"] for item in answer.json["queued"]] == [0, 3, 4]
    assert [(item["index"], item["code"]) for item in answer.json["rejected"]] == [
        (1, "duplicate"),
        (2, "duplicate"),
    ]
    assert answer.json["credits"] == {"charged": 3, "balance": 997}


@pytest.mark.row("5.5-78", "5.5-79")
async def test_one_sound_item_among_a_thousand_is_queued(hantar: Hantar, account: Account) -> None:
    messages: list[dict[str, Any]] = [{"phone": "nonsense", "body": "hello"}] * 1000
    messages[617] = GOOD
    answer = await hantar.post("/messages/bulk", account, {"messages": messages})
    assert answer.status == 202
    assert [item["index"] for item in answer.json["queued"]] == [617]
    assert [item["index"] for item in answer.json["rejected"]] == [
        *range(617),
        *range(618, 1000),
    ]
    assert answer.json["credits"] == {"charged": 1, "balance": 999}


@pytest.mark.row("5.5-79")
async def test_each_item_keeps_its_index_and_faults_are_told_apart(
    hantar: Hantar, account: Account
) -> None:
    mixed: list[Any] = [
        {**GOOD, "phone": "12"},
        GOOD,
        None,
        {**GOOD, "body": ""},
        {**GOOD, "colour": "red"},
        {**GOOD, "phone": "0198887777"},
        {**GOOD, "device": 999_999_999},
        GOOD,
        {**GOOD, "template_id": 999_999_999, "body": None},
    ]
    answer = await hantar.post("/messages/bulk", account, {"messages": mixed})
    assert answer.status == 202
    assert [(item["index"], item["phone"]) for item in answer.json["queued"]] == [
        (1, "+60123456789"),
        (5, "+60198887777"),
    ]
    rejected = [(item["index"], item["phone"], item["code"]) for item in answer.json["rejected"]]
    assert rejected == [
        (0, "12", "invalid_phone"),
        (2, None, "validation_failed"),
        (3, "0123456789", "validation_failed"),
        (4, "0123456789", "unknown_field"),
        (6, "+60123456789", "validation_failed"),
        (7, "+60123456789", "duplicate"),
        (8, "+60123456789", "validation_failed"),
    ]
    ids = [item["id"] for item in answer.json["queued"]]
    rows = await hantar.pool.fetch("SELECT id, phone FROM messages WHERE id = ANY($1)", ids)
    assert {row["id"]: row["phone"] for row in rows} == {
        item["id"]: item["phone"] for item in answer.json["queued"]
    }


@pytest.mark.row("5.5-80")
async def test_credits_for_some_of_the_items_queue_none(hantar: Hantar) -> None:
    account = await hantar.account(credits=400)
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/bulk", account, {"messages": items(1000)})
        check_problem(answer, 402, "insufficient_credits")
    assert (await hantar.get("/messages", account)).json["data"] == []


@pytest.mark.row("5.5-81")
async def test_who_opted_out_is_rejected_and_not_charged(hantar: Hantar, account: Account) -> None:
    await hantar.pool.execute(
        "INSERT INTO contacts (account_id, phone, opted_out_at) VALUES ($1, $2, now())",
        account.id,
        "+60123456789",
    )
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, GOOD)
        check_problem(answer, 422, "opted_out", "phone")
    bulk = {"messages": [{**GOOD, "name": "Ali"}, {**GOOD, "phone": "0198887777"}]}
    answer = await hantar.post("/messages/bulk", account, bulk)
    assert answer.status == 202
    assert [item["phone"] for item in answer.json["queued"]] == ["+60198887777"]
    [rejected] = answer.json["rejected"]
    assert (rejected["index"], rejected["code"]) == (0, "opted_out")
    assert answer.json["credits"] == {"charged": 1, "balance": 999}


@pytest.mark.row("5.5-85")
@pytest.mark.parametrize("key", ["", "x" * 256, "x" * 300, "a b", "a\tb", "schlüssel", "鍵"])
async def test_a_key_that_is_no_key_is_400(hantar: Hantar, account: Account, key: str) -> None:
    async with nothing_done(hantar, account):
        for path, body in (("send", GOOD), ("bulk", {"messages": [GOOD]})):
            answer = await hantar.post(
                f"/messages/{path}", account, body, headers={"Idempotency-Key": key}
            )
            check_problem(answer, 400, "invalid_idempotency_key")


@pytest.mark.row("5.5-85")
async def test_two_keys_are_400(hantar: Hantar, account: Account) -> None:
    lines = (b"Idempotency-Key: one", b"Idempotency-Key: one")
    async with nothing_done(hantar, account):
        data = request(account, SEND, JSON, length(BODY), *lines, body=BODY)
        check_problem(await exchange(hantar, data), 400, "invalid_idempotency_key")


@pytest.mark.row("5.5-85")
@pytest.mark.parametrize("key", ["x" * 255, "!~", "a,b", '"quoted"', "0"])
async def test_any_visible_ascii_is_a_key(hantar: Hantar, account: Account, key: str) -> None:
    for replayed in (None, "true"):
        answer = await hantar.post(
            "/messages/send", account, GOOD, headers={"Idempotency-Key": key}
        )
        assert answer.status == 202
        assert CIMultiDict(answer.headers).get("Idempotent-Replayed") == replayed
