"""Bodies that are no JSON are 400; JSON that is not what is asked for is 422."""

from __future__ import annotations

import orjson
import pytest

from tests.integration.api.checks import check_problem, nothing_done
from tests.system import Account, Answer, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"phone": "0123456789", "body": "hello"}
DIGITS = b"1" * 5000
DEEP = b"[" * 30_000 + b"]" * 30_000


async def send_raw(
    hantar: Hantar,
    account: Account,
    raw: bytes,
    *,
    to: str = "send",
    media: str = "application/json",
    **headers: str,
) -> Answer:
    return await hantar.call(
        "POST",
        f"/api/v1/messages/{to}",
        account,
        data=raw,
        headers={"Content-Type": media, **headers},
    )


@pytest.mark.row("5.1-1")
@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":',
        b'{"phone":',
        b'{"phone":"0123456789","body":"hello"',
        b'{"phone":"0123456789","body":"hello",}',
        b'{"phone":"0123456789" "body":"hello"}',
        b"{'phone':'0123456789'}",
        b'{"phone":01}',
        b'{"phone":1.}',
        b'{"unknown":1} and more',
        b'{"phone":"0123456789","body":"hello"}{}',
        b"/**/{}",
        b'{"phone":"0123456789","body":"a\tb"}',
        b'{"phone":"0123456789","body":"a\0b"}',
        b'{"phone":"0123456789","body":"\\x41"}',
        b"phone=0123456789&body=hello",
        b'{"messages":[{"a":]}',
        b'{"messages":[{"phone":"0123456789","body":"hello"},]}',
        b'{"x":' + DEEP + b"}",
        DEEP,
        b'{"messages":[' + DEEP + b"]}",
    ],
)
async def test_malformed_json_is_400(hantar: Hantar, account: Account, raw: bytes) -> None:
    async with nothing_done(hantar, account):
        for to in ("send", "bulk"):
            check_problem(await send_raw(hantar, account, raw, to=to), 400, "invalid_json")


@pytest.mark.row("5.1-2")
@pytest.mark.parametrize("raw", [b"", b"   ", b"\r\n"])
async def test_no_body_is_400(hantar: Hantar, account: Account, raw: bytes) -> None:
    async with nothing_done(hantar, account):
        for to in ("send", "bulk"):
            check_problem(await send_raw(hantar, account, raw, to=to), 400, "invalid_json")


@pytest.mark.row("5.1-2")
@pytest.mark.parametrize("raw", [b"null", b"[]", b'"x"', b"1", b"true", b"[{}]"])
async def test_json_that_is_no_object_is_422(hantar: Hantar, account: Account, raw: bytes) -> None:
    async with nothing_done(hantar, account):
        for to in ("send", "bulk"):
            answer = await send_raw(hantar, account, raw, to=to)
            check_problem(answer, 422, "validation_failed", "body")


async def test_a_missing_field_is_named(hantar: Hantar, account: Account) -> None:
    async with nothing_done(hantar, account):
        for to, field in (("send", "phone"), ("bulk", "messages")):
            answer = await send_raw(hantar, account, b'{"body":"hello"}', to=to)
            check_problem(answer, 422, "validation_failed", field)


@pytest.mark.row("5.1-4", "5.1-5")
@pytest.mark.parametrize("number", [DIGITS, b"-" + DIGITS, b"1e999", b"1e400000", b"-1e999"])
@pytest.mark.parametrize(
    "field", [b'"phone":', b'"unknown":', b'"template_id":', b'"attributes":{"a":', b'"send_at":']
)
async def test_numbers_beyond_all_bounds_are_400(
    hantar: Hantar, account: Account, field: bytes, number: bytes
) -> None:
    end = b"}}" if b"{" in field else b"}"
    raw = b'{"phone":"0123456789","body":"hello",' + field + number + end
    async with nothing_done(hantar, account):
        for to in ("send", "bulk"):
            check_problem(await send_raw(hantar, account, raw, to=to), 400, "invalid_json")


@pytest.mark.row("5.1-5")
@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity", b"nan"])
async def test_words_that_are_no_numbers_are_400(
    hantar: Hantar, account: Account, word: bytes
) -> None:
    raw = b'{"phone":"0123456789","body":"hello","attributes":{"a":' + word + b"}}"
    async with nothing_done(hantar, account):
        check_problem(await send_raw(hantar, account, raw), 400, "invalid_json")
        raw = b'{"messages":[' + raw + b"]}"
        check_problem(await send_raw(hantar, account, raw, to="bulk"), 400, "invalid_json")


