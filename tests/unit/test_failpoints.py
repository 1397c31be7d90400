"""Failpoints: off by default, refused outside tests, and each of them somewhere in the code."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from service import failpoints
from service.settings import SettingsError, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm({}, None)


def test_every_point_is_in_the_code_and_no_other() -> None:
    found = {
        name
        for path in (ROOT / "service").rglob("*.py")
        for name in re.findall(r'failpoints\.hit\("([\w.]+)"\)', path.read_text("utf-8"))
    }
    assert found == failpoints.POINTS


def test_nothing_happens_by_default() -> None:
    for point in failpoints.POINTS:
        failpoints.hit(point)


def test_only_tests_may_set_them() -> None:
    with pytest.raises(SettingsError, match="HANTAR_TEST=on"):
        load(failpoints="accept.begun=kill")
    assert load(failpoints="accept.begun=kill", test="on").failpoints == "accept.begun=kill"


@pytest.mark.parametrize(
    "text", ["accept.begun", "nowhere=kill", "accept.begun=explode", "accept.begun=kill@0"]
)
def test_a_rule_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"is not point=kill\|raise"):
        load(failpoints=text, test="on")


def test_the_nth_hit_counts_once_and_is_in_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "fired"
    failpoints.arm(failpoints.read_rules("claim.before=raise@2"), journal)
    failpoints.hit("claim.before")
    failpoints.hit("claim.committed")
    with pytest.raises(failpoints.Injected, match=r"claim\.before"):
        failpoints.hit("claim.before")
    failpoints.hit("claim.before")
    [line] = journal.read_bytes().splitlines()
    noted = orjson.loads(line)
    assert (noted["point"], noted["act"]) == ("claim.before", "raise")
    assert 0 <= time.monotonic() - noted["at"] < 60


def test_a_chance_repeats_with_its_seed() -> None:
    def outcomes() -> list[bool]:
        rule = failpoints.read_rules("claim.before=raise%.3/7")["claim.before"]
        return [rule.due() for _ in range(200)]

    assert outcomes() == outcomes()
    assert 30 < sum(outcomes()) < 90


def test_a_stall_stops_the_process_for_so_long() -> None:
    failpoints.arm(failpoints.read_rules("lease.beaten=sleep:0.05"), None)
    began = time.monotonic()
    failpoints.hit("lease.beaten")
    assert time.monotonic() - began >= 0.05


def test_a_kill_leaves_no_time_for_a_last_word(tmp_path: Path) -> None:
    journal = tmp_path / "fired"
    program = (
        "import pathlib, sys; from service import failpoints;"
        "failpoints.arm(failpoints.read_rules('accept.begun=kill'), pathlib.Path(sys.argv[1]));"
        "failpoints.hit('accept.begun'); print('alive')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(journal)],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
    assert b'"accept.begun"' in journal.read_bytes()
