"""Accounts made by strangers, and e-mails verified over a real SMTP server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from multidict import CIMultiDict
from structlog.typing import EventDict

from service.core.email_token import GOOD_SECONDS, make_token
from service.ingress.accounts import SIGN_UPS
from service.store.pool import Pool
from tests.integration.api.checks import check_problem
from tests.servers.smtp import MailServer, link_in, mail_server, token_in
from tests.system import Account, Answer, Hantar, eventually, run_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC_URL = "https://api.example.com"
GOOD = {"phone": "0123456789", "body": "hello"}
_addresses = (f"198.51.{place // 250}.{place % 250 + 1}" for place in itertools.count())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mails() -> AsyncIterator[MailServer]:
    """Where mails go."""
    async with mail_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hantar(dsn: str, pool: Pool, mails: MailServer) -> AsyncIterator[Hantar]:
    """Hantar with open sign-up, behind a proxy."""
    async for running in run_app(
        dsn,
        pool,
        signup="open",
        smtp_url=mails.url,
        mail_from="Hantar <no-reply@example.com>",
        public_url=PUBLIC_URL,
        trusted_proxies="127.0.0.0/8",
    ):
        yield running


def somewhere() -> dict[str, str]:
    """Headers of a client that nobody has seen before."""
    return {"X-Forwarded-For": next(_addresses)}


async def sign_up(hantar: Hantar, email: str, **request: Any) -> Answer:
    """POST /accounts."""
    headers = somewhere() | request.pop("headers", {})
    body = {"name": "Kedai Contoh", "email": email}
    return await hantar.call("POST", "/api/v1/accounts", json=body, headers=headers, **request)


def caller(answer: Answer) -> Account:
    """The new account, ready to ask."""
    assert answer.status == 201, answer
    data = answer.json["data"]
    return Account(data["account"]["id"], data["key"]["key"], 0)


async def verify(hantar: Hantar, token: str, method: str = "GET") -> Answer:
    """Open the link of a mail."""
    return await hantar.call(method, f"/api/v1/verify-email?token={token}")


async def is_verified(hantar: Hantar, account: Account) -> bool:
    found: bool = (await hantar.get("/me", account)).json["data"]["account"]["email_verified"]
    return found


async def test_a_stranger_signs_up_verifies_and_may_send(
    hantar: Hantar, mails: MailServer, events: list[EventDict]
) -> None:
    answer = await sign_up(hantar, "siti@example.com")
    account = caller(answer)
    shown = answer.json["data"]
    assert shown["account"] == {
        "id": account.id, "name": "Kedai Contoh", "email": "siti@example.com",
        "email_verified": False, "balance": 0,
    }  # fmt: skip
    assert shown["key"].keys() == {"id", "name", "expires_at", "last_used_at", "key"}
    check_problem(await hantar.post("/messages/send", account, GOOD), 403, "email_unverified")

    mail = await mails.mail_to("siti@example.com")
    assert mail["From"] == "Hantar <no-reply@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert link_in(mail).startswith(f"{PUBLIC_URL}/api/v1/verify-email?token=")
    token = token_in(mail)
    answer = await verify(hantar, token)
    assert (answer.status, answer.json["data"]["email_verified"]) == (200, True)
    assert answer.headers["Cache-Control"] == "no-store"
    assert await is_verified(hantar, account)
    # Verified, but without a device and credits.
    check_problem(await hantar.post("/messages/send", account, GOOD), 422, "no_device")
    for secret in (token, account.key, "siti@example.com"):
        assert secret not in str(events)


async def test_a_link_that_a_scanner_opened_still_works_for_its_owner(
    hantar: Hantar, mails: MailServer
) -> None:
    account = caller(await sign_up(hantar, "amir@example.com"))
    token = token_in(await mails.mail_to("amir@example.com"))
    assert (await verify(hantar, token, "HEAD")).status == 200
    assert not await is_verified(hantar, account)
    first = await verify(hantar, token)
    again = await verify(hantar, token)
    assert (first.status, again.status) == (200, 200)
    assert again.json["data"]["email_verified"] is True
    assert "before" in again.json["data"]["detail"]


@pytest.mark.parametrize(
    "form",
    ["{cut}", "B{cut}", "{token}A", "{token}=", "", "xx", "%00", "{token}&token={token}",
     "{token}&more=1"],
)  # fmt: skip
async def test_a_link_that_was_altered_verifies_nothing(
    hantar: Hantar, pool: Pool, form: str
) -> None:
    account = await hantar.account(verified=False)
    token = await token_for(pool, account)
    answer = await verify(hantar, form.format(token=token, cut=token[:-1]))
    check_problem(answer, 422, answer.json["code"])
    assert not await is_verified(hantar, account)
    assert (await verify(hantar, token)).status == 200


async def token_for(pool: Pool, account: Account, *, age_seconds: float = 0) -> str:
    """The token of a mail sent so long ago."""
    row = await pool.fetchrow(
        "SELECT secret, email, EXTRACT(epoch FROM now())::float8 AS now "
        "FROM installation, accounts WHERE id = $1",
        account.id,
    )
    assert row is not None
    return make_token(row["secret"], account.id, row["email"], row["now"] - age_seconds)


async def test_a_link_is_good_for_a_day_and_for_its_address(hantar: Hantar, pool: Pool) -> None:
    account = await hantar.account(verified=False)
    old = await token_for(pool, account, age_seconds=GOOD_SECONDS + 1)
    check_problem(await verify(hantar, old), 422, "validation_failed", "token")
    late = await token_for(pool, account, age_seconds=GOOD_SECONDS - 60)
    await pool.execute("UPDATE accounts SET email = 'new' || email WHERE id = $1", account.id)
    check_problem(await verify(hantar, late), 422, "validation_failed", "token")
    assert not await is_verified(hantar, account)


async def test_an_address_with_an_account_is_answered_like_any_other(
    hantar: Hantar, mails: MailServer, pool: Pool
) -> None:
    owner = caller(await sign_up(hantar, "mei@example.com"))
    squatter = caller(await sign_up(hantar, "Mei@example.com"))
    mine = token_in(await mails.mail_to("mei@example.com"))
    await mails.mail_to("Mei@example.com")
    assert (await verify(hantar, mine)).status == 200
    # The other one waited for the same address, which now is somebody's.
    theirs = await token_for(pool, squatter)
    check_problem(await verify(hantar, theirs), 409, "invalid_state")
    assert [await is_verified(hantar, each) for each in (owner, squatter)] == [True, False]

    stranger = (await sign_up(hantar, "MEI@example.com")).json["data"]
    unknown = (await sign_up(hantar, "nobody@example.com")).json["data"]
    for part, own in (("account", {"id", "email"}), ("key", {"id", "key"})):
        for name in unknown[part].keys() - own:
            assert stranger[part][name] == unknown[part][name]
        assert stranger[part].keys() == unknown[part].keys()
    told = (await mails.mail_to("MEI@example.com")).get_content()
    assert "already" in told
    assert "token" not in told


async def test_nobody_is_flooded_with_mails(hantar: Hantar, mails: MailServer, pool: Pool) -> None:
    answers = await asyncio.gather(*(sign_up(hantar, "victim@example.com") for _ in range(15)))
    assert {answer.status for answer in answers} == {201}
    noted = "SELECT count(*) FROM mails m JOIN accounts a ON a.id = account_id WHERE email = $1"
    assert await pool.fetchval(noted, "victim@example.com") == 10
    without = (
        "SELECT id FROM accounts a WHERE email = $1"
        " AND {} EXISTS (SELECT FROM mails WHERE account_id = a.id)"
    )
    ids = [
        await pool.fetchval(without.format(negated), "victim@example.com")
        for negated in ("NOT", "")
    ]
    none, one = (next(c for c in map(caller, answers) if c.id == id_) for id_ in ids)
    answer = await hantar.call("POST", "/api/v1/verify-email/resend", none)
    assert answer.status == 202
    assert await pool.fetchval(noted, "victim@example.com") == 10
    # What is said is as true of an address that does get one.
    await pool.execute("UPDATE mails SET created_at = created_at - interval '25 hours'")
    sent = await hantar.call("POST", "/api/v1/verify-email/resend", one)
    assert (sent.status, sent.json) == (202, answer.json)
    assert "is on its way" not in answer.json["data"]["detail"]
    assert await pool.fetchval(noted, "victim@example.com") == 11


async def test_an_account_may_ask_for_another_mail_now_and_then(
    hantar: Hantar, mails: MailServer, pool: Pool
) -> None:
    account = caller(await sign_up(hantar, "raj@example.com"))
    again = "/api/v1/verify-email/resend"
    refused = await hantar.call("POST", again, account)
    check_problem(refused, 429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    for count in range(2, 6):
        await later(pool, account, "2 minutes")
        answers = await asyncio.gather(*(hantar.call("POST", again, account) for _ in range(3)))
        assert sorted(answer.status for answer in answers) == [202, 429, 429]
        await mails.mail_to("raj@example.com", count)
    await later(pool, account, "2 minutes")
    refused = await hantar.call("POST", again, account)
    check_problem(refused, 429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 3600
    assert (await verify(hantar, token_in(mails.to("raj@example.com")[0]))).status == 200
    answer = await hantar.call("POST", again, account)
    assert (answer.status, answer.json["data"]["email_verified"]) == (200, True)
    check_problem(await hantar.call("POST", again), 401, "unauthenticated")


async def later(pool: Pool, account: Account, span: str) -> None:
    """Let time pass for the mails of an account."""
    await pool.execute(
        f"UPDATE mails SET created_at = created_at - interval '{span}' WHERE account_id = $1",
        account.id,
    )


async def test_a_client_makes_few_accounts(hantar: Hantar) -> None:
    here = somewhere()
    answers = [
        await sign_up(hantar, f"many{place}@example.com", headers=here)
        for place in range(SIGN_UPS.burst + 1)
    ]
    assert [answer.status for answer in answers] == [201] * SIGN_UPS.burst + [429]
    check_problem(answers[-1], 429, "rate_limited")
    assert int(answers[-1].headers["Retry-After"]) > 60
    assert (await sign_up(hantar, "elsewhere@example.com")).status == 201


async def test_a_sign_up_is_repeated_by_its_key(hantar: Hantar, pool: Pool) -> None:
    headers = somewhere() | {"Idempotency-Key": "sign-up-1"}
    first = await sign_up(hantar, "twice@example.com", headers=headers)
    again = await sign_up(hantar, "twice@example.com", headers=headers)
    assert (again.status, again.json) == (201, first.json)
    assert CIMultiDict(again.headers)["Idempotent-Replayed"] == "true"
    assert (await hantar.get("/me", caller(again))).status == 200
    other = await sign_up(hantar, "other@example.com", headers=headers)
    check_problem(other, 422, "idempotency_key_reused")
    # The same key of somebody elsewhere is another one.
    stranger = await sign_up(
        hantar, "twice@example.com", headers=somewhere() | {"Idempotency-Key": "sign-up-1"}
    )
    assert stranger.json["data"]["key"]["key"] != first.json["data"]["key"]["key"]
    kept = await pool.fetch("SELECT key, convert_from(body, 'UTF8') AS body FROM idempotency")
    assert first.json["data"]["key"]["key"] not in str(kept)
    assert "sign-up-1" not in str(kept)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"name": "A"}, "validation_failed", "email"),
        ({"email": "a@example.com"}, "validation_failed", "name"),
        ({"name": "", "email": "a@example.com"}, "validation_failed", "name"),
        ({"name": "A", "email": "nobody"}, "validation_failed", "email"),
        ({"name": "A", "email": "a@localhost"}, "validation_failed", "email"),
        ({"name": "A", "email": "a@example.com\r\nBcc: b@example.com"}, "validation_failed",
         "email"),
        ({"name": "A", "email": "a@example.com", "balance": 5}, "unknown_field", "balance"),
        ({"name": "A", "email": "a@example.com", "email_verified": True}, "unknown_field",
         "email_verified"),
    ],
)  # fmt: skip
async def test_a_sign_up_that_is_not_sound_makes_nothing(
    hantar: Hantar, pool: Pool, body: dict[str, Any], code: str, field: str
) -> None:
    before = await pool.fetchval("SELECT count(*) FROM accounts")
    answer = await hantar.call("POST", "/api/v1/accounts", json=body, headers=somewhere())
    check_problem(answer, 422, code, field)
    assert await pool.fetchval("SELECT count(*) FROM accounts") == before


async def test_a_mail_that_is_refused_for_now_is_sent_later(
    hantar: Hantar, mails: MailServer, pool: Pool
) -> None:
    mails.refusals["later@example.com"] = "451 4.7.1 later please"
    account = caller(await sign_up(hantar, "later@example.com"))

    async def refused() -> Any:
        return await pool.fetchrow(
            "SELECT state, last_error FROM mails WHERE account_id = $1 AND last_error IS NOT NULL",
            account.id,
        )

    row = await eventually(refused)
    assert row["state"] == "pending"
    assert row["last_error"] == "SMTPRecipientsRefused 451"
    await pool.execute("UPDATE mails SET due_at = now() WHERE account_id = $1", account.id)
    await mails.mail_to("later@example.com")


async def test_a_mail_that_is_refused_for_good_is_not_tried_again(
    hantar: Hantar, mails: MailServer, pool: Pool
) -> None:
    mails.refusals["gone@example.com"] = "550 5.1.1 nobody of this name"
    account = caller(await sign_up(hantar, "gone@example.com"))
    state = "SELECT state = 'failed' FROM mails WHERE account_id = $1"
    await eventually(lambda: pool.fetchval(state, account.id))
    assert mails.to("gone@example.com") == []


async def test_a_server_that_is_away_loses_no_mail_and_holds_up_nobody(
    hantar: Hantar, mails: MailServer, pool: Pool
) -> None:
    await mails.stop()
    account = caller(await sign_up(hantar, "patient@example.com"))
    failed = "SELECT last_error LIKE '%Connect%' FROM mails WHERE account_id = $1"
    await eventually(lambda: pool.fetchval(failed, account.id))
    await mails.start(mails.port)
    await pool.execute("UPDATE mails SET due_at = now() WHERE account_id = $1", account.id)
    await mails.mail_to("patient@example.com")


async def test_links_of_lists_begin_with_the_public_address(hantar: Hantar) -> None:
    account = await hantar.account()
    answer = await hantar.get("/messages?per_page=5", account, headers={"Host": "evil.example"})
    assert answer.json["meta"]["path"] == f"{PUBLIC_URL}/api/v1/messages"
    assert answer.json["links"]["first"] == f"{PUBLIC_URL}/api/v1/messages?per_page=5&page=1"


async def test_where_sign_up_is_closed_nothing_is_made_and_nothing_sent(
    dsn: str, pool: Pool
) -> None:
    async for closed in run_app(dsn, pool):
        before = await pool.fetchval("SELECT count(*) FROM accounts")
        check_problem(await sign_up(closed, "a@example.com"), 403, "signup_closed")
        assert await pool.fetchval("SELECT count(*) FROM accounts") == before
        account = await closed.account(verified=False)
        answer = await closed.call("POST", "/api/v1/verify-email/resend", account)
        check_problem(answer, 403, "forbidden")
