"""What the simulator answers and owes, call by call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from drivers.driver import Retry, Send, Sent
from drivers.simulator.answers import OWED_PACK, Known, answer, owed
from service.core.lifecycle import Status

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ORDINARY, ERRING, REPLYING = "+60123456789", "+601155500006", "+601155500008"


def send(phone: str = ORDINARY, *, message_id: int = 1, attempt: int = 1) -> Send:
    return Send(message_id, attempt, 7, 1, phone, "Hello")


def test_calls_are_counted_on_after_a_message_came_of_one() -> None:
    outcomes = [
        answer(send(ERRING, attempt=calls + 1), Known(calls, first), repeats=True).outcome
        for calls, first in [(0, None), (1, None), (2, None), (3, 3), (4, 3)]
    ]
    assert [type(outcome) for outcome in outcomes] == [Retry, Retry, Sent, Sent, Sent]
    assert {outcome.provider_id for outcome in outcomes if isinstance(outcome, Sent)} == {"sim.1.3"}


def test_a_repeat_is_accepted_anew_only_without_dedupe() -> None:
    known = Known(calls=1, attempt=1)
    assert not answer(send(attempt=2), known, repeats=True).accepted
    anew = answer(send(attempt=2), known, repeats=False)
    assert anew.accepted
    assert anew.outcome == Sent("sim.1.2")


def test_callbacks_of_one_moment_are_packed_together() -> None:
    packs = owed([send(message_id=number) for number in range(OWED_PACK + 1)], NOW)
    assert sorted(len(pack.statuses) for pack in packs) == [1, 1, OWED_PACK, OWED_PACK]
    for pack in packs:
        assert {callback.at for callback in pack.statuses} == {pack.due_at}
    told = sorted((c.message_id, c.status) for pack in packs for c in pack.statuses)
    assert told == sorted(
        (number, status)
        for number in range(OWED_PACK + 1)
        for status in (Status.SENT, Status.DELIVERED)
    )


def test_a_person_writes_back_after_the_last_callback() -> None:
    packs = sorted(owed([send(REPLYING)], NOW), key=lambda pack: pack.due_at)
    assert [(len(pack.statuses), len(pack.inbound)) for pack in packs] == [(1, 0), (1, 0), (0, 1)]
    (reply,) = packs[-1].inbound
    assert (reply.device_id, reply.phone, reply.text) == (7, REPLYING, "STOP")
    assert NOW < reply.at <= NOW + timedelta(seconds=1)