@pytest.mark.row("5.1-4")
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**30])
async def test_numbers_beyond_64_bits_are_422(
    hantar: Hantar, account: Account, number: int
) -> None:
    async with nothing_done(hantar, account):
        for field, value in (
            ("template_id", b"%d"),
            ("device", b"%d"),
            ("attributes", b'{"a":%d}'),
            ("variables", b'{"a":%d}'),
        ):
            raw = orjson.dumps(GOOD)[:-1] + b',"%s":' % field.encode() + value % number + b"}"
            check_problem(await send_raw(hantar, account, raw), 422, "validation_failed", field)


@pytest.mark.row("5.1-6")
async def test_the_last_of_duplicate_keys_wins(hantar: Hantar, account: Account) -> None:
    raw = b'{"phone":"0198887777","body":"first","phone":"0123456789","body":"last"}'
    for to, whole in (("send", raw), ("bulk", b'{"messages":[],"messages":[' + raw + b"]}")):
        answer = await send_raw(hantar, account, whole, to=to)
        assert answer.status == 202
    rows = await hantar.pool.fetch(
        "SELECT phone, body FROM messages WHERE account_id = $1", account.id
    )
    assert [tuple(row) for row in rows] == [("+60123456789", "last")] * 2


@pytest.mark.row("5.1-7")
@pytest.mark.parametrize(
    "raw",
    [
        b'{"phone":"0123456789","body":"\xff"}',
        b'{"\xff":"0123456789","body":"hello"}',
        b'{"unknown":1,"body":"\xff"}',
        b'{"phone":"0123456789","body":"\xed\xa0\x80"}',
        b'{"phone":"0123456789","body":"\xc0\xaf"}',
        b'{"messages":[{"phone":"0123456789","body":"\xff"},{"phone":"0198887777","body":"x"}]}',
    ],
)
async def test_bytes_that_are_not_utf8_are_400(
    hantar: Hantar, account: Account, raw: bytes
) -> None:
    async with nothing_done(hantar, account):
        for to in ("send", "bulk"):
            check_problem(await send_raw(hantar, account, raw, to=to), 400, "invalid_json")


@pytest.mark.row("5.1-8")
@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_a_byte_order_mark_and_utf16_are_400(
    hantar: Hantar, account: Account, coding: str
) -> None:
    raw = orjson.dumps(GOOD).decode().encode(coding)
    async with nothing_done(hantar, account):
        for media in ("application/json", f"application/json; charset={coding}"):
            answer = await send_raw(hantar, account, raw, media=media)
            check_problem(answer, 400, "invalid_json")


HALF = b'{"phone":"0123456789","body":"cut \\ud83d"}'


async def test_half_a_character_is_422(hantar: Hantar, account: Account) -> None:
    async with nothing_done(hantar, account):
        for raw in (
            HALF,
            b'{"phone":"\\udc00","body":"hello"}',
            b'{"phone":"0123456789","body":"hello","attributes":{"\\ud83d":1}}',
            b'{"phone":"0123456789","body":"hello","\\ud83d":1}',
        ):
            check_problem(await send_raw(hantar, account, raw), 422, "validation_failed")
        for raw in (b'["\\ud83d"]', b'{"body":"\\ud83d","messages":[]}', b'{"messages":"\\ud83d"}'):
            answer = await send_raw(hantar, account, raw, to="bulk")
            check_problem(answer, 422, "validation_failed")


async def test_half_a_character_costs_a_bulk_only_its_own_item(
    hantar: Hantar, account: Account
) -> None:
    raw = b'{"messages":[' + HALF + b"," + orjson.dumps(GOOD) + b"]}"
    first = await send_raw(hantar, account, raw, to="bulk", **{"Idempotency-Key": "half"})
    assert first.status == 202
    assert [item["index"] for item in first.json["queued"]] == [1]
    assert [(item["index"], item["code"]) for item in first.json["rejected"]] == [
        (0, "validation_failed")
    ]
    again = await send_raw(hantar, account, raw, to="bulk", **{"Idempotency-Key": "half"})
    assert again.json == first.json
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_a_whole_pair_of_escapes_is_one_character(hantar: Hantar, account: Account) -> None:
    raw = b'{"phone":"0123456789","body":"\\ud83d\\ude00"}'
    answer = await send_raw(hantar, account, raw)
    assert answer.status == 202
    assert answer.json["data"]["body"] == "😀"
