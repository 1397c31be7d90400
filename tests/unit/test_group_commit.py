from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.store.group_commit import Closed, GroupCommit


class Ledger:
    """A flush that doubles numbers, waits to be let on, and refuses a group with a negative one."""

    def __init__(self) -> None:
        self.flushed: list[list[int]] = []
        self.begun = asyncio.Semaphore(0)
        self.open = asyncio.Event()
        self.open.set()

    async def flush(self, items: list[int]) -> list[int]:
        self.flushed.append(items)
        self.begun.release()
        await self.open.wait()
        if any(item < 0 for item in items):
            raise ValueError(items)
        return [item * 2 for item in items]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
async def group(ledger: Ledger) -> AsyncIterator[GroupCommit[int, int]]:
    made = GroupCommit(ledger.flush, name="test", most_items=5)
    made.start()
    yield made
    ledger.open.set()
    async with asyncio.timeout(5):
        await made.close()


async def held_up(group: GroupCommit[int, int], ledger: Ledger) -> asyncio.Future[object]:
    """A flush that is in flight until the ledger opens."""
    ledger.open.clear()
    first: asyncio.Future[object] = asyncio.ensure_future(group.put([0]))
    await ledger.begun.acquire()
    return first


async def test_each_caller_gets_its_own_results_in_order(group: GroupCommit[int, int]) -> None:
    answers = await asyncio.gather(group.put([1, 2]), group.put([]), group.put([3]))
    assert [*answers] == [[2, 4], [], [6]]


async def test_what_asks_while_a_flush_is_in_flight_goes_into_the_next(
    group: GroupCommit[int, int], ledger: Ledger
) -> None:
    await held_up(group, ledger)
    later = [group.put([1, 2]), group.put([3])]
    assert group.depth == 4
    ledger.open.set()
    await asyncio.gather(*later)
    assert ledger.flushed == [[0], [1, 2, 3]]
    assert group.depth == 0


async def test_a_flush_is_bounded_and_no_caller_is_split(
    group: GroupCommit[int, int], ledger: Ledger
) -> None:
    await held_up(group, ledger)
    parts = [[1, 2, 3], [4, 5], [6], [7] * 9, [8]]
    later = [group.put(part) for part in parts]
    ledger.open.set()
    assert await asyncio.gather(*later) == [[item * 2 for item in part] for part in parts]
    assert ledger.flushed == [[0], [1, 2, 3, 4, 5], [6], [7] * 9, [8]]


async def test_flushes_that_follow_closely_are_gathered_unless_they_are_full(
    ledger: Ledger,
) -> None:
    apart = GroupCommit(ledger.flush, name="test", most_items=5, apart_seconds=60.0)
    apart.start()
    async with asyncio.timeout(5):
        assert await apart.put([1]) == [2], "what comes alone does not wait"
        waits = [apart.put([2]), apart.put([3, 4])]
        _, left = await asyncio.wait(waits, timeout=0.1)
        assert len(left) == 2
        assert await apart.put([5, 6]) == [10, 12]
        assert [future.result() for future in waits] == [[4], [6, 8]]
        last = apart.put([7])
        await apart.close()
        assert await last == [14], "nor is the end waited for"
    assert ledger.flushed == [[1], [2, 3, 4, 5, 6], [7]]


async def test_flushes_begin_apart(ledger: Ledger) -> None:
    apart = GroupCommit(ledger.flush, name="test", apart_seconds=0.05)
    apart.start()
    began = []
    for item in range(4):
        await apart.put([item])
        began.append(asyncio.get_running_loop().time())
    await apart.close()
    assert began[-1] - began[0] >= 3 * 0.05 - 0.01


async def test_an_error_reaches_every_caller_of_that_flush_and_no_other(
    group: GroupCommit[int, int], ledger: Ledger
) -> None:
    await held_up(group, ledger)
    failing = [group.put([1]), group.put([-1])]
    fine = group.put([4, 5, 6, 7])
    ledger.open.set()
    answers = await asyncio.gather(*failing, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError, ValueError]
    assert await fine == [8, 10, 12, 14]
    assert group.depth == 0


async def test_a_caller_that_went_away_does_not_disturb_the_others(
    group: GroupCommit[int, int], ledger: Ledger
) -> None:
    await held_up(group, ledger)
    gone, stays = group.put([1]), group.put([2])
    gone.cancel()
    ledger.open.set()
    assert await stays == [4]
    ledger.open.clear()
    gone, fails = group.put([-1]), group.put([3])
    await ledger.begun.acquire()
    gone.cancel()
    ledger.open.set()
    with pytest.raises(ValueError, match="-1"):
        await fails


async def test_nothing_asked_is_answered_after_everything_before(
    group: GroupCommit[int, int], ledger: Ledger
) -> None:
    first = await held_up(group, ledger)
    barrier = group.put([])
    assert not barrier.done()
    ledger.open.set()
    assert await barrier == []
    assert first.done()


async def test_closing_writes_what_was_asked_before_and_refuses_the_rest(
    group: GroupCommit[int, int], ledger: Ledger
) -> None:
    await held_up(group, ledger)
    asked = [group.put([1, 2, 3]), group.put([4, 5, 6])]
    closing = asyncio.create_task(group.close())
    await asyncio.sleep(0)
    with pytest.raises(Closed):
        await group.put([7])
    ledger.open.set()
    await closing
    assert [future.result() for future in asked] == [[2, 4, 6], [8, 10, 12]]
    assert ledger.flushed == [[0], [1, 2, 3], [4, 5, 6]]
