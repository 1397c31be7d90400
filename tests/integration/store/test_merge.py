from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.core.lifecycle import RANK, Status
from service.record.recorder import Recorder
from service.store import messages as store
from service.store.pool import Pool
from tests.integration.store.changes import (
    NOON,
    assert_books_agree,
    assert_events_have_no_gap,
    change,
    events,
    messages,
)
from tests.integration.store.rows import put_messages
from tests.system import Account, make_account

#: What a change makes of a row whose second attempt this is; a dot leaves it as it is.
GRID = """
            queued/1 queued/2 unconfirmed/1 unconfirmed/2 sent/1 failed/1 failed/2 delivered/1 read/2 expired/0
scheduled   .        .        .             .             sent   .        failed   delivered   read   expired
queued      .        .        .             .             sent   .        failed   delivered   read   expired
sending     .        queued   .             unconfirmed   sent   .        failed   delivered   read   .
unconfirmed .        queued   .             .             sent   .        failed   delivered   read   .
sent        .        .        .             .             .      .        failed   delivered   read   .
failed      .        .        .             .             .      .        .        delivered   read   .
delivered   .        .        .             .             .      .        .        .           read   .
read        .        .        .             .             .      .        .        .           .      .
cancelled   .        .        .             .             .      .        .        .           .      .
expired     .        .        .             .             .      .        .        .           .      .
skipped     .        .        .             .             .      .        .        .           .      .
"""  # noqa: E501 - a table reads as one
HEAD, *LINES = [line.split() for line in GRID.strip().splitlines()]
CELLS = {
    (row, change): row if cell == "." else cell
    for row, *cells in LINES
    for change, cell in zip(HEAD, cells, strict=True)
}


async def test_the_ranks_are_the_same_in_the_database(pool: Pool) -> None:
    in_sql = await pool.fetchval("SELECT enum_range(NULL::message_status)::text[]")
    assert in_sql == [status.value for status in Status]
    assert list(RANK.values()) == list(range(len(in_sql)))


