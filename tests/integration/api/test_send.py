"""What a send does: every field of its body, every field of the message it makes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from tests.integration.api.checks import check_problem, nothing_done
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"phone": "0123456789", "body": "hello"}
FIELDS = {
    "id", "status", "phone", "body", "contact_id", "campaign_id", "template_id", "device_id",
    "driver", "priority", "reference", "provider_id", "attempts", "credit", "error", "waiting",
    "send_at", "expires_at", "created_at", "queued_at", "sent_at", "delivered_at", "read_at",
    "failed_at",
}  # fmt: skip
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def sent(hantar: Hantar, account: Account, **fields: Any) -> dict[str, Any]:
    """The message of an accepted send."""
    answer = await hantar.post("/messages/send", account, {**GOOD, **fields})
    assert answer.status == 202, answer.json
    assert answer.json.keys() == {"data"}
    message: dict[str, Any] = answer.json["data"]
    assert message.keys() == FIELDS
    return message


async def contacts(hantar: Hantar, account: Account) -> list[dict[str, Any]]:
    rows = await hantar.pool.fetch(
        "SELECT id, phone, name, external_id, attributes FROM contacts WHERE account_id = $1 "
        "ORDER BY phone",
        account.id,
    )
    return [{**row, "attributes": orjson.loads(row["attributes"])} for row in rows]


def instant(ahead: timedelta) -> str:
    """A time so far ahead, as the API writes it."""
    return (datetime.now(UTC) + ahead).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def test_a_plain_send_is_queued(hantar: Hantar, account: Account) -> None:
    message = await sent(hantar, account)
    for name in ("created_at", "queued_at"):
        assert INSTANT.fullmatch(message.pop(name))
    assert isinstance(message.pop("id"), int)
    assert message.pop("waiting") == {"reason": "behind", "earliest_at": None}
    shown = {name: value for name, value in message.items() if value is not None}
    assert shown == {
        "status": "queued",
        "phone": "+60123456789",
        "body": "hello",
        "device_id": account.device_id,
        "driver": "simulator",
        "priority": "normal",
        "attempts": 0,
        "credit": "reserved",
    }
    assert await hantar.balance(account) == 999


async def test_a_message_is_read_as_it_goes(hantar: Hantar, account: Account) -> None:
    made = await sent(hantar, account)
    done = await hantar.until(account, made["id"], "delivered")
    assert done.keys() == FIELDS
    assert (done["credit"], done["attempts"], done["error"]) == ("settled", 1, None)
    assert done["waiting"] is None
    assert done["provider_id"]
    for name in ("created_at", "queued_at", "sent_at", "delivered_at"):
        assert INSTANT.fullmatch(done[name])
    assert done["created_at"] <= done["sent_at"] <= done["delivered_at"]


async def test_a_failed_message_says_why_and_costs_nothing(
    hantar: Hantar, account: Account
) -> None:
    made = await sent(hantar, account, phone="+601155500001")
    done = await hantar.until(account, made["id"], "failed")
    assert done["error"].keys() == {"code", "detail"}
    assert done["error"]["code"]
    assert INSTANT.fullmatch(done["failed_at"])
    assert done["credit"] == "released"
    assert await hantar.balance(account) == 1000


async def test_the_callers_mark_is_kept(hantar: Hantar, account: Account) -> None:
    message = await sent(hantar, account, reference="order 42 ✓")
    assert message["reference"] == "order 42 ✓"
    assert (await hantar.message(account, message["id"]))["reference"] == "order 42 ✓"


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
async def test_the_priority_is_kept(hantar: Hantar, account: Account, priority: str) -> None:
    assert (await sent(hantar, account, priority=priority))["priority"] == priority
    bulk = {"messages": [{**GOOD, "priority": priority}]}
    answer = await hantar.post("/messages/bulk", account, bulk)
    made = await hantar.message(account, answer.json["queued"][0]["id"])
    assert made["priority"] == priority


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
async def test_the_delivery_mode_is_kept(hantar: Hantar, account: Account, delivery: str) -> None:
    made = await sent(hantar, account, delivery=delivery)
    stored = "SELECT delivery FROM messages WHERE id = $1"
    assert await hantar.pool.fetchval(stored, made["id"]) == delivery


async def test_nulls_count_as_absent(hantar: Hantar, account: Account) -> None:
    optional = ["template_id", "variables", "name", "external_id", "attributes", "save_contact",
                "device", "priority", "send_at", "expires_at", "reference", "delivery"]  # fmt: skip
    message = await sent(hantar, account, **dict.fromkeys(optional))
    assert (message["priority"], message["contact_id"]) == ("normal", None)


async def test_a_send_for_later_is_scheduled(hantar: Hantar, account: Account) -> None:
    at = instant(timedelta(hours=1))
    message = await sent(hantar, account, send_at=at)
    assert (message["status"], message["credit"]) == ("scheduled", "reserved")
    assert message["waiting"] == {"reason": "scheduled", "earliest_at": at}
    assert (message["send_at"], message["queued_at"]) == (at, None)
    assert await hantar.balance(account) == 999
    page = await hantar.get("/messages?status=scheduled", account)
    assert [item["id"] for item in page.json["data"]] == [message["id"]]


async def test_a_time_of_another_zone_is_shown_in_utc(hantar: Hantar, account: Account) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    kuala_lumpur = (at + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%S+08:00")
    message = await sent(hantar, account, send_at=kuala_lumpur)
    assert message["send_at"] == at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


async def test_a_scheduled_message_goes_at_its_time(hantar: Hantar, account: Account) -> None:
    at = instant(timedelta(seconds=1))
    made = await sent(hantar, account, send_at=at, expires_at=instant(timedelta(minutes=5)))
    assert made["status"] == "scheduled"
    done = await hantar.until(account, made["id"], "delivered")
    assert done["sent_at"] >= at


async def test_a_time_just_past_is_now(hantar: Hantar, account: Account) -> None:
    assert (await sent(hantar, account, send_at=instant(timedelta(seconds=-30))))[
        "status"
    ] == "queued"


NO_TIMES: list[Any] = [
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "tomorrow", "", 1893456000, True, [],
    "2026-12-01", "2026-12-01T00:00:00", "2026-13-01T00:00:00Z", "2026-12-01T25:00:00Z",
    "2026-12-01T00:00:00 Asia/Kuala_Lumpur",
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("send_at", timedelta(seconds=-61)),
        ("send_at", timedelta(days=366)),
        ("expires_at", timedelta(seconds=-1)),
        *[("send_at", value) for value in NO_TIMES],
        *[("expires_at", value) for value in NO_TIMES],
    ],
)
async def test_times_that_are_not_sound_are_422(
    hantar: Hantar, account: Account, field: str, value: Any
) -> None:
    body = {**GOOD, field: instant(value) if isinstance(value, timedelta) else value}
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, body)
        check_problem(answer, 422, "validation_failed", field)
        answer = await hantar.post("/messages/bulk", account, {"messages": [body]})
        check_problem(answer, 422, "validation_failed", f"messages.0.{field}")


async def test_a_message_may_not_expire_before_its_time(hantar: Hantar, account: Account) -> None:
    body = {
        **GOOD,
        "send_at": instant(timedelta(hours=2)),
        "expires_at": instant(timedelta(hours=1)),
    }
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, body)
        check_problem(answer, 422, "validation_failed", "expires_at")


async def test_a_message_may_wait_for_ever(hantar: Hantar, account: Account) -> None:
    message = await sent(hantar, account, expires_at="9999-12-31T23:59:59Z")
    assert message["expires_at"] == "9999-12-31T23:59:59.000Z"


async def test_contact_fields_make_a_contact(hantar: Hantar, account: Account) -> None:
    message = await sent(
        hantar, account, name="Ali", external_id="crm-42", attributes={"plan": "gold", "n": 1}
    )
    assert await contacts(hantar, account) == [
        {
            "id": message["contact_id"],
            "phone": "+60123456789",
            "name": "Ali",
            "external_id": "crm-42",
            "attributes": {"plan": "gold", "n": 1},
        }
    ]
    await sent(hantar, account, name="Ali bin Abu", attributes={"plan": "iron"})
    [contact] = await contacts(hantar, account)
    assert contact == {
        "id": message["contact_id"],
        "phone": "+60123456789",
        "name": "Ali bin Abu",
        "external_id": "crm-42",
        "attributes": {"plan": "iron"},
    }
    page = await hantar.get(f"/messages?contact_id={message['contact_id']}", account)
    assert page.json["meta"]["total"] == 2


async def test_save_contact_alone_makes_a_contact(hantar: Hantar, account: Account) -> None:
    message = await sent(hantar, account, save_contact=True)
    [contact] = await contacts(hantar, account)
    assert (contact["id"], contact["name"]) == (message["contact_id"], None)
    # Once known, the contact is named by later messages too.
    assert (await sent(hantar, account, body="more"))["contact_id"] == contact["id"]


async def test_save_contact_false_wins_over_the_fields(hantar: Hantar, account: Account) -> None:
    message = await sent(hantar, account, save_contact=False, name="Ali")
    assert message["contact_id"] is None
    assert await contacts(hantar, account) == []


async def test_without_contact_fields_no_contact_is_made(hantar: Hantar, account: Account) -> None:
    assert (await sent(hantar, account))["contact_id"] is None
    assert await contacts(hantar, account) == []


async def new_template(hantar: Hantar, account: Account, body: str, *, active: bool = True) -> int:
    made: int = await hantar.pool.fetchval(
        "INSERT INTO templates (account_id, name, slug, body, is_active) "
        "VALUES ($1, 'Welcome', md5(random()::text), $2, $3) RETURNING id",
        account.id,
        body,
        active,
    )
    return made


async def test_a_template_is_filled(hantar: Hantar, account: Account) -> None:
    template_id = await new_template(hantar, account, "Salam {{name|there}}, {{code}}!")
    message = await sent(
        hantar, account, body=None, template_id=template_id, name="Ali", variables={"code": 7}
    )
    assert message["template_id"] == template_id
    assert message["body"] == "Salam Ali, 7!"
    # What is known of the contact fills the next one.
    message = await sent(
        hantar, account, body=None, template_id=template_id, variables={"code": "x"}
    )
    assert message["body"] == "Salam Ali, x!"


async def test_an_inactive_template_is_422(hantar: Hantar, account: Account) -> None:
    template_id = await new_template(hantar, account, "Salam", active=False)
    async with nothing_done(hantar, account):
        body = {"phone": "0123456789", "template_id": template_id}
        answer = await hantar.post("/messages/send", account, body)
        check_problem(answer, 422, "validation_failed", "template_id")


async def test_a_device_may_be_chosen(hantar: Hantar, account: Account) -> None:
    second = await hantar.pool.fetchval(
        "INSERT INTO devices (account_id, name, driver, state, shard) "
        "VALUES ($1, 'Second', 'simulator', 'ready', 0) RETURNING id",
        account.id,
    )
    assert (await sent(hantar, account, device=second))["device_id"] == second
    assert (await sent(hantar, account, body="other"))["device_id"] == account.device_id


async def test_an_account_without_a_device_is_told_so(hantar: Hantar) -> None:
    account = await hantar.account(device=False)
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, GOOD)
        check_problem(answer, 422, "no_device", "device")
        answer = await hantar.post("/messages/bulk", account, {"messages": [GOOD]})
        check_problem(answer, 422, "validation_failed", "messages.0.device")
        assert answer.json["rejected"][0]["code"] == "no_device"


async def test_the_top_of_a_bulk_holds_defaults(hantar: Hantar, account: Account) -> None:
    template_id = await new_template(hantar, account, "Salam {{name}}")
    at = instant(timedelta(hours=1))
    bulk = {
        "body": "default",
        "name": "All",
        "reference": "batch",
        "priority": "high",
        "send_at": at,
        "messages": [
            {"phone": "0123456789"},
            {"phone": "0198887777", "body": "own", "name": "Sara", "priority": "low"},
            {"phone": "0176665555", "template_id": template_id, "reference": "own"},
        ],
    }
    answer = await hantar.post("/messages/bulk", account, bulk)
    assert answer.status == 202
    assert [item["status"] for item in answer.json["queued"]] == ["scheduled"] * 3
    made = [await hantar.message(account, item["id"]) for item in answer.json["queued"]]
    assert [
        (each["body"], each["reference"], each["priority"], each["send_at"]) for each in made
    ] == [
        ("default", "batch", "high", at),
        ("own", "batch", "low", at),
        ("Salam All", "own", "high", at),
    ]
    assert [contact["name"] for contact in await contacts(hantar, account)] == [
        "All",
        "All",
        "Sara",
    ]


async def test_the_items_of_a_bulk_are_of_low_priority(hantar: Hantar, account: Account) -> None:
    answer = await hantar.post("/messages/bulk", account, {"messages": [GOOD]})
    assert answer.json.keys() == {"queued", "rejected", "credits"}
    [queued] = answer.json["queued"]
    assert queued.keys() == {"index", "id", "phone", "status"}
    assert (await hantar.message(account, queued["id"]))["priority"] == "low"


async def test_attributes_are_replaced_as_a_whole_and_only_when_given(
    hantar: Hantar, account: Account
) -> None:
    async def attributes_after(**fields: object) -> object:
        answer = await hantar.post(
            "/messages/send", account, {"phone": "0123456789", "body": "hi", **fields}
        )
        assert answer.status == 202
        found = await hantar.pool.fetchval(
            "SELECT attributes FROM contacts WHERE account_id = $1", account.id
        )
        return orjson.loads(found)

    assert await attributes_after(attributes={"plan": "gold", "seats": 3}) == {
        "plan": "gold",
        "seats": 3,
    }
    assert await attributes_after(attributes={"plan": "free"}) == {"plan": "free"}
    assert await attributes_after(name="Ali") == {"plan": "free"}
    assert await attributes_after(attributes={}) == {}
