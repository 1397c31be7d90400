"""A cursor belongs to one list of one account: over every list of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.ingress.operations import PREFIX
from service.ingress.pages import Cursors, Listed
from service.store import accounts
from service.store.pool import Pool
from tests.integration.api.belongings import own, theirs
from tests.integration.api.checks import check_problem
from tests.integration.api.described import operations
from tests.system import Account, Hantar, run_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = 2**62


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Hantar, whose webhooks may only reach this machine."""
    async for running in run_app(dsn, pool, webhook_allow="127.0.0.0/8"):
        yield running


async def lists(hantar: Hantar, account: Account) -> list[str]:
    """The path of every list, of the account's own things where it names one."""
    made = await own(hantar, account)
    return [
        each.path.replace("{id}", str(theirs(made, each)) if "{id}" in each.path else "")
        for each in await operations(hantar)
        if "cursor" in [parameter["name"] for parameter in each.parameters()]
    ]


@pytest.mark.row("5.2-38")
async def test_a_cursor_of_another_list_is_422_on_every_list(
    hantar: Hantar, account: Account
) -> None:
    async with hantar.pool.acquire() as connection:
        installation = await accounts.installation(connection)
    assert installation is not None
    cursors = Cursors(installation.secret)
    paths = await lists(hantar, account)
    assert len(paths) >= 9
    for path, other in zip(paths, [*paths[1:], paths[0]], strict=True):
        kept = cursors.make(Listed(account.id, PREFIX + path), FIRST)
        answer = await hantar.get(f"{path}?cursor={kept}&per_page=1", account)
        assert answer.status == 200, path
        for listed in (
            Listed(account.id, PREFIX + other),
            Listed(account.id + 1, PREFIX + path),
            Listed(account.id, PREFIX + path, (("status", "failed"),)),
        ):
            answer = await hantar.get(f"{path}?cursor={cursors.make(listed, FIRST)}", account)
            check_problem(answer, 422, "validation_failed", "cursor")


@pytest.mark.row("5.2-38")
async def test_a_cursor_goes_on_only_with_the_filters_it_began_with(
    hantar: Hantar, account: Account
) -> None:
    for number in range(3):
        body = {"phone": f"012345678{number}", "name": "Aminah"}
        assert (await hantar.post("/contacts", account, body)).status == 201
    first = await hantar.get("/contacts?search=Aminah&per_page=1", account)
    cursor = first.json["meta"]["next_cursor"]
    for query in ("search=Aminah&per_page=2", "per_page=1&search=Aminah"):
        answer = await hantar.get(f"/contacts?{query}&cursor={cursor}", account)
        assert (answer.status, len(answer.json["data"])) == (200, int("=2" in query) + 1)
    for query in ("search=Ali", "search=aminah", "search=Aminah&external_id=1", ""):
        answer = await hantar.get(f"/contacts?{query}&cursor={cursor}", account)
        check_problem(answer, 422, "validation_failed", "cursor")
