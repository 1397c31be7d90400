from __future__ import annotations

from service.core.circuit import FAILURES, FIRST_SECONDS, LONGEST_SECONDS, Circuit


def fail(circuit: Circuit, times: int, now: float) -> list[float | None]:
    return [circuit.failed(now, now) for _ in range(times)]


def test_a_few_calls_without_answer_are_nothing() -> None:
    circuit = Circuit()
    assert fail(circuit, FAILURES - 1, 0.0) == [None] * (FAILURES - 1)
    circuit.answered()
    assert fail(circuit, FAILURES - 1, 1.0) == [None] * (FAILURES - 1)


def test_it_opens_longer_each_time_until_somebody_answers() -> None:
    circuit = Circuit()
    assert fail(circuit, FAILURES, 0.0)[-1] == FIRST_SECONDS
    pauses = [circuit.failed(now, now) for now in range(1, 10)]
    assert pauses[:3] == [2 * FIRST_SECONDS, 4 * FIRST_SECONDS, 8 * FIRST_SECONDS]
    assert pauses[-1] == LONGEST_SECONDS
    circuit.answered()
    assert fail(circuit, FAILURES, 20.0) == [None] * (FAILURES - 1) + [FIRST_SECONDS]


def test_calls_in_flight_when_it_opened_do_not_open_it_again() -> None:
    circuit = Circuit()
    fail(circuit, FAILURES, 10.0)
    assert [circuit.failed(9.0, 11.0) for _ in range(50)] == [None] * 50


def test_a_device_that_never_answers_is_left_alone_for_the_longest_time_for_ever() -> None:
    circuit = Circuit()
    fail(circuit, FAILURES, 0.0)
    pauses = [circuit.failed(float(now), float(now)) for now in range(1, 3000)]
    assert set(pauses[10:]) == {LONGEST_SECONDS}
