"""Contacts: upsert by phone, partial changes, search as literal text."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.api.checks import check_problem
from tests.system import Account, Answer, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

AMINAH = {
    "phone": "012-345 6789",
    "name": "Aminah",
    "external_id": "crm-17",
    "attributes": {"city": "Ipoh", "age": 41, "vip": True, "note": None},
}


async def put(hantar: Hantar, account: Account, body: dict[str, Any]) -> Any:
    answer = await hantar.post("/contacts", account, body)
    assert answer.status in (200, 201), answer.json
    return answer.json["data"]


async def ids(hantar: Hantar, account: Account, query: dict[str, str]) -> list[int]:
    answer = await hantar.get("/contacts", account, params=query)
    assert answer.status == 200, answer.json
    return [row["id"] for row in answer.json["data"]]


async def test_a_contact_is_made_once_and_then_updated(hantar: Hantar, account: Account) -> None:
    made = await hantar.post("/contacts", account, AMINAH)
    assert made.status == 201
    contact = made.json["data"]
    assert contact["phone"] == "+60123456789"
    assert contact["attributes"] == AMINAH["attributes"]
    assert (contact["opted_out"], contact["opted_out_at"]) == (False, None)
    again = await hantar.post("/contacts", account, {"phone": "60123456789", "name": "Aminah A."})
    assert again.status == 200
    assert again.json["data"] == contact | {
        "name": "Aminah A.",
        "updated_at": again.json["data"]["updated_at"],
    }


@pytest.mark.row("5.4-73")
async def test_of_fifty_at_once_one_makes_the_contact(hantar: Hantar, account: Account) -> None:
    answers = await asyncio.gather(*(hantar.post("/contacts", account, AMINAH) for _ in range(50)))
    assert sorted(answer.status for answer in answers) == [200] * 49 + [201]
    assert len({answer.json["data"]["id"] for answer in answers}) == 1


async def test_a_change_leaves_alone_what_it_does_not_name(
    hantar: Hantar, account: Account
) -> None:
    contact = await put(hantar, account, AMINAH)
    path = f"/api/v1/contacts/{contact['id']}"
    for method in ("PUT", "PATCH"):
        answer = await hantar.call(method, path, account, json={"external_id": None})
        assert answer.status == 200
        assert answer.json["data"]["external_id"] is None
        assert answer.json["data"]["name"] == "Aminah"
    answer = await hantar.call("PATCH", path, account, json={"attributes": {"a": 1}})
    assert answer.json["data"]["attributes"] == {"a": 1}
    answer = await hantar.call("PATCH", path, account, json={"opted_out": True})
    assert answer.json["data"]["opted_out_at"] is not None
    answer = await hantar.call("PATCH", path, account, json={"opted_out": False})
    assert answer.json["data"]["opted_out_at"] is None


async def test_a_phone_belongs_to_one_contact(hantar: Hantar, account: Account) -> None:
    await put(hantar, account, AMINAH)
    other = await put(hantar, account, {"phone": "0123456780"})
    answer = await hantar.call(
        "PATCH", f"/api/v1/contacts/{other['id']}", account, json={"phone": "0123456789"}
    )
    check_problem(answer, 422, "validation_failed", "phone")


@pytest.mark.row("5.2-45")
async def test_a_deleted_contact_is_gone_and_comes_back_as_another(
    hantar: Hantar, account: Account
) -> None:
    contact = await put(hantar, account, AMINAH)
    path = f"/api/v1/contacts/{contact['id']}"
    assert (await hantar.call("DELETE", path, account)).status == 204
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        check_problem(await hantar.call(method, path, account, json=body), 404, "not_found")
    assert (await put(hantar, account, AMINAH))["id"] != contact["id"]


@pytest.mark.row("5.2-33")
async def test_another_accounts_contact_is_not_there(hantar: Hantar, account: Account) -> None:
    contact = await put(hantar, await hantar.account(), AMINAH)
    missing = await hantar.get(f"/contacts/{contact['id'] + 1_000_000}", account)
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        path = f"/api/v1/contacts/{contact['id']}"
        answer = await hantar.call(method, path, account, json=body)
        check_problem(answer, 404, "not_found")
        assert answer.json["detail"] == missing.json["detail"]


@pytest.mark.row("5.2-35", "5.4-60", "5.4-72", "5.4-74")
@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("phone", "+6580123456", "invalid_phone"),
        ("phone", 60123456789, "validation_failed"),
        ("name", "", "validation_failed"),
        ("name", "a\0b", "validation_failed"),
        ("name", "x" * 256, "validation_failed"),
        ("external_id", "x" * 10_000, "validation_failed"),
        ("attributes", {"a b": 1}, "validation_failed"),
        ("attributes", {"a": [1]}, "validation_failed"),
        ("attributes", {"a": "x" * 1025}, "validation_failed"),
        ("attributes", {f"a{n}": n for n in range(51)}, "validation_failed"),
        ("opted_out", "false", "validation_failed"),
        ("opted_out", 1, "validation_failed"),
        ("account_id", 1, "unknown_field"),
        ("id", 1, "unknown_field"),
        ("created_at", "2026-01-01T00:00:00Z", "unknown_field"),
    ],
)
async def test_a_faulty_contact_is_refused(
    hantar: Hantar, account: Account, field: str, value: object, code: str
) -> None:
    answer = await hantar.post("/contacts", account, AMINAH | {field: value})
    check_problem(answer, 422, code)
    assert next(iter(answer.json["errors"])).startswith(field)
    assert await ids(hantar, account, {}) == []


@pytest.mark.row("5.2-40", "5.2-41", "5.2-42")
async def test_a_search_is_literal_text_in_name_or_phone(hantar: Hantar, account: Account) -> None:
    names = ["100% Sale", "100 Sale", "a_b", "aXb", "back\\slash", "' OR 1=1--", "مرحبا", "Wei"]
    names += ["two\nlines"]
    made = {}
    for number, name in enumerate(names):
        contact = await put(hantar, account, {"phone": f"01234560{number}0", "name": name})
        made[name] = contact["id"]
    for text, expected in {
        "100%": ["100% Sale"],
        "%": ["100% Sale"],
        "_": ["a_b"],
        "\\": ["back\\slash"],
        "' or 1=1": ["' OR 1=1--"],
        "مرح": ["مرحبا"],
        "WEI": ["Wei"],
        "+6012345607": ["Wei"],
        "o\nl": ["two\nlines"],
        "lines\n+60": [],
        "nobody": [],
        "(a+)+$": [],
    }.items():
        assert await ids(hantar, account, {"search": text}) == [made[name] for name in expected]
    assert len(await ids(hantar, account, {"search": ""})) == len(names)
    check_problem(
        await hantar.get("/contacts", account, params={"search": "x" * 300}),
        422,
        "validation_failed",
        "search",
    )
    check_problem(
        await hantar.get("/contacts", account, params={"search": "a\0"}),
        422,
        "validation_failed",
        "search",
    )


@pytest.mark.row("5.2-42")
async def test_an_external_id_is_found_exactly(hantar: Hantar, account: Account) -> None:
    upper = await put(hantar, account, {"phone": "0123456701", "external_id": "A-1 🙂"})
    await put(hantar, account, {"phone": "0123456702", "external_id": "a-1 🙂"})
    twin = await put(hantar, account, {"phone": "0123456703", "external_id": "A-1 🙂"})
    found = await ids(hantar, account, {"external_id": "A-1 🙂"})
    assert found == [twin["id"], upper["id"]]
    assert await ids(hantar, await hantar.account(), {"external_id": "A-1 🙂"}) == []
    too_long = await hantar.get("/contacts", account, params={"external_id": "x" * 300})
    check_problem(too_long, 422, "validation_failed", "external_id")


async def test_contacts_are_paged_by_page_and_by_cursor(hantar: Hantar, account: Account) -> None:
    made = [
        (await put(hantar, account, {"phone": f"01234567{number:02}"}))["id"] for number in range(7)
    ]
    first = await hantar.get("/contacts", account, params={"per_page": "3"})
    assert first.json["meta"]["total"] == 7
    seen = [row["id"] for row in first.json["data"]]
    cursor = first.json["meta"]["next_cursor"]
    while cursor:
        page: Answer = await hantar.get(
            "/contacts", account, params={"per_page": "3", "cursor": cursor}
        )
        seen += [row["id"] for row in page.json["data"]]
        cursor = page.json["meta"]["next_cursor"]
    assert seen == made[::-1]


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30))
async def test_any_name_is_found_by_any_part_of_it(
    hantar: Hantar, account: Account, name: str
) -> None:
    answer = await hantar.post("/contacts", account, {"phone": "0123456789", "name": name})
    if answer.status == 422:
        return  # nothing but white space
    for part in (name, name[: len(name) // 2], name[len(name) // 2 :]):
        if part:
            assert await ids(hantar, account, {"search": part}) != []


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.text("aB%_\\\n+6'é", min_size=3, max_size=12).filter(lambda name: name.strip()),
    text=st.text("Ab%_\\\n+6'É", min_size=1, max_size=3),
)
async def test_a_search_finds_what_contains_the_text_and_nothing_else(
    hantar: Hantar, account: Account, name: str, text: str
) -> None:
    contact = await put(hantar, account, {"phone": "0123456789", "name": name})
    contained = any(text.lower() in field.lower() for field in (name, "+60123456789"))
    assert await ids(hantar, account, {"search": text}) == ([contact["id"]] if contained else [])


async def test_an_opted_out_contact_gets_nothing_until_it_opts_in(
    hantar: Hantar, account: Account
) -> None:
    contact = await put(hantar, account, AMINAH | {"opted_out": True})
    message = {"phone": "0123456789", "body": "Hello"}
    check_problem(await hantar.post("/messages/send", account, message), 422, "opted_out", "phone")
    path = f"/api/v1/contacts/{contact['id']}"
    await hantar.call("PATCH", path, account, json={"opted_out": False})
    assert (await hantar.post("/messages/send", account, message)).status == 202


async def test_nothing_goes_out_once_an_opt_out_is_answered(hantar: Hantar) -> None:
    account = await hantar.account(per_second=4)
    items = [{"phone": f"01234567{number:02}", "body": "Hello"} for number in range(8)]
    queued = (await hantar.post("/messages/bulk", account, {"messages": items})).json["queued"]
    answered: dict[int, float] = {}

    async def opt_out(item: dict[str, Any]) -> None:
        # At the worst moment: claimed a little before its time, and not called yet.
        claimed = "SELECT FROM messages WHERE id = $1 AND status >= 'sending'"
        while not await hantar.pool.fetch(claimed, item["id"]):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
        await put(hantar, account, {"phone": item["phone"], "opted_out": True})
        answered[item["id"]] = time.monotonic()

    async with asyncio.timeout(30):
        await asyncio.gather(*map(opt_out, queued))
    # To somebody who opted out before, nothing goes out at all.
    check_problem(await hantar.post("/messages/send", account, items[0]), 422, "opted_out")
    calls = await hantar.pool.fetch(
        "SELECT message_id, called_at FROM simulator_calls WHERE message_id = ANY($1::bigint[])",
        list(answered),
    )
    assert calls
    assert [call for call in calls if call["called_at"] > answered[call["message_id"]]] == []


async def test_who_opts_out_in_time_is_skipped(hantar: Hantar) -> None:
    account = await hantar.account(per_second=4)
    items = [{"phone": f"01234567{number:02}", "body": "Hello"} for number in range(8)]
    queued = (await hantar.post("/messages/bulk", account, {"messages": items})).json["queued"]
    await put(hantar, account, {"phone": items[-1]["phone"], "opted_out": True})
    message = await hantar.until(account, queued[-1]["id"], "delivered", "skipped")
    assert (message["status"], message["credit"]) == ("skipped", "released")
    assert await hantar.drifting() == []


async def test_a_message_outlives_its_contact(hantar: Hantar, account: Account) -> None:
    body = {"phone": "0123456789", "body": "Hello", "name": "Aminah"}
    message = (await hantar.post("/messages/send", account, body)).json["data"]
    path = f"/api/v1/contacts/{message['contact_id']}"
    assert (await hantar.call("DELETE", path, account)).status == 204
    message = await hantar.until(account, message["id"], "delivered")
    found = await hantar.get(f"/messages?contact_id={message['contact_id']}", account)
    assert [row["id"] for row in found.json["data"]] == [message["id"]]
