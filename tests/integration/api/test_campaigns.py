"""Campaigns: made, paid for, worked off, seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.campaigns import BODY, contact, group, make, messages, seen, until
from tests.integration.api.checks import check_problem, nothing_done
from tests.integration.dispatch.calls import in_seconds
from tests.system import Account, Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


async def test_a_device_that_needs_centuries_is_no_reason_to_show_nothing(
    hantar: Hantar, account: Account
) -> None:
    recipients = [{"phone": f"+6012{2_000_000 + n:07}"} for n in range(1000)]
    await make(hantar, account, recipients=recipients, send_at=in_seconds(86_400))
    slow = {
        "limits": {"jitter_seconds": 86_400},
        "quiet_hours": {"start": "00:00", "end": "23:59"},
    }
    path = f"/api/v1/devices/{account.device_id}"
    assert (await hantar.call("PATCH", path, account, json=slow)).status == 200
    [shown] = (await hantar.get("/campaigns", account)).json["data"]
    assert shown["eta"] > "2125"


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
