"""How often an account and a stranger may ask, and what an answer says of it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from multidict import CIMultiDict

from service.core.keys import new_key
from service.ingress.auth import STRANGERS
from service.store.pool import Pool
from tests.integration.api.checks import check_problem, nothing_done
from tests.system import Account, Answer, Hantar, eventually, run_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

BURST = 20
#: So slow that a test sees no refill.
PER_SECOND = 0.2
GOOD = {"phone": "0123456789", "body": "hello"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Hantar with a small quota, behind a trusted proxy."""
    async for running in run_app(
        dsn,
        pool,
        rate_per_second=PER_SECOND,
        rate_burst=BURST,
        trusted_proxies="127.0.0.0/8",
    ):
        yield running


def quota(answer: Answer) -> tuple[int, int]:
    """What remains and when all of it is back, as the answer says."""
    headers = CIMultiDict(answer.headers)
    assert headers["RateLimit-Policy"] == f'"account";q={BURST};w=100'
    match = re.fullmatch(r'"account";r=(\d+);t=(\d+)', headers["RateLimit"])
    assert match
    return int(match[1]), int(match[2])


@pytest.mark.row("5.2-43")
async def test_an_account_that_asks_too_often_is_told_to_wait(hantar: Hantar) -> None:
    account, other = await hantar.account(), await hantar.account()
    answers = [await hantar.get("/messages", account) for _ in range(BURST)]
    assert [answer.status for answer in answers] == [200] * BURST
    assert [quota(answer)[0] for answer in answers] == list(range(BURST - 1, -1, -1))
    assert [quota(answer)[1] for answer in answers] == sorted(quota(a)[1] for a in answers)
    async with nothing_done(hantar, account):
        answer = await hantar.post("/messages/send", account, GOOD)
        check_problem(answer, 429, "rate_limited")
        assert quota(answer)[0] == 0
        assert 1 <= int(answer.headers["Retry-After"]) <= 1 / PER_SECOND
    assert quota(await hantar.get("/messages", other))[0] == BURST - 1


@pytest.mark.row("5.2-43")
async def test_a_flood_of_one_account_leaves_another_alone(hantar: Hantar) -> None:
    account, other = await hantar.account(), await hantar.account()
    flood = [hantar.get("/credits", account) for _ in range(200)]
    calm = [hantar.get("/credits", other) for _ in range(BURST)]
    answers = await asyncio.gather(*flood, *calm)
    assert Counter(answer.status for answer in answers[:200]) == {200: BURST, 429: 200 - BURST}
    assert Counter(answer.status for answer in answers[200:]) == {200: BURST}
    left = [quota(answer)[0] for answer in answers[:200] if answer.status == 200]
    assert sorted(left) == list(range(BURST))


async def test_every_answer_to_a_caller_tells_the_quota(hantar: Hantar, account: Account) -> None:
    answers = [
        await hantar.get("/messages/1", account),
        await hantar.call("HEAD", "/api/v1/messages", account),
        await hantar.post("/messages/send", account, {}),
        await hantar.post("/messages/send", account, GOOD),
        await hantar.call("POST", "/api/v1/messages/send", account, data=b"x"),
        await hantar.get("/messages?page=0", account),
    ]
    assert [answer.status for answer in answers] == [404, 200, 422, 202, 415, 422]
    assert [quota(answer)[0] for answer in answers] == [19, 18, 17, 16, 15, 14]


async def test_an_answer_to_nobody_tells_no_quota(hantar: Hantar) -> None:
    for path in ("/api/v1/messages", "/nothing"):
        answer = await hantar.call("GET", path)
        assert "ratelimit" not in {name.lower() for name in answer.headers}


async def test_strangers_are_slowed_and_known_keys_beside_them_are_not(hantar: Hantar) -> None:
    account, late = await hantar.account(), await hantar.account()
    here = {"X-Forwarded-For": "invented, 198.51.100.7"}
    elsewhere = {"X-Forwarded-For": "198.51.100.8"}
    assert (await hantar.get("/me", account, headers=here)).status == 200
    guesses = [here | {"Authorization": f"Bearer {new_key()}"} for _ in range(2 * STRANGERS.burst)]
    answers = [
        answer
        for start in range(0, len(guesses), 50)
        for answer in await asyncio.gather(
            *(hantar.call("GET", "/api/v1/me", headers=guess) for guess in guesses[start:][:50])
        )
    ]
    seen = Counter(answer.status for answer in answers)
    assert seen.keys() == {401, 429}
    assert seen[401] >= STRANGERS.burst
    slowed = next(answer for answer in answers if answer.status == 429)
    check_problem(slowed, 429, "rate_limited")
    assert slowed.headers["Retry-After"] == "1"
    assert (await hantar.get("/me", account, headers=here)).status == 200
    assert (await hantar.get("/me", late, headers=elsewhere)).status == 200
    # The brake lets go by itself.
    await eventually(lambda: is_let_in(hantar, late, here))


async def is_let_in(hantar: Hantar, account: Account, headers: dict[str, str]) -> bool:
    return (await hantar.get("/me", account, headers=headers)).status == 200


async def test_the_last_use_of_a_key_is_noted_beside_the_answers(
    hantar: Hantar, account: Account
) -> None:
    first = (await hantar.get("/me", account)).json["data"]
    assert first["account"].keys() == {"id", "name", "email", "email_verified", "balance"}
    assert first["key"].keys() == {"id", "name", "expires_at", "last_used_at"}

    async def noted() -> Any:
        return await hantar.pool.fetchval(
            "SELECT last_used_at FROM api_keys WHERE id = $1", first["key"]["id"]
        )

    at = await eventually(noted)
    assert (await hantar.get("/me", account)).json["data"]["key"]["last_used_at"] is not None
    # Once a minute is enough.
    await asyncio.gather(*(hantar.get("/me", account) for _ in range(5)))
    other = await hantar.account()
    other_key = (await hantar.get("/me", other)).json["data"]["key"]["id"]
    await eventually(
        lambda: hantar.pool.fetchval("SELECT last_used_at FROM api_keys WHERE id = $1", other_key)
    )
    assert await noted() == at
