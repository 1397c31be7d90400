"""Contact groups, and who is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from tests.integration.api.checks import check_problem
from tests.system import Account, Answer, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def group(hantar: Hantar, account: Account, name: str = "Customers") -> int:
    answer = await hantar.post("/contact-groups", account, {"name": name})
    assert answer.status == 201
    made: int = answer.json["data"]["id"]
    return made


async def people(hantar: Hantar, account: Account, count: int) -> list[int]:
    return [
        (await hantar.post("/contacts", account, {"phone": f"01234567{number:02}"})).json["data"][
            "id"
        ]
        for number in range(count)
    ]


async def change(
    hantar: Hantar, account: Account, group_id: int, method: str, ids: list[int]
) -> Any:
    path = f"/api/v1/contact-groups/{group_id}/contacts"
    answer = await hantar.call(method, path, account, json={"contact_ids": ids})
    assert answer.status == 200, answer.json
    return answer.json["data"]


async def test_a_group_is_made_changed_and_forgotten(hantar: Hantar, account: Account) -> None:
    group_id = await group(hantar, account)
    path = f"/api/v1/contact-groups/{group_id}"
    answer = await hantar.call("PATCH", path, account, json={"description": "since 2024"})
    assert answer.json["data"]["name"] == "Customers"
    assert answer.json["data"]["description"] == "since 2024"
    answer = await hantar.call("PUT", path, account, json={"name": "Friends"})
    assert (await hantar.get(f"/contact-groups/{group_id}", account)).json == answer.json
    listed = await hantar.get("/contact-groups", account)
    assert listed.json["data"] == [answer.json["data"]]
    contact_ids = await people(hantar, account, 1)
    await change(hantar, account, group_id, "POST", contact_ids)
    assert (await hantar.call("DELETE", path, account)).status == 204
    check_problem(await hantar.call("DELETE", path, account), 404, "not_found")
    assert (await hantar.get(f"/contacts/{contact_ids[0]}", account)).status == 200


async def test_contacts_are_put_in_and_taken_out(hantar: Hantar, account: Account) -> None:
    group_id = await group(hantar, account)
    ids = await people(hantar, account, 5)
    done = await change(hantar, account, group_id, "POST", [*ids[:3], ids[0]])
    assert done == {"group_id": group_id, "changed": 3, "contacts": 3}
    assert (await change(hantar, account, group_id, "POST", ids))["changed"] == 2
    assert (await change(hantar, account, group_id, "DELETE", ids[3:]))["contacts"] == 3
    path = f"/api/v1/contact-groups/{group_id}/contacts/{ids[0]}"
    assert (await hantar.call("DELETE", path, account)).status == 204
    check_problem(await hantar.call("DELETE", path, account), 404, "not_found")
    listed = await hantar.get(f"/contact-groups/{group_id}/contacts", account)
    assert [row["id"] for row in listed.json["data"]] == [ids[2], ids[1]]
    await hantar.call("DELETE", f"/api/v1/contacts/{ids[1]}", account)
    assert (await hantar.get(f"/contact-groups/{group_id}", account)).json["data"]["contacts"] == 1


async def test_a_group_may_change_from_all_sides_at_once(hantar: Hantar, account: Account) -> None:
    ids = await people(hantar, account, 12)
    groups = [await group(hantar, account, f"G{number}") for number in range(3)]

    def calls() -> Iterator[Awaitable[Answer]]:
        for place, group_id in enumerate(groups):
            path = f"/api/v1/contact-groups/{group_id}"
            order = ids[place:] + ids[:place]
            for method, some in (("POST", order), ("DELETE", order[::-2]), ("POST", order[::-1])):
                body = {"contact_ids": some}
                yield hantar.call(method, f"{path}/contacts", account, json=body)
        for contact_id in ids[:4]:
            yield hantar.call("DELETE", f"/api/v1/contacts/{contact_id}", account)
        yield hantar.call("DELETE", f"/api/v1/contact-groups/{groups[0]}", account)

    for _ in range(5):
        answers = await asyncio.gather(*calls())
        assert {answer.status for answer in answers} <= {200, 204, 404, 422}
    for group_id in groups[1:]:
        told = (await hantar.get(f"/contact-groups/{group_id}", account)).json["data"]["contacts"]
        members = await hantar.get(f"/contact-groups/{group_id}/contacts", account)
        assert len(members.json["data"]) == told
    check_problem(await hantar.get(f"/contact-groups/{groups[0]}", account), 404, "not_found")


@pytest.mark.row("5.2-34")
async def test_what_is_another_accounts_is_not_there(hantar: Hantar, account: Account) -> None:
    other = await hantar.account()
    theirs, mine = await group(hantar, other), await group(hantar, account)
    [stranger] = await people(hantar, other, 1)
    body = {"contact_ids": [stranger]}
    for method, path, sent in (
        ("GET", f"/contact-groups/{theirs}", None),
        ("PATCH", f"/contact-groups/{theirs}", {"name": "x"}),
        ("DELETE", f"/contact-groups/{theirs}", None),
        ("GET", f"/contact-groups/{theirs}/contacts", None),
        ("POST", f"/contact-groups/{theirs}/contacts", body),
        ("DELETE", f"/contact-groups/{theirs}/contacts", body),
        ("DELETE", f"/contact-groups/{theirs}/contacts/{stranger}", None),
    ):
        answer = await hantar.call(method, f"/api/v1{path}", account, json=sent)
        check_problem(answer, 404, "not_found")
    answer = await hantar.post(f"/contact-groups/{mine}/contacts", account, body)
    check_problem(answer, 422, "validation_failed", "contact_ids.0")


@pytest.mark.parametrize(
    "body", [{}, {"contact_ids": []}, {"contact_ids": [0]}, {"contact_ids": list(range(1, 1002))}]
)
async def test_faulty_members_are_refused(
    hantar: Hantar, account: Account, body: dict[str, Any]
) -> None:
    group_id = await group(hantar, account)
    answer = await hantar.post(f"/contact-groups/{group_id}/contacts", account, body)
    check_problem(answer, 422, "validation_failed")


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 256}, {"name": None}])
async def test_a_faulty_group_is_refused(
    hantar: Hantar, account: Account, body: dict[str, Any]
) -> None:
    check_problem(await hantar.post("/contact-groups", account, body), 422, "validation_failed")
