"""Every statement that runs often finds its rows by an index, with a million messages there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from service.core.lifecycle import Change, Status
from service.embedded import EmbeddedPostgres
from service.store import claims, contacts, groups, messages, record
from service.store.claims import Look, Orphan, Parking
from service.store.contacts import ContactFilter
from service.store.messages import MessageFilter
from service.store.queries import load
from tests.integration.fresh import execute, fresh_database
from tests.integration.store.explained import Explained

ACCOUNTS = 100
ROWS = 1_000_000
#: Half of the messages lie on each side of the edge of two partitions.
FIRST = 5_000_000 - ROWS // 2
FILL = f"""
SET synchronous_commit = off;
SELECT setval('messages_id_seq', {FIRST - 1});
SELECT ensure_message_partitions();
INSERT INTO accounts (name, email, balance) SELECT 'a', n || '@example.com', 0
    FROM generate_series(1, {ACCOUNTS}) n;
INSERT INTO devices (account_id, name, driver, state, shard)
    SELECT id, 'd', 'simulator', 'ready', id % 2 FROM accounts;
UPDATE shard_leases SET owner = 'worker', epoch = 1;
INSERT INTO contacts (account_id, phone) SELECT n % {ACCOUNTS} + 1, '+6012' || n
    FROM generate_series(1000000, 1050000) n;
INSERT INTO contact_groups (account_id, name) VALUES (7, 'g');
INSERT INTO contact_group_members SELECT 1, id FROM contacts WHERE account_id = 7;
INSERT INTO messages (id, account_id, device_id, campaign_id, contact_id, phone, body, status,
        credit, priority, created_at)
    SELECT n, n % {ACCOUNTS} + 1, n % {ACCOUNTS} + 1, n / 10000, n % 50000,
        '+6012' || n % 900000, 'hello',
        CASE WHEN n % 20 = 0 THEN 'queued' ELSE 'delivered' END::message_status,
        CASE WHEN n % 20 = 0 THEN 'reserved' ELSE 'settled' END::message_credit,
        n % 3, '2026-11-23'::timestamptz + make_interval(secs => (n - {FIRST}) / 100.0)
    FROM generate_series({FIRST}, {FIRST + ROWS - 1}) n;
INSERT INTO parked SELECT id, device_id, priority, created_at, 'behind', campaign_id
    FROM messages WHERE status = 'queued';
-- As vacuum would: how much lies there by chance counts against the index.
SELECT gin_clean_pending_list('contacts_search');
ANALYZE;
"""


@pytest.fixture(scope="module")
def filled(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """A database with a million messages in two partitions."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        database = fresh_database(postgres_server.dsn, template_database)
        address = runner.run(database.__aenter__())
        runner.run(execute(address, FILL))
        yield address
        runner.run(database.__aexit__(None, None, None))


@pytest.fixture
async def explained(filled: str) -> AsyncIterator[Explained]:
    """In the place of a connection to it."""
    connection = await asyncpg.connect(filled, timeout=10, command_timeout=30)
    yield Explained(connection)
    await connection.close(timeout=5)


IDS = list(range(FIRST + 20_000, FIRST + 22_000, 20))
AT = datetime.now(UTC)
CHANGES = [Change(id_, 1, Status.DELIVERED, AT, "p") for id_ in IDS]
PARKINGS = [Parking(id_, AT, "behind") for id_ in IDS]
SWEEPS = load("sweeps")

BY_ID = {("messages", "messages_pkey")}
PARKED = {("parked", "parked_pkey")}
#: Of a message that waits, those before it are counted.
WAITING = PARKED | {("parked", "parked_due")}
OF_ACCOUNT = {("messages", "messages_account_id_id_idx")}

Ask = Callable[[Any], Awaitable[object]]


def page(below_id: int | None = None, **narrowed: Any) -> Ask:
    return lambda c: messages.page(
        c, 7, MessageFilter(**narrowed), below_id=below_id, limit=25, offset=0
    )


