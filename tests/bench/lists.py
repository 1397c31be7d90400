"""Lists of one account with a million rows among a hundred accounts: `make bench-lists`.

Prints how long each question takes over HTTP, and how the database goes about it.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from service.core.keys import key_hash, new_key
from service.ingress.lists import PLAN_FOR_THE_VALUES
from service.ingress.pages import Cursors, Listed
from service.store import accounts, contacts, messages
from service.store.contacts import ContactFilter
from service.store.messages import MessageFilter
from service.store.pool import Pool
from service.telemetry import logs
from tests.bench.crowded import FILL, ROWS
from tests.system import Account, Hantar, run_app

TIMES = 21
MEDIAN_SECONDS, NO_HIT_SECONDS = 0.050, 0.300
#: The large account is the first.
ACCOUNT = 1
PAGE = 25
#: Nothing has these. The last has no trigram: all contacts are read.
NO_HIT = ("Qzx", "0199999999999", "zq")

#: What is asked, how long the answer may take in the middle of the times, and the same question to
#: the database.
Ask = Callable[[Any], Awaitable[object]]


def contact_page(below_id: int | None = None, **narrowed: Any) -> Ask:
    wanted = ContactFilter(**narrowed)
    return lambda c: contacts.page(c, ACCOUNT, wanted, below_id=below_id, limit=PAGE + 1, offset=0)


def message_page(below_id: int | None = None, **narrowed: Any) -> Ask:
    wanted = MessageFilter(**narrowed)
    return lambda c: messages.page(c, ACCOUNT, wanted, below_id=below_id, limit=PAGE + 1, offset=0)


def questions(cursors: Cursors, deep: dict[str, int]) -> dict[str, tuple[float, Ask]]:
    """Every question by its path; `deep` has the last id of page 10,000."""
    contact, message = (
        cursors.make(Listed(ACCOUNT, f"/api/v1/{table}"), deep[table] + 1)
        for table in ("contacts", "messages")
    )
    asked = {
        "/contacts": (MEDIAN_SECONDS, contact_page()),
        f"/contacts?cursor={contact}": (MEDIAN_SECONDS, contact_page(deep["contacts"])),
        "/contacts?external_id=crm-77": (MEDIAN_SECONDS, contact_page(external_id="crm-77")),
        "/messages": (MEDIAN_SECONDS, message_page()),
        f"/messages?cursor={message}": (MEDIAN_SECONDS, message_page(deep["messages"])),
        "/messages?phone=0120000077": (MEDIAN_SECONDS, message_page(phone="+60120000077")),
    }
    for text in ("a", "Aminah", "6012", "Mei Ling Lee 777", "Siti Goh 500000"):
        asked[f"/contacts?search={text}"] = (MEDIAN_SECONDS, contact_page(search=text))
    for text in NO_HIT:
        asked[f"/contacts?search={text}"] = (NO_HIT_SECONDS, contact_page(search=text))
    for status in ("delivered", "read", "failed", "expired", "cancelled"):
        asked[f"/messages?status={status}"] = (MEDIAN_SECONDS, message_page(status=status))
    for status in ("queued", "sending", "sent"):
        # Rare here, and on the way from one status to the next: nothing leads to them.
        asked[f"/messages?status={status}"] = (NO_HIT_SECONDS, message_page(status=status))
    return asked


class Explaining:
    """In the place of a connection: shows how the database answers."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        async with self._connection.transaction():
            await self._connection.execute(PLAN_FOR_THE_VALUES)
            rows = await self._connection.fetch(
                f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}", *values
            )
        sys.stdout.write("\n".join(row[0] for row in rows) + "\n")
        return []


@pytest.fixture
async def hantar(dsn: str, pool: Pool, vhost: str) -> AsyncIterator[Hantar]:
    """The crowded database behind an ingress; nothing else works on it."""
    logs.configure(level="warning")  # what is printed is a document
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=1800)
    await connection.execute(FILL)
    await connection.execute("VACUUM ANALYZE")
    await connection.close(timeout=30)
    servers = {"database_url": dsn, "amqp_url": vhost}
    async for running in run_app(dsn, pool, roles="ingress", **servers):
        yield running


async def test_lists_of_a_million_rows(hantar: Hantar, dsn: str) -> None:
    account = await _owner(hantar.pool)
    async with hantar.pool.acquire() as connection:
        installation = await accounts.installation(connection)
    assert installation is not None
    asked = questions(Cursors(installation.secret), await _deep(hantar.pool))
    slow = []
    plain = await asyncpg.connect(dsn, timeout=10, command_timeout=60)
    for path, (limit, ask) in asked.items():
        median, worst = await _times(hantar, account, path)
        shown = re.sub(r"cursor=.*", "cursor=(of page 10,000)", path)
        sys.stdout.write(f"\n## GET {shown}\n\nmedian {median * 1000:.1f} ms, ")
        sys.stdout.write(f"worst of {TIMES} {worst * 1000:.1f} ms\n\n```\n")
        await ask(Explaining(plain))
        sys.stdout.write("```\n")
        if median > limit:
            slow.append(f"{shown}: {median * 1000:.0f} ms")
    await plain.close(timeout=5)
    assert slow == []


async def _times(hantar: Hantar, account: Account, path: str) -> tuple[float, float]:
    """The median and the worst answer, after one that warms up."""
    times = []
    for _ in range(TIMES + 1):
        began = time.monotonic()
        answer = await hantar.get(path, account)
        times.append(time.monotonic() - began)
        assert answer.status == 200, answer
        await asyncio.sleep(0)
    return statistics.median(times[1:]), max(times[1:])


async def _owner(pool: Pool) -> Account:
    key = new_key()
    async with pool.acquire() as connection:
        await accounts.create_key(
            connection, ACCOUNT, name="bench", key_hash=key_hash(key), expires_at=None
        )
    return Account(ACCOUNT, key, ACCOUNT)


async def _deep(pool: Pool) -> dict[str, int]:
    return {
        table: await pool.fetchval(
            f"SELECT id FROM {table} WHERE account_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2",
            ACCOUNT,
            min(9_999 * PAGE, ROWS - 1),
        )
        for table in ("contacts", "messages")
    }
