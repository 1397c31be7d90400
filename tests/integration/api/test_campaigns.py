"""Campaigns: made, paid for, worked off, seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.checks import check_problem, nothing_done
from tests.integration.dispatch.calls import in_seconds
from tests.system import Account, Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = {"name": "June promo", "body": "Salam {{name|there}}!"}


async def make(hantar: Hantar, account: Account, **body: Any) -> Any:
    answer = await hantar.post("/campaigns", account, {**BODY, **body})
    assert answer.status == 201, answer.json
    return answer.json["data"]


async def seen(hantar: Hantar, account: Account, campaign_id: int) -> Any:
    return (await hantar.get(f"/campaigns/{campaign_id}", account)).json["data"]


async def until(hantar: Hantar, account: Account, campaign_id: int, status: str) -> Any:
    async def look() -> Any:
        campaign = await seen(hantar, account, campaign_id)
        return campaign if campaign["status"] == status else None

    return await eventually(look)


async def contact(hantar: Hantar, account: Account, phone: str, **fields: Any) -> int:
    answer = await hantar.post("/contacts", account, {"phone": phone, **fields})
    made: int = answer.json["data"]["id"]
    return made


async def group(hantar: Hantar, account: Account, *contact_ids: int) -> int:
    made: int = (await hantar.post("/contact-groups", account, {"name": "G"})).json["data"]["id"]
    if contact_ids:
        body = {"contact_ids": contact_ids}
        assert (await hantar.post(f"/contact-groups/{made}/contacts", account, body)).status == 200
    return made


async def messages(hantar: Hantar, account: Account, campaign_id: int) -> dict[str, Any]:
    """The messages of a campaign by their phones, which are all different."""
    answer = await hantar.get(f"/messages?campaign_id={campaign_id}&per_page=100", account)
    found = {message["phone"]: message for message in answer.json["data"]}
    assert len(found) == answer.json["meta"]["total"]
    return found


@pytest.mark.row("5.5-82")
async def test_recipients_are_the_union_once_each(hantar: Hantar, account: Account) -> None:
    ali = await contact(hantar, account, "0123000001", name="Ali")
    sara = await contact(hantar, account, "0123000002", name="Sara")
    mei = await contact(hantar, account, "0123000003", name="Mei", opted_out=True)
    made = await make(
        hantar,
        account,
        contact_group_id=await group(hantar, account, ali, mei),
        contact_ids=[ali, sara, sara],
        recipients=[
            {"phone": "012-300 0002"},
            {"phone": "0123000004", "name": "Raju"},
            {"phone": "+60123000004"},
            {"phone": "12"},
        ],
    )
    assert (made["status"], made["counts"]["total"]) == ("dispatching", 7)
    assert made["credits"] == {"reserved": 3, "settled": 0, "released": 0}
    assert await hantar.balance(account) == 997
    done = await until(hantar, account, made["id"], "completed")
    assert done["counts"]["skipped"] == 4
    assert (done["progress"], done["eta"]) == (1.0, None)
    answer = await hantar.get(f"/messages?campaign_id={made['id']}", account)
    found = sorted(
        (message["phone"], (message["error"] or {}).get("code", message["body"]))
        for message in answer.json["data"]
    )
    assert found == [
        ("+60123000001", "Salam Ali!"),
        ("+60123000002", "Salam Sara!"),
        ("+60123000002", "duplicate"),
        ("+60123000003", "opted_out"),
        ("+60123000004", "Salam Raju!"),
        ("+60123000004", "duplicate"),
        ("12", "invalid_phone"),
    ]
    assert await hantar.drifting() == []


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
    assert (answer.status, answer.json["data"]) == (200, [])


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


async def test_a_repeated_key_makes_one_campaign(hantar: Hantar, account: Account) -> None:
    body = {**BODY, "recipients": [{"phone": "0123000001"}]}
    headers = {"Idempotency-Key": "june"}
    first = await hantar.post("/campaigns", account, body, headers=headers)
    again = await hantar.post("/campaigns", account, body, headers=headers)
    assert (again.status, again.json) == (201, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await hantar.post("/campaigns", account, {**body, "name": "X"}, headers=headers)
    check_problem(other, 422, "idempotency_key_reused")
    assert (await hantar.get("/campaigns", account)).json["meta"]["total"] == 1
    assert await hantar.balance(account) == 999


async def test_a_preview_tells_cost_skips_and_time_and_does_nothing(hantar: Hantar) -> None:
    account = await hantar.account(per_second=2.0)
    ids = [await contact(hantar, account, f"01230000{n:02}", name=f"P{n}") for n in range(10)]
    nameless = await contact(hantar, account, "0123000099", attributes={"name": "hidden"})
    in_group = await group(hantar, account, *ids, nameless)
    body = {
        "body": "Hi {{name}} of {{city|KL}}",
        "missing_variables": "skip",
        "contact_group_id": in_group,
        "recipients": [
            {"phone": "0123000001"},
            {"phone": "bad"},
            {"phone": "0124000000"},
            {"phone": "0124000001", "name": "Raju"},
        ],
    }
    async with nothing_done(hantar, account):
        preview = (await hantar.post("/campaigns/preview", account, body)).json["data"]
    assert preview.pop("finishes_at") > in_seconds(0)
    assert preview == {
        "recipients": 11,
        "skipped": {"duplicate": 1, "invalid_phone": 1, "missing_variables": 2},
        "cost": 11,
        "balance": 1000,
        "duration_seconds": 5,
    }
    made = await make(hantar, account, **body)
    assert (made["counts"]["queued"], made["counts"]["skipped"]) == (11, 4)
    assert in_seconds(-60) < made["eta"] < in_seconds(60)


async def test_edits_after_it_was_made_change_nothing(hantar: Hantar, account: Account) -> None:
    """Of group, template and contacts; only an opt-out counts, and a contact must be there."""
    ids = [
        await contact(hantar, account, f"012300000{n}", name=f"P{n}", attributes={"city": "Ipoh"})
        for n in range(5)
    ]
    in_group = await group(hantar, account, *ids[:4])
    template = {"name": "Offer", "body": "Hi {{name}} of {{city}}"}
    template_id = (await hantar.post("/templates", account, template)).json["data"]["id"]
    made = await make(
        hantar,
        account,
        body=None,
        message_template_id=template_id,
        contact_group_id=in_group,
        send_at=in_seconds(2),
        reference="june-1",
    )
    assert (made["status"], made["counts"]["scheduled"], made["started_at"]) == (
        "scheduled",
        4,
        None,
    )
    path = f"/api/v1/contact-groups/{in_group}/contacts"
    await hantar.call("DELETE", f"{path}/{ids[0]}", account)
    await hantar.call("POST", path, account, json={"contact_ids": [ids[4]]})
    await hantar.call("DELETE", f"/api/v1/templates/{template_id}", account)
    change = {"name": "Somebody", "phone": "0129999999", "attributes": {"city": "KL"}}
    await hantar.call("PATCH", f"/api/v1/contacts/{ids[1]}", account, json=change)
    await hantar.call("PATCH", f"/api/v1/contacts/{ids[2]}", account, json={"opted_out": True})
    await hantar.call("DELETE", f"/api/v1/contacts/{ids[3]}", account)
    done = await until(hantar, account, made["id"], "completed")
    assert (done["template"]["body"], done["body"]) == (template["body"], template["body"])
    assert done["started_at"] >= made["send_at"]
    found = await messages(hantar, account, made["id"])
    assert {
        phone: (message["error"] or {}).get("code", message["body"])
        for phone, message in found.items()
    } == {
        "+60123000000": "Hi P0 of Ipoh",
        "+60123000001": "Hi P1 of Ipoh",
        "+60123000002": "opted_out",
        "+60123000003": "contact_deleted",
    }
    assert {message["reference"] for message in found.values()} == {"june-1"}
    assert {message["template_id"] for message in found.values()} == {template_id}
    assert found["+60123000003"]["credit"] == "released"

    async def settled() -> bool:
        credits = (await seen(hantar, account, made["id"]))["credits"]
        return bool(credits == {"reserved": 0, "settled": 2, "released": 2})

    await eventually(settled)
    assert await hantar.balance(account) == 998
    assert await hantar.drifting() == []


async def test_what_nobody_paid_for_has_no_credit(hantar: Hantar, account: Account) -> None:
    who = [{"phone": "0123000001"}, {"phone": "a\0b"}]
    made = await make(hantar, account, recipients=who)
    await until(hantar, account, made["id"], "completed")
    found = await messages(hantar, account, made["id"])
    assert (found["ab"]["status"], found["ab"]["credit"]) == ("skipped", None)
    assert found["ab"]["error"]["code"] == "invalid_phone"


async def test_a_value_that_makes_the_text_too_long_skips_its_recipient(
    hantar: Hantar, account: Account
) -> None:
    who = [{"phone": "0123000001", "attributes": {"a": "x" * 1024}}, {"phone": "0123000002"}]
    made = await make(hantar, account, body="{{a}}" * 5 + "Hi", recipients=who)
    await until(hantar, account, made["id"], "completed")
    found = await messages(hantar, account, made["id"])
    assert found["+60123000001"]["error"]["code"] == "invalid_body"
    assert (found["+60123000001"]["credit"], len(found["+60123000001"]["body"])) == (
        "released",
        4096,
    )
    assert found["+60123000002"]["body"] == "Hi"


async def test_events_tell_each_status(hantar: Hantar, account: Account) -> None:
    await hantar.pool.execute(
        "INSERT INTO webhook_endpoints (account_id, url, events, secret, is_active) "
        "VALUES ($1, 'https://example.com/', '{campaign.*}', '', true)",
        account.id,
    )
    made = await make(hantar, account, recipients=[{"phone": "0123000001"}], send_at=in_seconds(60))
    for move in ("pause", "resume", "cancel"):
        path = f"/api/v1/campaigns/{made['id']}/{move}"
        assert (await hantar.call("POST", path, account)).status == 200
    expected = ["campaign.scheduled", "campaign.paused", "campaign.scheduled", "campaign.cancelled"]

    async def told() -> Any:
        rows = await hantar.pool.fetch(
            "SELECT type FROM webhook_deliveries d JOIN webhook_endpoints e "
            "ON e.id = d.endpoint_id WHERE e.account_id = $1",
            account.id,
        )
        return sorted(row["type"] for row in rows) == sorted(expected)

    await eventually(told)
