"""What every driver promises of its calls; one suite, run on each against its provider."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.processors import format_exc_info
from structlog.testing import capture_logs

from drivers.driver import (
    Called,
    Driver,
    Failed,
    Retry,
    Scope,
    Sent,
    Unconfirmed,
)
from drivers.registry import DRIVERS
from service.core.lifecycle import Status
from tests.contract.other_side import SIDES, OtherSide, Start, accepted_of, calls_of, ordinary
from tests.contract.witness import (
    SOON_SECONDS,
    TEXT,
    Sink,
    Witness,
    inbound_in,
    message,
    send_one,
    soon,
)

CLOSE_SECONDS = 5.0
#: More calls than this no number needs to be accepted.
MOST_CALLS = 5
#: Long enough for what must not happen to be seen happening.
WATCH_SECONDS = 0.2


def test_no_driver_escapes_the_suite() -> None:
    assert {name.partition(":")[0] for name in SIDES} == DRIVERS.keys()


# Outcomes


async def test_an_accepted_message_is_sent(side: OtherSide, driver: Driver) -> None:
    send = ordinary(side)
    outcome = await send_one(driver, send)
    assert isinstance(outcome, Sent)
    assert outcome.provider_id
    assert await accepted_of(side, send) == [1]


async def test_a_refused_message_failed(side: OtherSide, driver: Driver) -> None:
    send = message(side.phones.refused, side.device_id)
    outcome = await send_one(driver, send)
    assert isinstance(outcome, Failed)
    assert outcome.code
    assert outcome.detail
    assert await accepted_of(side, send) == []


@pytest.mark.parametrize(("trouble", "slows"), [("throttled", True), ("erring", False)])
async def test_trouble_that_may_pass_slows_the_device_or_counts(
    side: OtherSide, driver: Driver, trouble: str, slows: bool
) -> None:
    outcome = await send_one(driver, message(getattr(side.phones, trouble), side.device_id))
    assert isinstance(outcome, Retry)
    assert outcome.code
    assert (outcome.slows, outcome.counts) == (slows, not slows)
    # A device that slows down need not be held as well.
    assert slows or outcome.scope is Scope.MESSAGE


async def test_silence_is_unconfirmed(side: OtherSide, driver: Driver) -> None:
    send = message(side.phones.silent, side.device_id)
    outcome = await send_one(driver, send)
    assert isinstance(outcome, Unconfirmed)
    assert await calls_of(side, send) == [1]


@pytest.mark.parametrize("trouble", ["throttled", "erring"])
async def test_what_was_to_be_tried_again_is_accepted_in_the_end(
    side: OtherSide, driver: Driver, sink: Sink, trouble: str
) -> None:
    first = message(getattr(side.phones, trouble), side.device_id)
    for attempt in range(1, MOST_CALLS + 1):
        send = replace(first, attempt=attempt)
        outcome = await send_one(driver, send)
        if not isinstance(outcome, Retry):
            break
    assert isinstance(outcome, Sent)
    assert attempt > 1
    assert await calls_of(side, send) == list(range(1, attempt + 1))
    assert await accepted_of(side, send) == [attempt]
    assert (await sink.callback(send, Status.SENT)).attempt == attempt


# The report


async def test_every_message_of_a_full_batch_is_begun_and_reported_once(
    side: OtherSide, driver: Driver
) -> None:
    batch = [ordinary(side) for _ in range(driver.batch_limit)]
    witness = Witness()
    await soon(driver.send(batch, witness))
    assert witness.asked == batch
    assert {id_: len(outcomes) for id_, outcomes in witness.outcomes.items()} == {
        send.message_id: 1 for send in batch
    }
    calls = [call.message_id for call in await side.received()]
    assert sorted(calls) == [send.message_id for send in batch]
    assert sorted(send.message_id for send in witness.made_calls) == sorted(calls)


async def test_one_batch_may_meet_every_outcome(side: OtherSide, driver: Driver) -> None:
    phones = side.phones
    batch = [
        message(phone, side.device_id)
        for phone in (phones.refused, phones.accepted, phones.silent, phones.erring)
    ]
    witness = Witness()
    await soon(driver.send(batch, witness))
    outcomes = [await witness.outcome(send) for send in batch]
    assert [type(outcome) for outcome in outcomes] == [Failed, Sent, Unconfirmed, Retry]


async def test_what_may_not_begin_is_neither_called_nor_reported(
    side: OtherSide, driver: Driver
) -> None:
    batch = [ordinary(side) for _ in range(4)]
    witness = Witness(forbidden=batch[:2])
    await soon(driver.send(batch, witness))
    assert witness.asked == batch
    allowed = [send.message_id for send in batch[2:]]
    assert sorted(witness.outcomes) == allowed
    assert sorted(call.message_id for call in await side.received()) == allowed
    assert sorted(send.message_id for send in witness.made_calls) == allowed

    witness = Witness(forbidden=batch)
    await soon(driver.send(batch, witness))
    assert not witness.outcomes
    assert not witness.made_calls
    assert len(await side.received()) == len(allowed)


async def test_nothing_begins_before_it_can_be_called(side: OtherSide, driver: Driver) -> None:
    send = ordinary(side)
    witness = Witness()
    async with side.out_of_reach():
        sending = asyncio.create_task(driver.send([send], witness))
        await asyncio.wait([sending], timeout=WATCH_SECONDS)
        assert not witness.asked
    await soon(sending)
    # It may have given up before: then nothing was begun, called or reported.
    begun = [asked.message_id for asked in witness.asked]
    assert sorted(witness.outcomes) == begun
    assert [call.message_id for call in await side.received()] == begun


async def test_a_slow_message_holds_up_nobody_else(side: OtherSide, driver: Driver) -> None:
    slow = message(side.phones.slow, side.device_id)
    quick = [ordinary(side) for _ in range(3)]
    witness = Witness()
    sending = asyncio.create_task(driver.send([slow, *quick], witness))
    for send in quick:
        assert isinstance(await witness.outcome(send), Sent)
    assert isinstance(await send_one(driver, ordinary(side)), Sent)
    assert slow.message_id not in witness.outcomes
    sending.cancel()
    await asyncio.wait([sending], timeout=SOON_SECONDS)


async def test_a_caller_that_gives_up_harms_no_other(side: OtherSide, driver: Driver) -> None:
    batches = [[ordinary(side)] for _ in range(20)]
    witness = Witness()
    sendings = [asyncio.create_task(driver.send(batch, witness)) for batch in batches]
    await asyncio.sleep(0)
    for sending in sendings[::2]:
        sending.cancel()
    await asyncio.wait(sendings, timeout=SOON_SECONDS)
    for (send,) in batches[1::2]:
        assert isinstance(await witness.outcome(send), Sent)
    received = [call.message_id for call in await side.received()]
    assert len(received) == len(set(received))


async def test_a_send_that_was_cut_off_begins_nothing_any_more(
    side: OtherSide, driver: Driver
) -> None:
    witness = Witness()
    async with side.out_of_reach():
        sending = asyncio.create_task(driver.send([ordinary(side)], witness))
        await asyncio.wait([sending], timeout=WATCH_SECONDS)
        sending.cancel()
        await asyncio.wait([sending], timeout=SOON_SECONDS)
    later = ordinary(side)
    assert isinstance(await send_one(driver, later), Sent)
    assert not witness.asked
    assert [call.message_id for call in await side.received()] == [later.message_id]


# Closing


async def close_in_time(driver: Driver, *sendings: asyncio.Task[None]) -> None:
    since = time.monotonic()
    await soon(asyncio.gather(driver.close(), *sendings))
    assert time.monotonic() - since < CLOSE_SECONDS


async def test_closing_is_bounded_and_a_send_in_flight_still_reports(
    side: OtherSide, driver: Driver
) -> None:
    slow = message(side.phones.slow, side.device_id)
    quick = ordinary(side)
    witness = Witness()
    sending = asyncio.create_task(driver.send([slow, quick], witness))
    await witness.outcome(quick)
    await close_in_time(driver, sending)
    assert isinstance(await witness.outcome(slow), Unconfirmed)


async def test_closing_is_bounded_while_the_other_side_is_out_of_reach(
    side: OtherSide, driver: Driver
) -> None:
    witness = Witness()
    async with side.out_of_reach():
        send = ordinary(side)
        sending = asyncio.create_task(driver.send([send], witness))
        await asyncio.sleep(0)
        await close_in_time(driver, sending)
    assert not witness.asked
    assert await side.received() == []


async def test_closing_is_bounded_while_a_callback_is_not_taken(
    side: OtherSide, start: Start
) -> None:
    reached = asyncio.Event()

    class Stuck(Sink):
        async def __call__(self, called: Sequence[Called]) -> None:
            await super().__call__(called)
            reached.set()
            await asyncio.Event().wait()

    driver = await start(Stuck())
    await send_one(driver, ordinary(side))
    await soon(reached.wait())
    await close_in_time(driver)


# Privacy


async def test_no_log_names_a_person_or_quotes_a_message(
    side: OtherSide, start: Start, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sink.refusing = True
    with capture_logs(processors=[format_exc_info]) as logs:
        driver = await start(sink)
        batch = [
            message(phone, side.device_id)
            for phone in (side.phones.accepted, side.phones.refused, side.phones.replying)
        ]
        await soon(driver.send(batch, Witness()))
        # Twice: the driver has said what it has to say about the first refusal.
        await sink.until(lambda: len(inbound_in(sink.refused)) >= 2)
        await soon(driver.close())
    written = repr(logs) + caplog.text
    assert TEXT not in written
    assert repr(inbound_in(sink.refused)[0].text) not in written
    for send in batch:
        assert send.phone.removeprefix("+") not in written
