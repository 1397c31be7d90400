"""`hantar events replay`: what an upstream service lost, told once more to it alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.bus.upstream_queues import open_queue
from service.store import events
from service.store.pool import Pool
from tests.acceptance.processes import Done, Processes
from tests.database import SHARDS
from tests.integration.upstream.foreign import Foreign, Heard
from tests.system import Account, Hantar

QUEUE = "hantar.events.shop"


@pytest.fixture
def cli(processes: Processes, dsn: str, broker: str) -> Processes:
    """The operator's commands on the same servers."""
    processes.environment |= {
        "HANTAR_DATABASE_URL": dsn,
        "HANTAR_AMQP_URL": broker,
        "HANTAR_SHARDS": str(SHARDS),
    }
    return processes


@pytest.fixture
async def shop(broker: str, account: Account) -> AsyncIterator[Foreign]:
    """Listens on a queue that gets the account's events."""
    await open_queue(broker, "shop", account.id)
    made = Foreign(broker, queue=QUEUE)
    await made.open()
    yield made
    await made.close()


async def replay(cli: Processes, account: int, *more: str, queue: str = QUEUE) -> Done:
    command = f"events replay --account {account} --queue {queue} --json"
    since = () if "--since" in more else ("--since", "2026-01-01T00:00:00Z")
    return await cli.do(*command.split(), *since, *more)


async def bulk(hantar: Hantar, account: Account, first: int, count: int) -> list[int]:
    """The ids of so many messages, all delivered."""
    items = [{"phone": f"+6012{first + n:07}", "body": "Hi"} for n in range(count)]
    answer = await hantar.post("/messages/bulk", account, {"messages": items})
    ids = [item["id"] for item in answer.json["queued"]]
    for id_ in ids:
        await hantar.until(account, id_, "delivered")
    return ids


def changes(heard: list[Heard]) -> list[tuple[int, int, str]]:
    """Message, seq and status of each change, as they came."""
    return [
        (event["message_id"], event["seq"], event["status"])
        for each in heard
        for event in each.json.get("events", ())
    ]


async def heard(shop: Foreign, pool: Pool, *, since: int = 0, replayed: bool) -> list[Heard]:
    """All that has been told so far, once the queue has given it."""

    async def look() -> Any:
        kept = await pool.fetchval("SELECT count(*) FROM events")
        waiting = await pool.fetchval("SELECT count(*) FROM outbox")
        mine = [each for each in shop.heard[since:] if ("replayed" in each.headers) == replayed]
        return mine if kept and not waiting and len(mine) >= kept else None

    found: list[Heard] = await shop.until(look)
    return found


async def test_everything_comes_once_more_as_it_was_and_to_this_queue_alone(
    hantar: Hantar, account: Account, shop: Foreign, upstream: Foreign, cli: Processes
) -> None:
    ids = await bulk(hantar, account, 0, 30)
    first = await heard(shop, hantar.pool, replayed=False)
    before = len(upstream.heard)
    done = await replay(cli, account.id)
    assert done.json == {"replayed": len(first), "queue": QUEUE, "more": False}
    assert f"{len(first)} of {len(first)}" in done.error
    again = await heard(shop, hantar.pool, since=len(first), replayed=True)
    assert {each.message_id: each.json for each in again} == {
        each.message_id: each.json for each in first
    }
    assert {(each.routing_key, each.type) for each in again} == {
        (each.routing_key, each.type) for each in first
    }
    assert {message_id for message_id, _, _ in changes(again)} == set(ids)
    by_message: dict[int, list[int]] = {}
    for message_id, seq, _ in changes(again):
        by_message.setdefault(message_id, []).append(seq)
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in by_message.values())
    await upstream.publish("message.send", {"account": account.id, "body": "x"}, "last-1")
    await upstream.answers("last-1")
    assert [each for each in upstream.heard[before:] if "replayed" in each.headers] == []


async def test_a_range_has_its_ends_and_its_limit(
    hantar: Hantar, account: Account, shop: Foreign, cli: Processes
) -> None:
    await bulk(hantar, account, 0, 3)
    await heard(shop, hantar.pool, replayed=False)
    await hantar.pool.execute("UPDATE events SET at = at - interval '1 hour'")
    middle = datetime.now(UTC) - timedelta(minutes=30)
    await bulk(hantar, account, 3, 3)
    await heard(shop, hantar.pool, replayed=False)
    rows = await hantar.pool.fetch("SELECT at < $1 AS old, count(*) FROM events GROUP BY 1", middle)
    count = {row["old"]: row["count"] for row in rows}
    old = await replay(cli, account.id, "--until", middle.isoformat())
    new = await replay(cli, account.id, "--since", middle.isoformat())
    cut = await replay(cli, account.id, "--limit", "1")
    assert [done.json["replayed"] for done in (old, new, cut)] == [count[True], count[False], 1]
    assert [done.json["more"] for done in (old, new, cut)] == [False, False, True]


async def test_nothing_of_another_account_is_told(
    hantar: Hantar, account: Account, shop: Foreign, cli: Processes
) -> None:
    await bulk(hantar, await hantar.account(), 0, 2)
    assert (await replay(cli, account.id)).json["replayed"] == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--since", "yesterday"), 2, "must look like"),
        (("--since", "2999-01-01T00:00:00Z"), 2, "must lie before"),
        (("--until", "2025-01-01T00:00:00Z"), 2, "must lie before"),
        (("--limit", "0"), 2, "--limit"),
        (("--queue", "hantar.events.nobody"), 1, "there is no queue hantar.events.nobody"),
        (("--queue", "hantar.commands.message.send"), 1, "is not a queue for events"),
        (("--queue", "dispatch.00.express"), 1, "is not a queue for events"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    cli: Processes, options: tuple[str, str], code: int, said: str
) -> None:
    done = await replay(cli, 1, *options)
    assert (done.code, done.output) == (code, "")
    assert said in done.error.splitlines()[-1]


async def test_events_are_forgotten_after_their_time(hantar: Hantar, account: Account) -> None:
    await bulk(hantar, account, 0, 2)
    await hantar.pool.execute("UPDATE events SET at = now() - interval '8 days' WHERE id % 2 = 0")
    left = await hantar.pool.fetch("SELECT id FROM events WHERE id % 2 = 1")
    await events.forget(hantar.pool)
    kept = await hantar.pool.fetch("SELECT id FROM events WHERE at < now() - interval '1 day'")
    assert kept == []
    assert {row["id"] for row in left} <= {
        row["id"] for row in await hantar.pool.fetch("SELECT id FROM events")
    }
