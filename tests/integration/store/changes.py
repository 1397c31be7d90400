"""Facts about messages, and what has to hold however they were merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from service.core.lifecycle import RANK, Change, Status
from service.store import sweeps
from service.store.pool import Pool

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def change(message_id: int, status: str, attempt: int = 1, **fields: Any) -> Change:
    """The same arguments make the same fact, as a repeated callback does."""
    at = NOON + timedelta(seconds=attempt * 20 + RANK[Status(status)])
    return Change(message_id, attempt, Status(status), at, **fields)


async def messages(pool: Pool, ids: Sequence[int]) -> list[Any]:
    """The rows, by ascending id."""
    return await pool.fetch("SELECT * FROM messages WHERE id = ANY($1::bigint[]) ORDER BY id", ids)


async def events(pool: Pool) -> list[dict[str, Any]]:
    """Every public event in the outbox, in the order it will be published."""
    bodies = await pool.fetch("SELECT routing_key, body FROM outbox ORDER BY id")
    found = []
    for row in bodies:
        packed = orjson.loads(row["body"])["events"]
        assert len(packed) <= 100
        assert {f"message.{event['status']}" for event in packed} == {row["routing_key"]}
        found += packed
    return found


async def assert_books_agree(pool: Pool) -> None:
    """Balances are the sum of their ledger, and the ledger what its messages say."""
    async with pool.acquire() as connection, connection.transaction():
        assert await sweeps.audit(connection) == []
    credits = Counter(row["credit"] for row in await pool.fetch("SELECT credit FROM messages"))
    moved = Counter[str]()
    for entry in await pool.fetch("SELECT type, count FROM ledger"):
        moved[entry["type"]] += entry["count"]
    assert moved["settle"] == credits["settled"] + credits["refunded"]
    assert moved["release"] == credits["released"]
    assert moved["refund"] == credits["refunded"]
    balances: Counter[int] = Counter()
    for entry in await pool.fetch("SELECT * FROM ledger ORDER BY id"):
        balances[entry["account_id"]] += entry["amount"]
        assert entry["balance_after"] in (None, balances[entry["account_id"]])


async def assert_events_have_no_gap(pool: Pool) -> None:
    """Each message's events count from 1 to its last, and none is of what stays inside."""
    seen: dict[int, list[int]] = {}
    for event in await events(pool):
        seen.setdefault(event["message_id"], []).append(event["seq"])
        assert event["status"] not in ("queued", "sending")
    for message_id, numbers in seen.items():
        assert numbers == list(range(1, len(numbers) + 1)), message_id
    last = await pool.fetch("SELECT id, seq FROM messages WHERE seq > 0")
    assert {row["id"]: row["seq"] for row in last} == {
        message_id: numbers[-1] for message_id, numbers in seen.items()
    }
