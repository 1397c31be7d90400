"""A few of the cases, on servers of their own: the whole of them is `make fault`."""

from __future__ import annotations

from tests.fault import cases
from tests.fault.case import CASES, run_case
from tests.fault.servers import Servers

ALL = [cases]
#: Killed after a commit, after a claim, and with callbacks in hand.
NUMBERS = ("F03a", "F40c", "F70b")
SEED = 2


async def test_nothing_is_lost_and_nothing_doubled() -> None:
    servers = Servers()
    try:
        await servers.start()
        outcomes = [await run_case(CASES[number], servers, SEED) for number in NUMBERS]
    finally:
        await servers.close()
    found = {outcome.case.number: outcome.report.violations for outcome in outcomes}
    assert found == {number: [] for number in NUMBERS}
