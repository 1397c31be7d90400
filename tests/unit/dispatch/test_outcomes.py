"""Outcomes of several lanes on their way to one recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from service.core.lifecycle import Change, Status
from service.dispatch.claims import Claim
from service.dispatch.outcomes import Outcomes
from service.dispatch.packs import Entry
from service.record.recorder import Through


def sent(message_id: int) -> Change:
    return Change(message_id, 1, Status.SENT, datetime.now(UTC))


def entry(message_id: int) -> Entry:
    return Entry(message_id, 1, 0, None)


async def test_the_note_of_a_claim_goes_after_the_last_change_of_any_of_its_lanes() -> None:
    written: list[Change | Through] = []
    closed: list[int] = []

    def put(changes: Sequence[Change | Through]) -> asyncio.Future[Sequence[None]]:
        written.extend(changes)
        committed = asyncio.get_running_loop().create_future()
        committed.set_result([None] * len(changes))
        return committed

    def lane() -> Outcomes:
        return Outcomes(put, set(), closed.extend, lambda _: None)

    first, second = lane(), lane()
    before, shared = Claim(7, open=1), Claim(8, open=2)
    # The first lane will put its changes first, and has the last word on the claim they share.
    first.add(sent(1), entry(1), before)
    second.add(sent(2), entry(2), shared)
    first.add(sent(3), entry(3), shared)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    kept = [item.claim if isinstance(item, Through) else item.message_id for item in written]
    assert kept == [1, 3, 7, 2, 8]
    assert closed == [7, 8]
