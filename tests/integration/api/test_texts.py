"""What may stand in a text, and what templates make of it."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.integration.api.checks import check_problem, nothing_done
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHONE = "0123456789"
FAMILY = "👨‍👩‍👧‍👦"  # seven code points
LIMIT = 4096


async def check_refused(
    hantar: Hantar, account: Account, body: dict[str, Any], field: str, code: str | None = None
) -> None:
    """422 that names the field, alone and as an item of a bulk; nothing is charged."""
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, body)
        check_problem(answer, 422, code or "validation_failed", field)
        answer = await hantar.post("/messages/bulk", account, {"messages": [body]})
        check_problem(answer, 422, "validation_failed", f"messages.0.{field}")


async def sent_text(hantar: Hantar, account: Account, **fields: Any) -> str:
    """The text that goes out; the same alone and as an item of a bulk."""
    body = {"phone": PHONE, **fields}
    answer = await hantar.post("/messages/send", account, body)
    assert answer.status == 202, answer.json
    text: str = answer.json["data"]["body"]
    answer = await hantar.post("/messages/bulk", account, {"messages": [body]})
    message = await hantar.message(account, answer.json["queued"][0]["id"])
    assert message["body"] == text
    return text


@pytest.mark.row("5.4-60")
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"body": "a\0b"}, "body"),
        ({"body": "\0"}, "body"),
        ({"name": "a\0"}, "name"),
        ({"external_id": "\0a"}, "external_id"),
        ({"reference": "a\0"}, "reference"),
        ({"attributes": {"plan": "a\0"}}, "attributes"),
        ({"attributes": {"plan\0": "a"}}, "attributes"),
        ({"variables": {"plan": "a\0"}}, "variables"),
    ],
)
async def test_nul_is_422_in_every_text(
    hantar: Hantar, account: Account, fields: dict[str, Any], field: str
) -> None:
    await check_refused(hantar, account, {"phone": PHONE, "body": "hello", **fields}, field)


@pytest.mark.row("5.4-62")
@pytest.mark.parametrize(
    "body",
    ["x" * LIMIT, "😀" * LIMIT, FAMILY * 585, "e\u0301" * (LIMIT // 2), "ی" * LIMIT,
     "\n" * 4095 + "x"],
    ids=["ascii", "emoji", "families", "combining", "right-to-left", "lines"],
)  # fmt: skip
async def test_a_body_has_up_to_4096_code_points(
    hantar: Hantar, account: Account, body: str
) -> None:
    assert await sent_text(hantar, account, body=body) == body


@pytest.mark.row("5.4-62")
@pytest.mark.parametrize(
    "body",
    ["x" * (LIMIT + 1), "😀" * (LIMIT + 1), FAMILY * 586, "e\u0301" * (LIMIT // 2) + "\u0301"],
    ids=["ascii", "emoji", "families", "combining"],
)
async def test_one_code_point_more_is_422(hantar: Hantar, account: Account, body: str) -> None:
    await check_refused(hantar, account, {"phone": PHONE, "body": body}, "body")


@pytest.mark.row("5.4-63")
@pytest.mark.parametrize(
    "body",
    [None, "", " ", "\n\t\r ", "\u200b", "\u200b\u200d\ufeff", "\u00a0\u2003", "\u2800", "\u3164",
     "\u00ad", "\ufe0f", "\u202e"],
)  # fmt: skip
async def test_a_body_with_nothing_to_read_is_422(
    hantar: Hantar, account: Account, body: str | None
) -> None:
    await check_refused(hantar, account, {"phone": PHONE, "body": body}, "body")


@pytest.mark.row("5.4-63")
async def test_a_missing_body_is_422(hantar: Hantar, account: Account) -> None:
    await check_refused(hantar, account, {"phone": PHONE}, "body")
    both = {"phone": PHONE, "body": "hello", "template_id": 1}
    await check_refused(hantar, account, both, "body")


@pytest.mark.row("5.4-64")
@pytest.mark.parametrize("body", [1, 1.5, True, ["hello"], {"text": "hello"}])
async def test_a_body_that_is_no_string_is_422(hantar: Hantar, account: Account, body: Any) -> None:
    await check_refused(hantar, account, {"phone": PHONE, "body": body}, "body")


@pytest.mark.row("5.4-64")
async def test_a_body_of_ten_megabytes_is_refused(hantar: Hantar, account: Account) -> None:
    item = b'{"phone":"0123456789","body":"' + b"x" * 10_000_000 + b'"}'
    headers = {"Content-Type": "application/json"}
    async with nothing_done(hantar, account):
        answer = await hantar.call(
            "POST", "/api/v1/messages/send", account, data=io.BytesIO(item), headers=headers
        )
        check_problem(answer, 413, "payload_too_large")
        bulk = io.BytesIO(b'{"messages":[' + item + b"]}")
        answer = await hantar.call(
            "POST", "/api/v1/messages/bulk", account, data=bulk, headers=headers
        )
        check_problem(answer, 422, "validation_failed", "messages.0.body")


@pytest.mark.row("5.4-65")
@pytest.mark.parametrize(
    ("body", "fields", "text"),
    [
        ("Hi {{name}}!", {}, "Hi !"),
        ("Hi {{ name }}!", {"name": "Ali"}, "Hi Ali!"),
        ("Hi {{name}}!", {"name": "Ali"}, "Hi Ali!"),
        ("Hi {{Name}}!", {"name": "Ali"}, "Hi !"),
        ("Hi {{unknown}}!", {"name": "Ali"}, "Hi !"),
        ("Hi {{name|there}}!", {}, "Hi there!"),
        ("Hi {{name|there}}!", {"name": "Ali"}, "Hi Ali!"),
        ("{{phone}} {{external_id}}", {"external_id": "crm-42"}, "+60123456789 crm-42"),
        ("{{plan}} {{n}} {{ok}} {{no}}.", {"attributes": {"plan": "gold", "n": 3, "ok": True,
         "no": None}}, "gold 3 true ."),
        ("{{plan}}", {"attributes": {"plan": "gold"}, "variables": {"plan": "iron"}}, "iron"),
    ],
)  # fmt: skip
async def test_placeholders_are_filled_or_left_out(
    hantar: Hantar, account: Account, body: str, fields: dict[str, Any], text: str
) -> None:
    fields = {"variables": {}, "save_contact": False} | fields
    assert await sent_text(hantar, account, body=body, **fields) == text


@pytest.mark.row("5.4-65")
async def test_a_body_that_renders_to_nothing_is_422(hantar: Hantar, account: Account) -> None:
    body = {"phone": PHONE, "body": "{{name}}", "variables": {}}
    await check_refused(hantar, account, body, "body")


@pytest.mark.row("5.4-65", "5.4-66")
@pytest.mark.parametrize("body", ["Hi {{name}}", "{{", "{{{{name}}}}", "{%raw%}", "${x} %s {0}"])
async def test_without_variables_a_body_is_literal(
    hantar: Hantar, account: Account, body: str
) -> None:
    assert await sent_text(hantar, account, body=body, name="Ali") == body


@pytest.mark.row("5.4-66")
@pytest.mark.parametrize(
    "body",
    ["{{ {{name}} }}", "{{{{name}}}}", "{{name", "Hi {{", "{{}}", "{{ }}", "{{a.b}}", "{{7*7}}",
     "{{{name}}}", "{{name()}}", "{{na me}}", "{{7}}", "{{name|{{x}}}}", "{{#if x}}", "{{ñ}}"],
)  # fmt: skip
async def test_malformed_placeholders_are_422(hantar: Hantar, account: Account, body: str) -> None:
    item = {"phone": PHONE, "body": body, "variables": {"name": "Ali"}}
    await check_refused(hantar, account, item, "body")


@pytest.mark.row("5.4-66")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Hi }} {{name}}", "Hi }} Ali"),
        ("{%raw%} {name} ${name} %(name)s {{name}}", "{%raw%} {name} ${name} %(name)s Ali"),
        ("a{{__class__}}b{{__init__}}c", "abc"),
    ],
)
async def test_what_looks_like_code_is_text(
    hantar: Hantar, account: Account, body: str, text: str
) -> None:
    assert await sent_text(hantar, account, body=body, variables={"name": "Ali"}) == text


@pytest.mark.row("5.4-66")
async def test_values_are_not_expanded_again(hantar: Hantar, account: Account) -> None:
    variables = {"a": "{{b}}", "b": "{{a}} {{7*7}} }}"}
    text = await sent_text(hantar, account, body="{{a}}{{b}}", variables=variables)
    assert text == "{{b}}{{a}} {{7*7}} }}"


@pytest.mark.row("5.4-68")
async def test_a_body_that_grows_too_long_is_not_charged(hantar: Hantar, account: Account) -> None:
    grown = {"phone": PHONE, "body": "{{a}}" * 5, "variables": {"a": "x" * 1024}}
    await check_refused(hantar, account, grown, "body")
    just = {**grown, "body": "{{a}}" * 4}
    answer = await hantar.post("/messages/bulk", account, {"messages": [grown, just]})
    assert answer.status == 202
    assert [item["index"] for item in answer.json["queued"]] == [1]
    assert answer.json["credits"]["charged"] == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "x" * 256}, "name"),
        ({"name": " "}, "name"),
        ({"name": 1}, "name"),
        ({"external_id": "x" * 256}, "external_id"),
        ({"reference": "x" * 256}, "reference"),
        ({"attributes": []}, "attributes"),
        ({"attributes": {"a": {}}}, "attributes"),
        ({"attributes": {"a": []}}, "attributes"),
        ({"attributes": {"1a": 1}}, "attributes"),
        ({"attributes": {"": 1}}, "attributes"),
        ({"attributes": {"a" * 65: 1}}, "attributes"),
        ({"attributes": {"a": "x" * 1025}}, "attributes"),
        ({"attributes": {f"a{place}": 1 for place in range(51)}}, "attributes"),
        ({"save_contact": "yes"}, "save_contact"),
        ({"save_contact": 1}, "save_contact"),
        ({"priority": "urgent"}, "priority"),
        ({"priority": 0}, "priority"),
        ({"delivery": "twice"}, "delivery"),
        ({"device": "1"}, "device"),
        ({"device": 0}, "device"),
        ({"device": 1.5}, "device"),
        ({"template_id": "1", "body": None}, "template_id"),
    ],
)
async def test_other_fields_are_checked_too(
    hantar: Hantar, account: Account, fields: dict[str, Any], field: str
) -> None:
    await check_refused(hantar, account, {"phone": PHONE, "body": "hello", **fields}, field)
