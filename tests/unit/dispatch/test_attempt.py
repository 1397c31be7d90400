from __future__ import annotations

import time
from datetime import UTC, datetime

from drivers.driver import Send
from service.core.pacing import Limits, Pacer
from service.dispatch.attempt import Attempt, Planned
from service.dispatch.claims import Claim, Claimed
from service.dispatch.leases import Lease
from service.dispatch.packs import Entry

LIMITS = Limits(per_second=10.0)


def planned(message_id: int, pacer: Pacer, *, good_seconds: float) -> Planned:
    now = time.monotonic()
    claimed = Claimed(
        Claim(1, 1),
        Lease(0, 1, now + 60.0),
        now + good_seconds,
        message_id,
        1,
        0,
        "+60123456789",
        "Salam",
        None,
        datetime.now(UTC),
        LIMITS,
        1,
        None,
    )
    slot, at = pacer.plan(now)
    return Planned(Entry(message_id, 1, 0, None), claimed, pacer, slot, at, now)


def send(plan: Planned) -> Send:
    claimed = plan.claimed
    return Send(claimed.message_id, claimed.attempt, 1, claimed.epoch, claimed.phone, claimed.body)


def test_a_call_whose_slot_was_taken_back_has_not_lapsed() -> None:
    """A device that is slowed down is behind with nothing, unlike one whose claims run out."""
    pacer = Pacer(LIMITS, time.monotonic() - 60.0)
    first, second, late, left = (
        planned(id_, pacer, good_seconds=seconds)
        for id_, seconds in enumerate((60.0, 60.0, -0.001, 60.0), start=1)
    )
    attempt = Attempt([first, second, late, left], pacer, "simulator", lambda *_: None)
    assert attempt.begin(send(first))
    pacer.change(Limits(per_second=0.1))
    pacer.throttle.full_at = time.monotonic() + 500.0
    assert not attempt.begin(send(second))
    assert not attempt.begin(send(late))
    begun, never = attempt.leftovers()
    assert begun == [first]
    assert {plan.claimed.message_id: attempt.lapsed(plan) for plan in never} == {
        second.claimed.message_id: False,
        late.claimed.message_id: True,
        left.claimed.message_id: True,
    }
