"""Imports as they are worked off: whose turn it is, and what stands in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.intake.imports import Imports
from service.store.pool import Pool
from tests.integration.api.checks import check_problem
from tests.system import Account, Answer, Hantar, run_app


@pytest.fixture
async def hantar(dsn: str, pool: Pool, vhost: str) -> AsyncIterator[Hantar]:
    """Without the intake role: imports wait until the test has them worked off."""
    servers = {"database_url": dsn, "amqp_url": vhost}
    async for running in run_app(dsn, pool, roles="ingress", **servers):
        yield running


@pytest.fixture
async def account(hantar: Hantar) -> Account:
    return await hantar.account()


async def upload(hantar: Hantar, account: Account, rows: int, query: str = "") -> Answer:
    text = "phone\n" + "".join(
        f"01{number:08}\n" for number in range(20_000_000, 20_000_000 + rows)
    )
    return await hantar.call(
        "POST",
        f"/api/v1/contacts/import{query}",
        account,
        data=text.encode(),
        headers={"Content-Type": "text/csv"},
    )


async def taken_in(hantar: Hantar, account: Account, rows: int, query: str = "") -> int:
    answer = await upload(hantar, account, rows, query)
    assert answer.status == 202, answer.json
    made: int = answer.json["data"]["id"]
    return made


async def seen(hantar: Hantar, account: Account, import_id: int) -> Any:
    return (await hantar.get(f"/contacts/imports/{import_id}", account)).json["data"]


async def test_accounts_take_turns_and_files_of_one_go_in_order(
    hantar: Hantar, account: Account
) -> None:
    other = await hantar.account()
    long, after = await taken_in(hantar, account, 1500), await taken_in(hantar, account, 1)
    short = await taken_in(hantar, other, 1)
    work = Imports(hantar.pool)
    done = []
    while await work.work_once():
        rows = await hantar.pool.fetch("SELECT id, done FROM contact_imports ORDER BY id")
        done.append({row["id"]: row["done"] for row in rows})
    assert done == [
        {long: 500, after: 0, short: 0},
        {long: 500, after: 0, short: 1},
        {long: 1000, after: 0, short: 1},
        {long: 1500, after: 0, short: 1},
        {long: 1500, after: 1, short: 1},
    ]


async def test_a_group_may_go_while_its_import_waits(hantar: Hantar, account: Account) -> None:
    group = await hantar.post("/contact-groups", account, {"name": "Short-lived"})
    group_id = group.json["data"]["id"]
    import_id = await taken_in(hantar, account, 700, f"?group_id={group_id}")
    work = Imports(hantar.pool)
    assert await work.work_once()
    path = f"/contact-groups/{group_id}"
    assert (await hantar.get(path, account)).json["data"]["contacts"] == 500
    assert (await hantar.call("DELETE", f"/api/v1{path}", account)).status == 204
    assert await work.work_once()
    done = await seen(hantar, account, import_id)
    assert (done["state"], done["created"]) == ("completed", 700)


async def test_what_cannot_be_worked_off_is_ended_and_stops_nobody(
    hantar: Hantar, account: Account
) -> None:
    broken, sound = await taken_in(hantar, account, 700), await taken_in(hantar, account, 1)
    await hantar.pool.execute(
        "UPDATE contact_import_chunks SET body = 'x' WHERE import_id = $1 AND number = 1", broken
    )
    work = Imports(hantar.pool)
    while await work.work_once():
        pass
    ended = await seen(hantar, account, broken)
    assert (ended["state"], ended["done"], ended["created"]) == ("failed", 500, 500)
    assert ended["error"]
    assert (await seen(hantar, account, sound))["state"] == "completed"
    assert await hantar.pool.fetchval("SELECT count(*) FROM contact_import_chunks") == 0


async def test_an_account_has_so_many_imports_waiting(hantar: Hantar, account: Account) -> None:
    for _ in range(20):
        await taken_in(hantar, account, 1)
    refused = await upload(hantar, account, 1)
    check_problem(refused, 429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0
    await taken_in(hantar, await hantar.account(), 1)
    await Imports(hantar.pool).work_once()
    await taken_in(hantar, account, 1)


async def test_an_import_is_forgotten_after_a_month(hantar: Hantar, account: Account) -> None:
    old, young, waiting = [await taken_in(hantar, account, 1) for _ in range(3)]
    work = Imports(hantar.pool)
    for import_id, age in ((old, "30 days 1 minute"), (young, "29 days 23 hours")):
        assert await work.work_once()
        await hantar.pool.execute(
            "UPDATE contact_imports SET completed_at = now() - $2::text::interval WHERE id = $1",
            import_id,
            age,
        )
    assert [await work.tidy_once() for _ in range(2)] == [True, False]
    listed = (await hantar.get("/contacts/imports", account)).json["data"]
    assert [row["id"] for row in listed] == [waiting, young]
    check_problem(await hantar.get(f"/contacts/imports/{old}", account), 404, "not_found")
