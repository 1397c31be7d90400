from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from service.dispatch.backlog import RUN_LIMIT, Backlog
from service.dispatch.packs import Entry

HIGH, NORMAL, LOW = range(3)
_ids = count(1)


def entries(number: int, *, priority: int = LOW, flow: int = 0) -> list[Entry]:
    return [Entry(next(_ids), priority, flow, None) for _ in range(number)]


def flows(popped: list[Entry]) -> list[int]:
    return [entry.flow for entry in popped]


def test_flows_take_turns_however_much_each_has() -> None:
    backlog = Backlog()
    backlog.add(entries(100, flow=1), 100)
    backlog.add(entries(2, flow=2), 100)
    backlog.add(entries(3, flow=3), 100)
    assert flows(backlog.pop(9)) == [1, 2, 3, 1, 2, 3, 1, 3, 1]


def test_a_flow_keeps_its_order() -> None:
    backlog = Backlog()
    one, two = entries(5, flow=1), entries(5, flow=2)
    backlog.add(one, 100)
    backlog.add(two, 100)
    taken = backlog.pop(3)
    backlog.put_back(taken)
    popped = backlog.pop(10)
    assert popped[:3] == taken
    assert [entry for entry in popped if entry.flow == 1] == one
    assert [entry for entry in popped if entry.flow == 2] == two


def test_a_flow_that_comes_to_a_full_lane_gets_its_share() -> None:
    backlog = Backlog()
    flood = entries(150, flow=1)
    assert backlog.add(flood, 100) == flood[100:]
    late = entries(80, flow=2)
    assert backlog.add(late, 100) == late[50:]
    assert backlog.pop(2) == [flood[0], late[0]]


def test_a_full_lane_takes_what_is_more_urgent() -> None:
    backlog = Backlog()
    backlog.add(entries(100), 100)
    backlog.add(entries(100, priority=NORMAL), 100)
    [urgent] = entries(1, priority=HIGH)
    assert backlog.add([urgent], 100) == []
    assert backlog.pop(1) == [urgent]


def test_the_urgent_goes_next_whatever_waits_and_however_long() -> None:
    backlog = Backlog()
    backlog.add(entries(500, priority=NORMAL), 1000)
    backlog.add(entries(500), 1000)
    for _ in range(50):
        backlog.pop(3)
        [urgent] = entries(1, priority=HIGH)
        backlog.add([urgent], 1000)
        assert backlog.pop(1) == [urgent]


def test_the_urgent_is_claimed_without_others_behind_it_every_other_time() -> None:
    backlog = Backlog()
    flood, urgent = entries(40, priority=NORMAL), entries(3, priority=HIGH)
    backlog.add(flood, 1000)
    backlog.add(urgent[:1], 1000)
    assert backlog.pop(10) == urgent[:1]
    backlog.add(urgent[1:2], 1000)
    assert backlog.pop(10) == urgent[1:2] + flood[:9], "a trickle does not keep claims small"
    backlog.add(urgent[2:], 1000)
    assert backlog.pop(10) == urgent[2:]
    assert backlog.pop(10) == flood[9:19]


def test_nobody_starves() -> None:
    """Under floods of all that is above it, low has its turn in time."""
    backlog = Backlog()
    turns = (RUN_LIMIT + 1) ** 2
    for priority in (HIGH, NORMAL):
        backlog.add(entries(3 * turns, priority=priority), 3 * turns)
    first, second = entries(2)
    backlog.add([first, second], 100)
    popped = backlog.pop(2 * turns)
    assert popped.index(first) < turns
    assert popped.index(second) < 2 * turns
    counts = Counter(entry.priority for entry in popped[:turns])
    assert counts == {HIGH: turns - RUN_LIMIT - 1, NORMAL: RUN_LIMIT, LOW: 1}


def test_a_smaller_capacity_gives_back_the_last_of_each_flow() -> None:
    backlog = Backlog()
    one, two = entries(60, flow=1), entries(40, flow=2)
    backlog.add(one, 1000)
    backlog.add(two, 1000)
    assert backlog.take_excess(50) == []
    given_back = backlog.take_excess(20)
    assert sorted(given_back, key=lambda entry: entry.message_id) == one[10:] + two[10:]
    assert not backlog.ids & {entry.message_id for entry in given_back}
    backlog.return_excess(given_back)
    assert backlog.take_all() == one + two
    assert not backlog.ids


_step = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 30), st.integers(HIGH, LOW), st.integers(0, 3)),
    st.tuples(st.sampled_from(["pop", "back", "excess"]), st.integers(1, 30)),
)


@given(st.lists(_step, max_size=40), st.integers(1, 40))
def test_what_goes_in_comes_out_once(steps: list[tuple[object, ...]], capacity: int) -> None:
    backlog = Backlog()
    inside: set[Entry] = set()
    for what, number, *key in steps:
        assert isinstance(number, int)
        if what == "add":
            priority, flow = (int(str(part)) for part in key)
            coming = entries(number, priority=priority, flow=flow)
            inside |= set(coming) - set(backlog.add(coming, capacity))
        elif what == "pop":
            popped = backlog.pop(number)
            assert min(1, len(inside)) <= len(popped) <= min(number, len(inside))
            inside -= set(popped)
            if inside and len(popped) < number:
                assert HIGH in {entry.priority for entry in popped}
                assert HIGH not in {entry.priority for entry in inside}
            backlog.forget(popped)
        elif what == "back":
            backlog.put_back(backlog.pop(number))
        else:
            inside -= set(backlog.take_excess(number))
        assert len(backlog) == len(inside)
        assert backlog.ids == {entry.message_id for entry in inside}
    assert set(backlog.take_all()) == inside
