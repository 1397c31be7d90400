"""Imports of contacts from CSV: what is taken, what is refused, and how far it has come."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.integration.api.checks import check_problem, request_id
from tests.system import Account, Answer, Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CSV = {"Content-Type": "text/csv"}


async def upload(
    hantar: Hantar, account: Account, text: str | bytes, query: str = "", **headers: str
) -> Answer:
    data = text.encode() if isinstance(text, str) else text
    path = f"/api/v1/contacts/import{query}"
    file = io.BytesIO(data)
    return await hantar.call("POST", path, account, data=file, headers=CSV | headers)


async def completed(hantar: Hantar, account: Account, answer: Answer) -> dict[str, Any]:
    assert answer.status == 202, answer.json

    async def look() -> Any:
        found = await hantar.get(f"/contacts/imports/{answer.json['data']['id']}", account)
        return found.json["data"] if found.json["data"]["state"] == "completed" else None

    done: dict[str, Any] = await eventually(look)
    return done


async def refused(hantar: Hantar, account: Account, import_id: int) -> list[dict[str, str]]:
    answer = await hantar.get(f"/contacts/imports/{import_id}/errors", account)
    assert answer.status == 200
    return list(csv.DictReader(io.StringIO(answer.json)))


def counts(done: dict[str, Any]) -> tuple[int, ...]:
    return tuple(done[name] for name in ("rows", "done", "created", "updated", "rejected"))


async def contacts(hantar: Hantar, account: Account) -> list[Any]:
    rows: list[Any] = (await hantar.get("/contacts", account)).json["data"]
    return rows[::-1]


async def test_rows_become_contacts_and_other_columns_attributes(
    hantar: Hantar, account: Account
) -> None:
    text = (
        "phone,name,city,external_id\r\n"
        '0123456701,"Tan, Wei",Ipoh,a1\r\n'
        '012-345 6702,"two\nlines",,\r\n'
        "\r\n"
        "+60123456703,,Johor,\r\n"
    )
    done = await completed(hantar, account, await upload(hantar, account, "\ufeff" + text))
    assert counts(done) == (3, 3, 3, 0, 0)
    assert [
        (row["phone"], row["name"], row["external_id"], row["attributes"])
        for row in await contacts(hantar, account)
    ] == [
        ("+60123456701", "Tan, Wei", "a1", {"city": "Ipoh"}),
        ("+60123456702", "two\nlines", None, {}),
        ("+60123456703", None, None, {"city": "Johor"}),
    ]


async def test_text_stays_as_it_is_written(hantar: Hantar, account: Account) -> None:
    names = ["C:\\u0000x", '\\"', "a\\", "a\u2028\ufffe", "فاطمة"]
    file = io.StringIO()
    csv.writer(file).writerows(
        [["phone", "name"], *([f"012345670{n}", name] for n, name in enumerate(names))]
    )
    await completed(hantar, account, await upload(hantar, account, file.getvalue()))
    assert [row["name"] for row in await contacts(hantar, account)] == names


async def test_a_fault_is_told_by_the_line_its_row_begins_on(
    hantar: Hantar, account: Account
) -> None:
    text = 'phone,name\n\n12,"two\nlines"\n , \n13,\n0123456701,A\n14,\n'
    done = await completed(hantar, account, await upload(hantar, account, text))
    assert counts(done) == (4, 4, 1, 0, 3)
    assert [row["line"] for row in await refused(hantar, account, done["id"])] == ["3", "6", "8"]


async def test_head_of_the_errors(hantar: Hantar, account: Account) -> None:
    done = await completed(hantar, account, await upload(hantar, account, "phone\n12\n"))
    path = f"/api/v1/contacts/imports/{done['id']}/errors"
    head = await hantar.call("HEAD", path, account, headers={"X-Request-Id": "mine"})
    assert (head.status, head.json) == (200, "")
    assert request_id(head) == "mine"
    assert head.headers["Content-Type"] == "text/csv; charset=utf-8"


async def test_a_phone_met_again_is_updated(hantar: Hantar, account: Account) -> None:
    await hantar.post("/contacts", account, {"phone": "0123456701", "name": "Old"})
    text = "name,phone\nNew,0123456701\nWei,0123456702\n,60123456702\n"
    done = await completed(hantar, account, await upload(hantar, account, text))
    assert counts(done) == (3, 3, 1, 2, 0)
    assert [row["name"] for row in await contacts(hantar, account)] == ["New", "Wei"]


async def test_faulty_rows_are_told_and_the_others_taken(hantar: Hantar, account: Account) -> None:
    long = "x" * 300
    text = (
        f"phone,name,note\n12,A,\n0123456701,B\n0123456702,C\0,\n=1+1,D,\n"
        f"0123456703,{long},\n0123456704,E,{'y' * 1025}\n0123456705,F,\n"
    )
    done = await completed(hantar, account, await upload(hantar, account, text))
    assert counts(done) == (7, 7, 1, 0, 6)
    rows = await refused(hantar, account, done["id"])
    assert [(row["line"], row["phone"], row["code"]) for row in rows] == [
        ("2", "12", "invalid_phone"),
        ("3", "", "wrong_number_of_cells"),
        ("4", "0123456702", "validation_failed"),
        ("5", "'=1+1", "invalid_phone"),
        ("6", "0123456703", "validation_failed"),
        ("7", "0123456704", "validation_failed"),
    ]
    assert all(row["detail"] for row in rows)
    assert [row["name"] for row in await contacts(hantar, account)] == ["F"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "phone\n",
        "name\nWei\n",
        "phone,phone\n0123456701,0123456701\n",
        "phone,full name\n0123456701,Wei\n",
        'phone\n"0123456701\n',
        b"phone,name\n0123456701,\xff\n",
        "phone\n0123456701\n".encode("utf-16"),
        "phone" + "".join(f",c{n}" for n in range(60)) + "\n",
        "phone\n" + "0" * 200_000 + "\n",
        "phone,a,b\n0123456701" + ",x" * 100_000 + "\n",
        'phone,name\n0123456701,"' + "long\n" * 30_000 + '"\n',
        "phone\n" + "0123456701\n" * 100_001,
    ],
)
async def test_a_faulty_file_is_refused_whole(
    hantar: Hantar, account: Account, text: str | bytes
) -> None:
    check_problem(await upload(hantar, account, text), 422, "validation_failed", "file")
    assert (await hantar.get("/contacts/imports", account)).json["data"] == []


async def test_a_file_may_come_in_a_form_and_into_a_group(hantar: Hantar, account: Account) -> None:
    group = await hantar.post("/contact-groups", account, {"name": "Imported"})
    group_id = group.json["data"]["id"]
    form = aiohttp.FormData()
    form.add_field("note", "not the file")
    form.add_field("file", b"phone\n0123456701\n0123456702\n", filename="people.csv")
    path = f"/api/v1/contacts/import?group_id={group_id}"
    answer = await hantar.call("POST", path, account, data=form)
    done = await completed(hantar, account, answer)
    assert done["group_id"] == group_id
    members = await hantar.get(f"/contact-groups/{group_id}/contacts", account)
    assert members.json["meta"]["total"] == 2


_NAMED = b'Content-Disposition: form-data; name="file"\r\n'


@pytest.mark.parametrize(
    "part",
    [
        b"Content-Disposition form-data name=file +60123456789\r\n\r\nphone\n1\r\n--XX--\r\n",
        _NAMED + b"X Y: +60123456789\r\n\r\nphone\n1\r\n--XX--\r\n",
        _NAMED + b"X-Y: " + b"a" * 10_000 + b"\r\n\r\nphone\n1\r\n--XX--\r\n",
        _NAMED + b"X-Y: a\r\n" * 200 + b"\r\nphone\n1\r\n--XX--\r\n",
        b'Content-Disposition: form-data; name="_charset_"\r\n\r\n' + b"a" * 40 + b"\r\n--XX--\r\n",
        _NAMED + b"\r\nphone\n1\r\n",
        _NAMED + b"\r\nphone\n1\r\n--X",
        _NAMED + b"\r\nphone\n1",
        _NAMED,
    ],
)
async def test_a_malformed_form_is_400(hantar: Hantar, account: Account, part: bytes) -> None:
    answer = await hantar.call(
        "POST",
        "/api/v1/contacts/import",
        account,
        data=b"--XX\r\n" + part,
        headers={"Content-Type": "multipart/form-data; boundary=XX"},
    )
    check_problem(answer, 400, "bad_request")
    assert (await hantar.get("/contacts/imports", account)).json["data"] == []


async def test_bad_ways_to_send_a_file(hantar: Hantar, account: Account) -> None:
    foreign = await hantar.post("/contact-groups", await hantar.account(), {"name": "Theirs"})
    query = f"?group_id={foreign.json['data']['id']}"
    answer = await upload(hantar, account, "phone\n0123456701\n", query)
    check_problem(answer, 422, "validation_failed", "group_id")
    check_problem(
        await hantar.post("/contacts/import", account, {"phone": "1"}),
        415,
        "unsupported_media_type",
    )
    for headers in (
        {"Content-Type": "text/csv; charset=iso-8859-1"},
        {"Content-Encoding": "gzip"},
    ):
        answer = await upload(hantar, account, "phone\n0123456701\n", **headers)
        check_problem(answer, 415, "unsupported_media_type")
    answer = await upload(hantar, account, "phone\n0123456701\n", "?groupid=1")
    check_problem(answer, 422, "unknown_field", "groupid")
    form = aiohttp.FormData()
    form.add_field("other", b"phone\n", filename="x.csv")
    answer = await hantar.call("POST", "/api/v1/contacts/import", account, data=form)
    check_problem(answer, 422, "validation_failed", "file")
    check_problem(
        await upload(hantar, account, b"phone\n" + b"0" * (50 * 1024 * 1024)),
        413,
        "payload_too_large",
    )
    assert (await hantar.get("/contacts/imports", account)).json["data"] == []


async def test_few_files_of_an_account_come_at_once(hantar: Hantar, account: Account) -> None:
    path, rest = "/api/v1/contacts/import", asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"phone\n"
        await rest.wait()
        yield b"0123456701\n"

    async def send() -> Answer:
        answer = await hantar.call("POST", path, account, data=slow(), headers=CSV)
        if answer.status == 429:
            rest.set()
        return answer

    answers = await asyncio.gather(*(send() for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [202] * 4 + [429]
    assert (await send()).status == 202


async def test_the_same_key_imports_once(hantar: Hantar, account: Account) -> None:
    key = {"Idempotency-Key": "import-1"}
    first = await upload(hantar, account, "phone\n0123456701\n", **key)
    again = await upload(hantar, account, "phone\n0123456701\n", **key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json["data"]["id"] == first.json["data"]["id"]
    other = await upload(hantar, account, "phone\n0123456702\n", **key)
    check_problem(other, 422, "idempotency_key_reused", "Idempotency-Key")
    group = await hantar.post("/contact-groups", account, {"name": "G"})
    query = f"?group_id={group.json['data']['id']}"
    other = await upload(hantar, account, "phone\n0123456701\n", query, **key)
    check_problem(other, 422, "idempotency_key_reused", "Idempotency-Key")


async def test_another_accounts_import_is_not_there(hantar: Hantar, account: Account) -> None:
    other = await hantar.account()
    done = await completed(hantar, other, await upload(hantar, other, "phone\n0123456701\n"))
    check_problem(await hantar.get(f"/contacts/imports/{done['id']}", account), 404, "not_found")
    errors = await hantar.get(f"/contacts/imports/{done['id']}/errors", account)
    check_problem(errors, 404, "not_found")
