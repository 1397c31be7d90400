"""Every fault has its cases, or a reason why there are none."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.fault import cases
from tests.fault.case import CASES
from tests.fault.checker import Evidence, check, too_close
from tests.fault.matrix import NOT_RUN, fault_of, gaps

ALL = [cases]


def test_every_fault_is_run_or_has_its_reason() -> None:
    assert gaps(CASES) == []
    assert all(len(reason) > 20 for reason in NOT_RUN.values())


def test_enough_of_them_run() -> None:
    assert len(CASES) >= 60
    assert all(re.fullmatch(r"F\d\d[a-z]?", number) for number in CASES)
    assert len({fault_of(number) for number in CASES}) >= 45


def _good() -> Evidence:
    call = {"id": 1, "accept": True, "backs": ["sent", "delivered"], "device": 7, "epoch": 1}
    return Evidence(
        client=[
            {"request": "r1", "size": 1, "account": 3, "t": 0.0},
            {"tag": "r1", "status": 202, "ids": [1], "t": 0.1},
        ],
        calls=[call | {"phone": "p", "before": 0.2, "at": 0.2, "t": 0.2}],
        events=[
            {"id": 1, "account": 3, "seq": 1, "status": "sent", "t": 0.3},
            {"id": 1, "account": 3, "seq": 2, "status": "delivered", "t": 0.4},
        ],
        rows=[
            {"id": 1, "account_id": 3, "reference": "r1.0", "status": "delivered", "seq": 2}
            | {"credit": "settled", "resent": False}
        ],
        accounts=[{"account": 3, "granted": 10, "balance": 9}],
        ledger=[
            {"account": 3, "type": kind, "count": count, "amount": amount}
            for kind, count, amount in (("grant", 10, 10), ("reserve", 1, -1), ("settle", 1, 0))
        ],
        limits={7: [(0.0, 100.0)]},
    )


def test_the_checker_finds_nothing_where_nothing_is() -> None:
    report = check(_good())
    assert report.violations == []
    assert (report.acknowledged, report.ok, report.calls) == (1, 1, 1)


def _set(evidence: Evidence, part: str, place: int, **changes: object) -> None:
    lines = list(getattr(evidence, part))
    lines[place] = dict(lines[place]) | changes
    setattr(evidence, part, lines)


def _crowd(evidence: Evidence) -> None:
    evidence.limits = {7: [(0.0, 0.5)]}
    evidence.calls = [*evidence.calls, dict(evidence.calls[0]) | {"at": 1.0, "before": 1.0}]


BROKEN: dict[str, Callable[[Evidence], None]] = {
    "I1 lost": lambda e: setattr(e, "rows", []),
    "I1 never finished": lambda e: _set(e, "rows", 0, status="queued"),
    "I1 the row is not": lambda e: _set(e, "rows", 0, status="sent"),
    "I1 events missing": lambda e: setattr(e, "events", e.events[:1]),
    "I2 sent twice": lambda e: setattr(e, "calls", [*e.calls, *e.calls]),
    "I3 balance of": lambda e: _set(e, "accounts", 0, balance=8),
    "I3 reserved": lambda e: _set(e, "ledger", 1, count=2),
    "I3 sum of the ledger": lambda e: _set(e, "ledger", 1, amount=-2),
    "I3 credit of a message": lambda e: _set(e, "rows", 0, credit="released"),
    "I3 audit": lambda e: setattr(e, "drifting", 1),
    "I4 device": lambda e: _crowd(e),
    "I5 status went back": lambda e: _set(e, "events", 1, status="unconfirmed"),
    "I5 one number": lambda e: _set(e, "events", 1, seq=1),
    "I5 heard": lambda e: setattr(e, "events", e.events[::-1]),
    "I6 events": lambda e: _set(e, "events", 0, account=4),
    "I7 rows nobody": lambda e: _set(e, "client", 1, status=402, ids=[]),
    "I7 sent and unknown": lambda e: _set(e, "calls", 0, id=2),
    "I8 one key": lambda e: setattr(
        e, "client", [*e.client, {"tag": "r1", "status": 202, "ids": [2], "t": 0.2}]
    ),
    "I10 sent after": lambda e: setattr(e, "opted_out", {(3, "p"): 0.1}),
    "I12 secrets": lambda e: setattr(e, "logs", "sent to +60121000001"),
    "fence": lambda e: setattr(e, "calls", [dict(e.calls[0]) | {"epoch": 2, "at": 0.1}, *e.calls]),
}


@pytest.mark.parametrize("violation", BROKEN)
def test_the_checker_finds_what_is_broken(violation: str) -> None:
    evidence = _good()
    BROKEN[violation](evidence)
    assert any(found.startswith(violation) for found in check(evidence).violations)


def test_a_window_is_any_window() -> None:
    def exact(*times: float) -> list[tuple[float, float]]:
        return [(at, at) for at in times]

    # Two in any second, although no second by the clock has more than two.
    assert too_close(exact(0.9, 0.95, 1.0, 1.05), 2.0) == [(0.9, 0.1), (0.95, 0.1)]
    assert too_close(exact(0.0, 0.5, 1.0, 1.5, 2.0), 2.0) == []
    assert too_close(exact(0.0, 3.9), 0.25) == [(0.0, 3.9)]
