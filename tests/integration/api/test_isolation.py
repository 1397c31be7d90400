"""What is another account's is not there: over every operation that names something by its id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from service.store.pool import Pool
from tests.integration.api.belongings import CANARY, PHONE, own, theirs
from tests.integration.api.described import Described, operations
from tests.system import Account, Answer, Hantar, run_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOWHERE = 10**15


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hantar(dsn: str, pool: Pool) -> AsyncIterator[Hantar]:
    """Hantar, whose webhooks may only reach this machine."""
    async for running in run_app(dsn, pool, webhook_allow="127.0.0.0/8"):
        yield running


async def ask(
    hantar: Hantar, account: Account, operation: Described, id_: int, member: int
) -> Answer:
    """The operation's own example, about this id."""
    path = operation.path.replace("{id}", str(id_))
    path = path.replace("{contact_id}", str(member)).replace("{delivery_id}", str(member))
    request = operation.request
    body = {}
    if request is not None:
        body = {"json": request[1]["example"]}
    return await hantar.call(operation.method, f"/api/v1{path}", account, **body)


def shown(answer: Answer) -> tuple[int, Any]:
    """Everything that could tell one answer from another."""
    body = answer.json
    return answer.status, body | {"request_id": ""} if isinstance(body, dict) else body


@pytest.mark.row("5.2-33")
async def test_what_is_anothers_is_answered_as_what_is_not_there(hantar: Hantar) -> None:
    owner, stranger = await hantar.account(), await hantar.account()
    made = await own(hantar, owner)
    named = [each for each in await operations(hantar) if "{id}" in each.path]
    assert len(named) > 30
    for operation in named:
        id_ = theirs(made, operation)
        answer = await ask(hantar, stranger, operation, id_, made["contacts"])
        nothing = await ask(hantar, stranger, operation, NOWHERE, NOWHERE)
        assert answer.status == 404, (operation.method, operation.path, answer.json)
        assert shown(answer) == shown(nothing), (operation.method, operation.path)
    for operation in named:
        if operation.method == "GET":
            answer = await ask(hantar, owner, operation, theirs(made, operation), made["contacts"])
            assert answer.status == 200, (operation.path, answer.json)


@pytest.mark.row("5.2-34")
async def test_what_a_body_names_of_anothers_is_refused_as_what_is_not_there(
    hantar: Hantar,
) -> None:
    owner, stranger = await hantar.account(), await hantar.account()
    made = await own(hantar, owner)
    mine = await hantar.post("/contact-groups", stranger, {"name": "Mine"})
    campaign = {"name": "June", "body": "Hi"}
    bodies: list[tuple[str, dict[str, Any], str, str]] = [
        ("/messages/send", {"phone": PHONE, "body": "Hi"}, "device", "devices"),
        ("/messages/send", {"phone": PHONE}, "template_id", "templates"),
        ("/campaigns", campaign, "contact_group_id", "contact-groups"),
        ("/campaigns", campaign, "contact_ids", "contacts"),
        ("/campaigns", {"name": "J", "recipients": [{"phone": PHONE}]}, "template_id", "templates"),
        (f"/contact-groups/{mine.json['data']['id']}/contacts", {}, "contact_ids", "contacts"),
    ]
    for path, body, field, kind in bodies:
        answers = []
        for id_ in (made[kind], NOWHERE):
            value = [id_] if field.endswith("ids") else id_
            answers.append(shown(await hantar.post(path, stranger, body | {field: value})))
        assert answers[0][0] == 422, (path, field, answers)
        told = [(status, problem["code"], problem["errors"].keys()) for status, problem in answers]
        assert told[0] == told[1]
    assert await hantar.balance(stranger) == 1000


@pytest.mark.row("5.2-34")
async def test_lists_and_filters_show_nothing_of_anothers(hantar: Hantar) -> None:
    owner, stranger = await hantar.account(), await hantar.account()
    made = await own(hantar, owner)
    queries = [
        f"/messages?phone={PHONE}",
        f"/contacts?search={CANARY}",
    ]
    lists = [
        each.path
        for each in await operations(hantar)
        if each.method == "GET" and "{" not in each.path and each.path != "/verify-email"
    ]
    for path in lists:
        answer = await hantar.get(path, stranger)
        assert CANARY not in repr((answer.json, answer.headers)), path
    for path in queries:
        assert (await hantar.get(path, stranger)).json["data"] == [], path
    for name, kind in (("campaign_id", "campaigns"), ("contact_id", "contacts")):
        path = f"/messages?{name}={made[kind]}"
        assert (await hantar.get(path, owner)).status == 200, path
        answer = await hantar.get(path, stranger)
        assert answer.status == 404, path
        assert shown(answer) == shown(await hantar.get(f"/messages?{name}={NOWHERE}", stranger))