#: What is asked, and how it may come to the messages and the parked.
CASES: dict[str, tuple[Ask, set[tuple[str, str]]]] = {
    "claim": (
        lambda c: claims.claim(
            c, IDS, worker="worker", epochs={0: 1, 1: 1}, claim_id=7, good_seconds=0.25
        ),
        BY_ID | PARKED,
    ),
    "give_back": (lambda c: claims.give_back(c, IDS, 7), BY_ID),
    "unclaimed": (lambda c: claims.unclaimed(c, IDS), BY_ID),
    "orphaned_messages": (lambda c: claims.orphaned_messages(c, Orphan(7, 0, IDS)), BY_ID),
    "merge": (lambda c: record.merge(c, CHANGES, doubt_seconds=1.0), BY_ID | PARKED),
    "park": (lambda c: claims.park(c, PARKINGS), BY_ID),
    "unpark_gone": (lambda c: claims.unpark_gone(c, IDS), BY_ID | PARKED),
    "due": (
        lambda c: claims.due(c, [Look(id_, 100, [(0, 7)]) for id_ in range(1, 11)]),
        {("parked", "parked_due")},
    ),
    "oldest_young": (
        lambda c: c.fetchval(SWEEPS["oldest_young"], FIRST + 1000, 600.0, 20_000),
        BY_ID,
    ),
    "park_unpointed": (
        lambda c: c.execute(SWEEPS["park_unpointed"], FIRST + 1000, FIRST + 21_000),
        BY_ID,
    ),
    "resend": (lambda c: c.execute(SWEEPS["resend"], IDS), BY_ID),
    "release_unconfirmed": (lambda c: c.fetch(SWEEPS["release_unconfirmed"], IDS), BY_ID),
    "one": (lambda c: messages.one(c, 7, IDS[0]), OF_ACCOUNT | WAITING),
    "page": (page(), OF_ACCOUNT | WAITING),
    "page below an id": (page(below_id=FIRST + 9000), OF_ACCOUNT | WAITING),
    "page of a status": (page(status="queued"), OF_ACCOUNT | WAITING),
    "page of a rare status": (page(status="failed"), BY_ID),
    "page of a phone": (
        page(phone="+6012100"),
        OF_ACCOUNT | {("messages", "messages_account_id_phone_id_idx")} | WAITING,
    ),
    "page of a contact": (
        page(contact_id=77),
        OF_ACCOUNT | {("messages", "messages_contact_id_id_idx")} | WAITING,
    ),
    "count": (lambda c: messages.count(c, 7, MessageFilter(), limit=10_000), OF_ACCOUNT),
}


@pytest.mark.parametrize("name", CASES)
async def test_rows_are_found_by_an_index(explained: Explained, name: str) -> None:
    ask, wanted = CASES[name]
    await ask(explained)
    assert {scan for scan in explained.scans if scan[0] in ("messages", "parked")} == wanted


def contact_page(below_id: int | None = None, **narrowed: Any) -> Ask:
    return lambda c: contacts.page(
        c, 7, ContactFilter(**narrowed), below_id=below_id, limit=25, offset=0
    )


#: By the plan for the values, as lists are asked for.
CONTACT_CASES: dict[str, tuple[Ask, str]] = {
    "page": (contact_page(), "contacts_account"),
    "page below an id": (contact_page(below_id=40_000), "contacts_account"),
    "external id": (contact_page(external_id="x"), "contacts_external"),
    "search for what most have": (contact_page(search="6012"), "contacts_account"),
    "search for what few have": (contact_page(search="nobody"), "contacts_search"),
    "count of a search": (
        lambda c: contacts.count(c, 7, ContactFilter("nobody"), limit=10_000),
        "contacts_search",
    ),
    "members": (
        lambda c: groups.members(c, 1, below_id=None, limit=25, offset=0),
        "contacts_pkey",
    ),
}


@pytest.mark.parametrize("name", CONTACT_CASES)
async def test_contacts_are_found_by_an_index(explained: Explained, name: str) -> None:
    ask, wanted = CONTACT_CASES[name]
    await ask(explained)
    del explained.plans[1:]
    assert {scan[1] for scan in explained.scans if scan[0] == "contacts"} == {wanted}


@pytest.mark.parametrize("name", list(CASES)[:6])
async def test_only_the_partition_of_the_ids_is_read(explained: Explained, name: str) -> None:
    ask, _ = CASES[name]
    await ask(explained)
    assert explained.partitions == [{"messages_000000"}] * 2


async def test_no_change_is_compared_with_every_row(explained: Explained) -> None:
    ask, _ = CASES["merge"]
    await ask(explained)
    assert explained.comparisons == []
