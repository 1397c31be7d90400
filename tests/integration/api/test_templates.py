"""Templates: slugs, variables, and what is no template."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.api.checks import check_problem
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def put(hantar: Hantar, account: Account, **body: Any) -> Any:
    answer = await hantar.post("/templates", account, {"name": "Hi", "body": "Hello"} | body)
    assert answer.status == 201, answer.json
    return answer.json["data"]


async def test_a_template_is_made_changed_and_forgotten(hantar: Hantar, account: Account) -> None:
    made = await put(hantar, account, name="Welcome!", body="Hi {{name|there}} from {{ city }}")
    assert (made["slug"], made["variables"]) == ("welcome", ["name", "city"])
    assert (made["is_active"], made["media"], made["meta"]) == (True, None, None)
    path = f"/api/v1/templates/{made['id']}"
    answer = await hantar.call("PUT", path, account, json={"name": "Other"})
    assert answer.json["data"]["slug"] == "welcome"
    answer = await hantar.call("PATCH", path, account, json={"body": "Bye", "is_active": False})
    assert answer.json["data"]["variables"] == []
    assert (await hantar.get(f"/templates/{made['id']}", account)).json == answer.json
    assert (await hantar.call("DELETE", path, account)).status == 204
    check_problem(await hantar.call("DELETE", path, account), 404, "not_found")


@pytest.mark.row("5.4-70")
async def test_slugs_are_made_from_names_and_stay_unique(hantar: Hantar, account: Account) -> None:
    slugs = [
        (await put(hantar, account, name=name))["slug"]
        for name in ("Über uns", "uber UNS", "Uber-uns", "🎉", "🎉🎉", "x" * 255, "x" * 255)
    ]
    assert slugs[:5] == ["uber-uns", "uber-uns-2", "uber-uns-3", "template", "template-2"]
    assert [len(slug) for slug in slugs[5:]] == [100, 100]
    assert len(set(slugs)) == 7
    other = await hantar.account()
    assert (await put(hantar, other, name="Über uns"))["slug"] == "uber-uns"
    for slug in ("uber-uns", "../x", "", "A", "x" * 300, "a--b"):
        answer = await hantar.post("/templates", account, {"name": "x", "body": "x", "slug": slug})
        check_problem(answer, 422, "validation_failed", "slug")
    answer = await hantar.call(
        "PATCH",
        f"/api/v1/templates/{(await put(hantar, account, name='free'))['id']}",
        account,
        json={"slug": "uber-uns"},
    )
    check_problem(answer, 422, "validation_failed", "slug")


async def test_of_one_name_at_once_each_gets_a_slug(hantar: Hantar, account: Account) -> None:
    made = await asyncio.gather(*(put(hantar, account, name="Rush hour") for _ in range(24)))
    assert {template["slug"] for template in made} == {
        "rush-hour",
        *(f"rush-hour-{number}" for number in range(2, 25)),
    }


@pytest.mark.row("5.4-71")
async def test_only_active_templates_are_used_and_listed(hantar: Hantar, account: Account) -> None:
    on = await put(hantar, account)
    off = await put(hantar, account, is_active=False)
    listed = await hantar.get("/templates", account)
    assert [row["id"] for row in listed.json["data"]] == [off["id"], on["id"]]
    listed = await hantar.get("/templates", account, params={"active_only": "1"})
    assert [row["id"] for row in listed.json["data"]] == [on["id"]]
    message = {"phone": "0123456789", "template_id": off["id"]}
    answer = await hantar.post("/messages/send", account, message)
    check_problem(answer, 422, "validation_failed", "template_id")
    for value in ("yes", 2, None):
        answer = await hantar.post(
            "/templates", account, {"name": "x", "body": "x", "is_active": value}
        )
        check_problem(answer, 422, "validation_failed", "is_active")
    answer = await hantar.get("/templates", account, params={"active_only": "maybe"})
    check_problem(answer, 422, "validation_failed", "active_only")


async def test_a_message_is_made_from_a_template_and_outlives_it(
    hantar: Hantar, account: Account
) -> None:
    made = await put(hantar, account, body="Hi {{name|there}}")
    answer = await hantar.post(
        "/messages/send",
        account,
        {"phone": "0123456789", "template_id": made["id"], "variables": {"name": "Wei"}},
    )
    message = answer.json["data"]
    assert (message["body"], message["template_id"]) == ("Hi Wei", made["id"])
    await hantar.call("DELETE", f"/api/v1/templates/{made['id']}", account)
    await hantar.until(account, message["id"], "delivered")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("body", "{{name"),
        ("body", "{{{name}}}"),
        ("body", "{{}}"),
        ("body", "{{a.b}}"),
        ("body", "   "),
        ("body", "x" * 4097),
        ("body", "a\0"),
        ("name", ""),
        ("name", "x" * 256),
        ("media", {"type": "image", "url": "ftp://example.com/x"}),
        ("media", {"type": "gif", "url": "https://example.com/x"}),
        ("meta", {"name": "Bad Name", "language": "en"}),
        ("meta", {"name": "good", "language": "english"}),
    ],
)
async def test_what_is_no_template_is_refused(
    hantar: Hantar, account: Account, field: str, value: object
) -> None:
    answer = await hantar.post("/templates", account, {"name": "Hi", "body": "Hello", field: value})
    problem = check_problem(answer, 422, "validation_failed")
    assert next(iter(problem["errors"])).startswith(field)


@pytest.mark.parametrize("depth", [50, 252, 600, 900])
async def test_components_are_nested_fifty_levels_deep_at_most(
    hantar: Hantar, account: Account, depth: int
) -> None:
    made = await put(hantar, account)
    meta = b'{"name":"good","language":"en","components":[%s]}' % (
        b'{"a":' * depth + b'"{{name}}"' + b"}" * depth
    )
    for method, path in (("POST", ""), ("PATCH", f"/{made['id']}")):
        answer = await hantar.call(
            method,
            f"/api/v1/templates{path}",
            account,
            data=b'{"name":"Deep","body":"Hello","meta":%s}' % meta,
            headers={"Content-Type": "application/json", "Idempotency-Key": f"deep-{depth}"},
        )
        problem = check_problem(answer, 422, "validation_failed", "meta")
        assert "50 levels" in problem["detail"]
    assert len((await hantar.get("/templates", account)).json["data"]) == 1


async def test_media_and_the_twin_at_meta_are_kept(hantar: Hantar, account: Account) -> None:
    media = {"type": "image", "url": "https://example.com/a.png", "filename": None, "caption": None}
    meta = {"name": "welcome_1", "language": "en_US", "components": [], "fallback": True}
    made = await put(hantar, account, media=media, meta=meta)
    assert (made["media"], made["meta"]) == (media, meta)
    path = f"/api/v1/templates/{made['id']}"
    answer = await hantar.call("PATCH", path, account, json={"media": None})
    assert (answer.json["data"]["media"], answer.json["data"]["meta"]) == (None, meta)


@pytest.mark.row("5.2-33")
async def test_another_accounts_template_is_not_there(hantar: Hantar, account: Account) -> None:
    made = await put(hantar, await hantar.account())
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        path = f"/api/v1/templates/{made['id']}"
        check_problem(await hantar.call(method, path, account, json=body), 404, "not_found")
    answer = await hantar.post(
        "/messages/send", account, {"phone": "0123456789", "template_id": made["id"]}
    )
    check_problem(answer, 422, "validation_failed", "template_id")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("meta", {"name": "x", "language": "ms", "components": [{"type": "body", "a\0": []}]}),
        ("meta", {"name": "x", "language": "ms", "components": [{"text": ["deep", {"b": "\0"}]}]}),
        ("meta", {"name": "x", "language": "ms", "components": [{"number": 2**64}]}),
        ("media", {"type": "image", "url": "https://example.com/a.png", "caption": "a\0b"}),
    ],
)
async def test_what_a_database_cannot_keep_is_refused(
    hantar: Hantar, account: Account, field: str, value: Any
) -> None:
    body = {"name": "Hi", "body": "Hello"}
    answer = await hantar.post("/templates", account, body | {field: value})
    check_problem(answer, 422, "validation_failed", field)
    made = await put(hantar, account)
    path = f"/api/v1/templates/{made['id']}"
    answer = await hantar.call("PATCH", path, account, json={field: value})
    check_problem(answer, 422, "validation_failed", field)
