"""The message log: pages, cursors, filters."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.system import Account, Hantar, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHONES = ("0123456789", "0198887777")


async def seven(hantar: Hantar, account: Account) -> list[int]:
    """The ids of seven messages, newest first, all delivered."""
    items = [{"phone": PHONES[place % 2], "body": f"hello {place}"} for place in range(7)]
    answer = await hantar.post("/messages/bulk", account, {"messages": items})
    assert answer.status == 202

    async def delivered() -> bool:
        page = await hantar.get("/messages?status=delivered", account)
        total: int = page.json["meta"]["total"]
        return total == 7

    await eventually(delivered)
    return sorted((item["id"] for item in answer.json["queued"]), reverse=True)


def ids(page: Any) -> list[int]:
    return [item["id"] for item in page["data"]]


def query(link: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(link).query, keep_blank_values=True)


async def follow(hantar: Hantar, account: Account, link: str) -> Any:
    """The page a link leads to, as a client would follow it."""
    assert link.startswith(hantar.api)
    answer = await hantar.call("GET", link.removeprefix(hantar.api), account)
    assert answer.status == 200
    return answer.json


async def test_an_empty_list(hantar: Hantar, account: Account) -> None:
    answer = await hantar.get("/messages", account)
    path = f"{hantar.api}/api/v1/messages"
    assert answer.json == {
        "data": [],
        "links": {"first": f"{path}?page=1", "last": f"{path}?page=1", "prev": None, "next": None},
        "meta": {
            "current_page": 1,
            "from": None,
            "to": None,
            "per_page": 25,
            "last_page": 1,
            "total": 0,
            "path": path,
            "next_cursor": None,
        },
    }


async def test_pages_are_followed_by_their_links(hantar: Hantar, account: Account) -> None:
    all_ids = await seven(hantar, account)
    page = (await hantar.get("/messages?per_page=3&status=delivered", account)).json
    assert ids(page) == all_ids[:3]
    assert page["links"]["prev"] is None
    meta = page["meta"]
    assert [meta[name] for name in ("current_page", "from", "to", "per_page")] == [1, 1, 3, 3]
    assert (meta["last_page"], meta["total"]) == (3, 7)
    # A link keeps the filters.
    wanted = {"per_page": ["3"], "status": ["delivered"], "page": ["2"]}
    assert query(page["links"]["next"]) == wanted
    second = await follow(hantar, account, page["links"]["next"])
    assert ids(second) == all_ids[3:6]
    last = await follow(hantar, account, second["links"]["next"])
    assert ids(last) == all_ids[6:]
    assert last["links"]["next"] is None
    assert (last["meta"]["from"], last["meta"]["to"]) == (7, 7)
    assert await follow(hantar, account, page["links"]["last"]) == last
    assert ids(await follow(hantar, account, last["links"]["prev"])) == all_ids[3:6]
    assert ids(await follow(hantar, account, last["links"]["first"])) == all_ids[:3]


async def test_cursors_lead_through_everything_once(hantar: Hantar, account: Account) -> None:
    all_ids = await seven(hantar, account)
    found: list[int] = []
    page = (await hantar.get("/messages?per_page=3&cursor=&phone=0123456789", account)).json
    while True:
        found += ids(page)
        assert "total" not in page["meta"]
        assert "last_page" not in page["meta"]
        if page["links"]["next"] is None:
            break
        assert query(page["links"]["next"])["cursor"] == [page["meta"]["next_cursor"]]
        # What comes meanwhile neither shows up nor pushes anything onto the next page.
        new = {"phone": PHONES[0], "body": f"meanwhile {len(found)}"}
        assert (await hantar.post("/messages/send", account, new)).status == 202
        page = await follow(hantar, account, page["links"]["next"])
    assert found == all_ids[::2]
    assert page["meta"]["next_cursor"] is None


async def test_a_page_leads_on_by_cursor_too(hantar: Hantar, account: Account) -> None:
    all_ids = await seven(hantar, account)
    page = (await hantar.get("/messages?per_page=5", account)).json
    cursor = page["meta"]["next_cursor"]
    assert ids((await hantar.get(f"/messages?cursor={cursor}", account)).json) == all_ids[5:]
    page = (await hantar.get("/messages?per_page=7", account)).json
    assert page["meta"]["next_cursor"] is None


async def test_the_list_is_narrowed(hantar: Hantar, account: Account) -> None:
    all_ids = await seven(hantar, account)
    odd = {"phone": "0176665555", "body": "hi", "name": "Sara"}
    made = (await hantar.post("/messages/send", account, odd)).json["data"]
    await hantar.until(account, made["id"], "delivered")
    everything = [made["id"], *all_ids]
    for narrowed, expected in (
        ("", everything),
        ("?phone=0123456789", all_ids[::2]),
        ("?phone=0198887777&per_page=2", all_ids[1:5:2]),
        (f"?contact_id={made['contact_id']}", [made["id"]]),
        (f"?contact_id={made['contact_id']}&phone=0123456789", []),
        ("?status=delivered", everything),
        ("?status=failed", []),
        ("?status=delivered&phone=0176665555", [made["id"]]),
    ):
        assert ids((await hantar.get(f"/messages{narrowed}", account)).json) == expected, narrowed


async def test_every_status_finds_its_own(hantar: Hantar, account: Account) -> None:
    insert = """
        INSERT INTO messages (account_id, device_id, phone, body, status, credit, priority)
        SELECT $1, $2, '+60123456789', 'x', s, 'refunded', 2
        FROM unnest(enum_range(NULL::message_status)) s, generate_series(1, 2)
        WHERE s NOT IN ('scheduled', 'queued', 'sending') RETURNING id, status
    """
    made = await hantar.pool.fetch(insert, account.id, account.device_id)
    failed = max(row["id"] for row in made if row["status"] == "failed")

    async def check(status: str, wanted: list[int]) -> None:
        page = (await hantar.get(f"/messages?status={status}&per_page=1", account)).json
        assert page["meta"]["total"] == len(wanted), status
        found = ids(page)
        while page["links"]["next"] is not None:
            page = await follow(hantar, account, page["links"]["next"])
            found += ids(page)
        assert found == wanted, status
        narrowed = f"/messages?status={status}&phone=0123456789"
        assert ids((await hantar.get(narrowed, account)).json) == wanted, status

    for status in {row["status"] for row in made}:
        await check(status, sorted((r["id"] for r in made if r["status"] == status), reverse=True))
    # A later word of the provider: it did arrive.
    await hantar.pool.execute("UPDATE messages SET status = 'delivered' WHERE id = $1", failed)
    await check("failed", [row["id"] for row in made if row["status"] == "failed"][:1])


async def test_the_total_of_a_page_past_the_end(hantar: Hantar, account: Account) -> None:
    await seven(hantar, account)
    for number, count in ((1, 5), (2, 2), (3, 0)):
        page = (await hantar.get(f"/messages?per_page=5&page={number}", account)).json
        assert (len(page["data"]), page["meta"]["total"]) == (count, 7)


async def test_the_total_is_capped_beyond_ten_thousand(hantar: Hantar, account: Account) -> None:
    insert = """
        INSERT INTO messages (account_id, device_id, phone, body, status, credit, priority)
        SELECT $1, $2, '+60123456789', 'x', 'delivered', 'refunded', 2 FROM generate_series(1, $3)
    """
    await hantar.pool.execute(insert, account.id, account.device_id, 10_000)
    meta = (await hantar.get("/messages?per_page=100", account)).json["meta"]
    assert (meta["total"], meta["last_page"]) == (10_000, 100)
    assert "total_is_capped" not in meta
    await hantar.pool.execute(insert, account.id, account.device_id, 1)
    meta = (await hantar.get("/messages?per_page=100", account)).json["meta"]
    assert (meta["total"], meta["last_page"], meta["total_is_capped"]) == (10_000, 100, True)
    beyond = (await hantar.get("/messages?per_page=100&page=101", account)).json
    assert len(beyond["data"]) == 1


async def test_head_tells_what_get_would(hantar: Hantar, account: Account) -> None:
    made = await hantar.post("/messages/send", account, {"phone": PHONES[0], "body": "hello"})
    own_id = made.json["data"]["id"]
    await hantar.until(account, own_id, "delivered")
    for path in ("/messages", f"/messages/{own_id}"):
        got = await hantar.get(path, account)
        head = await hantar.call("HEAD", f"/api/v1{path}", account)
        assert (head.status, head.json) == (200, None)
        for name in ("Content-Type", "Content-Length"):
            assert head.headers[name] == got.headers[name]
    for path, status in (("/api/v1/messages/999999999", 404), ("/nothing", 404)):
        assert (await hantar.call("HEAD", path, account)).status == status
    assert (await hantar.call("HEAD", "/api/v1/messages")).status == 401
