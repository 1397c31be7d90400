"""What every driver promises beyond a call: callbacks, repeats, restarts, take-overs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from drivers.driver import Driver, Retry, Sent
from service.core.lifecycle import Status
from tests.contract.other_side import FENCING, OtherSide, Start, accepted_of, calls_of, ordinary
from tests.contract.witness import Sink, inbound_in, message, send_one, soon

# Callbacks


async def test_a_callback_tells_message_attempt_and_provider_id(
    side: OtherSide, driver: Driver, sink: Sink
) -> None:
    send = ordinary(side, attempt=3)
    outcome = await send_one(driver, send)
    assert isinstance(outcome, Sent)
    await sink.callback(send, Status.DELIVERED)
    for callback in sink.about(send):
        assert callback.attempt == 3
        assert callback.provider_id == outcome.provider_id
        assert callback.at.utcoffset() is not None
        assert callback.status in {Status.SENT, Status.DELIVERED}


async def test_a_late_failure_tells_why(side: OtherSide, driver: Driver, sink: Sink) -> None:
    send = message(side.phones.failing_later, side.device_id)
    assert isinstance(await send_one(driver, send), Sent)
    assert (await sink.callback(send, Status.FAILED)).error_code


async def test_what_a_person_writes_comes_in(side: OtherSide, driver: Driver, sink: Sink) -> None:
    await send_one(driver, message(side.phones.replying, side.device_id))
    await sink.until(lambda: bool(inbound_in(sink.taken)))
    inbound = inbound_in(sink.taken)[0]
    assert inbound.device_id == side.device_id
    assert inbound.phone == side.phones.replying
    assert inbound.text
    assert inbound.provider_id


async def test_what_was_not_taken_is_called_back_again(
    side: OtherSide, start: Start, sink: Sink
) -> None:
    sink.refusing = True
    send = ordinary(side)
    await send_one(await start(sink), send)
    await sink.until(lambda: bool(sink.refused))
    sink.refusing = False
    await sink.until(lambda: set(sink.refused) <= set(sink.taken))


async def test_what_was_not_called_back_survives_a_restart(side: OtherSide, start: Start) -> None:
    before, after = Sink(refusing=True), Sink()
    first = await start(before)
    send = ordinary(side)
    assert isinstance(await send_one(first, send), Sent)
    await before.until(lambda: bool(before.refused))
    await soon(first.close())

    await start(after)
    await after.callback(send, Status.DELIVERED)
    await after.until(lambda: set(before.refused) <= set(after.taken))


# Repeats


async def repeat(first: Driver, second: Driver, side: OtherSide, sink: Sink) -> None:
    """The same message by two calls: one message where the driver repeats, two where not."""
    send = ordinary(side)
    again = replace(send, attempt=2)
    outcomes = [await send_one(first, send), await send_one(second, again)]
    # Called back after all that the two calls can be owed.
    last = ordinary(side)
    await send_one(second, last)
    await sink.callback(last, Status.DELIVERED)

    provider_ids = {o.provider_id if isinstance(o, Sent) else None for o in outcomes}
    assert None not in provider_ids
    attempts = [1] if first.repeats else [1, 2]
    assert len(provider_ids) == len(attempts)
    assert await calls_of(side, send) == [1, 2]
    assert await accepted_of(side, send) == attempts
    assert {callback.attempt for callback in sink.about(send)} == set(attempts)
    delivered = [c for c in sink.about(send) if c.status is Status.DELIVERED]
    assert len(delivered) == len(attempts)


async def test_a_repeated_send_is_one_message_only_where_the_driver_says_so(
    side: OtherSide, driver: Driver, sink: Sink
) -> None:
    await repeat(driver, driver, side, sink)


async def test_two_drivers_share_one_memory(
    side: OtherSide, driver: Driver, start: Start, sink: Sink
) -> None:
    await repeat(driver, await start(sink), side, sink)


async def test_a_restarted_driver_knows_what_was_accepted(
    side: OtherSide, driver: Driver, start: Start, sink: Sink
) -> None:
    send = ordinary(side)
    first = await send_one(driver, send)
    await soon(driver.close())
    again = await send_one(await start(sink), replace(send, attempt=2))
    assert isinstance(first, Sent)
    assert isinstance(again, Sent)
    assert (first.provider_id == again.provider_id) is driver.repeats


async def test_a_silent_message_is_repeated_like_any_other(side: OtherSide, driver: Driver) -> None:
    send = message(side.phones.silent, side.device_id)
    await send_one(driver, send)
    await send_one(driver, replace(send, attempt=2))
    assert await calls_of(side, send) == [1, 2]
    assert await accepted_of(side, send) == ([1] if driver.repeats else [1, 2])


async def test_calls_for_one_message_at_the_same_time_do_not_miss_each_other(
    side: OtherSide, driver: Driver
) -> None:
    send = ordinary(side)
    attempts = list(range(1, 9))
    outcomes = await asyncio.gather(
        *(send_one(driver, replace(send, attempt=attempt)) for attempt in attempts)
    )
    assert all(isinstance(outcome, Sent) for outcome in outcomes)
    assert sorted(await calls_of(side, send)) == attempts
    assert len(await accepted_of(side, send)) == (1 if driver.repeats else len(attempts))


# Epochs


@pytest.mark.parametrize("side", FENCING, indirect=True)
async def test_a_caller_whose_epoch_is_over_is_refused(
    side: OtherSide, driver: Driver, start: Start, sink: Sink
) -> None:
    late, heir = driver, await start(sink)
    assert isinstance(await send_one(heir, ordinary(side, epoch=2)), Sent)
    stale = ordinary(side, epoch=1)
    outcome = await send_one(late, stale)
    assert isinstance(outcome, Retry)
    assert not outcome.counts
    assert await accepted_of(side, stale) == []
    # Its device alone is over for it, and the same message goes out through the heir.
    elsewhere = message(side.phones.accepted, side.other_device_id, epoch=1)
    assert isinstance(await send_one(late, elsewhere), Sent)
    assert isinstance(await send_one(heir, replace(stale, attempt=2, epoch=2)), Sent)
    assert await accepted_of(side, stale) == [2]
