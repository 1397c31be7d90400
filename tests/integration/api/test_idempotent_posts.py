"""An Idempotency-Key means the same on every POST of the document: one effect, one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio
from multidict import CIMultiDict

from service.store.pool import Pool
from tests.integration.api.belongings import own, theirs
from tests.integration.api.checks import check_problem
from tests.integration.api.described import Described, operations
from tests.servers.smtp import MailServer, mail_server
from tests.system import Account, Answer, Hantar, eventually, run_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 4
JSON = "application/json"
#: What no POST may do twice, as it would be seen in a count; none of it is changed by what goes on
#: beside, as the recipients of campaigns and the settling of credits are.
EFFECTS = (
    "accounts", "api_keys", "campaigns", "contact_group_members", "contact_groups",
    "contact_imports", "devices", "idempotency", "ledger WHERE type IN ('grant', 'reserve')",
    "mails", "messages WHERE campaign_id IS NULL", "templates", "webhook_endpoints",
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mails() -> AsyncIterator[MailServer]:
    """Takes every mail."""
    async with mail_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hantar(dsn: str, pool: Pool, mails: MailServer) -> AsyncIterator[Hantar]:
    """Hantar where everything is open that can be."""
    async for running in run_app(
        dsn,
        pool,
        webhook_allow="127.0.0.0/8",
        signup="open",
        smtp_url=mails.url,
        mail_from="Hantar <no-reply@example.com>",
        public_url="https://hantar.example.com",
    ):
        yield running


@dataclass(slots=True)
class Asked:
    """A request of one operation that can be repeated."""

    hantar: Hantar
    account: Account
    path: str
    body: Any = None
    media_type: str = JSON
    #: what goes under another key only
    others: list[tuple[str, Any]] = field(default_factory=list)

    async def go(self, key: str = "key", *, path: str = "", body: Any = None) -> Answer:
        """Ask, this or something else in its place."""
        headers = {"Idempotency-Key": key}
        sent = self.body if body is None else body
        data = None
        if sent is not None:
            headers["Content-Type"] = self.media_type
            data = sent.encode() if isinstance(sent, str) else orjson.dumps(sent)
        return await self.hantar.call(
            "POST", f"/api/v1{path or self.path}", self.account, data=data, headers=headers
        )


async def asked(hantar: Hantar, account: Account, operation: Described) -> Asked:
    """The operation's own example, about things of the account."""
    made = await own(hantar, account)
    await _let_wait(hantar, account, made)
    path = operation.path
    if "{id}" in path:
        path = path.replace("{id}", str(theirs(made, operation)))
    if "{delivery_id}" in path:
        path = path.replace("{delivery_id}", str(await _delivery(hantar, account, made)))
    if path.endswith("/resume") and path.startswith("/campaigns"):
        pause = path.replace("resume", "pause")
        assert (await hantar.call("POST", f"/api/v1{pause}", account)).status == 200
    if operation.request is None:
        return Asked(hantar, account, path, others=[("/devices/1/pause", None)])
    media_type, content = operation.request
    body = _own_example(content["example"], account, made)
    return Asked(hantar, account, path, body, media_type, [(path, _changed(body))])


async def _let_wait(hantar: Hantar, account: Account, made: dict[str, int]) -> None:
    """A message and a campaign that are not over before somebody can do something about them."""
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    phone = {"phone": "0123456789"}
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        "messages": ("/messages/send", {**phone, "body": "Hi", "send_at": later}),
        "campaigns": (
            "/campaigns",
            {"name": "N", "body": "Hi", "recipients": [phone], "send_at": later},
        ),
    }
    for kind, (path, body) in bodies.items():
        answer = await hantar.post(path, account, body)
        assert answer.status in (201, 202), answer.json
        made[kind] = answer.json["data"]["id"]


async def _delivery(hantar: Hantar, account: Account, made: Mapping[str, int]) -> int:
    """A delivery to the account's endpoint."""
    path = f"/webhook-endpoints/{made['webhook-endpoints']}/deliveries"

    async def look() -> Any:
        return (await hantar.get(path, account)).json["data"]

    found: int = (await eventually(look))[0]["id"]
    return found


def _own_example(example: Any, account: Account, made: Mapping[str, int]) -> Any:
    if isinstance(example, str):
        return example
    text = orjson.dumps(example).decode()
    text = text.replace('"device":2', f'"device":{account.device_id}')
    text = text.replace('"contact_ids":[2,3]', f'"contact_ids":[{made["contacts"]}]')
    return orjson.loads(text.replace("https://example.com", "http://127.0.0.1:9"))


def _changed(body: Any) -> Any:
    """Another request of the same kind, as valid as the first."""
    if isinstance(body, str):
        return f"{body}0176665555,Siti,Muar\n"
    for name, value in (
        ("name", "Other"),
        ("reference", "other"),
        ("overlap_seconds", 60),
        ("since", "2026-11-26T08:00:00Z"),
    ):
        if name in body or (name == "reference" and {"phone", "messages"} & body.keys()):
            return body | {name: value}
    if "contact_ids" in body:
        return {"contact_ids": [2**40]}
    return body | {"events": ["*"]}


def is_replayed(answer: Answer) -> bool:
    return CIMultiDict(answer.headers).get("Idempotent-Replayed") == "true"


async def effects(hantar: Hantar) -> dict[str, int]:
    """How much there is of everything."""
    return {each: await hantar.pool.fetchval(f"SELECT count(*) FROM {each}") for each in EFFECTS}


async def test_every_post_has_one_effect_and_one_answer_under_a_key(hantar: Hantar) -> None:
    posts = [each for each in await operations(hantar) if each.method == "POST"]
    assert len(posts) > 20
    for operation in posts:
        account = await hantar.account()
        request = await asked(hantar, account, operation)
        answers = await asyncio.gather(*(request.go() for _ in range(AT_ONCE)))
        made = [answer for answer in answers if answer.status < 300]
        first = [answer for answer in made if not is_replayed(answer)]
        assert len(first) == 1, (operation.name, [answer.json for answer in answers])
        for answer in answers:
            if answer not in made:
                check_problem(answer, 409, "idempotency_in_progress")
        before = await effects(hantar)
        again = await request.go()
        for answer in (again, *made):
            assert (answer.status, answer.json) == (first[0].status, first[0].json), operation.name
        assert is_replayed(again), operation.name
        for path, body in request.others:
            check_problem(await request.go(path=path, body=body), 422, "idempotency_key_reused")
        assert await effects(hantar) == before, operation.name
