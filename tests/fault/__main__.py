"""`make fault`: run cases, print a table, exit with 1 if anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
import time

from tests.fault import cases
from tests.fault.case import CASES, Outcome, run_case
from tests.fault.servers import ClusterServers, Servers

COLUMNS = (
    "acknowledged",
    "ok",
    "lost",
    "unexpected",
    "duplicated",
    "recovered",
    "in_doubt",
    "calls",
)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(outcome: Outcome) -> str:
    report = outcome.report
    counts = " ".join(f"{getattr(report, name):>{len(name)}}" for name in COLUMNS)
    state = "ok" if outcome.good else "WRONG"
    return (
        f"{outcome.case.number:<6} {state:<5} {counts} {outcome.in_flight:>9}"
        f" {outcome.afterwards:>5} {outcome.seconds:>5.1f}  {outcome.case.what}"
    )


async def run(numbers: list[str], seed: int) -> list[Outcome]:
    servers = Servers()
    cluster: ClusterServers | None = None
    outcomes = []
    try:
        await servers.start()
        if any(CASES[number].cluster for number in numbers):
            cluster = ClusterServers(servers)
            await cluster.start()
        say(f"{'case':<6} {'':<5} {' '.join(COLUMNS)} in flight after  time")
        for number in numbers:
            case = CASES[number]
            on = cluster if case.cluster and cluster else servers
            outcomes.append(await run_case(case, on, seed))
            say(line(outcomes[-1]))
            for violation in outcomes[-1].report.violations:
                say(f"       {violation}")
    finally:
        if cluster is not None:
            await cluster.close()
        await servers.close()
    return outcomes


def main() -> int:
    # Of lost connections there will be many.
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--case", default="")
    parser.add_argument("--exact", action="store_true", help="no other cases that begin so")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else secrets.randbits(31)
    wanted = [part for part in options.case.split(",") if part]
    numbers = [
        number
        for number in CASES
        if not wanted
        or any(number == part if options.exact else number.startswith(part) for part in wanted)
    ]
    if not numbers:
        say(f"no case begins with {options.case}")
        return 2
    say(f"seed {seed}: repeat with make fault SEED={seed} CASE=…")
    began = time.monotonic()
    outcomes = asyncio.run(run(numbers, seed))
    total = {name: sum(getattr(o.report, name) for o in outcomes) for name in COLUMNS}
    wrong = [outcome.case.number for outcome in outcomes if not outcome.good]
    say(" ".join(f"{name} {count}" for name, count in total.items()))
    say(f"{len(outcomes)} cases, {len(wrong)} wrong {wrong}, {time.monotonic() - began:.0f} s")
    return 1 if wrong or len(outcomes) < len(numbers) else 0


if __name__ == "__main__":
    assert cases
    sys.exit(main())
