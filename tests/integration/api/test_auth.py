"""Who may ask, and for what: keys, verified e-mails, other accounts' things, lists."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from service.core.keys import new_key
from tests.integration.api.checks import check_problem, nothing_done
from tests.integration.api.wire import BODY, JSON, LIST, SEND, exchange, length
from tests.system import Account, Answer, Hantar

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"phone": "0123456789", "body": "hello"}


def check_unauthenticated(answer: Answer) -> None:
    problem = check_problem(answer, 401, "unauthenticated")
    assert problem["detail"] == "Send a valid API key as Authorization: Bearer <key>."
    challenge = CIMultiDict(answer.headers)["WWW-Authenticate"]
    assert challenge == 'Bearer realm="hantar"'


@pytest.mark.row("5.2-30", "5.2-31")
@pytest.mark.parametrize(
    "value",
    [None, "", "Bearer", "Bearer ", "Basic {key}", "Token {key}", "{key}", "Bearer{key}",
     "Bearer\t{key}", "Bearer {key}x", "x{key}", "Bearer {key} {key}", "Bearer {key},{key}",
     'Bearer "{key}"', "Bearer {flipped}", "Bearer {cut}", "Bearer {lower}", "Bearer {unknown}",
     "Bearer hantar_live_", "Bearer ключ", "Bearer " + "a" * 7000],
)  # fmt: skip
async def test_without_a_valid_key_everything_is_401(
    hantar: Hantar, account: Account, value: str | None
) -> None:
    key = account.key
    forms = {
        "key": key,
        "flipped": key[:-1] + ("a" if key[-1] != "a" else "b"),
        "cut": key[:-1],
        "lower": key.lower(),
        "unknown": new_key(),
    }
    headers = {"Authorization": value.format(**forms)} if value is not None else {}
    async with nothing_done(hantar, account):
        for method, path, request in (
            ("GET", "/messages", {}),
            ("GET", "/messages/1", {}),
            ("POST", "/messages/send", {"json": GOOD}),
            ("POST", "/messages/bulk", {"json": {"messages": [GOOD]}}),
        ):
            answer = await hantar.call(method, f"/api/v1{path}", headers=headers, **request)
            check_unauthenticated(answer)


@pytest.mark.row("5.2-30")
async def test_the_scheme_knows_no_case(hantar: Hantar, account: Account) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"Authorization": f"{scheme} {account.key}"}
        answer = await hantar.call("GET", "/api/v1/messages", headers=headers)
        assert answer.status == 200


@pytest.mark.row("5.2-30", "5.2-31")
async def test_two_keys_and_bytes_that_are_no_text_are_401(
    hantar: Hantar, account: Account
) -> None:
    key = b"Authorization: Bearer " + account.key.encode()
    for lines in (key + b"\r\n" + key, key + b"\xff", b"Authorization: Bearer \xff\xfe"):
        for head in (LIST, SEND + b"\r\n" + JSON + b"\r\n" + length(BODY)):
            async with nothing_done(hantar, account):
                data = head + b"\r\nHost: test\r\n" + lines + b"\r\n\r\n"
                check_unauthenticated(
                    await exchange(hantar, data + (BODY if head != LIST else b""))
                )


@pytest.mark.row("5.2-31")
async def test_a_key_of_a_megabyte_is_refused(hantar: Hantar, account: Account) -> None:
    lines = b"Authorization: Bearer " + b"a" * 1_000_000
    answer = await exchange(hantar, LIST + b"\r\nHost: test\r\n" + lines + b"\r\n\r\n")
    assert answer.status == 400


@pytest.mark.row("5.2-31")
async def test_a_key_in_the_query_is_no_key(hantar: Hantar, account: Account) -> None:
    for name in ("key", "api_key", "access_token", "token"):
        check_unauthenticated(await hantar.call("GET", f"/api/v1/messages?{name}={account.key}"))


@pytest.mark.row("5.2-31")
@pytest.mark.parametrize("change", ["revoked_at = now()", "expires_at = now()"])
async def test_a_key_that_is_over_is_401(hantar: Hantar, account: Account, change: str) -> None:
    assert (await hantar.get("/messages", account)).status == 200
    await hantar.pool.execute(f"UPDATE api_keys SET {change} WHERE account_id = $1", account.id)
    async with nothing_done(hantar, account):
        check_unauthenticated(await hantar.get("/messages", account))
        check_unauthenticated(await hantar.post("/messages/send", account, GOOD))


@pytest.mark.row("5.2-32")
async def test_an_unverified_account_reads_but_does_not_send(hantar: Hantar) -> None:
    account = await hantar.account(verified=False)
    async with nothing_done(hantar, account):
        for path, body in (("send", GOOD), ("bulk", {"messages": [GOOD]}), ("send", [])):
            answer = await hantar.post(f"/messages/{path}", account, body)
            check_problem(answer, 403, "email_unverified")
    assert (await hantar.get("/messages", account)).status == 200
    check_problem(await hantar.get("/messages/1", account), 404, "not_found")


@pytest.mark.row("5.2-32")
async def test_losing_the_verification_stops_the_next_send(
    hantar: Hantar, account: Account
) -> None:
    assert (await hantar.post("/messages/send", account, GOOD)).status == 202
    await hantar.pool.execute(
        "UPDATE accounts SET email_verified_at = NULL WHERE id = $1", account.id
    )
    answer = await hantar.post("/messages/send", account, GOOD)
    check_problem(answer, 403, "email_unverified")


@pytest.mark.row("5.2-33")
async def test_a_message_of_another_account_is_as_if_it_were_not(
    hantar: Hantar, account: Account
) -> None:
    stranger = await hantar.account()
    made = await hantar.post("/messages/send", account, GOOD)
    own_id = made.json["data"]["id"]
    assert (await hantar.get(f"/messages/{own_id}", account)).status == 200
    foreign = check_problem(await hantar.get(f"/messages/{own_id}", stranger), 404, "not_found")
    absent = check_problem(await hantar.get("/messages/999999999", stranger), 404, "not_found")
    assert foreign | {"request_id": ""} == absent | {"request_id": ""}
    for query in ("", "?phone=0123456789", "?status=queued", "?cursor="):
        assert (await hantar.get(f"/messages{query}", stranger)).json["data"] == []


@pytest.mark.row("5.2-34")
async def test_a_device_and_a_template_of_another_account_do_not_exist(
    hantar: Hantar, account: Account
) -> None:
    stranger = await hantar.account()
    template_id = await hantar.pool.fetchval(
        "INSERT INTO templates (account_id, name, slug, body) VALUES ($1, 'n', 's', 'Hi') "
        "RETURNING id",
        stranger.id,
    )
    phone = {"phone": "0123456789"}
    for body, field in (
        ({**GOOD, "device": stranger.device_id}, "device"),
        ({**GOOD, "device": 999_999_999}, "device"),
        ({**phone, "template_id": template_id}, "template_id"),
        ({**phone, "template_id": 999_999_999}, "template_id"),
    ):
        async with nothing_done(hantar, account):
            answer = await hantar.post("/messages/send", account, body)
            check_problem(answer, 422, "validation_failed", field)
            answer = await hantar.post("/messages/bulk", account, {"messages": [body]})
            check_problem(answer, 422, "validation_failed", f"messages.0.{field}")


@pytest.mark.row("5.2-35")
@pytest.mark.parametrize(
    "field",
    ["id", "account", "account_id", "tenant_id", "user_id", "credits", "balance", "credit",
     "status", "created_at", "sent_at", "email_verified", "driver", "device_id", "contact_id",
     "campaign_id", "provider_id", "attempts", "error", "opted_out", "Phone", "phone "],
)  # fmt: skip
async def test_fields_that_are_not_the_callers_to_set_are_422(
    hantar: Hantar, account: Account, field: str
) -> None:
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, {**GOOD, field: 1})
        check_problem(answer, 422, "unknown_field", field)
        answer = await hantar.post("/messages/bulk", account, {"messages": [GOOD], field: 1})
        check_problem(answer, 422, "unknown_field", field)
        answer = await hantar.post("/messages/bulk", account, {"messages": [{**GOOD, field: 1}]})
        check_problem(answer, 422, "validation_failed", f"messages.0.{field}")
        assert answer.json["rejected"][0]["code"] == "unknown_field"
        assert answer.json["rejected"][0]["phone"] == GOOD["phone"]


@pytest.mark.row("5.2-37", "5.2-38", "5.2-39")
@pytest.mark.parametrize(
    ("query", "field"),
    [
        *[(f"per_page={value}", "per_page") for value in ("0", "-1", "101", "1000000000", "abc",
          "25.5", "", "1e1", "%2B5", "5%20", "%D9%A5", "0x5", "null", "5&per_page=5")],
        *[(f"page={value}", "page") for value in ("0", "-1", "9223372036854775808", "9" * 300,
          "abc", "", "1.0", "1&page=1", "1&cursor=")],
        *[(f"cursor={value}", "cursor") for value in ("abc", "%00", "%FF", "1", "A" * 27, "=", "é",
          "a" * 5000, "%F0%9F%98%80")],
        *[(f"status={value}", "status") for value in ("bogus", "", "QUEUED", "queued,sent", "1",
          "queued&status=sent", "queued&status=queued", "%00", "'; DROP TABLE messages; --")],
        ("status[]=queued", "status[]"),
        *[(f"campaign_id={value}", "campaign_id") for value in ("0", "-1", "abc", "", "1' OR '1")],
        *[(f"contact_id={value}", "contact_id") for value in ("0", str(2**63), "abc", "")],
        ("unknown=1", "unknown"),
        ("perpage=5", "perpage"),
        ("search=x", "search"),
    ],
)  # fmt: skip
async def test_parameters_that_are_not_sound_are_422(
    hantar: Hantar, account: Account, query: str, field: str
) -> None:
    known = {"per_page", "page", "cursor", "status", "campaign_id", "contact_id"}
    code = "validation_failed" if field in known else "unknown_field"
    check_problem(await hantar.get(f"/messages?{query}", account), 422, code, field)


@pytest.mark.row("5.2-37")
async def test_one_to_a_hundred_a_page_are_shown(hantar: Hantar, account: Account) -> None:
    for given, used in (("", 25), ("?per_page=1", 1), ("?per_page=100", 100)):
        answer = await hantar.get(f"/messages{given}", account)
        assert (answer.status, answer.json["meta"]["per_page"]) == (200, used)


@pytest.mark.row("5.2-38")
async def test_a_cursor_that_was_altered_or_is_anothers_is_422(
    hantar: Hantar, account: Account
) -> None:
    stranger = await hantar.account()
    for owner in (account, stranger):
        for body in ("one", "two", "three"):
            await hantar.post("/messages/send", owner, {**GOOD, "body": body})
    own = await hantar.get("/messages?per_page=1&cursor=", account)
    cursor = own.json["meta"]["next_cursor"]
    assert (await hantar.get(f"/messages?cursor={cursor}", account)).status == 200
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    altered = [cursor[:-1] + char for char in alphabet if char != cursor[-1]]
    altered += ["B" + cursor[1:], cursor[:-1], cursor + "A", cursor + "=", cursor[:11], cursor * 2]
    for each in altered:
        answer = await hantar.get(f"/messages?cursor={each}", account)
        check_problem(answer, 422, "validation_failed", "cursor")
    answer = await hantar.get(f"/messages?cursor={cursor}", stranger)
    check_problem(answer, 422, "validation_failed", "cursor")


@pytest.mark.row("5.2-38")
async def test_a_page_past_the_end_is_empty(hantar: Hantar, account: Account) -> None:
    await hantar.post("/messages/send", account, GOOD)
    for page in (2, 1000, 1_000_001, 10**12, 2**63 - 1):
        answer = await hantar.get(f"/messages?page={page}", account)
        assert (answer.status, answer.json["data"]) == (200, [])
        assert answer.json["meta"]["current_page"] == page
        assert answer.json["meta"]["from"] is None
        assert answer.json["meta"]["total"] == 1