async def test_every_change_moves_a_row_as_the_table_says(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    cells: dict[int, tuple[str, str]] = {}
    for row, name in CELLS:
        credit = "settled" if row in ("sent", "delivered", "read") else "reserved"
        credit = "released" if RANK[Status(row)] >= RANK[Status.CANCELLED] else credit
        credit = "released" if row == "failed" else credit
        [id_] = await put_messages(pool, account, status=row, attempt=2, credit=credit, seq=0)
        cells[id_] = (row, name)
    await recorder.put(
        [
            change(id_, name.split("/")[0], int(name.split("/")[1]), not_before=NOON)
            for id_, (_, name) in cells.items()
        ]
    )
    found = {cells[row["id"]]: row["status"] for row in await messages(pool, list(cells))}
    assert found == CELLS
    await assert_books_agree(pool)
    await assert_events_have_no_gap(pool)
    told = {event["message_id"]: event["status"] for event in await events(pool)}
    assert told == {
        id_: CELLS[cell]
        for id_, cell in cells.items()
        if CELLS[cell] != cell[0] and CELLS[cell] != "queued"
    }


@pytest.mark.parametrize(
    ("row", "credit", "then", "becomes", "gained"),
    [
        ("sending", "reserved", "sent", "settled", 0),
        ("sending", "reserved", "delivered", "settled", 0),
        ("queued", "reserved", "read", "settled", 0),
        ("sending", "reserved", "failed", "released", 1),
        ("queued", "reserved", "expired", "released", 1),
        ("scheduled", "reserved", "cancelled", "released", 1),
        ("queued", "reserved", "skipped", "released", 1),
        ("sending", "reserved", "unconfirmed", "reserved", 0),
        ("sending", "reserved", "queued", "reserved", 0),
        ("sent", "settled", "delivered", "settled", 0),
        ("sent", "settled", "failed", "refunded", 1),
        # Given back once, a credit is never charged again.
        ("failed", "released", "delivered", "released", 0),
        ("failed", "refunded", "read", "refunded", 0),
        ("unconfirmed", "released", "sent", "released", 0),
        ("unconfirmed", "released", "failed", "released", 0),
        ("sent", "released", "failed", "released", 0),
    ],
)
async def test_a_credit_follows_its_message(
    pool: Pool, account: Account, recorder: Recorder,
    row: str, credit: str, then: str, becomes: str, gained: int,
) -> None:  # fmt: skip
    [id_] = await put_messages(pool, account, status=row, attempt=1, credit=credit)
    before = await pool.fetchval("SELECT balance FROM accounts WHERE id = $1", account.id)
    await recorder.put([change(id_, then, not_before=NOON)])
    [found] = await messages(pool, [id_])
    assert (found["status"], found["credit"]) == (then, becomes)
    after = await pool.fetchval("SELECT balance FROM accounts WHERE id = $1", account.id)
    assert after - before == gained
    await assert_books_agree(pool)
    if gained:
        [last] = await pool.fetch("SELECT * FROM ledger ORDER BY id DESC LIMIT 1")
        assert (last["message_id"], last["balance_after"]) == (id_, after)


async def test_entries_of_one_transaction_build_on_each_other(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    other = await make_account(pool, credits=5)
    ids = await put_messages(pool, account, 3, status="sending", attempt=1)
    ids += await put_messages(pool, account, 2, status="sent", attempt=1, credit="settled")
    ids += await put_messages(pool, other, 2, status="sending", attempt=1)
    await recorder.put([change(id_, "failed") for id_ in ids])
    entries = await pool.fetch(
        "SELECT account_id, type, count, message_id FROM ledger WHERE type IN ('release', 'refund')"
    )
    assert sorted(tuple(entry) for entry in entries) == [
        (account.id, "refund", 2, None),
        (account.id, "release", 3, None),
        (other.id, "release", 2, None),
    ]
    await assert_books_agree(pool)


async def test_the_times_and_words_of_each_change_are_kept(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    [id_] = await put_messages(pool, account, status="sending", attempt=1)
    await recorder.put(
        [change(id_, "queued", error_code="busy", not_before=NOON, reason="held", counted=1)]
    )
    [row] = await messages(pool, [id_])
    assert (row["error_code"], row["attempts"]) == ("busy", 1)
    await recorder.put([change(id_, "delivered", provider_id="wamid.1")])
    await recorder.put([change(id_, "sent", provider_id="wamid.2", counted=1)])
    await recorder.put([change(id_, "sent")])
    [row] = await messages(pool, [id_])
    assert (row["status"], row["provider_id"], row["error_code"]) == ("delivered", "wamid.1", None)
    assert row["sent_at"] == change(id_, "sent").at
    assert row["delivered_at"] == change(id_, "delivered").at
    assert row["attempts"] == 1, "one attempt never counts twice"


async def test_a_retry_waits_until_its_time_but_not_beyond_its_end(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    now = datetime.now(UTC)
    later, end = now + timedelta(minutes=5), now + timedelta(minutes=1)
    [free] = await put_messages(pool, account, status="sending", attempt=1)
    [ends] = await put_messages(pool, account, status="sending", attempt=1, expires_at=end)
    await recorder.put(
        [change(id_, "queued", not_before=later, reason="throttled") for id_ in (free, ends)]
    )
    parked = await pool.fetch("SELECT message_id, not_before, reason FROM parked")
    assert {row["message_id"]: row["not_before"] for row in parked} == {free: later, ends: end}
    assert {row["reason"] for row in parked} == {"throttled"}


async def test_a_message_that_waits_no_more_is_unparked(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    [id_] = await put_messages(pool, account, status="sending", attempt=1)
    await recorder.put([change(id_, "queued", not_before=NOON)])
    assert await pool.fetchval("SELECT count(*) FROM parked") == 1
    await recorder.put([change(id_, "delivered")])
    assert await pool.fetchval("SELECT count(*) FROM parked") == 0


async def test_what_cannot_be_kept_of_an_answer_does_not_keep_the_message(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    first, second, third = await put_messages(pool, account, 3, status="sending", attempt=1)
    await recorder.put(
        [
            change(first, "sent", provider_id="wamid.1"),
            change(second, "sent", provider_id="wamid.\0"),
            change(third, "failed", error_code="rejected", error_detail="\ud800"),
        ]
    )
    rows = await messages(pool, [first, second, third])
    assert [row["status"] for row in rows] == ["sent", "sent", "failed"]
    assert [row["provider_id"] for row in rows] == ["wamid.1", None, None]
    assert rows[2]["error_code"] == "rejected"
    await assert_books_agree(pool)
    await assert_events_have_no_gap(pool)


async def test_what_went_otherwise_is_remembered_and_told(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    plain, told = await put_messages(pool, account, 2, status="sending", attempt=1)
    await recorder.put([change(plain, "sent")])
    await recorder.put([change(told, "queued", not_before=NOON, error_code="recipient_limit")])
    await pool.execute("UPDATE messages SET status = 'sending', attempt = 2 WHERE id = $1", told)
    again = change(told, "failed", 2, error_code="rejected", error_detail="No WhatsApp.")
    await recorder.put([again])
    await recorder.put([again])
    async with pool.acquire() as connection:
        [story, other] = [await store.history(connection, id_) for id_ in (told, plain)]
    assert other == []
    assert [(step["attempt"], step["status"], step["code"], step["detail"]) for step in story] == [
        (1, "queued", "recipient_limit", None),
        (2, "failed", "rejected", "No WhatsApp."),
    ]
