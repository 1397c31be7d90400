"""What counts as a Malaysian phone, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.checks import check_problem, nothing_done
from tests.system import Account, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPELLINGS = ["0123456789", "012-345 6789", "+60123456789", "60123456789", "0060123456789",
             "+60(0)123456789", "+600123456789", "+60 12-345 6789", "(012) 345 6789",
             "012.345.6789", "123456789"]  # fmt: skip


async def check_taken(hantar: Hantar, account: Account, phone: str, e164: str) -> None:
    answer = await hantar.post("/messages/send", account, {"phone": phone, "body": "hello"})
    assert answer.status == 202, phone
    assert answer.json["data"]["phone"] == e164


async def check_refused(hantar: Hantar, account: Account, phone: Any) -> None:
    """422 alone and in a bulk, with the phone as it was given if it was a text."""
    code = "invalid_phone" if isinstance(phone, str) else "validation_failed"
    item = {"phone": phone, "body": "hello"}
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, item)
        check_problem(answer, 422, code, "phone")
        answer = await hantar.post("/messages/bulk", account, {"messages": [item]})
        check_problem(answer, 422, "validation_failed", "messages.0.phone")
        [rejected] = answer.json["rejected"]
        assert rejected["code"] == code
        assert rejected["phone"] == (phone if isinstance(phone, str) else None)


@pytest.mark.row("5.3-46")
@pytest.mark.parametrize("phone", SPELLINGS)
async def test_every_spelling_is_one_number(hantar: Hantar, account: Account, phone: str) -> None:
    await check_taken(hantar, account, phone, "+60123456789")


@pytest.mark.row("5.3-46")
async def test_the_spellings_of_a_number_are_one_contact_and_one_message(
    hantar: Hantar, account: Account
) -> None:
    items = [{"phone": phone, "body": "hello", "name": "Ali"} for phone in SPELLINGS]
    answer = await hantar.post("/messages/bulk", account, {"messages": items})
    assert answer.status == 202
    assert [item["phone"] for item in answer.json["queued"]] == ["+60123456789"]
    assert [item["code"] for item in answer.json["rejected"]] == ["duplicate"] * 10
    assert answer.json["credits"]["charged"] == 1
    contacts = await hantar.pool.fetch(
        "SELECT phone FROM contacts WHERE account_id = $1", account.id
    )
    assert [row["phone"] for row in contacts] == ["+60123456789"]


@pytest.mark.row("5.3-47", "5.3-48", "5.3-49", "5.3-50")
@pytest.mark.parametrize(
    ("phone", "e164"),
    [
        ("01112345678", "+601112345678"),
        ("0147123456", "+60147123456"),
        ("+60321234567", "+60321234567"),
        ("082234567", "+6082234567"),
        ("+601546012345", "+601546012345"),
    ],
)
async def test_mobiles_landlines_and_voip_are_taken(
    hantar: Hantar, account: Account, phone: str, e164: str
) -> None:
    await check_taken(hantar, account, phone, e164)


@pytest.mark.row("5.3-47", "5.3-48", "5.3-49", "5.3-50", "5.3-51", "5.3-52", "5.3-53")
@pytest.mark.parametrize(
    "phone",
    ["0111234567", "011123456", "0141234567", "0151234567", "0101234567", "0312345678",
     "1300881234", "1800881234", "+601600123456", "999", "15888", "62003", "+60", "60", "0060",
     "0", "+", "", "   ", "-", "()", "+6580123456", "+6590000000", "+14155552671",
     "+447911123456"],
)  # fmt: skip
async def test_what_is_no_reachable_malaysian_number_is_422(
    hantar: Hantar, account: Account, phone: str
) -> None:
    await check_refused(hantar, account, phone)


@pytest.mark.row("5.3-46", "5.3-54", "5.3-56", "5.3-57", "5.3-58")
@pytest.mark.parametrize(
    "phone",
    ["tel:+60-12-345-6789", "0１２３４５６７８９", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "\x000123456789",
     "0123456789\n", "\t0123456789", " 0123456789", "\u200b0123456789", "012\u00a03456789",
     "O123456789", "012EASYPLS", "-60123456789", "0123456789 ext 5", "0123456789;ext=5",
     "0123456789x5", "++60123456789", "+60+123456789", "0123456789,0198887777",
     "0123456789/0198887777", "0123456789 0198887777", "1" * 40, "0123456789" + "0" * 241, "6e10",
     "0x1", "0123456789 😀", "012–345–6789", "012/3456789", "'; DROP TABLE messages; --"],
)  # fmt: skip
async def test_what_only_looks_like_a_number_is_422(
    hantar: Hantar, account: Account, phone: str
) -> None:
    await check_refused(hantar, account, phone)


@pytest.mark.row("5.3-59")
@pytest.mark.parametrize(
    "phone", [60123456789, 60123456789.0, True, None, ["0123456789"], {"number": "0123456789"}]
)
async def test_a_phone_that_is_no_string_is_422(
    hantar: Hantar, account: Account, phone: Any
) -> None:
    await check_refused(hantar, account, phone)


async def test_the_list_is_narrowed_by_any_spelling(hantar: Hantar, account: Account) -> None:
    await check_taken(hantar, account, "0123456789", "+60123456789")
    await check_taken(hantar, account, "0198887777", "+60198887777")
    # A + that stands bare in a query reads as a space.
    for spelling in (
        "0123456789",
        "%2B60123456789",
        "+60123456789",
        "60123456789",
        "012-345%206789",
    ):
        answer = await hantar.get(f"/messages?phone={spelling}", account)
        assert [item["phone"] for item in answer.json["data"]] == ["+60123456789"], spelling
    for spelling in ("", "x", "%00", "0123456789&phone=0198887777"):
        answer = await hantar.get(f"/messages?phone={spelling}", account)
        assert answer.status == 422
        check_problem(answer, 422, answer.json["code"], "phone")
