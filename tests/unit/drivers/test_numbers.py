"""The simulator's magic numbers are those that were promised, and the README tells of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drivers.simulator.numbers import MAGIC, Reply, Script, script_for
from service.core.lifecycle import Status
from service.core.phone import normalise

README = Path("drivers/README.md")
SENT, DELIVERED, READ, FAILED = Status.SENT, Status.DELIVERED, Status.READ, Status.FAILED
#: What follows a call: statuses called back, and what the person writes.
PROMISED: dict[str, list[Status | str]] = {
    "+601155500001": [],
    "+601155500002": [],
    "+601155500003": [SENT, DELIVERED, READ],
    "+601155500004": [READ, SENT, DELIVERED, DELIVERED, SENT, READ],
    "+601155500005": [SENT, DELIVERED],
    "+601155500006": [SENT, DELIVERED],
    "+601155500007": [SENT, DELIVERED],
    "+601155500008": [SENT, DELIVERED, "STOP"],
    "+601155500009": [SENT, FAILED],
}
ORDINARY = "+60123456789"


def told(script: Script) -> list[Status | str]:
    steps = sorted(script.steps, key=lambda step: step.after_seconds)
    return [step.text if isinstance(step, Reply) else step.status for step in steps]


def test_every_magic_number_calls_back_as_promised() -> None:
    assert {phone: told(script) for phone, script in MAGIC.items()} == PROMISED


def test_each_answers_as_promised() -> None:
    assert {phone for phone, script in MAGIC.items() if script.fails} == {"+601155500001"}
    assert {phone for phone, script in MAGIC.items() if script.silent} == {"+601155500002"}
    assert {p: s.throttled for p, s in MAGIC.items() if s.throttled} == {"+601155500005": 2}
    assert {p: s.errors for p, s in MAGIC.items() if s.errors} == {"+601155500006": 2}
    assert {p: s.slow_seconds for p, s in MAGIC.items() if s.slow_seconds} == {
        "+601155500007": 10.0
    }


def test_every_other_number_is_delivered_within_a_second() -> None:
    script = script_for(ORDINARY)
    assert script == Script(steps=script.steps)
    assert told(script) == [SENT, DELIVERED]
    assert all(step.after_seconds < 0.9 for step in script.steps)


def test_nothing_is_called_back_before_it_was_answered() -> None:
    for script in MAGIC.values():
        assert all(step.after_seconds > script.slow_seconds for step in script.steps)


@pytest.mark.parametrize("phone", PROMISED)
def test_a_magic_number_passes_as_a_phone(phone: str) -> None:
    assert normalise(phone) == phone


def test_the_readme_has_a_row_for_each() -> None:
    rows = re.findall(r"^\| `(\+\d+)` \|", README.read_text("utf-8"), re.MULTILINE)
    assert rows == list(PROMISED)
