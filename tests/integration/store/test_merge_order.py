from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

from service.core.lifecycle import Change
from service.record.recorder import Recorder
from service.relay import Relay
from service.store.pool import Pool
from tests.integration.store.changes import (
    NOON,
    assert_books_agree,
    assert_events_have_no_gap,
    change,
    messages,
)
from tests.integration.store.rows import put_messages
from tests.system import Account

REPORTED = ("queued", "unconfirmed", "sent", "failed", "delivered", "read")


def final_status(facts: Sequence[Change], attempt: int) -> str:
    """Where a row that is sending its `attempt` must end, by the words of the contract."""
    said = {(fact.status.value, fact.attempt) for fact in facts}
    known = {status for status, _ in said}
    for status in ("read", "delivered"):
        if status in known:
            return status
    if ("failed", attempt) in said:
        return "failed"
    if "sent" in known:
        return "sent"
    for status in ("queued", "unconfirmed"):
        if (status, attempt) in said:
            return status
    return "sending"


def history(chance: random.Random) -> list[Change]:
    """What may be said about a message in its second attempt; id 0 stands for any."""
    said = chance.choices(
        [(status, attempt) for status in REPORTED for attempt in (1, 2)],
        k=chance.randint(1, 5),
    )
    return [
        change(0, status, attempt, not_before=NOON if status == "queued" else None)
        for status, attempt in dict.fromkeys(said)
        # When both words about a first attempt come late and together, only the failure is kept:
        # the second attempt decides.
        if not (status == "failed" and attempt == 1 and ("sent", 1) in said)
    ]


def of(facts: Sequence[Change], message_id: int) -> list[Change]:
    return [
        Change(message_id, fact.attempt, fact.status, fact.at, not_before=fact.not_before)
        for fact in facts
    ]


async def test_order_repeats_and_grouping_do_not_change_the_end(
    pool: Pool, account: Account, recorder: Recorder
) -> None:
    chance = random.Random(20261123)
    histories = [history(chance) for _ in range(250)]
    ids = await put_messages(pool, account, 4 * len(histories), status="sending", attempt=2)
    pending: dict[int, list[Change]] = {}
    for place, id_ in enumerate(ids):
        facts = of(histories[place // 4], id_)
        pending[id_] = facts + chance.choices(facts, k=chance.randint(0, 4)) if facts else []
        chance.shuffle(pending[id_])
    while any(pending.values()):
        group: list[Change] = []
        for left in pending.values():
            group += [left.pop() for _ in range(min(len(left), chance.randint(0, 3)))]
        await recorder.put(group)
    found = {row["id"]: row["status"] for row in await messages(pool, ids)}
    assert found == {id_: final_status(histories[place // 4], 2) for place, id_ in enumerate(ids)}
    await assert_books_agree(pool)
    await assert_events_have_no_gap(pool)


async def test_four_recorders_with_the_same_events_write_them_once(
    pool: Pool, dsn: str, account: Account, silent_relay: Relay
) -> None:
    """F71: every event delivered one to five times, concurrently on four connections."""
    chance = random.Random(71)
    histories = [history(chance) for _ in range(200)]
    ids = await put_messages(pool, account, len(histories), status="sending", attempt=2)
    async with AsyncExitStack() as stack:
        recorders = []
        for _ in range(4):
            recorders.append(Recorder(pool, dsn, silent_relay, doubt_seconds=0.0))
            recorders[-1].start()
            stack.push_async_callback(recorders[-1].close)
        written = []
        for id_, facts in zip(ids, histories, strict=True):
            repeated = [fact for fact in of(facts, id_) for _ in range(chance.randint(1, 5))]
            written += [(chance.choice(recorders), [fact]) for fact in repeated]
        chance.shuffle(written)
        await asyncio.gather(*(recorder.put(facts) for recorder, facts in written))
    found = {row["id"]: row["status"] for row in await messages(pool, ids)}
    assert found == {id_: final_status(facts, 2) for id_, facts in zip(ids, histories, strict=True)}
    await assert_books_agree(pool)
    await assert_events_have_no_gap(pool)
