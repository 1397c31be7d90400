"""The API page, sentence by sentence and with its own bodies; each test is named after one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.api.campaigns import contact, group, seen, until
from tests.integration.api.checks import check_problem
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEND = {
    "phone": "0123456789",
    "body": "Hello from the API!",
    "name": "Ali",
    "external_id": "crm-42",
    "save_contact": True,
}
BULK = {
    "messages": [
        {"phone": "0123456789", "body": "Hi Ali"},
        {"phone": "0198887777", "body": "Hi Sara", "name": "Sara"},
    ]
}
CONTACT = {
    "phone": "0123456789",
    "name": "Ali",
    "external_id": "crm-42",
    "attributes": {"plan": "gold"},
}
TEMPLATE = {"name": "Welcome", "body": "Salam {{name}}, welcome aboard!", "is_active": True}


async def test_every_request_authenticates_with_a_bearer_token(hantar: Hantar) -> None:
    for path in ("/messages", "/campaigns", "/contacts", "/templates", "/connection/status"):
        check_problem(await hantar.call("GET", f"/api/v1{path}"), 401, "unauthenticated")


async def test_the_example_request_works_as_printed(hantar: Hantar, account: Account) -> None:
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--max-time", "10", "-X", "POST", f"{hantar.api}/api/v1/messages/send"),
        *("-H", f"Authorization: Bearer {account.key}"),
        *("-H", "Content-Type: application/json", "-H", "Accept: application/json"),
        *("-d", '{"phone":"0123456789","body":"Hello from the API!"}'),
        *("-w", "\n%{http_code}"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await curl.communicate()
    assert out.endswith(b"\n202"), out


async def test_send_bulk_and_campaigns_require_a_verified_email(hantar: Hantar) -> None:
    account = await hantar.account(verified=False)
    campaign = {"name": "June promo", "body": "x", "recipients": [{"phone": "0123456789"}]}
    for path, body in (
        ("/messages/send", SEND),
        ("/messages/bulk", BULK),
        ("/campaigns", campaign),
    ):
        check_problem(await hantar.post(path, account, body), 403, "email_unverified")


async def test_each_delivered_message_consumes_one_credit(hantar: Hantar, account: Account) -> None:
    answer = await hantar.post("/messages/send", account, SEND)
    message = await hantar.until(account, answer.json["data"]["id"], "delivered")
    assert message["credit"] == "settled"
    assert (await hantar.get("/credits", account)).json["data"] == {"balance": 999, "reserved": 0}


async def test_connection_status_lists_each_linked_device(hantar: Hantar, account: Account) -> None:
    data = (await hantar.get("/connection/status", account)).json["data"]
    assert [device["id"] for device in data["devices"]] == [account.device_id]
    data = (await hantar.get("/connection/status?driver=wwebjs", account)).json["data"]
    assert data["devices"] == []


async def test_connection_status_of_the_meta_driver_is_a_single_one(
    hantar: Hantar, account: Account
) -> None:
    data = (await hantar.get("/connection/status?driver=meta", account)).json["data"]
    assert (data["driver"], data["state"]) == ("meta", "not_configured")


async def test_a_login_qr_is_a_data_url_of_the_device_or_the_default_one(
    hantar: Hantar, account: Account
) -> None:
    path = f"/devices/{account.device_id}/logout"
    assert (await hantar.call("POST", f"/api/v1{path}", account)).status == 200
    for query in ("", f"?device={account.device_id}"):
        data = (await hantar.get(f"/connection/qr{query}", account)).json["data"]
        assert data["device"] == account.device_id
        assert data["qr"].startswith("data:image/png;base64,")


async def test_the_message_log_is_paginated_newest_first(hantar: Hantar, account: Account) -> None:
    items = [{"phone": "0123456789", "body": f"Hi {n}"} for n in range(30)]
    await hantar.post("/messages/bulk", account, {"messages": items})
    answer = await hantar.get("/messages", account)
    ids = [message["id"] for message in answer.json["data"]]
    assert len(ids) == answer.json["meta"]["per_page"] == 25
    assert ids == sorted(ids, reverse=True)
    assert len((await hantar.get("/messages?page=2", account)).json["data"]) == 5


async def test_messages_are_filtered_by_status_campaign_and_per_page(
    hantar: Hantar, account: Account
) -> None:
    await hantar.post("/messages/send", account, SEND)
    body = {"name": "June promo", "body": "x", "recipients": [{"phone": "0198887777"}]}
    campaign = (await hantar.post("/campaigns", account, body)).json["data"]
    await until(hantar, account, campaign["id"], "completed")
    found = (await hantar.get(f"/messages?campaign_id={campaign['id']}", account)).json["data"]
    assert [message["phone"] for message in found] == ["+60198887777"]
    assert len((await hantar.get("/messages?per_page=1", account)).json["data"]) == 1
    assert (await hantar.get("/messages?status=failed", account)).json["data"] == []


async def test_a_single_message_tells_its_current_status(hantar: Hantar, account: Account) -> None:
    made = (await hantar.post("/messages/send", account, SEND)).json["data"]
    assert made["status"] == "queued"
    assert (await hantar.until(account, made["id"], "delivered"))["sent_at"]


async def test_a_single_message_is_queued_with_202(hantar: Hantar, account: Account) -> None:
    answer = await hantar.post("/messages/send", account, SEND)
    assert answer.status == 202
    assert answer.json["data"]["phone"] == "+60123456789"


async def test_the_phone_must_parse_as_a_malaysian_number(hantar: Hantar, account: Account) -> None:
    for phone in ("+6580123456", "12345", "abc"):
        answer = await hantar.post("/messages/send", account, SEND | {"phone": phone})
        check_problem(answer, 422, "invalid_phone", "phone")


async def test_a_send_upserts_a_contact_when_asked_to(hantar: Hantar, account: Account) -> None:
    await hantar.post("/messages/send", account, SEND)
    [found] = (await hantar.get("/contacts?external_id=crm-42", account)).json["data"]
    assert (found["name"], found["phone"]) == ("Ali", "+60123456789")
    plain = {"phone": "0198887777", "body": "Hi"}
    await hantar.post("/messages/send", account, plain)
    assert (await hantar.get("/contacts?search=198887777", account)).json["data"] == []


async def test_a_bulk_charges_every_valid_recipient_and_tells_of_each_item(
    hantar: Hantar, account: Account
) -> None:
    body = {"messages": [*BULK["messages"], {"phone": "12", "body": "Hi"}]}
    answer = await hantar.post("/messages/bulk", account, body)
    assert answer.status == 202
    assert [item["index"] for item in answer.json["queued"]] == [0, 1]
    assert [(item["index"], item["code"]) for item in answer.json["rejected"]] == [
        (2, "invalid_phone")
    ]
    assert answer.json["credits"] == {"charged": 2, "balance": 998}


async def test_a_bulk_takes_up_to_1000_messages(hantar: Hantar, account: Account) -> None:
    items = [{"phone": f"0123{n:06}", "body": "Hi"} for n in range(400_000, 401_001)]
    answer = await hantar.post("/messages/bulk", account, {"messages": items})
    check_problem(answer, 422, "validation_failed", "messages")
    answer = await hantar.post("/messages/bulk", account, {"messages": items[:1000]})
    assert (answer.status, len(answer.json["queued"])) == (202, 1000)


async def test_a_campaign_is_dispatched_to_group_ids_and_inline_recipients(
    hantar: Hantar, account: Account
) -> None:
    first = await contact(hantar, account, "0198887777", name="Sara")
    second = await contact(hantar, account, "0198887778", name="Siti")
    group_id = await group(hantar, account, first)
    body: dict[str, Any] = {
        "name": "June promo",
        "body": "Salam {{name}}, here is your offer!",
        "contact_group_id": group_id,
        "contact_ids": [second],
        "recipients": [{"phone": "0123456789", "name": "Ali"}],
    }
    answer = await hantar.post("/campaigns", account, body)
    assert answer.status == 201, answer.json
    campaign_id = answer.json["data"]["id"]
    await until(hantar, account, campaign_id, "completed")
    found = (await hantar.get(f"/messages?campaign_id={campaign_id}", account)).json["data"]
    assert {message["body"] for message in found} == {
        f"Salam {name}, here is your offer!" for name in ("Sara", "Siti", "Ali")
    }
    listed = (await hantar.get("/campaigns?per_page=1", account)).json["data"]
    assert [campaign["id"] for campaign in listed] == [campaign_id]


async def test_a_campaign_is_shown_with_its_template(hantar: Hantar, account: Account) -> None:
    template = (await hantar.post("/templates", account, TEMPLATE)).json["data"]
    body = {
        "name": "Welcome all",
        "message_template_id": template["id"],
        "recipients": [{"phone": "0123456789", "name": "Ali"}],
    }
    campaign_id = (await hantar.post("/campaigns", account, body)).json["data"]["id"]
    assert (await seen(hantar, account, campaign_id))["template"]["id"] == template["id"]


async def test_a_contact_is_created_with_201_and_updated_with_200(
    hantar: Hantar, account: Account
) -> None:
    first = await hantar.post("/contacts", account, CONTACT)
    assert first.status == 201
    again = await hantar.post("/contacts", account, CONTACT | {"phone": "+60 12-345 6789"})
    assert (again.status, again.json["data"]["id"]) == (200, first.json["data"]["id"])
    for query in ("search=Ali", "search=2345678", "external_id=crm-42"):
        found = (await hantar.get(f"/contacts?{query}", account)).json["data"]
        assert [each["attributes"] for each in found] == [{"plan": "gold"}]


async def test_a_contact_is_fetched_updated_and_permanently_deleted(
    hantar: Hantar, account: Account
) -> None:
    made = (await hantar.post("/contacts", account, CONTACT)).json["data"]
    path = f"/api/v1/contacts/{made['id']}"
    change = {"name": "Aminah", "external_id": "x", "attributes": {}, "opted_out": True}
    assert (await hantar.call("PUT", path, account, json=change)).status == 200
    shown = (await hantar.call("GET", path, account)).json["data"]
    assert {name: shown[name] for name in change} == change
    assert (await hantar.call("DELETE", path, account)).status == 204
    check_problem(await hantar.call("GET", path, account), 404, "not_found")


async def test_a_template_gets_a_slug_and_may_be_listed_only_while_active(
    hantar: Hantar, account: Account
) -> None:
    made = await hantar.post("/templates", account, TEMPLATE)
    assert (made.status, made.json["data"]["slug"]) == (201, "welcome")
    path = f"/api/v1/templates/{made.json['data']['id']}"
    assert (await hantar.call("GET", path, account)).json == made.json
    assert len((await hantar.get("/templates?active_only=1", account)).json["data"]) == 1
    change = {"name": "Hello", "body": "Hi {{name}}", "is_active": False}
    changed = (await hantar.call("PUT", path, account, json=change)).json["data"]
    assert {name: changed[name] for name in change} == change
    assert (await hantar.get("/templates?active_only=1", account)).json["data"] == []
    assert len((await hantar.get("/templates", account)).json["data"]) == 1
    assert (await hantar.call("DELETE", path, account)).status == 204
    check_problem(await hantar.call("GET", path, account), 404, "not_found")
