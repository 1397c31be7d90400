"""Campaigns that are refused, and that others do not see."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.campaigns import BODY, contact, group, make, until
from tests.integration.api.checks import check_problem, nothing_done
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.row("5.5-82")
async def test_without_anybody_to_send_to_there_is_no_campaign(
    hantar: Hantar, account: Account
) -> None:
    gone = await contact(hantar, account, "0123000001", opted_out=True)
    empty = await group(hantar, account)
    cases: list[dict[str, Any]] = [
        {},
        {"contact_group_id": empty},
        {"contact_ids": []},
        {"recipients": []},
        {"contact_ids": [gone], "recipients": [{"phone": "1"}, {"phone": "0123000001"}]},
        {"recipients": [{"phone": "0123000009"}], "body": "{{x}}", "missing_variables": "skip"},
    ]
    for who in cases:
        async with nothing_done(hantar, account):
            check_problem(
                await hantar.post("/campaigns", account, {**BODY, **who}), 422, "no_recipients"
            )
        preview = await hantar.post("/campaigns/preview", account, {**BODY, **who})
        assert preview.json["data"]["recipients"] == 0
    assert await hantar.pool.fetchval("SELECT count(*) FROM campaign_chunks") == 0


@pytest.mark.row("5.5-83", "5.4-71")
async def test_the_text_is_a_body_or_an_active_template(hantar: Hantar, account: Account) -> None:
    template = {"name": "Offer", "body": "Hi {{name}}"}
    active = (await hantar.post("/templates", account, template)).json["data"]["id"]
    idle = (await hantar.post("/templates", account, {**template, "is_active": False})).json
    who = {"name": "N", "recipients": [{"phone": "0123000001"}]}
    for fields, field in (
        ({"body": "Hi", "message_template_id": active}, "body"),
        ({"body": "Hi", "template_id": active}, "body"),
        ({}, "body"),
        ({"body": ""}, "body"),
        ({"body": "  "}, "body"),
        ({"body": "Hi {{name"}, "body"),
        ({"body": "Hi {{{name}}}"}, "body"),
        ({"body": "x" * 4097}, "body"),
        ({"message_template_id": active, "template_id": idle["data"]["id"]}, "template_id"),
        ({"message_template_id": idle["data"]["id"]}, "message_template_id"),
        ({"template_id": idle["data"]["id"]}, "template_id"),
        ({"template_id": 999_999}, "template_id"),
    ):
        async with nothing_done(hantar, account):
            for path in ("/campaigns", "/campaigns/preview"):
                answer = await hantar.post(path, account, {**who, **fields})
                check_problem(answer, 422, "validation_failed", field)


@pytest.mark.row("5.5-84")
async def test_ids_that_are_none_are_refused(hantar: Hantar, account: Account) -> None:
    mine = await contact(hantar, account, "0123000001")
    foreign = await contact(hantar, await hantar.account(), "0123000002")
    for ids, field in (
        ([mine, foreign], "contact_ids.1"),
        ([999_999], "contact_ids.0"),
        ([str(mine)], "contact_ids.0"),
        ([0], "contact_ids.0"),
        ([mine, None], "contact_ids.1"),
        (str(mine), "contact_ids"),
        (list(range(1, 100_001)), "contact_ids"),
    ):
        async with nothing_done(hantar, account):
            answer = await hantar.post("/campaigns", account, {**BODY, "contact_ids": ids})
            check_problem(answer, 422, "validation_failed", field)
    made = await make(hantar, account, contact_ids=[mine] * 5)
    assert made["counts"]["total"] == 1
    assert await hantar.balance(account) == 999


@pytest.mark.row("5.2-45")
async def test_a_contact_that_was_deleted_cannot_be_named(hantar: Hantar, account: Account) -> None:
    gone = await contact(hantar, account, "0123000001")
    in_group = await group(hantar, account, gone)
    assert (await hantar.call("DELETE", f"/api/v1/contacts/{gone}", account)).status == 204
    answer = await hantar.post("/campaigns", account, {**BODY, "contact_ids": [gone]})
    check_problem(answer, 422, "validation_failed", "contact_ids.0")
    answer = await hantar.post("/campaigns", account, {**BODY, "contact_group_id": in_group})
    check_problem(answer, 422, "no_recipients")


@pytest.mark.row("5.2-34")
async def test_what_is_another_accounts_cannot_be_used(hantar: Hantar, account: Account) -> None:
    stranger = await hantar.account()
    theirs = await group(hantar, stranger, await contact(hantar, stranger, "0123000001"))
    template = {"name": "Offer", "body": "Hi"}
    template_id = (await hantar.post("/templates", stranger, template)).json["data"]["id"]
    who = {"recipients": [{"phone": "0123000002"}]}
    for fields, field in (
        ({**BODY, "contact_group_id": theirs}, "contact_group_id"),
        ({"name": "N", "message_template_id": template_id}, "message_template_id"),
        ({**BODY, "device": stranger.device_id}, "device"),
    ):
        async with nothing_done(hantar, account):
            answer = await hantar.post("/campaigns", account, {**who, **fields})
            check_problem(answer, 422, "validation_failed", field)
    made = await make(hantar, stranger, contact_group_id=theirs)
    await until(hantar, stranger, made["id"], "completed")
    answer = await hantar.get(f"/messages?campaign_id={made['id']}", account)
    check_problem(answer, 404, "not_found")


@pytest.mark.row("5.2-33")
async def test_another_accounts_campaign_is_not_there(hantar: Hantar, account: Account) -> None:
    made = await make(hantar, account, recipients=[{"phone": "0123000001"}])
    stranger = await hantar.account()
    nowhere = await hantar.get("/campaigns/999999999", stranger)
    answer = await hantar.get(f"/campaigns/{made['id']}", stranger)
    check_problem(answer, 404, "not_found")
    assert answer.json["detail"] == nowhere.json["detail"]
    for move in ("pause", "resume", "cancel"):
        path = f"/api/v1/campaigns/{made['id']}/{move}"
        check_problem(await hantar.call("POST", path, stranger), 404, "not_found")
    assert (await hantar.get("/campaigns", stranger)).json["data"] == []
    assert (await until(hantar, account, made["id"], "completed"))["counts"]["delivered"] >= 0


@pytest.mark.row("5.2-32")
async def test_only_to_make_one_needs_a_verified_email(hantar: Hantar) -> None:
    account = await hantar.account(verified=False)
    body = {**BODY, "recipients": [{"phone": "0123000001"}]}
    async with nothing_done(hantar, account):
        check_problem(await hantar.post("/campaigns", account, body), 403, "email_unverified")
    assert (await hantar.post("/campaigns/preview", account, body)).status == 200
    assert (await hantar.get("/campaigns", account)).status == 200


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"name": ""}, "validation_failed", "name"),
        ({"name": None}, "validation_failed", "name"),
        ({"name": "n" * 256}, "validation_failed", "name"),
        ({"name": "a\0b"}, "validation_failed", "name"),
        ({"reference": "r" * 256}, "validation_failed", "reference"),
        ({"recipients": [{"phone": 123000001}]}, "validation_failed", "recipients.0.phone"),
        ({"recipients": [{"name": "Ali"}]}, "validation_failed", "recipients.0.phone"),
        ({"recipients": [{"phone": "0123000001", "name": "\0"}]}, "validation_failed",
         "recipients.0.name"),
        ({"recipients": [{"phone": "0123000001", "attributes": {"a b": 1}}]}, "validation_failed",
         "recipients.0.attributes"),
        ({"recipients": [{"phone": "0123000001", "body": "x"}]}, "unknown_field",
         "recipients.0.body"),
        ({"recipients": [{"phone": "0123000001"}] * 10_001}, "validation_failed", "recipients"),
        ({"missing_variables": "fail"}, "validation_failed", "missing_variables"),
        ({"priority": "urgent"}, "validation_failed", "priority"),
        ({"device": 999_999}, "validation_failed", "device"),
        ({"send_at": "2020-01-01T00:00:00Z"}, "validation_failed", "send_at"),
        ({"send_at": "2026-11-25"}, "validation_failed", "send_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "validation_failed", "expires_at"),
        ({"status": "completed"}, "unknown_field", "status"),
        ({"account_id": 1}, "unknown_field", "account_id"),
        ({"save_contact": True}, "unknown_field", "save_contact"),
    ],
)  # fmt: skip
async def test_faults_are_named(
    hantar: Hantar, account: Account, fields: dict[str, Any], code: str, field: str
) -> None:
    body = {**BODY, "recipients": [{"phone": "0123000001"}], **fields}
    async with nothing_done(hantar, account):
        check_problem(await hantar.post("/campaigns", account, body), 422, code, field)


async def test_the_whole_is_paid_for_or_nothing(hantar: Hantar) -> None:
    account = await hantar.account(credits=2)
    who = [{"phone": f"012300000{n}"} for n in range(3)]
    async with nothing_done(hantar, account):
        answer = await hantar.post("/campaigns", account, {**BODY, "recipients": who})
        check_problem(answer, 402, "insufficient_credits")
    preview = (await hantar.post("/campaigns/preview", account, {**BODY, "recipients": who})).json
    assert (preview["data"]["cost"], preview["data"]["balance"]) == (3, 2)
    made = await make(hantar, account, recipients=[*who[:2], {"phone": "x"}])
    assert (made["counts"]["total"], made["credits"]["reserved"]) == (3, 2)
    assert await hantar.balance(account) == 0


async def test_without_a_device_there_is_no_campaign(hantar: Hantar) -> None:
    account = await hantar.account(device=False)
    body = {**BODY, "recipients": [{"phone": "0123000001"}]}
    check_problem(await hantar.post("/campaigns", account, body), 422, "no_device")
